"""What must hold for a request to arrive: checks by layer, each made by the guest concerned.

All of them come from the Site, as the configuration does, so whatever is configured is checked.
A check is one call of a function of `phoenix/health/checks.sh` on one host. Its fields say what it
is about. Its title is for people, and nothing reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import product

from phoenix.components.guard import ruleset as guard
from phoenix.components.keepalived import keepalived_conf as keepalived
from phoenix.components.networks import bridges
from phoenix.components.nfs import shares as nfs
from phoenix.components.portainer import tunnel
from phoenix.components.portainer.compose_files import AGENT_UNIT, API_KEY_FILE, SERVER_UNIT
from phoenix.components.portainer.tunnel import agent_url
from phoenix.components.restic import files as restic
from phoenix.components.step_ca.authority import DIRECTORY, UNIT, directory_url
from phoenix.components.swarm import cluster
from phoenix.components.traefik.traefik_yml import LOCAL, proof_file
from phoenix.components.trust import ROOTS
from phoenix.components.watch import files as watch
from phoenix.derived import backups, control_plane, deployments, dns, firewall, home
from phoenix.derived.certificates import certificates
from phoenix.derived.components import component_hosts
from phoenix.derived.connections import connections, the_gateway, traefik
from phoenix.derived.endpoints import endpoints
from phoenix.derived.routes import Route, gateway_names, route_for_check, routes, tcp_services
from phoenix.derived.virtual_addresses import address_for_client, virtual_addresses
from phoenix.health import local_checks
from phoenix.site import unit_names
from phoenix.site.addressing import address_pair, name_servers, target_address
from phoenix.site.memo import once_per_site
from phoenix.site.model import Host, Service, Site
from phoenix.site.ports import HTTPS, WATCH
from phoenix.site.roles import guest_with, guests_with
from phoenix.watch.causes import LAYERS, Check, Layer, Outcome, left_out

ISSUED = "issued_as_declared"
"""The check that no host makes: it is judged from what several tell (`health.issued`)."""
PLACES = ("/", "/tmp", "/run", "/var", "/var/log", "/var/lib/docker", "/etc")  # noqa: S108
"""Directories whose file systems must not be full or read-only; absent ones count as well."""


@once_per_site
def checks(site: Site) -> tuple[Check, ...]:
    """Every check of the site, along the path of a request within each layer."""
    every = [
        *_rooms(site),
        *_services(site),
        *_swarm(site),
        *_guards(site),
        *_names(site),
        *_name_servers(site),
        *_virtual_addresses(site),
        *_roots(site),
        *_pairs(site),
        *_connections(site),
        *_externals(site),
        *_keys(site),
        *_reports(site),
        *_backups(site),
    ]
    every += [*_routers(site), *_requests(site), *_passed_on(site)]
    every += [*_at_the_virtual_address(site), *_containers(site)]
    return tuple(sorted(every, key=lambda check: LAYERS.index(check.layer)))


@once_per_site
def checks_by_host(site: Site) -> Mapping[str, tuple[Check, ...]]:
    """The checks of each host, by its name, in the order of `checks`."""
    by_host: dict[str, list[Check]] = {host.name: [] for host in site.hosts}
    for check in checks(site):
        by_host[check.host].append(check)
    return {host: tuple(own_checks) for host, own_checks in by_host.items()}


def made_on(site: Site, host: Host) -> tuple[Check, ...]:
    """The checks that a host makes itself by `checks.sh`."""
    return tuple(check for check in checks_by_host(site)[host.name] if check.function != ISSUED)


def first_answering(hosts: Iterable[str], answering: Collection[str]) -> str:
    """The host that tells what each of several could tell: the first one that answers.

    Args:
        hosts: who can tell, by name, the first choice first.
        answering: the hosts that answer.

    Returns:
        Its name; empty where none of them answers.
    """
    return next((name for name in hosts if name in answering), "")


@once_per_site
def _asking(site: Site) -> tuple[Check, ...]:
    """The checks that ask several hosts one thing; of each question the first choice first."""
    return tuple(check for check in checks(site) if check.question)


def redundant_checks(site: Site, outcomes: Mapping[str, Iterable[Outcome]]) -> frozenset[Check]:
    """The checks that tell only what the first host that can tell it tells already, or nothing.

    Each host makes all of its checks: none knows who else answers.

    Args:
        site: the site.
        outcomes: of each host that made its checks, by its name.
    """
    asked = {check.host for check in _asking(site)}
    made = {outcome.check: outcome for host in asked for outcome in outcomes.get(host, ())}
    return left_out(made[check] for check in _asking(site) if check in made)


def _rooms(site: Site) -> Iterator[Check]:
    """Before the services, which fail where a disk is full or a clock is wrong."""
    for host in site.hosts:
        command: tuple[str, ...] = ("has_room", *PLACES)
        yield Check(host.name, "service", "room on its disks", command, target=host.name)
        named = ("is_called", host.name)
        yield Check(host.name, "service", "its own name", named, target=host.name)
        if "updates" not in host.left_alone:
            updates = ("updates_are_done",)
            yield Check(host.name, "service", "its updates", updates, target=host.name)
    ca = control_plane.ca(site)
    for host in site.hosts:
        if host != ca.owner:  # not by its name: DNS is proven apart
            command = ("clock_agrees", f"https://{target_address(host, ca.owner)}:{ca.port}/health")
            yield Check(host.name, "service", "its clock", command, target=host.name)


def _services(site: Site) -> Iterator[Check]:
    units = [
        *((host, unit_names.DNS, "internal DNS", "") for host in site.name_servers),
        (guest_with(site, "step_ca"), UNIT, "the CA", ""),
        *((host, unit_names.TRAEFIK, "Traefik", "") for host in guests_with(site, "traefik")),
        *((host, unit_names.NGINX, "Nginx", "") for host in guests_with(site, "nginx")),
        *(
            (host, keepalived.UNIT, "who has the virtual address", "")
            for host in component_hosts("keepalived", site)
        ),
        *((host, unit_names.DOCKER, "Docker", "") for host in site.docker_hosts),
        *((host, AGENT_UNIT, "Portainer's agent", "") for host in site.agents),
        *((host, bridges.UNIT, "its networks", "") for host in component_hosts("networks", site)),
        *((host, nfs.SERVER_UNIT, "the NFS server", "") for host in site.hosts if host.exports),
        *((host, nfs.UNIT, "folders by NFS", "") for host in site.hosts if host.mounts),
    ]
    for timer, title in ((restic.TIMER, "backups"), (restic.PROOF_TIMER, "proofs of backups")):
        units += [(host, timer, f"{title} by a timer", "") for host in backups.hosts(site)]
    units += [(host, watch.TIMER, "its checks by a timer", "") for host in site.watched]
    way_of_page = "the start page's way from the watcher"
    units += [(host, watch.PAGE_TIMER, way_of_page, "") for host in home.watched_by(site)]
    if site.watcher is not None:
        units += [
            (site.watcher, watch.RECEIVER, "the watcher", ""),
            (site.watcher, watch.JUDGE, "the watcher's look at reports", ""),
        ]
    if site.portainer is not None:
        ends = (*((site.portainer,) if site.agents else ()), *site.agents)
        units += [(host, tunnel.UNIT, "the tunnel to agents", "") for host in ends]
        routed = control_plane.portainer(site)
        units.append((site.portainer, SERVER_UNIT, "Portainer", routed.name if routed else ""))
    units += [
        (proxy, home.UNIT, "the start page", service.name)
        for service in site.services
        if service.kind == "home"
        for proxy in home.served_by(site)
    ]
    ca = control_plane.ca(site)
    words = {
        UNIT: ("ca_database_opens", DIRECTORY, UNIT, str(ca.port)),
        bridges.UNIT: ("networks_hold", bridges.PROGRAM),
        nfs.UNIT: ("folders_are_mounted", nfs.PROGRAM),
        watch.JUDGE: ("watcher_looks", watch.LOOKED, watch.JUDGE),
    }
    for host, unit, title, service in units:
        yield _unit(host, unit, title, *words.get(unit, ()), service=service)
    for certificate in certificates(site):
        unit = unit_names.renewal_timer(certificate.name)
        title = "renewal of the certificate"
        yield _unit(certificate.host, unit, title, certificate=certificate.name)


def _swarm(site: Site) -> Iterator[Check]:
    """Each node checks that it is in the swarm; each manager checks the state of all nodes.

    Managers have one state (Raft): one that answers is enough.
    """
    managers = [node for node in site.swarm_nodes if node.is_manager]
    for host in site.swarm_nodes:
        if host.swarm is None:
            continue
        title, joined = "its place in the swarm", ("in_swarm", host.swarm.role)
        yield Check(host.name, "service", title, joined, target=host.name)
        labels = sorted(f"{n}={v}" for n, v in cluster.labels_of(host.name, host.swarm).items())
        command = ("node_is", host.name, host.swarm.role, host.swarm.availability, *labels)
        hop = f"{host.name} as the swarm's managers have it"
        for manager in managers:
            yield Check(
                *(manager.name, "service", hop, command), target=host.name,
                question=f"node {host.name}",
            )  # fmt: skip
        if any(network.encrypted for network in site.swarm_networks):
            encrypts = "encryption of overlay networks"
            yield Check(host.name, "service", encrypts, ("kernel_encrypts",), target=host.name)
    for network in site.swarm_networks:
        options = (
            "encrypted" if network.encrypted else "plain",
            "attachable" if network.attachable else "closed",
        )
        command = ("overlay_is", network.name, *options, str(network.subnet or "any"))
        hop = f"network {network.name}"
        for manager in managers:
            yield Check(*(manager.name, "service", hop, command), target=manager.name, question=hop)


def _guards(site: Site) -> Iterator[Check]:
    """Each host's own, and that nobody else gets past it: another host, and its own containers.

    One other host asks: the first one with ports that are not for it. A second one would not answer
    the same question, since each has ports of its own that are for it; and a port that is shut lets
    its asker wait. Where that host is out of reach, the path is unknown and says so.
    """
    for host in site.hosts:
        if not host.guarded:
            continue
        yield _unit(host, guard.UNIT, "the guard", "guard_holds", guard.PROGRAM)
        if host in site.docker_hosts and (ports := firewall.closed_ports(site, host, None)):
            yield _shut(host, host, "ports_are_shut_to_containers", "its own containers", ports)
        stranger = next(
            (
                candidate
                for candidate in site.hosts
                if candidate != host and firewall.closed_ports(site, host, candidate)
            ),
            None,
        )
        if stranger is not None:
            ports = firewall.closed_ports(site, host, stranger)
            yield _shut(stranger, host, "ports_are_shut", stranger.name, ports)


def _shut(asking: Host, host: Host, function: str, who: str, ports: tuple[int, ...]) -> Check:
    command = (function, str(target_address(asking, host)), *map(str, ports))
    hop = f"ports of {host.name} that are not for {who}"
    return Check(asking.name, "tcp", hop, command, target=host.name)


def _unit(
    host: Host, unit: str, title: str, *why: str, service: str = "", certificate: str = ""
) -> Check:
    """`why`: a function of its own, with arguments, that tells why the unit does not run."""
    return Check(
        *(host.name, "service", f"{title} ({unit})", ("unit_runs", unit, *why)),
        target=host.name, unit=unit, service=service, certificate=certificate,
    )  # fmt: skip


def _names(site: Site) -> Iterator[Check]:
    server = site.hypervisor.name
    others: dict[tuple[str, ...], tuple[str, ...]] = {}  # most hosts ask for the same names
    of_network: dict[str, dict[str, str]] = {}
    for host in site.hosts:
        asked_in = address_pair(host, site.hypervisor).network
        if asked_in not in of_network:
            of_network[asked_in] = {
                record.name: f"{record.name}={','.join(map(str, dns.answers(site, record, host)))}"
                for record in dns.records(site)
            }
        records = of_network[asked_in]
        single = _names_by_themselves(site, host)
        for name in single:
            command: tuple[str, ...] = ("names_resolve", records[name])
            yield Check(host.name, "dns", f"the name {name}", command, target=server, name=name)
        if (key := (asked_in, *single)) not in others:
            left_out = set(single)
            other_records = (record for name, record in records.items() if name not in left_out)
            others[key] = ("names_resolve", *other_records)
        hop = f"{len(records) - len(single)} other names"
        yield Check(host.name, "dns", hop, others[key], target=server)
        command = ("name_is_unknown", f"no-such-name.{site.domain}")
        yield Check(host.name, "dns", "an undeclared name", command, target=server)


def _name_servers(site: Site) -> Iterator[Check]:
    """Each of several name servers by itself: a host's programs do not notice a silent one."""
    if not site.name_servers[1:]:
        return
    known = dns.records(site)[0]
    for host in site.hosts:
        expected = f"{known.name}={','.join(map(str, dns.answers(site, known, host)))}"
        for name_server in name_servers(site, host):
            command = ("server_answers", str(name_server.address), expected)
            hop = f"the name server {name_server.server.name}"
            yield Check(host.name, "dns", hop, command, target=name_server.server.name)


