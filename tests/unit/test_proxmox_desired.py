"""What each guest shall be: declared values, and everything odd warned of by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from phoenix.declaration.load import load_site
from phoenix.declaration.settings import Device, GuestSettings, ProxmoxSettings
from phoenix.proxmox import access
from phoenix.proxmox.desired import Archive, Clone, CloudImage, DesiredGuest, desired_guests
from phoenix.proxmox.diff import Observed, compare
from phoenix.proxmox.errors import LoginError
from phoenix.proxmox.firewall import scopes
from phoenix.secrets.store import SecretStore
from phoenix.site.findings import ConfigError
from phoenix.site.model import Site
from tests.unit.project_copy import INHERITED
from tests.unit.site_builder import lxc, minimal

KEY = "ssh-ed25519 AAAA me"


@pytest.fixture(scope="module")
def inherited() -> Site:
    return load_site(INHERITED)


@pytest.fixture(scope="module")
def site() -> Site:
    root = Path(__file__).parents[2]
    return load_site(root / "inventories", root / "stacks")


def by_id(site: Site, settings: ProxmoxSettings | None = None) -> dict[int, DesiredGuest]:
    actual = desired_guests(site, settings or ProxmoxSettings(vm_user=None), [KEY])
    return {guest.vmid: guest for guest in actual}


def written(guest: DesiredGuest) -> dict[str, str]:
    return {key: want.written(None) for key, want in {**guest.keys, **guest.fixed}.items()}


def test_a_container(inherited: Site) -> None:
    guest = by_id(inherited)[301]
    actual = written(guest)
    actual.pop("description")
    assert actual == {
        "hostname": "quay-gate",
        "memory": "1024",
        "swap": "256",
        "cores": "2",
        "net0": "name=eth0,bridge=vmbr2,firewall=1,hwaddr=02:00:5E:00:53:04,ip=172.20.5.20/24,"
        "gw=172.20.5.1",
        "nameserver": "172.20.5.2",
        "searchdomain": "in.harbour.example",
        "onboot": "1",
        "startup": "order=2,up=7",
        "tags": "nginx;phoenix",
        "features": "nesting=1",
        "unprivileged": "1",
    }
    assert (guest.storage, guest.disk_gb) == ("dock-lxc", 12)
    assert guest.origin == Clone(500, "as-built")
    assert guest.node == "harbour"


def test_a_vm(inherited: Site) -> None:
    guest = by_id(inherited, ProxmoxSettings(vm_user=None))[3001]
    actual = written(guest)
    actual.pop("description")
    assert actual == {
        "name": "bosun",
        "memory": "3072",
        "cores": "2",
        "net0": "virtio,bridge=vmbr2,firewall=1",
        "ipconfig0": "ip=172.20.5.31/24,gw=172.20.5.1",
        "nameserver": "172.20.5.2",
        "searchdomain": "in.harbour.example",
        "onboot": "1",
        "startup": "order=4,up=6",
        "tags": "docker;phoenix;portainer",
        "agent": "1",
        "cpu": "x86-64-v2-AES",
        "ciupgrade": "0",
        "ciuser": "crew",
        "sshkeys": "ssh-ed25519%20AAAA%20me",
    }
    assert (guest.storage, guest.disk_gb, guest.origin) == (
        "dock-vm", 20, Clone(9500, "pristine"),
    )  # fmt: skip


def test_templates_come_before_what_is_cloned_from_them(inherited: Site) -> None:
    guests = by_id(inherited)
    order = list(guests)
    archive = "debian-13-standard_13.1-1_amd64.tar.zst"
    assert guests[500].origin == Archive(f"local:vztmpl/{archive}", archive)
    image = "debian-13-generic-amd64"
    assert guests[9500].origin == CloudImage(f"local:import/{image}.qcow2", f"{image}.img")
    clones = [guest for guest in guests.values() if isinstance(guest.origin, Clone)]
    assert len(clones) == 9
    for guest in clones:
        assert isinstance(guest.origin, Clone)
        assert order.index(guest.origin.source) < order.index(guest.vmid), order
    assert guests[9500].disk_gb is None, "a clone can't be smaller than its template"


@pytest.mark.parametrize(
    "path",
    [
        "lxc_configs.501.gpu_assignment",
        "lxc_configs.301.mount_points[0]",
        "lxc_configs.301.pct_options",
        "lxc_configs.500.enable_lifecycle_snapshots",
        "lxc_configs.500.apparmor_profile",
        "lxc_configs.500.lxc_options",
        "vms[1].volumes[0]",
    ],
)
def test_what_is_not_carried_over_is_warned_of_by_name(inherited: Site, path: str) -> None:
    warned = {finding.path for finding in inherited.warnings}
    assert path in warned, sorted(warned)


def test_a_container_has_the_folders_volumes_devices_and_ids_of_its_entry(inherited: Site) -> None:
    gateway, model = by_id(inherited)[301], by_id(inherited)[401]
    (folder,) = gateway.root.bind_mounts
    assert (folder.host_path, folder.path) == ("/srv/kept/301/logs", "/var/log/nginx")
    assert ("lxc.apparmor.profile", "unconfined") in gateway.root.low_level
    assert gateway.root.idmap == (
        "u 0 100000 65536", "g 0 100000 44", "g 44 44 1", "g 45 100045 65491",
    )  # fmt: skip
    (volume,) = model.mount_points
    assert (volume.storage, volume.size_gb, volume.path) == ("hold", 30, "/models")
    assert [(device.path, device.mode) for device in model.root.devices] == [
        ("/dev/nvidia1", "0666"), ("/dev/nvidiactl", "0666"), ("/dev/nvidia-uvm", "0666"),
        ("/dev/nvidia-uvm-tools", "0666"),
    ]  # fmt: skip
    assert "bind:/var/log/nginx" in gateway.declared, "so that it leaves with the declaration"


def test_proxmox_guests_holds_where_an_entry_says_something_else(inherited: Site) -> None:
    own = GuestSettings(
        devices=(Device(path="/dev/nvidia1", gid=44),), idmap=("u 0 1 2",), features={"fuse": "0"}
    )
    model = by_id(inherited, ProxmoxSettings(vm_user=None, guests={401: own}))[401]
    assert [device.gid for device in model.root.devices] == [44, None, None, None]
    assert model.root.idmap == ("u 0 1 2",)


def test_settings_of_one_guest(site: Site) -> None:
    own = {
        101: GuestSettings(node="second", vlan=12, tags=("edge",), protection=True),
        102: GuestSettings(features={"keyctl": "1"}),
    }
    guests = by_id(site, ProxmoxSettings(guests=own))
    actual = written(guests[101])
    assert guests[101].node == "second"
    assert "tag=12" in actual["net0"].split(",")
    assert (actual["tags"], actual["protection"]) == ("edge;nginx;phoenix", "1")
    assert written(guests[102])["features"] == "nesting=1", "the one that a token may set"
    assert guests[102].root.features == {"nesting": "1", "keyctl": "1"}
    assert guests[101].root.features == {}
    described = written(guests[101])["description"].splitlines()
    assert described[1:] == ["Declared: net0.tag protection tags.edge"]
    assert len(written(guests[103])["description"].splitlines()) == 1
    assert "tag=" not in written(guests[102])["net0"]


def test_settings_that_cannot_work_are_refused(site: Site) -> None:
    own = {
        4711: GuestSettings(),
        102: GuestSettings(cpu="host"),
        1001: GuestSettings(features={"nesting": "1"}),
    }
    with pytest.raises(ConfigError) as caught:
        by_id(site, ProxmoxSettings(guests=own))
    places = {finding.path for finding in caught.value.findings}
    assert places == {
        "proxmox_guests[4711]", "proxmox_guests[102].cpu",
        "proxmox_guests[1001]",
    }, caught.value  # fmt: skip


def test_what_is_no_tag_is_refused_where_settings_are_read() -> None:
    for tag in ("no tag", ".edge", "a;b", "a,b", "Edge", ""):
        with pytest.raises(ValidationError):
            GuestSettings(tags=(tag,))


@pytest.mark.parametrize(
    ("unprivileged", "features", "missing"),
    [
        (True, {}, "has no nesting and no keyctl"),
        (True, {"nesting": "1"}, "has no keyctl"),
        (True, {"nesting": "0", "keyctl": "1"}, "has no nesting"),
        (False, {}, "has no nesting"),
        (True, {"nesting": "yes", "keyctl": "1"}, None),
        (False, {"nesting": "1"}, None),
    ],
)
def test_docker_in_a_container_needs_its_features(
    tmp_path: Path, unprivileged: bool, features: dict[str, str], missing: str | None
) -> None:
    declared = minimal()
    worker = lxc("worker", "docker", 24, portainer_role="agent", docker_stacks=["shop"])
    declared.vm["vms"].pop()
    declared.lxc["lxc_configs"]["104"] = worker | {"unprivileged": unprivileged}
    site = declared.load(tmp_path)
    settings = ProxmoxSettings(lxc_features={}, guests={104: GuestSettings(features=features)})
    if missing is None:
        desired_guests(site, settings, [KEY])
        return
    with pytest.raises(ConfigError) as caught:
        desired_guests(site, settings, [KEY])
    (finding,) = (f for f in caught.value.findings if f.path == "proxmox_guests[104].features")
    assert finding.message.endswith(f"container, which {missing}")
    assert "make it a VM, or write proxmox_guests = {104: {'features': {" in finding.fix


def observed_of(guest: DesiredGuest, **config: str) -> Observed:
    volumes = {
        f"mp{number}": f"{volume.storage}:disk,mp={volume.path},size={volume.size_gb}G,backup=1"
        for number, volume in enumerate(guest.mount_points)
    }
    return Observed(
        vmid=guest.vmid, kind=guest.kind, node=guest.node, name=guest.name, running=True,
        template=False, lock=None,
        config={
            **written(guest), **volumes, "rootfs": f"pool:disk,size={guest.disk_gb}G", **config,
        },
    )  # fmt: skip


def test_a_guest_as_declared_has_no_difference(inherited: Site) -> None:
    for guest in by_id(inherited).values():
        if guest.kind == "lxc":
            actual = compare(guest, observed_of(guest))
            assert not actual, (guest.label, actual)


def test_what_cannot_be_changed_later_is_refused(inherited: Site) -> None:
    guest = by_id(inherited)[303]
    actual = compare(guest, observed_of(guest, unprivileged="0"))
    assert len(actual.refusals) == 1, actual
    assert "unprivileged is 0 and can't be changed" in actual.refusals[0]


def test_differences_are_typed_and_shown(inherited: Site) -> None:
    guest = by_id(inherited)[303]
    actual = compare(
        guest, observed_of(guest, memory="512", rootfs="pool:disk,size=8G", cpulimit="2")
    )
    assert actual.lines == ("memory: 512 -> 896", "rootfs: 8 GiB -> 14 GiB"), actual
    larger = compare(guest, observed_of(guest, rootfs="pool:disk,size=64G"))
    assert not larger
    assert "never shrunk" in larger.remarks[0]


def test_a_cpu_type_is_set_where_there_is_none_and_kept_where_there_is(site: Site) -> None:
    plain = by_id(site)[1001]
    observed = observed_of(plain)
    without = {key: value for key, value in observed.config.items() if key != "cpu"}
    lines = compare(plain, replace(observed, config=without)).lines
    assert lines == ("cpu: (absent) -> x86-64-v2-AES",)
    persons = observed_of(plain, cpu="host,flags=+aes")
    assert compare(plain, persons).lines == ()
    declared = by_id(site, ProxmoxSettings(vm_cpu="x86-64-v3", vm_user=None))[1001]
    lines = compare(declared, persons).lines
    assert lines == ("cpu: host,flags=+aes -> x86-64-v3,flags=+aes",)
    host = {1001: GuestSettings(cpu="host")}
    own = by_id(site, ProxmoxSettings(guests=host, vm_user=None))
    assert compare(own[1001], persons).lines == ()
    assert written(own[1002])["cpu"] == "x86-64-v2-AES"


def test_the_guest_agent_is_on_unless_a_setting_leaves_it_alone(site: Site) -> None:
    assert by_id(site, ProxmoxSettings())[1001].keys["agent"].written(None) == "1"
    assert "agent" not in by_id(site, ProxmoxSettings(guest_agent=False))[1001].keys
    assert "agent" not in by_id(site, ProxmoxSettings())[103].keys


def test_a_first_boot_upgrades_nothing(site: Site) -> None:
    guest = by_id(site)[1001]
    observed = observed_of(guest)
    without = {key: value for key, value in observed.config.items() if key != "ciupgrade"}
    lines = compare(guest, replace(observed, config=without)).lines
    assert lines == ("ciupgrade: (absent) -> 0",), "absent is on"


def test_what_leaves_the_declaration_leaves_the_guest(site: Site) -> None:
    settings = GuestSettings(vlan=12, tags=("edge",), protection=True)
    before = by_id(site, ProxmoxSettings(guests={101: settings}))[101]
    observed = observed_of(before, tags="edge;mine;nginx;phoenix")
    changes = {c.key: c.after for c in compare(by_id(site)[101], observed).changes}
    assert "tag=" not in (changes.pop("net0") or "")
    assert "Declared" not in (changes.pop("description") or "")
    assert changes == {"protection": "0", "tags": "mine;nginx;phoenix"}
    persons = {**observed.config, "description": "a person's words"}
    comparison = compare(by_id(site)[101], replace(observed, config=persons))
    assert comparison.lines == (), "a person's description keeps no record: all of it stays"


def test_who_runs_it_is_no_difference_of_a_vm_that_runs(inherited: Site) -> None:
    """A second operator's own key is for the VMs that this operator makes; a team's is declared."""
    vmid = next(host.vmid for host in inherited.guests if host.kind == "vm" and host.vmid)
    running = observed_of(by_id(inherited)[vmid])
    second_key = "ssh-ed25519 AAAATHEIRS desk"

    def compared(settings: ProxmoxSettings, observed: Observed) -> tuple[str, ...]:
        (guest,) = [
            candidate
            for candidate in desired_guests(inherited, settings, [second_key])
            if candidate.vmid == vmid
        ]
        return compare(guest, observed).lines

    assert compared(ProxmoxSettings(vm_user=None), running) == ()
    added = (f"sshkeys: {KEY} -> {KEY}, {second_key}",)
    assert compared(ProxmoxSettings(vm_user=None), replace(running, running=False)) == added
    assert compared(ProxmoxSettings(vm_user=None, ssh_keys=(second_key,)), running) == added


def test_a_machine_without_the_token_is_told_how_to_get_it(tmp_path: Path) -> None:
    """A second operator's site has one already: no other is to be made."""
    with pytest.raises(LoginError, match=r"another operator has it: .* import FILE` here"):
        access.token(SecretStore(tmp_path / "secrets.json", environment={}))


