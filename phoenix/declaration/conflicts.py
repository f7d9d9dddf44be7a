"""What cannot work although each entry is well formed: clashes and gaps between entries."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from itertools import accumulate, product
from operator import attrgetter
from typing import NamedTuple

from phoenix.declaration.guests import Entry
from phoenix.declaration.json_errors import join, listed
from phoenix.declaration.networks import cards
from phoenix.declaration.order import DependencyCycleError, dependency_order
from phoenix.derived import control_plane, deployments, dns, firewall, swarm
from phoenix.derived.certificates import TLS_VARIABLE, HostCertificate, certificates
from phoenix.derived.routes import routes, tcp_services
from phoenix.site import ports
from phoenix.site.addressing import address_pair, name_servers, served_networks
from phoenix.site.addressing import static_addresses as addresses_of
from phoenix.site.findings import Report
from phoenix.site.model import FirewallRule, Host, PublishedPort, Service, Site, Source
from phoenix.site.names import in_zone
from phoenix.site.roles import CHAIN, MAX_NAME_SERVERS, SINGLE_ROLES


def duplicates(entries: Sequence[Entry], hypervisor: Host, report: Report) -> None:
    """Refuse an id, host name, MAC or IP address that two guests share."""
    vmids: dict[object, str] = {}
    names: dict[object, str] = {hypervisor.name: "the hypervisor"}
    macs: dict[object, str] = {}
    ids = {str(entry.vmid): entry for entry in entries}
    addresses: dict[object, str] = {}
    for entry in entries:
        other = ids.get(entry.label, entry)
        if other is not entry:
            report.error(
                *entry.at("name"),
                f"host name {entry.label} is the id of {other.label}: a name may be no other's id",
                "rename one of the two",
            )
        id_key = "vmid" if entry.kind == "vm" else ""
        for key, kind, value, owners, fix in (
            (id_key, "vmid", entry.vmid, vmids, "give one of the two a free id"),
            ("name", "host name", entry.label, names, "rename one of the two"),
            *(
                (card.mac_key, "MAC address", card.mac, macs, "change one of the two")
                for card in cards(entry)
            ),
            *(
                (
                    f"{card.key}.ip",
                    "IP address",
                    card.raw.ip and card.raw.ip.ip,
                    addresses,
                    "give one of them a free address",
                )
                for card in cards(entry)
            ),
        ):
            if value is None:
                continue
            first = owners.setdefault(value, f"{entry.source.file}: {entry.source.path}")
            if first != f"{entry.source.file}: {entry.source.path}":
                path = join(entry.source.path, key) if key else entry.source.path
                report.error(
                    entry.source.file, path, f"duplicate {kind} {value}: {first} has it", fix
                )


def without_copies(entries: Sequence[Entry], report: Report) -> list[Entry]:
    """The entries without those that are another one under a new id, each of which is one error.

    A person copied it and has not changed what must differ: all that follows would be told again.
    """
    first: dict[tuple[str, str], Entry] = {}
    result = []
    for entry in entries:
        own = (entry.kind, entry.raw.model_dump_json(exclude={"vmid"}))
        other = first.setdefault(own, entry)
        if other is entry or other.vmid == entry.vmid:
            result.append(entry)
            continue
        report.error(
            entry.source.file, entry.source.path,
            f"is a copy of {other.source.file}: {other.source.path} ({other.label}) under another "
            "id",
            "give it a name, an address, a MAC address and services of its own, or remove it",
        )  # fmt: skip
    return result


def references(
    entries: Sequence[Entry], vmids: Iterable[int], templates: Iterable[int], report: Report
) -> None:
    """Refuse a dependency or clone source that no file declares, or that cannot be one.

    `vmids` has all declared ids, those of unusable entries too, so that one mistake is one error.
    """
    vmids, templates = set(vmids), set(templates)
    by_id = {entry.vmid: entry for entry in entries}
    for entry in entries:
        for position, dependency in enumerate(entry.raw.dependencies):
            where = entry.at(f"dependencies[{position}]")
            if dependency not in vmids:
                report.error(
                    *where,
                    f"no guest has id {dependency}",
                    "declare that guest, or remove the entry",
                )
            elif dependency in templates and entry.vmid not in templates:
                report.error(
                    *where, f"guest {dependency} is a template and never runs", "remove it"
                )
        source = entry.clone_from
        if source is not None and source not in vmids:
            key = "clone_from_ctid" if entry.kind == "lxc" else "clone_from_vmid"
            report.error(
                *entry.at(key), f"no guest has id {source}", "declare that template, or correct it"
            )
        elif source is not None and source in by_id:
            _check_clone(entry, by_id, report)


def _check_clone(entry: Entry, by_id: Mapping[int, Entry], report: Report) -> None:
    """Refuse a clone of what is of another kind, or of itself, be it by others."""
    path = entry.at("clone_from_ctid" if entry.kind == "lxc" else "clone_from_vmid")
    source = by_id[entry.clone_from or 0]
    if source.kind != entry.kind:
        kinds = {"lxc": "a container", "vm": "a VM"}
        report.error(
            *path,
            f"guest {source.vmid} is {kinds[source.kind]}, and {kinds[entry.kind]} is cloned from "
            "one of its own kind",
            "write the id of another template",
        )
    passed = [entry.vmid]
    at: Entry | None = source
    while at is not None and at.vmid not in passed:
        passed.append(at.vmid)
        at = by_id.get(at.clone_from) if at.clone_from is not None else None
    if at is entry and entry.vmid == min(passed):
        circle = " -> ".join(map(str, [*passed, entry.vmid]))
        report.error(
            *path,
            f"the guest would be cloned from itself: {circle}",
            "write the id of a template that is made from an image",
        )


def order(entries: Mapping[int, Entry], report: Report) -> tuple[int, ...]:
    """Ids of running guests in dependency order; a cycle is shown in full and refused."""
    dependencies = {
        vmid: tuple(d for d in entry.raw.dependencies if d in entries)
        for vmid, entry in entries.items()
    }
    boot = {vmid: entry.raw.boot_order for vmid, entry in entries.items()}
    try:
        result = dependency_order(dependencies, boot)
    except DependencyCycleError as error:
        first = entries[error.cycle[0]]
        report.error(
            *first.at("dependencies"),
            f"guests depend on each other in a circle: {error}",
            "remove one of these dependencies",
        )
        return tuple(entries)
    for vmid in result:
        late = [d for d in dependencies[vmid] if boot[d] > boot[vmid]]
        if late and entries[vmid].raw.start_at_boot:
            report.warn(
                *entries[vmid].at("boot_order"),
                f"guest {vmid} boots before {late[0]}, which it depends on",
                f"write a boot_order above {boot[late[0]]}",
            )
    return result


def roles(
    guests: Sequence[Host],
    site_file: str,
    *,
    routed: bool,
    whole: bool,
    elsewhere: bool,
    report: Report,
) -> None:
    """Refuse two guests in a role for one, and whatever needs a role that is not taken.

    Args:
        guests: the running guests.
        site_file: the file that a missing role is reported at.
        routed: whether a service with exposure gateway is declared.
        whole: whether `guests` are all that are declared; a faulty one may have the role.
        elsewhere: whether Portainer is none of the guests.
        report: takes the errors.
    """
    for host in [host for host in guests if "name_server" in host.roles][MAX_NAME_SERVERS - 1 :]:
        report.error(
            host.source.file,
            f"{host.source.path}.role",
            f"too many name servers: with the hypervisor, a host asks {MAX_NAME_SERVERS} at "
            "most (resolv.conf(5))",
            f"give the role name_server to {MAX_NAME_SERVERS - 1} guests at most",
        )
    for role in SINGLE_ROLES:
        holders = [host for host in guests if role in host.roles]
        for host in holders[1:]:
            report.error(
                host.source.file,
                f"{host.source.path}.role",
                f"a second guest with role {role!r}; {holders[0].name} has it",
                "give the role to one guest only",
            )
    taken_roles = {role for host in guests for role in host.roles}
    if "portainer" not in taken_roles and whole and not elsewhere:
        _agents_without_server(guests, report)
    for role in CHAIN:
        if whole and routed and role not in taken_roles:
            report.error(
                site_file,
                "",
                f"services are routed, but no guest has role {role!r}",
                f'write "role": "{role}" in the entry of the guest that is to have it',
            )


def proven(site: Site, report: Report) -> None:
    """Refuse what needs a certificate that its guest never gets.

    The gateway and Traefik have each a pair for their own port, and no pair of their guest.
    """
    both = [host for host in site.gateways if host in site.traefiks]
    for host in both:
        report.error(
            host.source.file,
            f"{host.source.path}.role",
            f"{host.name} is to be both the gateway and Traefik, which need the same port "
            f"{ports.HTTPS}",
            "give one of the two roles to another guest",
        )
    if both:
        return
    held = {
        (certificate.host.name, name)
        for certificate in certificates(site)
        if certificate.challenge == "standalone" and certificate.host not in site.traefiks
        for name in certificate.sans
    }
    for host in site.guests:
        if host.portainer_role is not None and (host.name, host.fqdn) not in held:
            occupant = "Portainer" if host.portainer_role == "server" else "Portainer's agent"
            report.error(
                host.source.file,
                f"{host.source.path}.role",
                f"{occupant} would have no certificate on {host.name}, which is "
                f"{_front(site, host)}",
                "give one of the two roles to another guest",
            )
    for service in site.services:
        name = service.server_name
        if service.kind != "backend" or not service.has_tls or not service.deployment:
            continue
        if in_zone(name, site.domain) and (service.owner.name, name) not in held:
            report.error(
                service.source.file,
                service.source.path,
                f"{service.name} would have no certificate on {service.owner.name}, which is "
                f"{_front(site, service.owner)}",
                "deploy the stack on another guest",
            )
    _stack_pairs(site, report)


def _stack_pairs(site: Site, report: Report) -> None:
    """Refuse stacks that mount a certificate of another, and names that are in two certificates.

    Whoever has a key for a name can pass for it, so each name is one stack's, or the host's own.
    """
    owners: dict[str, HostCertificate] = {}
    pairs: dict[tuple[str, str], HostCertificate] = {}
    for certificate in certificates(site):
        pairs[certificate.host.name, certificate.project] = certificate
        for name in certificate.sans:
            first = owners.setdefault(name, certificate)
            if first is not certificate and first.host == certificate.host:  # else `names` tells it
                report.error(
                    *_claimant(site, name),
                    f"{name} would be in two certificates, {first.name} of {first.host.name} and "
                    f"{certificate.name} of {certificate.host.name}: one could pass for the other",
                    "leave server_name out, or write a name of its own",
                )
    for host in site.guests:
        for stack in host.docker_stacks:
            mounts = any(variable.name == TLS_VARIABLE for variable in stack.variables)
            if mounts and (host.name, stack.project) not in pairs:
                report.error(
                    stack.source.file,
                    stack.source.path,
                    f"the compose file uses {TLS_VARIABLE}, and on {host.name} the stack gets no "
                    "certificate: no service of it speaks HTTPS",
                    'write "tls": {} there, or "scheme": "https" in the traefik_service',
                )


def _front(site: Site, host: Host) -> str:
    return "the gateway" if host in site.gateways else "Traefik's guest"


def _agents_without_server(guests: Sequence[Host], report: Report) -> None:
    for host in guests:
        if host.portainer_role == "agent":
            report.error(
                host.source.file,
                f"{host.source.path}.portainer_role",
                f"no guest has the role portainer, so nothing would use the agent of {host.name}",
                'write "role": "portainer" in the entry of the guest that is to have it, or the '
                "URL of one elsewhere in site.portainer",
            )


def host_ports(site: Site, report: Report) -> None:
    """Refuse a port that is wanted twice on one guest: by the guest, its services or its stacks."""
    own = _own_services(site)
    needed = _needed_ports(site)
    for host, service in product(site.gateways, tcp_services(site)):
        user = f"the gateway, for the service {service.name}"
        needed[host.name].setdefault((service.gateway_port, "tcp"), user)
    for host in site.guests:
        used = _PortsInUse(needed[host.name])
        for service in own.get(host.source, ()):
            of_portainer = (
                service.kind == "backend" and host is site.portainer and service.is_the_guest_s
            )
            named = "Portainer" if of_portainer else f"service {service.name}"
            user = _WHAT.get(service.kind, named)
            at: tuple[_Address, ...] = (None,)
            if service.kind == "agent" and site.external_portainer is None:
                # The tunnel ends on the first, the agent has the second.
                at = (host.address, ports.LOOPBACK)
            other = next(
                filter(None, (used.by(service.port, "tcp", address) for address in at)), None
            )
            if other:
                path = f"{host.source.path}.traefik_service"
                report.error(
                    host.source.file,
                    f"{service.source.path if service.kind == 'backend' else path}.port",
                    f"port {service.port}/tcp of {host.name} is taken by {other}",
                    f"write another port for {user}",
                )
            elif service.kind != "backend" or of_portainer:  # else it may be what a stack publishes
                for address in at:
                    used.add(service.port, "tcp", address, user)
        if host is site.portainer:
            _entrances(site, host, used, needed, report)
        _published_ports(host, used, report)


def gateway_ports(site: Site, report: Report) -> None:
    """Refuse a port of the gateway that two services want, or that the gateway needs itself."""
    if site.gateway is None:
        return
    needed = _needed_ports(site)
    used = {port: user for host in site.gateways for (port, _), user in needed[host.name].items()}
    firsts: dict[int, Service] = {}
    provers: dict[str, Service] = {}
    routed = {name: route.service for route in routes(site) for name in route.names}
    for service in tcp_services(site):
        port = service.gateway_port
        first = firsts.setdefault(port, service)
        key = "gateway_port" if port != service.port else "port"
        place = service.source.file, f"{service.source.path}.{key}"
        fix = 'write another "gateway_port"'
        if port in used:
            report.error(*place, f"port {port} of the gateway is taken by {used[port]}", fix)
        elif first is not service and not (first.has_tls and service.has_tls):
            message = f"port {port} of the gateway is taken by the service {first.name}"
            report.error(*place, message, f"{fix}; only services by tls can share one")
        elif first.options != service.options:
            message = f"it shares port {port} of the gateway with {first.name}, and its options not"
            report.error(*place, message, f"write the same options for both, or {fix[6:]}")
        for name in service.names if service.has_tls else ():
            prover = provers.setdefault(name, service)
            if prover.owner != service.owner:
                message = (
                    f"{name} is proven by {prover.owner.name}, for {prover.name}: the CA asks one "
                    "machine who has a name"
                )
                where = f"{service.source.path}.{'name' if name == service.fqdn else 'aliases'}"
                fix = "serve both from one guest, or write another name for one of the two"
                report.error(service.source.file, where, message, fix)
            if name in routed:
                message = f"{name} is proven by the gateway, for the service {routed[name].name}"
                where = f"{service.source.path}.name"
                report.error(
                    service.source.file, where, message, "write another name for one of the two"
                )


def _entrances(
    site: Site,
    server: Host,
    used: _PortsInUse,
    needed: Mapping[str, Mapping[tuple[int, str], str]],
    report: Report,
) -> None:
    """The tunnel's entrance to each agent takes the agent's port on Portainer's guest, too."""
    known: set[IPv4Address] = set()
    for service in (candidate for candidate in site.services if candidate.kind == "agent"):
        host = service.owner
        if host.address in known:
            continue  # `duplicates` has refused the second host of an address
        known.add(host.address)
        address = control_plane.agent_entrance(service)
        user = f"Portainer's tunnel to the agent of {host.name}"
        other = used.by(service.port, "tcp", address)
        if other is None:
            used.add(service.port, "tcp", address, user)
        elif (service.port, "tcp") not in needed[host.name]:  # else its own guest has refused it
            report.error(
                host.source.file,
                f"{host.source.path}.traefik_service.port",
                f"port {service.port}/tcp of {server.name}, where Portainer's tunnel to the agent "
                f"of {host.name} begins at {address}, is taken by {other}",
                "give one of the two another port",
            )


