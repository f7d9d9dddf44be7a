"""What must hold for a request to arrive: checks by layer, each made by the guest concerned.

All of them come from the Site, as the configuration does, so that nothing is configured and not
checked. A check is one call of a function of `phoenix/health/probe.sh` on one host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from phoenix.components.acme.config import PAIRS
from phoenix.components.portainer.config import (
    AGENT_PORT,
    AGENT_UNIT,
    API_KEY_FILE,
    SERVER_PORT,
    SERVER_UNIT,
    agent_url,
)
from phoenix.components.step_ca.config import DIRECTORY, PORT
from phoenix.components.traefik.config import LOCAL, ROOT_CA
from phoenix.derived import dns, home
from phoenix.derived.certificates import certificates
from phoenix.derived.routes import gateway_names, routes
from phoenix.health.advice import mend
from phoenix.site.model import Host, Service, Site
from phoenix.site.names import in_zone
from phoenix.site.roles import guest_with

Layer = Literal["reach", "service", "dns", "tcp", "certificate", "tls", "router", "http"]
LAYERS: tuple[Layer, ...] = (
    "reach", "service", "dns", "tcp", "certificate", "tls", "router", "http",
)  # fmt: skip
"""In the order in which a fault of one explains faults of the next.

`reach` is the operator's own way in: a host that does not answer explains what fails behind it.
An expired certificate explains why TLS is refused; where there is no TLS at all, `tls` says so.
"""


@dataclass(frozen=True)
class Check:
    """One check of one layer, made on `host`; `words` are the probe's name and arguments.

    `target` is the host that it is about, `subject` what of it: a unit, a server name, a service,
    a certificate, an endpoint or a stack.
    """

    host: str
    layer: Layer
    hop: str
    words: tuple[str, ...]
    target: str = ""
    subject: str = ""

    @property
    def probe(self) -> str:
        """The function of `probe.sh`; empty for what is no probe."""
        return self.words[0] if self.words else ""


@dataclass(frozen=True)
class Outcome:
    """What a check found: `fault` is empty when all is well."""

    check: Check
    fault: str


def checks(site: Site) -> tuple[Check, ...]:
    """Every check of the site, along the path of a request within each layer."""
    made = [*_services(site), *_names(site), *_pairs(site), *_connections(site), *_keys(site)]
    made += [*_routers(site), *_requests(site), *_containers(site)]
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
    units += [(s.owner, home.UNIT, "the start page") for s in site.services if s.kind == "home"]
    for host, unit, what in units:
        hop = f"{what} ({unit})"
        yield Check(host.name, "service", hop, ("unit_runs", unit), host.name, unit)


def _names(site: Site) -> Iterator[Check]:
    records = {record.name: f"{record.name}={record.address}" for record in dns.records(site)}
    server = site.hypervisor.name
    for host in site.hosts:
        single = _names_by_themselves(site, host)
        for name in single:
            asked = ("names_resolve", records[name])
            yield Check(host.name, "dns", f"the name {name}", asked, server, name)
        rest = [record for name, record in records.items() if name not in single]
        hop = f"{len(rest)} other names"
        yield Check(host.name, "dns", hop, ("names_resolve", *rest), server)
        unknown = f"no-such-name.{site.domain}"
        words = ("name_is_unknown", unknown)
        yield Check(host.name, "dns", "an undeclared name", words, server)


def _names_by_themselves(site: Site, host: Host) -> list[str]:
    """Names that a host's own paths begin with: another wrong record does not break those."""
    names = list(gateway_names(site)) if host == site.hypervisor else []
    names.append(f"ca.{site.domain}")
    if host == site.portainer:
        names.append(host.fqdn)
        names += [service.fqdn for service in site.services if service.kind == "agent"]
    return list(dict.fromkeys(names))


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
        end = (service.owner, service.port, service.server_name)
        yield from _tls(proxy.name, hop, *end, subject=service.name)
    else:
        words = ("port_answers", str(service.owner.address), str(service.port))
        yield Check(proxy.name, "tcp", hop, words, service.owner.name, service.name)


def _tls(
    source: str, hop: str, target: Host, port: int, name: str, *, subject: str = ""
) -> Iterator[Check]:
    where, about = (str(target.address), str(port)), (target.name, subject or name)
    yield Check(source, "tcp", hop, ("port_answers", *where), *about)
    yield Check(source, "certificate", hop, ("served_is_fresh", *where, name), *about)
    yield Check(source, "tls", hop, ("tls_verifies", *where, name, ROOT_CA), *about)


def _keys(site: Site) -> Iterator[Check]:
    ca = guest_with(site, "step_ca").name
    words = ("keys_are_private", f"{DIRECTORY}/secrets")
    yield Check(ca, "certificate", "the CA's keys", words, ca)


