"""Hostile files, by hypothesis: the shipped site with parts replaced, and raw text.

A case is JSON data, so that one that was found is kept in tests/data/hostile and run in every test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.unit.project_copy import ROOT

LXC, VM = "phoenix_lxc_configs.json", "phoenix_vm_configs.json"
STACKS = "phoenix_stacks_config.json"
HYPERVISOR = "phoenix_hypervisor_config.json"
STACK = "stacks/qdrant_service"

HOSTILE_TEXTS = (
    "", " ", "\n", "a\nb: c", "a\0b", "a\tb", "a\rb", 'a"b', "a'b", "$(id)", "`id`", "; id #",
    "{{ 7*7 }}", "{% raw %}", "${A}", "$$", "${A:-${B:?x}}", "${", "a,b=c", "../../etc/passwd",
    "\u202ea", "\u2028", "\x85", "\ud800", "vmbr\u0660", "\uff11\uff12", "\u0430dmin", "-rf",
    "%00", "[1-9]", "{a,b}", "a" * 5000, "a." * 2500, "1" * 5000, "(" * 500, "10.0.0.1/33",
    "1-999999999:1-999999999", "0:0", "10.0.0.0/0", "::1/64", "99999999999999999999h",
    "\x1b]0;x\x07\x1b[2J", "local-api", "NaN", "1e400", "yes", "~", "null", "!!python/object:a.b",
    "&a [*a]", "<<: *a", "- a", "? a", "\ufeff", "|", ">", "age-encryption.org/v1\n-> X25519 a\n",
)  # fmt: skip
HOSTILE_VALUES: tuple[Any, ...] = (
    *HOSTILE_TEXTS, None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**40, 1e40, -1e-300, [], {},
    [[]], {"": ""}, {"name": {}}, [None], [1, "a", {}], {"a\nb": 1}, {"a.b[0]": {"c": 1}},
)  # fmt: skip
SCALARS = st.one_of(
    st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.sampled_from(HOSTILE_VALUES)
)
VALUES = st.one_of(
    st.sampled_from(HOSTILE_VALUES),
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.text(max_size=6), SCALARS, max_size=3),
)
Change = tuple[int, int, Any]
CHANGES = st.lists(
    st.tuples(st.integers(0, 9999), st.integers(0, 5), VALUES), min_size=1, max_size=4
)
CUTS = st.lists(
    st.tuples(st.integers(0, 99999), st.integers(0, 40), st.sampled_from(HOSTILE_TEXTS)
              | st.text(max_size=20)),
    max_size=2,
)  # fmt: skip


@cache
def site_files() -> dict[str, Any]:
    """The files of the shipped site as data, by their labels, and keys that it does not use."""
    folder = ROOT / "inventories"
    files: dict[str, Any] = {
        name: json.loads((folder / name).read_text(encoding="utf-8")) for name in (LXC, VM)
    }
    files[HYPERVISOR] = {
        "version": "1", "author": "me", "domain_name": "internal.thinkheads.ai",
        "timezone": "America/New_York",
        "network": {
            "interfaces": {"name": "vmbr0", "address": "10.0.0.13/24", "gateway": "10.0.0.1"},
            "default_subnet": "10.0.0.0/24", "public_bridge": "vmbr0", "public_vlan_tag": 20,
            "internal_bridge": {"name": "vmbr9", "subnet": "172.16.9.0/24"},
        },
        "networks": {"storage": {"subnet": "10.9.0.0/24", "bridge": "vmbr1", "vlan": 9,
                                 "gateway": "10.9.0.1", "address": "10.9.0.13", "nat": True}},
        "nfs": {"exports": [{"path": "/tank/kept", "clients": ["10.0.0.102"],
                             "options": ["rw", "sync"]}]},
        "shared_volumes": {"models": {"host_path": "/tank/m", "mounts": {"101": "/shared"}}},
    }  # fmt: skip
    files[LXC]["site"] = {
        "domain": "internal.thinkheads.ai", "environment": "production",
        "hypervisor": {"name": "phoenix", "ip": "10.0.0.13/24", "gateway": "10.0.0.1"},
    }  # fmt: skip
    files[LXC]["lxc_configs"]["101"] |= {
        "template": "debian-13.tar.zst", "portainer_environment_name": "gateway",
        "portainer_agent_hostname": "agent.internal.thinkheads.ai",
        "dns_records": [{"hostname": "printer", "ip": "10.0.0.60"}],
        "volumes": [{"type": "nfs", "name": "a", "path": "/a", "mount_point": "/b",
                     "server": "10.0.0.9"}],
        "firewall": {"rules": [{"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "80,443",
                                "source": "10.0.0.0/24", "comment": "web"}]},
    }  # fmt: skip
    files[LXC]["lxc_configs"]["101"]["network_config"] |= {
        "name": "eth0", "bridge": "vmbr0", "gw": "10.0.0.1", "nameservers": "10.0.0.13",
    }  # fmt: skip
    files[VM]["vm_defaults"] = {"storage_pool": "local", "network_bridge": "vmbr0"}
    agent = next(vm for vm in files[VM]["vms"] if vm.get("portainer_role") == "agent")
    agent |= {
        "portainer_environment_name": "docker 2", "user_config": {"username": "debian"},
        "portainer_agent_hostname": "portainer-agent.internal.thinkheads.ai",
        "network_bridge": "vmbr0", "template_image": "a.img",
        "traefik_service": {"name": "tool", "aliases": ["kit"], "port": 8500, "scheme": "https",
                            "health_path": "/a", "exposure": "gateway",
                            "server_name": "tools.internal.thinkheads.ai"},
    }  # fmt: skip
    agent["network_config"] |= {"name": "eth0", "bridge": "vmbr0", "nameserver": "10.0.0.13"}
    for folder in sorted((ROOT / "stacks").iterdir()):
        label = f"stacks/{folder.name}"
        files[f"{label}/phoenix.json"] = json.loads((folder / "phoenix.json").read_text())
        files[f"{label}/docker-compose.yml"] = yaml.safe_load(
            (folder / "docker-compose.yml").read_text()
        )
    files[f"{STACK}/phoenix.json"]["shared_secrets"] = {
        "QDRANT_SERVICE_FILE": ["thinkheads_ai_app"]
    }
    environment = files[f"{STACK}/phoenix.json"]["environments"]["production"]
    environment["files"] = [
        {"secret": "QDRANT_SERVICE_FILE", "destination_in_container": "/etc/a.conf"}
    ]
    environment["services"]["qdrant"]["traefik_labels"] = [
        "traefik.http.routers.a.rule=Host(`a.internal.thinkheads.ai`)",
        "traefik.http.services.a.loadbalancer.server.port=6333",
    ]
    listed = deepcopy(files[f"{STACK}/phoenix.json"])
    listed = {key: value for key, value in listed.items() if key in ("description", "environments")}
    listed["compose_file_path"] = f"{STACK}/docker-compose.yml"
    listed["nginx_proxy"] = {"hostname": "vectors.internal.thinkheads.ai"}
    file = {"secret": "VECTORS_FILE", "destination_in_container": "/etc/a.conf"}
    production = listed["environments"]["production"] | {"files": [file]}
    production["variables"] = [
        variable | ({"secret": "VECTORS_KEY"} if "secret" in variable else {})
        for variable in production["variables"]
    ]
    listed["environments"] = {"production": production}
    files[STACKS] = {"docker_stacks": {"vectors": listed}}
    return files


@cache
def variants() -> tuple[dict[str, Any], ...]:
    """Files that differ from `site_files` in what a site may have besides, by their labels.

    One has a watcher, a swarm with its networks, log-ins of groups and what is left alone; the
    other a Portainer elsewhere and services elsewhere.
    """
    swarm, away = (deepcopy(site_files()) for _ in range(2))
    swarm[LXC]["site"] |= {
        "watcher": "hypervisor", "leave_alone": ["time"], "guard": True,
        "swarm_networks": {"mesh": {"attachable": True, "subnet": "10.200.40.0/24"}, "quiet": {}},
        "logins": {"vm": {"user": "debian", "port": 2222, "sudo": True}},
    }  # fmt: skip
    swarm[LXC]["lxc_configs"]["101"]["leave_alone"] = ["updates", "watch"]
    for entry in swarm[VM]["vms"]:
        if entry.get("portainer_role") in ("agent", "primary"):
            entry |= {
                "swarm_role": "manager", "node_labels": ["zone=a"], "node_availability": "active",
                "leave_alone": ["ssh"],
            }  # fmt: skip
    content = swarm[f"{STACK}/docker-compose.yml"]
    content["networks"] = {"mesh": {"external": True}, "own": {"name": "own-net"}}
    content["services"]["qdrant"]["networks"] = ["mesh", "own"]
    away[LXC]["site"] |= {
        "portainer": {"url": "https://192.0.2.10:9443", "ca_file": "portainer-ca.pem",
                      "connects_from": ["192.0.2.10", "192.0.2.0/28"]},
    }  # fmt: skip
    away[LXC]["external_services"] = [
        {
            "name": "nas",
            "address": "192.0.2.7",
            "port": 5001,
            "scheme": "https",
            "ca_file": "nas-ca.pem",
        }
    ]
    for entry in away[VM]["vms"]:
        if entry.get("role") == "portainer":
            entry["role"] = "docker"
            for key in ("portainer_role", "traefik_service"):
                entry.pop(key, None)
    return tuple(
        {label: data for label, data in files.items() if data != site_files()[label]}
        for files in (swarm, away)
    )


SETTINGS: dict[str, Any] = {
    "dns_upstreams": ["9.9.9.9"], "dns_stop_rebind": True, "resolver_fallback": ["10.0.0.1"],
    "timezone": "Etc/UTC", "step_ca_lifetime_default": "24h", "step_ca_organisation": "Phoenix",
    "step_ca_years": 10, "nginx_hsts_seconds": 1, "nginx_max_body": "512m",
    "nginx_read_timeout": "300s", "traefik_dashboard_user": "admin", "docker_log_size": "10m",
    "docker_apt_url": "https://example.com/linux", "docker_packages": "docker",
    "artifacts": {"traefik": {"any": {"version": "3.7.15", "url": "https://a/b", "member": "a",
                                      "sha256": "0" * 64, "binary_sha256": "0" * 64}}},
    "portainer_image": "portainer/portainer-ce:2.39.1", "portainer_url": "https://a.example.com",
    "image_archives": {"a:1": {"url": "https://a/b", "sha256": "0" * 64}},
    "stack_variables": {"qdrant_service": {"QDRANT_LOG_LEVEL": "INFO"}}, "stacks_prune": ["a-b"],
    "backup_recipients": ["age1abc"], "proxmox_api": "ssh", "proxmox_fingerprint": "00" * 32,
    "proxmox_ca_file": "~/a.pem", "proxmox_node": "pve", "proxmox_template_storage": "local",
    "proxmox_images": {"a.img": {"url": "https://a/b", "sha256": "0" * 64}}, "proxmox_adopt": [101],
    "proxmox_ssh_keys": ["ssh-ed25519 AAAA a"], "proxmox_lxc_features": {"nesting": "1"},
    "proxmox_operator_networks": ["10.1.0.0/24"], "proxmox_ha_group": "all",
    "proxmox_replication_schedule": "*/15", "proxmox_vm_user": "root",
    "proxmox_guests": {"101": {"node": "pve", "vlan": 5, "features": {"mount": "nfs"},
                               "mount_points": [{"path": "/a", "storage": "local", "size_gb": 1}],
                               "tags": ["a"], "replicate_to": ["pve2"],
                               "bind_mounts": [{"path": "/m", "host_path": "/tank"}],
                               "devices": [{"path": "/dev/kvm", "gid": 1, "mode": "0660"}],
                               "idmap": ["u 0 100000 65536"], "addresses": ["10.0.0.50"]},
                       "1002": {"cpu": "host"}},
    "proxmox_apart": {"dns": [101, 1002]}, "proxmox_other_apis": ["https://b.example:8006"],
    "proxmox_vm_cpu": "host", "proxmox_ha_nodes": ["pve1:2"], "proxmox_node_closed": ["tcp/111"],
    "proxmox_node_flows": [{"port": "2049", "source": "10.0.0.0/24", "node": "b", "comment": "N"}],
    "proxmox_node_listeners": {"pve2": ["tcp/22"]}, "proxmox_ipfilter": True,
}  # fmt: skip


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every holder and key within JSON data, in the order of the text."""
    listed: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            listed.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    walk(data)
    return listed


