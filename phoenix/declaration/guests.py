"""A guest's entry in the JSON files becomes a Host or a Template."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Literal

from phoenix.declaration import container_keys, nfs_keys
from phoenix.declaration.json_errors import listed
from phoenix.declaration.json_keys import (
    FEATURES,
    FOREIGN_FEATURES,
    OF_EVERY_HOST,
    RawGuest,
    RawLoginBy,
    RawLxc,
    RawVm,
    RawVmDefaults,
)
from phoenix.declaration.stacks import StackCatalog, StackRoute, firewall_rule
from phoenix.site.findings import Report
from phoenix.site.model import (
    ContainerSettings,
    Deployment,
    ExtraRecord,
    Host,
    Interface,
    LeftAlone,
    Source,
    SshLogin,
    Template,
)
from phoenix.site.names import (
    AGENT_CONTAINER,
    AGENT_PROJECT,
    LABEL,
    SERVER_CONTAINER,
    SERVER_PROJECT,
    SERVER_VOLUME,
    host_name,
    in_zone,
    is_name,
    is_number,
    is_reserved_name,
)
from phoenix.site.roles import ROLES

LeftAloneList = tuple[LeftAlone, ...]
LoginsOf = Callable[[Sequence[str]], Sequence[RawLoginBy]]
"""The log-ins of the site for a host of these groups, the most general one first."""
_ROLE_OF_PORTAINER_ROLE = {
    "primary": "portainer",
    "server": "portainer",
    "agent": "docker",
    "infrastructure": "nginx",
}


@dataclass(frozen=True)
class Entry:
    """One guest as declared: id, validated shape, and where it stands."""

    vmid: int
    kind: Literal["lxc", "vm"]
    raw: RawLxc | RawVm
    source: Source

    @property
    def label(self) -> str:
        """The guest's host name label: lower case; a dot of the Proxmox name becomes a hyphen."""
        return self.raw.name.lower().replace(".", "-")

    @property
    def clone_from(self) -> int | None:
        """The id of the guest that this one is cloned from."""
        raw = self.raw
        return raw.clone_from_ctid if isinstance(raw, RawLxc) else raw.clone_from_vmid

    def roles(self) -> frozenset[str]:
        """Roles by `role`, by features, and by the original's `portainer_role`.

        Portainer's server runs in a container, so its guest is a Docker host.
        """
        roles = {self.raw.role} | set(self.raw.features)
        roles.add(_ROLE_OF_PORTAINER_ROLE.get(self.raw.portainer_role))
        if "portainer" in roles:
            roles.add("docker")
        return frozenset(role for role in roles if role in ROLES)

    def at(self, key: str) -> tuple[str, str]:
        """File and path of a key of this entry."""
        return self.source.file, f"{self.source.path}.{key}"


def is_template(entry: Entry, cloned: frozenset[int | None]) -> bool:
    """Whether a guest is only there to be cloned: said so, or a clone source without a service."""
    raw = entry.raw
    if raw.is_template:
        return True
    serves = raw.traefik_service or raw.traefik_services or raw.docker_stacks or entry.roles()
    return not serves and (raw.template_snapshot_name is not None or entry.vmid in cloned)


def _machine(
    entry: Entry, interfaces: tuple[Interface, ...], defaults: RawVmDefaults, report: Report
) -> dict[str, Any]:
    """The fields that hosts and templates share."""
    raw = entry.raw
    lxc = raw if isinstance(raw, RawLxc) else None
    vm = raw if isinstance(raw, RawVm) else None
    if lxc and lxc.user_config is not None:
        report.warn(
            *entry.at("user_config"),
            "not used: cloud-init makes a VM's login user, and a container has none",
            "make the user in the container yourself, or remove it",
        )
    if vm and vm.template_image is not None and vm.clone_from_vmid is not None:
        _tell_clone(entry, "template_image", "clone_from_vmid", report)
    return {
        "vmid": entry.vmid,
        "kind": entry.kind,
        "interfaces": interfaces,
        "nameservers": _nameservers(entry, report),
        "memory_mb": raw.memory_mb or (defaults.memory_mb if vm else None),
        "swap_mb": lxc.swap_mb if lxc else None,
        "cores": raw.cores or (defaults.cores if vm else None),
        "disk_gb": lxc.storage_size_gb
        if lxc
        else (vm and vm.disk_size_gb) or defaults.disk_size_gb,
        "storage_pool": raw.storage_pool or (defaults.storage_pool if vm else None),
        "features": container_keys.software(raw.features),
        "unprivileged": lxc.unprivileged if lxc else False,
        "start_at_boot": raw.start_at_boot,
        "boot_order": raw.boot_order,
        "boot_delay": raw.boot_delay,
        "image": _archive(entry, lxc, report) if lxc else vm and vm.template_image,
        "clone_from": entry.clone_from,
        "snapshot_name": raw.template_snapshot_name,
        "username": raw.user_config.username if raw.user_config else None,
        "first_snapshot": raw.enable_lifecycle_snapshots,
        "source": entry.source,
        "container": container_keys.settings(lxc, entry.source, report)
        if lxc
        else ContainerSettings(),
    }


