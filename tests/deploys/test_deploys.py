"""Every component's deploy as a whole, against a recorder: fresh hosts and converged ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.step_ca.issuance import TEMPLATE, proof
from phoenix.secrets import client_certificate
from tests.deploys.recorder import Run, assert_restarts_without_an_end, run

PLANTED = "planted-5ecret-of-the-test"
GATEWAY_CERTIFICATE = client_certificate.generate()
ISSUANCE_KEY = "planted-key-of-proofs-of-the-test"
NGINX, TRAEFIK, CA = "nginx-phoenix", "traefik-internal", "step-ca"

LOOKED = "Taking over: what was here before Phoenix"
ORDER = {
    "dns": [LOOKED, "DNS: packages", "DNS: records and service"],
    "step_ca": [
        LOOKED,
        "Step-CA: packages",
        "Step-CA: program",
        "Step-CA: keys and certificates",
        "Step-CA: database",
        "Step-CA: configuration and service",
        "Step-CA: names of certificates",
    ],
    "certificates": [
        "Certificate: packages",
        "Certificate: renewal",
        "Certificate: issue",
        "Certificate: the host's pair, while stacks read it",
        "Certificate of qdrant_service-production: renewal",
        "Certificate of qdrant_service-production: issue",
        "Certificate of thinkheads_ai_app-production: renewal",
        "Certificate of thinkheads_ai_app-production: issue",
    ],
    "traefik": [
        LOOKED,
        "Traefik: packages",
        "Traefik: program",
        "Traefik: configuration and service",
        "Traefik: renewal",
        "Traefik: certificate",
        "Traefik: routes",
    ],
    "home": [LOOKED, "Home: packages", "Home: files and service"],
    "nginx": [
        LOOKED,
        "Nginx: packages",
        "Nginx: renewal",
        "Nginx: certificate to start with",
        "Nginx: configuration and service",
        "Nginx: sandbox",
        "Nginx: certificate",
    ],
}
HOSTS = {
    "dns": {"phoenix"},
    "step_ca": {CA},
    "certificates": {"portainer", "drphoenix"},
    "traefik": {TRAEFIK},
    "home": {TRAEFIK},
    "nginx": {NGINX},
}
COMPONENTS = sorted(ORDER)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One run of each component on fresh hosts, with a secret planted for every use."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TRAEFIK_DASHBOARD_PASSWORD", "STEP_CA_PASSWORD"):
            patch.setenv(f"PHOENIX_SECRET_{name}", PLANTED)
        patch.setenv("PHOENIX_SECRET_GATEWAY_CLIENT_CERTIFICATE", GATEWAY_CERTIFICATE)
        patch.setenv("PHOENIX_SECRET_STEP_CA_ISSUANCE_KEY", ISSUANCE_KEY)
        return {
            name: run(name, tmp_path_factory.mktemp(name) / "secrets.json")
            for name in [*COMPONENTS, "base"]
        }


@pytest.mark.parametrize("component", COMPONENTS)
def test_operations_come_in_order_and_touch_their_own_hosts_alone(
    fresh: dict[str, Run], component: str
) -> None:
    result = fresh[component]
    assert result.operations == ORDER[component]
    assert not result.failed, result.failed
    assert {sent.host for sent in result.sent} == HOSTS[component]


def test_base_runs_everywhere_and_proves_a_login_after_sshd(fresh: dict[str, Run]) -> None:
    result = fresh["base"]
    assert {sent.host for sent in result.sent} == {
        "phoenix", NGINX, TRAEFIK, CA, "portainer", "drphoenix",
    }  # fmt: skip
    for host in {sent.host for sent in result.sent}:
        commands = [sent.command for sent in result.sent if sent.host == host]
        assert commands[-1].endswith(" confirm"), commands[-2:]
        assert " /var/lib/phoenix/trees/ssh " in commands[-1], commands[-1]
    ssh = next(s for s in result.sent if "/etc/ssh/sshd_config.d/10-phoenix.conf" in s.files())
    lines = ssh.files()["/etc/ssh/sshd_config.d/10-phoenix.conf"].splitlines()
    said = dict(line.split(maxsplit=1) for line in lines if not line.startswith("#"))
    assert said["PermitRootLogin"] == "prohibit-password"
    for way in ("PasswordAuthentication", "KbdInteractiveAuthentication", "PermitEmptyPasswords"):
        assert said[way] == "no"
    assert (said["X11Forwarding"], said["AllowTcpForwarding"]) == ("no", "local"), "no -R"
    for kind, weak in (("MACs", "hmac-sha1*"), ("KexAlgorithms", "diffie-hellman-group14-sha256")):
        assert said[kind].startswith("-")
        assert weak in said[kind].removeprefix("-").split(",")
    assert "\nconfirm=120\n" in ssh.files()["params"], "undone unless a login succeeds"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, set()),
        ({"proxmox_api": "ssh"}, {"portainer", "drphoenix"}),
        ({"proxmox_api": "ssh", "proxmox_guest_agent": False}, set()),
    ],
    ids=["guests are left alone", "guests are made", "switched off"],
)
def test_the_guest_agent_is_on_each_vm_of_a_hypervisor_that_is_kept(
    tmp_path: Path, settings: dict[str, Any], expected: set[str]
) -> None:
    result = run("base", tmp_path / "secrets.json", **settings)
    assert {
        request.host for request in result.sent if "qemu-guest-agent" in request.command
    } == expected
    present = "ca-certificates curl openssl tzdata unattended-upgrades bind9-dnsutils chrony"
    lines = [f"installed {name}" for name in (*present.split(), "qemu-guest-agent")]
    again = run(
        "base", tmp_path / "secrets.json", responses={"dpkg-query": lambda _: lines}, **settings
    )
    assert not [request for request in again.sent if "qemu-guest-agent" in request.command]


@pytest.mark.parametrize("component", [*COMPONENTS, "base"])
def test_no_secret_is_in_a_command_or_in_a_file_that_others_can_read(
    fresh: dict[str, Run], component: str
) -> None:
    for sent in fresh[component].sent:
        assert PLANTED not in sent.command, sent.command
        for path, content in sent.files().items():
            assert PLANTED not in content, path


def test_what_the_ca_asks_for_is_what_its_guests_show(fresh: dict[str, Run]) -> None:
    """Of all guests the CA's alone has the key, readable to the CA alone; no command has it."""
    (sent,) = [request for request in fresh["step_ca"].sent if TEMPLATE in request.files()]
    (row,) = [row for row in sent.files()["manifest"].splitlines() if row.endswith(TEMPLATE)]
    assert row.split("\t")[:3] == ["640", "root", "step"], row
    assert ISSUANCE_KEY in sent.files()[TEMPLATE]
    for component, result in fresh.items():
        for request in result.sent:
            assert ISSUANCE_KEY not in request.command
            holding = {path for path, text in request.files().items() if ISSUANCE_KEY in text}
            assert holding <= {TEMPLATE}, (component, holding)
    for component, name in (("nginx", "gateway"), ("traefik", "traefik")):
        (request,) = [
            s for s in fresh[component].sent if f"/etc/phoenix/acme/{name}.conf" in s.files()
        ]
        conf = request.files()[f"/etc/phoenix/acme/{name}.conf"]
        values = dict(line.split("=", 1) for line in conf.splitlines())
        shown = proof(SecretStr(ISSUANCE_KEY), values["DOMAINS"].split())
        assert values["PROOF"] == shown.get_secret_value()
        (row,) = [r for r in request.files()["manifest"].splitlines() if r.endswith(f"{name}.conf")]
        assert row.startswith("600\troot\troot\t"), row


