"""What each guest shall be: the original files' values, and everything odd warned of by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.declaration.load import load_site
from phoenix.proxmox.desired import Archive, Clone, CloudImage, Wanted, desired
from phoenix.proxmox.diff import Observed, compare
from phoenix.proxmox.settings import GuestSettings, ProxmoxSettings
from phoenix.site.findings import ConfigError
from phoenix.site.model import Site

ORIGINAL = Path(__file__).parents[3] / "shared" / "data" / "original"
KEY = "ssh-ed25519 AAAA me"


@pytest.fixture(scope="module")
def original() -> Site:
    if not ORIGINAL.is_dir():
        pytest.skip(f"the original's data is not here: {ORIGINAL}")
    return load_site(ORIGINAL)


@pytest.fixture(scope="module")
def site() -> Site:
    root = Path(__file__).parents[2]
    return load_site(root / "inventories", root / "stacks")


def by_id(site: Site, settings: ProxmoxSettings | None = None) -> dict[int, Wanted]:
    found = desired(site, settings or ProxmoxSettings(), [KEY])
    return {guest.vmid: guest for guest in found}


def written(guest: Wanted) -> dict[str, str]:
    return {key: want.written(None) for key, want in {**guest.keys, **guest.fixed}.items()}


def test_the_originals_container_101(original: Site) -> None:
    guest = by_id(original)[101]
    found = written(guest)
    found.pop("description")
    assert found == {
        "hostname": "nginx-phoenix",
        "memory": "4096",
        "swap": "512",
        "cores": "4",
        "net0": "name=eth0,bridge=vmbr0,firewall=1,hwaddr=52:54:00:67:89:B3,ip=10.0.0.153/24,"
        "gw=10.0.0.1",
        "nameserver": found["nameserver"],
        "searchdomain": "internal.thinkheads.ai",
        "onboot": "1",
        "startup": "order=2,up=5",
        "tags": "nginx;phoenix",
        "features": "nesting=1",
        "unprivileged": "1",
    }
    assert (guest.storage, guest.disk_gb) == ("quickOS-lxc-disks", 32)
    assert guest.origin == Clone(900, "final-form")
    assert guest.node == "phoenix"


def test_the_originals_vm_1001(original: Site) -> None:
    guest = by_id(original)[1001]
    found = written(guest)
    found.pop("description")
    assert found == {
        "name": "portainer",
        "memory": "8192",
        "cores": "4",
        "net0": "virtio,bridge=vmbr0,firewall=1",
        "ipconfig0": "ip=10.0.0.111/24,gw=10.0.0.1",
        "nameserver": "10.0.0.13",
        "searchdomain": "internal.thinkheads.ai",
        "onboot": "1",
        "startup": "order=4,up=2",
        "tags": found["tags"],
        "agent": "1",
        "ciuser": "phoenix_user",
        "sshkeys": "ssh-ed25519%20AAAA%20me",
    }
    assert (guest.storage, guest.disk_gb, guest.origin) == (
        "quickOS-vm-disks", 32, Clone(9000, "initial_clean_state"),
    )  # fmt: skip


def test_the_originals_templates_come_before_what_is_cloned_from_them(original: Site) -> None:
    order = list(by_id(original))
    guests = by_id(original)
    archive = "ubuntu-24.04-standard_24.04-2_amd64.tar.zst"
    assert guests[900].origin == Archive(f"local:vztmpl/{archive}", archive)
    image = "noble-server-cloudimg-amd64"
    assert guests[9000].origin == CloudImage(f"local:import/{image}.qcow2", f"{image}.img")
    for guest in guests.values():
        if isinstance(guest.origin, Clone):
            assert order.index(guest.origin.source) < order.index(guest.vmid), order
    assert guests[9000].disk_gb is None, "a clone can't be smaller than its template"


@pytest.mark.parametrize(
    "path",
    [
        "lxc_configs.101.id_maps",
        "lxc_configs.801.gpu_assignment",
        "lxc_configs.101.mount_points",
        "lxc_configs.101.pct_options",
        "lxc_configs.101.lxc_options",
        "lxc_configs.801.zfs_volumes",
        "lxc_configs.900.enable_lifecycle_snapshots",
        "lxc_configs.103.apparmor_profile",
        "vms[1].volumes[0]",
    ],
)
def test_what_is_not_carried_over_is_warned_of_by_name(original: Site, path: str) -> None:
    warned = {finding.path for finding in original.warnings}
    assert path in warned, sorted(warned)


def test_settings_of_one_guest(site: Site) -> None:
    own = {
        101: GuestSettings(node="second", vlan=12, tags=("edge",), protection=True),
        102: GuestSettings(features={"keyctl": "1"}),
    }
    guests = by_id(site, ProxmoxSettings(guests=own))
    found = written(guests[101])
    assert guests[101].node == "second"
    assert "tag=12" in found["net0"].split(",")
    assert (found["tags"], found["protection"]) == ("edge;nginx;phoenix", "1")
    assert written(guests[102])["features"] == "nesting=1,keyctl=1"
    assert "tag=" not in written(guests[102])["net0"]


def test_settings_that_cannot_work_are_refused(site: Site) -> None:
    own = {
        4711: GuestSettings(),
        101: GuestSettings(tags=("no tag",)),
        1001: GuestSettings(features={"nesting": "1"}),
    }
    with pytest.raises(ConfigError) as caught:
        by_id(site, ProxmoxSettings(guests=own))
    places = {finding.path for finding in caught.value.findings}
    assert places == {
        "proxmox_guests[4711]", "proxmox_guests[101].tags", "proxmox_guests[1001]"
    }, caught.value  # fmt: skip


def seen(guest: Wanted, **config: str) -> Observed:
    return Observed(
        vmid=guest.vmid, kind=guest.kind, node=guest.node, name=guest.name, running=True,
        template=False, lock=None,
        config={**written(guest), "rootfs": f"pool:disk,size={guest.disk_gb}G", **config},
    )  # fmt: skip


def test_a_guest_as_declared_has_no_difference(original: Site) -> None:
    for guest in by_id(original).values():
        if guest.kind == "lxc":
            found = compare(guest, seen(guest))
            assert not found, (guest.label, found)


def test_what_cannot_be_changed_later_is_refused(original: Site) -> None:
    guest = by_id(original)[103]
    found = compare(guest, seen(guest, unprivileged="0"))
    assert len(found.refusals) == 1, found
    assert "unprivileged is 0 and can't be changed" in found.refusals[0]


def test_differences_are_typed_and_shown(original: Site) -> None:
    guest = by_id(original)[103]
    found = compare(guest, seen(guest, memory="512", rootfs="pool:disk,size=8G", cpulimit="2"))
    assert found.lines == ("memory: 512 -> 1024", "rootfs: 8 GiB -> 16 GiB"), found
    larger = compare(guest, seen(guest, rootfs="pool:disk,size=64G"))
    assert not larger
    assert "never shrunk" in larger.remarks[0]
