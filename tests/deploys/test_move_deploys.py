"""Stacks that change their host, in whole deploys: what is refused, planned and done about each."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyinfra.api import State
from pyinfra.api.exceptions import OperationError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta

from facts.host_fact import END, FactError
from operations import moves, run_refused
from phoenix.components.docker.projects import ComposeProject, Container, Port, Volume
from phoenix.components.move.decision import MOVING, NEW, HostState, Unfinished
from tests.deploys.recorder import Run, run

OLD, NEW_HOST = "portainer", "drphoenix"
STACK, OTHER = "qdrant_service-production", "thinkheads_ai_app-production"
SENTENCE = f"tack {STACK} moves from {OLD} to {NEW_HOST} (volume: {STACK}_data, 5 MiB)"


def copy(name: str, *, running: bool = True) -> HostState:
    state = "running" if running else "exited"
    container = Container("c", "web", "i:1", state, running, datetime(2026, 1, 1, tzinfo=UTC))
    volume = Volume(f"{name}_data", "/v", own=True, size_kib=5000)
    return HostState({name: ComposeProject(name, "portainer", "", (container,), (volume,), ())})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> dict[str, HostState | Exception]:
    """What the Docker hosts have; a test changes it."""
    hosts: dict[str, HostState | Exception] = {OLD: HostState(), NEW_HOST: HostState()}

    def read(target: Host, *, sizes: bool) -> HostState:
        state = hosts[target.name]
        if isinstance(state, Exception):
            raise state
        assert sizes or target.name in hosts
        return state

    monkeypatch.setattr(moves, "_read_state", read)
    monkeypatch.setattr(moves, "_states", {})
    monkeypatch.setattr(moves, "_pending", [])
    monkeypatch.setattr(run_refused, "_reasons", {})
    monkeypatch.setattr(run_refused, "_said", [])
    for name in ("PORTAINER_ADMIN_PASSWORD", "PORTAINER_AGENT_SECRET", "STEP_CA_PASSWORD",
                 "TRAEFIK_DASHBOARD_PASSWORD", "THINKHEADS_AI_APP_DATABASE_PASS",
                 "QDRANT_SERVICE_API_KEY"):  # fmt: skip
        monkeypatch.setenv(f"PHOENIX_SECRET_{name}", "planted-5ecret-of-the-test")
    return hosts


def titles(done: Run) -> list[str]:
    return [name.rpartition("|")[2].strip() for name in done.operations]


def test_a_run_that_is_not_asked_to_move_it_sends_nothing_to_any_host(
    world: dict[str, HostState | Exception], tmp_path: Path
) -> None:
    world[OLD] = copy(STACK)
    done = run("stacks", tmp_path / "secrets.json")
    step = next(name for name in done.changed if SENTENCE in name)
    assert done.changed[step] == [NEW_HOST]
    assert f"Stack {STACK}" not in titles(done), "it would be started as well"
    assert done.sent == []
    assert done.failed >= {NEW_HOST}


def test_the_whole_platform_is_refused_on_every_host(
    world: dict[str, HostState | Exception],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world[OLD] = copy(STACK)
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run("all", tmp_path / "secrets.json")
    words = [record.message for record in caplog.records]
    assert sum(SENTENCE in line for line in words) == 1, words
    assert sum("not done: this run is refused" in line for line in words) == 5, words
    assert not any("executed 1" in line for line in words)


def test_a_run_whose_changes_nobody_asks_for_is_refused_as_well(
    world: dict[str, HostState | Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `-y` pyinfra prepares no operation's commands."""
    world[OLD] = copy(STACK)
    monkeypatch.setattr(OperationMeta, "will_change", False)
    assert run("stacks", tmp_path / "secrets.json").sent == []
    assert run_refused.reason() != ""


def test_where_it_is_here_nothing_is_refused(
    world: dict[str, HostState | Exception], tmp_path: Path
) -> None:
    world[NEW_HOST] = copy(STACK)
    done = run("stacks", tmp_path / "secrets.json", execute=False)
    assert {f"Stack {STACK}", f"Stack {OTHER}"} <= set(titles(done))
    assert run_refused.reason() == ""


@pytest.mark.parametrize("status", ["124", "1"], ids=["it hangs", "it is stopped"])
def test_a_docker_that_does_not_answer_leaves_its_host_in_the_run_that_repairs_it(
    status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "_states", {})
    for name in ("THINKHEADS_AI_APP_DATABASE_PASS", "QDRANT_SERVICE_API_KEY"):
        monkeypatch.setenv(f"PHOENIX_SECRET_{name}", "planted-5ecret")
    no_answer: dict[str | re.Pattern[str], object] = {
        "docker ps --all": lambda _: ["Cannot connect to the Docker daemon", f"{END} {status}"]
    }
    done = run("stacks", tmp_path / "s.json", responses=no_answer, execute=False)
    assert done.failed == set()
    assert {f"Stack {STACK}", f"Stack {OTHER}"} <= set(titles(done))
    assert run_refused.reason() == ""


