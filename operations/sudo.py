"""Commands on a host that is logged in to as a user: all of them run by sudo, whoever sends them.

Facts, operations, streams, the site's lock and its history each open a channel of the one SSH
connection, so that is where sudo is put before the command. The password reaches it by standard
input, before the command's own: command lines, files and logs never have it. SFTP is left as it
is: Phoenix sends its files by standard input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import paramiko
from pyinfra.api.host import Host

from phoenix.derived.login import SUDO, SUDO_SECRET
from phoenix.secrets.store import of_inventory
from phoenix.shell import quote

Send = Callable[[paramiko.Channel, bytes], None]
_SECONDS = 20.0
_arranged: WeakSet[paramiko.Transport] = WeakSet()


class SudoError(Exception):
    """A log-in has no rights by sudo; says on which host, why, and the fix."""


def install(host: Host, transport: paramiko.Transport, send: Send) -> None:
    """Have every command of a connection run as root, if the host's log-in needs sudo.

    Args:
        host: whose connection it is.
        transport: the connection.
        send: sends all of what it is given (`operations.connection.send_all`).

    Raises:
        SudoError: sudo refuses, or asks for a password that nobody gave.
    """
    data: dict[str, Any] = host.data.dict()  # type: ignore[no-untyped-call]
    if not data.get(SUDO) or transport in _arranged:
        return
    user = str(data.get("ssh_user") or transport.get_username())
    password = None
    status, message = _ran(transport, "sudo -k -n true", None, send)
    if status != 0:
        password = _password(host, data, user, message)
        status, message = _ran(transport, "sudo -k -S -p '' true", password, send)
        if status != 0:
            raise SudoError(
                f"{host.name}: sudo refuses {user}: {message or f'status {status}'}; fix: "
                f"correct the secret {data[SUDO_SECRET]}, or let {user} use sudo there (visudo)"
            )
    _arranged.add(transport)
    _wrap(transport, password, send)


def _password(host: Host, data: dict[str, Any], user: str, message: str) -> str:
    name = data.get(SUDO_SECRET)
    if name is None:
        raise SudoError(
            f"{host.name}: {user} has no sudo without a password ({message}); fix: name the secret "
            "that holds it as sudo_password in the host's login, or let "
            f"{user} use sudo without one (visudo: {user} ALL=(ALL) NOPASSWD: ALL)"
        )
    password = of_inventory(data).find(name)
    if password is None:
        raise SudoError(
            f"{host.name}: sudo asks {user} for a password, and the secret {name} is not given; "
            f"fix: PHOENIX_SECRET_{name.upper()}, or the SOPS file (docs/secrets.md)"
        )
    return password.get_secret_value()


def _ran(
    transport: paramiko.Transport, line: str, password: str | None, send: Send
) -> tuple[int, str]:
    """A command's status, and what it says on standard error."""
    channel = transport.open_session(timeout=_SECONDS)
    channel.settimeout(_SECONDS)
    channel.exec_command(f"LC_ALL=C {line}")
    if password is not None:
        send(channel, f"{password}\n".encode())
    channel.shutdown_write()
    stderr = channel.makefile_stderr("rb").read().decode(errors="replace")
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return channel.recv_exit_status(), lines[-1] if lines else ""


def line(command: str, *, asks: bool) -> str:
    """A command by sudo: as root, by the shell, with standard input as it comes."""
    how = "-k -S -p ''" if asks else "-n"
    return f"sudo {how} -H -- sh -c {quote(command)}"


def _wrap(transport: paramiko.Transport, password: str | None, send: Send) -> None:
    opens = transport.open_session

    def open_session(*rest: Any, **options: Any) -> paramiko.Channel:
        channel = opens(*rest, **options)
        runs = channel.exec_command

        def exec_command(command: Any) -> None:
            text = command.decode() if isinstance(command, bytes) else str(command)
            runs(line(text, asks=password is not None))
            if password is not None:
                send(channel, f"{password}\n".encode())

        channel.exec_command = exec_command  # type: ignore[method-assign]
        return channel

    transport.open_session = open_session  # type: ignore[method-assign]