def _virtual_addresses(site: Site) -> Iterator[Check]:
    """Each gateway checks that one of them holds each address, and that it works itself."""
    for virtual in virtual_addresses(site):
        for held in virtual.holders:
            command: tuple[str, ...] = ("address_is_held", str(virtual.address), str(held.address))
            hop = f"who has {virtual.address}"
            yield Check(held.host.name, "tcp", hop, command, target=held.host.name)
    client, route = site.hypervisor, route_for_check(site)
    if route is None or not site.gateways[1:]:
        return
    path, expected = _asked(site, route)
    url = f"https://{route.fqdn}{path}"
    for gateway in site.gateways:
        command = ("request_gives", expected, url, ROOTS, str(target_address(client, gateway)))
        hop = f"{url} at {the_gateway(site, gateway)} itself"
        yield Check(client.name, "http", hop, command, target=gateway.name, name=route.fqdn)


def _names_by_themselves(site: Site, host: Host) -> tuple[str, ...]:
    """Names that a host's own paths begin with: another wrong record does not break those."""
    names = [*gateway_names(site), *_names_past_routes(site)] if host == site.hypervisor else []
    names.append(control_plane.ca(site).fqdn)
    if host == site.portainer:
        names.append(host.fqdn)
        names += [service.fqdn for service in site.services if service.kind == "agent"]
    return tuple(dict.fromkeys(names))


