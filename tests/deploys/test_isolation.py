"""A step that fails stops the later steps of its own part on its host, and nothing else."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import gevent
import paramiko
import pyinfra
import pytest
from pyinfra.api import Config, Inventory, State, StringCommand
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput
from pyinfra.context import ctx_host, ctx_inventory, ctx_state

from facts.command import command
from operations import connection, isolation, serial
from operations.operation import operation
from phoenix.runs.results import NOT_DONE


def send(words: str) -> Generator[StringCommand, None, None]:
    yield command(*words.split())


STEPS = {
    "step": operation()(send), "spared": operation(stops=False)(send), "part": isolation.part,
    "serial": serial.component,
}  # fmt: skip


@dataclass
class Outcome:
    """What each host was sent, in order, and which hosts failed; `order` is that of all hosts."""

    sent: dict[str, list[str]] = field(default_factory=dict)
    order: list[tuple[str, str]] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)


def deploy(folder: Path, files: dict[str, str], hosts: str = "ab", **config: object) -> Outcome:
    """Run `all.py` of these files for hosts; a command fails where it says `fail HOST`."""
    outcome = Outcome()

    class Recorder(FakeConnector):
        def run_shell_command(self, command: Any, *_: Any, **__: Any) -> Any:
            words = command.get_raw_value()
            outcome.sent.setdefault(self.host.name, []).append(words)
            outcome.order.append((self.host.name, words))
            gevent.sleep(0)  # as a command does that is sent
            return words != f"fail {self.host.name}", CommandOutput([])

    for name, text in files.items():
        (folder / name).write_text(text)

    def include(name: str) -> None:
        code = compile((folder / name).read_text(), str(folder / name), "exec")
        exec(code, {"__file__": name, "include": include, **STEPS})  # noqa: S102

    with (
        patch("pyinfra.api.inventory.get_execution_connectors", lambda: {"ssh": Recorder}),
        patch.object(pyinfra, "is_cli", True),
    ):
        inventory = Inventory(([*hosts], {"fake_delay": 0, "fake_delay_jitter": 0}))
        state = State(inventory, Config(**config))
        state.cwd = str(folder)
        with ctx_state.use(state), ctx_inventory.use(inventory):
            state.set_stage(StateStage.Connect)
            connect_all(state)
            state.set_stage(StateStage.Prepare)
            for host in state.inventory:
                with ctx_host.use(host):
                    include("all.py")
            outcome.sent, outcome.order = {}, []
            state.set_stage(StateStage.Execute)
            run_ops(state)
            outcome.failed = {host.name for host in state.failed_hosts}
    return outcome


ALL = "include('dns.py')\ninclude('proxy.py')\n"


def test_the_later_steps_of_its_deploy_file_alone_are_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dns = "step(name='DNS: one', words='fail a')\nstep(name='DNS: two', words='second')\n"
    done = deploy(
        tmp_path, {"all.py": ALL, "dns.py": dns, "proxy.py": "step(name='Proxy', words='third')"}
    )
    assert done.sent == {"a": ["fail a", "third"], "b": ["fail a", "second", "third"]}
    assert done.failed == {"a"}, "the run ends with exit code 1"
    assert f'{NOT_DONE}"DNS: one" failed before on this host' in caplog.text


def test_a_named_part_and_a_step_that_stops_nothing(tmp_path: Path) -> None:
    stacks = """
for name in ("one", "two"):
    with part(name):
        step(name=f"{name}: files", words="fail a" if name == "one" else "files")
for name in ("one", "two"):
    with part(name):
        step(name=f"{name}: stack", words=f"stack {name}")
