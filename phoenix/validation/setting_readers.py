"""Which hosts read a setting: the one answer, and what is wrong where it is written for others.

A setting that no host of a file's group reads changes nothing. One that several hosts must see
alike belongs to all of them. `deploys/` reads settings; a test holds it and this table together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix.components.taking_over.existing_services import places
from phoenix.declaration.group_data import HostSettings, SettingsFile, of_host
from phoenix.declaration.pyinfra_inventory import ALL, Inventory
from phoenix.declaration.settings import FOLDER, PROXMOX, fields
from phoenix.derived import deployments, home
from phoenix.derived.certificates import certificates
from phoenix.site.findings import Finding
from phoenix.site.model import Host, Site

Hosts = Callable[[Site], Sequence[Host | None]]


@dataclass(frozen=True)
class Read:
    """Who reads a setting.

    Attributes:
        by: the hosts of a site whose deploys or checks read it, None for an absent one.
        alike: one value holds for the whole site, so that all of `by` must see the same.
    """

    by: Hosts
    alike: bool = False


def _every(site: Site) -> Sequence[Host]:
    return site.hosts


def _without(word: str) -> Hosts:
    """The hosts that do not leave this alone (`leave_alone`)."""
    return lambda site: [host for host in site.hosts if word not in host.left_alone]


def _engines(site: Site) -> Sequence[Host]:
    """The hosts whose Docker Engine Phoenix installs and configures."""
    return [host for host in site.docker_hosts if "docker" not in host.left_alone]


def _docker(site: Site) -> Sequence[Host | None]:
    """The hosts that pull images."""
    return (*site.docker_hosts, site.portainer)


def _stacks(site: Site) -> Sequence[Host]:
    return deployments.stack_hosts(site)


def _holders(site: Site) -> Sequence[Host | None]:
    """The CA and every holder of one of its certificates."""
    return (site.ca, *(pair.host for pair in certificates(site)))


def _confirmed(site: Site) -> Sequence[Host]:
    """The hosts on which a change may shut SSH: to sshd, the guard, the hypervisor's networks."""
    return [
        host
        for host in site.hosts
        if "ssh" not in host.left_alone or host.guarded or host == site.hypervisor
    ]


def _guarded(site: Site) -> Sequence[Host]:
    return (site.hypervisor, *(host for host in site.guests if host.guarded))


def _agents_of_vms(site: Site) -> Sequence[Host]:
    return (site.hypervisor, *(host for host in site.proxmox_guests if host.kind == "vm"))