def _names_past_routes(site: Site) -> Iterator[str]:
    """Of the services that clients ask for and no router has."""
    for service in site.services:
        direct = service.kind == "backend" and service.exposure == "direct"
        if direct or service.kind == "tcp":
            yield from service.names


def _connections(site: Site) -> Iterator[Check]:
    unchecked = {
        (service.name, service.owner.name) for service in site.services if not service.checked
    }
    silent = {
        (service.name, gateway.name)
        for service in tcp_services(site)
        for gateway in site.gateways
        if not (service.checked and _admits(site, service))
    }
    for connection in connections(site):
        if (connection.service, connection.target.name) in unchecked | silent:
            continue
        target = target_address(connection.source, connection.target)
        where = (str(target), str(connection.port), connection.server_name)
        yield _port(
            *(connection.source, connection.what, connection.target, connection.port),
            name=connection.server_name, service=connection.service,
        )  # fmt: skip
        commands: tuple[tuple[Layer, tuple[str, ...]], ...] = (
            ("certificate", ("served_is_fresh", *where)),
            ("tls", ("tls_verifies", *where, ROOTS)),
        )
        for layer, command in commands if connection.server_name else ():
            yield Check(
                *(connection.source.name, layer, connection.what, command),
                target=connection.target.name, port=connection.port,
                name=connection.server_name, service=connection.service,
            )  # fmt: skip


