"""The desired state of each guest on the hypervisor, from the Site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from phoenix.declaration.settings import (
    FOLDER,
    BindMount,
    Device,
    GuestSettings,
    MountPoint,
    ProxmoxSettings,
)
from phoenix.proxmox import values
from phoenix.proxmox.keys import (
    Flag,
    Key,
    Nic,
    Note,
    Number,
    Preset,
    Props,
    SshKeys,
    Tags,
    Text,
    Words,
)
from phoenix.site.findings import ConfigError, Report
from phoenix.site.model import Host, Interface, Site, Template
from phoenix.site.roles import ROLES

Kind = Literal["lxc", "qemu"]

TAG = "phoenix"
"""The tag, and MARK the start of the description, by which we recognise a managed guest."""
MARK = "Managed by Phoenix"
UNFINISHED = "Its first snapshot is still to be taken."
"""A line of the description of a new guest, until it has that snapshot."""
DECLARED = "Declared:"
"""The start of the description's line that keeps `DesiredGuest.declared`."""
# Tags that Phoenix alone sets, and removes from a guest that should not have them.
OWNED_TAGS = frozenset({TAG, *ROLES})
_CPU = "x86-64-v2-AES"
"""The oldest CPU that images for x86-64-v2 run on; the API's own default, kvm64, is older."""
_ANYONE = "0666"
"""The mode of a GPU's nodes, as NVIDIA's driver makes them (NVreg_DeviceFileMode)."""
_IMAGE_SUFFIXES = {".img": ".qcow2"}


TO_MAKE = "guests_to_make"
"""Under which a run tells the names of the guests that do not exist yet."""


@dataclass(frozen=True)
class Archive:
    """An LXC template archive: its volume id, and its file name as declared."""

    volume: str
    file: str


@dataclass(frozen=True)
class CloudImage:
    """A VM's disk image in a storage's import folder, and its file name as declared."""

    volume: str
    file: str


@dataclass(frozen=True)
class Clone:
    """A clone of another guest; from `snapshot` where that guest is no template."""

    source: int
    snapshot: str | None


@dataclass(frozen=True)
class RootSettings:
    """What only root@pam may set (`phoenix.proxmox.root`); `features` are all of a container's."""

    features: Mapping[str, str]
    bind_mounts: tuple[BindMount, ...] = ()
    devices: tuple[Device, ...] = ()
    idmap: tuple[str, ...] = ()
    low_level: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DesiredGuest:
    """The desired state of one guest. Sizes: GiB. `keys` are compared; `fixed` can't change later.

    `declared` names what is optional and declared, as "net0.tag" and "features.fuse"; the guest's
    description keeps it, so that what leaves the declaration leaves the guest. `declared_in` is its
    entry in the JSON files, for messages. `first_snapshot`: it gets one once it is made. `placed`:
    its node is declared for it alone, so that it moves there; else it stays where it is.
    """

    vmid: int
    kind: Kind
    name: str
    node: str
    template: bool
    origin: Archive | CloudImage | Clone | None
    storage: str | None
    disk_gb: int | None
    keys: Mapping[str, Key]
    fixed: Mapping[str, Key]
    mount_points: tuple[MountPoint, ...]
    ssh_keys: tuple[str, ...]
    declared_in: str
    replicate_to: tuple[str, ...] = ()
    root: RootSettings = RootSettings({})
    declared: frozenset[str] = frozenset()
    first_snapshot: bool = False
    placed: bool = False

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{'container' if self.kind == 'lxc' else 'VM'} {self.vmid} ({self.name})"


