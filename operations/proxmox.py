"""The hypervisor's desired state: its guests, their power, its firewall.

Thin over `phoenix.proxmox`: observe, compare, do nothing or converge. Run these on the hypervisor's
host: SSH to it carries the API. Give operations a ``name=``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import gevent
from gevent import Greenlet
from pydantic import SecretStr
from pyinfra import host, inventory
from pyinfra.api import FunctionCommand
from pyinfra.api.command import PyinfraCommand

from facts.command import command
from operations import host_state, prefetch, site_lock
from operations.failure import local_command, refuse
from operations.operation import operation
from operations.ssh_forward import dial_through
from phoenix.components.move.decision import PENDING
from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox import apply, availability, guests, nodes, placement, power, removal, root
from phoenix.proxmox.client import Addresses, Client, ReadOnce
from phoenix.proxmox.desired import TO_MAKE, DesiredGuest
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.firewall import Scope, Write
from phoenix.proxmox.listeners import Listener
from phoenix.proxmox.moving import may_stop
from phoenix.proxmox.observe import guests_by_id
from phoenix.proxmox.peers import by_its_node
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import firewall as firewall_faults
from phoenix.proxmox.preflight import preflight
from phoenix.proxmox.transport import Endpoint, Trust, connect
from phoenix.runs.reporter import report, report_note, value
from phoenix.shell import quote
from phoenix.site.ports import PROXMOX_API

_T = TypeVar("_T")
_started: set[int] = set()
_to_make: list[str] = []
_prefetching: dict[ProxmoxAccess, Greenlet[..., None]] = {}
_Commands = Generator[FunctionCommand, None, None]


@dataclass(frozen=True)
class ProxmoxAccess:
    """How to reach the API and who we are there.

    Attributes:
        url: ``https://ADDRESS:8006``.
        token: USER@REALM!ID=SECRET.
        trust: the certificate's fingerprint, or a CA.
        via: the inventory host whose SSH carries the API to its own loopback; None goes straight.
        others: URLs of other nodes' APIs, tried in order where that one does not answer.
        others_trust: what their certificates must be.
        task_seconds, lock_seconds, request_seconds: how long one of each may take.
    """

    url: str
    token: SecretStr
    trust: Trust
    via: str | None = None
    others: tuple[str, ...] = ()
    others_trust: Trust | None = None
    task_seconds: float = 900
    lock_seconds: float = 120
    request_seconds: float = 30


@operation()
def skip_with_reason(reason: str) -> _Commands:
    """Do nothing and say why.

    Args:
        reason: shown where the run tells what needs no change.
    """
    host.noop(reason)
    return
    yield  # an operation is a generator


@operation()
def refused(reason: str) -> _Commands:
    """Fail this host: its declaration can't be planned.

    Args:
        reason: what is wrong, where, and the fix.
    """
    yield from refuse(reason)


def waiting(access: ProxmoxAccess, desired: Plan) -> dict[int, str]:
    """Tell the nodes that are down, and which guests wait for them; the reasons by guest id.

    Nothing is told where the API can't be read: `ready` then tells why.

    Args:
        access: how to reach the API.
        desired: the guests, and the settings of their cluster.
    """
    client = _reader(access)
    try:
        lines = nodes.warnings(client, desired.guests, desired.settings)
        reasons = nodes.out_of_reach(client, desired.guests) if lines else {}
        lines += placement.warnings(client, desired.guests)
        lines += availability.warnings(client, desired.guests)
    except ProxmoxError:
        return {}
    for line in (*lines, *reasons.values()):
        host.log(line)
        report_note(host.name, line)
    return reasons


def prefetch_api(access: ProxmoxAccess, desired: Plan) -> None:
    """Prefetch what the steps below compare, while the hosts answer (`operations.prefetch`).

    Args:
        access: how to reach the API.
        desired: guests and scopes of the firewall.
    """
    if not site_lock.is_held() or access in _prefetching:
        return
    reader = _reader(access)

    def look() -> None:
        with suppress(ProxmoxError):  # the steps read again, and tell why
            preflight(reader, desired.guests, desired.settings)
            for declared in desired.guests:
                guests.pending(reader, declared, desired.settings)
            apply.pending(reader, desired.scopes)

    _prefetching[access] = gevent.spawn(look)


@operation()
def ready(
    access: ProxmoxAccess,
    desired: Plan,
    *,
    root_shell: bool = True,
    absent_folders: tuple[str, ...] = (),
    listening: Mapping[str, frozenset[Listener]] | None = None,
) -> _Commands:
    """Refuse the run, before its first write, where something would stop it half-way.

    Args:
        access: how to reach the API.
        desired: guests, scopes of the firewall, and connections that they would refuse.
        root_shell: whether this host runs `pct` for us, as root.
        absent_folders: those of the hypervisor that guests are to have, and that are not there.
        listening: what the nodes listen on; None where nobody asked.
    """
    client = _reader(access)
    try:
        faults = [*desired.refused, *preflight(client, desired.guests, desired.settings)]
        if not faults:
            faults += firewall_faults(
                client, desired.scopes, desired.needed, listening or {}, desired.settings
            )
        if not root_shell:
            faults += _by_hand(client, desired.guests)
        faults += _without_folder(desired.guests, absent_folders)
    except ProxmoxError as error:
        faults = [str(error)]
    if faults:
        _tell_moves(client, desired)
        yield from refuse("Proxmox VE: nothing was changed.\n" + "\n".join(faults))
        return
    host.noop("Proxmox VE is ready: quorum, privileges, storages, images, and what nodes serve")


def _tell_moves(client: Client, desired: Plan) -> None:
    """Tell the moves that a refused run was not asked for, so that a person can be asked."""
    if may_stop():
        return
    with suppress(ProxmoxError):  # what it is, the refusal tells
        if asked := placement.moves_to_confirm(client, desired.guests):
            value(PENDING, host.name, asked)


def _by_hand(client: Client, desired: Sequence[DesiredGuest]) -> list[str]:
    """What only root@pam may set and we cannot, a fault a guest, with the commands for root."""
    messages = []
    for guest in desired:
        if commands := root.pending(client, guest):
            lines = "\n".join(f"  {step.line}" for step in commands)
            messages.append(
                f"{guest.label} is declared with what only root@pam may set, and our user cannot "
                "run pct on the hypervisor. fix: log in there as root (ssh_user), or run there, "
                f"once the guest is made:\n{lines}"
            )
    return messages


def _without_folder(desired: Sequence[DesiredGuest], absent: Sequence[str]) -> list[str]:
    """A fault for each folder that no container could start with.

    None is made here: it may lie on a pool that is not mounted.
    """
    return [
        f"{path} is not there on the hypervisor, and {guest.label} is to have it: the container "
        f"would not start. fix: mount what it lies on, or there, as root, `mkdir -p {quote(path)}`"
        for guest in desired
        for path in dict.fromkeys(mount.host_path for mount in guest.root.bind_mounts)
        if path in absent
    ]


@operation()
def guest(access: ProxmoxAccess, desired: DesiredGuest, settings: ProxmoxSettings) -> _Commands:
    """Create or configure one guest as declared, without starting or stopping it.

    Args:
        access: how to reach the API.
        desired: the guest, from `phoenix.proxmox.desired`.
        settings: adoption, images, snapshots.
    """

    def pending(client: Client) -> Sequence[str]:
        if desired.vmid not in guests_by_id(client) and desired.name not in _to_make:
            _to_make.append(desired.name)
            value(TO_MAKE, host.name, _to_make)
        lines = guests.pending(client, desired, settings)
        for remark in guests.remarks(client, desired, settings):
            _say(remark)
            report_note(host.name, remark)
        return lines

    yield from _do(
        access,
        pending,
        lambda client: guests.make(client, desired, settings, _say),
        f"{desired.label} is as declared",
    )


@operation()
def root_settings(
    access: ProxmoxAccess, desired: DesiredGuest, node: str
) -> Generator[PyinfraCommand]:
    """Set what only root@pam may set, by `pct` on this host, or from it on the guest's node.

    Args:
        access: how to reach the API, which tells what is set.
        desired: the guest.
        node: what the cluster calls this host.
    """
    try:
        commands = root.pending(_reader(access), desired)
        place = guests_by_id(_reader(access)).get(desired.vmid)
    except ProxmoxError as error:
        yield from refuse(str(error))
        return
    if not commands:
        host.noop(f"{desired.label} has what only root may set as declared")
        return
    for step in commands:
        _say(step.summary)
        elsewhere = place is not None and place.node != node
        yield command(*(by_its_node(desired.vmid, *step.words) if elsewhere else step.words))
    yield local_command(_reader(access).forget)


@operation()
def running(access: ProxmoxAccess, vmid: int) -> _Commands:
    """Make a guest run.

    Args:
        access: how to reach the API.
        vmid: its id.
    """

    def pending(client: Client) -> tuple[str, ...]:
        return () if power.runs(client, vmid) else (f"start guest {vmid}",)

    def work(client: Client) -> None:
        power.start(client, vmid)
        _started.add(vmid)

    yield from _do(access, pending, work, f"guest {vmid} runs")


def started() -> frozenset[int]:
    """The ids of the guests that this run has started: they are booting."""
    return frozenset(_started)


@operation()
def firewall(access: ProxmoxAccess, scopes: Sequence[Scope]) -> _Commands:
    """Make rules and options of the given scopes as derived; rules of others are left alone.

    Args:
        access: how to reach the API.
        scopes: from `phoenix.proxmox.firewall.scopes`, in the order to write them.
    """
    yield from _do(
        access,
        lambda client: apply.pending(client, scopes),
        lambda client: apply.apply(client, scopes, _say),
        f"the firewall's {sum(len(scope.rules) for scope in scopes)} rules are as derived",
    )


@operation()
def cluster(
    access: ProxmoxAccess, desired: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> _Commands:
    """Put guests under high availability and replication where settings say so.

    Args:
        access: how to reach the API.
        desired: the desired guests.
        settings: the HA group or rule with its nodes, and the replication's schedule.
    """

    def writes(client: Client) -> tuple[Write, ...]:
        return availability.writes(client, desired, settings)

    def work(client: Client) -> None:
        for write in writes(client):
            _say(write.summary)
            client.write(write.method, write.path, write.data)

    yield from _do(
        access,
        lambda client: tuple(write.summary for write in writes(client)),
        work,
        "high availability and replication are as declared",
    )


@operation()
def removed(access: ProxmoxAccess, vmid: int, *, destroy: bool) -> _Commands:
    """Shut down a guest that nobody declares any more; refused for one that has not our tag.

    Args:
        access: how to reach the API.
        vmid: its id.
        destroy: delete it as well, with its disks and snapshots.
    """
    yield from _do(
        access,
        lambda client: removal.pending(client, vmid, destroy=destroy),
        lambda client: removal.remove(client, vmid, destroy=destroy, log=_say),
        f"guest {vmid} is {'gone' if destroy else 'stopped'}",
    )


@operation()
def rules_removed(access: ProxmoxAccess, scopes: Sequence[Scope]) -> _Commands:
    """Switch scopes off that no sync keeps, and remove their rules that carry our mark.

    Args:
        access: how to reach the API.
        scopes: of `phoenix.proxmox.removal.unkept`.
    """
    yield from _do(
        access,
        lambda client: removal.rules_left(client, scopes),
        lambda client: removal.remove_rules(client, scopes, _say),
        "no rule of ours is in a scope that is not kept",
    )


def _do(
    access: ProxmoxAccess,
    pending: Callable[[Client], Sequence[str]],
    work: Callable[[Client], object],
    unchanged: str,
) -> _Commands:
    """Observe, then do nothing or `work`. An error fails the host with its reason."""
    try:
        lines = pending(_reader(access))
    except ProxmoxError as error:
        yield from refuse(str(error))
        return
    if not lines:
        host.noop(unchanged)
        return
    for line in lines:
        _say(line)

    def make() -> None:
        try:
            work(_client(access))
        finally:
            _reader(access).forget()

    yield local_command(make)


def _client(access: ProxmoxAccess) -> Client:
    return _clients(access)[0]


def _reader(access: ProxmoxAccess) -> ReadOnce:
    """The client for comparing: all operations of a run see the same guests and rules."""
    reader = _clients(access)[1]
    if not host.state.is_executing:
        reader.forget()
    elif access in _prefetching:
        _prefetching.pop(access).join()
        if prefetch.has_changed(host_state.this_host()):
            reader.forget()
    return reader


@cache
def _clients(access: ProxmoxAccess) -> tuple[Client, ReadOnce]:
    """One connection for a run: each new one would cost an SSH channel and a TLS handshake."""
    carrier = inventory.get_host(access.via) if access.via else None
    dial = dial_through(carrier, "127.0.0.1", PROXMOX_API) if carrier else None
    api = connect(Endpoint(access.url, access.token, access.trust, dial, access.request_seconds))
    others = tuple(
        connect(Endpoint(url, access.token, access.others_trust, None, access.request_seconds))
        for url in access.others
        if access.others_trust is not None
    )
    addresses = Addresses(api, *others)
    options: dict[str, Any] = {
        "task_seconds": access.task_seconds, "lock_seconds": access.lock_seconds, "log": _say,
    }  # fmt: skip
    return Client(addresses, **options), ReadOnce(addresses, **options)


def _say(line: str) -> None:
    """Into the run's log, and while it works before the person's eyes."""
    host.log(line)
    if host.state.is_executing:
        report("progress", host=host.name, text=line.partition("\n")[0])
