"""`phoenix remove`: what it refuses, asks, and says, before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from phoenix.cli import removal as cli
from phoenix.cli.complete import left
from phoenix.cli.converge import Summary
from phoenix.cli.targets import Work
from phoenix.components.docker.projects import to_json
from phoenix.health import observation
from phoenix.health.undeclared import PLACED, Placed
from phoenix.runs.process import Finished, Request
from phoenix.runs.results import Course
from tests.unit.project_copy import phoenix
from tests.unit.project_copy import project as project
from tests.unit.test_undeclared import project as compose_project

AGENT = "drphoenix"
HOSTS = ("phoenix", "nginx-phoenix", "traefik-internal", "step-ca", "portainer", AGENT)
GONE = "gone-production"
WENT = ("10.0.0.77", 1077)


@pytest.fixture
def asked(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """The calls that a removal made; hosts answer without SSH."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))
    works: list[Work] = []
    register = [
        ["stack", GONE, AGENT, "10.0.0.102", 1002],
        ["host", "went", "went", *WENT],
        ["endpoint", "went", "went", *WENT],
    ]
    keys = ("kind", "name", "host", "address", "vmid")
    values: dict[str, dict[str, Any]] = {
        observation.CONTAINERS: {host: [] for host in HOSTS},
        observation.PLACED: {
            host: PLACED.dump_python(Placed(("base",)), mode="json") for host in HOSTS
        },
        observation.REGISTER: {"phoenix": [dict(zip(keys, row, strict=True)) for row in register]},
        observation.GUESTS: {"phoenix": []},
        observation.PORTAINER: {
            "portainer": {
                "endpoints": [{"name": AGENT}, {"name": "went"}],
                "stacks": [{"name": GONE, "endpoint": AGENT}],
            }
        },
    }
    values[observation.CONTAINERS][AGENT] = to_json([compose_project(GONE, volumes=1)])

    def observe(*_: object, **__: object) -> tuple[observation.Observed, None]:
        return observation.Observed(values, {}), None

    def run(request: Request) -> Finished:
        course = Course(connected=list(request.limit))
        if "went@10.0.0.77" in request.limit:
            course = Course(unreachable={"went@10.0.0.77": "No route to host"})
        step = {"name": "deploys/remove.py | Remove: containers", "hosts_with_change": [AGENT],
                "hosts_with_conditional_change": []}  # fmt: skip
        return Finished(0, course, {"plan": [step]}, ())

    def converge(_: object, planned: list[Work], command: str, **__: object) -> Summary:
        works.extend(planned)
        return Summary(
            site="s", command=f"phoenix {command}", ok=True, verified=False, seconds=1, hosts=[],
            failures=[], first_cause=None, notes=[], taken_over=[], log="/log",
        )  # fmt: skip

    monkeypatch.setattr(cli, "observe", observe)
    monkeypatch.setattr(cli, "run", run)
    monkeypatch.setattr(cli, "converge", converge)
    return works


def setting(work: Work) -> dict[str, Any]:
    removal = work.data["remove"]
    assert isinstance(removal, dict)
    return removal


def test_a_stack_is_shown_and_removed_by_the_hosts_that_it_concerns(asked: list[Work]) -> None:
    done = phoenix("remove", GONE, "-y")
    assert done.exit_code == 0, done.output
    assert "volume gone-production_v0" in done.output
    assert "Volumes stay; later: phoenix remove gone-production --volumes" in done.output
    (work,) = asked
    assert work.limit == ("phoenix", "portainer", AGENT)
    removal = setting(work)
    assert (removal["target"], removal["environment"], removal["volumes"]) == (AGENT, AGENT, False)
    assert removal["lines"] == [], "by the register its volumes are told from a person's"
    phoenix("remove", f"stack:{GONE}@{AGENT}", "--volumes", "-y")
    assert setting(asked[1])["lines"] == [f"stack\t{GONE}\t{AGENT}\t10.0.0.102\t1002"]


def test_nobody_to_ask_changes_nothing(asked: list[Work]) -> None:
    done = phoenix("remove", GONE)
    assert (done.exit_code, asked) == (1, [])
    assert "give -y" in str(done.exception)


