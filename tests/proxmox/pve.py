"""Helpers around fakepve: what was written, and a run as the deploy makes it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from phoenix.proxmox import apply, availability, guests, power
from phoenix.proxmox.client import Client
from phoenix.proxmox.listeners import HERE, Listener
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import firewall, preflight

NODE = "phoenix"


class Pve:
    """The fake, and what it was asked to change."""

    def __init__(self, fake: Any) -> None:
        self.fake = fake

    def writes(self) -> list[tuple[str, str, dict[str, str]]]:
        """Method, path and body of every request that changes something, in order."""
        return [
            (method, path.removeprefix("/api2/json/"), _body(body))
            for method, path, body in self.fake.requests
            if method != "GET"
        ]

    def forget(self) -> None:
        del self.fake.requests[:]

    def only(self, *privileges: str, path: str = "/") -> None:
        """The token's user has these privileges and no others."""
        self.fake.acl = {}
        self.fake.grant("phoenix@pve", path, *privileges)

    def guest(self, vmid: int | None) -> Any:
        return self.fake.guest(vmid)

    @property
    def state(self) -> dict[str, Any]:
        """All that the fake holds but its server."""
        return {
            name: value
            for name, value in vars(self.fake).items()
            if name not in ("runner", "host", "port", "_random")
        }


def _body(body: Any) -> dict[str, str]:
    if isinstance(body, dict):
        return body
    text = body.decode() if isinstance(body, bytes) else str(body or "")
    return dict(parse_qsl(text, keep_blank_values=True))


def listening(client: Client, *sockets: Listener) -> dict[str, frozenset[Listener]]:
    """What every node of the fake listens on: what Proxmox VE itself does, and `sockets`."""
    own = frozenset({Listener("tcp", 22, "sshd"), Listener("tcp", 8006, "pveproxy"), *sockets})
    return {HERE: own, **{str(row["node"]): own for row in client.get("nodes")}}


def run(client: Client, plan: Plan, log: Callable[[str], None] = lambda _line: None) -> bool:
    """What deploys/proxmox.py does, in its order; whether anything was written."""
    faults = [*plan.refused, *preflight(client, plan.guests, plan.settings)]
    faults += firewall(client, plan.scopes, plan.needed, listening(client), plan.settings)
    assert not faults, "\n".join(faults)
    changed = False
    for guest in plan.guests:
        changed |= guests.make(client, guest, plan.settings, log)
    changed |= apply.apply(client, plan.scopes, log)
    for guest in plan.guests:
        if not guest.template:
            changed |= power.start(client, guest.vmid)
    for write in availability.writes(client, plan.guests, plan.settings):
        client.write(write.method, write.path, write.data)
        changed = True
    return changed


_ENDS: dict[tuple[str, ...], tuple[bool, bytes]] = {}
"""What `run` answered and where it ended, by the plan and the state of the fake that it began with.

The requests before it are no part of that state: the fake only keeps them.
"""


def converged(pve: Pve, client: Client, plan: Plan) -> bool:
    """The fake as `run` leaves it: hundreds of requests, sent once for each beginning.

    Returns:
        Whether anything was written, as `run` answered it.
    """
    before = list(pve.fake.requests)
    held = sorted(pve.state.items())
    start = (
        repr(plan),
        *(f"{name}: {pickle.dumps(value)!r}" for name, value in held if name != "requests"),
    )
    if start not in _ENDS:
        pve.forget()
        _ENDS[start] = run(client, plan), pickle.dumps(pve.state)
    changed, end = _ENDS[start]
    vars(pve.fake).update(pickle.loads(end))  # noqa: S301 - made here
    pve.fake.requests[:0] = before
    return changed


def shut_down(client: Client, vmid: int) -> None:
    """Stop a container as a person does in Proxmox VE."""
    client.write("POST", f"nodes/{NODE}/lxc/{vmid}/status/shutdown", {"forceStop": 1})
