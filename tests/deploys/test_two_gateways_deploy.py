"""A site with two gateways: what each gets, in which order, and what keeps the second as it is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from facts.host_fact import END
from phoenix.components.keepalived.keepalived_conf import CONFIG, KILLED
from phoenix.components.nginx.nginx_conf import CLIENT_CERTIFICATE
from phoenix.components.nginx.nginx_conf import CONFIG as NGINX
from phoenix.components.traefik.traefik_yml import ADMISSION, admission
from phoenix.secrets import client_certificate
from phoenix.site.secret_names import GATEWAY_CERTIFICATE
from tests.deploys.recorder import ROOT, Run, run

ONE, TWO, VIRTUAL = "nginx-phoenix", "gateway-two", "10.0.0.152"
TRAEFIK = "traefik-internal"
OWN = {ONE: "10.0.0.153", TWO: "10.0.0.154"}
PROOF = "Nginx: proof, before the next gateway"
ISSUED = json.dumps({
    "error": "", "due": "", "pair": "issued", "serial": "1", "not_after": 2000000000,
    "loaded": True, "permissions": "ok", "failure": "", "also": "",
})  # fmt: skip


@pytest.fixture
def inventories(tmp_path: Path) -> Path:
    """The example's, with a second gateway and the address that one of them has."""
    folder = tmp_path / "inventories"
    shutil.copytree(ROOT / "inventories", folder)
    file = folder / "phoenix_lxc_configs.json"
    declared = json.loads(file.read_text())
    second = json.loads(json.dumps(declared["lxc_configs"]["101"]))
    second |= {"name": TWO, "mac_address": "52:54:00:67:89:C3"}
    second["network_config"]["ip"] = f"{OWN[TWO]}/24"
    declared["lxc_configs"]["104"] = second
    declared["site"]["virtual_address"] = VIRTUAL
    file.write_text(json.dumps(declared))
    return folder


def deployed(deploy: str, inventories: Path, **more: object) -> Run:
    secrets = inventories.parent / "secrets.json"
    return run(deploy, secrets, site_inventories=str(inventories), **more)  # type: ignore[arg-type]


def test_new_gateways_get_it_before_the_ca_is_asked(inventories: Path) -> None:
    done = deployed("nginx", inventories)
    assert done.failed == set()
    held = "Virtual addresses: keepalived"
    order = done.operations
    assert order.index("Nginx: configuration and service") < order.index(held)
    assert order.index(held) < order.index("Nginx: certificate")
    for host, other in ((ONE, TWO), (TWO, ONE)):
        files = done.files(host)
        assert f"unicast_src_ip {OWN[host]}\n" in files[CONFIG]
        assert f"        {OWN[other]}\n" in files[CONFIG]
        assert VIRTUAL in files[KILLED]
        assert f"proxy_pass http://{OWN[other]}:80;" in files[NGINX]
        assert f"if ($remote_addr = {OWN[other]})" in files[NGINX]


def test_one_gateway_is_done_before_the_other_begins(inventories: Path) -> None:
    done = deployed("nginx", inventories)
    trees = [sent.host for sent in done.sent if NGINX in sent.files()]
    assert sorted(trees) == [TWO, ONE]
    first, second = trees
    proofs = [n for n, sent in enumerate(done.sent) if "gateway-answer" in sent.command]
    of_first = [n for n in proofs if done.sent[n].host == first]
    started = next(n for n, s in enumerate(done.sent) if s.host == second and NGINX in s.files())
    assert any(n < started for n in of_first)


def test_one_that_does_not_answer_keeps_the_other_as_it_is(inventories: Path) -> None:
    silent = {re.compile(r"gateway-answer"): "gives 502"}
    done = deployed("nginx", inventories, responses=silent)
    changed = [sent.host for sent in done.sent if NGINX in sent.files()]
    assert len(changed) == 1
    assert done.failed == {ONE, TWO}


def test_one_at_work_has_it_before_names_lead_there(inventories: Path) -> None:
    at_work = {ONE: {"acme-status": ISSUED}}
    done = deployed("keepalived", inventories, of_host=at_work)
    assert done.failed == set()
    assert [sent.host for sent in done.sent if CONFIG in sent.files()] == [ONE]
    again = deployed("nginx", inventories, of_host=at_work)
    assert [sent.host for sent in again.sent if CONFIG in sent.files()] == [TWO]
    lines = (ROOT / "deploys/all.py").read_text().splitlines()
    included = [line.split('"')[1] for line in lines if "local.include" in line]
    assert included.index("deploys/keepalived.py") < included.index("deploys/dns.py")


@pytest.mark.parametrize("silent", ["", TWO, TRAEFIK])
def test_who_is_down_keeps_the_certificate_that_it_has(
    inventories: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """It was forgotten: what came back and took over was refused by Traefik, or refused by it."""
    former, new = client_certificate.generate(), client_certificate.generate()
    monkeypatch.setenv("PHOENIX_SECRET_GATEWAY_CLIENT_CERTIFICATE_NEW", new)
    store = inventories.parent / "secrets.json"
    store.write_text(json.dumps({"gateway_client_certificate": former}))
    store.chmod(0o600)
    certificate = client_certificate.certificate_in(new)
    answers: dict[str | re.Pattern[str], Any] = {
        "client-certificate": client_certificate.fingerprint(certificate),
        "admitted-certificates": lambda _: admission([certificate])[0].splitlines(),
    }
    fails = {re.compile("client-certificate|admitted-certificates"): f"{END} 255"}
    done = deployed(
        "secrets_rotate", inventories, responses=answers, of_host={silent: fails},
        secrets_rotate="gateway_client_certificate",
    )  # fmt: skip
    stored = json.loads(store.read_text())
    assert ({ONE, TRAEFIK} <= done.failed, stored["gateway_client_certificate"] == former) == (
        bool(silent), bool(silent)
    )  # fmt: skip
    presented = done.files(ONE).get("/etc/phoenix/gateway/client.pem", former)
    assert presented == (former if silent == TRAEFIK else new)
    let_in = done.files(TRAEFIK)[ADMISSION].split()
    lines = [client_certificate.certificate_in(pem).splitlines()[1] for pem in (former, new)]
    assert [line in let_in for line in lines] == [bool(silent), True]


def test_a_change_that_waits_is_not_begun_anew_at_a_gateway(inventories: Path) -> None:
    """One that presents the new certificate goes on to, whatever the other one waits for."""
    former, new = client_certificate.generate(), client_certificate.generate()
    file = inventories.parent / "secrets.json"
    file.write_text(json.dumps({GATEWAY_CERTIFICATE: former, f"{GATEWAY_CERTIFICATE}.next": new}))
    file.chmod(0o600)
    presented = client_certificate.fingerprint(client_certificate.certificate_in(new))
    done = deployed("nginx", inventories, of_host={ONE: {"/client-certificate": presented}})
    certificates = {host: done.files(host)[CLIENT_CERTIFICATE] for host in (ONE, TWO)}
    assert certificates == {ONE: new, TWO: former}


def test_a_site_with_one_has_no_keepalived(tmp_path: Path) -> None:
    for deploy in ("keepalived", "nginx"):
        done = run(deploy, tmp_path / f"{deploy}.json")
        assert PROOF not in done.operations
        assert not [sent for sent in done.sent if "keepalived" in sent.command]
        assert "other_gateway" not in done.files(ONE).get(NGINX, "")