def changed(data: Any, changes: list[Change]) -> Any:
    """A copy of JSON data with values replaced, keys renamed, parts removed, doubled, wrapped."""
    copied = json.loads(json.dumps(data))
    for where, how, value in changes:
        every = places(copied)
        if not every:
            return value
        value = deepcopy(value)  # the same object drawn twice could come to hold itself
        holder, key = every[where % len(every)]
        if how in (0, 1):
            holder[key] = value
        elif how == 2 and isinstance(holder, dict):
            holder[value if isinstance(value, str) else str(value)] = holder.pop(key)
        elif how == 3:
            del holder[key]
        elif how == 4 and isinstance(holder, list):
            holder.append(json.loads(json.dumps(holder[key])))
        else:
            holder[key] = [holder[key]]
    return copied


def cut(text: str, cuts: list[tuple[int, int, str]]) -> str:
    """Text with pieces taken out and others put in."""
    for where, length, put in cuts:
        at = where % (len(text) + 1)
        text = text[:at] + put + text[at + length :]
    return text


_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml where the wheel has it


def _text_of(label: str, data: Any) -> str:
    if label.endswith(".json"):
        return json.dumps(data)
    try:
        return yaml.dump(data, Dumper=_Dumper, allow_unicode=True)
    except (yaml.YAMLError, UnicodeError):
        return json.dumps(data)