def environments(site: Site, report: Report) -> None:
    """Refuse two hosts of one name in Portainer, where names are unique."""
    first: dict[str, Host] = {}
    for host in deployments.environments(site):
        other = first.setdefault(host.portainer_environment, host)
        if other is not host and other.name != host.name:  # else `duplicates` has refused it
            report.error(
                host.source.file,
                f"{host.source.path}.portainer_environment_name",
                f"{other.name} is called {host.portainer_environment} in Portainer too",
                "write another name, or leave it out for the host's own",
            )


def _published_ports(host: Host, used: _PortsInUse, report: Report) -> None:
    for stack in host.docker_stacks:
        file = stack.compose_label
        own: dict[tuple[str, int, str], list[PublishedPort]] = {}
        clashes: dict[tuple[str, str, str], list[int]] = {}  # a range has many, and one cause
        for port in stack.ports:
            user = f"{file} (environment {stack.environment}, service {port.service})"
            before = own.setdefault((port.service, port.host_port, port.proto), [])
            other = used.by(port.host_port, port.proto, port.address)
            if other is None:
                used.add(port.host_port, port.proto, port.address, user)
            elif other != user or _is_again(port, before):
                clashes.setdefault((port.service, port.proto, other), []).append(port.host_port)
            before.append(port)
        for (service, proto, other), numbers in clashes.items():
            are = "is" if len(numbers) == 1 else f"and {len(numbers) - 1} more of it are"
            report.error(
                file,
                f"services.{service}.ports",
                f"port {numbers[0]}/{proto} of {host.name} {are} taken by {other}",
                "publish another host port",
            )


