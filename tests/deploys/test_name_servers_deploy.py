"""A site with a second name server: what its hosts get, in which order, and what holds a change."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from phoenix.files import render
from tests.deploys.recorder import ROOT, Run, run

CONFIG = "/etc/phoenix/dnsmasq.conf"
FIRST, SECOND = "10.0.0.13", "10.0.0.153"
ON_THE_FIRST = "DNS: records and service"
ON_OTHERS = "DNS: records and service of a further name server"


@pytest.fixture
def inventories(tmp_path: Path) -> Path:
    """The example's, with the gateway as the second name server."""
    folder = tmp_path / "inventories"
    shutil.copytree(ROOT / "inventories", folder)
    file = folder / "phoenix_lxc_configs.json"
    declared = json.loads(file.read_text())
    declared["lxc_configs"]["101"]["features"].append("name_server")
    file.write_text(json.dumps(declared))
    return folder


def deployed(deploy: str, inventories: Path) -> Run:
    secrets = inventories.parent / "secrets.json"
    return run(deploy, secrets, site_inventories=str(inventories))


def test_both_get_the_zone_and_the_hypervisor_comes_first(inventories: Path) -> None:
    done = deployed("dns", inventories)
    assert done.failed == set()
    assert done.changed[ON_THE_FIRST] == ["phoenix"]
    assert done.changed[ON_OTHERS] == ["nginx-phoenix"]
    assert done.operations.index(ON_THE_FIRST) < done.operations.index(ON_OTHERS)
    trees = [sent.host for sent in done.sent if CONFIG in sent.files()]
    assert trees == ["phoenix", "nginx-phoenix"]
    first, second = (done.files(host)[CONFIG] for host in ("phoenix", "nginx-phoenix"))
    assert first.replace(f"listen-address={FIRST}\n", f"listen-address={SECOND}\n") == second


def test_the_second_alone_is_held_by_the_first(inventories: Path) -> None:
    done = deployed("dns", inventories)
    checks = {
        sent.host: " ".join(sent.files().values()) for sent in done.sent if CONFIG in sent.files()
    }
    assert "the first name server" not in checks["phoenix"]
    assert "the first name server" in checks["nginx-phoenix"]


def test_every_host_has_both_itself_first(inventories: Path) -> None:
    done = deployed("base", inventories)
    assert done.failed == set()
    for host, servers in {
        "nginx-phoenix": [SECOND, FIRST],
        "phoenix": [FIRST, SECOND],
        "step-ca": [FIRST, SECOND],
    }.items():
        lines = done.files(host)["/etc/resolv.conf"].splitlines()
        assert [line.split()[1] for line in lines if line.startswith("nameserver")] == servers
        assert lines[-1] == "options timeout:1 attempts:3"


def test_a_site_with_one_has_the_resolver_that_it_had(tmp_path: Path) -> None:
    done = run("base", tmp_path / "secrets.json")
    assert done.files("step-ca")["/etc/resolv.conf"] == (
        "# Made by Phoenix: deploys/base.py\nsearch internal.thinkheads.ai\n"
        f"nameserver {FIRST}\noptions timeout:2 attempts:3\n"
    )


# -- the scripts -----------------------------------------------------------------------------------


def execute(folder: Path, script: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """A script of ours, run for real with these programs in front of the machine's own."""
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return subprocess.run(
        ["/bin/sh", "-c", script],
        env={"PATH": f"{folder}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


DIG = {
    "answers": "echo 10.0.0.10",
    "wrong": "echo 192.0.2.1",
    "empty": ":",
    "silent": "echo ';; no servers could be reached'; exit 9",
}


def digs(**servers: str) -> str:
    """A dig that is answered by each server, by its last number, as these words say."""
    cases = "".join(f"*@10.0.0.{number[1:]}*) {DIG[how]} ;; " for number, how in servers.items())
    return f'case "$*" in {cases} esac'


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("answers", "answers", ""),
        ("silent", "answers", ""),
        ("answers", "silent", ""),
        ("silent", "silent", "the name server 10.0.0.153 does not answer this host"),
        ("answers", "wrong", "the name server 10.0.0.153 does not answer this host"),
        ("wrong", "answers", "the name server 10.0.0.13 does not answer this host"),
        ("empty", "answers", "the name server 10.0.0.13 does not answer this host"),
    ],
)
def test_a_host_is_pointed_at_servers_that_answer_it(
    tmp_path: Path, first: str, second: str, refused: str
) -> None:
    script = render(
        "components/base/resolver.sh.j2",
        servers=[FIRST, SECOND], known={"name": "a.test"}, answer="10.0.0.10",
    )  # fmt: skip
    done = execute(tmp_path, script, dig=digs(n13=first, n153=second))
    assert (done.returncode != 0) == bool(refused), done
    assert refused in done.stdout


@pytest.mark.parametrize(
    ("runs", "first", "refused"),
    [
        (True, "answers", False),
        (True, "silent", True),
        (True, "wrong", True),
        (False, "silent", False),
    ],
)
def test_a_server_that_runs_is_changed_while_the_first_answers(
    tmp_path: Path, runs: bool, first: str, refused: bool
) -> None:
    script = render(
        "components/dnsmasq/first_answers.sh.j2",
        unit="phoenix-dns.service", server=FIRST, known={"name": "a.test"}, answer="10.0.0.10",
    )  # fmt: skip
    is_active = f"exit {0 if runs else 3}"
    done = execute(tmp_path, script, dig=digs(n13=first), systemctl=is_active)
    assert (done.returncode != 0) == refused, done
    assert ("the first name server, 10.0.0.13, does not answer a.test" in done.stdout) == refused
