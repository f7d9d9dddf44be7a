"""Loading the site: its JSON files and `stacks/` become one frozen, checked Site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from phoenix.declaration import (
    backups,
    certificate_manifest,
    cluster_rules,
    conflicts,
    derived_values,
    docker_host_conflicts,
    external,
    external_portainer,
    guests,
    hypervisor_file,
    ignored_keys,
    logins,
    networks,
    nfs_keys,
    route_targets,
    services,
    shared_volumes,
    stack_places,
    stray_files,
    swarm,
    swarm_stacks,
    virtual_address,
)
from phoenix.declaration.guests import Entry
from phoenix.declaration.json_errors import join, read_object, readdress, validate
from phoenix.declaration.json_keys import (
    RawLoginBy,
    RawLxc,
    RawLxcFile,
    RawNfs,
    RawSite,
    RawVm,
    RawVmDefaults,
    RawVmFile,
)
from phoenix.declaration.stacks import StackCatalog, firewall_rule
from phoenix.declaration.value_types import shown_value
from phoenix.site.addressing import static_addresses
from phoenix.site.findings import ConfigError, Report
from phoenix.site.model import Host, Interface, Site, Source
from phoenix.site.names import host_name, impossible_zone, in_zone, is_name, is_reserved_name

LXC_FILE = "phoenix_lxc_configs.json"
VM_FILE = "phoenix_vm_configs.json"
_FILES = (
    LXC_FILE,
    VM_FILE,
    hypervisor_file.HYPERVISOR_FILE,
    stack_places.STACKS_FILE,
    certificate_manifest.FILE,
)
ENVIRONMENT = "production"
_LONGEST_DOMAIN = 180  # with a label of 63 and the zone of hosts in front, a name has 253 at most
_ID_RANGE = (100, 999_999_999)  # Proxmox VE's own limits


def load_site(
    inventories: Path,
    stacks: Path | None = None,
    *,
    environment: str | None = None,
    subnet: IPv4Network | None = None,
) -> Site:
    """Load, check and derive the site.

    Args:
        inventories: the directory with the JSON files; that of the hypervisor may be left out.
        stacks: the directory of the stacks; by default `stacks` inside `inventories`, else beside
            it.
        environment: that of stacks deployed without their own; else `site.environment` of the
            file, else production.
        subnet: the network to move the whole site into, of the same size, host parts kept: the
            lab uses it.

    Returns:
        The site; what is odd but works is in its `warnings`.

    Raises:
        ConfigError: what cannot work: every error found, each with file, JSON path and fix.
    """
    report = Report()
    lxc_data = read_object(inventories / LXC_FILE, LXC_FILE, report)
    vm_data = read_object(inventories / VM_FILE, VM_FILE, report)
    top = validate(RawLxcFile, lxc_data, LXC_FILE, "", report) if lxc_data is not None else None
    vm_top = validate(RawVmFile, vm_data, VM_FILE, "", report) if vm_data is not None else None
    folder = stacks or next(
        (path for path in (inventories / "stacks", inventories.parent / "stacks") if path.is_dir()),
        inventories / "stacks",
    )
    places = stack_places.read(inventories, folder, report)
    stray_files.check(inventories, _FILES, places, report)
    raw_site = validate(RawSite, top.site, LXC_FILE, "site", report) if top else None
    host_file = hypervisor_file.read(inventories, report)
    if raw_site:
        raw_site = hypervisor_file.completed(raw_site, host_file, LXC_FILE, report)
    place = _place(raw_site, subnet, report) if raw_site else None
    defaults = (
        validate(RawVmDefaults, vm_top.vm_defaults, VM_FILE, "vm_defaults", report)
        if vm_top
        else None
    )
    if raw_site is None or place is None or top is None or vm_top is None or defaults is None:
        # Not the whole of it can be compared; what is wrong in each part is told all the same.
        _check_parts(top, vm_top, StackCatalog(places, RawSite().domain, report, _same), report)
        raise ConfigError(report.errors, report.warnings)
    hypervisor, network, move = place
    known = networks.networks(host_file.moved(move), hypervisor, report)
    own = tuple(networks.hypervisor_interfaces(known, hypervisor.managed))
    hypervisor = hypervisor.model_copy(update={"interfaces": own})
    hypervisor = _sharing(hypervisor, host_file.raw.nfs, move, report)

    entries = shared_volumes.with_mounts(
        (*_lxc_entries(top, move, report), *_vm_entries(vm_top, move, report)),
        host_file.raw.shared_volumes,
        hypervisor_file.HYPERVISOR_FILE,
        report,
    )
    entries = tuple(conflicts.without_copies(entries, report))
    whole = len(entries) == len(top.lxc_configs) + len(vm_top.vms)
    cloned = frozenset(entry.clone_from for entry in entries)
    templates = [entry for entry in entries if guests.is_template(entry, cloned)]
    running = {entry.vmid: entry for entry in entries if entry not in templates}
    declared_ids = {*_declared_ids(top, vm_top), *(entry.vmid for entry in entries)}
    conflicts.duplicates(entries, hypervisor, report)
    networks.addresses(entries, hypervisor, known, report)
    cards = {
        entry.vmid: networks.interfaces(entry, known, defaults, report, runs=entry.vmid in running)
        for entry in entries
    }
    networks.tell_unused(known, cards.values(), report)
    conflicts.references(entries, declared_ids, [entry.vmid for entry in templates], report)
    distinct = len({entry.vmid for entry in entries}) == len(entries)
    order = conflicts.order(running, report) if distinct else tuple(running)
    whole = whole and distinct  # else a guest stands for another, whose role nobody seems to have

    catalog = StackCatalog(places, raw_site.domain, report, move, network)
    nfs_server = _nfs_server(host_file.raw.network.nfs_server, hypervisor, move)
    declared = []
    for vmid in order:
        entry = running[vmid]
        result = guests.host(
            entry,
            domain=raw_site.domain,
            environment=environment or raw_site.environment or ENVIRONMENT,
            interfaces=cards[vmid],
            resolver=networks.resolver(cards[vmid], known, hypervisor),
            nfs_server=nfs_server,
            guard=raw_site.guard,
            leave_alone=raw_site.leave_alone,
            logins=partial(_logins, raw_site),
            dependencies=tuple(d for d in dict.fromkeys(entry.raw.dependencies) if d in running),
            defaults=defaults,
            catalog=catalog,
            report=report,
        )
        if result:
            host = result[0].model_copy(
                update={"swarm": swarm.node(entry, result[0].roles, report)}
            )
            declared.append((host, entry, result[1]))
    hypervisor, *ruled = cluster_rules.with_cluster_rules(
        host_file.raw.firewall, hypervisor, [host for host, _, _ in declared], move, report
    )
    declared = [
        (host, entry, routes) for host, (_, entry, routes) in zip(ruled, declared, strict=True)
    ]
    if whole:
        catalog.warn_unused()
    catalog.check_others()
    catalog.secrets.check(report)
    far = tuple(external.read(top, LXC_FILE, inventories, move, report))
    subnets = [known_network.subnet for known_network in known if known_network.subnet is not None]
    site_services = services.derive(declared, far, raw_site.domain, subnets, report)
    nodes = [host for host, _, _ in declared if host.swarm is not None]
    nodes.sort(key=lambda host: not host.is_manager)
    site_services = swarm_stacks.spread(site_services, nodes)
    elsewhere = external_portainer.read(raw_site.portainer, LXC_FILE, inventories, move, report)
    site = Site(
        domain=raw_site.domain,
        environment=environment or raw_site.environment or ENVIRONMENT,
        network=network,
        networks=known,
        hypervisor=hypervisor,
        guests=tuple(host for host, _, _ in declared),
        templates=tuple(guests.template(e, cards[e.vmid], defaults, report) for e in templates),
        services=site_services,
        warnings=(),
        external_portainer=elsewhere,
        timezone=host_file.raw.timezone,
        upstreams=host_file.raw.dns_server.upstream_servers,
        swarm_networks=swarm.networks(raw_site.swarm_networks, known, LXC_FILE, report),
    )
    routed = bool(far) or any(
        s.kind in ("backend", "redirect", "tcp") and s.exposure == "gateway" for s in site_services
    )
    whole = whole and len(declared) == len(running)  # else a role may be that of a faulty guest
    # A second guest of a name may be the one that is meant by another.
    named = len({entry.label for entry in entries}) == len(entries)
    watched_by = _watched_by(raw_site.watcher, site, report, whole=whole and named)
    scraped_from = _scraped_from(raw_site, site, move, report, whole=whole)
    site = site.model_copy(update={"watched_by": watched_by, "scraped_from": scraped_from})
    site = site.model_copy(
        update={
            "backups": backups.read(raw_site.backups),
            "virtual_addresses": virtual_address.read(
                raw_site.virtual_address, move, LXC_FILE, report
            ),
        }
    )
    backups.check(site, raw_site.backups, LXC_FILE, report)
    conflicts.roles(
        *(site.guests, LXC_FILE), routed=routed, whole=whole,
        elsewhere=raw_site.portainer is not None, report=report,
    )  # fmt: skip
    virtual_address.check(site, LXC_FILE, report, whole=whole)
    external_portainer.check(elsewhere, site.guests, LXC_FILE, report)
    ignored_keys.check(
        site, [(host, entry) for host, entry, _ in declared],
        *(raw_site.hypervisor, LXC_FILE, report),
    )  # fmt: skip
    logins.check(
        raw_site,
        [(hypervisor, raw_site.hypervisor.login), *((h, e.raw.login) for h, e, _ in declared)],
        *(conflicts.served_ports(site), LXC_FILE, report),
    )
    conflicts.proven(site, report)
    conflicts.host_ports(site, report)
    conflicts.gateway_ports(site, report)
    docker_host_conflicts.check(site, catalog, report)
    route_targets.check(site, report)
    conflicts.environments(site, report)
    conflicts.names(site, report)
    conflicts.resolvers(site, report)
    conflicts.forwarding(site, report)
    conflicts.firewall_rules(site, report)
    conflicts.senders(site, report)
    networks.outer_names(site, report)
    swarm.check(site, LXC_FILE, report)
    swarm_stacks.check(site, report)
    nfs_keys.check(site, report)
    if move is _same and not report.errors:  # a re-addressed site is elsewhere
        derived_values.check(host_file.raw, site, report)
    certificate_manifest.check(inventories, site, report)
    report.raise_errors()
    return site.model_copy(update={"warnings": report.warnings})


def _watched_by(name: str | None, site: Site, report: Report, *, whole: bool) -> str:
    """The name of the host that `site.watcher` means; empty where none does."""
    if name is None:
        return ""
    watcher = site.hosts_by_key.get(name.lower())
    if name == "hypervisor":
        if watcher not in (None, site.hypervisor):
            report.error(
                LXC_FILE, "site.watcher",
                "means the Proxmox VE node, and a guest is called hypervisor as well",
                f"write {site.hypervisor.name}, or the guest's id; or rename the guest",
            )  # fmt: skip
        return site.hypervisor.name
    if watcher is None and whole:  # else it may be a guest whose entry is faulty
        report.error(
            LXC_FILE, "site.watcher", f"no host is called {shown_value(name)}",
            f'write "hypervisor", or one of {", ".join(host.name for host in site.guests)}',
        )  # fmt: skip
    return watcher.name if watcher else ""


def _scraped_from(
    raw: RawSite, site: Site, move: Callable[[Any], Any], report: Report, *, whole: bool
) -> str:
    """The address that `site.scraper` means; empty where nobody reads metrics."""
    if raw.scraper is None:
        return ""
    if raw.watcher is None:
        report.error(
            LXC_FILE, "site.scraper", "no host watches the site, so there are no metrics",
            'write "watcher" as well, or remove the key',
        )  # fmt: skip
        return ""
    name = str(move(raw.scraper))
    if name == "hypervisor":
        return str(site.hypervisor.address)
    host = site.hosts_by_key.get(name.lower())
    if host is not None:
        return str(host.address)
    try:
        return str(IPv4Address(name))
    except ValueError:
        if whole:  # else it may be a guest whose entry is faulty
            report.error(
                LXC_FILE, "site.scraper",
                f"{shown_value(name)} is not a host of the site and no IPv4 address",
                'write the name or id of a guest, "hypervisor", or an address as 192.168.1.30',
            )  # fmt: skip
        return ""


def _sharing(host: Host, raw: RawNfs, move: Callable[[Any], Any], report: Report) -> Host:
    """The hypervisor with what it shares by NFS."""
    shares = RawNfs.model_validate(move(raw.model_dump(mode="json"))).exports
    exports = nfs_keys.exports(shares, hypervisor_file.HYPERVISOR_FILE, report)
    return host.model_copy(update={"exports": exports})


def _nfs_server(
    declared: IPv4Address | None, hypervisor: Host, move: Callable[[Any], Any]
) -> IPv4Address | None:
    """The server of volumes that name none; None: the hypervisor, in the guest's own network."""
    moved = IPv4Address(move(str(declared))) if declared else None
    return None if moved in static_addresses(hypervisor) else moved