def _tell_of_template(entry: Entry, report: Report) -> None:
    """Tell of each key that says what a guest is or does while it runs."""
    raw = entry.raw
    unused_keys = [key for key in _OF_A_RUNNING_GUEST if getattr(raw, key, None) not in _SILENT]
    own = set(container_keys.software(raw.features)) - set(OF_EVERY_HOST)
    unused_keys += ["features"] if own else []
    unused_keys += ["firewall.rules"] if raw.firewall.rules else []
    unused_keys += ["login"] if raw.login != RawLoginBy() else []
    for key in unused_keys:
        report.warn(
            *entry.at(key),
            "not used: a template never runs, and what is cloned from it has an entry of its own",
            "write it in the entries of the guests that are cloned from it, and remove it here",
        )


def _tell_clone(entry: Entry, unused: str, key: str, report: Report) -> None:
    """Tell of an image that is not used, as the guest is cloned from another one."""
    report.warn(
        *entry.at(unused),
        f"{getattr(entry.raw, unused)} is not used: {key} says what it is made from",
        "keep one of the two",
    )


def _archive(entry: Entry, lxc: RawLxc, report: Report) -> str | None:
    """What a container is made from; one that is cloned is made from that."""
    if lxc.template_file is None:
        if lxc.template is not None and lxc.clone_from_ctid is not None:
            _tell_clone(entry, "template", "clone_from_ctid", report)
        return lxc.template
    other = "clone_from_ctid" if lxc.clone_from_ctid is not None else "template"
    if lxc.clone_from_ctid is None and lxc.template is None:
        return lxc.template_file
    report.warn(
        *entry.at("template_file"), f"{lxc.template_file} is not used: {other} says what it is "
        "made from", "keep one of the two",
    )  # fmt: skip
    return lxc.template


def _nameservers(entry: Entry, report: Report) -> tuple[IPv4Address, ...]:
    addresses: list[IPv4Address] = []
    for config in ("network_config", "secondary_network_config"):
        net = getattr(entry.raw, config)
        key = "nameservers" if net and net.nameservers else "nameserver"
        if net and net.nameservers and net.nameserver and net.nameservers != net.nameserver:
            report.error(
                *entry.at(f"{config}.nameserver"),
                f"{net.nameserver} differs from nameservers, which is {net.nameservers}",
                "write one of the two keys: both mean the same",
            )
        for text in re.split(r"[\s,]+", (getattr(net, key) if net else "") or ""):
            try:
                addresses += [IPv4Address(text)] if text else []
            except ValueError:
                report.error(
                    *entry.at(f"{config}.{key}"),
                    f"{text!r} is not an IPv4 address",
                    'write addresses as "10.0.0.13"',
                )
    return tuple(dict.fromkeys(addresses))


_OF_A_RUNNING_GUEST = (
    "traefik_service", "traefik_services", "dns_records", "volumes", "dependencies",
    "start_at_boot", "boot_order", "boot_delay", "portainer_role", "portainer_environment_name",
    "portainer_agent_hostname", "leave_alone", "enable_lifecycle_snapshots", "gpu_assignment",
    "mount_points", "zfs_volumes", "id_maps", "ports", "lxc_options", "apparmor_profile",
    "apparmor_manages_nesting",
)  # fmt: skip
"""Keys that say what a guest is or does while it runs."""
_SILENT = (None, False, 0, (), "none")
"""Values that ask for nothing."""