def _is_again(port: PublishedPort, before: Sequence[PublishedPort]) -> bool:
    """Whether a service publishes a port that it has: by IPv4 and by IPv6 is no contradiction.

    Args:
        port: of a service.
        before: what it publishes of the same number and protocol already.
    """
    return any(
        _version(earlier) == _version(port) and _overlap(earlier.address, port.address)
        for earlier in before
    )


def _version(port: PublishedPort) -> int:
    return port.address.version if port.address is not None else 4


class _PortsInUse:
    """The ports of one guest, each with the address that it is taken on and by whom.

    None stands for every address. Two may have one port on different addresses alone (ip(7)).
    """

    def __init__(self, needed: Mapping[tuple[int, str], str]) -> None:
        self._ports: dict[tuple[int, str], list[tuple[_Address, str]]] = {}
        for (port, proto), user in needed.items():
            self.add(port, proto, ports.LOOPBACK if port in _ON_LOOPBACK else None, user)

    def add(self, port: int, proto: str, address: _Address, user: str) -> None:
        """Take a port."""
        self._ports.setdefault((port, proto), []).append((address, user))

    def by(self, port: int, proto: str, address: _Address) -> str | None:
        """The owner of the port on this address or on all addresses; None if it is free."""
        for other, user in self._ports.get((port, proto), ()):
            if _overlap(address, other):
                return user
        return None


