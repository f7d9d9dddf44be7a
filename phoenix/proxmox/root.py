"""What only root@pam may set, which no token is: written by `pct` on the hypervisor, as root.

Features of a container other than nesting (all of a privileged one), folders and devices of the
hypervisor, id maps, AppArmor profiles and other low-level lines. For the last two the API has no
key at all: they stand in the container's file. A template has none of them: what is cloned from it
gets its own. Source: `check_ct_modify_config_perm` of pve-container, src/PVE/LXC.pm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from phoenix.declaration.settings import BindMount, Device
from phoenix.proxmox import values
from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import DesiredGuest
from phoenix.proxmox.diff import Observed, declared_before
from phoenix.proxmox.errors import RefusedError
from phoenix.proxmox.keys import Props
from phoenix.proxmox.observe import IDMAP, observe
from phoenix.shell import Script, join

# Arguments: the id, the keys whose lines are removed, `--`, the lines to add. The main part of a
# container's file ends where its first snapshot begins: [NAME].
_LINES = Script(
    "low-level",
    """set -eu
conf=/etc/pve/lxc/$1.conf
shift
keys=' '
while [ "$1" != -- ]; do keys="$keys$1 "; shift; done
shift
sections=$(sed -n '/^\\[/,$p' "$conf")
main=$(sed '/^\\[/,$d' "$conf" | awk -v keys="$keys" '
  { key = $0; sub(/[:= ].*/, "", key) } key == "" || !index(keys, " " key " ")')
{
  printf '%s\\n' "$main"
  [ $# -eq 0 ] || printf '%s\\n' "$@"
  [ -z "$sections" ] || printf '\\n%s\\n' "$sections"
} >"$conf.phoenix"
for line in "$@"; do
  case $line in lxc.idmap:*) set -- ${line#*:} ;; *) continue ;; esac
  case $1 in u) file=/etc/subuid ;; *) file=/etc/subgid ;; esac
  grep -qx "root:$3:$4" "$file" || echo "root:$3:$4" >>"$file"
