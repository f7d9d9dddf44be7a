"""Docker Engine's configuration as data (https://docs.docker.com/reference/cli/dockerd/)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phoenix.declaration.settings import Settings
from phoenix.site import unit_names
from phoenix.site.addressing import name_servers
from phoenix.site.findings import SettingError
from phoenix.site.model import Host, Site

DAEMON = "/etc/docker/daemon.json"
KEPT = "/etc/phoenix/docker/kept.json"
"""What a person's or a program's daemon.json had in it when Phoenix took its place."""
DATA_ROOT = "/var/lib/docker"
"""Where dockerd has images and volumes unless it is told otherwise."""

_FILES = ("local", "json-file")
"""Log drivers that bound their files by max-size and max-file."""
_API = ("hosts", "tls", "tlsverify", "tlscacert", "tlscert", "tlskey")
"""Docker's API beside its local socket: kept where a person says so (`taking_over`)."""
_DROPPED = ("iptables",)
"""What Phoenix never keeps: Docker makes the rules by which containers reach each other and the
site."""
_LOCAL = "unix:///var/run/docker.sock"


RELOADED = frozenset({
    "allow-nondistributable-artifacts", "authorization-plugins", "debug", "default-runtime",
    "features", "insecure-registries", "labels", "live-restore", "max-concurrent-downloads",
    "max-concurrent-uploads", "max-download-attempts", "registry-mirrors", "runtimes",
    "shutdown-timeout",
})  # fmt: skip
"""What dockerd takes up with SIGHUP; for any other key it must be restarted
(https://docs.docker.com/reference/cli/dockerd/#configuration-reload-behavior)."""


class DaemonError(SettingError):
    """A daemon.json that cannot be merged, or would hide what dockerd holds."""


@dataclass(frozen=True)
class Declared:
    """What the site wants of dockerd.

    `needed` wins over `chosen` (the site's settings), that over the file before Phoenix, and that
    over `defaults`. `keeps_api`: ports of Docker's API that a person has
    opened in daemon.json stay open.
    """

    needed: Mapping[str, Any]
    chosen: Mapping[str, Any]
    defaults: Mapping[str, Any]
    keeps_api: bool = False


@dataclass(frozen=True)
class DaemonState:
    """What a host has: as `facts.docker.DockerDaemon` reads it.

    `present` is the text of daemon.json, and `foreign` whether Phoenix did not write it. `former`
    is the text of `KEPT`. `data_root` is where dockerd has its data, `used` whether there are any.
    `in_swarm`: the host is a node of a swarm.
    """

    present: str = ""
    foreign: bool = False
    former: str = ""
    data_root: str = DATA_ROOT
    used: bool = False
    in_swarm: bool = False


@dataclass(frozen=True)
class Merged:
    """The daemon.json to write, what is kept of the one before Phoenix, and that in words."""

    daemon: str
    former: str
    words: Sequence[str] = field(default=())


def declared(site: Site, host: Host, settings: Settings) -> Declared:
    """What the site and its settings want of a Docker host.

    Containers ask the name server where their host does: in the network that both are in. A node
    of a swarm has no live-restore, which dockerd refuses there
    (https://docs.docker.com/engine/daemon/live-restore/#live-restore-and-swarm-mode).
    """
    fields = settings.model_fields_set
    keeps_api = settings.taking_over.docker == "keep"
    sizes = {
        "max-size": (settings.docker_log_size, "docker_log_size"),
        "max-file": (str(settings.docker_log_files), "docker_log_files"),
    }
    chosen = {
        "data-root": settings.docker_data_root,
        "default-address-pools": [
            {"base": str(pool.base), "size": pool.size} for pool in settings.docker_address_pools
        ],
        "registry-mirrors": list(settings.docker_registry_mirrors),
        "insecure-registries": list(settings.docker_insecure_registries),
        "runtimes": {
            name: runtime.model_dump(exclude_none=True, by_alias=True)
            for name, runtime in settings.docker_runtimes.items()
        },
        "log-driver": settings.docker_log_driver,
        "log-opts": {name: value for name, (value, setting) in sizes.items() if setting in fields}
        | dict(settings.docker_log_options),
    }
    return Declared(
        needed={
            "dns": [str(name_server.address) for name_server in name_servers(site, host)],
            "dns-search": [site.domain],
            "live-restore": host.swarm is None,
        },
        chosen={key: value for key, value in chosen.items() if value},
        defaults={
            "log-driver": _FILES[0],
            "log-opts": {name: value for name, (value, _) in sizes.items()},
        },
        keeps_api=keeps_api,
    )