_Address = IPv4Address | IPv6Address | None
_ON_LOOPBACK = (
    ports.TRAEFIK_LOCAL,
    ports.NGINX_STATUS,
    ports.HOME,
    ports.PORTAINER_EDGE,
    ports.AGENT_INTERNAL,
)


def _overlap(address: _Address, other: _Address) -> bool:
    """Whether two sockets with one port would share an address; None and `::` are all."""
    if address is None or other is None or address == other:
        return True
    return address.version == other.version and (address.is_unspecified or other.is_unspecified)


def _needed_ports(site: Site) -> dict[str, dict[tuple[int, str], str]]:
    """For each host the ports of SSH and of Phoenix's own services, and their owners."""
    needed = served_ports(site)
    for host in site.hosts:
        needed[host.name].setdefault((host.ssh_port, "tcp"), "SSH")
    return needed


def served_ports(site: Site) -> dict[str, dict[tuple[int, str], str]]:
    """For each host the ports of Phoenix's own services, and their owners."""
    needed: dict[str, dict[tuple[int, str], str]] = {host.name: {} for host in site.hosts}
    needed[site.hypervisor.name] |= _of_the_hypervisor(site.hypervisor)
    for host in site.name_servers:
        needed[host.name] |= {(ports.DNS, proto): "the name server" for proto in ("udp", "tcp")}
    for certificate in certificates(site):
        if certificate.challenge == "standalone":
            user = "the ACME http-01 challenge (RFC 8555, always port 80)"
            needed[certificate.host.name][ports.HTTP, "tcp"] = user
    for host in site.gateways:
        nginx = (ports.HTTP, ports.HTTPS, ports.NGINX_STATUS)
        needed[host.name] |= {(port, "tcp"): "Nginx" for port in nginx}
    for host in site.traefiks:
        needed[host.name] |= {
            (ports.HTTPS, "tcp"): "Traefik",
            (ports.TRAEFIK_LOCAL, "tcp"): "Traefik",
            (ports.HOME, "tcp"): "the start page",
        }
    if site.portainer:
        needed[site.portainer.name][ports.PORTAINER_EDGE, "tcp"] = "Portainer's Edge server"
        if control_plane.portainer(site) is None:
            needed[site.portainer.name][ports.PORTAINER, "tcp"] = "Portainer"
    for host in site.swarm_nodes:
        needed[host.name] |= {
            (port.port, port.proto): "Docker Swarm"
            for port in swarm.PORTS
            if port.port is not None and (host.is_manager or not port.of_managers)
        }
    for host in site.agents:
        needed[host.name][ports.AGENT_INTERNAL, "tcp"] = "the Portainer agent"
    needed.get(site.watched_by, {})[ports.WATCH, "tcp"] = "the watcher"
    return needed


