"""Waiting for guests: keys learned through the hypervisor, clones given their own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent.event
import paramiko
import pytest
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from pyinfra.api.exceptions import NoHostError
from pyinfra.context import ctx_host
from typing_extensions import override

from operations import connection, guest_ssh
from operations.guest_ssh import End, greeting
from phoenix.derived.login import host_data
from phoenix.net import ssh_greeting
from phoenix.proxmox import hostkeys
from phoenix.proxmox.hostkeys import Guest
from phoenix.site.model import SshLogin
from tests.unit.test_proxmox_hostkeys import A, B, C

GUESTS = (
    Guest(102, "lxc", "proxy", "10.0.0.21", "vmbr0"),
    Guest(101, "lxc", "gateway", "10.0.0.20", "vmbr0"),
    Guest(1001, "vm", "control", "10.0.0.23", "vmbr0"),
)
ENDS = {guest: End(guest.address) for guest in GUESTS}


class Hypervisor:
    """What the hypervisor sees in its guests, and what was renewed there."""

    name = "hypervisor"

    def __init__(self, keys: dict[int, frozenset[str]]) -> None:
        self.keys = keys
        self.renewed: list[int] = []
        self.said: list[str] = []

    def log(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture
def hypervisor(monkeypatch: pytest.MonkeyPatch) -> Hypervisor:
    fake = Hypervisor({101: frozenset({A}), 102: frozenset({B}), 1001: frozenset({C})})

    def renew(host: Any, vmid: int) -> None:
        fake.renewed.append(vmid)
        fake.keys[vmid] = frozenset({B if vmid == 102 else A})

    monkeypatch.setattr(guest_ssh, "_learn", lambda _host, _guests: dict(fake.keys))
    monkeypatch.setattr(guest_ssh, "_renew", renew)
    monkeypatch.setattr(ssh_greeting, "answers", lambda *_: True)
    now = [0.0]  # it passes in pauses alone, however slow the machine
    passing = SimpleNamespace(
        monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds)
    )
    monkeypatch.setattr(guest_ssh, "time", passing)
    return fake


def wait(hypervisor: Hypervisor, file: Path) -> dict[Guest, str]:
    deadlines = dict.fromkeys(GUESTS, 60.0)
    heard = guest_ssh._greetings(ENDS)
    keys = dict(hypervisor.keys)
    return guest_ssh._wait(hypervisor, ENDS, file, deadlines, heard, keys)  # type: ignore[arg-type]


def test_keys_are_learned(hypervisor: Hypervisor, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    assert wait(hypervisor, file) == {}
    assert [hostkeys.known_keys(file, guest.address) for guest in GUESTS] == [{B}, {A}, {C}]
    assert hypervisor.renewed == []


def test_a_key_that_changed_is_replaced(hypervisor: Hypervisor, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    hostkeys.remember(file, "10.0.0.20", [C])
    assert wait(hypervisor, file) == {}
    assert hostkeys.known_keys(file, "10.0.0.20") == {A}


def test_a_clone_gets_its_own_keys(hypervisor: Hypervisor, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    hypervisor.keys[102] = hypervisor.keys[101]
    assert wait(hypervisor, file) == {}
    assert hypervisor.renewed == [102]
    assert hostkeys.known_keys(file, "10.0.0.21") == {B}
    assert hypervisor.said == ["proxy has the SSH host keys of another: creating its own"]


def test_a_key_that_nobody_vouches_for_is_never_taken(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    file = tmp_path / "known_hosts"
    hypervisor.keys[1001] = frozenset()
    left = wait(hypervisor, file)
    assert [guest.vmid for guest in left] == [1001]
    assert "vouches" in left[GUESTS[2]]
    assert hostkeys.known_keys(file, "10.0.0.23") == frozenset()


def test_a_guest_that_does_not_answer_is_named(
    hypervisor: Hypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_greeting, "answers", lambda address, *_: address != "10.0.0.21")
    left = wait(hypervisor, tmp_path / "known_hosts")
    assert left == {GUESTS[0]: "nothing answers on 10.0.0.21:22"}


def test_who_waits_is_told_for_whom(
    hypervisor: Hypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_greeting, "answers", lambda address, *_: address != "10.0.0.21")
    wait(hypervisor, tmp_path / "known_hosts")
    assert hypervisor.said == [
        f"waiting up to {left} s for SSH of proxy" for left in (60, 45, 30, 15)
    ]


def test_a_guest_whose_time_is_over_is_asked_no_more(
    hypervisor: Hypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a run after one that has waited for it: what was heard of it once is the answer."""
    asked: list[str] = []

    def answers(address: str, *_: object) -> bool:
        asked.append(address)
        return address != "10.0.0.21"

    monkeypatch.setattr(ssh_greeting, "answers", answers)
    over = dict.fromkeys(GUESTS, 0.0)
    heard, file = guest_ssh._greetings(ENDS), tmp_path / "known_hosts"
    monkeypatch.setattr(guest_ssh, "_learn", lambda *_: pytest.fail("it asks for keys again"))
    keys = hypervisor.keys
    left = guest_ssh._wait(hypervisor, ENDS, file, over, heard, keys)  # type: ignore[arg-type]
    assert left == {GUESTS[0]: "nothing answers on 10.0.0.21:22"}
    assert sorted(asked) == sorted(guest.address for guest in GUESTS)
    assert hypervisor.said == []


