"""How a name travels: from DNS to the backend, by the functions that the deploys use.

A name is a service's, a host's, a stack's, or any other that internal DNS knows. Facts are looked
up in what is derived for the deploys; nothing is worked out a second time here.
"""

from __future__ import annotations

import difflib

from phoenix.derived import dns, firewall
from phoenix.derived.certificates import certificates
from phoenix.derived.routes import gateway_names, routes
from phoenix.explain.facts import (
    checks,
    checks_on,
    flow,
    flows_of_service,
    gateway,
    held,
    own,
    records,
    router,
)
from phoenix.explain.model import Backend, Explanation, Nowhere, Transport
from phoenix.site.model import Deployment, Host, Service, Site, Source
from phoenix.site.names import in_zone


def explain(site: Site, name: str) -> Explanation | Nowhere:
    """Explain a service, host (by name or id), stack, or any name in internal DNS.

    Short names and full ones are alike; a URL counts as its host name.
    """
    asked = plain(name)
    for look in (_as_service, _as_host, _as_template, _as_stack, _as_record):
        found = look(site, asked)
        if found is not None:
            return found
    return _nowhere(site, asked)


def _means(site: Site, asked: str, full: str) -> bool:
    """Whether what was asked is this name, with or without the site's domain."""
    return asked in (full, full.removesuffix(f".{site.domain}"))


def _as_service(site: Site, asked: str) -> Explanation | None:
    for service in site.services:
        if _means(site, asked, service.fqdn):
            return _service(site, service)
    return None


def _as_host(site: Site, asked: str) -> Explanation | None:
    for host in site.hosts:
        if asked in (host.name, str(host.vmid)) or _means(site, asked, host.fqdn):
            return _host(site, host)
    return None


def _as_template(site: Site, asked: str) -> Explanation | None:
    for one in site.templates:
        if asked in (one.name, str(one.vmid)):
            return Explanation(
                name=one.name, kind="template", title=f"template {one.name} {one.vmid}",
                facts=("guests are cloned from it; it never runs, so it has no name in DNS",),
                declared=(Source(file=one.source.file, path=f"{one.source.path}.name"), one.source),
            )  # fmt: skip
    return None


def _as_stack(site: Site, asked: str) -> Explanation | None:
    stack = asked.removeprefix("stack:")
    for host in site.guests:
        for position, deployed in enumerate(host.docker_stacks):
            if stack in (deployed.name.lower(), deployed.project.lower()):
                return _stack(site, host, position, deployed)
    return None


def _as_record(site: Site, asked: str) -> Explanation | None:
    for record in dns.records(site):
        if _means(site, asked, record.name):
            return _record(site, record)
    return None


def plain(name: str) -> str:
    """The host name that a person means: of a URL its host, lower case, without a final dot.

    What no terminal should be sent is replaced.
    """
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name.strip())
    rest = shown.rpartition("://")[2].partition("/")[0].lower().rstrip(".")
    host, _, port = rest.rpartition(":")
    return host if host and port.isdigit() else rest


def known(site: Site) -> tuple[str, ...]:
    """Every name that can be explained, short ones first; for completion and near matches."""
    found = [service.name for service in site.services]
    found += [host.name for host in site.hosts]
    found += [stack.name for host in site.guests for stack in host.docker_stacks]
    found += [template.name for template in site.templates]
    found += [record.name for record in dns.records(site)]
    found += [str(host.vmid) for host in site.guests]
    return tuple(dict.fromkeys(found))


def _service(site: Site, service: Service) -> Explanation:
    route = next((one for one in routes(site) if one.service == service), None)
    stack = service.deployment
    owner = service.owner
    names = {service.fqdn, service.server_name, owner.fqdn} if route else {service.fqdn}
    facts = {
        "backend": f"served by {owner.name}",
        "dashboard": f"the dashboard of {owner.name}, for who knows its password",
        "home": f"the start page, behind {owner.name} on its loopback",
        "ca": f"the certificate authority on {owner.name}, reached directly, never routed",
        "agent": f"the Portainer agent on {owner.name}, reached directly, never routed",
    }
    holders = {site.gateway, site.traefik, owner} if route else {owner}
    return Explanation(
        name=service.fqdn,
        kind="service",
        title=f"service {service.name}",
        facts=(facts[service.kind],),
        records=records(site, lambda one: one.name == service.fqdn),
        gateway=gateway(site) if route else None,
        router=router(site, service) if route else None,
        backend=Backend(
            host=owner.name,
            url=service.backend_url,
            transport=_transport(service),
            verified=service.server_name if _transport(service) == "verified" else "",
            health=service.health_path,
            stack=stack.project if stack else "",
        ),
        certificates=(*held(site, holders, names), *own(service)),
        flows=tuple(flows_of_service(site, service)),
        checks=checks(site, *_words(service)),
        declared=_places(service),
        see_also=tuple(
            str(host.vmid) if host.vmid else host.fqdn
            for host in site.hosts
            if host.name == service.name
        ),
    )