def _of_the_hypervisor(hypervisor: Host) -> dict[tuple[int, str], str]:
    shared = {(ports.NFS, "tcp"): "the NFS server"} if hypervisor.exports else {}
    return {(ports.PROXMOX_API, "tcp"): "Proxmox VE", **shared}


_WHAT = {"ca": "the CA", "agent": "the Portainer agent"}


def _own_services(site: Site) -> dict[Source, list[Service]]:
    """For each guest's entry the services that it declares, Phoenix's CA and agent first.

    Not by its name, which `duplicates` may have refused.
    """
    by_guest: dict[Source, list[Service]] = {}
    for service in sorted(site.services, key=lambda service: service.kind == "backend"):
        if service.of_guest and service.kind in ("ca", "agent", "backend"):
            by_guest.setdefault(service.owner.source, []).append(service)
    return by_guest


def names(site: Site, report: Report) -> None:
    """Refuse a name that two owners claim.

    Every name in a certificate is claimed in DNS too, so no name is in two certificates either.
    """
    owners: dict[str, dns.DnsRecord] = {}
    for record in dns.claims(site):
        first = owners.setdefault(record.name, record)
        if first.why == record.why and first.why.startswith("host "):
            continue  # `duplicates` has refused the second host of a name
        if first.address != record.address:
            report.error(
                *_claimant(site, record.name),
                f"two owners claim {record.name}: {first.why} and {record.why}",
                "rename one of the two; leave server_name out for the host's own name",
            )