def _externals(site: Site) -> Iterator[Check]:
    """What Phoenix does not manage, as each Traefik's guest sees it."""
    for service in site.services:
        if service.external is None or not service.checked:
            continue
        where = (service.external.host, str(service.port))
        title = f"Traefik to {service.name} at {':'.join(where)}"
        commands: list[tuple[Layer, tuple[str, ...]]] = [("tcp", ("port_answers", *where))]
        if service.has_tls:
            proof = service.external.fingerprint or ("ca" if service.external.ca else "public")
            name = service.server_name
            commands.append(("tls", ("external_proves", *where, name, proof, proof_file(service))))
        for proxy in site.traefiks:
            for layer, command in commands:
                yield Check(
                    *(proxy.name, layer, title, command), target=proxy.name, service=service.name
                )


def _reports(site: Site) -> Iterator[Check]:
    """The way to the watcher; what nobody can report, it tells itself."""
    for host in site.watched:
        if site.watcher is not None and host != site.watcher:
            yield _port(host, f"{host.name} to the watcher", site.watcher, WATCH)


def _backups(site: Site) -> Iterator[Check]:
    """What each host's timers have noted, so that a check asks no target."""
    for part in backups.parts(site):
        if site.backups is not None:
            name, days = part.host.name, str(site.backups.warn_days)
            command = ("backup_is_good", part.name, days)
            yield Check(name, "service", f"backup of {part.what}", command, target=name)
    for host in backups.hosts(site):
        retention = ("backups_are_kept",)
        yield Check(host.name, "service", "retention of backups", retention, target=host.name)


