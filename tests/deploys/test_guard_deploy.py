"""The guard's deploy as a whole: on every host, kept or undone, and away where it is turned off."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from pyinfra.api import OperationError

from phoenix.components.guard.ruleset import PROGRAM, RULES, UNIT
from tests.deploys.recorder import ROOT, Run, run
from tests.deploys.test_deploys import settled

HOSTS = {"phoenix", "nginx-phoenix", "traefik-internal", "step-ca", "portainer", "drphoenix"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run("guard", tmp_path_factory.mktemp("guard") / "secrets.json")


def test_every_host_gets_its_rules_and_proves_a_login_after_them(fresh: Run) -> None:
    assert fresh.operations == ["Guard: packages", "Guard: what the host lets in"]
    assert not fresh.failed
    for host in HOSTS:
        commands = [sent.command for sent in fresh.sent if sent.host == host]
        assert commands[-1].endswith(" confirm"), host
        assert " /var/lib/phoenix/trees/guard " in commands[-1], host
        files = fresh.files(host)
        assert "\ndelete table inet phoenix\n" in files[RULES]
        assert "flush" not in files[RULES] + files[PROGRAM], "other tables are others'"
        assert f"enable={UNIT}" in params(fresh, host)
        assert "\nconfirm=120\n" in params(fresh, host), "undone unless a login succeeds"


def params(done: Run, host: str) -> str:
    (text,) = (
        request.files()["params"]
        for request in done.sent
        if request.host == host and request.files()
    )
    return text


def test_the_rules_are_proven_before_they_are_loaded(fresh: Run) -> None:
    text = params(fresh, "step-ca")
    assert 'nft -c -f "$ROOT"' + RULES in text
    assert text.index("validate=") < text.index("after=")


def test_at_boot_it_is_there_before_the_network(fresh: Run) -> None:
    unit = fresh.files("step-ca")[f"/etc/systemd/system/{UNIT}"]
    assert "\nBefore=network-pre.target\n" in unit
    assert "nftables.service" in next(x for x in unit.splitlines() if x.startswith("After="))


def test_a_second_run_changes_nothing(fresh: Run, tmp_path: Path) -> None:
    (lines,) = (
        answer_lines for key, answer_lines in settled(fresh).items() if key.startswith("step-ca ")
    )
    tree = re.compile("config-tree /var/lib/phoenix/trees/guard ")
    again = run("guard", tmp_path / "s.json", responses={tree: lambda _: lines})
    assert not [sent for sent in again.sent if sent.host == "step-ca" and sent.files()]
    lost = ["not in force\tthe table inet phoenix is gone from nftables"]
    again = run("guard", tmp_path / "s.json", responses={tree: lambda _: lines + lost})
    assert [sent for sent in again.sent if sent.host == "step-ca" and 'apply" load' in sent.command]


@pytest.mark.parametrize("change", ["the whole site", "one guest"])
def test_where_it_is_turned_off_its_table_is_taken_away(
    tmp_path: Path, fresh: Run, change: str
) -> None:
    inventories = tmp_path / "inventories"
    shutil.copytree(ROOT / "inventories", inventories)
    file = inventories / "phoenix_lxc_configs.json"
    declared = json.loads(file.read_text())
    if change == "one guest":
        declared["lxc_configs"]["103"]["firewall"] = {"guard": False}
    else:
        declared["site"]["guard"] = False
    file.write_text(json.dumps(declared))
    done = run(
        "guard", tmp_path / "secrets.json", site_inventories=str(inventories),
        responses={"placed /var/lib/phoenix/trees": lambda _: ["tree\tguard", "tree\tbase"]},
    )  # fmt: skip
    removed = {sent.host for sent in done.sent if 'apply" remove' in sent.command}
    assert removed == ({"step-ca"} if change == "one guest" else HOSTS)
    assert not removed & {sent.host for sent in done.sent if RULES in sent.files()}


def test_an_operator_s_network_is_let_in_by_ssh(tmp_path: Path) -> None:
    done = run("guard", tmp_path / "s.json", proxmox_operator_networks=["192.0.2.0/24"])
    for host in HOSTS:
        line = 'ip saddr 192.0.2.0/24 tcp dport 22 accept comment "operator, by SSH"'
        assert line in done.files(host)[RULES]
        assert "192.0.2.0/24" in params(done, host).split("after=")[0], "so its runs may go on"


SERVES = [
    "node .",
    'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))',
    'tcp LISTEN 0 64 *:2049 *:* users:(("nfsd",pid=2,fd=3))',
    'tcp LISTEN 0 64 127.0.0.1:25 0.0.0.0:* users:(("master",pid=3,fd=3))',
    'udp UNCONN 0 0 0.0.0.0:41000 0.0.0.0:* users:(("client",pid=4,fd=3))',
]


def test_what_a_host_serves_and_no_flow_lets_in_is_said_before_it_is_shut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A guest's is told. The hypervisor's may be what guests live on: refused until declared."""
    caplog.set_level("INFO")
    with pytest.raises(OperationError) as refused:
        run("guard", tmp_path / "s.json", responses={"ss -Hltnup": lambda _: SERVES})
    message = str(refused.value)
    assert "phoenix listens on tcp/2049 (nfsd), which no rule lets in" in message
    assert '"port": "2049", "source": "NETWORK"' in message
    assert 'proxmox_node_closed = ["tcp/2049"]' in message

    done = run(
        "guard", tmp_path / "s.json", responses={"ss -Hltnup": lambda _: SERVES},
        proxmox_node_closed=["tcp/2049"],
    )  # fmt: skip
    assert not done.failed
    assert all(RULES in done.files(host) for host in HOSTS)
    assert "shuts tcp/2049 (nfsd), which no flow lets in" in caplog.text
    assert "tcp/25" not in caplog.text, "on the loopback"
    assert "41000" not in caplog.text, "a client's own socket"


def test_a_guard_that_is_there_is_not_asked_again(fresh: Run, tmp_path: Path) -> None:
    (lines,) = (
        answer_lines for key, answer_lines in settled(fresh).items() if key.startswith("phoenix ")
    )
    tree = re.compile("config-tree /var/lib/phoenix/trees/guard ")
    again = run(
        "guard", tmp_path / "s.json",
        responses={tree: lambda _: lines, "ss -Hltnup": lambda _: SERVES},
    )  # fmt: skip
    assert not again.failed
    assert not [sent for sent in again.sent if "ss -Hltnup" in sent.command]