_HYPERVISOR = Read(lambda site: (site.hypervisor,))
_NAME_SERVERS = Read(lambda site: site.name_servers, alike=True)
_GATEWAY = Read(lambda site: site.gateways, alike=True)
_TRAEFIK = Read(lambda site: site.traefiks, alike=True)
_CA = Read(lambda site: (site.ca,))
_ENGINES = Read(_engines)
_READ: Mapping[str, Read] = {
    "dns_upstreams": _NAME_SERVERS,
    "dns_stop_rebind": _NAME_SERVERS,
    "resolver_fallback": Read(_without("resolver")),
    "timezone": Read(_without("time")),
    "step_ca_lifetime_minimum": _CA,
    "step_ca_lifetime_maximum": _CA,
    "step_ca_lifetime_default": Read(_holders, alike=True),
    "step_ca_organisation": _CA,
    "step_ca_years": _CA,
    "nginx_hsts_seconds": _GATEWAY,
    "nginx_max_body": _GATEWAY,
    "nginx_read_timeout": _GATEWAY,
    "traefik_dashboard_user": _TRAEFIK,
    "traefik_metrics": _TRAEFIK,
    "ssh_confirm_seconds": Read(_confirmed),
    "serial": Read(lambda site: (*_engines(site), *site.agents)),
    "room_warning_percent": Read(_every),
    "room_least_percent": Read(_every),
    "home_old_hours": Read(home.served_by),
    "home_tells": Read(home.served_by),
    "watch_interval": Read(lambda site: (*site.watched, site.watcher), alike=True),
    "watch_backup_days": Read(lambda site: [h for h in site.watched if h == site.hypervisor]),
    "artifacts": Read(lambda site: (site.ca, *site.traefiks)),
    "docker_packages": _ENGINES,
    "docker_apt_url": _ENGINES,
    "docker_apt_key_sha256": _ENGINES,
    "docker_log_size": _ENGINES,
    "docker_log_files": _ENGINES,
    "docker_log_driver": _ENGINES,
    "docker_log_options": _ENGINES,
    "docker_data_root": _ENGINES,
    "docker_address_pools": Read(lambda site: (*_engines(site), *site.swarm_nodes)),
    "swarm_address_pools": Read(lambda site: site.swarm_nodes, alike=True),
    "docker_registry_mirrors": Read(lambda site: site.docker_hosts),
    "docker_insecure_registries": _ENGINES,
    "docker_runtimes": _ENGINES,
    "portainer_image": Read(lambda site: (site.portainer,)),
    "portainer_agent_image": Read(lambda site: site.agents),
    "portainer_url": Read(lambda site: site.guests if site.portainer else (), alike=True),
    "image_archives": Read(_docker),
    "registries": Read(_every, alike=True),  # whose secrets each run looks for
    "stack_variables": Read(_stacks),
    "stacks_prune": Read(_stacks),
    "backup_recipients": Read(lambda site: (site.ca, site.portainer), alike=True),
    "taking_over": Read(lambda site: [host for host in site.hosts if places(site, host)]),
    "proxmox_api": Read(_agents_of_vms, alike=True),
    "proxmox_guest_agent": Read(_agents_of_vms, alike=True),
    "proxmox_operator_networks": Read(_guarded, alike=True),
}


def _of_part(setting: str, part: str) -> Hosts | None:
    """Who reads one entry of a setting that has entries for different hosts; None: as the whole."""
    if setting == "taking_over":
        return lambda site: [
            host for host in site.hosts if any(place.kind == part for place in places(site, host))
        ]
    if setting == "artifacts":
        holder = {"step-ca": _CA, "traefik": _TRAEFIK}.get(part)
        return holder.by if holder else None
    if setting == "stack_variables":
        return lambda site: [
            host
            for host in _stacks(site)
            if any(stack.name == part for stack in host.docker_stacks)
        ]
    return None


def read(setting: str) -> Read:
    """Who reads a setting, by the name that group_data gives it.

    Raises:
        KeyError: there is no such setting.
    """
    if setting not in _READ and setting.startswith(PROXMOX) and setting in fields():
        return _HYPERVISOR
    return _READ[setting]


def _readers(site: Site, by: Hosts) -> tuple[Host, ...]:
    """The hosts, in the site's order, each once."""
    chosen = {host.name for host in by(site) if host is not None}
    return tuple(host for host in site.hosts if host.name in chosen)


@dataclass(frozen=True)
class _Place:
    """A place that settings are written in, and the hosts that take them from it."""

    file: SettingsFile
    hosts: tuple[Host, ...]
    whose: str
    """The hosts in words, after "no host"."""


def findings(
    site: Site, files: Sequence[SettingsFile], inventory: Inventory
) -> tuple[Finding, ...]:
    """Settings that stand where no host reads them, and those that hosts should see alike.

    Args:
        site: the site.
        files: those of group_data.
        inventory: what pyinfra takes from the inventory.
    """
    known = fields()
    own = {
        host: {k: v for k, v in inventory.data_of(host).items() if k in known}
        for host in site.hosts
    }
    result = [
        finding
        for place in _places(site, files, inventory, own)
        for name in place.file.values
        if name in known
        for finding in _unread(site, place, name)
    ]
    sources = {host: of_host(files, inventory, host) for host in site.hosts}
    result += [
        finding for name in known if read(name).alike for finding in _unlike(site, name, sources)
    ]
    return tuple(dict.fromkeys(result))