def test_no_guest_is_asked_after_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greetings of all are under way before the first has ended."""
    under_way = []
    all_ask = gevent.event.Event()

    def answers(address: str, *_: object) -> bool:
        under_way.append(address)
        if len(under_way) == len(GUESTS):
            all_ask.set()
        return bool(all_ask.wait(timeout=60))

    monkeypatch.setattr(ssh_greeting, "answers", answers)
    heard = guest_ssh._greetings(ENDS)
    assert [heard[guest].fault for guest in GUESTS] == [""] * len(GUESTS)


class Bastion(paramiko.ServerInterface):
    """A jump host: it takes anybody's key, and opens connections to ports of this machine."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, int]] = []
        self.targets: dict[int, tuple[str, int]] = {}

    @override
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL

    @override
    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    @override
    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        self.opened.append(destination)
        self.targets[chanid] = destination
        return OPEN_SUCCEEDED


class Jump:
    """Where the jump host listens, what its key is, and what it opened."""

    def __init__(self, folder: Path) -> None:
        self.server = Bastion()
        self.key = paramiko.ECDSAKey.generate()
        own = paramiko.ECDSAKey.generate()
        own.write_private_key_file(str(folder / "id"))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        known = folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.port} {self.key.get_name()} {self.key.get_base64()}\n")
        self.data = {"ssh_known_hosts_file": str(known), "ssh_key": str(folder / "id")}
        self.login = SshLogin(jump=f"me@127.0.0.1:{self.port}")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                transport = paramiko.Transport(self.listener.accept()[0])
                transport.add_server_key(self.key)
                transport.start_server(server=self.server)
                threading.Thread(target=self._carry, args=(transport,), daemon=True).start()

    def _carry(self, transport: paramiko.Transport) -> None:
        while channel := transport.accept(5):
            _, port = self.server.targets[channel.get_id()]
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=5) as target,
            ):
                channel.sendall(target.recv(64))
            channel.close()


@pytest.fixture
def jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jump]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    jump = Jump(tmp_path)
    yield jump
    jump.listener.close()


@contextlib.contextmanager
def listening(says: bytes) -> Iterator[int]:
    """A port at which something says this to everybody."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                with listener.accept()[0] as connection:
                    connection.sendall(says)

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]


def test_a_guest_behind_a_jump_host_is_asked_through_it_at_its_own_port(jump: Jump) -> None:
    with listening(b"SSH-2.0-x\r\n") as port:
        login = jump.login.model_copy(update={"port": port})
        data = host_data(login, "10.9.9.9", jump.data)
        end = End(data["ssh_hostname"], data["ssh_port"], data["ssh_config_file"])
        answer = greeting(end)
    assert answer == guest_ssh.Greeting(f"[10.9.9.9]:{port}"), "by its name in known_hosts"
    assert jump.server.opened == [("10.9.9.9", port)]


def test_what_is_no_ssh_server_behind_a_jump_host_is_told(jump: Jump) -> None:
    with listening(b"HTTP/1.1 400\r\n") as port:
        data = host_data(jump.login, "10.9.9.9", {**jump.data, "ssh_port": port})
        answer = greeting(End("10.9.9.9", port, data["ssh_config_file"]))
    assert answer.fault == f"nothing answers on 10.9.9.9:{port}"


def test_a_jump_host_whose_key_is_not_known_is_the_fault_and_not_the_guest(jump: Jump) -> None:
    Path(jump.data["ssh_known_hosts_file"]).write_text("")
    data = host_data(jump.login, "10.9.9.9", jump.data)
    answer = greeting(End("10.9.9.9", 0, data["ssh_config_file"]))
    assert "the way to 10.9.9.9:22 does not work" in answer.fault
    assert jump.server.opened == []


def test_a_guest_by_a_name_of_the_person_s_options_is_known_as_they_say(tmp_path: Path) -> None:
    with listening(b"SSH-2.0-x\r\n") as port:
        options = tmp_path / "config"
        options.write_text(f"Host nas\n  HostName 127.0.0.1\n  Port {port}\n")
        assert greeting(End("nas", 0, str(options))).name == f"[127.0.0.1]:{port}"
        assert greeting(End("127.0.0.1", port)) == guest_ssh.Greeting(f"[127.0.0.1]:{port}")


def test_a_key_is_kept_under_the_port_that_ssh_looks_for(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    file = tmp_path / "known_hosts"
    ends = {**ENDS, GUESTS[0]: End("10.0.0.21", 2222)}
    deadlines = dict.fromkeys(GUESTS, 60.0)
    heard, known = guest_ssh._greetings(ends), hypervisor.keys
    assert guest_ssh._wait(hypervisor, ends, file, deadlines, heard, known) == {}  # type: ignore[arg-type]
    keys = paramiko.HostKeys(str(file))
    assert keys.lookup("[10.0.0.21]:2222") is not None
    assert keys.lookup("10.0.0.21") is None
    assert keys.lookup("10.0.0.20") is not None


class Inventory:
    """An inventory in which `control` alone has a connection, which is open or has broken."""

    def __init__(self, *, is_open: bool) -> None:
        client = SimpleNamespace(get_transport=lambda: SimpleNamespace(is_active=lambda: is_open))
        self._hosts = {
            "control": SimpleNamespace(connector=SimpleNamespace(client=client)),
            "proxy": SimpleNamespace(connector=SimpleNamespace(client=None)),
        }

    def get_host(self, name: str) -> Any:
        if name not in self._hosts:
            raise NoHostError(name)
        return self._hosts[name]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are asked for their greeting; each has one."""
    addresses: list[str] = []

    def answers(address: str, *_: object) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr(ssh_greeting, "answers", answers)
    return addresses


