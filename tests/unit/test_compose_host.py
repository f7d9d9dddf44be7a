"""Stacks on a host without Portainer: the host's script with doubles of docker and curl."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from phoenix import portainer_api as api
from phoenix.compose_host.client import HOST, Answer, ComposeHost
from phoenix.portainer_api.sync import Create, Nothing, Update
from phoenix.shell import Script

FILE = "services:\n  web:\n    image: web:1\n    restart: always\n    ports: ['80:80']\n"
HOSTILE = {
    "DOLLARS": "pa$$w0rd$x and ${HOME}", "COMMENT": "abc #def", "QUOTES": "'it\"s' q",
    "BLANKS": "  lead and trail ", "LINES": "one\ntwo\n", "PATH": "mine", "HOME": "/nowhere",
}  # fmt: skip
DOCKER = r"""#!/bin/sh
# docker, as far as the script asks: keeps the words and variables that it was called with.
here=$(dirname "$0")
printf '%s\n' "$*" >>"$here/calls"
env >"$here/environment"
case "$*" in
*" config --quiet"*) [ ! -e "$here/refuses" ] || { echo "refused: services.web" >&2; exit 15; } ;;
*" up --detach"*)
    [ ! -e "$here/dies" ] || kill -9 $PPID
    for word; do
        case "$word" in */docker-compose.yml) file=$word ;; esac
    done
    ! grep -q web:bad "$file" || { echo "port is already allocated" >&2; exit 1; } ;;
