"""What must hold for a request to arrive: checks by layer, each made by the guest concerned.

All of them come from the Site, as the configuration does, so that nothing is configured and not
checked. A check is one call of a function of `deploys/templates/probe.sh` on one host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from phoenix import dns
from phoenix.acme import PAIRS
from phoenix.certificates_wanted import certificates
from phoenix.model import Host, Service, Site
from phoenix.names import in_zone
from phoenix.portainer import (
    AGENT_PORT,
    AGENT_UNIT,
    API_KEY_FILE,
    SERVER_PORT,
    SERVER_UNIT,
    agent_url,
)
from phoenix.roles import guest_with
from phoenix.routes import gateway_names, routes
from phoenix.step_ca import DIRECTORY, PORT
from phoenix.traefik import LOCAL, ROOT_CA

Layer = Literal["service", "dns", "tcp", "tls", "certificate", "router", "http"]
LAYERS: tuple[Layer, ...] = ("service", "dns", "tcp", "tls", "certificate", "router", "http")
"""In the order in which a fault of one explains faults of the next."""


@dataclass(frozen=True)
class Check:
    """One check of one layer, made on `host`; `words` are the probe's name and arguments."""

    host: str
    layer: Layer
    hop: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What a check found: `fault` is empty when all is well."""

    check: Check
    fault: str


def checks(site: Site) -> tuple[Check, ...]:
    """Every check of the site, along the path of a request within each layer."""
    made = [*_services(site), *_names(site), *_connections(site), *_pairs(site), *_routers(site)]
    made += [*_requests(site), *_containers(site)]
    return tuple(sorted(made, key=lambda check: LAYERS.index(check.layer)))


def first_broken(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The fault that explains the others best: the first one of the lowest layer."""
    broken = [outcome for outcome in outcomes if outcome.fault]
    return min(broken, key=lambda o: LAYERS.index(o.check.layer), default=None)


def _services(site: Site) -> Iterator[Check]:
    units = [
        (site.hypervisor, "phoenix-dns.service", "internal DNS"),
        (guest_with(site, "step_ca"), "step-ca.service", "the CA"),
        (guest_with(site, "traefik"), "traefik.service", "Traefik"),
        (guest_with(site, "nginx"), "nginx.service", "Nginx"),
        *((host, "docker.service", "Docker") for host in site.docker_hosts),
        *((host, AGENT_UNIT, "Portainer's agent") for host in site.agents),
        *(
            (wanted.host, f"phoenix-acme@{wanted.name}.timer", "renewal of the certificate")
            for wanted in certificates(site)
        ),
    ]
    if site.portainer is not None:
        units.append((site.portainer, SERVER_UNIT, "Portainer"))
    for host, unit, what in units:
        yield Check(host.name, "service", f"{what} ({unit})", ("unit_runs", unit))


def _names(site: Site) -> Iterator[Check]:
    records = [f"{record.name}={record.address}" for record in dns.records(site)]
    for host in site.hosts:
        yield Check(
            host.name, "dns", f"{len(records)} names, and no other", ("names_resolve", *records)
        )
        unknown = f"no-such-name.{site.domain}"
        yield Check(host.name, "dns", "an undeclared name", ("name_is_unknown", unknown))


def _connections(site: Site) -> Iterator[Check]:
    ca = guest_with(site, "step_ca")
    proxy, gateway = guest_with(site, "traefik"), guest_with(site, "nginx")
    for host in site.hosts:
        yield from _tls(host.name, f"{host.name} to the CA", ca, PORT, f"ca.{site.domain}")
    yield from _tls(gateway.name, "Nginx to Traefik", proxy, 443, proxy.fqdn)
    for route in routes(site):
        service = route.service
        if service.kind == "backend":
            yield from _backend(proxy, service)
    for name in gateway_names(site):
        yield from _tls(
            site.hypervisor.name, f"a client to the gateway for {name}", gateway, 443, name
        )


def _backend(proxy: Host, service: Service) -> Iterator[Check]:
    hop = f"Traefik to {service.name} on {service.owner.name}"
    if service.scheme == "https":
        yield from _tls(proxy.name, hop, service.owner, service.port, service.server_name)
    else:
        words = ("port_answers", str(service.owner.address), str(service.port))
        yield Check(proxy.name, "tcp", hop, words)


def _tls(source: str, hop: str, target: Host, port: int, name: str) -> Iterator[Check]:
    where = (str(target.address), str(port))
    yield Check(source, "tcp", hop, ("port_answers", *where))
    yield Check(source, "tls", hop, ("tls_verifies", *where, name, ROOT_CA))
    yield Check(source, "certificate", hop, ("served_is_fresh", *where, name))