def _claimant(site: Site, name: str) -> tuple[str, str]:
    for service in site.services:
        if service.server_name == name and service.owner.fqdn != name and service.kind == "backend":
            return service.source.file, f"{service.source.path}.server_name"
    for host in site.guests:
        for position, record in enumerate(host.dns_records):
            if record.name == name:
                return host.source.file, f"{host.source.path}.dns_records[{position}]"
    for service in site.services:
        if name in service.aliases:
            return service.source.file, f"{service.source.path}.aliases"
    for service in site.services:
        if service.fqdn == name:
            return service.source.file, f"{service.source.path}.name"
    return site.hypervisor.source.file, site.hypervisor.source.path


def resolvers(site: Site, report: Report) -> None:
    """Warn of guests that do not resolve through the hypervisor, or that ask it alone."""
    _alone(site, report)
    for host in site.guests:
        for address in host.nameservers if "resolver" not in host.left_alone else ():
            if any(address in addresses_of(server) for server in site.name_servers):
                continue
            message = f"{address} is not the site's DNS server"
            for gateway in site.gateways:
                if address in addresses_of(gateway):
                    message = f"{address} is the gateway {gateway.name}, which answers no DNS"
            report.warn(
                host.source.file,
                f"{host.source.path}.network_config",
                message,
                f"write the nameserver as {address_pair(host, site.hypervisor).target}",
            )


def _alone(site: Site, report: Report) -> None:
    """Warn of hosts that reach no further name server in the network in which they ask."""
    further = site.name_servers[1:]
    alone = [host for host in site.hosts if not name_servers(site, host)[1:]] if further else []
    of_network: dict[str, list[Host]] = {}
    for host in alone:
        of_network.setdefault(address_pair(host, site.hypervisor).network, []).append(host)
    for network, hosts in of_network.items():
        names = ", ".join(host.name for host in hosts)
        report.warn(
            further[0].source.file,
            f"{further[0].source.path}.network_config",
            f"in the network {network} the hypervisor stays the only name server, asked by {names}",
            "give a guest with the role name_server an address in that network, as its first one "
            "or in secondary_network_config",
        )


def forwarding(site: Site, report: Report) -> None:
    """Refuse hosts that have to connect, but neither share a network nor meet at the hypervisor."""
    reported: set[tuple[str, str]] = set()
    forwards = {network.name for network in served_networks(site)}
    for flow in firewall.flows(site):
        source, target = flow.source, flow.destination
        if not isinstance(source, Host) or not isinstance(target, Host):
            continue
        if address_pair(source, target).network:
            continue
        for host, other in ((source, target), (target, source)):
            name = host.managed.network
            if not name:  # `networks.addresses` has refused its address
                continue
            if name in forwards or (host.name, name) in reported:
                continue
            reported.add((host.name, name))
            report.error(
                host.source.file,
                f"{host.source.path}.network_config",
                f"{host.name} and {other.name} have to connect ({flow.why}) and share no network, "
                f"and the hypervisor has no address in {name} to forward from",
                f"write the hypervisor's address (`address`) in the network {name}, or give one of "
                "the two hosts an interface in a network of the other",
            )


