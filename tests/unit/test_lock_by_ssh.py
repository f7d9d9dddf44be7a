"""The lock and the history over a real SSH connection, as a run of pyinfra uses them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pyinfra
import pytest
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from pyinfra.api.state import StateStage

from operations import site_lock
from phoenix.derived import register
from phoenix.runs import history
from phoenix.runs.lock import this_process
from phoenix.runs.revision import Revision
from phoenix.shell import Script
from tests.unit.site_builder import minimal

KEY = paramiko.ECDSAKey.generate()
HUNG_UP = (OSError, EOFError)
"""What a server meets whose client hangs up at the end of the output: the channel's end follows
the output's as a message of its own."""


class Data(dict[str, Any]):
    """Of a host, as pyinfra has it."""

    def dict(self) -> dict[str, Any]:
        return {**self}


class Server(paramiko.ServerInterface):
    """Runs each command on this machine."""

    def check_auth_none(self, username: str) -> int:
        return AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "none"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_carry, args=(channel, command), daemon=True).start()
        return True


def _carry(channel: paramiko.Channel, command: bytes) -> None:
    process = subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin
    assert process.stdout

    def out() -> None:
        assert process.stdout
        with contextlib.suppress(*HUNG_UP):
            while piece := process.stdout.read(4096):
                channel.sendall(piece)
        status = process.wait()
        with contextlib.suppress(*HUNG_UP):
            channel.send_exit_status(status)
            channel.close()

    threading.Thread(target=out, daemon=True).start()
    while piece := channel.recv(4096):
        process.stdin.write(piece)
    process.stdin.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """A run of pyinfra with its own connection to the hypervisor, which is this machine."""
    monkeypatch.setattr(site_lock, "FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(history, "FILE", str(tmp_path / "lib/history.jsonl"))
    monkeypatch.setattr(register, "FILE", str(tmp_path / "lib/register"))
    minimal().write(tmp_path / "site/inventories")
    clients: list[paramiko.Transport] = []

    def connect() -> Any:
        for name in ("_channels", "_tried", "_refused", "_informed", "_at_end", "_tell_end"):
            monkeypatch.setattr(site_lock, name, [])  # each run is a process of its own
        client_end, server_end = socket.socketpair()
        server = paramiko.Transport(server_end)
        server.add_server_key(KEY)
        server.start_server(event=threading.Event(), server=Server())
        transport = paramiko.Transport(client_end)
        transport.connect()
        transport.auth_none("root")
        clients.extend((transport, server))
        state = SimpleNamespace(
            is_executing=True, inventory=[], ops={}, failed_hosts=set(),
            current_stage=StateStage.Disconnect,
        )  # fmt: skip
        connector = SimpleNamespace(
            run_shell_command=None,  # the lock has a channel of its own
            client=SimpleNamespace(get_transport=lambda: transport),
            disconnect=transport.close,
        )
        data = Data(
            site_inventories=str(tmp_path / "site/inventories"),
            site_stacks=str(tmp_path / "site/inventories/stacks"),
            site_environment="production",
        )
        return SimpleNamespace(
            name="hypervisor", connected=True, data=data, connector=connector, state=state
        )

    yield connect
    for client in clients:
        client.close()


OWNER = this_process("phoenix sync all")


def remembered(folder: Path) -> list[history.Entry]:
    return history.parse((folder / "lib/history.jsonl").read_text().splitlines())


@contextlib.contextmanager
def _queue_held() -> Iterator[None]:
    with Path(f"{site_lock.FILE}.queue").open("w") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _history_without_end() -> Iterator[None]:
    pipe = Path(history.FILE)
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    try:
        yield
    finally:
        pipe.open("w").close()
        pipe.unlink()


@pytest.mark.parametrize("hangs", [_queue_held, _history_without_end])
def test_a_lock_that_gives_no_answer_is_told(
    run: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
    hangs: Callable[[], contextlib.AbstractContextManager[None]],
) -> None:
    monkeypatch.setattr(site_lock, "_ANSWER_SECONDS", 0.5)
    told = r"hypervisor does not tell within .*/lock\.queue"
    with hangs(), pytest.raises(site_lock.SiteLockedError, match=told):
        site_lock.hold(run(), OWNER)


def test_a_run_is_remembered_before_its_connection_goes(
    run: Callable[[], Any], tmp_path: Path
) -> None:
    hypervisor = run()
    assert site_lock.hold(hypervisor, OWNER)
    hypervisor.connector.disconnect()
    (entry,) = remembered(tmp_path)
    assert (entry.start.command, entry.start.deploys) == ("phoenix sync all", True)
    assert entry.end.result == "ok"


def test_a_run_that_deploys_adds_its_declaration_to_the_register(
    run: Callable[[], Any], tmp_path: Path
) -> None:
    looking = run()
    site_lock.hold(looking, this_process("phoenix secrets rotate portainer_agent_secret"))
    looking.connector.disconnect()
    assert not (tmp_path / "lib/register").exists()
    hypervisor = run()
    site_lock.hold(hypervisor, OWNER)
    hypervisor.connector.disconnect()
    entries = register.parse((tmp_path / "lib/register").read_text().splitlines())
    assert {(entry.kind, entry.name) for entry in entries} >= {
        ("stack", "shop-production"),
        ("endpoint", "worker"),
        ("host", "control"),
    }


def deploy(hypervisor: Any) -> None:
    """A whole run, from its lock to its end."""
    assert site_lock.hold(hypervisor, OWNER)
    hypervisor.connector.disconnect()


def test_a_register_that_has_it_all_is_not_written(
    run: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(run())
    file = tmp_path / "lib/register"
    lines = file.read_text()
    monkeypatch.setattr(register, "ADD", Script("register", 'echo written >"$1"'))
    deploy(run())
    assert file.read_text() == lines
    file.write_text(f"{lines}stack\tof a former site")
    deploy(run())
    assert file.read_text() == f"{lines}stack\tof a former site", "its last line has no line feed"


@pytest.mark.parametrize(
    ("line", "former"),
    [
        pytest.param("stack\tshop-production\t", "", id="a stack is missing"),
        pytest.param("host\tcontrol\t", "host\tformer\t", id="a machine has its former name"),
    ],
)
def test_a_register_gets_what_it_lacks(
    run: Callable[[], Any], tmp_path: Path, line: str, former: str
) -> None:
    deploy(run())
    file = tmp_path / "lib/register"
    whole = file.read_text()
    assert line in whole
    kept = [
        each.replace(line, former) if former else each
        for each in whole.splitlines(keepends=True)
        if former or not each.startswith(line)
    ]
    file.write_text("".join([*kept, *([] if not former else whole.splitlines(keepends=True))]))
    deploy(run())
    assert file.read_text() == whole


def test_a_run_that_stops_half_way_says_so(run: Callable[[], Any], tmp_path: Path) -> None:
    hypervisor = run()
    assert site_lock.hold(hypervisor, OWNER)
    hypervisor.state.current_stage = StateStage.Execute
    hypervisor.connector.disconnect()
    assert remembered(tmp_path)[0].end.result == "stopped"


def test_a_second_run_is_refused_on_each_of_its_hosts(
    run: Callable[[], Any], tmp_path: Path
) -> None:
    first = run()
    assert site_lock.hold(first, OWNER)
    second = run()
    other = this_process("pyinfra deploys/all.py").model_copy(update={"user": "somebody"})
    for _ in range(2):
        with pytest.raises(site_lock.SiteLockedError, match="phoenix sync all"):
            site_lock.hold(second, other)
    first.connector.disconnect()
    refused, done = remembered(tmp_path)
    assert (refused.end.result, refused.start.user) == ("refused", "somebody")
    assert "another run is at work on this site" in refused.end.reason
    assert "phoenix sync all" in refused.end.reason
    assert done.end.result == "ok", "and the run that held the lock is remembered beside it"
    assert history.deployed([done, refused]) == done, "nothing was deployed by it"


def test_a_run_that_a_setting_ends_before_its_first_step_is_remembered_with_the_reason(
    run: Callable[[], Any], tmp_path: Path
) -> None:
    hypervisor = run()
    hypervisor.state.is_executing = False
    hypervisor.state.add_callback_handler = lambda _: None
    assert site_lock.hold(hypervisor, OWNER)
    site_lock.refused("this machine has older values:\n  traefik_dashboard_password")
    hypervisor.connector.disconnect()
    (entry,) = remembered(tmp_path)
    assert (entry.end.result, entry.start.deploys) == ("refused", False)
    assert entry.end.reason == "this machine has older values: traefik_dashboard_password"


def test_a_run_that_this_machine_s_own_lock_refused_is_remembered(
    run: Callable[[], Any], tmp_path: Path
) -> None:
    hypervisor = run()
    for _ in range(2):  # pyinfra calls the deploy once for each host
        site_lock.record_refused(hypervisor, OWNER, "another run is at work on this site")
    (entry,) = remembered(tmp_path)
    assert (entry.end.result, entry.end.reason) == (
        "refused",
        "another run is at work on this site",
    )


def test_an_older_checkout_is_refused_and_leaves_the_lock_free(
    run: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_lock, "of_this_run", lambda _: Revision(commit="a" * 40, dirty=False))
    first = run()
    assert site_lock.hold(first, OWNER)
    first.connector.disconnect()
    monkeypatch.setattr(site_lock, "of_this_run", lambda _: Revision(commit="b" * 40, dirty=False))
    older = OWNER.model_copy(update={"user": "older"})
    with pytest.raises(site_lock.SiteLockedError, match="--older"):
        site_lock.hold(run(), older)
    _, refused = remembered(tmp_path)
    assert (refused.end.result, refused.start.deploys) == ("refused", False), "nothing was started"
    assert "get the newer one first" in refused.end.reason
    monkeypatch.setenv(history.OLDER, "1")
    third = run()
    assert site_lock.hold(third, older)
    third.connector.disconnect()
    assert remembered(tmp_path)[-1].start.commit == "b" * 40


def test_the_history_is_told(run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first = run()
    assert site_lock.hold(first, OWNER)
    first.connector.disconnect()
    values: list[Any] = []
    monkeypatch.setattr(site_lock, "value", lambda *words: values.append(words))
    for word in ("all", "last"):
        site_lock.record_in_history(run(), word)
    assert [len(history.parse(lines)) for _, _, lines in values] == [1, 1]


def test_no_host_begins_before_the_lock_is_taken(
    run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All hosts come to their first step at once; who asks second must not go on without it."""
    first = run()
    assert site_lock.hold(first, OWNER)
    second = run()
    inventory = SimpleNamespace(groups=["hypervisor"], get_group=lambda _name: [second])
    monkeypatch.setattr(site_lock, "inventory", inventory)
    monkeypatch.setattr(pyinfra, "is_cli", True)
    take, taking, go_on = site_lock._take, threading.Event(), threading.Event()

    def slowly(*words: Any) -> None:
        taking.set()
        assert go_on.wait(30)
        take(*words)

    monkeypatch.setattr(site_lock, "_take", slowly)
    ends: list[str] = []

    def host_begins() -> None:
        try:
            site_lock.for_this_run()
        except site_lock.SiteLockedError:
            ends.append("refused")
        else:
            ends.append("began")

    hosts = [threading.Thread(target=host_begins, daemon=True) for _ in range(3)]
    hosts[0].start()
    assert taking.wait(30)
    for thread in hosts[1:]:
        thread.start()
        thread.join(0.2)
    go_on.set()
    for thread in hosts:
        thread.join(30)
    first.connector.disconnect()
    assert ends == ["refused"] * 3