def _same(data: Any) -> Any:
    return data


def _place(
    raw: RawSite, subnet: IPv4Network | None, report: Report
) -> tuple[Host, IPv4Network, Callable[[Any], Any]] | None:
    """The hypervisor, the site's network, and what re-addresses; None with the reason reported."""
    before = len(report.errors)
    declared = raw.hypervisor.ip
    if declared is not None and not hypervisor_file.has_hosts(declared.network):
        report.error(
            LXC_FILE, "site.hypervisor.ip", f"{declared.network} {hypervisor_file.NO_HOSTS}",
            'write the address of your own network, as "10.0.0.13/24"',
        )  # fmt: skip
    move = _readdressing(raw, subnet, report)
    if subnet and move is not _same:
        raw = RawSite.model_validate(move(raw.model_dump(mode="json")))
    hypervisor = _hypervisor(raw, report)
    return (*hypervisor, move) if hypervisor and len(report.errors) == before else None


def _check_parts(
    top: RawLxcFile | None, vm_top: RawVmFile | None, catalog: StackCatalog, report: Report
) -> None:
    """Report what is wrong in each entry and stack by itself."""
    entries = [*(_lxc_entries(top, _same, report) if top else ())]
    entries += _vm_entries(vm_top, _same, report) if vm_top else ()
    for entry in entries:
        guests.check(entry, report)
    catalog.check_others()