def _port(
    source: Host, hop: str, target: Host, port: int, *,
    name: str = "", service: str = "", endpoint: str = "", function: str = "port_answers",
) -> Check:  # fmt: skip
    return Check(
        *(source.name, "tcp", hop, (function, str(target_address(source, target)), str(port))),
        target=target.name, port=port, name=name, service=service, endpoint=endpoint,
    )  # fmt: skip


def _keys(site: Site) -> Iterator[Check]:
    guest = guest_with(site, "step_ca")
    ca = guest.name
    command: tuple[str, ...] = ("keys_are_private", f"{DIRECTORY}/secrets")
    yield Check(ca, "certificate", "the CA's keys", command, target=ca)
    yield Check(ca, "certificate", "what it has issued", (ISSUED,), target=ca)
    command = ("acme_answers", directory_url(site), ROOTS, str(guest.address))
    name = control_plane.ca(site).fqdn
    yield Check(ca, "http", "orders by ACME", command, target=ca, name=name)


def _roots(site: Site) -> Iterator[Check]:
    """The site's roots: without them a host can verify no certificate."""
    for host in site.hosts:
        command = ("roots_are_there", ROOTS)
        yield Check(host.name, "certificate", "the site's roots", command, target=host.name)


def _pairs(site: Site) -> Iterator[Check]:
    """The holders' own pairs: before what others see of them, since they explain it."""
    ports: dict[str, set[int]] = {}
    ca = control_plane.ca(site)
    for end in endpoints(site):
        # A stack loads a new certificate in its own time; the CA proves itself by its own.
        of_the_ca = (end.host, end.port) == (ca.owner, ca.port)
        if not end.by_stack and not of_the_ca:
            ports.setdefault(end.host.name, set()).add(end.port)
    for certificate in certificates(site):
        host, pair = certificate.host, certificate.directory
        hop = f"the pair {pair}"
        command = ("pair_fits", pair, certificate.name, *certificate.sans)
        yield Check(
            *(host.name, "certificate", hop, command),
            target=host.name, certificate=certificate.name,
        )  # fmt: skip
        for port in () if certificate.project else sorted(ports.get(host.name, ())):
            hop_on_port = f"{hop} on port {port}"
            command = ("pair_is_served", pair, str(host.address), str(port), certificate.sans[0])
            yield Check(
                *(host.name, "certificate", hop_on_port, command),
                target=host.name, port=port, certificate=certificate.name,
            )  # fmt: skip