def merge(desired: Declared, state: DaemonState) -> Merged:
    """The daemon.json of one host: the site's, with what a person had in it before Phoenix.

    Raises:
        DaemonError: the file before is not a JSON object, or the result would have dockerd look for
            its images and volumes in another place than they are in. Says how to go on.
    """
    former = _read(state.present, DAEMON) if state.foreign else _read(state.former, KEPT)
    dropped = _DROPPED if desired.keeps_api else (*_DROPPED, *_API)
    data = {key: value for key, value in former.items() if key not in dropped}
    hosts = _texts(data, "hosts")
    if hosts and not any(url.startswith(("unix://", "fd://")) for url in hosts):
        data["hosts"] = [_LOCAL, *hosts]
    data |= {**desired.chosen, **_logs(desired, former), **desired.needed}
    if state.in_swarm:  # a dockerd with both does not start, and a node leaves in its own time
        data["live-restore"] = False
    data["dns-search"] = list(dict.fromkeys([*data["dns-search"], *_texts(former, "dns-search")]))
    root = data.get("data-root", DATA_ROOT)
    if state.used and root != state.data_root:
        raise DaemonError(
            f"dockerd has its images and volumes in {state.data_root}, and would look for them in "
            f'{root}, where they are not: set docker_data_root = "{state.data_root}"; or stop '
            f"{unit_names.DOCKER} and {unit_names.DOCKER_SOCKET}, "
            f"move {state.data_root} to {root}, and run again"
        )
    return Merged(_text(data), _text(former) if former else "", _words(former, data))


def restarted_for(present: str, merged: Merged) -> tuple[str, ...]:
    """The keys of daemon.json whose change dockerd takes up by a restart alone.

    Args:
        present: the text that it runs with now; one that cannot be read differs in every key.
        merged: what it is to run with.
    """
    try:
        before = _read(present, DAEMON)
    except DaemonError:
        before = {}
    after = _read(merged.daemon, DAEMON)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return tuple(sorted(changed - RELOADED))


def keeps_containers(merged: Merged) -> bool:
    """Whether containers go on while dockerd that runs with this is restarted."""
    return bool(_read(merged.daemon, DAEMON).get("live-restore"))


def _logs(desired: Declared, former: Mapping[str, Any]) -> dict[str, Any]:
    """Driver and options together: a driver refuses, at a container's start, another's options."""
    before = former.get("log-driver") or ("json-file" if former.get("log-opts") else None)
    driver = desired.chosen.get("log-driver") or before or desired.defaults["log-driver"]
    options = dict(desired.defaults["log-opts"]) if driver in _FILES else {}
    if driver == before:
        options |= former.get("log-opts") or {}
    options |= desired.chosen.get("log-opts") or {}
    return {"log-driver": driver} | ({"log-opts": options} if options else {})


def _words(former: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    same = sorted(key for key, value in former.items() if data.get(key) == value)
    added = sorted(key for key in former if key in data and key not in same)
    dropped = sorted(key for key in former if key not in data)
    return [
        f"of the {DAEMON} that Phoenix did not write, {verb}: {', '.join(keys)}"
        for verb, keys in (
            ("kept", same),
            ("changed, since Phoenix needs or a setting says otherwise", added),
            ("left out, since it opens Docker's API or its firewall", dropped),
        )
        if keys
    ]


def _read(text: str, path: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DaemonError(f"{path} is not JSON ({error}): correct it or move it away") from None
    if not isinstance(data, dict):
        raise DaemonError(f"{path} is not a JSON object: correct it or move it away")
    opts = data.get("log-opts")
    if opts is not None and not isinstance(opts, dict):
        raise DaemonError(f"{path}: log-opts is not an object: correct it or move it away")
    return data


def _texts(data: Mapping[str, Any], key: str) -> list[str]:
    value = data.get(key)
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, sort_keys=True) + "\n"