def desired_guests(
    site: Site, settings: ProxmoxSettings, ssh_keys: Iterable[str] = ()
) -> tuple[DesiredGuest, ...]:
    """Every guest in the order to make them: templates that are needed, then guests in site order.

    `ssh_keys` are public keys, OpenSSH's one-line form, that new guests accept.

    Raises:
        ConfigError: a setting that can't work for its guest.
    """
    report = Report()
    guests = site.proxmox_guests
    ids = {guest.vmid for guest in (*guests, *site.templates)}
    for vmid in settings.guests:
        if vmid not in ids:
            report.error(
                FOLDER, f"proxmox_guests[{vmid}]", "no guest has this id",
                f"use one of {sorted(v for v in ids if v)}",
            )  # fmt: skip
    running = {guest.vmid for guest in guests}
    for name, members in settings.apart.items():
        nodes = [node for vmid in members if (node := settings.guest(vmid).node)]
        if twice := sorted({node for node in nodes if nodes.count(node) > 1}):
            report.error(
                FOLDER, f"proxmox_apart.{name}", f"two of its guests are declared on {twice[0]}",
                "name a node of its own for each in proxmox_guests[ID].node",
            )  # fmt: skip
        for vmid in dict.fromkeys(members):
            if vmid not in running or members.count(vmid) > 1:
                report.error(
                    FOLDER, f"proxmox_apart.{name}",
                    f"{vmid} is named twice" if vmid in running else f"no guest has the id {vmid}",
                    f"name two or more of {sorted(v for v in running if v)}, each once",
                )  # fmt: skip
    keys = tuple(dict.fromkeys(key.strip() for key in ssh_keys if key.strip()))
    declared: tuple[Host | Template, ...] = (*_used_templates(site), *guests)
    desired = tuple(_guest(guest, site, settings, keys, report) for guest in declared)
    report.raise_errors()
    return desired


def _used_templates(site: Site) -> tuple[Template, ...]:
    """The templates that a running guest is cloned from, each after its own source."""
    by_id = {template.vmid: template for template in site.templates}
    templates: dict[int | None, Template] = {}

    def take(vmid: int | None) -> None:
        template = by_id.get(vmid)
        if template is not None and vmid not in templates:
            if template.clone_from != vmid:
                take(template.clone_from)
            templates[vmid] = template

    for guest in site.proxmox_guests:
        take(guest.clone_from)
    return tuple(templates.values())


def _guest(
    guest: Host | Template,
    site: Site,
    settings: ProxmoxSettings,
    ssh_keys: tuple[str, ...],
    report: Report,
) -> DesiredGuest:
    vmid = guest.vmid or 0
    own = _own(guest, settings)
    lxc = guest.kind == "lxc"
    if not lxc:
        alone = ("features", "mount_points", "bind_mounts", "devices", "idmap")
        if foreign_keys := [name for name in alone if getattr(own, name)]:
            report.error(
                FOLDER, f"proxmox_guests[{vmid}]",
                f"{' and '.join(foreign_keys)}: for containers alone",
                "remove them: a VM has its disk_size_gb",
            )  # fmt: skip
    elif own.cpu:
        report.error(
            FOLDER, f"proxmox_guests[{vmid}].cpu", "a container has its host's CPU", "remove it"
        )
    if own.idmap and not guest.unprivileged:
        report.error(
            FOLDER, f"proxmox_guests[{vmid}].idmap", "a privileged container has no id map",
            f'write "unprivileged": true in {guest.source.file}: {guest.source.path}',
        )  # fmt: skip
    if lxc and isinstance(guest, Host) and "docker" in guest.roles:
        _check_docker_container(guest, {**settings.lxc_features, **own.features}, report)
    declared = _declared(guest, settings, own)
    features = {**settings.lxc_features, **own.features} if lxc else {}
    keys = _common_keys(guest, site, own, declared)
    keys |= _lxc_keys(guest, features) if lxc else _vm_keys(guest, settings, own, ssh_keys)
    by_token = guest.unprivileged and not features.keys() - {"nesting"}
    return DesiredGuest(
        vmid=vmid,
        kind="lxc" if lxc else "qemu",
        name=guest.name,
        node=own.node or settings.node or site.hypervisor.name,
        template=isinstance(guest, Template),
        origin=_origin(guest, site, settings),
        storage=guest.storage_pool,
        # A VM's template keeps its image's size: what is cloned from it could only be larger.
        disk_gb=None if not lxc and isinstance(guest, Template) else guest.disk_gb,
        keys=keys,
        fixed={"unprivileged": Flag(guest.unprivileged)} if lxc else {},
        mount_points=own.mount_points,
        ssh_keys=ssh_keys,
        declared_in=f"{guest.source.file}: {guest.source.path}",
        replicate_to=own.replicate_to,
        root=RootSettings(
            {} if by_token else features,
            own.bind_mounts,
            own.devices,
            own.idmap,
            guest.container.low_level,
        ),
        declared=declared,
        first_snapshot=_first_snapshot(guest, settings),
        placed=own.node is not None,
    )