def test_a_garbled_log_in_leaves_the_host_out_when_it_is_asked_for_its_stacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(moves, "_states", {})
    for name in ("THINKHEADS_AI_APP_DATABASE_PASS", "QDRANT_SERVICE_API_KEY"):
        monkeypatch.setenv(f"PHOENIX_SECRET_{name}", "planted-5ecret")
    done = run("stacks", tmp_path / "s.json", noise={NEW_HOST: "hello"}, execute=False)
    assert done.failed == {NEW_HOST}
    assert "the log-in prints text" in caplog.text


REGISTER = re.compile('cat "\\$1"\' register')
IN_RUN = ("traefik-internal", "phoenix")


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without the Docker hosts, as `phoenix sync traefik` makes it."""
    monkeypatch.setattr(State, "is_host_in_limit", lambda _, host: host.name in IN_RUN)


def deployed_on(name: str) -> dict[str | re.Pattern[str], object]:
    return {REGISTER: f"stack\t{STACK}\t{name}\t10.0.0.1\t100"}


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("deploy", ["traefik", "proxmox"])
def test_no_route_leads_to_the_new_host_before_the_stack_is_there(
    world: dict[str, HostState | Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    deploy: str,
) -> None:
    world[OLD] = copy(STACK)

    def ask() -> str:
        monkeypatch.setattr(moves, "_states", {})
        monkeypatch.setattr(run_refused, "_reasons", {})
        monkeypatch.setattr(run_refused, "_said", [])
        api = "ssh" if deploy == "proxmox" else "off"
        file, known = tmp_path / "s.json", deployed_on(OLD)
        with suppress(OperationError):  # there is no Proxmox VE here, which it notices later
            run(deploy, file, responses=known, execute=False, proxmox_api=api)
        return run_refused.reason()

    output = ask()
    assert f"s{SENTENCE}" in output
    assert "phoenix sync --move" in output
    world[NEW_HOST] = FactError("no route")
    assert bool(ask()) == (deploy == "traefik"), "this may be the run that makes the new host"
    monkeypatch.setenv(MOVING, "1")
    assert ask() == "", "the moves of this run are made"


@pytest.mark.usefixtures("limited")
def test_routes_are_renewed_without_a_word_to_docker_hosts_where_nothing_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_refused, "_reasons", {})
    monkeypatch.setattr(run_refused, "_said", [])

    def ask(target: Host, *, sizes: bool) -> HostState:
        raise AssertionError(f"{target.name} was asked, {sizes}")

    monkeypatch.setattr(moves, "_read_state", ask)
    run("traefik", tmp_path / "s.json", responses=deployed_on(NEW_HOST), execute=False)
    assert run_refused.reason() == ""


def test_a_silent_host_refuses_with_the_way_on(
    world: dict[str, HostState | Exception],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world[OLD] = FactError("no route")
    done = run("stacks", tmp_path / "secrets.json")
    assert f"Stack {STACK} is not started" in titles(done)
    assert done.sent == []
    assert f"{OLD} does not answer (no route)" in caplog.text
    assert f"phoenix sync --new {STACK}" in caplog.text


def test_of_several_stacks_those_that_were_named_are_started_new(
    world: dict[str, HostState | Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world[OLD] = copy(STACK)
    monkeypatch.setenv(NEW, f"other, {STACK}")
    done = run("stacks", tmp_path / "secrets.json", execute=False)
    assert f"Stack {STACK}" in titles(done)
    assert run_refused.reason() == ""


def test_a_partial_copy_goes_before_it_is_started_new(
    world: dict[str, HostState | Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world[OLD] = copy(STACK, running=False)
    world[NEW_HOST] = HostState({}, {STACK: Unfinished(OLD, "copying")})
    monkeypatch.setenv(NEW, STACK)
    done = titles(run("stacks", tmp_path / "secrets.json", execute=False))
    assert done.index(f"Stack {STACK}: a partial copy goes") < done.index(f"Stack {STACK}")


def test_a_stack_that_a_move_stopped_and_that_stays_gets_its_policies_back(
    world: dict[str, HostState | Exception], tmp_path: Path
) -> None:
    stopped = copy(STACK, running=False)
    world[NEW_HOST] = HostState(stopped.projects, {}, frozenset({STACK}))
    done = titles(run("stacks", tmp_path / "secrets.json", execute=False))
    assert done.index(f"Stack {STACK} stays here") < done.index(f"Stack {STACK}")


def test_asked_to_move_it_does_and_touches_no_other_stack(
    world: dict[str, HostState | Exception], tmp_path: Path
) -> None:
    world[OLD] = copy(STACK)
    done = run("moves", tmp_path / "secrets.json", execute=False)
    assert [name for name in titles(done) if "tack " in name] == [f"S{SENTENCE}"]
    assert run_refused.reason() == ""


def test_asked_to_move_without_anything_to_move_there_is_no_step(
    world: dict[str, HostState | Exception], tmp_path: Path
) -> None:
    world[NEW_HOST] = HostState({**copy(STACK).projects, **copy(OTHER).projects})
    assert run("moves", tmp_path / "secrets.json", execute=False).operations == []


@pytest.mark.parametrize(
    ("arriving", "expected"),
    [
        # OLD is Portainer's own guest: only now its server has no need of the Docker socket.
        (
            Unfinished(OLD, "proven"),
            [f"Stack {STACK} is on {NEW_HOST}", "Portainer: server"],
        ),
        (Unfinished(OLD, "started"), []),
        (Unfinished("elsewhere", "proven"), []),
    ],
)
def test_the_old_copy_goes_when_the_new_one_is_proven(
    world: dict[str, HostState | Exception],
    tmp_path: Path,
    arriving: Unfinished,
    expected: list[str],
) -> None:
    world[OLD] = copy(STACK, running=False)
    world[NEW_HOST] = HostState(copy(STACK).projects, {STACK: arriving})
    done = run("finish_moves", tmp_path / "secrets.json", execute=False)
    gone = [f"Stack {STACK}: its certificate goes"] if expected else []
    assert titles(done) == [*expected[:1], *gone, *expected[1:]]
    assert [on for on in done.changed.values() if on] == [[OLD]] * len(expected)


def beside(*projects: ComposeProject) -> HostState:
    return HostState({project.name: project for project in projects})


def running(name: str, *published: int) -> ComposeProject:
    (project,) = copy(name).projects.values()
    return replace(project, ports=tuple(Port("", port, port, "tcp") for port in published))


def test_stacks_that_exchange_their_ports_are_refused_before_a_host_is_touched(
    world: dict[str, HostState | Exception], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each would fail on the other's port, and be taken back."""
    world[NEW_HOST] = beside(running(STACK, 8000), running(OTHER, 6333, 6334))
    done = run("stacks", tmp_path / "secrets.json")
    assert done.sent == []
    words = caplog.text
    assert f"{STACK} takes 6333, 6334, which {OTHER} has" in words
    assert f"{OTHER} takes 8000, which {STACK} has" in words
    assert "give one of them a free port, sync" in words


