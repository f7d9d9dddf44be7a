"""Docker's API on a TCP port, as a person has opened it: where that is said, and what stops it.

Whoever reaches it is root on the host (https://docs.docker.com/engine/security/protect-access/).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise

from phoenix.components.answers import unexpected
from phoenix.components.docker.daemon_json import DAEMON
from phoenix.site import unit_names

DROP_IN = f"/etc/systemd/system/{unit_names.DOCKER}.d/zz-phoenix-api.conf"
"""By which dockerd starts without its TCP ports, where its command line opens them."""
KEPT = "/etc/phoenix/docker/api.kept"
"""On a host whose ports of Docker's API a person keeps: the checks do not complain of them."""
UNIT, SOCKET = unit_names.DOCKER, unit_names.DOCKER_SOCKET
_HOST = ("-H", "--host")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+")
_UNENCRYPTED, _ENCRYPTED = 2375, 2376  # https://docs.docker.com/reference/cli/dockerd/


class ApiError(ValueError):
    """A host's answer is not of the expected form."""


@dataclass(frozen=True)
class DaemonStart:
    """How dockerd is started: `words` by its person, `ours` by the drop-in of an earlier run.

    `sockets` are the TCP ports that systemd opens for it (docker.socket).
    """

    words: tuple[str, ...] = ()
    ours: str = ""
    sockets: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemoteApi:
    """One TCP end of Docker's API: `url`, the file or unit that opens it, and whether it asks
    clients for a certificate."""

    url: str
    where: str
    is_verified: bool = False

    @property
    def port(self) -> int:
        """Its port, as dockerd completes one that is left out."""
        _, _, port = self.url.removeprefix("tcp://").rpartition(":")
        return int(port) if port.isdigit() else _ENCRYPTED if self.is_verified else _UNENCRYPTED

    @property
    def is_on_loopback(self) -> bool:
        """Whether the host alone reaches it."""
        end = self.url.removeprefix("tcp://")
        host = end.rpartition(":")[0] if ":" in end else end
        host = host.strip("[]")
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host in ("localhost", "")  # dockerd itself takes no address for the loopback

    @property
    def is_open(self) -> bool:
        """Whether anybody who reaches it is root, without a certificate."""
        return not self.is_verified and not self.is_on_loopback


def parse(lines: Iterable[str]) -> DaemonStart:
    """What a host answers to `api.sh`.

    Raises:
        ApiError: a line is of another form.
    """
    arguments: tuple[str, ...] = ()
    ours = ""
    sockets: list[str] = []
    for line in filter(None, lines):
        kind, _, text = line.partition("\t")
        if kind == "running":
            arguments = tuple(text.split("\t"))
        elif kind == "declared":
            arguments = arguments or _words(text)
        elif kind == "ours":
            ours = text
        elif kind == "socket":
            sockets.append(text)
        else:
            raise ApiError(unexpected(line))
    return DaemonStart(arguments, ours, tuple(sockets))


def _words(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line.lstrip("@-:+!")))
    except ValueError:
        return tuple(line.split())


def remote_apis(daemon: str, start: DaemonStart) -> tuple[RemoteApi, ...]:
    """Every TCP end that is open, each once.

    Args:
        daemon: the text of daemon.json; an unreadable one opens no port.
        start: how dockerd is started.
    """
    try:
        data = json.loads(daemon) if daemon.strip() else {}
    except (ValueError, RecursionError):
        data = {}
    data = data if isinstance(data, dict) else {}
    verified = data.get("tlsverify") is True or any(
        word in ("--tlsverify", "--tlsverify=true") for word in start.words
    )
    hosts = data.get("hosts")
    ends = [
        *((url, DAEMON) for url in (hosts if isinstance(hosts, list) else ())),
        *((url, UNIT) for url in _hosts(start.words)),
    ]
    return tuple(
        dict.fromkeys(
            (
                *(
                    RemoteApi(url, where, verified)
                    for url, where in ends
                    if isinstance(url, str) and url.startswith("tcp://")
                ),
                *(RemoteApi(f"tcp://{end}", SOCKET, verified) for end in start.sockets),
            )
        )
    )


def _hosts(arguments: Sequence[str]) -> tuple[str, ...]:
    result = [value for word, value in pairwise(arguments) if word in _HOST]
    result += [word.partition("=")[2] for word in arguments if word.startswith("--host=")]
    result += [word[2:].lstrip("=") for word in arguments if word.startswith("-H") and word != "-H"]
    return tuple(result)


def closed(start: DaemonStart) -> str:
    """The drop-in by which dockerd starts as its person has it, without TCP; empty for none.

    The one of an earlier run stays as it is: dockerd runs by it now.
    """
    line = start.ours
    if not line:
        if not any(url.startswith("tcp://") for url in _hosts(start.words)):
            return ""
        line = " ".join(map(_for_systemd, _without_tcp(start.words)))
    return (
        "# Docker's API stays on the local socket: taking_over = {'docker': 'replace'}\n"
        f"[Service]\nExecStart=\nExecStart={line}\n"
    )


def _without_tcp(words: Sequence[str]) -> list[str]:
    result: list[str] = []
    arguments = list(words)
    while arguments:
        word = arguments.pop(0)
        if word in _HOST and arguments:
            value = arguments.pop(0)
            if not value.startswith("tcp://"):
                result += [word, value]
        elif not word.startswith("--tls") and not (
            word.startswith(("-H", "--host=")) and "tcp://" in word
        ):
            result.append(word)
        elif word in ("--tlscacert", "--tlscert", "--tlskey") and arguments:
            arguments.pop(0)
    return result


def _for_systemd(word: str) -> str:
    """One word of ExecStart= (systemd.service(5), COMMAND LINES)."""
    if _PLAIN.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
