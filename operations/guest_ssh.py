"""Guests that answer by SSH with a host key that the hypervisor vouches for."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import paramiko
from pyinfra import host
from pyinfra.api import FunctionCommand, OperationError
from pyinfra.api.exceptions import NoHostError
from pyinfra.api.host import Host
from pyinfra.connectors.sshuserclient.client import SSHClient

from facts.command import command
from facts.proxmox import GuestHostKeys
from operations import connection
from operations.failure import local_command
from operations.host_state import ask_of, question, read, this_host
from operations.operation import operation
from operations.proxmox import started
from phoenix.net import ssh_greeting
from phoenix.proxmox import hostkeys
from phoenix.proxmox.peers import by_its_node
from phoenix.runs.reporter import report
from phoenix.site.ports import SSH

_PAUSE = 3.0
_SAID_SECONDS = 15.0
"""How often a person is told which guests are waited for."""
_RUNNING_SECONDS = 5.0
_UNKNOWN = (
    "its host key can't be learned through the hypervisor: neither its guest agent nor the bridge "
    "vouches for it. fix: install qemu-guest-agent in it, or add its key to known_hosts by hand"
)


@dataclass(frozen=True)
class End:
    """Where a guest's sshd is asked for, as the inventory says: `port` 0 is that of the options.

    `options` is a file of ssh_config(5) with its jump hosts; None: ~/.ssh/config.
    """

    hostname: str
    port: int = 0
    options: str | None = None

    @property
    def shown(self) -> str:
        """The text for the operator."""
        return f"{self.hostname}:{self.port or SSH}"


def end_of(guest: hostkeys.Guest) -> End:
    """The way that pyinfra connects to a guest by; its address where the inventory has it not."""
    try:
        data: dict[str, Any] = host.state.inventory.get_host(guest.name).data.dict()  # type: ignore[no-untyped-call]
    except NoHostError:
        return End(guest.address)
    port = int(data.get("ssh_port") or 0)
    return End(data.get("ssh_hostname") or guest.address, port, data.get("ssh_config_file"))


@dataclass(frozen=True)
class Greeting:
    """What came of asking for an SSH server: `name` is its own in known_hosts.

    `fault` says why none answers; it is empty where one does.
    """

    name: str
    fault: str = ""


def greeting(end: End, seconds: float = 3.0, *, has_answered: bool = False) -> Greeting:
    """Ask for a guest's SSH server as pyinfra connects to it: by its jump hosts, if it has some.

    Args:
        end: where it is.
        seconds: how long it may take.
        has_answered: a connection with it is open, so that it need not say so again.
    """
    options = {"timeout": seconds, **({"port": end.port} if end.port else {})}
    try:
        hostname, config, *_ = SSHClient().parse_config(  # type: ignore[no-untyped-call]
            end.hostname, options, ssh_config_file=end.options
        )
    except connection.BROKEN as error:
        reason = f"the way to {end.shown} does not work: {error or type(error).__name__}"
        return Greeting(hostkeys.entry_name(end.hostname, end.port or SSH), reason)
    port = end.port or int(config["port"])
    name = hostkeys.entry_name(hostname, port)
    between = config.get("sock")
    try:
        if has_answered:
            well = True
        elif between is None:
            well = ssh_greeting.answers(hostname, port, seconds)
        else:
            between.settimeout(seconds)
            well = ssh_greeting.greets(between)
    except OSError:
        well = False
    finally:
        _close(between)
    return Greeting(name, "" if well else f"nothing answers on {hostname}:{port}")


def _close(between: Any) -> None:
    """Close a stream through jump hosts, and the connections that carry it, one in the other."""
    while isinstance(between, paramiko.Channel):
        carrier = between.get_transport()
        carrier.close()
        between = carrier.sock
    if between is not None:
        between.close()


@operation(reads=lambda guests, *_, **__: [question(GuestHostKeys, guests=tuple(guests))])
def reachable(
    guests: Sequence[hostkeys.Guest], known_hosts: str, seconds: float = 300
) -> Generator[FunctionCommand, None, None]:
    """Wait until each guest answers by SSH, and put its host key into our known_hosts.

    To a plan the wait itself is no change: what it cannot look at is told as that.

    Each is asked for as pyinfra connects to it: at its port, through its jump hosts, by its name in
    ~/.ssh/config. The keys come through the hypervisor. A guest that has the keys of another one,
    as clones do, gets its own first. Where the hypervisor can't look into its guests (the lab),
    what the file has is taken as given.

    Args:
        guests: those to wait for.
        known_hosts: the file on the control machine that pyinfra verifies hosts by.
        seconds: how long guests that this run has started may take, all of them together. One
            that was running already has `_RUNNING_SECONDS`: it is silent, and does not boot. One
            that this run has dialled in vain when it began is not asked again.
    """
    file = Path(known_hosts).expanduser()
    learned = read(question(GuestHostKeys, guests=tuple(guests)))
    renewals = [vmid for vmid in hostkeys.shared(learned) if _is_container(guests, vmid)]
    ends = {guest: end_of(guest) for guest in guests}
    began = time.monotonic()
    silent = [guest for guest in guests if _was_silent(guest)]
    heard = _first_greetings(ends, silent)
    if not renewals and all(_is_well(guest, heard[guest], file, learned) for guest in guests):
        _are_back(guests)
        host.noop(f"{len(guests)} guests answer by SSH, and their keys are known")
        return
    if not (host.state.is_executing or renewals or _to_learn(guests, heard, file, learned)):
        host.noop("is waited for, and changes nothing that can be known before")
        return

    def wait() -> None:
        limits = {guest: min(seconds, _RUNNING_SECONDS) for guest in guests}
        limits |= dict.fromkeys(silent, 0.0)
        limits |= {guest: seconds for guest in guests if guest.vmid in started()}
        deadlines = {guest: began + limit for guest, limit in limits.items()}
        unreachable = _wait(this_host(), ends, file, deadlines, heard, learned)
        _are_back(guest for guest in guests if guest not in unreachable)
        if unreachable:
            raise OperationError(
                "\n".join(
                    f"guest {guest.vmid} ({guest.name}): {reason}"
                    for guest, reason in unreachable.items()
                )
            )

    yield local_command(wait)


def _greetings(
    ends: Mapping[hostkeys.Guest, End], *, answered: Collection[hostkeys.Guest] = ()
) -> dict[hostkeys.Guest, Greeting]:
    """What comes of asking each guest, all at once: nobody waits for a silent one before it.

    Args:
        ends: where they are.
        answered: those that a connection is open with.
    """
    asking = {
        guest: gevent.spawn(greeting, end, has_answered=guest in answered)
        for guest, end in ends.items()
    }
    gevent.joinall(list(asking.values()), raise_error=True)
    return {guest: greenlet.value for guest, greenlet in asking.items()}


def _first_greetings(
    ends: Mapping[hostkeys.Guest, End], silent: Sequence[hostkeys.Guest]
) -> dict[hostkeys.Guest, Greeting]:
    """What this run knows of its guests, or hears by asking them.

    Args:
        ends: where they are.
        silent: those that the run has just dialled in vain.
    """
    known = {
        guest: Greeting(ends[guest].hostname, f"nothing answers on {ends[guest].shown}")
        for guest in silent
    }
    others = {guest: end for guest, end in ends.items() if guest not in known}
    return known | _greetings(others, answered=list(filter(_is_connected, others)))


def _are_back(guests: Iterable[hostkeys.Guest]) -> None:
    for target in filter(None, map(_in_inventory, guests)):
        connection.is_back(target)


def _wait(
    hypervisor: Host,
    ends: Mapping[hostkeys.Guest, End],
    file: Path,
    deadlines: Mapping[hostkeys.Guest, float],
    heard: Mapping[hostkeys.Guest, Greeting],
    keys: dict[int, frozenset[str]],
) -> dict[hostkeys.Guest, str]:
    """The guests that were not reachable by their deadlines, and why.

    Args:
        hypervisor: who vouches for keys.
        ends: the guests, and where each is asked for.
        file: our known_hosts.
        deadlines: after which a guest is asked no more, by `time.monotonic`.
        heard: what came of asking them before.
        keys: what the hypervisor told of theirs before.
    """
    guests = tuple(ends)
    pending = dict.fromkeys(guests, "not checked in time")
    renewed: set[int] = set()
    reported_at = -_SAID_SECONDS
    began = time.monotonic()
    while True:
        before = set(renewed)
        keys = _each_its_own(hypervisor, guests, pending, renewed, keys)
        if renewed != before:  # their sshd has started again since
            heard = _greetings({guest: ends[guest] for guest in pending})
        for guest in tuple(pending):
            answer = heard[guest]
            if answer.fault:
                pending[guest] = answer.fault
                continue
            if keys.get(guest.vmid):
                hostkeys.remember(file, answer.name, keys[guest.vmid])
            pending[guest] = _UNKNOWN
            if _key_is_known(file, guest, answer.name, keys):
                del pending[guest]
        now = time.monotonic()
        left = max((deadlines[guest] - now for guest in pending), default=0.0)
        if left <= 0:
            return pending
        if now - began - reported_at >= _SAID_SECONDS:
            reported_at = now - began
            _tell(hypervisor, pending, left)
        time.sleep(min(_PAUSE, left))
        heard = _greetings({guest: ends[guest] for guest in pending})
        keys = _learn(hypervisor, guests)


def _each_its_own(
    hypervisor: Host,
    guests: Sequence[hostkeys.Guest],
    pending: dict[hostkeys.Guest, str],
    renewed: set[int],
    keys: dict[int, frozenset[str]],
) -> dict[int, frozenset[str]]:
    """The guests' host keys, after each container with those of another has got its own once."""
    for guest in guests:
        if guest.kind == "lxc" and guest.vmid in set(hostkeys.shared(keys)) - renewed:
            hypervisor.log(f"{guest.name} has the SSH host keys of another: creating its own")
            _renew(hypervisor, guest.vmid)
            renewed.add(guest.vmid)
            pending[guest] = "its new host keys were not read in time"
    return _learn(hypervisor, guests) if renewed & set(hostkeys.shared(keys)) else keys