def test_a_guest_that_keeps_its_agent_and_resolver_has_neither_written(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"][0]["leave_alone"] = ["guest_agent", "resolver"]
    guests = by_id(declared.load(tmp_path), ProxmoxSettings())
    assert {"agent", "nameserver", "searchdomain"} & guests[1001].keys.keys() == set()
    assert {"agent", "nameserver", "searchdomain"} <= guests[1002].keys.keys()


def test_a_guest_that_is_left_alone_is_none_of_proxmox(tmp_path: Path) -> None:
    """A bare machine, a VM of a cloud, or a guest that a person looks after."""
    declared = minimal()
    declared.vm["vms"][1]["leave_alone"] = ["proxmox"]
    site = declared.load(tmp_path)
    assert set(by_id(site, ProxmoxSettings())) == {101, 102, 103, 1001}
    outside = site.host("worker")
    assert outside in site.guests
    assert outside.name not in {scope.name for scope in scopes(site, ProxmoxSettings())}
    (proxy,) = [scope for scope in scopes(site, ProxmoxSettings()) if scope.name == "control"]
    assert str(outside.address) in str(proxy.rules), "what it asks of others is let in there"
    settings = ProxmoxSettings(guests={1002: GuestSettings(cpu="host")})
    with pytest.raises(ConfigError, match=r"proxmox_guests\[1002\]: no guest has this id"):
        desired_guests(site, settings)


def test_all_guests_but_one_may_be_left_alone(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["site"] = {"leave_alone": ["proxmox"]}
    declared.lxc["lxc_configs"]["103"]["leave_alone"] = []
    assert set(by_id(declared.load(tmp_path), ProxmoxSettings())) == {103}