def template(
    entry: Entry, interfaces: tuple[Interface, ...], defaults: RawVmDefaults, report: Report
) -> Template:
    """Make a Template."""
    for position, ref in enumerate(entry.raw.docker_stacks):
        report.error(
            *entry.at(f"docker_stacks[{position}]"),
            f"{ref.name} would never be deployed: {entry.raw.name} is a template and never runs",
            "name the stack in docker_stacks of a guest that runs",
        )
    _tell_of_template(entry, report)
    if not is_name(entry.raw.name.lower()):
        report.error(
            *entry.at("name"),
            f"{entry.raw.name!r} is not a host name (RFC 1123)",
            "use letters, digits and inner hyphens",
        )
    shared = _machine(entry, interfaces, defaults, report)
    # Each clone has folders, volumes, devices and low-level lines of its own entry.
    shared["container"] = ContainerSettings(features=shared["container"].features)
    shared["first_snapshot"] = None
    return Template(**shared, name=entry.raw.name.lower())


def host(
    entry: Entry,
    *,
    domain: str,
    environment: str,
    interfaces: tuple[Interface, ...],
    resolver: IPv4Address,
    nfs_server: IPv4Address | None,
    guard: bool,
    leave_alone: LeftAloneList,
    logins: LoginsOf,
    dependencies: tuple[int, ...],
    defaults: RawVmDefaults,
    catalog: StackCatalog,
    report: Report,
) -> tuple[Host, tuple[StackRoute, ...]] | None:
    """Make a Host and the services that its stacks declare.

    None, with the reason reported, if the entry can be no host: no usable name or address.
    """
    raw = entry.raw
    managed = next((interface for interface in interfaces if interface.address is not None), None)
    address = managed.address if managed else None
    usable = _check_name(entry, report)
    if address is None:
        report.error(
            *entry.at("network_config.ip"),
            "a running guest needs a fixed address",
            'write its address and prefix length, as "10.0.0.5/24", here or in '
            "secondary_network_config",
        )
    _check_features(entry, report)
    roles = entry.roles()
    portainer_role: Literal["server", "agent"] | None = None
    if "portainer" in roles:
        portainer_role = "server"
    elif raw.portainer_role == "agent":
        portainer_role = "agent"
    deployments: list[Deployment] = []
    routes: list[StackRoute] = []
    for position, ref in enumerate(raw.docker_stacks):
        file, path = entry.at(f"docker_stacks[{position}]")
        result = catalog.deploy(
            ref,
            environment,
            Source(file=file, path=path),
            address,
            beside_portainer=portainer_role == "server",
        )
        if result is None:
            continue
        deployment, stack_routes = result
        if fault := _project_fault(deployment, deployments):
            report.error(file, path, *fault)
        elif portainer_role == "server" and catalog.is_portainer(deployment):
            _portainer_stack(entry, deployment, Source(file=file, path=path), report)
            routes += [route for route in stack_routes if _is_own(entry, route, report)]
        else:
            if "docker" not in roles:
                report.error(file, path, *_no_docker(entry, deployment))
            _check_docker_names(entry, deployment, portainer_role, catalog)
            deployments.append(deployment)
            routes += stack_routes
    if managed is None or address is None or managed.prefixlen is None or not usable:
        return None
    shared = _machine(entry, interfaces, defaults, report)
    left_alone = left_alone_of(raw.leave_alone, leave_alone)
    own_resolver = () if "resolver" in left_alone else (resolver,)
    shared["nameservers"] = shared["nameservers"] or own_resolver
    groups = (entry.kind, *(role for role in ROLES if role in roles))
    guest = Host(
        **shared,
        name=entry.label,
        address=address,
        prefixlen=managed.prefixlen,
        roles=roles,
        groups=groups,
        fqdn=host_name(entry.label, domain),
        dependencies=dependencies,
        portainer_role=portainer_role,
        portainer_environment=raw.portainer_environment_name or entry.label,
        dns_records=_dns_records(entry, domain, report),
        firewall_enabled=raw.firewall.enabled,
        guarded=guard and _guards(raw, left_alone),
        left_alone=left_alone,
        login=login_of(*logins(groups), raw.login),
        firewall_rules=tuple(
            firewall_rule(rule, *entry.at(f"firewall.rules[{i}]"), report, catalog.network)
            for i, rule in enumerate(raw.firewall.rules)
        ),
        docker_stacks=tuple(deployments),
        mounts=nfs_keys.mounts(
            raw.volumes, entry.kind, entry.source, nfs_server or resolver, report
        ),
    )
    return guest, tuple(routes)


