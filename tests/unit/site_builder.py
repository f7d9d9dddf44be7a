"""A small valid declaration that a test changes in one place, written out and loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phoenix.declaration.load import load_site
from phoenix.site.findings import ConfigError, Finding
from phoenix.site.model import Site

LXC, VM = "phoenix_lxc_configs.json", "phoenix_vm_configs.json"
HYPERVISOR = "phoenix_hypervisor_config.json"


def lxc(name: str, role: str | None, host: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        **({"role": role} if role else {}),
        "network_config": {"ip": f"10.0.0.{host}/24", "gw": "10.0.0.1"},
        "mac_address": f"52:54:00:00:00:{host:02X}",
        **more,
    }


def vm(vmid: int, name: str, role: str | None, host: int, **more: Any) -> dict[str, Any]:
    return {
        "vmid": vmid,
        "name": name,
        **({"role": role} if role else {}),
        "network_config": {"ip": f"10.0.0.{host}/24", "gw": "10.0.0.1"},
        **more,
    }


@dataclass
class Declaration:
    """The JSON files and the stacks, as data; `stacks` maps a name to (manifest, compose)."""

    lxc: dict[str, Any]
    vm: dict[str, Any]
    stacks: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    hypervisor: dict[str, Any] | None = None

    def load(self, folder: Path, **options: Any) -> Site:
        self.write(folder)
        return load_site(folder, **options)

    def write(self, folder: Path) -> None:
        """The files alone, for a test that loads them later or otherwise."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LXC).write_text(json.dumps(self.lxc))
        (folder / VM).write_text(json.dumps(self.vm))
        if self.hypervisor is not None:
            (folder / HYPERVISOR).write_text(json.dumps(self.hypervisor))
        (folder / "stacks").mkdir(exist_ok=True)
        for name, (manifest, compose) in self.stacks.items():
            (folder / "stacks" / name).mkdir(exist_ok=True)
            (folder / "stacks" / name / "phoenix.json").write_text(json.dumps(manifest))
            # JSON is YAML: no second notation is needed
            (folder / "stacks" / name / "docker-compose.yml").write_text(json.dumps(compose))

    def refused(self, folder: Path, **options: Any) -> tuple[Finding, ...]:
        try:
            loaded = self.load(folder, **options)
        except ConfigError as error:
            return error.findings
        raise AssertionError(f"accepted: {loaded!r}")


def stack(
    service: str, port: int, *, published: str | None = None, environment: str = "production"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A stack with one compose service `web` that is routed as `service`."""
    route = {"name": service, "port": port, "scheme": "https"}
    manifest = {"environments": {environment: {"services": {"web": {"traefik_service": route}}}}}
    ports = [published or f"{port}:{port}"]
    return manifest, {"services": {"web": {"image": "example/web:1.0", "ports": ports}}}


def minimal() -> Declaration:
    """The five guests, one service of a VM and one of a stack; loads without a warning."""
    portainer = {"name": "portainer", "port": 9443, "scheme": "https"}
    return Declaration(
        lxc={
            "lxc_configs": {
                "101": lxc("gateway", "nginx", 20, dependencies=["103"], boot_order=2),
                "102": lxc("proxy", "traefik", 21, dependencies=["103"], boot_order=3),
                "103": lxc("authority", "step_ca", 22, boot_order=1),
            }
        },
        vm={
            "vms": [
                vm(1001, "control", "portainer", 23, dependencies=[102], traefik_service=portainer),
                vm(
                    1002, "worker", "docker", 24, portainer_role="agent", dependencies=["1001"],
                    docker_stacks=["shop"],
                ),
            ]
        },
        stacks={"shop": stack("shop", 8000)},
    )  # fmt: skip


def problem(findings: tuple[Finding, ...], file: str, path: str) -> Finding:
    """The one finding at `file` and `path`; fails, showing all, if there is none or several."""
    hits = [f for f in findings if (f.file, f.path) == (file, path)]
    shown = "\n".join(map(str, findings))
    assert len(hits) == 1, f"wanted one finding at {file}: {path}; saw:\n{shown}"
    return hits[0]