def _tell(hypervisor: Host, pending: Mapping[hostkeys.Guest, str], left: float) -> None:
    """Tell a person which guests are waited for, and for how much longer at most."""
    names = ", ".join(guest.name for guest in pending)
    line = f"waiting up to {left:.0f} s for SSH of {names}"
    hypervisor.log(line)
    report("progress", host=hypervisor.name, text=line)


def _is_well(
    guest: hostkeys.Guest,
    answer: Greeting,
    file: Path,
    keys: dict[int, frozenset[str]],
) -> bool:
    """Whether a guest answers, with a key that is known."""
    return not answer.fault and _key_is_known(file, guest, answer.name, keys)


def _to_learn(
    guests: Sequence[hostkeys.Guest],
    heard: Mapping[hostkeys.Guest, Greeting],
    file: Path,
    keys: dict[int, frozenset[str]],
) -> list[hostkeys.Guest]:
    """The guests that answer, and whose keys as the hypervisor reports them known_hosts lacks."""
    return [
        guest
        for guest in guests
        if not heard[guest].fault
        and keys.get(guest.vmid)
        and not _key_is_known(file, guest, heard[guest].name, keys)
    ]


def _is_connected(guest: hostkeys.Guest) -> bool:
    """Whether this run has a connection with a guest that it has not started meanwhile.

    One that has gone silent since is closed (`operations.connection`).
    """
    target = None if guest.vmid in started() else _in_inventory(guest)
    open_transport = connection.transport(target) if target is not None else None
    return open_transport is not None and open_transport.is_active()


