"""Guests that nobody declares: shut down, destroyed on demand, and only with our tag."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import RefusedError
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.removal import pending, remove
from phoenix.site.model import Site
from tests.proxmox.pve import NODE, Pve, run

Planned = Callable[..., Plan]


@pytest.mark.parametrize("kind", ["lxc", "vm"])
def test_shut_down_and_kept_then_destroyed(
    site: Site, pve: Pve, client: Client, planned: Planned, kind: str
) -> None:
    run(client, planned())
    guest = next(one for one in site.guests if one.kind == kind and one.start_at_boot)
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


def test_a_guest_without_our_tag_is_refused(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    run(client, planned())
    vmid = site.guests[0].vmid or 0
    pve.guest(vmid).config["tags"] = "mine"
    pve.forget()
    with pytest.raises(RefusedError, match="has not the tag phoenix"):
        remove(client, vmid, destroy=True, log=print)
    assert pve.writes() == []
