"""The hypervisor's API in the lab: a fake that others wrote, converged by the real deploy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.project import Project
from tests.integration.site_lab import SiteLab

VMS = "inventories/phoenix_vm_configs.json"


def ask(site: SiteLab, path: str) -> Any:
    """What the API says, asked on the hypervisor with the deploys' token, by curl."""
    header = f"Authorization: PVEAPIToken={site.secrets['proxmox_api_token']}\n"
    site.put("hypervisor", "/root/pve.header", header, 0o600)
    url = f"https://127.0.0.1:8006/api2/json{path}"
    done = site.sh("hypervisor", f"curl -fsSk -H @/root/pve.header {url}", ok=True)
    return json.loads(done.out)["data"]


def test_guests_are_there_as_declared(site: SiteLab) -> None:
    guests = {guest["vmid"]: guest for guest in ask(site, "/cluster/resources?type=vm")}
    assert {host.vmid for host in site.site.guests} <= set(guests), guests
    for host in site.site.guests:
        guest = guests[host.vmid]
        assert guest["status"] == "running", guest
        kind = "lxc" if host.kind == "lxc" else "qemu"
        config = ask(site, f"/nodes/{guest['node']}/{kind}/{host.vmid}/config")
        assert int(config["memory"]) == host.memory_mb, config
        network = config["net0"] if kind == "lxc" else config["ipconfig0"]
        assert f"ip={host.address}/{host.prefixlen}" in network, config


@pytest.mark.usefixtures("repaired")
def test_one_change_touches_one_guest(site: SiteLab, variant: Project) -> None:
    declared = variant.json(VMS)
    entry = next(vm for vm in declared["vms"] if vm["vmid"] == 1002)
    entry["memory_mb"] += 1024
    variant.write_json(VMS, declared)
    run = variant.run("deploys/proxmox.py")
    assert run.returncode == 0, run.explain()
    assert [name for name, _ in run.changes] == ["Proxmox: VM 1002 (drphoenix)"], run.explain()
    node = site.site.hypervisor.name
    # A running VM takes other memory at its next start; until then it is pending.
    pending = {change["key"]: change for change in ask(site, f"/nodes/{node}/qemu/1002/pending")}
    memory = pending["memory"]
    assert int(memory.get("pending", memory["value"])) == entry["memory_mb"], memory
    again = variant.run("deploys/proxmox.py")
    assert again.changes == [], again.explain()
