"""Read the observed state: guests, storages, volumes, the cluster's health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from phoenix.proxmox.client import Client
from phoenix.proxmox.diff import Observed
from phoenix.proxmox.errors import QuorumError

IDMAP = "lxc.idmap"


@dataclass(frozen=True)
class Located:
    """Where a guest is, from the cluster's list of all guests.

    That list tells power, name and template as of its node's last broadcast, up to 10 s ago
    (pvestatd): ask `state` for what a guest is now.
    """

    vmid: int
    kind: str
    node: str


class State(NamedTuple):
    """What a guest is now. `available`: the cluster's high availability starts and stops it."""

    running: bool
    available: bool
    uptime: int


def state(client: Client, guest: Located | Observed) -> State:
    """What a guest is at this moment; a paused or frozen one runs."""
    row = client.get(f"{api_path(guest)}/status/current")
    managed = row.get("ha") or {}
    return State(
        row.get("status") == "running",
        bool(int(managed.get("managed", 0))),
        int(row.get("uptime", 0)),
    )


def guests_by_id(client: Client) -> dict[int, Located]:
    """Every guest of the cluster that the token may see, by id, whatever its node."""
    return {
        int(row["vmid"]): Located(int(row["vmid"]), str(row["type"]), str(row["node"]))
        for row in client.get("cluster/resources", type="vm")
    }


def api_path(guest: Located | Observed) -> str:
    """The API's path of a guest."""
    return f"nodes/{guest.node}/{guest.kind}/{guest.vmid}"


def observe(client: Client, vmid: int) -> Observed | None:
    """One guest with its configuration, or None if there's none.

    Changes that wait for a restart count as made: writing them again would change nothing.
    """
    location = guests_by_id(client).get(vmid)
    return read(client, location) if location else None


def read(client: Client, location: Located) -> Observed:
    """The configuration of a guest whose location is known."""
    path = api_path(location)
    settings: Mapping[str, object] = client.get(f"{path}/config")
    config = {str(key): str(value) for key, value in settings.items() if key != "lxc"}
    pending = []
    for row in client.get(f"{path}/pending"):
        key = str(row.get("key", ""))
        if "pending" in row:
            config[key] = str(row["pending"])
            pending.append(key)
        elif row.get("delete"):
            config.pop(key, None)
            pending.append(key)
    digest = config.pop("digest", None)
    low_level = _low_level(settings.get("lxc"))
    return Observed(
        vmid=location.vmid,
        kind="lxc" if location.kind == "lxc" else "qemu",
        node=location.node,
        name=config.get("hostname") or config.get("name", ""),
        running=state(client, location).running,
        template=config.get("template") == "1",
        lock=config.pop("lock", None),
        config=config,
        pending=tuple(pending),
        digest=digest,
        idmap=tuple(value for key, value in low_level if key == IDMAP),
        low_level=tuple(line for line in low_level if line[0] != IDMAP),
    )


def _low_level(rows: object) -> tuple[tuple[str, str], ...]:
    """A container's low-level settings, which the API has as [[key, value], ...]."""
    pairs = [row for row in rows if len(row) == 2] if isinstance(rows, list) else []
    return tuple((str(key), " ".join(str(value).split())) for key, value in pairs)


def snapshots(client: Client, guest: Located | Observed) -> tuple[str, ...]:
    """The names of a guest's snapshots, oldest first."""
    rows = client.get(f"{api_path(guest)}/snapshot")
    real = [row for row in rows if row.get("name") != "current"]
    return tuple(row["name"] for row in sorted(real, key=lambda row: row.get("snaptime", 0)))


def volume_exists(client: Client, node: str, volume: str) -> bool:
    """Whether a storage of the node holds a volume, as "local:vztmpl/debian-12.tar.zst"."""
    storage, _, name = volume.partition(":")
    content = name.partition("/")[0]
    rows = client.get(f"nodes/{node}/storage/{storage}/content", content=content)
    return any(row.get("volid") == volume for row in rows)


def check_quorum(client: Client) -> None:
    """Raise QuorumError where the cluster can't write; a single node always can.

    A node that is cut off from the others still answers: the next address is asked then, and is
    from then on.
    """
    for _ in client.elsewhere():
        rows = client.get("cluster/status")
        cut = [row for row in rows if row.get("type") == "cluster" and not _is_quorate(row)]
        if not cut:
            return
    raise QuorumError(
        f"the cluster {cut[0].get('name')} has no quorum, so nothing can be changed. fix: "
        "bring its other nodes back (`pvecm status`), then run again"
    )


def _is_quorate(row: Mapping[str, object]) -> bool:
    return str(row.get("quorate", 1)) not in ("0", "")