def _readdressing(raw: RawSite, subnet: IPv4Network | None, report: Report) -> Callable[[Any], Any]:
    """The function that re-addresses JSON data into `subnet`; the identity if there is none."""
    if subnet is None or raw.hypervisor.ip is None:  # reported by `_hypervisor`
        return _same
    old = raw.hypervisor.ip.network
    if subnet.prefixlen != old.prefixlen:
        report.error(
            "subnet",
            "",
            f"{subnet} is not of the size of the site's network {old}",
            f"choose a network with prefix length {old.prefixlen}",
        )
        return _same
    new = subnet
    return lambda data: readdress(data, old, new)


def _is_domain(name: str) -> bool:
    return is_name(name) and "." in name and len(name) <= _LONGEST_DOMAIN


def _hypervisor(raw: RawSite, report: Report) -> tuple[Host, IPv4Network] | None:
    config, path = raw.hypervisor, "site.hypervisor"
    if not _is_domain(raw.domain):
        lower = raw.domain.lower()
        report.error(
            LXC_FILE, "site.domain", f"{raw.domain!r} is not a domain name",
            f'write it in lower case: "{lower}"' if _is_domain(lower) else
            f"write a lower-case DNS name with a dot, as internal.example.com, of at most "
            f"{_LONGEST_DOMAIN} characters",
        )  # fmt: skip
    elif why := impossible_zone(raw.domain):
        report.error(
            LXC_FILE, "site.domain", f"{raw.domain!r} cannot be the site's domain: {why}",
            "write a domain that is yours, as internal.example.com, or one below home.arpa or "
            "internal, which nobody owns",
        )  # fmt: skip
    elif in_zone(raw.domain, "local"):
        report.warn(
            LXC_FILE, "site.domain",
            f"{raw.domain!r}: machines with multicast DNS ask their network for names in .local, "
            "and no name server (RFC 6762, section 3)",
            "write a domain that is yours, or one below home.arpa or internal",
        )  # fmt: skip
    if is_reserved_name(config.name):
        report.error(LXC_FILE, f"{path}.name", *guests.reserved_name_fault(config.name))
    interface = config.ip
    if interface is None:
        report.error(LXC_FILE, f"{path}.ip", *hypervisor_file.FIXED)
        return None
    network = interface.network
    gateway = config.gateway.network_address
    if gateway not in network or gateway == interface.ip:
        report.error(
            LXC_FILE, f"{path}.gateway", f"{gateway} is not a usable router address of {network}",
            "write the router's address in that network",
        )  # fmt: skip
    if interface.ip in (network.network_address, network.broadcast_address):
        report.error(
            LXC_FILE, f"{path}.ip", f"{interface.ip} is the network's own or broadcast address",
            f"use a host address of {network}",
        )  # fmt: skip
    left_alone = guests.left_alone_of(config.leave_alone, raw.leave_alone)
    host = Host(
        name=config.name,
        vmid=None,
        kind="hypervisor",
        address=interface.ip,
        prefixlen=network.prefixlen,
        interfaces=(
            Interface(
                name="vmbr0",
                network="",
                bridge="vmbr0",
                vlan=None,
                address=interface.ip,
                prefixlen=network.prefixlen,
                gateway=gateway,
                mac=None,
            ),
        ),
        nameservers=(interface.ip,),
        memory_mb=None,
        swap_mb=None,
        cores=None,
        disk_gb=None,
        storage_pool=None,
        features=(),
        unprivileged=False,
        start_at_boot=True,
        boot_order=0,
        boot_delay=0,
        image=None,
        clone_from=None,
        snapshot_name=None,
        username=None,
        source=Source(file=LXC_FILE, path=path),
        roles=frozenset({"hypervisor"}),
        groups=("hypervisor",),
        fqdn=host_name(config.name, raw.domain),
        dependencies=(),
        portainer_role=None,
        portainer_environment=config.name,
        dns_records=(),
        firewall_enabled=True,
        guarded=raw.guard and config.firewall.guard and "guard" not in left_alone,
        left_alone=left_alone,
        login=guests.login_of(*_logins(raw, ("hypervisor",)), config.login),
        firewall_rules=tuple(
            firewall_rule(rule, LXC_FILE, f"{path}.firewall.rules[{i}]", report, network)
            for i, rule in enumerate(config.firewall.rules)
        ),
        docker_stacks=(),
    )
    return host, network