def test_a_host_that_did_not_answer_is_named(
    asked: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = observation.Observed({}, dict.fromkeys(HOSTS, "No route to host"))
    monkeypatch.setattr(cli, "observe", lambda *_, **__: (silent, None))
    done = phoenix("remove", "went-production")
    assert (done.exit_code, asked) == (1, [])
    message = str(done.exception)
    assert (
        "the hosts that answered have nothing undeclared that is called went-production" in message
    )
    assert "phoenix: No route to host" in message


def test_json_is_the_summary_alone(asked: list[Work]) -> None:
    done = phoenix("remove", GONE, "-y", "--json")
    assert json.loads(done.stdout)["command"] == f"phoenix remove {GONE}"


def test_what_is_declared_is_refused_with_its_place(asked: list[Work]) -> None:
    done = phoenix("remove", "qdrant_service", "-y")
    assert (done.exit_code, asked) == (1, [])
    assert (
        "qdrant_service is still declared, at phoenix_vm_configs.json: vms[2].docker_stacks[0]"
        in str(done.exception)
    )


@pytest.mark.parametrize("kind", ["", "stack:"])
def test_what_is_declared_on_the_host_that_is_named_is_refused_too(
    asked: list[Work], kind: str
) -> None:
    done = phoenix("remove", f"{kind}qdrant_service-production@{AGENT}", "-y")
    assert (done.exit_code, asked) == (1, [])
    assert "is still declared, at phoenix_vm_configs.json: vms[2]" in str(done.exception)
    done = phoenix("remove", f"{kind}qdrant_service-production@portainer", "-y")
    assert (done.exit_code, asked) == (0, [])


WORDS = (
    "\x1b[2Jx", "../../etc", "*", "stack:", "@", "x@", f"@{AGENT}", ":x", f"stack:@{AGENT}",
    "a" * 9000,
    f"{GONE}@nowhere", f"host:{GONE}", f"{GONE}@{AGENT}@x", f"volumes:{GONE}", "secret:x",
    f"base@{AGENT}", f"component:base@{AGENT}", f"{GONE}/..", f"{GONE}*", f"{GONE}_v0",
)  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_hostile_name_means_nothing_and_reaches_no_host(asked: list[Work], word: str) -> None:
    done = phoenix("remove", word, "-y")
    assert (done.exit_code, asked) == (0, [])
    assert "nothing was removed" in done.output
    assert done.output.replace("\n", "").isprintable()
    assert len(done.output) < 1500


def test_what_is_not_there_is_no_failure_and_the_rest_is_named(asked: list[Work]) -> None:
    done = phoenix("remove", "never-heard-of", "-y")
    assert (done.exit_code, asked) == (0, [])
    assert "nothing was removed" in done.output
    assert f"there are: {GONE}, went" in " ".join(done.output.split())


def test_of_a_host_that_is_gone_the_rest_is_removed(asked: list[Work]) -> None:
    done = phoenix("remove", "went", "-y")
    assert done.exit_code == 0, done.output
    assert "went does not answer at 10.0.0.77" in " ".join(done.output.split())
    (work,) = asked
    assert (work.limit, work.environment) == (("phoenix", "portainer"), {})
    assert setting(work)["item"]["endpoints"] == ["went"]
    assert len(setting(work)["lines"]) == 2


def test_a_shell_completes_what_was_found_the_last_time(asked: list[Work], project: Path) -> None:
    phoenix("remove", "never-heard-of")
    context: Any = SimpleNamespace(
        meta={}, params={"inventory": project / "inventories/phoenix.py"}
    )
    assert left(context, "go") == [GONE]
    kinds = ("stack", "component", "certificate", "endpoint", "node", "overlay", "host", "guest",
             "firewall", "volumes", "secret")  # fmt: skip
    assert left(context, "") == [GONE, "went", *(f"{kind}:" for kind in kinds)]


def test_an_empty_name_is_wrong_usage(asked: list[Work]) -> None:
    done = phoenix("remove", "", "-y")
    assert done.exit_code == 64
    assert "it is empty" in done.stderr
    assert asked == []