def test_password_of_the_ca_goes_by_standard_input(fresh: dict[str, Run]) -> None:
    (init,) = [sent for sent in fresh["step_ca"].sent if "step-ca-init" in sent.command]
    assert init.stdin == PLANTED


def test_dashboard_login_is_hashed_and_for_traefik_alone(fresh: dict[str, Run]) -> None:
    (routes,) = [s for s in fresh["traefik"].sent if "/etc/traefik/dashboard.users" in s.files()]
    files = routes.files()
    assert files["/etc/traefik/dashboard.users"].startswith("admin:$2b$10$")
    (line,) = [row for row in files["manifest"].splitlines() if row.endswith("dashboard.users")]
    assert line.split("\t")[:3] == ["640", "root", "traefik"], line


def test_names_agree_between_dns_gateway_proxy_and_certificate(fresh: dict[str, Run]) -> None:
    routes = yaml.safe_load(fresh["traefik"].files(TRAEFIK)["/etc/traefik/dynamic/phoenix.yml"])
    rules = " ".join(router["rule"] for router in routes["http"]["routers"].values())
    routed = set(re.findall(r"Host\(`([^`]+)`\)", rules))
    assert len(routed) >= 3, routed
    nginx = fresh["nginx"].files(NGINX)
    served = re.findall(r"^ *server_name ([^_;][^;]*);", nginx["/etc/nginx/nginx.conf"], re.M)
    assert [set(names.split()) for names in served] == [routed, routed], served
    domains = nginx["/etc/phoenix/acme/gateway.conf"].splitlines()[0]
    assert set(domains.removeprefix("DOMAINS=").split()) == routed
    dns = fresh["dns"].files("phoenix")["/etc/phoenix/dnsmasq.conf"]
    for name in routed:
        assert re.search(rf"^host-record={re.escape(name)},", dns, re.M), name


def test_a_site_that_nginx_served_before_phoenix_is_asked_for(tmp_path: Path) -> None:
    """The question lets each plan say that the site is no longer read."""
    sent = run("nginx", tmp_path / "secrets.json", execute=False).sent
    asked = [
        request.command
        for request in sent
        if request.host == NGINX and "/sites-enabled/*" in request.command
    ]
    assert any("/etc/nginx/conf.d/*.conf" in command for command in asked)


