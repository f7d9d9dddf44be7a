"""Guests on the fake: from nothing to the declared state, and nothing more the second time."""

from __future__ import annotations

from collections.abc import Callable

from phoenix.model import Site
from phoenix.proxmox import values
from phoenix.proxmox.client import Client
from phoenix.proxmox.plan import Plan
from tests.proxmox.pve import Pve, run


def test_from_nothing_to_five_guests_and_then_no_write(
    site: Site, pve: Pve, client: Client, planned: Callable[..., Plan]
) -> None:
    plan = planned()
    said: list[str] = []
    assert run(client, plan, said.append)
    print("\n".join(said))
    made = [path for method, path, _ in pve.writes() if path.endswith("/status/start")]
    started = [int(path.split("/")[3]) for path in made]
    assert started == [guest.vmid for guest in site.guests], made
    for guest in site.guests:
        found = pve.guest(guest.vmid)
        assert found.status == "running", guest.name
        net = values.parse_nic(found.config["net0"])
        print(guest.vmid, found.config)
        if guest.mac:
            assert net["hwaddr"] == guest.mac, net
        assert int(found.config["memory"]) == guest.memory_mb
        assert int(found.config["cores"]) == guest.cores
        assert net["firewall"] == "1"
        startup = values.parse(found.config["startup"])
        assert startup == {"order": str(guest.boot_order), "up": str(guest.boot_delay)}
        disk = found.config["rootfs" if guest.kind == "lxc" else "scsi0"]
        assert values.parse(disk, "volume")["size"] == f"{guest.disk_gb}G"
    pve.forget()
    assert not run(client, planned())
    assert pve.writes() == []