def _first_snapshot(guest: Host | Template, settings: ProxmoxSettings) -> bool:
    own = guest.first_snapshot
    return isinstance(guest, Host) and (settings.lifecycle_snapshots if own is None else own)


def _own(guest: Host | Template, settings: ProxmoxSettings) -> GuestSettings:
    """What a guest's entry declares, with what `proxmox_guests` says beside it or instead of it."""
    chosen, entry = settings.guest(guest.vmid), guest.container
    paths = {
        *(volume.path for volume in chosen.mount_points),
        *(folder.path for folder in chosen.bind_mounts),
        *(device.path for device in chosen.devices),
    }
    volumes = [
        MountPoint(**volume.model_dump()) for volume in entry.volumes if volume.path not in paths
    ]
    binds = [
        BindMount(**mount.model_dump()) for mount in entry.bind_mounts if mount.path not in paths
    ]
    nodes = [Device(path=path, mode=_ANYONE) for path in entry.devices if path not in paths]
    return chosen.model_copy(
        update={
            "features": {**dict(entry.features), **chosen.features},
            "mount_points": (*chosen.mount_points, *volumes),
            "bind_mounts": (*chosen.bind_mounts, *binds),
            "devices": (*chosen.devices, *nodes),
            "idmap": chosen.idmap or entry.idmap,
        }
    )


def _declared(
    guest: Host | Template, settings: ProxmoxSettings, own: GuestSettings
) -> frozenset[str]:
    """What is optional and declared of a guest; its name tells how it leaves the guest again."""
    lxc = guest.kind == "lxc"
    tokens = {f"tags.{tag.lower()}" for tag in own.tags}
    if own.vlan or guest.interfaces[0].vlan:
        tokens.add("net0.tag")
    for position, card in enumerate(guest.interfaces[1:], 1):
        tokens |= {f"net{position}", *([f"net{position}.tag"] if card.vlan else [])}
    if own.protection is not None:
        tokens.add("protection")
    if own.idmap:
        tokens.add("idmap")
    features = {**settings.lxc_features, **own.features} if lxc else {}
    tokens |= {f"features.{name}" for name in features if name != "nesting"}
    tokens |= {f"bind:{mount.path}" for mount in own.bind_mounts}
    tokens |= {f"dev:{device.path}" for device in own.devices}
    tokens |= {key for key, _ in guest.container.low_level}
    return frozenset(tokens)


def _check_docker_container(guest: Host, features: Mapping[str, str], report: Report) -> None:
    """Refuse a container that Docker Engine cannot run in.

    Source: `keyctl` and `nesting` in pct(1), https://pve.proxmox.com/pve-docs/pct.1.html.
    """
    needed = ("nesting", "keyctl") if guest.unprivileged else ("nesting",)
    missing = {name: "1" for name in needed if not values.boolean(features.get(name))}
    if missing:
        setting = {guest.vmid: {"features": dict(features) | missing}}
        report.error(
            FOLDER, f"proxmox_guests[{guest.vmid}].features",
            f"{guest.name} ({guest.source.file}: {guest.source.path}) is to run Docker in a "
            f"container, which has no {' and no '.join(missing)}",
            f"make it a VM, or write proxmox_guests = {setting}",
        )  # fmt: skip


def _common_keys(
    guest: Host | Template,
    site: Site,
    own: GuestSettings,
    declared: frozenset[str],
) -> dict[str, Key]:
    tags = frozenset({TAG, *own.tags, *(guest.roles if isinstance(guest, Host) else ())})
    note = f"{MARK}: {guest.source.file}, {guest.source.path}"
    if declared:
        note += f"\n{DECLARED} {' '.join(sorted(declared))}"
    keys: dict[str, Key] = {
        "description": Note(note, MARK),
        "tags": Tags(tags, OWNED_TAGS),
        "net0": _nic(guest, guest.interfaces[0], own.vlan or guest.interfaces[0].vlan),
    }
    for position, card in enumerate(guest.interfaces[1:], 1):
        keys[f"net{position}"] = _nic(guest, card, card.vlan)
    if guest.nameservers:
        keys["nameserver"] = Words(tuple(map(str, guest.nameservers)))
        keys["searchdomain"] = Text(site.domain, case=False)
    if isinstance(guest, Host):
        keys["onboot"] = Flag(guest.start_at_boot)
        keys["startup"] = Props({"order": str(guest.boot_order), "up": str(guest.boot_delay)})
    if own.protection is not None:
        keys["protection"] = Flag(own.protection)
    return keys


