"""A converged site stays as it is: nothing changes, nothing restarts, few commands; parts alone."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.integration.project import Run
from tests.integration.site_lab import UNITS, SiteLab, print_figure

# The hypervisor: preparation, lock and register, state, checks, the record of secrets.
MAX_COMMANDS = 8
AUDIT = "/etc/ssh/sshd_config.d/05-phoenix-it-audit.conf"


def sessions(site: SiteLab) -> dict[str, int]:
    """Commands and subsystems that each host's sshd has started, by its own log.

    sshd says "Starting session" once for each exec or subsystem request (RFC 4254, section 6.5)
    at LogLevel VERBOSE.
    """
    count = "journalctl -q --no-pager -o cat -t sshd-session -t sshd | grep -c '^Starting session:'"
    return {host: int(site.sh(host, count).out) for host in site.state.hosts}


@pytest.fixture(scope="module")
def second(site: SiteLab) -> tuple[Run, dict[str, int], dict[str, object], dict[str, object]]:
    """A second whole run: itself, its commands per host, and the services before and after it."""
    for host in site.state.hosts:
        site.put(host, AUDIT, "LogLevel VERBOSE\n", 0o600)
        site.sh(host, "systemctl reload ssh.service", ok=True)
    settle = site.project.run("deploys/all.py")
    assert settle.returncode == 0, settle.explain()
    shutil.rmtree(site.project.cache, ignore_errors=True)  # what that run has asked
    before, commands = services(site), sessions(site)
    run = site.project.run("deploys/all.py")
    used = {host: count - commands[host] for host, count in sessions(site).items()}
    return run, used, before, services(site)


def services(site: SiteLab) -> dict[str, object]:
    """Every service and timer of Phoenix, sshd and nginx's workers, as they run now."""
    running: dict[str, object] = {role: site.unit(role) for role in UNITS}
    running["workers"] = site.workers()
    for host in site.state.hosts:
        running[host] = site.units_of(host, ["ssh.service"])
    running["home"] = site.units_of("traefik", ["phoenix-home.service"])
    running["acme"] = site.units_of("gateway", ["phoenix-acme@gateway.timer"])
    return running


Second = tuple[Run, dict[str, int], dict[str, object], dict[str, object]]


def test_second_run_changes_nothing(site: SiteLab, second: Second) -> None:
    run = second[0]
    assert run.returncode == 0, run.explain()
    assert run.results is not None, run.explain()
    assert run.changes == []
    assert run.pairs("error") == []
    touched = {host for _, host in run.pairs("no_change")}
    assert touched == set(site.state.hosts), "every host must have been looked at"


def test_second_run_restarts_nothing(second: Second) -> None:
    _, _, before, after = second
    assert before == after


def test_second_run_needs_few_ssh_commands(second: Second) -> None:
    """Counted by each host's sshd, not by pyinfra."""
    used = second[1]
    print_figure("SSH commands per host of a no-change run", used)
    assert all(count > 0 for count in used.values()), f"the audit saw nothing: {used}"
    assert max(used.values()) <= MAX_COMMANDS, used


def test_what_it_asked_is_kept_without_a_secret_and_asked_at_once_by_the_next(
    site: SiteLab, second: Second
) -> None:
    (kept,) = site.project.cache.glob("phoenix/asked-*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    asked = json.loads(kept.read_text())
    assert asked.keys() == set(site.state.hosts)
    secrets = {name for name, value in site.secrets.items() if value in kept.read_text()}
    assert secrets == set()
    before, commands = services(site), sessions(site)
    third = site.project.run("deploys/all.py")
    assert third.returncode == 0, third.explain()
    assert third.changes == []
    assert services(site) == before
    used = {host: count - commands[host] for host, count in sessions(site).items()}
    print_figure("SSH commands per host of the next no-change run", used)
    assert used[site.roles["gateway"]] == 2, "state and checks by the shells of the preparation"
    assert sum(used.values()) < sum(second[1].values()), (used, second[1])


def test_a_plan_needs_few_ssh_commands_and_finds_nothing(site: SiteLab, second: Second) -> None:
    assert second[0].returncode == 0
    before = sessions(site)
    plan = site.project.phoenix("plan")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    used = {host: count - before[host] for host, count in sessions(site).items()}
    print_figure("SSH commands per host of a plan", used)
    assert all(count > 0 for count in used.values()), f"the audit saw nothing: {used}"
    assert max(used.values()) <= MAX_COMMANDS, used


def test_limit_touches_only_its_group(site: SiteLab) -> None:
    run = site.project.run("deploys/all.py", "--limit", "nginx")
    assert run.returncode == 0, run.explain()
    hosts = {host for outcome in ("success", "no_change") for _, host in run.pairs(outcome)}
    assert hosts == {site.roles["gateway"]}, run.explain()
    assert run.changes == []


def test_one_component_alone(site: SiteLab) -> None:
    run = site.project.run("deploys/nginx.py")
    assert run.returncode == 0, run.explain()
    names = {name for name, _ in run.pairs("no_change")}
    assert any("Nginx: configuration" in name for name in names), names
    others = [name for name in names if not name.startswith("Nginx: ")]
    assert others == ["Taking over: what was here before Phoenix"], names
    assert run.changes == []


def test_real_inventory_needs_no_network_and_no_secret(
    site: SiteLab, environment: dict[str, str]
) -> None:
    """In a network namespace of its own (not even a loopback), without a home directory."""
    command = ["unshare", "--net", "pyinfra", "inventories/phoenix.py", "debug-inventory", "--json"]
    done = subprocess.run(
        command, cwd=site.project.path, capture_output=True, text=True, check=False,
        env={**environment, "PYTHONPATH": str(site.project.path), "HOME": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for host in site.state.hosts:
        assert f'"{host}"' in done.stdout, f"{host} is absent:\n{done.stdout}{done.stderr}"
