"""The command line's plan and sync, on a fresh lab, a converged one and broken ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from operations.site_lock import FILE
from tests.integration.fresh import FreshPlan
from tests.integration.project import Project, deadline_factor
from tests.integration.site_lab import SiteLab, print_figure


def report_of(done: subprocess.CompletedProcess[str]) -> Any:
    """A command's JSON."""
    assert done.stdout, f"exit {done.returncode}, no output:\n{done.stderr}"
    return json.loads(done.stdout)


# -- a fresh lab -----------------------------------------------------------------------------------


@pytest.fixture
def plan_of_nothing(fresh_plan: FreshPlan | None, site: SiteLab) -> FreshPlan:
    if fresh_plan is None:
        pytest.skip("this lab was deployed to before the tests began")
    return fresh_plan


def test_a_fresh_site_has_everything_to_do(plan_of_nothing: FreshPlan, site: SiteLab) -> None:
    done = plan_of_nothing.done
    plan = report_of(done)
    print_figure("fresh plan", f"exit {done.returncode}, {len(plan['changes'])} steps")
    assert done.returncode == 2, done.stderr
    assert plan["first_cause"] is None
    assert {change["host"] for change in plan["changes"]} == set(site.state.hosts)
    components = {change["component"] for change in plan["changes"]}
    assert {"dns", "base", "step_ca", "trust", "traefik", "nginx", "docker", "portainer",
            "stacks"} <= components  # fmt: skip


def test_it_says_what_only_the_run_can_know(plan_of_nothing: FreshPlan) -> None:
    plan = report_of(plan_of_nothing.done)
    unknown = {change["component"]: change["unknown"] for change in plan["changes"]
               if change["unknown"]}  # fmt: skip
    assert "the CA does not exist yet" in unknown["trust"], unknown
    assert "phoenix-acme" in unknown["certificates"], unknown
    assert "can't be asked yet" in unknown["stacks"], unknown


def test_a_plan_touches_nothing(plan_of_nothing: FreshPlan) -> None:
    for host, lines in plan_of_nothing.before.items():
        assert len(lines) > 1000, f"{host} was hardly looked at: {lines[:5]}"
    assert plan_of_nothing.differences() == {}


# -- a converged site ------------------------------------------------------------------------------


def test_nothing_to_do_after_a_sync(site: SiteLab) -> None:
    done = site.project.phoenix("sync", "all", "--json")
    summary = report_of(done)
    assert done.returncode == 0, done.stderr
    assert (summary["ok"], summary["verified"]) == (True, True)
    changed = [step for host in summary["hosts"] for step in host["changed"]]
    assert [step for step in changed if "start page" not in step] == [], summary
    assert len(summary["hosts"]) == len(site.state.hosts), summary
    plan = site.project.phoenix("plan", "--json")
    assert (plan.returncode, report_of(plan)["changes"]) == (0, []), plan.stdout
    assert set(report_of(plan)["looked_at"]) == set(site.state.hosts)


@pytest.fixture
def by_hand(site: SiteLab) -> Iterator[str]:
    """A change that somebody made on a host; gone again afterwards."""
    path = "/etc/nginx/nginx.conf"
    site.sh("gateway", f"f=$(readlink -f {path}) && sed -i s/4096/4000/ $f", ok=True)
    yield path
    site.sh("gateway", f"f=$(readlink -f {path}) && sed -i s/4000/4096/ $f", ok=True)


def test_a_change_by_hand_is_shown_and_repaired(site: SiteLab, by_hand: str) -> None:
    plan = site.project.phoenix("plan", "nginx")
    assert plan.returncode == 2, plan.stderr
    assert f"{by_hand} has other content" in plan.stdout
    assert "-     worker_connections 4000;" in plan.stdout
    assert "+     worker_connections 4096;" in plan.stdout
    assert "worker_connections 4000" in site.sh("gateway", f"cat {by_hand}").out, "a plan wrote"
    done = site.project.phoenix("sync", "101")
    assert done.returncode == 0, done.stderr
    assert "Nginx: configuration and service" in done.stdout
    assert "worker_connections 4096" in site.sh("gateway", f"cat {by_hand}").out
    log = Path(done.stdout.rpartition("log: ")[2].strip())
    assert "Nginx: configuration and service" in log.read_text()
    for secret in site.secrets.values():
        assert secret not in log.read_text()


