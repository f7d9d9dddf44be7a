"""Guests that answer by SSH with a host key that the hypervisor vouches for."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from pyinfra import host
from pyinfra.api import FunctionCommand, OperationError
from pyinfra.api.host import Host

from facts.command import command
from facts.proxmox import GuestHostKeys
from operations.failure import locally
from operations.host_state import ask_of, question, read, this_host
from operations.operation import operation
from operations.proxmox import started
from phoenix.net.ssh_greeting import answers
from phoenix.proxmox import hostkeys
from phoenix.runs.reporter import report

_PAUSE = 3.0
_SAID_SECONDS = 15.0
"""How often a person is told which guests are waited for."""
_RUNNING_SECONDS = 5.0
_UNKNOWN = (
    "its host key can't be learned through the hypervisor: neither its guest agent nor the bridge "
    "vouches for it. fix: install qemu-guest-agent in it, or add its key to known_hosts by hand"
)


@operation(reads=lambda guests, *_, **__: [question(GuestHostKeys, guests=tuple(guests))])
def reachable(
    guests: Sequence[hostkeys.Guest], known_hosts: str, seconds: float = 300
) -> Generator[FunctionCommand, None, None]:
    """Wait until each guest answers by SSH, and put its host key into our known_hosts.

    The keys come through the hypervisor. A guest that has the keys of another one, as clones do,
    gets its own first. Where the hypervisor can't look into its guests (the lab), what the file
    has is taken as given.

    Args:
        guests: those to wait for.
        known_hosts: the file on the control machine that pyinfra verifies hosts by.
        seconds: how long guests that this run has started may take, all of them together. One
            that was running already has `_RUNNING_SECONDS`: it is silent, and does not boot.
    """
    file = Path(known_hosts).expanduser()
    learned = read(question(GuestHostKeys, guests=tuple(guests)))
    renewals = [vmid for vmid in hostkeys.shared(learned) if _is_container(guests, vmid)]
    all_known = all(_key_is_known(file, guest, learned) for guest in guests)
    if all_known and not renewals and all(answers(guest.address) for guest in guests):
        host.noop(f"{len(guests)} guests answer by SSH, and their keys are known")
        return

    def wait() -> None:
        began = time.monotonic()
        unreachable = _wait(this_host(), guests, file, {
            guest: began + (seconds if guest.vmid in started() else min(seconds, _RUNNING_SECONDS))
            for guest in guests
        })  # fmt: skip
        if unreachable:
            raise OperationError(
                "\n".join(
                    f"guest {guest.vmid} ({guest.name}): {reason}"
                    for guest, reason in unreachable.items()
                )
            )

    yield locally(wait)


def _wait(
    hypervisor: Host,
    guests: Sequence[hostkeys.Guest],
    file: Path,
    deadlines: Mapping[hostkeys.Guest, float],
) -> dict[hostkeys.Guest, str]:
    """The guests that were not reachable by their deadlines, and why."""
    pending = dict.fromkeys(guests, "not checked in time")
    renewed: set[int] = set()
    began = said = time.monotonic()
    while any(time.monotonic() < deadlines[guest] for guest in pending):
        keys = _learn(hypervisor, guests)
        for guest in guests:
            if guest.kind == "lxc" and guest.vmid in set(hostkeys.shared(keys)) - renewed:
                hypervisor.log(f"{guest.name} has the SSH host keys of another: creating its own")
                _renew(hypervisor, guest.vmid)
                renewed.add(guest.vmid)
                pending[guest] = "its new host keys were not read in time"
        if renewed & set(hostkeys.shared(keys)):
            keys = _learn(hypervisor, guests)
        for guest in tuple(pending):
            if not answers(guest.address):
                pending[guest] = f"nothing answers on {guest.address}:22"
                continue
            if keys.get(guest.vmid):
                hostkeys.remember(file, guest.address, keys[guest.vmid])
            pending[guest] = _UNKNOWN
            if _key_is_known(file, guest, keys):
                del pending[guest]
        if pending:
            said = _told(hypervisor, pending, began, said)
            time.sleep(_PAUSE)
    return pending


def _told(
    hypervisor: Host, pending: Mapping[hostkeys.Guest, str], began: float, said: float
) -> float:
    """Tell a person now and then which guests are waited for; when that was."""
    now = time.monotonic()
    if now - said < _SAID_SECONDS:
        return said
    names = ", ".join(guest.name for guest in pending)
    line = f"waiting for SSH of {names}, {now - began:.0f} s"
    hypervisor.log(line)
    report("progress", host=hypervisor.name, text=line)
    return now


def _key_is_known(file: Path, guest: hostkeys.Guest, keys: dict[int, frozenset[str]]) -> bool:
    """Whether known_hosts has the keys that the hypervisor reports, or any if it reports none."""
    known = hostkeys.known(file, guest.address)
    reported = keys.get(guest.vmid, frozenset())
    return known == reported if reported else bool(known)


def _is_container(guests: Sequence[hostkeys.Guest], vmid: int) -> bool:
    return any(guest.vmid == vmid and guest.kind == "lxc" for guest in guests)


def _learn(hypervisor: Host, guests: Sequence[hostkeys.Guest]) -> dict[int, frozenset[str]]:
    return ask_of(hypervisor, question(GuestHostKeys, guests=tuple(guests)))


def _renew(hypervisor: Host, vmid: int) -> None:
    renew = command("pct", "exec", vmid, "--", *hostkeys.RENEW.argv())
    hypervisor.run_shell_command(renew, print_output=False, print_input=False)