*" pull "*) [ ! -e "$here/fails" ] || { echo "pull access denied" >&2; exit 1; } ;;
esac
"""
CURL = r"""#!/bin/sh
here=$(dirname "$0")
[ ! -e "$here/no-docker" ] || exit 7
for url; do :; done
case "$url" in
*/containers/json*) cat "$here/containers.json"; printf '\n200' ;;
*/logs*) printf '\001\0\0\0\0\0\0\006words\n'; printf '\n200' ;;
*/containers/*/json) cat "$here/details.json"; printf '\n200' ;;
*/images/*) printf '{"message":"No such image"}\n404' ;;
*) printf '\n204' ;;
esac
"""


@dataclass
class Machine:
    """A host whose docker and curl are doubles, and whose clock is ours."""

    directory: Path
    now: float = 0.0
    commands: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.directory / "bin").mkdir()
        for name, text in (("docker", DOCKER), ("curl", CURL)):
            self.bin(name).write_text(text)
            self.bin(name).chmod(0o755)
        self.containers()
        self.bin("details.json").write_text('{"RestartCount": 0}')

    def bin(self, name: str) -> Path:
        return self.directory / "bin" / name

    @property
    def root(self) -> Path:
        return self.directory / "stacks"

    def containers(self, **more: Any) -> None:
        row = {
            "Id": "c1", "Names": ["/app-web-1"], "State": "running", "Status": "Up 2 hours",
            "Labels": {
                "com.docker.compose.project": "app", "com.docker.compose.service": "web",
                "com.docker.compose.project.working_dir": "/etc/phoenix/compose/app",
            },
        } | more  # fmt: skip
        self.bin("containers.json").write_text(json.dumps([row]))

    def no_containers(self) -> None:
        self.bin("containers.json").write_text("[]")

    def calls(self) -> list[str]:
        return self.bin("calls").read_text().splitlines() if self.bin("calls").exists() else []

    def ask(self, script: Script, *words: str, stdin: str = "") -> Answer:
        env = os.environ | {"PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(
            script.argv(*words), input=stdin, env=env, capture_output=True, text=True, check=False
        )
        self.commands += list(map(str, words))
        return Answer(done.returncode, done.stdout.rstrip("\n"), done.stderr)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def client(self) -> ComposeHost:
        return ComposeHost(
            "worker", self.ask, root=str(self.root), clock=lambda: self.now, sleep=self.sleep
        )

    def desired(
        self, content: str = FILE, env: Mapping[str, str] = HOSTILE, *, present: bool = True
    ) -> api.DesiredStack:
        secret = {name: SecretStr(value) for name, value in env.items()}
        return api.desired_stack("app", content, HOST, secret, present=present)

    def plan(self, desired: api.DesiredStack) -> Any:
        return api.plan(desired, self.client.observe("app", HOST))

    def converge(self, desired: api.DesiredStack) -> tuple[str, ...]:
        return api.converge(self.client, desired, seconds=20).actions


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_stack_is_made_once_and_then_left_alone(machine: Machine) -> None:
    machine.no_containers()
    assert machine.plan(machine.desired()) == Create()
    machine.containers()
    assert machine.converge(machine.desired())
    ups = [call for call in machine.calls() if " up " in call]
    assert len(ups) == 1
    assert "--project-name app" in ups[0]
    assert machine.plan(machine.desired()) == Nothing(machine.client.observe("app", HOST).stack)
    assert machine.converge(machine.desired()) == ()
    assert [call for call in machine.calls() if " up " in call] == ups


def test_its_files_are_what_was_given_and_its_owners_alone(machine: Machine) -> None:
    machine.converge(machine.desired())
    assert (machine.root / "app" / "docker-compose.yml").read_bytes() == FILE.encode()
    stack = machine.client.observe("app", HOST).stack
    assert stack is not None
    assert stack.env_mapping == HOSTILE
    for path in machine.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_no_value_is_a_word_of_a_command_and_none_of_the_log_in_reaches_compose(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTER", "of the log-in")
    machine.converge(machine.desired(env={"SECRET": "a-very-secret-value"}))
    assert not [word for word in [*machine.commands, *machine.calls()] if "very-secret" in word]
    environment = machine.bin("environment").read_text()
    assert "OUTER" not in environment
    assert "very-secret" not in environment


def test_changes_by_hand_are_seen_and_put_back(machine: Machine) -> None:
    machine.converge(machine.desired())
    (machine.root / "app" / "stack.env").write_text("OTHER=1\n")
    step = machine.plan(machine.desired())
    assert isinstance(step, Update)
    assert "env: OTHER removed" in step.reasons
    shown = "\n".join(api.diff(machine.desired(), machine.client.observe("app", HOST)))
    assert "pa$$w0rd" not in shown
    assert machine.converge(machine.desired())
    assert machine.converge(machine.desired()) == ()


@pytest.mark.parametrize(
    ("status", "state"), [("Exited (0) 3 seconds ago", "exited"), ("Up 3 hours (unhealthy)", "")]
)
def test_containers_that_are_not_well_are_drift(machine: Machine, status: str, state: str) -> None:
    machine.converge(machine.desired())
    machine.containers(Status=status, State=state or "running")
    assert isinstance(machine.plan(machine.desired()), Update)


def test_a_version_that_does_not_come_up_gives_way_to_the_last_good_one(machine: Machine) -> None:
    machine.converge(machine.desired())
    with pytest.raises(api.StackFailedError) as failed:
        machine.converge(machine.desired(FILE.replace("web:1", "web:bad")))
    assert failed.value.restored is True
    assert "port is already allocated" in str(failed.value)
    assert (machine.root / "app" / "docker-compose.yml").read_text() == FILE
    assert machine.converge(machine.desired()) == ()


def test_containers_that_do_not_get_healthy_give_way_too(machine: Machine) -> None:
    machine.converge(machine.desired())
    machine.containers(Status="Up 3 seconds (unhealthy)")
    with pytest.raises(api.StackFailedError) as failed:
        machine.converge(machine.desired(FILE.replace("web:1", "web:2")))
    assert "app-web-1 is unhealthy" in failed.value.reason
    assert failed.value.logs == ("app-web-1 | words",)
    assert (machine.root / "app" / "docker-compose.yml").read_text() == FILE
    assert failed.value.restored is False, "the double's container is unhealthy for good"


def test_a_crash_loop_does_not_count_as_running(machine: Machine) -> None:
    """Docker says "running" at each look, a moment after it started it once more."""
    machine.containers(Status="Up 2 seconds")
    details = {
        "RestartCount": 3, "Created": "2026-01-01T00:00:00Z",
        "State": {"StartedAt": "2026-01-01T00:00:12.5Z"},
    }  # fmt: skip
    machine.bin("details.json").write_text(json.dumps(details))
    with pytest.raises(api.StackFailedError, match="ends again and again") as failed:
        machine.converge(machine.desired())
    assert failed.value.logs == ("app-web-1 | words",)
    assert isinstance(machine.plan(machine.desired()), Update)


def test_what_has_no_health_check_must_run_for_a_while(machine: Machine) -> None:
    machine.containers(Status="Up 3 seconds")
    with pytest.raises(api.StackFailedError, match="runs for 3 s alone"):
        machine.converge(machine.desired())
    machine.containers(Status="Up 11 seconds")
    assert machine.converge(machine.desired())


def test_what_compose_refuses_touches_nothing(machine: Machine) -> None:
    machine.converge(machine.desired())
    before = {p: p.read_bytes() for p in machine.root.rglob("*") if p.is_file()}
    machine.bin("refuses").touch()
    with pytest.raises(api.InvalidInputError, match="No container was touched"):
        machine.converge(machine.desired(FILE.replace("web:1", "web:2")))
    machine.bin("refuses").unlink()
    assert {p: p.read_bytes() for p in machine.root.rglob("*") if p.is_file()} == before
    assert machine.converge(machine.desired()) == ()


def test_an_interrupted_deployment_is_finished_by_the_next_run(machine: Machine) -> None:
    machine.bin("dies").touch()
    with pytest.raises(api.StackFailedError):
        machine.converge(machine.desired())
    machine.bin("dies").unlink()
    step = machine.plan(machine.desired())
    assert isinstance(step, Update), step
    assert "interrupted" in " ".join(step.reasons)
    assert machine.converge(machine.desired())
    assert machine.converge(machine.desired()) == ()


def test_a_version_that_was_interrupted_gives_way_to_the_good_one_too(machine: Machine) -> None:
    machine.converge(machine.desired())
    newer = FILE.replace("web:1", "web:2")
    machine.bin("dies").touch()
    with pytest.raises(api.StackFailedError):
        machine.converge(machine.desired(newer))
    observed = machine.client.observe("app", HOST)
    assert observed.content == newer or observed.content == FILE
    assert observed.restorable is not None
    assert observed.restorable.content == FILE
    assert dict(observed.restorable.env) == HOSTILE


def test_removal_keeps_no_file(machine: Machine) -> None:
    machine.converge(machine.desired())
    assert machine.converge(machine.desired(present=False)) == ("delete (volumes kept)",)
    down = next(call for call in machine.calls() if " down " in call)
    assert "--volumes" not in down
    assert " -v" not in down
    assert not (machine.root / "app").exists()
    machine.no_containers()
    assert machine.converge(machine.desired(present=False)) == ()


def test_containers_of_others_are_left_alone(machine: Machine) -> None:
    machine.containers(Labels={"com.docker.compose.project.working_dir": "/srv/other/app"})
    with pytest.raises(api.RefusedError, match="/srv/other/app"):
        machine.converge(machine.desired())
    assert machine.calls() == []


def test_an_image_that_cannot_be_pulled_touches_nothing(machine: Machine) -> None:
    machine.bin("fails").touch()
    with pytest.raises(api.StackFailedError, match="pull access denied"):
        machine.converge(machine.desired())
    assert not [call for call in machine.calls() if " up " in call]


def test_docker_that_does_not_answer_is_told(machine: Machine) -> None:
    machine.bin("no-docker").touch()
    with pytest.raises(api.UnreachableError, match=r"worker: .*Docker does not answer"):
        machine.client.observe("app", HOST)


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_a_value_with_what_python_takes_for_a_line_s_end_is_deployed_once(
    machine: Machine, mark: str
) -> None:
    """Each run found that the variable had changed, and deployed the stack again, and failed."""
    desired = machine.desired(env={"A": f"one{mark}two", "B": "three"})
    assert machine.converge(desired)
    assert isinstance(machine.plan(desired), Nothing)


def test_a_file_that_is_no_text_any_more_is_replaced(machine: Machine) -> None:
    desired = machine.desired()
    machine.converge(desired)
    (machine.root / "app/docker-compose.yml").write_bytes(b"services: {} # \xe4\n")
    step = machine.plan(desired)
    assert isinstance(step, Update)
    assert step.reasons == ("the compose file differs",)
    assert machine.converge(desired)
    assert (machine.root / "app/docker-compose.yml").read_text() == desired.content
