"""Each way in which SSH fails has its own words and its own fix: on the real exceptions."""

from __future__ import annotations

import errno
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest
from paramiko import ssh_exception
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.sshuserclient.client import SSHClient

from phoenix.health.advice import likely_fix
from phoenix.net import ssh_faults
from phoenix.net.ssh_faults import FAULTS, cause_of, sentence
from phoenix.runs.results import Course
from phoenix.watch.causes import no_answer
from tests.unit.site_builder import minimal

ADDRESS = "127.0.0.1"
KEY = paramiko.ECDSAKey.generate()
OTHER = paramiko.ECDSAKey.generate()


class Server(paramiko.ServerInterface):
    """An SSH server that lets nobody in."""

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of this machine at which each connection gets `answer`."""
    with socket.create_server((ADDRESS, 0)) as listener:

        def serve() -> None:
            try:
                while True:
                    answer(listener.accept()[0])
            except OSError:
                return  # the test is over

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def ssh(connection: socket.socket) -> None:
    transport = paramiko.Transport(connection)
    transport.add_server_key(KEY)
    transport.start_server(event=threading.Event(), server=Server())


def garbled(connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example.com ESMTP\r\n" * 200)
    connection.close()


def fault(
    known: Path,
    port: int,
    *,
    address: str = ADDRESS,
    key: Path | None = None,
    strict: str = "yes",
    seconds: float = 60,
) -> BaseException:
    """What connecting raises, as pyinfra connects."""
    client = SSHClient()
    with pytest.raises((OSError, ssh_exception.SSHException, EOFError)) as caught:
        client.connect(
            address,
            port=port,
            username="root",
            timeout=seconds,
            allow_agent=False,
            look_for_keys=False,
            key_filename=str(key) if key else None,
            _pyinfra_ssh_config_file="/dev/null",
            _pyinfra_ssh_known_hosts_file=str(known),
            _pyinfra_ssh_strict_host_key_checking=strict,
        )
    client.close()
    return caught.value


def knowing(path: Path, port: int, key: paramiko.PKey) -> Path:
    path.write_text(f"[{ADDRESS}]:{port} {key.get_name()} {key.get_base64()}\n")
    return path


def keyfile(path: Path, passphrase: str) -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
    subprocess.run(words, check=True, capture_output=True)
    return path


def test_an_unknown_and_a_changed_host_key(tmp_path: Path) -> None:
    with listening(ssh) as port:
        (empty := tmp_path / "empty").touch()
        assert cause_of(fault(empty, port)) == "unknown_host_key"
        changed = fault(knowing(tmp_path / "changed", port, OTHER), port)
        assert cause_of(changed) == "changed_host_key"


def test_no_key_a_locked_key_and_one_that_is_refused(tmp_path: Path) -> None:
    with listening(ssh) as port:
        known = knowing(tmp_path / "known", port, KEY)
        assert cause_of(fault(known, port)) == "no_key"
        locked = keyfile(tmp_path / "locked", "a passphrase")
        assert cause_of(fault(known, port, key=locked)) == "locked_key"
        stranger = keyfile(tmp_path / "stranger", "")
        assert cause_of(fault(known, port, key=stranger)) == "refused_login"


def test_refused_and_no_ssh_and_closed(tmp_path: Path) -> None:
    (known := tmp_path / "known").touch()
    with socket.create_server((ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
    assert cause_of(fault(known, port)) == "refused"
    with listening(garbled) as port:
        assert cause_of(fault(known, port)) == "no_ssh"
    with listening(lambda connection: connection.close()) as port:
        assert cause_of(fault(known, port)) in {"no_ssh", "closed"}


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    """RFC 6761: no resolver has a name below `invalid`."""
    (known := tmp_path / "known").touch()
    assert cause_of(fault(known, 22, address="guest.invalid")) == "no_name"


def test_a_server_that_takes_the_connection_and_says_nothing() -> None:
    with socket.create_server((ADDRESS, 0)) as listener, socket.socket() as asker:
        asker.settimeout(0.05)
        asker.connect(listener.getsockname())
        with pytest.raises(OSError) as caught:  # noqa: PT011  # its class is what is tested
            asker.recv(4)
    assert cause_of(caught.value) == "timeout"


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2p1\r\n"])
def test_a_server_whose_large_packets_are_lost(says: bytes, tmp_path: Path) -> None:
    """As behind a VPN with a smaller MTU and no ICMP: its name comes through, its keys do not."""
    open_ones: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        open_ones.append(connection)
        connection.sendall(says)

    with listening(answer) as port:
        (known := tmp_path / "known").touch()
        fault_text = fault(known, port, seconds=2)
    assert cause_of(fault_text) == "hangs"
    fix = "\n".join(ssh_faults.fix_of(sentence(fault_text), "10.0.0.9"))
    assert "MTU" in fix
    assert "ping -c 3 -M do -s 1472 10.0.0.9" in fix


def several(number: int) -> ssh_exception.NoValidConnectionsError:
    return ssh_exception.NoValidConnectionsError({("10.0.0.9", 22): OSError(number, "text")})


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (several(errno.ECONNREFUSED), "refused"),
        (several(errno.EHOSTUNREACH), "no_route"),
        (several(errno.ENETUNREACH), "no_route"),
        (several(errno.ETIMEDOUT), "timeout"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "closed"),
        (socket.gaierror(-3, "Temporary failure in name resolution"), "no_name"),
        (ssh_exception.BadAuthenticationType("Bad authentication type", ["password"]),
         "refused_login"),
        (ssh_exception.SSHException("Error reading SSH protocol banner"), "no_ssh"),
        (ConnectError("SSH error (StrictPolicy: No host key for a found in known_hosts)"),
         "unknown_host_key"),
        (ConnectError("SSH error (No authentication methods available)"), "no_key"),
        (ConnectError("Could not connect (timed out)"), "timeout"),
        (ConnectError("something that nobody has seen before"), "other"),
    ],
)  # fmt: skip
def test_exceptions_that_need_another_machine(error: BaseException, cause: str) -> None:
    assert cause_of(error) == cause


def test_a_passphrase_that_is_asked_for_without_a_terminal() -> None:
    def getpass() -> None:
        raise EOFError

    with pytest.raises(EOFError) as caught:
        getpass()
    assert cause_of(caught.value) == "locked_key"
    assert cause_of(EOFError()) == "closed"


def test_what_pyinfra_wraps_is_judged_by_what_it_wrapped() -> None:
    def connect() -> None:
        try:
            raise several(errno.EHOSTUNREACH)
        except OSError as inner:
            message = f"Could not connect ({inner})"
            raise ConnectError(message)  # noqa: B904  # as pyinfra does it

    with pytest.raises(ConnectError) as caught:
        connect()
    assert cause_of(caught.value) == "no_route"
    assert sentence(caught.value).startswith(FAULTS["no_route"].says)


def test_every_cause_has_its_own_words_and_fix() -> None:
    assert len({known.says for known in FAULTS.values()}) == len(FAULTS)
    assert len({known.fix for known in FAULTS.values()}) == len(FAULTS)
    for cause, known in FAULTS.items():
        assert ssh_faults.said_in(f"does not answer by SSH: {known.says} (words)") == cause


def test_all_hosts_are_named_by_cause() -> None:
    course = Course()
    for host, error in {
        "gateway": several(errno.ECONNREFUSED),
        "proxy": ConnectError("SSH error (No host key for proxy found in known_hosts)"),
        "worker": several(errno.ECONNREFUSED),
    }.items():
        course.add({"event": "connect", "host": host, "ok": False, "reason": sentence(error),
                   "address": "10.0.0.9"})  # fmt: skip
    assert course.first_cause is not None
    text = "\n".join(course.first_cause.reason)
    assert course.first_cause.host == "gateway"
    assert f"gateway, worker: {FAULTS['refused'].says}" in text
    assert f"proxy: {FAULTS['unknown_host_key'].says}" in text
    assert "ssh-keyscan -t ed25519 10.0.0.9" in text
    assert "$" not in text


def test_doctor_has_the_fix_of_the_cause(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    message = f"does not answer by SSH: {FAULTS['changed_host_key'].says} (text)"
    address = site.host("proxy").address
    fix = likely_fix(site, no_answer("proxy", message).check, message)
    assert fix.advice == FAULTS["changed_host_key"].fix
    assert f"ssh-keygen -R {address}" in fix.commands
    for cause, known in FAULTS.items():
        for host in ("proxy", site.hypervisor.name):
            fix = likely_fix(site, no_answer(host, known.says).check, known.says)
            assert fix.commands, cause
            assert "$" not in " ".join((fix.advice, *fix.commands)), cause