def _was_silent(guest: hostkeys.Guest) -> bool:
    """Whether this run has dialled a guest in vain when it began, and has not started it since."""
    target = None if guest.vmid in started() else _in_inventory(guest)
    return target is not None and connection.was_silent(target)


def _in_inventory(guest: hostkeys.Guest) -> Host | None:
    try:
        target: Host = host.state.inventory.get_host(guest.name)
    except NoHostError:
        return None
    return target


def _key_is_known(
    file: Path, guest: hostkeys.Guest, name: str, keys: dict[int, frozenset[str]]
) -> bool:
    """Whether known_hosts has the keys that the hypervisor reports, or any if it reports none."""
    known = hostkeys.known_keys(file, name)
    reported = keys.get(guest.vmid, frozenset())
    return known == reported if reported else bool(known)


def _is_container(guests: Sequence[hostkeys.Guest], vmid: int) -> bool:
    return any(guest.vmid == vmid and guest.kind == "lxc" for guest in guests)


def _learn(hypervisor: Host, guests: Sequence[hostkeys.Guest]) -> dict[int, frozenset[str]]:
    return ask_of(hypervisor, question(GuestHostKeys, guests=tuple(guests)))


def _renew(hypervisor: Host, vmid: int) -> None:
    renew = command(*by_its_node(vmid, "pct", "exec", vmid, "--", *hostkeys.RENEW.argv()))
    hypervisor.run_shell_command(renew, print_output=False, print_input=False)
