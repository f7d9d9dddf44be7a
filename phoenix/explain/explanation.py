"""How a name travels: from DNS to the backend, by the functions that the deploys use.

A name is a service's, a host's, a stack's, or any other that internal DNS knows. Facts are looked
up in what is derived for the deploys; nothing is worked out a second time here.
"""

from __future__ import annotations

from phoenix.derived import dns, firewall
from phoenix.derived.certificates import certificates
from phoenix.derived.components import Component
from phoenix.derived.deployments import METHOD_WORDS, deployment_method
from phoenix.derived.find import Meaning, Stack, find, kind_of, normalised, unknown
from phoenix.derived.routes import backend_url, gateway_names, routes
from phoenix.explain.facts import (
    acme_certificates,
    checks_of_service,
    checks_of_stack,
    checks_on,
    flow,
    flows_of_service,
    gateway,
    options,
    records,
    router,
    self_made_certificate,
)
from phoenix.explain.model import Backend, Explanation, Transport, UnknownName
from phoenix.site.addressing import static_addresses
from phoenix.site.model import Host, Service, Site, Source, Template
from phoenix.site.names import in_zone, is_name, is_number


def explain(site: Site, name: str) -> Explanation | UnknownName:
    """Explain a name, as `phoenix.derived.find` knows it.

    Of several meanings the first is explained, a service before a guest; the others are named.
    """
    meanings = find(site, name)
    if not meanings:
        return _unknown(site, name)
    explained = _meaning(site, meanings[0])
    others = [f"{kind_of(other)}:{other.name}" for other in meanings[1:]]
    named = tuple(dict.fromkeys([*explained.see_also, *others]))
    return explained.model_copy(update={"see_also": named})


def _meaning(site: Site, meaning: Meaning) -> Explanation:
    match meaning:
        case Service():
            return _service(site, meaning)
        case Host():
            return _host(site, meaning)
        case Template():
            return _template(meaning)
        case Component():
            return _component(site, meaning)
        case Stack():
            return _stack(site, meaning)
        case dns.DnsRecord():
            return _record(site, meaning)


def _template(template: Template) -> Explanation:
    return Explanation(
        name=template.name,
        kind="template",
        title=f"template {template.name} {template.vmid}",
        facts=("guests are cloned from it; it never runs, so it has no name in DNS",),
        declared=(
            Source(file=template.source.file, path=f"{template.source.path}.name"),
            template.source,
        ),
    )


def _component(site: Site, component: Component) -> Explanation:
    hosts = component.hosts(site)
    where = ", ".join(host.name for host in hosts) or "no host of this site"
    return Explanation(
        name=component.name,
        kind="component",
        title=f"component {component.name}",
        facts=(
            component.does,
            f"deployed by {component.deploy} on {where}",
            f"phoenix sync {component.name}",
        ),
        declared=(),
        see_also=tuple(host.fqdn for host in hosts),
    )


def _service(site: Site, service: Service) -> Explanation:
    route = next((route for route in routes(site) if route.service == service), None)
    stack = service.deployment
    owner = service.owner
    names = {*service.names}
    if service.kind == "agent":  # the tunnel's end proves its guest's name
        names |= {owner.fqdn}
    if route:  # a stack proves a name of its own, its host's pair is not on the way
        names |= {service.server_name} if stack else {service.server_name, owner.fqdn}
    facts = {
        "backend": f"served by {owner.name}",
        "dashboard": f"the dashboard of {owner.name}, for who knows its password",
        "home": f"the start page, behind {owner.name} on its loopback",
        "ca": f"the certificate authority on {owner.name}, reached directly, never routed",
        "agent": f"the Portainer agent on {owner.name}, for Portainer's guest alone, never routed",
        "redirect": f"a redirect, by {owner.name} itself",
        "external": "not managed by Phoenix",
        "tcp": f"served by {owner.name}, at port {service.gateway_port} of the gateway",
    }
    holders = {*site.gateways, *site.traefiks, owner} if route else {owner}
    return Explanation(
        name=service.fqdn,
        kind="service",
        title=f"service {service.name}",
        facts=(
            facts[service.kind],
            *([f"also called {', '.join(service.aliases)}"] if service.aliases else ()),
            *options(service),
        ),
        records=records(site, lambda record: record.name in service.names),
        gateway=gateway(site) if route else None,
        router=router(site, service) if route else None,
        backend=_backend(site, service) if service.kind != "redirect" else None,
        certificates=(*acme_certificates(site, holders, names), *self_made_certificate(service)),
        flows=tuple(flows_of_service(site, service)),
        checks=checks_of_service(site, service),
        declared=_places(service),
        see_also=tuple(
            f"service:{other.name}"
            for other in site.services
            if other != service and {*other.names} & {*service.names}
        ),
    )


def _backend(site: Site, service: Service) -> Backend:
    transport, stack = _transport(service), service.deployment
    return Backend(
        host=service.external.host if service.external else service.owner.name,
        url=backend_url(site, service),
        transport=transport,
        verified=_proven(service, transport),
        health=service.health_path,
        stack=stack.project if stack else "",
    )


def _transport(service: Service) -> Transport:
    if not service.has_tls:
        return "plain"
    if service.external is not None and service.external.fingerprint:
        return "pinned"
    return "mutual" if service.kind == "agent" else "verified"


def _proven(service: Service, transport: Transport) -> str:
    """The name that the backend's certificate must prove; empty where none is asked for."""
    names = {"verified": service.server_name, "mutual": service.owner.fqdn}
    return names.get(transport, "")