def _lxc_keys(guest: Host | Template, features: Mapping[str, str]) -> dict[str, Key]:
    keys: dict[str, Key] = {"hostname": Text(guest.name, case=False)}
    if guest.memory_mb:
        keys["memory"] = Number(guest.memory_mb, 512)
    if guest.cores:
        keys["cores"] = Number(guest.cores)
    if guest.swap_mb is not None:
        keys["swap"] = Number(guest.swap_mb, 512)
    if "nesting" in features and guest.unprivileged:  # the one that a token may set
        keys["features"] = Props({"nesting": features["nesting"]})
    return keys


def _vm_keys(
    guest: Host | Template,
    settings: ProxmoxSettings,
    own: GuestSettings,
    ssh_keys: tuple[str, ...],
) -> dict[str, Key]:
    cpu = own.cpu or settings.vm_cpu
    keys: dict[str, Key] = {
        "name": Text(guest.name, case=False),
        "cpu": Props({"cputype": cpu}, "cputype") if cpu else Preset(_CPU),
        # Else cloud-init upgrades every package at the first boot; unattended upgrades are ours.
        "ciupgrade": Flag(False, default=True),
        **{
            f"ipconfig{position}": Props(_address(card))
            for position, card in enumerate(guest.interfaces)
        },
    }
    if settings.guest_agent and "guest_agent" not in getattr(guest, "left_alone", ()):
        keys["agent"] = Props({"enabled": "1"}, "enabled")
    if guest.memory_mb:
        keys["memory"] = Props({"current": str(guest.memory_mb)}, "current")
    if guest.cores:
        keys["cores"] = Number(guest.cores, 1)
    if user := settings.vm_user or guest.username:
        keys["ciuser"] = Text(user)
    if ssh_keys:
        keys["sshkeys"] = SshKeys(ssh_keys, only_new=not settings.ssh_keys)
    return keys


def _address(card: Interface) -> dict[str, str]:
    if card.address is None:
        return {"ip": "dhcp"}
    settings = {"ip": f"{card.address}/{card.prefixlen}"}
    if card.gateway:
        settings["gw"] = str(card.gateway)
    return settings


def _nic(guest: Host | Template, card: Interface, vlan: int | None) -> Nic:
    enabled = isinstance(guest, Host) and guest.firewall_enabled
    properties = {"bridge": card.bridge, "firewall": str(int(enabled))}
    if card.mac:
        properties["hwaddr"] = card.mac
    if vlan:
        properties["tag"] = str(vlan)
    if guest.kind == "lxc":
        return Nic({"name": card.name, **properties, **_address(card)})
    return Nic(properties, model="virtio")


def _origin(
    guest: Host | Template, site: Site, settings: ProxmoxSettings
) -> Archive | CloudImage | Clone | None:
    if guest.clone_from is not None:
        source = next((t for t in site.templates if t.vmid == guest.clone_from), None)
        return Clone(guest.clone_from, source.snapshot_name if source else None)
    if guest.image is None:
        return None
    path = PurePosixPath(guest.image)
    if guest.kind == "lxc":
        return Archive(f"{settings.template_storage}:vztmpl/{path.name}", path.name)
    # The API imports from a storage's import folder alone, and there by suffix; Ubuntu calls a
    # qcow2 image .img.
    name = path.with_suffix(_IMAGE_SUFFIXES.get(path.suffix, path.suffix)).name
    return CloudImage(f"{settings.image_storage}:import/{name}", path.name)


__all__ = [
    "MARK",
    "TAG",
    "Archive",
    "Clone",
    "CloudImage",
    "ConfigError",
    "DesiredGuest",
    "desired_guests",
]
