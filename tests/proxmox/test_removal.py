"""Guests that nobody declares: shut down, destroyed on demand, and only with our tag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix.proxmox.apply import placed
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import RefusedError
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.removal import pending, remove, remove_rules, rules_left, scopes_to_clear
from phoenix.site.model import Site
from tests.proxmox.pve import NODE, Pve, converged

Planned = Callable[..., Plan]


@pytest.mark.parametrize("kind", ["lxc", "vm"])
def test_shut_down_and_kept_then_destroyed(
    site: Site, pve: Pve, client: Client, planned: Planned, kind: str
) -> None:
    converged(pve, client, planned())
    guest = next(
        candidate for candidate in site.guests if candidate.kind == kind and candidate.start_at_boot
    )
    vmid, api = guest.vmid or 0, "lxc" if kind == "lxc" else "qemu"
    lines: list[str] = []
    remove(client, vmid, destroy=False, log=lines.append)
    assert pve.guest(vmid).status == "stopped"
    assert str(pve.guest(vmid).config.get("onboot", "0")) == "0"
    assert lines == [
        f"guest {vmid} ({guest.name}): not started at boot",
        f"guest {vmid} ({guest.name}): shut down",
    ]
    assert pending(client, vmid, destroy=False) == (), "a second run has nothing to do"
    pve.forget()
    remove(client, vmid, destroy=True, log=lines.append)
    assert [(method, path.partition("?")[0]) for method, path, _ in pve.writes()] == [
        ("DELETE", f"nodes/{NODE}/{api}/{vmid}")
    ]
    assert pending(client, vmid, destroy=True) == ()
    remove(client, vmid, destroy=True, log=lines.append)


def test_a_guest_of_high_availability_is_asked_once_and_waited_for(
    pve: Pve, client: Client, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    converged(pve, client, planned())
    guest = pve.guest(1001)
    guest.ha_state = "started"

    async def noted(vm: Any, user: str, state: str) -> Any:
        async def body() -> None:
            pass

        return await pve.fake.task(vm.node, "hastop", vm.vmid, user, body)

    monkeypatch.setattr(pve.fake, "_ha_request", noted)
    pauses: list[float] = []

    def later(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            guest.status = "stopped"

    monkeypatch.setattr(client, "_sleep", later)
    pve.forget()
    remove(client, 1001, destroy=False, log=lambda _line: None)
    assert [path for _, path, _ in pve.writes() if path.endswith("/shutdown")] == [
        f"nodes/{NODE}/qemu/1001/status/shutdown"
    ]
    assert len(pauses) == 3


def test_a_guest_without_our_tag_is_refused(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    vmid = site.guests[0].vmid or 0
    pve.guest(vmid).config["tags"] = "mine"
    pve.forget()
    with pytest.raises(RefusedError, match="has not the tag phoenix"):
        remove(client, vmid, destroy=True, log=print)
    assert pve.writes() == []


def test_rules_that_no_sync_keeps_go_behind_the_switch(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    desired = planned()
    converged(pve, client, desired)
    path = desired.scopes[0].path.format(node=NODE)
    own = {"type": "in", "action": "ACCEPT", "enable": 1, "comment": "a person's"}
    client.write("POST", f"{path}/rules", own)
    scopes = scopes_to_clear(desired.scopes, firewall=False)
    nodes = {"the node", "every other node"}
    assert {scope.name for scope in scopes} == {*(guest.name for guest in site.guests), *nodes}
    assert scopes_to_clear(desired.scopes, firewall=True) == ()
    pve.forget()
    lines: list[str] = []
    remove_rules(client, scopes, lines.append)
    assert lines[0].endswith("enable=0"), "off first: no rule goes while traffic is filtered"
    for scope in placed(client, scopes):
        rows = client.get(f"{scope.path}/rules")
        assert [row.get("comment") for row in rows if "phoenix" in row.get("comment", "")] == []
    assert [row["comment"] for row in client.get(f"{path}/rules")] == ["a person's"]
    pve.forget()
    assert rules_left(client, scopes) == ()
    remove_rules(client, scopes, lines.append)
    assert pve.writes() == []