"""
    proxy = "spared(name='Certificate', words='fail a')\nstep(name='Routes', words='routes')\n"
    done = deploy(tmp_path, {"all.py": ALL, "dns.py": stacks, "proxy.py": proxy})
    assert done.sent["a"] == ["fail a", "files", "stack two", "fail a", "routes"]
    assert done.sent["b"] == ["fail a", "files", "stack one", "stack two", "fail a", "routes"]
    assert done.failed == {"a"}


def test_what_a_deploy_includes_is_part_of_it(tmp_path: Path) -> None:
    rotate = "include('proxy.py')\nstep(name='Switch', words='switch')\n"
    files = {"all.py": "include('rotate.py')", "rotate.py": rotate,
             "proxy.py": "step(name='Trust', words='fail a')"}  # fmt: skip
    done = deploy(tmp_path, files)
    assert done.sent == {"a": ["fail a"], "b": ["fail a", "switch"]}, "no switch without trust"


def test_every_host_may_fail_and_the_run_goes_on(tmp_path: Path) -> None:
    dns = "step(name='DNS: a', words='fail a')\nstep(name='DNS: b', words='fail b')\n"
    done = deploy(
        tmp_path, {"all.py": ALL, "dns.py": dns, "proxy.py": "step(name='Proxy', words='third')"}
    )
    assert done.sent == {"a": ["fail a", "third"], "b": ["fail a", "fail b", "third"]}
    assert done.failed == {"a", "b"}


def test_a_limit_of_failed_hosts_is_kept(tmp_path: Path) -> None:
    files = {"all.py": ALL, "dns.py": "step(name='DNS', words='fail a')", "proxy.py": ""}
    with pytest.raises(Exception, match="Over 0% of hosts failed"):
        deploy(tmp_path, files, FAIL_PERCENT=0)


RISKY = """
with serial("Docker", SIZE):
    step(name="Docker: packages", words="packages")
    step(name="Docker: daemon", words="FAIL")
