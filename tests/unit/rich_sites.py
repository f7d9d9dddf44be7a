"""Sites with two or three of what a small site has one of, for tests of what is told of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from phoenix.site.model import Site
from tests.deploys.written_files import HTTPS, with_one_of_each, with_two_of_each
from tests.unit.site_builder import Declaration, lxc, minimal, stack, vm
from tests.unit.test_networks import two_networks


def one_of_each() -> Declaration:
    """One gateway and one Traefik, a service of each kind, folders by NFS, and a watcher."""
    declared = with_one_of_each()
    declared.lxc["site"] = {"watcher": "data"}
    return declared


def two_of_each() -> Declaration:
    """Two gateways, Traefiks and name servers in two networks, and what they pass on unread."""
    declared = with_two_of_each()
    declared.lxc["lxc_configs"]["109"] = lxc(
        "data", None, 34,
        traefik_services=[
            {"name": "git", "port": 22, "scheme": "tcp", "gateway_port": 2222},
            {"name": "db", "port": 5432, "scheme": "tls"},
            {"name": "direct", "port": 8448, **HTTPS, "exposure": "direct"},
        ],
    )  # fmt: skip
    return declared


def swarm_of_three() -> Declaration:
    """Three managers and a worker, a stack that has two of each task, and encrypted networks."""
    declared = minimal()
    control, worker = declared.vm["vms"]
    for machine in (control, worker):
        machine["swarm_role"] = "manager"
    control["volumes"] = [{"type": "nfs", "path": "/tank/backups", "mount_point": "/mnt/backups"}]
    declared.hypervisor = {
        "nfs": {"exports": [{"path": "/tank/backups", "clients": ["10.0.0.23"], "options": "rw"}]}
    }
    declared.vm["vms"] += [
        vm(vmid, name, "docker", host, dependencies=[1002], portainer_role="agent",
           portainer_agent_hostname=f"{name}-agent.internal.thinkheads.ai", **more)
        for vmid, name, host, more in (
            (1003, "third", 25, {"swarm_role": "manager"}),
            (1004, "node", 26, {"swarm_role": "worker", "node_labels": ["disk=fast"]}),
        )
    ]  # fmt: skip
    declared.lxc["site"] = {
        "watcher": "third",
        "swarm_networks": {"mesh": {}, "plain": {"encrypted": False}},
        "backups": {"target": "/mnt/backups"},
    }
    manifest, compose = declared.stacks["shop"]
    manifest["type"] = "swarm"
    manifest["environments"]["production"]["services"]["web"]["traefik_service"]["scheme"] = "http"
    compose["services"]["web"] |= {
        "ports": [{"target": 80, "published": 8000, "protocol": "tcp", "mode": "host"}],
        "deploy": {"replicas": 2},
        "networks": ["mesh"],
    }
    compose["networks"] = {"mesh": {"external": True}}
    return declared


def many_roles_each() -> Declaration:
    """Two machines of which each is several things at once, and Portainer's own Docker."""
    declared = minimal()
    guests = declared.lxc["lxc_configs"]
    del guests["103"]
    guests["101"]["features"] = ["name_server"]
    guests["102"]["features"] = ["step_ca", "docker", "nesting=1", "keyctl=1"]
    guests["102"]["docker_stacks"] = ["wiki"]
    for guest in guests.values():
        guest["dependencies"] = []
    control = declared.vm["vms"][0]
    control["dependencies"] = []
    control["features"] = ["name_server"]
    control["docker_stacks"] = ["more"]
    declared.stacks |= {"wiki": stack("wiki", 8100), "more": stack("more", 8200)}
    manifest, _ = declared.stacks["wiki"]
    manifest["environments"]["production"]["services"]["web"]["traefik_service"]["scheme"] = "http"
    declared.lxc["site"] = {"watcher": "control", "backups": {"target": "/mnt/backups"}}
    return declared


def portainer_elsewhere() -> Declaration:
    """A Portainer that is no guest of the site, and a host with stacks by its own compose."""
    declared = minimal()
    declared.vm["vms"].pop(0)
    declared.vm["vms"][0]["dependencies"] = []
    declared.vm["vms"].append(vm(1003, "plain", "docker", 25, docker_stacks=["wiki"]))
    declared.stacks["wiki"] = stack("wiki", 8100)
    declared.lxc["site"] = {
        "portainer": {"url": "https://192.0.2.10:9443"}, "watcher": "hypervisor",
    }  # fmt: skip
    return declared


def behind_a_lease() -> Declaration:
    """A gateway whose outer address is a lease, and what is behind it in a network with NAT."""
    declared = two_networks()
    declared.lxc["site"] = {"watcher": "control"}
    declared.lxc["external_services"] = [
        {"name": "nas", "address": "192.168.1.20", "port": 5001, "fingerprint": "ab" * 32}
    ]
    return declared


SITES: dict[str, Callable[[], Declaration]] = {
    "one of each": one_of_each,
    "two of each": two_of_each,
    "a swarm of three": swarm_of_three,
    "many roles each": many_roles_each,
    "Portainer elsewhere": portainer_elsewhere,
    "behind a lease": behind_a_lease,
}


@cache
def rich_site(name: str) -> Site:
    """One of `SITES`, loaded once."""
    with tempfile.TemporaryDirectory() as folder:
        return SITES[name]().load(Path(folder))