def one_of_site(labels: tuple[str, ...]) -> st.SearchStrategy[dict[str, str]]:
    """Some of the site's files as text, by label: one changed as data and as text."""

    def build(pick: int, changes: list[Change], cuts: list[tuple[int, int, str]]) -> dict[str, str]:
        label = labels[pick % len(labels)]
        return {label: cut(_text_of(label, changed(site_files()[label], changes)), cuts)}

    return st.builds(build, st.integers(0, 99), CHANGES, st.one_of(st.just([]), CUTS))


def one_of_variants() -> st.SearchStrategy[dict[str, str]]:
    """All files of a variant as text, by label: one changed as data and as text."""

    def build(pick: int, changes: list[Change], cuts: list[tuple[int, int, str]]) -> dict[str, str]:
        files = variants()[pick % len(variants())]
        contents = {label: _text_of(label, data) for label, data in files.items()}
        label = tuple(files)[pick // len(variants()) % len(files)]
        return contents | {label: cut(_text_of(label, changed(files[label], changes)), cuts)}

    return st.builds(build, st.integers(0, 999), CHANGES, st.one_of(st.just([]), CUTS))


def texts(*bases: str) -> st.SearchStrategy[str]:
    """Raw text, or one of `bases` with pieces replaced."""
    return st.one_of(
        st.text(max_size=200), st.builds(cut, st.sampled_from(bases), CUTS),
        st.lists(st.sampled_from(HOSTILE_TEXTS), max_size=4).map("".join),
    )  # fmt: skip


COMPOSE = (ROOT / "stacks/qdrant_service/docker-compose.yml").read_text()
ANCHORS = "x: &a {b: [1, 2]}\nservices:\n  web: &w\n    image: a:1\n    x: [*a, *a]\n  other: *w\n"
DOTENV = "A=1\nexport B='two words'\nC=\"a${A:-${B}}\\n\" # comment\nD=\n"
KNOWN_HOSTS = (
    "10.0.0.5,a.example ssh-ed25519 "
    "AAAAC3NzaC1lZDI1NTE5AAAAIJcWrl0eSnRBQhGcbqjwLHkDJBSJuoCbjfKZxLHfuQ8A\n"
    "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-rsa AAAAB3NzaC1yc2E= x\n"
    "# comment\n@revoked * ssh-rsa AAAA\n"
)
AGE = "age-encryption.org/v1\n-> X25519 abc\nAAAA\n--- AAAA\n"


def strategies() -> dict[str, st.SearchStrategy[Any]]:
    """How the cases of each target are made."""
    files = tuple(site_files())
    manifests = tuple(label for label in files if label.endswith("phoenix.json"))
    composes = tuple(label for label in files if label.endswith(".yml"))
    return {
        "site": one_of_site(files),
        "variants": one_of_variants(),
        "guests": one_of_site((LXC, VM)),
        "stack": one_of_site(manifests),
        "compose": one_of_site(composes),
        "compose_text": texts(COMPOSE, ANCHORS),
        "json_text": texts(json.dumps(site_files()[VM]), "{}", '{"a": [1e5, {"b": null}]}'),
        "dotenv": texts(DOTENV),
        "settings": CHANGES.map(lambda changes: changed(SETTINGS, changes)),
        "secrets": texts('{"a_password": "b", "c": "d"}', "{}"),
        "known_hosts": texts(KNOWN_HOSTS),
        "backup": texts(AGE, "AGE-SECRET-KEY-1AAAA\n", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
    }


def texts_within(data: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every text in JSON data: its path without ids and positions, its holder and its key."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        inner = path if isinstance(key, int) or str(key).isdigit() else f"{path}.{key}".lstrip(".")
        if isinstance(data[key], str):
            yield inner, data, key
        elif isinstance(data[key], dict | list):
            yield from texts_within(data[key], inner)