def firewall_rules(site: Site, report: Report) -> None:
    """Warn of rules given twice, and of rules that admit anyone past the gateway."""
    refusing = any(rule.action != "ACCEPT" for host in site.hosts for _, _, rule in _rules_of(host))
    needed = firewall.needed(site) if refusing else ()
    for host in site.hosts:
        places: dict[object, str] = {}
        if not host.firewall_enabled:
            for place, path in _lists_of_rules(host):
                report.warn(
                    place, path, "the guest's firewall is off, so this holds nowhere on it",
                    'remove it, or write "enabled": true in the guest\'s firewall',
                )  # fmt: skip
            continue
        _refusals(host, needed, report)
        for place, path, rule in _rules_of(host):
            key = (rule.direction, rule.action, rule.proto, rule.ports, rule.source,
                   rule.destination)  # fmt: skip
            rule_place = f"{place}: {path}"
            first = places.setdefault(key, rule_place)
            if first != rule_place:
                report.warn(place, path, f"same rule as {first}", "remove one of the two")
            elif rule.direction == "in" and rule.action == "ACCEPT" and _is_anyone(rule.source):
                report.warn(
                    place,
                    path,
                    f"admits anyone to {host.name}, past the gateway",
                    "remove it, as needed flows are derived, or write a source",
                )
            for key_name, peer in (("source", rule.source), ("dest", rule.destination)):
                if (
                    peer is not None
                    and peer.is_private
                    and not any(map(peer.overlaps, site.subnets))
                ):
                    report.warn(
                        place,
                        f"{path}.{key_name}",
                        f"{peer} is a private network that is not the site's, "
                        f"{', '.join(map(str, site.subnets))}",
                        "correct it, or keep it where that network reaches the site by a router",
                    )


def senders(site: Site, report: Report) -> None:
    """Warn of clients that are named by a virtual address: who holds it sends by its own."""
    for file, path, peer in _named_clients(site):
        address = peer.network_address
        if peer.prefixlen == peer.max_prefixlen and address in site.virtual_addresses:
            gateway_addresses = " and ".join(str(host.address) for host in site.gateways)
            report.warn(
                file,
                path,
                f"nothing comes from {address}: it is a virtual address (site.virtual_address), "
                "and a gateway sends from its own",
                f"write {gateway_addresses} where the gateways are meant, or remove it",
            )


def _named_clients(site: Site) -> Iterator[tuple[str, str, IPv4Network]]:
    """The file, path and network of each client that a declaration lets in or refuses."""
    for host in site.hosts:
        for file, path, rule in _rules_of(host):
            if rule.source is not None:
                yield file, f"{path}.source", rule.source
        for share in host.exports:
            for client in share.clients:
                yield share.source.file, f"{share.source.path}.clients", client
    for service in site.services:
        for network in service.options.allowed_networks:
            yield service.source.file, f"{service.source.path}.allowed_networks", network


def _refusals(host: Host, needed: Sequence[firewall.Flow], report: Report) -> None:
    """Warn of refusals that shut what the site needs, and of permissions that they shut."""
    rules = list(_rules_of(host))
    refusals = _Refusals(entry for entry in rules if entry[2].action != "ACCEPT")
    for place, path, rule in rules:
        if shut := _shut(host, rule, needed):
            report.warn(
                place,
                path,
                f"it blocks a connection that the site needs to {host.name}: {listed(shut)}",
                "name the peer, protocol and port of the connection to block",
            )
        if by := refusals.first_over(rule):
            report.warn(
                place,
                path,
                f"it admits nothing: refusals go before all else, and {by} refuses the same",
                "remove one of the two, or refuse less",
            )


def _is_anyone(peer: IPv4Network | None) -> bool:
    return peer is None or peer.prefixlen == 0


def _shut(host: Host, rule: FirewallRule, flows: Sequence[firewall.Flow]) -> tuple[str, ...]:
    """What of the site's own connections a rule refuses whole; refusals go before all else."""
    if rule.action == "ACCEPT":
        return ()
    shut = []
    for flow in flows:
        own, other = flow.destination, flow.source
        if rule.direction == "out":
            own, other = other, own
        if own != host or rule.proto not in (None, flow.proto):
            continue
        peer = rule.source if rule.direction == "in" else rule.destination
        end = firewall.network_of(other)
        if peer is not None and (end is None or not end.subnet_of(peer)):
            continue
        if rule.ports is None or (
            flow.port is not None and any(_spans(flow.port, part) for part in rule.ports.split(","))
        ):
            shut.append(flow.why)
    return tuple(dict.fromkeys(shut))