def _places(
    site: Site,
    files: Sequence[SettingsFile],
    inventory: Inventory,
    own: Mapping[Host, Mapping[str, Any]],
) -> Iterator[_Place]:
    members: dict[str, list[Host]] = {}
    for host in site.hosts:
        for group in inventory.groups_of(host):
            members.setdefault(group, []).append(host)
    in_inventory = [SettingsFile(inventory.label, g, v) for g, v in inventory.values.items()]
    for file in (*files, *in_inventory):
        hosts = site.hosts if file.group == ALL else tuple(members.get(file.group, ()))
        if hosts == site.hosts:
            yield _Place(file, hosts, "of this site")
        elif hosts:
            yield _Place(file, hosts, f"of the group {file.group}")
    first = own[site.hypervisor]
    common = {
        k for k in first if all(k in values and values[k] == first[k] for values in own.values())
    }
    yield _Place(
        SettingsFile(inventory.label, "", {k: first[k] for k in common}),
        site.hosts,
        "of this site",
    )
    for host, values in own.items():
        rest = {k: v for k, v in values.items() if k not in common}
        yield _Place(SettingsFile(inventory.label, "", rest), (host,), f"named {host.name}")


def _unread(site: Site, place: _Place, setting: str) -> Iterator[Finding]:
    """Findings of a setting, or of entries of it, that no host of its place reads."""
    readers = _readers(site, read(setting).by)
    if not set(place.hosts) & set(readers):
        yield _finding(site, place, setting, readers)
        return
    value = place.file.values[setting]
    for part in value if isinstance(value, Mapping) else ():
        by = _of_part(setting, str(part))
        if by is None:
            continue
        own_readers = _readers(site, by)
        # An entry that nobody in the site reads is told by the rules of its setting.
        if own_readers and not set(place.hosts) & set(own_readers):
            yield _finding(site, place, f"{setting}.{part}", own_readers)


def _finding(site: Site, place: _Place, path: str, readers: Sequence[Host]) -> Finding:
    message = f"no host {place.whose} reads it"
    if not readers:
        return Finding(
            place.file.label, path, f"{message}: it is for what this site does not have",
            "remove it, or declare what it is for (docs/reference.md)", "warning", unread=True,
        )  # fmt: skip
    names = ", ".join(host.name for host in readers[:_SHOWN])
    more = f" and {len(readers) - _SHOWN} more" if len(readers) > _SHOWN else ""
    verb = "reads" if len(readers) == 1 else "read"
    return Finding(
        place.file.label, path, f"{message}; {names}{more} {verb} it",
        f"move it to {FOLDER}/{ALL}.py{_group(site, readers)}", "warning", unread=True,
    )  # fmt: skip


_SHOWN = 3
"""So many hosts are named in a finding."""


def _group(site: Site, readers: Sequence[Host]) -> str:
    """The group whose hosts are just the readers, as the end of a fix; empty where none is.

    That of a role rather than that of all containers or VMs.
    """
    for group in dict.fromkeys(group for host in readers for group in reversed(host.groups)):
        if [host for host in site.hosts if group in host.groups] == list(readers):
            return f", or to {FOLDER}/{group}.py"
    return ""


_ABSENT = object()


def _unlike(site: Site, setting: str, sources: Mapping[Host, HostSettings]) -> Iterator[Finding]:
    """Findings of a setting of which the hosts that read it would see different values."""
    readers = _readers(site, read(setting).by)
    values = [sources[host].data.get(setting, _ABSENT) for host in readers]
    if all(value == values[0] for value in values):
        return
    for host in readers:
        for place in sources[host].places:
            if setting in place.values and place.group != ALL:
                yield Finding(
                    place.label, setting,
                    "is one value for the whole site, and hosts that read it would differ: "
                    + ", ".join(host.name for host in readers),
                    f"move it to {FOLDER}/{ALL}.py", "warning", unread=True,
                )  # fmt: skip