@pytest.mark.parametrize("component", [name for name in COMPONENTS if name != "certificates"])
def test_every_service_restarts_without_an_end(fresh: dict[str, Run], component: str) -> None:
    for host in HOSTS[component]:
        assert_restarts_without_an_end(fresh[component], host)


@pytest.mark.parametrize(
    ("component", "host", "name", "restart"),
    [
        ("nginx", NGINX, "gateway", "systemctl restart nginx.service"),
        ("traefik", TRAEFIK, "traefik", "systemctl try-restart traefik.service"),
    ],
)
def test_renewals_have_a_way_when_a_reload_fails_and_are_tried_again(
    fresh: dict[str, Run], component: str, host: str, name: str, restart: str
) -> None:
    files = fresh[component].files(host)
    assert f"RESTART={restart}" in files[f"/etc/phoenix/acme/{name}.conf"].splitlines()
    retry = files[f"/etc/systemd/system/phoenix-acme@{name}.service.d/retry.conf"]
    assert "RestartMaxDelaySec=900s" in retry.splitlines(), retry


def settled(done: Run) -> dict[str, list[str]]:
    """Answers to the tree fact, by base directory, of hosts on which `done` has succeeded."""
    answers = {}
    for sent in done.sent:
        files = sent.files()
        if not files:
            continue
        params = dict(line.split("=", 1) for line in files["params"].splitlines() if "=" in line)
        base = params["base"].strip("'")
        lines = ["current\tg", "loaded\tg"]
        for row in files["manifest"].splitlines():
            mode, user, group, sha, kind, path = row.split("\t")
            link = f"{base}/current/root{path}" if kind == "L" else ""
            lines.append(f"file\t{path}\t{link}\t{mode}\t{user}\t{group}\t{sha}")
            lines.append(f"occupied\t{path}")
        placed = {path: TreeFile(text) for path, text in files.items() if path.startswith("/")}
        for path, owner in Tree("any", placed).directories.items():
            lines.append("\t".join(("directory", path, *owner)))
        path, tab, target = params["links"].strip("'").partition("\t")
        if tab:
            lines.append(f"file\t{path}\t{target}\t644\troot\troot\t0")
        units = f"{params['unit']} {params['enable']}".replace("'", "").split()
        lines += [f"unit\t{unit}\tactive\tenabled\tno" for unit in units]
        answers[f"{sent.host} {base}"] = lines
    return answers


@pytest.mark.parametrize("component", [*COMPONENTS, "base"])
def test_converged_trees_are_left_alone(
    fresh: dict[str, Run], component: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TRAEFIK_DASHBOARD_PASSWORD", "STEP_CA_PASSWORD"):
        monkeypatch.setenv(f"PHOENIX_SECRET_{name}", PLANTED)
    monkeypatch.setenv("PHOENIX_SECRET_GATEWAY_CLIENT_CERTIFICATE", GATEWAY_CERTIFICATE)
    monkeypatch.setenv("PHOENIX_SECRET_STEP_CA_ISSUANCE_KEY", ISSUANCE_KEY)
    answers = settled(fresh[component])
    again = run(
        component,
        tmp_path / "secrets.json",
        responses={
            re.compile(f"config-tree {re.escape(key.split()[1])} "): lambda _, k=key: answers[k]
            for key in answers
            if component != "base" or key.startswith(NGINX)
        },
    )
    hosts = {NGINX} if component == "base" else HOSTS[component]
    sent = [s.files().keys() for s in again.sent if s.host in hosts and s.files()]
    if component == "certificates":  # two hosts with different names: one of them was asked for
        assert len(sent) <= 1, sent
    else:
        assert not sent, sent


def test_hosts_without_a_ca_are_refused_trust_with_the_fix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(run("trust", tmp_path / "secrets.json").failed) == 6
    assert "run deploys/step_ca.py first" in caplog.text, caplog.text


@pytest.mark.parametrize(
    ("component", "change", "message"),
    [
        ("step_ca", {"step_ca_lifetime_default": "1d"}, "step_ca_lifetime_default: '1d' is not"),
        ("step_ca", {"artifacts": {}}, "artifacts['step-ca'] is missing"),
        ("traefik", {"artifacts": {}}, "artifacts['traefik'] is missing"),
        ("dns", {"dns_upstreams": []}, "dns_upstreams is empty"),
        ("base", {"ssh_password": PLANTED}, "put a key of yours into its authorized_keys"),
    ],
)
def test_bad_settings_end_the_run_before_a_host_is_touched(
    tmp_path: Path, component: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        run(component, tmp_path / "secrets.json", **change)
    output = f"{caught.value.args} {vars(caught.value)}"
    assert message in output.replace('"', "'").replace("\\'", "'"), output
    assert PLANTED not in output, output