_Ends = tuple[str, str | None, IPv4Network | None, IPv4Network | None]
"""What a refusal is about beside its ports: direction, protocol, source and destination."""
_Range = tuple[int, int]
_ANY_PORT: _Range = (-1, 1 << 16)
"""Wider than all ranges of ports: what has none may have no port at all."""


class _Refusal(NamedTuple):
    """One range of ports of a refusal; `ranges` are all of them."""

    first: int
    last: int
    number: int
    place: str
    ranges: tuple[_Range, ...]


class _Refusals:
    """The refusals of a host by what they are about: permissions and they may be thousands."""

    def __init__(self, refusals: Iterable[tuple[str, str, FirewallRule]]) -> None:
        by_ends: dict[_Ends, list[_Refusal]] = {}
        for number, (place, path, rule) in enumerate(refusals):
            about = (rule.direction, rule.proto, rule.source, rule.destination)
            ranges = _ranges(rule.ports)
            by_ends.setdefault(about, []).extend(
                _Refusal(*ports, number, f"{place}: {path}", ranges) for ports in ranges
            )
        self._by_ends = {about: sorted(of_them) for about, of_them in by_ends.items()}
        # The last port of all up to each: where that is too low, so are those of all before it.
        self._reach = {
            about: [*accumulate((refusal.last for refusal in of_them), max)]
            for about, of_them in self._by_ends.items()
        }
        self._sources = {source for _, _, source, _ in by_ends}
        self._destinations = {destination for *_, destination in by_ends}

    def first_over(self, rule: FirewallRule) -> str | None:
        """The place of the first that refuses all that a rule accepts; None where none does."""
        if rule.action != "ACCEPT":
            return None
        ranges = _ranges(rule.ports)
        about = product(
            (rule.direction,),
            {None, rule.proto},
            _around(rule.source, self._sources),
            _around(rule.destination, self._destinations),
        )
        refusing = [
            (refusal.number, refusal.place)
            for ends in about
            for refusal in self._over(ends, ranges[0])
            if _are_within(ranges, refusal.ranges)
        ]
        return min(refusing)[1] if refusing else None

    def _over(self, ends: _Ends, ports: _Range) -> Iterator[_Refusal]:
        """The ranges of refusals that are about these ends and cover these ports."""
        first, last = ports
        of_them, reach = self._by_ends.get(ends, []), self._reach.get(ends, [])
        at = bisect_right(of_them, first, key=attrgetter("first"))
        while at and reach[at - 1] >= last:
            at -= 1
            if of_them[at].last >= last:
                yield of_them[at]


def _around(
    own: IPv4Network | None, networks: Collection[IPv4Network | None]
) -> list[IPv4Network | None]:
    """The ends of rules that cover one end; None is anyone."""
    wider: list[IPv4Network | None] = [None]
    if own is not None:
        wider += [own.supernet(new_prefix=length) for length in range(own.prefixlen + 1)]
    return [network for network in wider if network in networks]


def _ranges(ports: str | None) -> tuple[_Range, ...]:
    """The first and last port of each part of a rule's ports."""
    if not ports:
        return (_ANY_PORT,)
    parts = (part.partition(":") for part in ports.split(","))
    return tuple((int(first), int(last or first)) for first, _, last in parts)


def _are_within(ranges: Sequence[_Range], refused: Sequence[_Range]) -> bool:
    """Whether ports that are refused cover all of these."""
    return all(
        any(first <= own_first and own_last <= last for first, last in refused)
        for own_first, own_last in ranges
    )


def _spans(port: int, ports_text: str) -> bool:
    first, _, last = ports_text.partition(":")
    return int(first) <= port <= int(last or first)


def _lists_of_rules(host: Host) -> Iterable[tuple[str, str]]:
    """Where rules of a host stand: each list once, and each rule for several hosts."""
    for place, path, rule in _rules_of(host):
        if rule.source_of is not None:
            yield place, path
        elif path.endswith("[0]"):
            yield place, path.removesuffix("[0]")


def _rules_of(host: Host) -> Iterable[tuple[str, str, FirewallRule]]:
    for i, rule in enumerate(host.firewall_rules):
        if rule.source_of is not None:
            yield rule.source_of.file, rule.source_of.path, rule
        else:
            yield host.source.file, f"{host.source.path}.firewall.rules[{i}]", rule
    for stack in host.docker_stacks:
        for i, rule in enumerate(stack.firewall_rules):
            yield stack.source.file, f"{stack.source.path}.firewall_rules[{i}]", rule