@pytest.mark.parametrize(
    ("holder", "fix"),
    [
        (OTHER, f"sync both at once, as `phoenix sync stacks`, so that {OTHER} gives it up first"),
        ("somebodys", f"give {STACK} a free port, or stop somebodys"),
    ],
)
def test_a_port_of_a_stack_beside_the_run_is_refused_before_a_host_is_touched(
    world: dict[str, HostState | Exception], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    holder: str, fix: str,
) -> None:  # fmt: skip
    world[NEW_HOST] = beside(running(STACK, 1), running(holder, 6333))
    done = run("stacks", tmp_path / "secrets.json", stacks_only=[STACK])
    assert done.sent == []
    assert f"{STACK} takes 6333 on {NEW_HOST}, which {holder} has" in caplog.text
    assert fix in caplog.text


def test_a_port_is_given_up_before_another_stack_takes_it(
    world: dict[str, HostState | Exception], tmp_path: Path
) -> None:
    """The declared order is the other one."""
    world[NEW_HOST] = beside(running(STACK, 1), running(OTHER, 6333))
    done = run("stacks", tmp_path / "secrets.json", execute=False)
    assert run_refused.reason() == ""
    order = [title for title in titles(done) if title in (f"Stack {STACK}", f"Stack {OTHER}")]
    assert order == [f"Stack {OTHER}", f"Stack {STACK}"]


def test_a_folder_that_is_renamed_does_not_start_empty_beside_its_data(
    world: dict[str, HostState | Exception],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (old,) = copy("vectors-production").projects.values()
    container = replace(old.containers[0], service="qdrant", image="qdrant/qdrant:v1.0")
    world[NEW_HOST] = beside(replace(old, containers=(container,)), running(OTHER, 8000))
    register: dict[str | re.Pattern[str], object] = {
        REGISTER: lambda _: ["stack\tvectors-production\tdrphoenix\t10.0.0.102\t1002"]
    }
    done = run("stacks", tmp_path / "secrets.json", responses=register)
    assert done.sent == []
    assert "vectors-production runs there with the same services and images" in caplog.text
    assert "(vectors-production_data)" in caplog.text
    monkeypatch.setattr(run_refused, "_reasons", {})
    monkeypatch.setenv(NEW, STACK)
    done = run("stacks", tmp_path / "secrets.json", responses=register, execute=False)
    assert run_refused.reason() == ""
    assert f"Stack {STACK}" in titles(done)


def test_a_folder_that_is_renamed_and_moved_at_once_does_not_start_empty_either(
    world: dict[str, HostState | Exception], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (old,) = copy("vectors-production").projects.values()
    container = replace(old.containers[0], service="qdrant", image="qdrant/qdrant:v1.0")
    world[OLD] = beside(replace(old, containers=(container,)))
    world[NEW_HOST] = beside(running(OTHER, 8000))
    register: dict[str | re.Pattern[str], object] = {
        REGISTER: lambda _: [f"stack\tvectors-production\t{OLD}\t10.0.0.103\t1003"]
    }
    done = run("stacks", tmp_path / "secrets.json", responses=register)
    assert done.sent == []
    assert f"vectors-production runs on {OLD} with the same services and images" in caplog.text