def _routers(site: Site) -> Iterator[Check]:
    for proxy in guests_with(site, "traefik"):
        for route in routes(site):
            name, key = route.service.name, route.service.key
            command = ("router_is_enabled", f"http://{LOCAL}/api/http/routers/{key}@file")
            hop = f"the router for {route.fqdn}{route.service.path}"
            yield Check(
                proxy.name, "router", hop, command, target=proxy.name, name=route.fqdn, service=name
            )


def _requests(site: Site) -> Iterator[Check]:
    """Whole requests, made by the hypervisor: no guest of the chain asks itself."""
    client, gateway = site.hypervisor.name, guest_with(site, "nginx")
    for route in routes(site):
        service = route.service
        if not service.checked:
            continue
        path, expected = _asked(site, route)
        for name in route.names:
            url = f"https://{name}{path}"
            command: tuple[str, ...] = ("request_gives", expected, url, ROOTS)
            if service.options.forward_auth is not None and expected != "403":
                command = ("login_is_asked", url, ROOTS)
            elif service.is_grpc:
                command = ("grpc_gives", expected, url, ROOTS)
            yield Check(
                *(client, "http", f"{url} through gateway and Traefik", command),
                target=gateway.name, name=name, service=route.service.name,
            )  # fmt: skip
    for service in site.services:
        if service.kind == "backend" and service.exposure == "direct":
            for url in local_checks.urls(site, service):
                command = ("request_gives", str(service.health_status), url, ROOTS)
                yield Check(
                    *(client, "http", url, command),
                    target=service.owner.name, name=service.fqdn, service=service.name,
                )  # fmt: skip
    yield from _refused(site)


def _refused(site: Site) -> Iterator[Check]:
    """Each gateway rejects undeclared names; each Traefik rejects clients without a certificate."""
    client, gateways = site.hypervisor.name, guests_with(site, "nginx")
    for gateway in gateways:
        command: tuple[str, ...] = (
            "name_is_rejected",
            str(target_address(site.hypervisor, gateway)),
            f"no-such-name.{site.domain}",
        )
        hop = f"an undeclared name at {the_gateway(site, gateway)}"
        yield Check(client, "http", hop, command, target=gateway.name)
    # From gateways, which may connect: only the missing certificate stands between.
    for gateway, proxy in product(gateways, guests_with(site, "traefik")):
        command = (
            "serves_no_stranger",
            str(target_address(gateway, proxy)),
            proxy.fqdn,
            str(HTTPS),
        )
        hop = f"{traefik(site, proxy)} for who shows no certificate"
        yield Check(gateway.name, "http", hop, command, target=proxy.name, port=HTTPS)


def _passed_on(site: Site) -> Iterator[Check]:
    """The whole way to what has no TLS of its own, which would prove it."""
    client = site.hypervisor
    for gateway in guests_with(site, "nginx"):
        at = str(target_address(client, gateway))
        for service in tcp_services(site):
            if service.checked and _admits(site, service) and not service.has_tls:
                command = ("tcp_passes", at, str(service.gateway_port))
                hop = f"{service.name} through {the_gateway(site, gateway)}"
                yield Check(
                    *(client.name, "http", hop, command),
                    target=gateway.name, port=service.gateway_port, service=service.name,
                )  # fmt: skip


def _at_the_virtual_address(site: Site) -> Iterator[Check]:
    """What gateways hand on by ports of their own, by the address that clients have."""
    client, at = site.hypervisor, address_for_client(site, site.hypervisor)
    for service in tcp_services(site) if at is not None else ():
        if not service.checked or not _admits(site, service):
            continue
        for name in service.names if service.has_tls else ("",):
            where = (str(at), str(service.gateway_port))
            command = ("tls_verifies", *where, name, ROOTS) if name else ("tcp_passes", *where)
            hop = f"{name or service.name} at {at} port {service.gateway_port}"
            layer: Layer = "tls" if name else "http"
            yield Check(
                client.name, layer, hop, command, port=service.gateway_port, name=name,
                service=service.name,
            )  # fmt: skip