@pytest.mark.parametrize("is_open", [True, False])
def test_a_guest_with_an_open_connection_alone_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[str], *, is_open: bool
) -> None:
    """sshd starts processes for each that asks. One that was started since is asked anew."""
    state = SimpleNamespace(inventory=Inventory(is_open=is_open))
    monkeypatch.setattr(guest_ssh, "host", SimpleNamespace(state=state))
    file = tmp_path / "known_hosts"
    file.write_text("".join(f"{guest.address} {A}\n" for guest in GUESTS))

    def ask() -> None:
        heard = guest_ssh._first_greetings(ENDS, [])
        assert all(guest_ssh._is_well(guest, heard[guest], file, {}) for guest in GUESTS)

    ask()
    assert asked == ["10.0.0.21", "10.0.0.20", *(() if is_open else ("10.0.0.23",))]
    asked.clear()
    monkeypatch.setattr(guest_ssh, "started", lambda: frozenset({1001}))
    ask()
    assert asked == ["10.0.0.21", "10.0.0.20", "10.0.0.23"]


def test_a_guest_that_the_run_has_dialled_in_vain_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    """Unless the run has started it since."""
    inventory = Inventory(is_open=True)
    left_out = inventory.get_host("proxy")
    monkeypatch.setattr(connection, "was_silent", lambda host: host is left_out)
    state = SimpleNamespace(inventory=inventory)
    monkeypatch.setattr(guest_ssh, "host", SimpleNamespace(state=state))
    silent = [guest for guest in GUESTS if guest_ssh._was_silent(guest)]
    heard = guest_ssh._first_greetings(ENDS, silent)
    assert heard[GUESTS[0]].fault == "nothing answers on 10.0.0.21:22"
    assert asked == ["10.0.0.20"]  # of `control` there is a connection
    monkeypatch.setattr(guest_ssh, "started", lambda: frozenset({102}))
    assert not any(map(guest_ssh._was_silent, GUESTS))


def step(
    monkeypatch: pytest.MonkeyPatch, hypervisor: Hypervisor, file: Path, *, is_executing: bool
) -> int:
    """How many commands the step has, where nothing answers at `proxy`; it is not run."""
    monkeypatch.setattr(ssh_greeting, "answers", lambda address, *_: address != "10.0.0.21")
    monkeypatch.setattr(connection, "was_silent", lambda _: False)
    monkeypatch.setattr(guest_ssh, "read", lambda _: hypervisor.keys)
    state = SimpleNamespace(inventory=Inventory(is_open=True), is_executing=is_executing)
    host = SimpleNamespace(state=state, noop=lambda _: None)
    host.state.inventory.get_host = lambda name: Inventory(is_open=False).get_host("proxy")
    monkeypatch.setattr(guest_ssh, "end_of", lambda guest: End(guest.address))
    monkeypatch.setattr(guest_ssh, "host", host)
    reachable: Any = guest_ssh.reachable
    with ctx_host.use(host):
        return len(list(reachable.__wrapped__(GUESTS, str(file))))


def test_to_a_plan_a_dead_guest_is_no_change(
    monkeypatch: pytest.MonkeyPatch, hypervisor: Hypervisor, tmp_path: Path
) -> None:
    """A run waits for it; what it changes where the guest answers are keys in our known_hosts."""
    file = tmp_path / "known_hosts"
    for guest in GUESTS:
        hostkeys.remember(file, guest.address, hypervisor.keys[guest.vmid])
    assert step(monkeypatch, hypervisor, file, is_executing=False) == 0
    assert step(monkeypatch, hypervisor, file, is_executing=True) == 1
    hostkeys.remember(file, "10.0.0.20", [C])
    assert step(monkeypatch, hypervisor, file, is_executing=False) == 1
    hypervisor.keys[101] = frozenset()  # nobody vouches for it: the run fails there
    hostkeys.remember(file, "10.0.0.20", [])
    assert step(monkeypatch, hypervisor, file, is_executing=False) == 0
    hypervisor.keys[101] = hypervisor.keys[102]
    assert step(monkeypatch, hypervisor, file, is_executing=False) == 1, "a clone gets its own"