def test_a_stack_with_what_its_services_need(site: SiteLab) -> None:
    """Portainer takes part since it proves its hold on the stack; nothing else is left out."""
    summary = report_of(site.project.phoenix("sync", "stack:qdrant_service", "--json"))
    roles = ("hypervisor", "gateway", "traefik")
    carrying = {"drphoenix", "portainer", *(site.roles[role] for role in roles)}
    outcomes = {host["host"]: host["outcome"] for host in summary["hosts"]}
    assert outcomes == dict.fromkeys(carrying, "unchanged"), summary
    assert (summary["ok"], summary["verified"]) == (True, True), summary
    log = Path(summary["log"]).read_text()
    assert "Stack qdrant_service-production" in log
    assert "Stack thinkheads_ai_app" not in log


def test_what_matches_nothing_is_an_error(site: SiteLab) -> None:
    done = site.project.phoenix("sync", "ngnix")
    assert done.returncode == 1
    assert "nothing here is called 'ngnix'. Did you mean 'nginx'?" in done.stderr


# -- failures --------------------------------------------------------------------------------------


def test_the_checkers_words_are_the_first_cause(site: SiteLab, variant: Project) -> None:
    variant.replace(
        "phoenix/components/nginx/nginx.conf.j2", "    sendfile on;", "    sendfile maybe;"
    )
    done = variant.phoenix("sync", "nginx", "--json")
    summary = report_of(done)
    assert (done.returncode, summary["ok"]) == (1, False), done.stderr
    cause = summary["first_cause"]
    assert cause["host"] == site.roles["gateway"]
    assert cause["step"].endswith("Nginx: configuration and service")
    assert any('invalid value "maybe"' in line for line in cause["reason"]), cause


@pytest.fixture(params=["traefik"])
def silent(site: SiteLab, request: pytest.FixtureRequest) -> Iterator[str]:
    """A guest whose SSH server does not run."""
    host = site.roles[request.param]
    site.sh(host, "systemctl stop ssh.service ssh.socket 2>/dev/null; true")
    yield host
    site.sh(host, "systemctl start ssh.service", ok=True)


def test_a_guest_that_does_not_answer_is_the_first_cause(site: SiteLab, silent: str) -> None:
    for words in (["plan", "traefik", "dns"], ["sync", "traefik", "dns"]):
        done = site.project.phoenix(*words, "--json")
        report = report_of(done)
        assert done.returncode == 1, done.stderr
        assert (report["first_cause"]["host"], report["first_cause"]["step"]) == (silent, "connect")
    others = {host["host"]: host["outcome"] for host in report["hosts"]}
    assert others[site.roles["hypervisor"]] == "unchanged", "the others go on"