def _places(service: Service) -> tuple[Source, ...]:
    """Where a service is declared: its own object, or the key from which it follows."""
    file, path = service.source.file, service.source.path
    if service.kind in ("backend", "redirect", "external", "tcp"):
        return (service.source,)
    keys = {
        "dashboard": ("role", "features"),
        "home": ("role", "features"),
        "ca": ("traefik_service", "role", "features"),
        "agent": ("portainer_agent_hostname", "portainer_role"),
    }[service.kind]
    return (*(Source(file=file, path=f"{path}.{key}") for key in keys), service.source)


def _host(site: Site, host: Host) -> Explanation:
    owned = [service for service in site.services if service.owner == host]
    facts = [f"{host.kind}, address {host.address}, groups {', '.join(host.groups)}"]
    after = [site.host(vmid).name for vmid in host.dependencies]
    facts += [f"starts after {', '.join(after)}"] if after else []
    facts += [f"left alone: {', '.join(host.left_alone)}"] if host.left_alone else []
    facts += [f"stack {stack.project}" for stack in host.docker_stacks]
    facts += [f"service {service.name} at {backend_url(site, service)}" for service in owned]
    number = f" {host.vmid}" if host.vmid else ""
    return Explanation(
        name=host.fqdn,
        kind="host",
        title=f"host {host.name}{number}",
        facts=tuple(facts),
        records=records(site, lambda record: record.address == host.address),
        certificates=(
            *acme_certificates(
                site,
                {host},
                {name for certificate in certificates(site) for name in certificate.sans},
            ),
            *(certificate for service in owned for certificate in self_made_certificate(service)),
        ),
        flows=tuple(
            flow(passage)
            for passage in firewall.flows(site)
            if host in (passage.source, passage.destination)
        ),
        checks=checks_on(site, host),
        declared=(Source(file=host.source.file, path=f"{host.source.path}.name"), host.source),
        see_also=tuple(service.fqdn for service in owned),
    )


def _stack(site: Site, requested: Stack) -> Explanation:
    host, stack = requested.deployed[0]
    elsewhere = [
        f"also as {other.project} on {guest.name}" for guest, other in requested.deployed[1:]
    ]
    services = [
        service
        for service in site.services
        if service.owner == host and service.deployment == stack
    ]
    secret = [variable.name for variable in stack.variables if variable.secret]
    variables = [variable.name for variable in stack.variables if not variable.secret]
    method = METHOD_WORDS[deployment_method(site, host)]
    facts = [f"environment {stack.environment} on {host.name}, deployed {method}"]
    facts += elsewhere
    facts += [stack.description] if stack.description else []
    facts += [f"service {service.name} at {backend_url(site, service)}" for service in services]
    facts += [f"variables: {', '.join(variables)}"] if variables else []
    facts += [f"variables from secrets: {', '.join(secret)}"] if secret else []
    facts += [f"file at {file.destination}" for file in stack.files]
    facts += [
        f"publishes {port.host_port}/{port.proto} of {port.service}"
        + (f" on {port.address} only" if port.address else "")
        for port in stack.ports
    ]
    return Explanation(
        name=stack.project,
        kind="stack",
        title=f"stack {stack.project}",
        facts=tuple(facts),
        flows=tuple(flow for service in services for flow in flows_of_service(site, service)),
        checks=checks_of_stack(site, host, stack),
        declared=(stack.entry, stack.source),
        see_also=tuple(service.fqdn for service in services),
    )


def _record(site: Site, record: dns.DnsRecord) -> Explanation:
    """A name that is in DNS and is neither a service nor a host."""
    declared: list[Source] = []
    for host in site.guests:
        for position, extra in enumerate(host.dns_records):
            if extra.name == record.name:
                path = f"{host.source.path}.dns_records[{position}]"
                declared.append(Source(file=host.source.file, path=path))
    for service in site.services:
        if service.server_name == record.name:
            path = f"{service.source.path}.server_name"
            declared.append(Source(file=service.source.file, path=path))
    holder = next((host for host in site.hosts if record.address in static_addresses(host)), None)
    return Explanation(
        name=record.name,
        kind="record",
        title=f"name {record.name}",
        facts=(record.why,),
        records=records(site, lambda other: other.name == record.name),
        certificates=tuple(acme_certificates(site, {holder}, {record.name})) if holder else (),
        declared=tuple(declared),
        see_also=(holder.fqdn,) if holder else (),
    )


def _unknown(site: Site, name: str) -> UnknownName:
    query = normalised(name)
    happens = _asked_for(site, query) if _is_asked_of_dns(query) else ()
    return UnknownName(name=query, happens=happens, near=unknown(site, name).near)


def _is_asked_of_dns(query: str) -> bool:
    """Whether a client would look the word up: no address or id, and no `KIND:NAME`."""
    return is_name(query) and not is_number(query.rpartition(".")[2])


def _asked_for(site: Site, query: str) -> tuple[str, ...]:
    """What happens to a request for a name that nothing has."""
    full = query if in_zone(query, site.domain) else f"{query}.{site.domain}"
    names = " or ".join(host.name for host in site.name_servers)
    happens = [f"DNS: {names} answers NXDOMAIN for {full}: the zone has exact names only"]
    if "." in query and not in_zone(query, site.domain):
        happens = [
            f"DNS: {query} is outside {site.domain}: the setting dns_upstreams is asked about it"
        ]
    if site.gateways:
        gateways = " and ".join(host.name for host in site.gateways)
        happens.append(
            f"gateway: {gateways} refuses the TLS handshake for it: "
            f"it knows {len(gateway_names(site))} names"
        )
    return tuple(happens)