done
mv "$conf.phoenix" "$conf"
""",
)


class Command(NamedTuple):
    """One command for the hypervisor; `summary` is for a person."""

    words: tuple[str, ...]
    summary: str

    @property
    def line(self) -> str:
        """The command as an operator types it."""
        return join(*self.words)


def pending(client: Client, desired: DesiredGuest) -> tuple[Command, ...]:
    """The commands that bring a guest's root-only settings to what is declared.

    Args:
        client: reads alone.
        desired: the guest; one that is absent is taken to have nothing.

    Raises:
        RefusedError: a path inside is taken by a volume.
        ProxmoxError: the guest can't be read.
    """
    if desired.kind != "lxc" or desired.template:
        return ()
    observed = observe(client, desired.vmid)
    if observed is not None and observed.kind != desired.kind:
        return ()
    return commands(desired, observed)


def commands(desired: DesiredGuest, observed: Observed | None) -> tuple[Command, ...]:
    """As `pending`, for values that were read."""
    config = observed.config if observed else {}
    left = declared_before(observed) - desired.declared if observed else frozenset()
    settings = [
        *_features(desired, config, left),
        *_mounts(desired, config, left),
        *_devices(desired, config, left),
    ]
    required = [
        Command(
            ("pct", "set", str(desired.vmid), *words),
            f"{desired.label}: pct set {join(*words)}",
        )
        for words in settings
    ]
    current = observed.idmap if observed else ()
    removed = "idmap" in left and current
    if desired.root.idmap != current and (desired.root.idmap or removed):
        lines = "; ".join(desired.root.idmap) or "none"
        maps = [f"{IDMAP}: {id_map}" for id_map in desired.root.idmap]
        words = _LINES.argv(desired.vmid, IDMAP, "--", *maps)
        required.append(Command(words, f"{desired.label}: id map {lines}"))
    required += _low_level(desired, observed.low_level if observed else (), left)
    return tuple(required)


def _low_level(
    desired: DesiredGuest, current: tuple[tuple[str, str], ...], left: frozenset[str]
) -> Iterator[Command]:
    """A key that is declared has the declared lines alone; lines of other keys stay."""
    desired_lines = [(key, " ".join(value.split())) for key, value in desired.root.low_level]
    declared = dict.fromkeys(key for key, _ in desired_lines)
    gone = sorted(key for key in left if key.startswith("lxc."))
    differing = [
        key
        for key in (*declared, *gone)
        if [value for line_key, value in desired_lines if line_key == key]
        != [value for line_key, value in current if line_key == key]
    ]
    if not differing:
        return
    lines = [f"{key}: {value}" for key, value in desired.root.low_level if key in differing]
    descriptions = [*lines, *(f"{key} goes" for key in differing if key not in declared)]
    words = _LINES.argv(desired.vmid, *differing, "--", *lines)
    yield Command(words, f"{desired.label}: {'; '.join(descriptions)}")


def _features(
    desired: DesiredGuest, config: Mapping[str, str], left: frozenset[str]
) -> Iterator[tuple[str, ...]]:
    drop = frozenset(token.removeprefix("features.") for token in left if "features." in token)
    key = Props(desired.root.features, drop=drop)
    current = config.get("features")
    if key.holds(current):
        return
    written = key.written(current)
    yield ("--features", written) if written else ("--delete", "features")


def _mounts(
    desired: DesiredGuest, config: Mapping[str, str], left: frozenset[str]
) -> Iterator[tuple[str, ...]]:
    present = {
        key: values.parse(value, "volume")
        for key, value in config.items()
        if re.fullmatch(r"mp\d+", key)
    }
    by_path = {row.get("mp", "").rstrip("/"): key for key, row in present.items()}
    used = {*present, *(f"mp{index}" for index in range(len(desired.mount_points)))}
    for mount in desired.root.bind_mounts:
        own = by_path.get(mount.path.rstrip("/"))
        if own is not None and not present[own].get("volume", "").startswith("/"):
            raise RefusedError(
                f"{desired.label}: {mount.path} is the volume {present[own].get('volume')}, and "
                f"bind_mounts declares {mount.host_path} there. fix: choose another path"
            )
        local = bool(desired.replicate_to)
        if own is not None and _is(present[own], mount, local=local):
            continue
        key = own or next(f"mp{n}" for n in range(256) if f"mp{n}" not in used)
        used.add(key)
        more = ",ro=1" if mount.read_only else ""
        more += ",replicate=0" if local else ""
        yield f"--{key}", f"{mount.host_path},mp={mount.path}{more}"
    for token in sorted(left):
        own = by_path.get(token.removeprefix("bind:").rstrip("/"))
        is_bind = own is not None and present[own].get("volume", "").startswith("/")
        if token.startswith("bind:") and own and is_bind:
            yield "--delete", own


def _is(row: Mapping[str, str], mount: BindMount, *, local: bool) -> bool:
    """Whether a mount point is as declared; `local`: its guest's replication must leave it out."""
    same = row.get("volume", "").rstrip("/") == mount.host_path.rstrip("/")
    left_out = not values.boolean(row.get("replicate", "1"))
    return same and values.boolean(row.get("ro")) == mount.read_only and (left_out or not local)


def _devices(
    desired: DesiredGuest, config: Mapping[str, str], left: frozenset[str]
) -> Iterator[tuple[str, ...]]:
    present = {
        key: values.parse(value, "path")
        for key, value in config.items()
        if re.fullmatch(r"dev\d+", key)
    }
    by_path = {row.get("path", ""): key for key, row in present.items()}
    used = set(present)
    for device in desired.root.devices:
        own = by_path.get(device.path)
        desired_device = _device(device)
        if own is not None and desired_device.items() <= present[own].items():
            continue
        key = own or next(f"dev{n}" for n in range(256) if f"dev{n}" not in used)
        used.add(key)
        yield f"--{key}", values.join({**present.get(key, {}), **desired_device}, "path")
    for token in sorted(left):
        own = by_path.get(token.removeprefix("dev:"))
        if token.startswith("dev:") and own:
            yield "--delete", own


def _device(device: Device) -> dict[str, str]:
    properties = {"path": device.path}
    if device.gid is not None:
        properties["gid"] = str(device.gid)
    if device.mode is not None:
        properties["mode"] = device.mode
    return properties