def _admits(site: Site, service: Service) -> bool:
    """Whether the hypervisor is among the clients that may ask a service of the gateway."""
    allowed = service.options.allowed_networks
    client = address_pair(site.hypervisor, site.gateway or site.hypervisor).source
    return not allowed or any(client in network for network in allowed)


def _asked(site: Site, route: Route) -> tuple[str, str]:
    """The path that the hypervisor asks for, and the status that it is given."""
    if route.kind == "dashboard":
        return "/dashboard/", "401"
    return route.service.asked_path, _expected(site, route.service)


def _expected(site: Site, service: Service) -> str:
    """The status that the hypervisor is given, which is a client like any other and has no login.

    Nothing is asked of the service itself where a proxy turns the hypervisor away.
    """
    if not _admits(site, service):
        return "403"
    return "401" if service.options.basic_auth else str(service.health_status)


def _containers(site: Site) -> Iterator[Check]:
    """Docker, Portainer and the stacks: by the API where it counts, by Docker where it runs."""
    for host in site.docker_hosts:
        hop = "Docker's API on the network"
        yield Check(host.name, "tcp", hop, ("docker_has_no_port",), target=host.name)
    for host, stack, _ in deployments.placed(site):
        command: tuple[str, ...] = ("containers_are_well", stack.project, *stack.completing)
        title = f"containers of {stack.project}"
        if stack.type == "swarm":
            command, title = ("tasks_are_well", stack.project), f"services of {stack.project}"
        yield Check(
            *(host.name, "service", title, command),
            target=host.name, stack=stack.project,
            endpoint=host.portainer_environment if deployments.by_portainer(site, host) else "",
        )  # fmt: skip
    server = site.portainer
    if server is None:
        return
    api = (f"{control_plane.portainer_url(site)}/api", ROOTS, API_KEY_FILE)
    hop = "Portainer's API with our key"
    yield Check(server.name, "http", hop, ("portainer_knows_us", *api), target=server.name)
    for host in deployments.environments(site):
        if host != server:
            yield from _agent(site, server, host)
        endpoint = host.portainer_environment
        command = ("endpoint_is_up", *api, endpoint)
        hop = f"Portainer's endpoint {endpoint}"
        yield Check(server.name, "http", hop, command, target=host.name, endpoint=endpoint)
        for stack in host.docker_stacks:
            name = stack.project
            command = ("stack_is_active", *api, endpoint, name)
            yield Check(
                *(server.name, "http", f"the stack {name} on {host.name} in Portainer", command),
                target=host.name, endpoint=endpoint, stack=name,
            )  # fmt: skip


def _agent(site: Site, server: Host, agent: Host) -> Iterator[Check]:
    """Through the tunnel for Portainer's server, shut to who shows no certificate."""
    hop = f"Portainer to the agent on {agent.name}"
    endpoint, service = agent.portainer_environment, control_plane.agent(site, agent)
    yield _port(server, hop, agent, service.port, endpoint=endpoint)
    where = (str(target_address(server, agent)), str(service.port), agent.fqdn)
    url = agent_url(service).replace("tcp://", "https://")
    commands: tuple[tuple[str, Layer, tuple[str, ...]], ...] = (
        (hop, "certificate", ("served_is_fresh", *where)),
        (hop, "tls", ("tls_verifies", *where, ROOTS)),
        (f"{hop}, through the tunnel", "tls", ("agent_pings", url)),
    )
    for title, layer, command in commands:
        yield Check(
            *(server.name, layer, title, command),
            target=agent.name, port=service.port, endpoint=endpoint,
        )  # fmt: skip
    command = (
        "serves_no_stranger",
        str(target_address(server, agent)),
        agent.fqdn,
        str(service.port),
    )
    hop = f"the agent on {agent.name} for who shows no certificate"
    yield Check(
        *(server.name, "http", hop, command),
        target=agent.name, port=service.port, endpoint=endpoint,
    )  # fmt: skip
