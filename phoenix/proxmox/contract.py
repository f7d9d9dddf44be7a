"""What Phoenix relies on of a Proxmox VE server, each point asked of the server itself; reads only.

The contract's tests ask the double the same, so what holds here is what Phoenix was tested with.
Each request is a GET: no guest, rule, task or setting is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from phoenix.proxmox import availability
from phoenix.proxmox.access import PRIVILEGES
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.observe import check_quorum, guests_by_id, state
from phoenix.proxmox.refusals import grant_command

OLDEST, NEWEST = (8, 2), (9, 2)
"""Versions whose behaviour is known: 8.4, 9.1 and 9.2 were measured."""
_GUESTS = 5
"""How many guests are asked; more would tell no more."""


class DifferentError(ProxmoxError):
    """The server answers, and otherwise than Phoenix takes for granted."""


class Finding(NamedTuple):
    """One point: what is expected, whether it holds, and what is worth knowing or differs."""

    expected: str
    holds: bool
    actual: str = ""


def findings(client: Client) -> Iterator[Finding]:
    """Ask one point after the other.

    Args:
        client: has the token of a user with the role of docs/proxmox.md.
    """
    for expected, ask in POINTS.items():
        try:
            yield Finding(expected, True, ask(client))
        except ProxmoxError as error:
            yield Finding(expected, False, str(error))


def _version(client: Client) -> str:
    version = str(client.get("version").get("version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if not OLDEST <= numbers <= NEWEST:
        oldest, newest = (".".join(map(str, number)) for number in (OLDEST, NEWEST))
        raise DifferentError(f"it is {version}; {oldest} to {newest} are known")
    return version


def _privileges(client: Client) -> str:
    permissions = client.get("access/permissions", path="/")
    names = {name for privileges in permissions.values() for name in privileges}
    missing = [name for name in PRIVILEGES if name not in names]
    if missing:
        raise DifferentError(
            f"on / it lacks {', '.join(missing)}. fix: `{grant_command(' '.join(missing))}`, and "
            "`--privsep 0` for a token with privilege separation. Narrower paths may suffice: a "
            "run tells"
        )
    return f"{len(PRIVILEGES)} on /"


def _quorum(client: Client) -> str:
    check_quorum(client)
    down = [str(row["node"]) for row in client.get("nodes") if row.get("status") != "online"]
    if down:
        raise DifferentError(f"these nodes are down: {', '.join(down)}")
    return ", ".join(sorted(str(row["node"]) for row in client.get("nodes")))


def _power(client: Client) -> str:
    guests = list(guests_by_id(client).values())[:_GUESTS]
    running = [guest.vmid for guest in guests if state(client, guest).running]
    return f"{len(guests)} asked, {len(running)} run"


def _configuration(client: Client) -> str:
    guests = list(guests_by_id(client).values())[:_GUESTS]
    for guest in guests:
        path = f"nodes/{guest.node}/{guest.kind}/{guest.vmid}"
        if "digest" not in client.get(f"{path}/config"):
            raise DifferentError(f"/{path}/config has no digest")
        if not all("key" in row for row in client.get(f"{path}/pending")):
            raise DifferentError(f"/{path}/pending has a row without a key")
    return f"{len(guests)} asked"


def _tasks(client: Client) -> str:
    count = 0
    for node in _online(client):
        for row in client.get(f"nodes/{node}/tasks", source="all", limit=20):
            count += 1
            if not row.get("upid") or not row.get("type"):
                raise DifferentError(f"a task of {node} has no id or no type: {row}")
    return f"{count} seen"


def _online(client: Client) -> list[str]:
    return [str(row["node"]) for row in client.get("nodes") if row.get("status") == "online"]


def _storages(content: str) -> Callable[[Client], str]:
    def ask(client: Client) -> str:
        usable: list[str] = []
        for node in _online(client):
            rows: list[dict[str, Any]] = client.get(f"nodes/{node}/storage")
            able = [
                str(row["storage"])
                for row in rows
                if content in str(row.get("content", "")).split(",") and row.get("active")
            ]
            if not able:
                fix = f"`pvesm set NAME --content ...,{content}`"
                raise DifferentError(f"no active storage of {node} does. fix: {fix}")
            usable.append(f"{node}: {', '.join(sorted(able))}")
        return "; ".join(usable)

    return ask


def _firewall(client: Client) -> str:
    options = client.get("cluster/firewall/options")
    client.get("cluster/firewall/rules")
    for node in _online(client):
        client.get(f"nodes/{node}/firewall/options")
        client.get(f"nodes/{node}/firewall/rules")
    return "on" if str(options.get("enable", 0)) not in ("0", "") else "off"


def _availability(client: Client) -> str:
    return "rules" if availability.groups(client) is None else "groups"


POINTS: dict[str, Callable[[Client], str]] = {
    "its version is known": _version,
    "the token has the privileges of docs/proxmox.md": _privileges,
    "the cluster has quorum, and every node is up": _quorum,
    "each guest tells its power at status/current": _power,
    "each guest's configuration has a digest, and its pending changes have keys": _configuration,
    "tasks are listed with ids and types": _tasks,
    "each node has a storage for containers (rootdir)": _storages("rootdir"),
    "each node has a storage for VMs (images)": _storages("images"),
    "each node has a storage for container archives (vztmpl)": _storages("vztmpl"),
    "each node has a storage for disk images (import)": _storages("import"),
    "the firewall of cluster and nodes can be read": _firewall,
    "high availability is by groups or by rules": _availability,
}