def _pairs(site: Site) -> Iterator[Check]:
    """Of the holders: before what others see of them, since it explains that."""
    for wanted in certificates(site):
        pair = f"{PAIRS}/{wanted.name}"
        host = wanted.host
        hop = f"the pair {pair}"
        about = (host.name, wanted.name)
        yield Check(host.name, "certificate", hop, ("pair_fits", pair, *wanted.sans), *about)
        for port in _ports_serving(site, host):
            words = ("pair_is_served", pair, str(host.address), str(port), wanted.sans[0])
            yield Check(host.name, "certificate", f"{hop} on port {port}", words, *about)


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
        about = (proxy.name, route.service.name)
        yield Check(proxy.name, "router", f"the router for {route.fqdn}", words, *about)


def _requests(site: Site) -> Iterator[Check]:
    """Whole requests, made by the hypervisor: no guest of the chain asks itself."""
    client, gateway = site.hypervisor.name, guest_with(site, "nginx")
    for route in routes(site):
        path = "/dashboard/" if route.kind == "dashboard" else route.health_path
        expected = "401" if route.kind == "dashboard" else "200"
        url = f"https://{route.fqdn}{path}"
        words = ("request_gives", expected, url, ROOT_CA)
        hop = f"{url} through gateway and Traefik"
        yield Check(client, "http", hop, words, gateway.name, route.fqdn)
    unknown = ("name_is_rejected", str(gateway.address), f"no-such-name.{site.domain}")
    yield Check(client, "http", "an undeclared name at the gateway", unknown, gateway.name)


def _containers(site: Site) -> Iterator[Check]:
    """Docker, Portainer and the stacks: by the API where it counts, by Docker where it runs."""
    for host in site.docker_hosts:
        words = ("docker_has_no_port",)
        yield Check(host.name, "tcp", "Docker's API on the network", words, host.name)
    server = site.portainer
    if server is None:
        return
    api = (f"https://{server.fqdn}:{SERVER_PORT}/api", ROOT_CA, API_KEY_FILE)
    knows = ("portainer_knows_us", *api)
    yield Check(server.name, "http", "Portainer's API with our key", knows, server.name)
    for agent in site.agents:
        hop = f"Portainer to the agent on {agent.name}"
        url = agent_url(site, agent).replace("tcp://", "https://")
        where = (str(agent.address), str(AGENT_PORT))
        endpoint = agent.portainer_environment
        about = (agent.name, endpoint)
        yield Check(server.name, "tcp", hop, ("port_answers", *where), *about)
        yield Check(server.name, "tls", hop, ("agent_pings", url), *about)
        hop = f"the agent on {agent.name}"
        yield Check(site.hypervisor.name, "tcp", hop, ("port_is_shut", *where), *about)
        up = ("endpoint_is_up", *api, endpoint)
        yield Check(server.name, "http", f"Portainer's endpoint {endpoint}", up, *about)
        for stack in agent.docker_stacks:
            name = stack.project
            asked = ("stack_is_active", *api, endpoint, name)
            hop = f"the stack {name} in Portainer"
            yield Check(server.name, "http", hop, asked, agent.name, name)
            well = ("containers_are_well", name)
            yield Check(agent.name, "service", f"containers of {name}", well, agent.name, name)


def report(
    outcomes: Mapping[str, Sequence[Outcome]],
    host: str,
    site: Site | None = None,
    failed: Sequence[str] = (),
) -> str:
    """What to tell about `host`, a line a fault, given every host's outcomes; empty if none.

    Args:
        site: if given, the first broken hop comes with its likely mend.
        failed: hosts that did not answer or had failed before, which may explain the faults.
    """
    mine = [outcome for outcome in outcomes.get(host, ()) if outcome.fault]
    if not mine:
        return ""
    first = first_broken([outcome for found in outcomes.values() for outcome in found])
    assert first is not None  # noqa: S101  # mine is not empty
    lines = [
        f"{outcome.check.layer}: {outcome.check.hop}: {outcome.fault}"
        for outcome in sorted(mine, key=lambda o: LAYERS.index(o.check.layer))
    ]
    if first.check.host != host:
        lines.append(f"(first broken hop: {first.check.layer} on {first.check.host})")
    else:
        lines[0] = f"first broken hop: {lines[0]}"
        if site is not None:
            advice = mend(site, first.check)
            lines.insert(1, f"likely mend: {advice.words}: {'; '.join(advice.commands)}")
    if failed:
        lines.append(
            f"(look first at {', '.join(failed)}: not all of the run came to its end there)"
        )
    return "\n".join(lines)
