"""Every fault has a fix that can be carried out."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from phoenix.cli import targets
from phoenix.cli.app import app
from phoenix.health.advice import ADVICE, PRINTS, component_of, likely_fix
from phoenix.health.checks import ISSUED, checks
from phoenix.net.ssh_faults import FAULTS
from phoenix.site.model import Site
from phoenix.watch.causes import LAYERS, no_answer
from tests.unit.site_builder import lxc, minimal

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "phoenix/health/checks.sh").read_text()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """With a service of each kind, so that each function of `checks.sh` is asked for."""
    declared = minimal()
    asked = {"url": "https://shop.internal.thinkheads.ai/verify"}
    declared.lxc["lxc_configs"]["104"] = lxc(
        "forge", None, 25,
        traefik_services=[
            {"name": "git", "port": 22, "scheme": "tcp", "gateway_port": 2222},
            {"name": "mail", "port": 993, "scheme": "tls"},
            {"name": "rpc", "port": 50051, "scheme": "grpc"},
            {"name": "forge", "port": 3000, "forward_auth": asked},
        ],
    )  # fmt: skip
    declared.lxc.setdefault("site", {})["backups"] = {"target": "/mnt/backups"}
    declared.lxc["external_services"] = [{"name": "nas", "address": "192.0.2.9", "port": 443}]
    return declared.load(tmp_path)


def test_this_site_asks_for_each_function(site: Site) -> None:
    source = (ROOT / "phoenix/health/checks.py").read_text()
    functions = re.findall(r"^([a-z_]+)\(\)", SCRIPT, re.M)
    named = {function for function in functions if f'"{function}"' in source}
    asked = {word for check in checks(site) for word in check.command}
    # Said by unit_runs before its own.
    of_components = {"folders_are_mounted", "networks_hold", "watcher_looks"}
    # Of sites that have a swarm: tests/unit/test_swarm.py.
    of_a_swarm = {"in_swarm", "node_is", "overlay_is", "kernel_encrypts", "tasks_are_well"}
    # tests/unit/test_name_servers.py, tests/unit/test_virtual_addresses.py
    of_several = {"server_answers", "address_is_held"}
    assert named - asked - of_components - of_a_swarm - of_several == set()


def test_every_function_and_layer_has_a_fix(site: Site) -> None:
    site_checks = [*checks(site), *(no_answer(host.name, "").check for host in site.hosts)]
    assert {check.layer for check in site_checks} == set(LAYERS)
    for check in site_checks:
        fix = likely_fix(site, check)
        assert fix.advice
        assert fix.commands, check
        text = " ".join((fix.advice, *fix.commands))
        assert "$" not in text, text


def test_no_advice_is_for_a_function_that_is_gone() -> None:
    for function in ADVICE:
        other = function.startswith("reach ") or function == ISSUED
        assert other or f"\n{function}() {{" in SCRIPT, function


def test_phoenix_is_told_targets_that_it_knows(site: Site) -> None:
    commands = {
        command for check in checks(site) for command in likely_fix(site, check).commands
        if re.match(r"phoenix (sync|plan)\b", command)
    }  # fmt: skip
    assert len(commands) > 10
    for command in commands:
        assert targets.work(command.split()[2:], site), command


def test_no_verb_is_told_that_the_command_line_does_not_have(site: Site) -> None:
    advised = {command for check in checks(site) for command in likely_fix(site, check).commands
            if command.startswith("phoenix ")}  # fmt: skip
    verbs = {command.split()[1] for command in advised}
    assert verbs == {"backup", "certs", "explain", "plan", "sync"}
    for command in advised:
        command_object: object = typer.main.get_command(app)
        for word in command.split()[1:]:
            commands = getattr(command_object, "commands", None)
            if commands is None:
                break
            assert word in commands, command
            command_object = commands[word]
        assert not hasattr(command_object, "commands"), f"{command} does nothing by itself"


def every_command(site: Site) -> set[str]:
    """Of each check, and of each cause for which a host cannot be reached."""
    reached = [no_answer(host.name, "").check for host in site.hosts]
    return {
        command
        for check, fault in (
            *((check, "") for check in checks(site)),
            *((check, fault.says) for check in reached for fault in FAULTS.values()),
        )
        for command in likely_fix(site, check, fault).commands
    }


def test_every_command_that_is_advised_can_be_run(site: Site) -> None:
    """The command line takes its words; for others the shell does, and the program is known."""
    programs: set[str] = set()
    for command in every_command(site):
        words = shlex.split(command)
        subprocess.run(["sh", "-n", "-c", command], check=True)
        if words[0] != "phoenix":
            remote = words[0] == "ssh" and not words[1].startswith("-") and words[2:]
            programs.update({words[0], *(remote[:1] if remote else ())})
            continue
        group: Any = typer.main.get_command(app)
        rest = words[1:]
        while hasattr(group, "commands"):
            group, rest = group.commands[rest[0]], rest[1:]
        group.make_context(command, rest)  # it takes these words
    assert programs <= {
        "apt-get", "cat", "chmod", "date", "df", "docker", "du", "getent", "grep", "hostnamectl",
        "ip", "journalctl", "ls", "nft", "pct", "ping", "qm", "ss", "ssh", "ssh-add", "ssh-keygen",
        "ssh-keyscan", "systemctl", "tail", "timedatectl",
    }, programs  # fmt: skip


def test_keys_are_closed_before_the_sync_that_refuses_open_ones(site: Site) -> None:
    (check,) = [check for check in checks(site) if check.function == "keys_are_private"]
    close, sync, replace = likely_fix(site, check).commands
    assert close.endswith(" chmod -R go= /etc/step-ca/secrets")
    assert (sync, replace) == ("phoenix sync step_ca", "phoenix certs rotate intermediate")


def test_every_unit_has_its_component(site: Site) -> None:
    units = {check.unit for check in checks(site) if check.function == "unit_runs"}
    assert {unit for unit in units if not component_of(unit)} == set()
    assert component_of("phoenix-acme@stack-shop-production.timer") == "certificates"


def test_a_torn_database_is_told_and_a_sync_is_what_helps(site: Site) -> None:
    (check,) = [check for check in checks(site) if check.unit == "step-ca.service"]
    torn = likely_fix(site, check, "cannot open its database: Value log truncate required")
    assert "sets them aside" in torn.advice
    assert torn.commands[-1] == "phoenix sync step_ca"
    assert "sets them aside" not in likely_fix(site, check, "is failed: no key").advice


def test_a_host_whose_log_in_prints_text_is_not_told_to_be_down(site: Site) -> None:
    """Bug report 7: the advice was to start a guest that was up."""
    reach = no_answer("proxy", "").check
    fix = likely_fix(site, reach, f"its checks could not be run: {PRINTS}: 'x'")
    assert "the host is up" in fix.advice
    assert not any("start" in command.split() for command in fix.commands)
    assert "is down" in likely_fix(site, reach, "").advice


def test_guest_is_looked_at_by_its_kind(site: Site) -> None:
    container = likely_fix(site, no_answer("proxy", "").check).commands
    machine = likely_fix(site, no_answer("worker", "").check).commands
    assert f"ssh root@{site.hypervisor.address} pct status 102" in container
    assert f"ssh root@{site.hypervisor.address} qm start 1002" in machine
    assert likely_fix(site, no_answer(site.hypervisor.name, "").check).commands == (
        f"ssh root@{site.hypervisor.address}",
    )
