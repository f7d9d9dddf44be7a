"""Every key of the original system's files is read or named: none is dropped in silence.

Each known key is given a value of its shape beside a misspelt one, in data of our own. What a
model has is read; what it marks as unused is told; the misspelt one is told.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix.declaration.load import load_site
from phoenix.site.findings import ConfigError, Finding
from tests.unit.site_builder import minimal

LXC, VM = "phoenix_lxc_configs.json", "phoenix_vm_configs.json"
STACKS, HOST = "phoenix_stacks_config.json", "phoenix_hypervisor_config.json"
MANIFEST = "certificate-manifest.json"
LABELS = [
    "traefik.enable=true",
    "traefik.http.routers.notes.rule=Host(`notes.internal.thinkheads.ai`)",
    "traefik.http.routers.notes.entrypoints=inner",
    "traefik.http.services.notes.loadbalancer.server.port=80",
]


def media() -> dict[str, Any]:
    """A container with every key of the original's form."""
    return {
        "name": "media", "memory_mb": 512, "swap_mb": 256, "cores": 1, "storage_pool": "tank",
        "storage_size_gb": 8, "mac_address": "52:54:00:00:00:50", "unprivileged": True,
        "network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "10.0.0.50/24",
                           "gw": "10.0.0.1"},
        "gpu_assignment": "0", "portainer_role": "none", "features": "base_setup,nesting=1",
        "application_script": "media.sh", "ports": ["81:80"], "pct_options": ["--tty 2"],
        "traefik_service": {"name": "media", "port": 80, "scheme": "http"},
        "mount_points": [{"host_path": "/tank/m", "container_path": "/m", "owner_uid": 1}],
        "id_maps": [{"type": "gid", "host_id": 7, "container_id": 7, "size": 1}],
        "lxc_options": ["lxc.mount.auto:sys:rw"], "apparmor_profile": "unconfined",
        "apparmor_manages_nesting": True, "enable_lifecycle_snapshots": True,
        "zfs_volumes": [{"name": "v", "pool": "tank", "size_gb": 1, "mount_point": "/v"}],
        "template_file": "media-v1.tar.gz", "bootstrap_ca_url": "https://10.0.0.22:9000",
        "vllm_engine_config": {"ModelConfig": {"model": "a"}}, "dependencies": ["103"],
        "start_at_boot": True, "boot_order": 6, "boot_delay": 5,
        "trigger_sync_on_completion": True, "health_check": {"command": "a"},
        "tests": {"integration_tests": []},
        "firewall": {"enabled": True, "rules": [{"type": "in", "action": "ACCEPT", "proto": "tcp",
                                                 "port": "80", "source": "10.0.0.21"}]},
    }  # fmt: skip


def base() -> dict[str, Any]:
    """A template with keys of a guest that runs."""
    same = ("gpu_assignment", "ports", "mount_points", "zfs_volumes", "id_maps", "lxc_options",
            "apparmor_profile", "apparmor_manages_nesting", "enable_lifecycle_snapshots",
            "dependencies", "start_at_boot", "boot_order", "boot_delay", "firewall")  # fmt: skip
    return {key: media()[key] for key in same} | {
        "name": "base", "is_template": True, "template": "debian-13.tar.zst", "memory_mb": 512,
        "network_config": {"ip": "dhcp", "bridge": "vmbr0"}, "features": ["nvidia"],
        "portainer_role": "agent", "portainer_environment_name": "base",
        "dns_records": [{"hostname": "b", "ip": "10.0.0.60"}], "leave_alone": ["time"],
        "login": {"port": 2222},
    }  # fmt: skip


