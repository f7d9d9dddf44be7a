"""Sites of any size, to measure how the work on a declaration grows with it."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

NETWORK = IPv4Network("10.64.0.0/16")
PER_HOST = 10
"""Stacks on each Docker host, with one service each."""


def write(folder: Path, services: int) -> None:
    """Write the two inventory files and `stacks/` of a site.

    Besides the Docker hosts, each with `PER_HOST` stacks, it has what every site has: CA, Traefik,
    gateway and Portainer.

    Args:
        folder: an empty directory.
        services: how many stacks, each with a service that the gateway routes.
    """
    hosts = -(-services // PER_HOST)
    lxc = {
        "101": _guest("gateway", 2, role="nginx", dependencies=[103]),
        "102": _guest("proxy", 3, role="traefik", dependencies=[103]),
        "103": _guest("authority", 4, role="step_ca"),
        "104": _guest("control", 5, role="portainer", dependencies=[102]),
    }
    for number in range(hosts):
        own = range(number * PER_HOST, min(services, (number + 1) * PER_HOST))
        lxc[str(1000 + number)] = _guest(
            f"worker{number}",
            256 + number,
            role="docker",
            portainer_role="agent",
            portainer_agent_hostname=f"agent{number}",
            dependencies=[103, 104],
            docker_stacks=[_stack_name(each) for each in own],
        )
    for number in range(services):
        _write_stack(folder / "stacks" / _stack_name(number), number)
    site = {
        "domain": "bench.example.com",
        "hypervisor": {"ip": f"{_address(13)}/{NETWORK.prefixlen}", "gateway": str(_address(1))},
    }
    top = {"site": site, "lxc_configs": lxc}
    (folder / "phoenix_lxc_configs.json").write_text(json.dumps(top))
    (folder / "phoenix_vm_configs.json").write_text(json.dumps({"vms": []}))


def _stack_name(number: int) -> str:
    return f"app{number}"


def _address(number: int) -> IPv4Address:
    return NETWORK.network_address + number


def _guest(name: str, number: int, **more: Any) -> dict[str, Any]:
    network = {"ip": f"{_address(number)}/{NETWORK.prefixlen}", "gw": str(_address(1))}
    return {"name": name, "network_config": network, **more}


def _write_stack(folder: Path, number: int) -> None:
    port = 8000 + number % PER_HOST
    route = {"name": _stack_name(number), "port": port, "scheme": "https"}
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": str(port),
            "source": str(_address(3))}  # fmt: skip
    key = f"{_stack_name(number)}_KEY".replace("-", "_").upper()
    environment = {
        "variables": [{"name": "TAG", "value": "1.2"}, {"name": "KEY", "secret": key}],
        "services": {"web": {"traefik_service": route}},
        "firewall_rules": [rule],
    }
    folder.mkdir(parents=True)
    (folder / "phoenix.json").write_text(json.dumps({"environments": {"production": environment}}))
    (folder / "docker-compose.yml").write_text(f"""\
services:
  web:
    image: example/app:${{TAG:-1.0}}
    restart: unless-stopped
    ports: ["{port}:443"]
    environment: {{KEY: "${{KEY:?}}", LEVEL: "${{LEVEL:-info}}"}}
    volumes: [data:/data]
    depends_on: [store]
  store:
    image: example/store:2
    volumes: [store:/data]
volumes: {{data: {{}}, store: {{}}}}
""")