def _logins(raw: RawSite, groups: Sequence[str]) -> list[RawLoginBy]:
    """The log-ins of a host in these groups: the site's, then those of its groups in order."""
    of_groups: dict[str, RawLoginBy] = dict(raw.logins.items())
    return [raw.login, *(of_groups[group] for group in groups if group in of_groups)]


def _lxc_entries(top: RawLxcFile, move: Callable[[Any], Any], report: Report) -> list[Entry]:
    entries = []
    for key, data in top.lxc_configs.items():
        path = join("lxc_configs", key)
        vmid = _id(key)
        if vmid is None:
            report.error(
                LXC_FILE, path, f"{shown_value(key)} is not a guest id", "use a number from 100 up"
            )
        raw = validate(RawLxc, move(data), LXC_FILE, path, report)
        if raw and vmid is not None:
            entries.append(Entry(vmid, "lxc", raw, Source(file=LXC_FILE, path=path)))
    return entries


def _vm_entries(top: RawVmFile, move: Callable[[Any], Any], report: Report) -> list[Entry]:
    entries = []
    for position, data in enumerate(top.vms):
        path = join("vms", position)
        raw = validate(RawVm, move(data), VM_FILE, path, report)
        if raw:
            entries.append(Entry(raw.vmid, "vm", raw, Source(file=VM_FILE, path=path)))
    return entries


def _id(value: Any) -> int | None:
    text = str(value) if isinstance(value, (int, str)) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_ID_RANGE[1]))):
        return None
    number = int(text)
    return number if _ID_RANGE[0] <= number <= _ID_RANGE[1] else None


def _declared_ids(top: RawLxcFile, vm_top: RawVmFile) -> set[int]:
    """All ids that the files name, those of unusable entries too."""
    keys = [*top.lxc_configs, *(vm.get("vmid") for vm in vm_top.vms if isinstance(vm, dict))]
    return {number for number in map(_id, keys) if number is not None}