step(name="Docker: after", words="after")
"""


def risky(size: str, fail: str = "daemon") -> str:
    return RISKY.replace("SIZE", repr(size)).replace("FAIL", fail)


def test_a_batch_does_all_of_a_component_host_by_host(tmp_path: Path) -> None:
    files = {"all.py": ALL, "dns.py": risky("2"), "proxy.py": "step(name='Proxy', words='proxy')"}
    done = deploy(tmp_path, files, "abcd")
    docker = [(host, words) for host, words in done.order if words in ("packages", "daemon")]
    for batch in ("ab", "cd"):
        of_batch = [sent for sent in docker if sent[0] in batch]
        assert of_batch == [(host, words) for host in batch for words in ("packages", "daemon")]
    assert {docker[0][0], docker[1][0]} == {"a", "c"}, "batches go side by side"
    assert [words for _, words in done.order][8:] == ["after"] * 4 + ["proxy"] * 4
    assert not done.failed


def test_a_failed_host_stops_those_after_it_in_its_batch_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"all.py": ALL, "dns.py": risky("3", "fail b"),
             "proxy.py": "step(name='Proxy', words='proxy')"}  # fmt: skip
    done = deploy(tmp_path, files, "abcdef")
    whole = ["packages", "fail b", "after", "proxy"]
    assert done.sent == {"a": whole, "b": ["packages", "fail b", "proxy"], "c": ["proxy"],
                         "d": whole, "e": whole, "f": whole}  # fmt: skip
    assert done.failed == {"b", "c"}
    why = '"Docker: daemon" failed on b, which comes before this host in its batch (serial)'
    assert caplog.text.count(f"{NOT_DONE}{why}") == 3, "both steps of Docker, and what comes after"


def test_batches_of_one_go_step_by_step_as_everything_else(tmp_path: Path) -> None:
    files = {"all.py": "include('dns.py')", "dns.py": risky("1", "fail a")}
    done = deploy(tmp_path, files, "abc")
    assert [words for _, words in done.order] == ["packages"] * 3 + ["fail a"] * 3 + ["after"] * 2
    assert done.failed == {"a"}


@pytest.mark.parametrize(
    ("size", "lengths"),
    [("1", [1] * 7), ("3", [3, 3, 1]), ("40", [7]), ("100%", [7]), ("20%", [2, 2, 2, 1])],
)
def test_the_size_of_a_batch(size: str, lengths: list[int]) -> None:
    hosts: Any = [*"abcdefg"]
    batches = serial.batches(hosts, size)
    assert [len(batch) for batch in batches] == lengths
    assert [host for batch in batches for host in batch] == hosts


class Transport:
    """A connection; one that `hangs` answers nothing until it is closed."""

    def __init__(self, *, hangs: bool) -> None:
        self.active, self.hangs, self.asked = True, hangs, 0

    def is_active(self) -> bool:
        return self.active

    def close(self) -> None:
        self.active = False

    def global_request(self, kind: str) -> None:
        assert "@" in kind, "an extension's name (RFC 4250, section 4.6.1)"
        self.asked += 1
        if self.hangs:
            gevent.sleep(60)
        if self.asked == 3:
            self.active = False
            raise paramiko.SSHException("closed by the run itself")


class Silent:
    """A host whose connection is `transport`, or that refuses to connect."""

    def __init__(self, transport: Transport | None = None) -> None:
        self.connector = self.client = self
        self.get_transport = lambda: transport
        self.connected, self.tried = transport is not None, 0
        self.said: list[str] = []
        self.name = "silent"
        self.state = SimpleNamespace(failed_hosts=set(), activated_hosts=set())

    def connect(self, **_: object) -> None:
        self.tried += 1
        raise ConnectError("timed out")

    def log_styled(self, line: str, **_: object) -> None:
        self.said.append(line)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE", 0.01)
    monkeypatch.setattr(connection, "_SLICE", 0.002)


@pytest.mark.usefixtures("soon")
def test_a_connection_that_goes_silent_is_closed_and_told() -> None:
    hung, well = Transport(hangs=True), Transport(hangs=False)
    host: Any = Silent(hung)
    connection._watch(host, hung)  # type: ignore[arg-type]
    assert not hung.is_active()
    assert connection.is_gone(host)
    assert host.said[0].startswith(connection.SILENT)
    other: Any = Silent(well)
    connection._watch(other, well)  # type: ignore[arg-type]
    assert (well.asked, other.said) == (3, [])


def test_a_connection_that_ends_under_a_command_is_a_fault_of_its_host_alone() -> None:
    """paramiko raises its reader's EOFError then, at which pyinfra ends the whole run."""

    def ended(*_: object, **__: object) -> None:
        raise EOFError

    host: Any = Silent(Transport(hangs=False))
    host.run_shell_command, host.data = ended, SimpleNamespace(dict=dict)
    connection.watch(host)
    with pytest.raises(paramiko.SSHException, match="the connection broke"):
        host.connector.run_shell_command("true")


def test_a_host_that_others_need_is_tried_once_a_run() -> None:
    host: Any = Silent()
    for _ in range(3):
        with pytest.raises(ConnectError, match="timed out"):
            connection.connect(host, "to read its state")
    assert host.tried == 1


def test_a_host_that_was_silent_when_the_run_began_is_not_dialled_again() -> None:
    host: Any = Silent()
    host.state.failed_hosts.add(host)
    with pytest.raises(ConnectError, match="no answer when this run began"):
        connection.connect(host, "to read its state")
    assert host.tried == 0
    connection.is_back(host)  # as a guest that the run has started since
    with pytest.raises(ConnectError, match="timed out"):
        connection.connect(host, "to read its state")
    assert host.tried == 1


def test_a_host_that_has_failed_in_a_step_is_dialled_where_it_is_needed() -> None:
    host: Any = Silent()
    host.state.failed_hosts.add(host)
    host.state.activated_hosts.add(host)
    with pytest.raises(ConnectError, match="timed out"):
        connection.connect(host, "to read its state")
    assert host.tried == 1