def test_a_silent_guest_is_no_failure_of_what_does_not_concern_it(
    site: SiteLab, silent: str
) -> None:
    gateway = site.roles["gateway"]
    assert silent != gateway
    plan = site.project.phoenix("plan", "nginx", "--json")
    # The hypervisor keeps the history and is a client; the CA tells for which names it can vouch.
    proving = sorted([gateway, site.roles["hypervisor"]])
    looked_at = sorted([*proving, site.roles["ca"]])
    assert (plan.returncode, report_of(plan)["looked_at"]) == (0, looked_at), plan.stdout
    done = site.project.phoenix("sync", "nginx", "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(host["host"] for host in report_of(done)["hosts"]) == proving
    assert report_of(done)["verified"]


def test_a_service_alone(site: SiteLab) -> None:
    url = "https://qdrant.internal.thinkheads.ai/healthz"
    summary = report_of(site.project.phoenix("sync", url, "--json"))
    roles = ("hypervisor", "gateway", "traefik")
    carrying = {"drphoenix", *(site.roles[role] for role in roles)}
    assert {host["host"] for host in summary["hosts"]} == carrying, summary
    assert (summary["ok"], summary["verified"]) == (True, True), summary
    log = Path(summary["log"]).read_text()
    assert "Stack qdrant_service-production" in log
    assert "Stack thinkheads_ai_app" not in log


@pytest.mark.parametrize("silent", ["ca"], indirect=True)
def test_a_silent_ca_is_the_first_cause_and_hosts_keep_the_root_they_have(
    site: SiteLab, silent: str
) -> None:
    plan = report_of(site.project.phoenix("plan", "trust", "--json"))
    assert plan["first_cause"]["host"] == silent, plan
    done = site.project.phoenix("sync", "trust", "--json")
    summary = report_of(done)
    assert done.returncode == 1, done.stderr
    assert summary["first_cause"]["host"] == silent
    assert {failure["host"] for failure in summary["failures"]} <= {silent}, summary
    outcomes = {
        host["host"]: host["outcome"] for host in summary["hosts"] if host["host"] != silent
    }
    assert outcomes == dict.fromkeys(set(site.state.hosts) - {silent}, "unchanged"), summary


# -- one run at a time -----------------------------------------------------------------------------


def start(project: Project, state: str, *targets: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "phoenix", "sync", *(targets or ["all"])],
        cwd=project.path,
        env={**project.command_environment, "XDG_STATE_HOME": state},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def wait_for_a_step(process: subprocess.Popen[bytes]) -> None:
    """Until the run has done its first step, and so holds every lock."""
    assert process.stderr
    for line in process.stderr:
        if b" 1/" in line:
            return
    raise AssertionError(f"the run ended with {process.wait()} before its first step")


@pytest.fixture
def held_up(site: SiteLab) -> Iterator[Callable[[], None]]:
    """Runs wait for the gateway's files, which somebody holds, until this is called.

    Not for the hypervisor's: with its first step a run asks for all that it will need there.
    """
    go, lock = "/run/phoenix-it-go", "/var/lib/phoenix/trees/nginx/lock"
    hold = f"flock {lock} sh -c 'touch {go}.held; while [ ! -e {go} ]; do sleep 0.1; done'"
    container = site.docker.containers.get(site.state.container(site.roles["gateway"]))
    container.exec_run(["sh", "-c", f"rm -f {go}*; {hold}"], detach=True)
    site.sh("gateway", f"until [ -e {go}.held ]; do sleep 0.1; done", ok=True)

    def release() -> None:
        site.sh("gateway", f"touch {go}", ok=True)

    yield release
    release()


@pytest.mark.parametrize("same_machine", [True, False])
def test_the_second_of_two_runs_stops_and_names_the_first(
    site: SiteLab, tmp_path: Path, held_up: Callable[[], None], *, same_machine: bool
) -> None:
    """Another machine is one that doesn't share the directory of locks."""
    first = start(site.project, str(tmp_path / "one"))
    try:
        wait_for_a_step(first)
        state = tmp_path / ("one" if same_machine else "two")
        second = site.project.phoenix("sync", "dns", environment={"XDG_STATE_HOME": str(state)})
        output = second.stdout + second.stderr
        assert second.returncode == 1
        assert f"(process {first.pid}): phoenix sync all, for " in output, output
        assert "Nothing was started" in output
    finally:
        held_up()
        out, errors = first.communicate(timeout=240 * deadline_factor())
    assert first.returncode == 0, (out + errors).decode()


@dataclass(frozen=True)
class Intruder:
    """Somebody who tries to get the lock on the hypervisor all the time."""

    site: SiteLab
    file: str = "/run/phoenix-it-tries"

    def begin(self) -> None:
        """Go on in the background until `end`."""
        file, lab = self.file, self.site
        once = f"flock -n {FILE} true && echo free >>{file} || echo held >>{file}"
        loop = f"rm -f {file}*; while [ ! -e {file}.end ]; do {once}; sleep 0.02; done"
        container = lab.docker.containers.get(lab.state.container(lab.roles["hypervisor"]))
        container.exec_run(["sh", "-c", loop], detach=True)
        lab.sh("hypervisor", f"until [ -s {file} ]; do sleep 0.02; done", ok=True)

    def tries(self) -> list[str]:
        """How each try went: free or held."""
        return self.site.sh("hypervisor", f"cat {self.file}", ok=True).out.split()

    def end(self) -> None:
        """Try no more."""
        self.site.sh("hypervisor", f"touch {self.file}.end", ok=True)


@pytest.fixture
def intruder(site: SiteLab) -> Iterator[Intruder]:
    intruder = Intruder(site)
    yield intruder
    intruder.end()


def test_nobody_comes_in_between_the_calls_of_one_command(
    site: SiteLab, tmp_path: Path, held_up: Callable[[], None], intruder: Intruder
) -> None:
    """A component and a host are two calls of pyinfra; the second one waits at the name server."""
    first = start(site.project, str(tmp_path), "base", site.roles["hypervisor"])
    try:
        wait_for_a_step(first)
        intruder.begin()
        wait_for_a_step(first)
        tries = intruder.tries()
        print_figure("tries for the lock", f"{len(tries)}, {tries.count('free')} had it")
        assert len(tries) > 20, tries
        assert set(tries) == {"held"}
    finally:
        held_up()
        out, errors = first.communicate(timeout=240 * deadline_factor())
    assert first.returncode == 0, (out + errors).decode()


def test_a_killed_runs_locks_are_taken_over(site: SiteLab, tmp_path: Path) -> None:
    first = start(site.project, str(tmp_path))
    wait_for_a_step(first)
    signal_group(first)
    second = site.project.phoenix("sync", "dns", environment={"XDG_STATE_HOME": str(tmp_path)})
    assert second.returncode == 0, second.stderr
    assert "taking over from a run that died: " in second.stderr, second.stderr
    assert f"(process {first.pid})" in second.stderr


def signal_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and the pyinfra it started, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