def files() -> dict[str, Any]:
    """All files of a site of the original's form, by name."""
    declaration = minimal()
    declaration.lxc["lxc_configs"] |= {"150": media(), "900": base()}
    declaration.lxc["nvidia_driver_version"] = "1"
    worker = declaration.vm["vms"][1]
    declaration.vm["vms"][0]["swarm_role"] = "manager"
    worker |= {
        "swarm_role": "worker", "node_labels": ["gpu=false"],
        "docker_stacks": ["shop", {"name": "notes", "environment": "production"}],
        "volumes": [{"type": "nfs", "server": "10.0.0.13", "path": "/tank/kept/1002",
                     "mount_point": "/mnt/kept"}],
    }  # fmt: skip
    return {
        LXC: declaration.lxc, VM: declaration.vm,
        STACKS: {"docker_stacks": {"notes": {
            "description": "Notes.", "compose_file_path": "data/notes/docker-compose.yml",
            "nginx_proxy": {"hostname": "notes.internal.thinkheads.ai"},
            "environments": {"production": {
                "variables": [{"name": "LANGUAGE", "value": "en"}],
                "files": [{"source": "data/notes/app.env",
                           "destination_in_container": "/app/.env"}],
                "services": {"web": {"traefik_labels": LABELS}},
            }},
        }}},
        HOST: {
            "version": "1", "author": "me", "domain_name": "internal.thinkheads.ai",
            "users": {"username": "me"}, "core_paths": {"a": "/b"}, "timezone": "Etc/UTC",
            "network": {"external_registry_url": "docker.io/me", "portainer_server_ip": "10.0.0.23",
                        "portainer_server_port": 9443, "portainer_agent_port": 9001,
                        "nfs_server": "10.0.0.13", "fallback_dns": "9.9.9.9"},
            "docker": {"portainer_server_image": "a"},
            "nfs": {"exports": [{"path": "/tank/kept", "clients": ["10.0.0.24"],
                                 "options": ["rw", "sync"]}]},
            "samba": {"user": "me"}, "zfs": {"arc_max_gb": 1}, "proxmox_storage_ids": {"a": "b"},
            "mount_point_base": "/mnt/pve", "proxmox_defaults": {"lxc": {"cores": 1}},
            "tests": {"a": []}, "nvidia_driver": {"install": True}, "behavior": {"debug": True},
            "shared_volumes": {"certs": {"host_path": "/tank/c", "mounts": {"150": "/certs"}}},
            "firewall": {"enabled": True, "default_input_policy": "DROP",
                         "default_output_policy": "ACCEPT", "global_firewall_rules": [
                {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "80",
                 "source": "10.0.0.21", "dest": "10.0.0.50", "comment": "a"}]},
            "portainer_api": {"admin_user": "a", "admin_password": "b", "api_key": None,
                              "portainer_hostname": "portainer.internal.thinkheads.ai"},
            "vm_defaults": {"a": "b"},
            "dns_server": {"enabled": True, "upstream_servers": ["9.9.9.9"],
                           "authoritative_zones": ["a.test"]},
            "step_ca": {"dns_name": "ca.internal.thinkheads.ai", "root_ca_name": "A",
                        "intermediate_ca_name": "B", "provisioner_name": "c"},
        },
        MANIFEST: [{"common_name": "shop.internal.thinkheads.ai", "sans": ["localhost"],
                    "guest_id": 1002, "guest_type": "vm", "cert_path": "/a", "key_path": "/b",
                    "owner": "root:root", "include_ca": True, "post_renewal_command": "a"}],
    }  # fmt: skip


