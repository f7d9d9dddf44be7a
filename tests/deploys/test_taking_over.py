"""What a person had, in whole deploys: refused without a word, kept, or given way."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix.components.docker.remote_api import KEPT
from phoenix.files import text
from tests.deploys.recorder import Run, run

HYPERVISOR = "phoenix"
CONFIG = "/etc/phoenix/dnsmasq.conf"
LOOKED = "Taking over: what was here before Phoenix"
RESOLVER = re.compile(r"existing-services /var/lib/phoenix/trees resolver:dns:53")
DNSMASQ = "listener\tresolver\tudp\t0.0.0.0:53\tdnsmasq\tdnsmasq.service\t\t\t"
STANDING: dict[Any, Any] = {RESOLVER: DNSMASQ}


def files_to(done: Run, host: str) -> dict[str, str]:
    (files,) = (sent.files() for sent in done.sent if sent.host == host and sent.files())
    return files


def test_without_a_word_nothing_of_that_host_is_touched_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = run("base", tmp_path / "s.json", responses=STANDING)
    assert done.failed == {HYPERVISOR}
    output = caplog.text
    assert "dnsmasq.service on port 53: the name server of the site takes its place" in output
    assert "taking_over = {'resolver': 'keep'}" in output
    assert "taking_over = {'resolver': 'replace'}" in output
    changing = ("base64", " install ", "systemctl", "config-tree")
    to_it = [sent.command for sent in done.sent if sent.host == HYPERVISOR]
    # Questions alone; a script that answers several stands in front of them.
    asks = re.compile(r"(?:script\d+='.*'\n*;? *)?echo phoenix-answer-begins", re.S)
    assert all(asks.match(command) for command in to_it), to_it
    others = {sent.host for sent in done.sent if any(word in sent.command for word in changing)}
    assert len(others - {HYPERVISOR}) >= 5


def test_a_plan_shows_it_as_the_step_that_would_not_be_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plan = run("dns", tmp_path / "s.json", responses=STANDING, execute=False)
    assert plan.changed[LOOKED] == [HYPERVISOR]
    assert not plan.failed
    assert "taking_over = {'resolver': 'keep'}" in caplog.text


def test_a_resolver_that_is_replaced_gives_way_just_before_ours_and_else_comes_back(
    tmp_path: Path,
) -> None:
    choice = {"resolver": "replace"}
    done = run("dns", tmp_path / "s.json", responses=STANDING, taking_over=choice)
    assert not done.failed
    (noted,) = (sent for sent in done.sent if "taking-over " in sent.command)
    assert noted.stdin.strip() == "unit dnsmasq.service"
    params = files_to(done, HYPERVISOR)["params"]
    before, otherwise = (
        re.search(rf"^{variable}='(.*)", params, re.M) for variable in ("before", "otherwise")
    )
    assert before
    assert otherwise
    for verb in ("stop", "back"):
        assert f"stop-existing {verb} /var/lib/phoenix/taken_over resolver" in params
    assert params.index("stop-existing stop") < params.index("stop-existing back")


def test_a_resolver_that_stays_has_ours_behind_it_and_must_forward_the_zone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    choice = {"resolver": "keep"}
    step = "DNS: the resolver that stays forwards the zone"
    asked = re.compile("zone-answer ")
    silent = run("dns", tmp_path / "s.json", responses=STANDING, taking_over=choice)
    assert silent.operations[-1] == step
    assert silent.failed == {HYPERVISOR}
    assert "does not forward the site's zone yet" in caplog.text
    assert "server=/internal.thinkheads.ai/127.0.0.1#5335" in caplog.text
    files = files_to(silent, HYPERVISOR)
    assert "listen-address=127.0.0.1" in files[CONFIG].splitlines()
    assert "-p 5335 @127.0.0.1" in files["params"]
    assert "stop-existing" not in files["params"]
    address = re.search(r"host-record=[^,]+,(\S+)", files[CONFIG])
    assert address
    answers = {**STANDING, asked: address[1]}
    caplog.clear()
    done = run("dns", tmp_path / "s.json", responses=answers, taking_over=choice)
    assert not done.failed, caplog.text


def test_where_nobody_stands_nothing_is_said_or_changed(tmp_path: Path) -> None:
    plan = run("base", tmp_path / "s.json", execute=False)
    assert plan.changed[LOOKED] == []


CA = "step-ca"
PLANTED = "planted-5ecret-of-the-test"
FOLDER = "/root/.step"


def authority(tmp_path: Path) -> list[str]:
    """What the CA's guest answers where a person's CA is in /root/.step."""
    root = tmp_path / "root.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", tmp_path / "key", "-out", root, "-subj", "/CN=Their Root"],
        check=True, capture_output=True,
    )  # fmt: skip
    files = [f"{FOLDER}/{name}" for name in (
        "certs/root_ca.crt", "certs/intermediate_ca.crt", "secrets/key", "secrets/root_ca_key",
    )]  # fmt: skip
    lines = root.read_text().splitlines()
    return [
        "\t".join(("authority", FOLDER, *files, "step-ca.service", "running")),
        *(f"{which}\t{FOLDER}\t{line}" for which in ("root", "signer") for line in lines),
    ]


def test_a_persons_ca_is_adopted_before_ours_is_configured_and_its_password_is_no_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PHOENIX_SECRET_STEP_CA_PASSWORD", PLANTED)
    lines = authority(tmp_path)
    conflicting: dict[Any, Any] = {
        re.compile("existing-services /var/lib/phoenix/trees ca:step-ca:"): lambda _: lines
    }
    refused = run("step_ca", tmp_path / "s.json", responses=conflicting)
    assert refused.failed == {CA}
    assert f"the CA in {FOLDER}, run by step-ca.service: Phoenix's CA takes its" in caplog.text
    caplog.clear()
    caplog.set_level("INFO")
    done = run("step_ca", tmp_path / "s.json", responses=conflicting, taking_over={"ca": "adopt"})
    assert not done.failed, caplog.text
    step = "Step-CA: keys and certificates of the CA that was here"
    assert step in done.operations
    (copied,) = (sent for sent in done.sent if " step-ca-adopt " in sent.command)
    assert copied.stdin.strip() == PLANTED
    assert PLANTED not in copied.command
    assert copied.command.endswith(
        f" /etc/step-ca {FOLDER}/certs/root_ca.crt {FOLDER}/certs/intermediate_ca.crt "
        f"{FOLDER}/secrets/key {FOLDER}/secrets/root_ca_key"
    )
    assert not [sent for sent in done.sent if "step-ca-init" in sent.command]
    tree = next(sent for sent in done.sent if "/etc/step-ca/config/ca.json" in sent.files())
    assert done.sent.index(copied) < done.sent.index(tree)
    assert "stop-existing stop /var/lib/phoenix/taken_over ca" in tree.files()["params"]
    assert f"the CA in {FOLDER} is adopted: Their Root" in caplog.text


def test_where_no_ca_is_found_none_is_made_instead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = run("step_ca", tmp_path / "s.json", taking_over={"ca": "adopt"})
    assert done.failed == {CA}
    assert "exactly one CA is expected, found: none" in caplog.text
    assert not [sent for sent in done.sent if "step-ca-init" in sent.command or sent.files()]


GATEWAY = "nginx-phoenix"
SITES = re.compile(r"nginx-sites /var/lib/phoenix/trees/nginx")
BLOG = "/etc/nginx/sites-enabled/blog"
NGINX = "/etc/nginx/nginx.conf"
SANDBOX = "/etc/systemd/system/nginx.service.d/sandbox.conf"


def own_site(*statements: str) -> dict[Any, Any]:
    lines = [f"site\t{BLOG}\tread", f"in\t{BLOG}\tserver"]
    return {SITES: lambda _: [*lines, *(f"in\t{BLOG}\tsaid\t{line}" for line in statements)]}


def test_a_persons_sites_are_asked_about_before_the_gateway_is_touched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conflicting = own_site("listen 80", "server_name blog.example")
    done = run("nginx", tmp_path / "s.json", responses=conflicting)
    assert done.failed == {GATEWAY}
    assert f"{BLOG}, Nginx for blog.example: the gateway takes its place" in caplog.text
    assert "taking_over = {'nginx': 'keep'}" in caplog.text
    assert not [sent for sent in done.sent if sent.files() or "apt-get" in sent.command]
    replaced = run(
        "nginx", tmp_path / "s.json", responses=conflicting, taking_over={"nginx": "replace"}
    )
    assert not replaced.failed, caplog.text
    assert "sites-enabled" not in replaced.files(GATEWAY)[NGINX]


def test_a_kept_site_is_read_by_the_gateway_s_nginx_and_checked_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conflicting = own_site("listen 80", "server_name blog.example")
    keep = {"nginx": "keep"}
    done = run("nginx", tmp_path / "s.json", responses=conflicting, taking_over=keep)
    assert not done.failed, caplog.text
    files = done.files(GATEWAY)
    assert "    include /etc/nginx/sites-enabled/blo[g];" in files[NGINX].splitlines()
    assert "ProtectHome=read-only" in files[SANDBOX].splitlines()
    (tree,) = (sent for sent in done.sent if NGINX in sent.files())
    assert f"file={NGINX}.proposed" in tree.files()["params"]
    assert "nginx-listens" in tree.files()["params"]


def test_a_kept_site_that_claims_the_site_s_own_name_is_refused_on_each_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "portainer.internal.thinkheads.ai"
    conflicting = own_site("listen 443 ssl default_server", f"server_name {name}")
    done = run("nginx", tmp_path / "s.json", responses=conflicting, taking_over={"nginx": "keep"})
    assert done.failed == {GATEWAY}
    assert f"{BLOG} claims {name}, which the site serves" in caplog.text
    assert f"{BLOG} is the default_server of port 443" in caplog.text
    assert not [sent for sent in done.sent if sent.files()]


DAEMON = "/etc/docker/daemon.json"
DROP_IN = "/etc/systemd/system/docker.service.d/zz-phoenix-api.conf"
DOCKER_HOST = "drphoenix"
OPENED: dict[Any, Any] = {
    re.compile("docker-daemon /etc"): lambda _: [
        'present {"hosts": ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2376"]}', "foreign yes",
    ],
    re.compile("docker-api /etc"): lambda _: [
        "running\t/usr/sbin/dockerd\t-H\tfd://\t-H\ttcp://0.0.0.0:2375"
    ],
}  # fmt: skip


def test_a_persons_port_of_dockers_api_is_asked_about_and_told_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = run("docker", tmp_path / "s.json", responses=OPENED)
    assert DOCKER_HOST in done.failed
    assert "tcp://0.0.0.0:2375, by docker.service, UNENCRYPTED AND FOR ANYBODY" in caplog.text
    assert f"tcp://0.0.0.0:2376, by {DAEMON}" in caplog.text
    assert not [sent for sent in done.sent if sent.files() or "apt-get" in sent.command]


@pytest.mark.parametrize("choice", ["keep", "replace"])
def test_a_port_of_dockers_api_stays_or_closes_by_its_persons_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, choice: str
) -> None:
    done = run("docker", tmp_path / "s.json", responses=OPENED, taking_over={"docker": choice})
    assert not done.failed, caplog.text
    files = done.files(DOCKER_HOST)
    assert ("tcp://0.0.0.0:2376" in files[DAEMON]) is (choice == "keep")
    assert (DROP_IN in files) is (choice == "replace")
    assert (KEPT in files) is (choice == "keep"), "the checks do not complain of what is kept"
    assert KEPT in text("health/checks.sh")
    if choice == "replace":
        assert "ExecStart=/usr/sbin/dockerd -H fd://\n" in files[DROP_IN]


TRAEFIK = "traefik-internal"
TRAEFIKS = re.compile(r"traefik-files /var/lib/phoenix/trees/traefik ")
RULES = "/etc/traefik/dynamic/blog.yml"
OWN_STATIC = "/etc/traefik/traefik.yml"


def own_traefik(entry_point: str) -> dict[Any, Any]:
    """What Traefik's guest answers of a person's static configuration and one router."""
    static = ["entryPoints:", "  web:", '    address: ":8000"', "  secure:", '    address: ":443"',
              "providers:", "  file:", "    directory: /etc/traefik/dynamic"]  # fmt: skip
    rules = ["http:", "  routers:", "    blog:", "      rule: x", "      entryPoints:",
             f"        - {entry_point}", "      service: blog"]  # fmt: skip
    lines = [
        f"static\t{OWN_STATIC}\t-\t-", *(f"in\t{OWN_STATIC}\t{line}" for line in static),
        f"file\t{RULES}\t644\troot", *(f"in\t{RULES}\t{line}" for line in rules),
    ]  # fmt: skip
    return {TRAEFIKS: lambda _: lines}


def test_a_persons_traefik_is_asked_about_before_its_guest_is_touched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = run("traefik", tmp_path / "s.json", responses=own_traefik("web"))
    assert done.failed == {TRAEFIK}
    assert f"{OWN_STATIC}, a Traefik with the entry points web (:8000), secure" in caplog.text
    assert "taking_over = {'traefik': 'keep'}" in caplog.text
    assert not [sent for sent in done.sent if sent.files() or "apt-get" in sent.command]


def test_kept_routers_have_their_entry_point_beside_phoenix_s(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep = {"traefik": "keep"}
    conflicting = own_traefik("web")
    done = run("traefik", tmp_path / "s.json", responses=conflicting, taking_over=keep)
    assert not done.failed, caplog.text
    files = done.files(TRAEFIK)
    points = yaml.safe_load(files[OWN_STATIC])["entryPoints"]
    assert points["web"] == {"address": ":8000"}
    assert set(points) == {"web", "local", "websecure"}
    assert "beside-phoenix" in files["/etc/traefik/dynamic/phoenix.yml"]
    assert RULES not in files
    assert not [
        sent for sent in done.sent if "stop-existing stop" in sent.files().get("params", "")
    ]
    caplog.clear()
    refused = run("traefik", tmp_path / "s.json", responses=own_traefik("secure"), taking_over=keep)
    assert refused.failed == {TRAEFIK}
    assert "port 443, where Phoenix's Traefik answers the gateway alone" in caplog.text
    assert not [sent for sent in refused.sent if sent.files()]