def _transport(service: Service) -> Transport:
    if service.scheme == "http":
        return "plain"
    return "signed" if service.kind == "agent" else "verified"


def _words(service: Service) -> tuple[str, ...]:
    """What a check of this service has in its name or words."""
    words = {
        "agent": (f"agent on {service.owner.name}",),
        "ca": ("to the CA",),
        "dashboard": ("Nginx to Traefik", f"routers/{service.name}@file"),
        "home": ("Nginx to Traefik", f"routers/{service.name}@file", "the start page"),
        "backend": (
            "Nginx to Traefik",
            f"Traefik to {service.name} on {service.owner.name}",
            f"routers/{service.name}@file",
        ),
    }
    return (service.fqdn, *words[service.kind])


def _places(service: Service) -> tuple[Source, ...]:
    """Where a service is declared: its own object, or the key from which it follows."""
    file, path = service.source.file, service.source.path
    if service.kind == "backend":
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
    after = [str(site.host(one).name) for one in host.dependencies]
    facts += [f"starts after {', '.join(after)}"] if after else []
    facts += [f"stack {stack.project}" for stack in host.docker_stacks]
    facts += [f"service {service.name} at {service.backend_url}" for service in owned]
    number = f" {host.vmid}" if host.vmid else ""
    return Explanation(
        name=host.fqdn,
        kind="host",
        title=f"host {host.name}{number}",
        facts=tuple(facts),
        records=records(site, lambda one: one.address == host.address),
        certificates=(
            *held(site, {host}, {name for one in certificates(site) for name in one.sans}),
            *(made for service in owned for made in own(service)),
        ),
        flows=tuple(
            flow(one) for one in firewall.flows(site) if host in (one.source, one.destination)
        ),
        checks=checks_on(site, host),
        declared=(Source(file=host.source.file, path=f"{host.source.path}.name"), host.source),
        see_also=tuple(service.fqdn for service in owned),
    )


def _stack(site: Site, host: Host, position: int, stack: Deployment) -> Explanation:
    services = [one for one in site.services if one.owner == host and one.deployment == stack]
    secret = [one.name for one in stack.variables if one.secret]
    given = [one.name for one in stack.variables if not one.secret]
    facts = [f"environment {stack.environment} on {host.name}, deployed by Portainer"]
    facts += [stack.description] if stack.description else []
    facts += [f"service {one.name} at {one.backend_url}" for one in services]
    facts += [f"variables: {', '.join(given)}"] if given else []
    facts += [f"variables from secrets: {', '.join(secret)}"] if secret else []
    facts += [f"file at {one.destination}" for one in stack.files]
    facts += [
        f"publishes {one.host_port}/{one.proto} of {one.service}"
        + (" on the loopback only" if one.loopback else "")
        for one in stack.ports
    ]
    file = f"stacks/{stack.name}/phoenix.json"
    path = f"{host.source.path}.docker_stacks[{position}]"
    return Explanation(
        name=stack.project,
        kind="stack",
        title=f"stack {stack.project}",
        facts=tuple(facts),
        flows=tuple(flow for one in services for flow in flows_of_service(site, one)),
        checks=checks(site, stack.project),
        declared=(
            Source(file=host.source.file, path=path),
            Source(file=file, path=f"environments.{stack.environment}"),
        ),
        see_also=tuple(one.fqdn for one in services),
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
    holder = next((host for host in site.hosts if host.address == record.address), None)
    return Explanation(
        name=record.name,
        kind="record",
        title=f"name {record.name}",
        facts=(record.why,),
        records=records(site, lambda one: one.name == record.name),
        certificates=tuple(held(site, {holder}, {record.name})) if holder else (),
        declared=tuple(declared),
        see_also=(holder.fqdn,) if holder else (),
    )


def _nowhere(site: Site, asked: str) -> Nowhere:
    full = asked if in_zone(asked, site.domain) else f"{asked}.{site.domain}"
    happens = [
        f"DNS: {site.hypervisor.name} answers NXDOMAIN for {full}: the zone has exact names only"
    ]
    if "." in asked and not in_zone(asked, site.domain):
        happens = [
            f"DNS: {asked} is outside {site.domain}: the setting dns_upstreams is asked about it"
        ]
    if site.gateway:
        happens.append(
            f"gateway: {site.gateway.name} refuses the TLS handshake for it: "
            f"it knows {len(gateway_names(site))} names"
        )
    short = asked.removesuffix(f".{site.domain}")
    names = dict.fromkeys(name.removesuffix(f".{site.domain}") for name in known(site))
    near = difflib.get_close_matches(short, list(names), n=3)
    return Nowhere(name=asked, happens=tuple(happens), near=tuple(near))
