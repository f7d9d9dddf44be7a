"""Facts about names, looked up in what is derived for the deploys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set

import yaml

from phoenix.components.traefik.traefik_yml import dynamic_config
from phoenix.derived import dns, firewall
from phoenix.derived.certificates import certificates
from phoenix.derived.virtual_addresses import gateway_addresses
from phoenix.explain.model import Certificate, Flow, Gateway, Record, Router
from phoenix.health.checks import checks_by_host
from phoenix.health.paths import service_checks, stack_paths
from phoenix.site.findings import SettingError
from phoenix.site.model import Deployment, Host, Options, Service, Site
from phoenix.site.ports import HTTP, HTTPS
from phoenix.site.roles import RoleError
from phoenix.watch.causes import Check

_CHALLENGES = {
    "webroot": "http-01 by the web server",
    "standalone": "http-01",
}


def gateway(site: Site) -> Gateway | None:
    """The way through the front door; None for a site without one."""
    gateway, proxy = site.gateway, site.traefik
    if gateway is None or proxy is None:
        return None
    return Gateway(
        host=gateway.name,
        address=str(gateway.address),
        port=HTTPS,
        proxy=proxy.name,
        proxy_address=str(proxy.address),
        proxy_verified=proxy.fqdn,
        further=(
            *(
                f"by {another.name}, {another.address}:{HTTPS}, as well"
                for another in site.gateways[1:]
            ),
            *(
                f"one of them has {address}, where names lead"
                for address in gateway_addresses(site)
            ),
            *(
                f"to {traefik.name}, {traefik.address}, verified as {traefik.fqdn}, as well"
                for traefik in site.traefiks[1:]
            ),
        ),
    )


def router(site: Site, service: Service) -> Router | None:
    """The router out of the very file that Traefik reads."""
    try:
        routers = yaml.safe_load(dynamic_config(site)[0])["http"]["routers"]
    except SettingError:
        return None
    declared = routers[service.key]
    return Router(
        name=service.key,
        rule=declared["rule"],
        entry_points=tuple(declared["entryPoints"]),
        middlewares=tuple(declared.get("middlewares", ())),
        target=declared["service"],
    )


def options(service: Service) -> Iterator[str]:
    """What the proxies do for a service beside handing its requests on, in short sentences."""
    service_options = service.options
    if service.path:
        away = ", which it does not get itself" if service.strip_path else ""
        yield f"has requests for {service.path} and below{away}"
    if service.redirect is not None:
        kind = "for good" if service.redirect.permanent else "for the time being"
        keeps = ", with the path that they asked for" if service.redirect.keeps_path else ""
        yield f"sends clients to {service.redirect.url}{keeps}, {kind}"
    if service_options.allowed_networks:
        yield f"for clients of {', '.join(map(str, service_options.allowed_networks))} alone"
    yield from _log_in(service_options)
    for direction, headers in (
        ("gets", service_options.request_headers),
        ("answers", service_options.response_headers),
    ):
        for name, value in headers:
            yield f"{direction} with {name}: {value}" if value else f"{direction} without {name}"
    if service_options.max_body:
        yield f"request bodies up to {service_options.max_body}"
    if service_options.connect_timeout or service_options.read_timeout:
        waits = (
            ("connection", service_options.connect_timeout),
            ("answer", service_options.read_timeout),
        )
        yield "waits " + ", ".join(f"{wait} for each {event}" for event, wait in waits if wait)
    if not service.checked:
        yield "not checked: it may be off"


def _log_in(service_options: Options) -> Iterator[str]:
    if service_options.basic_auth:
        users = ", ".join(
            f"{login.user} (secret {login.secret})" for login in service_options.basic_auth
        )
        yield f"Traefik asks for a password, of {users}"
    if service_options.forward_auth is not None:
        passed_on = service_options.forward_auth.headers
        heads = f", which tells the service {', '.join(passed_on)}" if passed_on else ""
        yield f"each request is asked about at {service_options.forward_auth.url}{heads}"


def acme_certificates(site: Site, hosts: Set[Host], names: set[str]) -> Iterator[Certificate]:
    """Certificates by ACME of these hosts that prove one of the names."""
    for certificate in certificates(site):
        if certificate.host in hosts and (
            names & set(certificate.sans) or certificate.host in site.traefiks
        ):
            yield Certificate(
                host=certificate.host.name,
                names=certificate.sans,
                how=f"ACME, {_CHALLENGES[certificate.challenge]}, renewed by the guest itself",
                place=f"{certificate.directory}/",
            )


def self_made_certificate(service: Service) -> Iterator[Certificate]:
    """The certificate that a service makes for itself, without ACME."""
    how = {
        "ca": "made by the CA itself and renewed with each start",
        "agent": "made by the agent at each start, for its guest's loopback behind the tunnel",
    }.get(service.kind)
    if how:
        yield Certificate(host=service.owner.name, names=(service.fqdn,), how=how, place="")


def flows_of_service(site: Site, service: Service) -> Iterator[Flow]:
    """Along the path of a request; and the CA's look at who proves a name."""
    chain = {*site.gateways, *site.traefiks}
    for passage in firewall.flows(site):
        last = passage.destination == service.owner and passage.port == service.port
        through = passage.destination in chain and passage.port in (HTTP, HTTPS)
        door = service.gateway_port
        last = last or bool(door and passage.destination in site.gateways and passage.port == door)
        if service.kind == "tcp":
            through = False
        if last or (service.exposure == "gateway" and through):
            yield flow(passage)


def flow(passage: firewall.Flow) -> Flow:
    """A flow in words."""
    port = "" if passage.port is None else f" {passage.port}"
    if passage.last_port is not None:
        port += f" to {passage.last_port}"
    return Flow(
        source=_end(passage.source),
        destination=_end(passage.destination),
        what=f"{passage.proto}{port}",
        why=passage.why,
    )


def _end(end: firewall.Endpoint) -> str:
    return end.name if isinstance(end, Host) else "anyone" if end == "any" else str(end)


def records(site: Site, matches: Callable[[dns.DnsRecord], bool]) -> tuple[Record, ...]:
    """The records of internal DNS that match."""
    return tuple(
        Record(name=record.name, address=str(record.address), why=record.why)
        for record in dns.records(site)
        if matches(record)
    )


def checks_on(site: Site, host: Host) -> tuple[str, ...]:
    """Titles of the checks on a host; empty while the site lacks a guest of the chain."""
    return _titles(lambda: checks_by_host(site)[host.name])


def checks_of_service(site: Site, service: Service) -> tuple[str, ...]:
    """What a request for a service rests on, and who checks it."""
    return _titles(lambda: service_checks(site, service))


def checks_of_stack(site: Site, host: Host, stack: Deployment) -> tuple[str, ...]:
    """What a stack rests on, and who checks it."""
    key = host.name, stack.project
    return _titles(lambda: stack_paths(site)[key].checks)


def _titles(find: Callable[[], Iterable[Check]]) -> tuple[str, ...]:
    try:
        return tuple(check.title for check in find())
    except RoleError:  # a site without the whole chain has no checks of it
        return ()