def _guards(raw: RawGuest, left_alone: LeftAloneList) -> bool:
    return "guard" not in left_alone and raw.firewall.guard and raw.firewall.enabled


def left_alone_of(of_host: LeftAloneList | None, general: LeftAloneList) -> LeftAloneList:
    """What a host keeps as it is: its own list; where it has none, the site's. Each word once."""
    return tuple(dict.fromkeys(general if of_host is None else of_host))


def login_of(*raws: RawLoginBy) -> SshLogin:
    """A log-in by several declarations, of which a later one goes before an earlier one."""
    words = {
        key: value
        for raw in raws
        for key, value in raw.model_dump(exclude_none=True).items()
        if key in SshLogin.model_fields
    }
    return SshLogin(**words)


def _project_fault(deployment: Deployment, others: Sequence[Deployment]) -> tuple[str, str] | None:
    """Why a stack cannot have its name in Docker on this guest, and the fix."""
    project = deployment.project
    if project in (SERVER_PROJECT, AGENT_PROJECT):
        return (
            f"{project} is Phoenix's own name for Portainer in Docker",
            "give the stack's folder or its environment another name",
        )
    other = next((candidate for candidate in others if candidate.project == project), None)
    if other is None:
        return None
    if (other.name, other.environment) == (deployment.name, deployment.environment):
        return f"{project} is deployed twice", "keep one entry"
    both = f"{deployment.name} in {deployment.environment} and {other.name} in {other.environment}"
    return (
        f"{both} are both {project} in Docker",
        "give one of the two folders or environments another name",
    )


def _check_docker_names(
    entry: Entry,
    deployment: Deployment,
    portainer_role: Literal["server", "agent"] | None,
    catalog: StackCatalog,
) -> None:
    """Refuse a stack that takes what Portainer has on this guest, by its name in Docker."""
    for kind, name, path in catalog.docker_names[deployment.name, deployment.environment]:
        if (portainer_role, kind, name) not in _OF_PORTAINER:
            continue
        harm = (
            "the stack would have all that Portainer knows"
            if kind == "volume"
            else ("Docker has one container of a name")
        )
        catalog.report.error(
            deployment.compose_label,
            path,
            f"{kind} {name} is Portainer's own on {entry.label}: {harm}",
            f"give the {kind} another name, or leave its name to Compose",
        )


_OF_PORTAINER = (
    ("server", "volume", SERVER_VOLUME),
    ("server", "container", SERVER_CONTAINER),
    ("agent", "container", AGENT_CONTAINER),
)


def _no_docker(entry: Entry, deployment: Deployment) -> tuple[str, str]:
    """Why no stack can be deployed on a guest without Docker, and the fix."""
    key = 'the feature "docker"' if entry.raw.role else '"role": "docker"'
    return (
        f"{deployment.project} would never be deployed: {entry.label} has no Docker",
        f"write {key} in the entry of {entry.label}, or name the stack at a Docker host",
    )


def _portainer_stack(entry: Entry, deployment: Deployment, at: Source, report: Report) -> None:
    """Tell that a stack which is Portainer itself is left to Portainer's component."""
    report.warn(
        at.file,
        at.path,
        f"{deployment.project} is not deployed: it is Portainer itself, which Phoenix runs on "
        f"{entry.label}. The stack's variables, files and firewall rules are not used",
        "remove the entry and the stack's folder",
    )


