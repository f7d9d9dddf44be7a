"""A site of three nodes, and what Docker tells of their swarm, in Docker's own JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phoenix.components.swarm.cluster import Swarm, read
from phoenix.derived.swarm import LABEL, NETWORK_LABEL
from phoenix.site.model import Site
from tests.unit.site_builder import Declaration, minimal, vm

IDS = {"control": "idcontrol", "worker": "idworker", "second": "idsecond"}
QUORUM_LOST = (
    "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few "
    "managers are online. Make sure more than half of the managers are online."
)


def declaration(**of_worker: Any) -> Declaration:
    """`control` is the manager, `worker` (with more keys) and `second` are workers."""
    declared = minimal()
    control, worker = declared.vm["vms"]
    control["swarm_role"] = "manager"
    worker |= {"swarm_role": "worker", "node_labels": ["gpu=false"], **of_worker}
    declared.vm["vms"].append(
        vm(1003, "second", "docker", 25, swarm_role="worker", dependencies=[1002])
    )
    return declared


def with_networks(**networks: dict[str, Any]) -> Declaration:
    """The same nodes, and these overlay networks."""
    declared = declaration()
    declared.lxc.setdefault("site", {})["swarm_networks"] = networks
    return declared


def site(folder: Path, **of_worker: Any) -> Site:
    return declaration(**of_worker).load(folder)


def node(name: str, role: str = "worker", **more: Any) -> dict[str, Any]:
    """One node as GET /nodes tells it; `more`: availability, state, labels, id, ours."""
    labels = {**more.get("labels", {}), **({LABEL: name} if more.get("ours", True) else {})}
    row: dict[str, Any] = {
        "ID": more.get("id", IDS.get(name, f"id{name}")),
        "Spec": {
            "Labels": labels,
            "Role": role,
            "Availability": more.get("availability", "active"),
        },
        "Description": {"Hostname": name},
        "Status": {"State": more.get("state", "ready"), "Addr": "10.0.0.23"},
    }
    if role == "manager":
        row["ManagerStatus"] = {"Reachability": "reachable", "Addr": "10.0.0.23:2377"}
    return row


def info(name: str, *, manager: bool = False, **more: Any) -> dict[str, Any]:
    """`.Swarm` of GET /info on a host that is in the swarm."""
    told_info: dict[str, Any] = {
        "NodeID": IDS.get(name, f"id{name}"), "NodeAddr": "10.0.0.23", "LocalNodeState": "active",
        "ControlAvailable": manager, "Error": "", "RemoteManagers": None,
    }  # fmt: skip
    if manager:
        told_info["Cluster"] = {"ID": "c1", "DefaultAddrPool": ["10.200.0.0/16"], "SubnetSize": 24}
    return told_info | more


def overlay(name: str, **more: Any) -> dict[str, Any]:
    """An overlay network as GET /networks tells it; `more`: encrypted, attachable, subnet, ours."""
    options = {"com.docker.network.driver.overlay.vxlanid_list": "4097"}
    return {
        "Id": f"id{name}", "Name": name, "Driver": "overlay", "Scope": "swarm",
        "Attachable": more.get("attachable", False), "Ingress": name == "ingress",
        "IPAM": {"Driver": "default", "Config": [{"Subnet": more.get("subnet", "10.200.1.0/24")}]},
        "Options": options | ({"encrypted": ""} if more.get("encrypted", True) else {}),
        "Labels": {NETWORK_LABEL: name} if more.get("ours", True) else None,
    }  # fmt: skip


INACTIVE = {"NodeID": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": ""}


def settled() -> list[dict[str, Any]]:
    """The nodes of `site` as they are declared."""
    return [
        node("control", "manager"), node("worker", labels={"gpu": "false"}), node("second"),
    ]  # fmt: skip


def manager_of(
    nodes: list[dict[str, Any]], networks: Sequence[dict[str, Any]] = (), **more: Any
) -> Swarm:
    """What `control` tells as a manager of these nodes, and of these overlay networks."""
    manager = info("control", manager=True, **more)
    return read(json.dumps(manager), map(json.dumps, nodes), map(json.dumps, networks))


def worker_of(name: str, **more: Any) -> Swarm:
    """What a worker tells."""
    return read(json.dumps(info(name, **more)), [])


def answer(
    swarm: dict[str, Any],
    nodes: list[dict[str, Any]] | None = None,
    networks: Sequence[dict[str, Any]] = (),
) -> list[str]:
    """The lines of facts.swarm.SwarmNode."""
    rows = [f"node {json.dumps(row)}" for row in nodes or ()]
    return [f"info {json.dumps(swarm)}", *rows, *(f"network {json.dumps(n)}" for n in networks)]