def put(folder: Path, content: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    minimal().write(folder)  # its stack
    notes = folder / "data/notes"
    notes.mkdir(parents=True, exist_ok=True)
    compose = {"services": {"web": {"image": "example/notes:1.0", "ports": ["8100:80"]}}}
    (notes / "docker-compose.yml").write_text(json.dumps(compose))
    (notes / "app.env").write_text("A=1\n")
    for name, data in content.items():
        (folder / name).write_text(json.dumps(data))


def findings_of(folder: Path, content: dict[str, Any]) -> tuple[Finding, ...]:
    put(folder, content)
    try:
        return load_site(folder).warnings
    except ConfigError as error:
        return (*error.findings, *error.warnings)


def objects(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every object with named keys, not of maps by name."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from objects(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from objects(inner, (*path, number))


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def written(path: tuple[str | int, ...]) -> str:
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
    return out


BY_NAME = {"lxc_configs", "docker_stacks", "environments", "services", "shared_volumes", "mounts"}
"""Objects whose keys are names that a person chooses."""
ALL = files()
PLACES = [
    (name, path)
    for name, data in ALL.items()
    for path in objects(data)
    if not (path and path[-1] in BY_NAME)
]


def unread(name: str, path: tuple[str | int, ...]) -> bool:
    """Whether a place is inside a part that is told as a whole, as not used."""
    return any(
        finding.file == name
        and finding.message.startswith("not used")
        and f"{written(path)}.".startswith((f"{finding.path}.", f"{finding.path}["))
        for finding in _SOUND
    )


@pytest.fixture(scope="module", autouse=True)
def _sound(tmp_path_factory: pytest.TempPathFactory) -> None:
    _SOUND.extend(findings_of(tmp_path_factory.mktemp("sound"), files()))


_SOUND: list[Finding] = []


def test_files_of_this_form_are_accepted(tmp_path: Path) -> None:
    findings = findings_of(tmp_path, files())
    assert [finding for finding in findings if finding.severity == "error"] == []
    assert not [finding for finding in findings if finding.unread], "a key that nothing reads"


@pytest.mark.parametrize(("name", "path"), PLACES, ids=[f"{n}: {written(p)}" for n, p in PLACES])
def test_a_key_that_nothing_reads_is_named_wherever_it_stands(
    tmp_path: Path, name: str, path: tuple[str | int, ...]
) -> None:
    if unread(name, path):
        return  # the part is named as a whole
    content = copy.deepcopy(ALL)
    at(content[name], path)["zz_nobody_reads_this"] = {"a": 1}
    named = {finding.path for finding in findings_of(tmp_path, content) if finding.file == name}
    assert written((*path, "zz_nobody_reads_this")) in named, sorted(named)


@pytest.mark.parametrize(("name", "path"), PLACES, ids=[f"{n}: {written(p)}" for n, p in PLACES])
def test_each_key_is_read_or_named(tmp_path: Path, name: str, path: tuple[str | int, ...]) -> None:
    """A value of the wrong shape is refused where a key is read; an unread key is reported."""
    if unread(name, path):
        return
    for key in at(ALL[name], path):
        content = copy.deepcopy(ALL)
        at(content[name], path)[key] = [[{"a": [None]}]]
        place = written((*path, key))
        findings = findings_of(tmp_path / str(key), content)
        named = [f.path for f in findings if f.file == name and f.path.startswith(place)]
        assert named, (place, sorted({f.path for f in findings if f.file == name}))


FOR_PEOPLE = {
    "version", "author", "guest_type", "cert_path", "key_path", "owner", "include_ca",
    "post_renewal_command", "guest_id", "zfs_volumes[0].name", "portainer_role",
}  # fmt: skip
"""Keys that say nothing to Phoenix, as docs/reference.md has of each; the role is the default."""
SAME_AS_DEFAULT = {
    "network_config.name", "network_config.bridge", "network_config.gw", "unprivileged",
    "id_maps[0].size", "domain_name", "enabled", "default_input_policy", "default_output_policy",
    "api_key", "volumes[0].server", "docker_stacks[1].environment", "traefik_service.scheme",
}  # fmt: skip
COMPARED = {
    "portainer_server_ip", "portainer_server_port", "portainer_agent_port", "nfs_server",
    "portainer_hostname", "dns_name",
}  # fmt: skip
"""They must be what the site has anyway, and are."""


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of each value that holds no other."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        if isinstance(item, dict | list) and item:
            yield from leaves(item, (*path, key))
        else:
            yield (*path, key)


def outcome(folder: Path, content: dict[str, Any]) -> Any:
    for name, data in content.items():
        (folder / name).write_text(json.dumps(data))
    try:
        site = load_site(folder)
    except ConfigError as error:
        return error.findings
    return site.model_copy(update={"warnings": ()}), site.warnings


@pytest.mark.parametrize("name", sorted(ALL))
def test_no_value_is_dropped_without_a_word(tmp_path: Path, name: str) -> None:
    """Without it the site is another one, or another finding is told; or it is in a part so told.

    A shape that takes a key and hands it to nobody has passed every test above.
    """
    put(tmp_path, ALL)
    whole = outcome(tmp_path, ALL)
    silent = []
    for path in leaves(ALL[name]):
        place = written(path)
        known = FOR_PEOPLE | SAME_AS_DEFAULT | COMPARED
        if unread(name, path) or any(f".{place}".endswith(f".{key}") for key in known):
            continue
        content = copy.deepcopy(ALL)
        del at(content[name], path[:-1])[path[-1]]
        if outcome(tmp_path, content) == whole:
            silent.append(place)
    assert silent == []