def _is_own(entry: Entry, route: StackRoute, report: Report) -> bool:
    """Whether a route of the stack that is Portainer is the guest's own, refused if it is not."""
    service = entry.raw.traefik_service
    if service is not None and service.name == route.raw.name:
        return True
    report.error(
        route.source.file,
        route.source.path,
        f"service {route.raw.name!r} would lead to a Portainer that is not deployed",
        f"declare Portainer as traefik_service of {entry.label}, and remove the stack",
    )
    return False


def check(entry: Entry, report: Report) -> None:
    """Report what is wrong with an entry by itself, whatever the site is."""
    _check_name(entry, report)
    _check_features(entry, report)
    nfs_keys.mounts(entry.raw.volumes, entry.kind, entry.source, None, report)
    _nameservers(entry, report)


def reserved_name_fault(name: str) -> tuple[str, str]:
    """Why no host may be called so, and the fix."""
    return (
        (
            f"{name!r} is the name by which every machine calls itself (RFC 6761, section 6.3; "
            f"/etc/hosts)"
        ),
        "use another name, of letters, digits and inner hyphens",
    )


def _check_name(entry: Entry, report: Report) -> bool:
    where = entry.at("name")
    if not LABEL.match(entry.label):
        report.error(
            *where,
            f"{entry.raw.name!r} is not a host name label (RFC 1123)",
            "use 1 to 63 letters, digits and inner hyphens",
        )
        return False
    if is_reserved_name(entry.label):
        report.error(*where, *reserved_name_fault(entry.label))
        return False
    if is_number(entry.label):
        report.warn(
            *where,
            f"{entry.raw.name!r} is a number: `ping {entry.label}` and others take it for an IPv4 "
            "address (inet_aton(3))",
            f"put a letter in it, as n{entry.label}",
        )
    if "." in entry.raw.name:
        report.warn(
            *where,
            f"{entry.raw.name!r} is not a single label; the host is called {entry.label!r}",
            f"write {entry.label!r}",
        )
    return True


def _check_features(entry: Entry, report: Report) -> None:
    raw: RawGuest = entry.raw
    for position, feature in enumerate(raw.features):
        where = entry.at(f"features[{position}]")
        if feature in FOREIGN_FEATURES:
            message = f"Phoenix does not manage {feature!r}: its software stays with you"
            report.warn(*where, message, "install it yourself, and remove the word")
        elif feature not in FEATURES and not container_keys.is_of_proxmox(feature):
            report.warn(*where, f"unknown feature {feature!r}", f"use one of: {listed(FEATURES)}")
    inferred = _ROLE_OF_PORTAINER_ROLE.get(raw.portainer_role)
    if inferred and inferred != raw.role and inferred not in raw.features:
        report.warn(
            *entry.at("portainer_role"),
            f"role {inferred!r} is inferred from portainer_role {raw.portainer_role!r}",
            f'write "role": "{inferred}"',
        )
    if raw.portainer_role == "agent" and "portainer" in entry.roles():
        report.error(
            *entry.at("portainer_role"),
            f"{entry.label} has role portainer, so it gets Portainer's server and no agent",
            'write "portainer_role": "server", or give the agent to another guest',
        )
    agent_keys = ("portainer_agent_hostname", "portainer_environment_name")
    for key in agent_keys:
        if not getattr(raw, key) or raw.portainer_role == "agent":
            continue
        if key == "portainer_environment_name" and "portainer" in entry.roles():
            continue  # of its own Docker, where it has stacks
        report.warn(*entry.at(key), "only a guest with an agent has this key", "remove it")


def _dns_records(entry: Entry, domain: str, report: Report) -> tuple[ExtraRecord, ...]:
    records = []
    for position, raw in enumerate(entry.raw.dns_records):
        file, path = entry.at(f"dns_records[{position}]")
        name = raw.hostname if "." in raw.hostname else f"{raw.hostname}.{domain}"
        if not is_name(name) or not in_zone(name, domain):
            report.error(
                file, f"{path}.hostname", f"{raw.hostname!r} is not a name in {domain}",
                "use a lower-case label",
            )  # fmt: skip
        elif raw.ip.prefixlen != 32:
            report.error(file, f"{path}.ip", "is a network", "write one address")
        else:
            records.append(ExtraRecord(name=name, address=raw.ip.network_address))
    return tuple(records)