def _pairs(site: Site) -> Iterator[Check]:
    ca = guest_with(site, "step_ca")
    yield Check(
        ca.name, "certificate", "the CA's keys", ("keys_are_private", f"{DIRECTORY}/secrets")
    )
    for wanted in certificates(site):
        pair = f"{PAIRS}/{wanted.name}"
        host = wanted.host
        hop = f"the pair {pair}"
        yield Check(host.name, "certificate", hop, ("pair_fits", pair, *wanted.sans))
        for port in _ports_serving(site, host):
            words = ("pair_is_served", pair, str(host.address), str(port), wanted.sans[0])
            yield Check(host.name, "certificate", f"{hop} on port {port}", words)


def _ports_serving(site: Site, host: Host) -> list[int]:
    """Ports on which a host itself serves its pair; a stack takes a new one in its own time."""
    if host in (site.gateway, site.traefik):
        return [443]
    return sorted(
        {
            service.port
            for service in site.services
            if service.owner == host
            and service.kind == "backend"
            and service.scheme == "https"
            and in_zone(service.server_name, site.domain)
            and not service.source.file.startswith("stacks/")
        }
    )


def _routers(site: Site) -> Iterator[Check]:
    proxy = guest_with(site, "traefik")
    for route in routes(site):
        words = ("router_is_enabled", f"http://{LOCAL}/api/http/routers/{route.service.name}@file")
        yield Check(proxy.name, "router", f"the router for {route.fqdn}", words)


def _requests(site: Site) -> Iterator[Check]:
    """Whole requests, made by the hypervisor: no guest of the chain asks itself."""
    client = site.hypervisor.name
    for route in routes(site):
        path = "/dashboard/" if route.kind == "dashboard" else route.health_path
        expected = "401" if route.kind == "dashboard" else "200"
        url = f"https://{route.fqdn}{path}"
        words = ("request_gives", expected, url, ROOT_CA)
        yield Check(client, "http", f"{url} through gateway and Traefik", words)
    where = (str(guest_with(site, "nginx").address), f"no-such-name.{site.domain}")
    yield Check(client, "http", "an undeclared name at the gateway", ("name_is_rejected", *where))


def _containers(site: Site) -> Iterator[Check]:
    """Docker, Portainer and the stacks: by the API where it counts, by Docker where it runs."""
    for host in site.docker_hosts:
        yield Check(host.name, "tcp", "Docker's API on the network", ("docker_has_no_port",))
    server = site.portainer
    if server is None:
        return
    api = (f"https://{server.fqdn}:{SERVER_PORT}/api", ROOT_CA, API_KEY_FILE)
    yield Check(server.name, "http", "Portainer's API with our key", ("portainer_knows_us", *api))
    for agent in site.agents:
        hop = f"Portainer to the agent on {agent.name}"
        url = agent_url(site, agent).replace("tcp://", "https://")
        where = (str(agent.address), str(AGENT_PORT))
        yield Check(server.name, "tcp", hop, ("port_answers", *where))
        yield Check(server.name, "tls", hop, ("agent_pings", url))
        yield Check(
            site.hypervisor.name, "tcp", f"the agent on {agent.name}", ("port_is_shut", *where)
        )
        endpoint = agent.portainer_environment
        up = ("endpoint_is_up", *api, endpoint)
        yield Check(server.name, "http", f"Portainer's endpoint {endpoint}", up)
        for stack in agent.docker_stacks:
            name = stack.project
            asked = ("stack_is_active", *api, endpoint, name)
            yield Check(server.name, "http", f"the stack {name} in Portainer", asked)
            well = ("containers_are_well", name)
            yield Check(agent.name, "service", f"containers of {name}", well)


def report(outcomes: Mapping[str, Sequence[Outcome]], host: str) -> str:
    """What to tell about `host`, a line a fault, given every host's outcomes; empty if none."""
    mine = [outcome for outcome in outcomes.get(host, ()) if outcome.fault]
    if not mine:
        return ""
    first = first_broken([outcome for found in outcomes.values() for outcome in found])
    assert first is not None  # noqa: S101  # mine is not empty
    lines = [
        f"{outcome.check.layer}: {outcome.check.hop}: {outcome.fault}"
        for outcome in sorted(mine, key=lambda o: LAYERS.index(o.check.layer))
    ]
    if first.check.host == host:
        lines[0] = f"first broken hop: {lines[0]}"
    else:
        lines.append(f"(first broken hop: {first.check.layer} on {first.check.host})")
    return "\n".join(lines)
