"""The services of a site, from each guest's `traefik_service` and its stacks' `services`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from phoenix.declaration.guests import Entry
from phoenix.declaration.json_keys import RawService
from phoenix.declaration.stacks import StackRoute
from phoenix.derived.certificates import stack_name
from phoenix.site import ports
from phoenix.site.findings import Report
from phoenix.site.model import Host, Service, Source
from phoenix.site.names import (
    AGENT,
    CA,
    DASHBOARD,
    HOME,
    HOST_ZONE,
    LABEL,
    has_policy,
    in_zone,
    is_name,
)

Declared = tuple[Host, Entry, tuple[StackRoute, ...]]


def derive(declared: Sequence[Declared], domain: str, report: Report) -> tuple[Service, ...]:
    """All services, sorted by name; every name has one owner, or it is reported."""
    services: dict[str, Service] = {}
    has_gateway = any("nginx" in host.roles for host, _, _ in declared)
    for host, entry, stack_routes in declared:
        own = [_own(host, entry, domain, report)]
        if "traefik" in host.roles and has_gateway:
            own += [
                _of_traefik(host, domain, DASHBOARD, "/dashboard/", "dashboard"),
                _of_traefik(host, domain, HOME, "/", "home"),
            ]
        if host.portainer_role == "agent" and not any(s and s.kind == "agent" for s in own):
            own.append(_agent(host, entry, None, domain, report))
        if "step_ca" in host.roles and not any(s and s.kind == "ca" for s in own):
            own.append(_ca(host, None, domain, report))
        for service in own:
            if service:
                _add(services, service, report)
        for route in stack_routes:
            backend = _backend(host, route.raw, route.source, domain, report, of_stack=True)
            if backend:
                _add(services, backend, report)
    _check_aliases(services, domain, report)
    return tuple(services[name] for name in sorted(services))


def _check_aliases(services: dict[str, Service], domain: str, report: Report) -> None:
    """Every further name has one owner, as every name has; one that has not is taken out."""
    owners = {service.fqdn: service for service in services.values()}
    for name, service in services.items():
        free = []
        for alias in service.aliases:
            label = alias.removesuffix(f".{domain}")
            first = owners.setdefault(alias, service)
            if label in _RESERVED:
                message = f"{label!r} is reserved: {_RESERVED[label]}"
            elif first.name != name:
                message = (
                    f"{label!r} is a name of the service {first.name!r}, declared at "
                    f"{first.source.file}: {first.source.path}"
                )
            elif alias == service.fqdn:
                message = f"{label!r} is the service's own name"
            else:
                free.append(alias)
                continue
            place = f"{service.source.path}.aliases"
            report.error(service.source.file, place, message, "choose another name, or remove it")
        services[name] = service.model_copy(update={"aliases": tuple(free)})


def _add(services: dict[str, Service], service: Service, report: Report) -> None:
    first = services.setdefault(service.name, service)
    if first is service:
        return
    place = f"{first.source.file}: {first.source.path}"
    from_stack, of_guest = not service.of_guest, first.of_guest
    same = first.owner.name == service.owner.name and first.kind == service.kind
    if same and from_stack and of_guest:
        report.warn(
            service.source.file,
            service.source.path,
            f"service {service.name!r} is ignored: its guest declares it too, at {place}",
            "keep one of the two declarations",
        )
        return
    report.error(
        service.source.file,
        service.source.path,
        f"duplicate service name {service.name!r}, declared first at {place}",
        "give one of the two another name"
        + (" by portainer_agent_hostname" if service.kind == "agent" else ""),
    )


def _own(host: Host, entry: Entry, domain: str, report: Report) -> Service | None:
    """The service of the guest itself; control-plane names are told apart here."""
    raw = entry.raw.traefik_service
    if raw is None:
        return None
    source = _declared_at(host)
    if host.portainer_role == "agent" and raw.name == _agent_label(entry, domain):
        _check_direct(raw, "the Portainer agent", source, report)
        return _agent(host, entry, raw, domain, report)
    if "step_ca" in host.roles:
        _check_direct(raw, "the CA", source, report)
        if raw.name != CA:
            path = f"{source.path}.name"
            report.warn(source.file, path, f"the CA is called {CA!r}", f"write {CA!r}")
        return _ca(host, raw, domain, report)
    if host.roles & {"nginx", "traefik"}:
        what = "the gateway" if "nginx" in host.roles else "Traefik"
        message = f"ignored: {what} would be routed through itself"
        report.warn(source.file, source.path, message, "remove it")
        return None
    if "portainer" in host.roles:
        raw = _portainer(host, raw, source, domain, report)
    return _backend(host, raw, source, domain, report)


def _declared_at(host: Host) -> Source:
    return Source(file=host.source.file, path=f"{host.source.path}.traefik_service")


def _check_direct(raw: RawService, what: str, source: Source, report: Report) -> None:
    if raw.exposure == "gateway":
        report.warn(
            source.file,
            source.path,
            f"{what} is reached directly, never through the gateway",
            'remove it, or write "exposure": "direct"',
        )


def _check_fixed(
    raw: RawService, fixed: Mapping[str, str], what: str, source: Source, report: Report
) -> None:
    """Refuse keys that say of one of the site's own services what it cannot be."""
    if raw.aliases and what != "Portainer":
        report.error(
            source.file,
            f"{source.path}.aliases",
            f"{what} has one name alone: its certificate is not made for others",
            "remove the key",
        )
    for key, fixed_value in fixed.items():
        value = getattr(raw, key)
        if key in raw.model_fields_set and value is not None and value != fixed_value:
            report.error(
                source.file,
                f"{source.path}.{key}",
                f"{value!r} is not possible: {what} always has {fixed_value!r}",
                f"write {fixed_value!r}, or remove the key",
            )


def _portainer(
    host: Host, raw: RawService, source: Source, domain: str, report: Report
) -> RawService:
    """What Portainer's own guest declares: its server speaks TLS alone, by the CA's certificate."""
    _check_fixed(raw, {"scheme": "https"}, "Portainer", source, report)
    update: dict[str, object] = {"scheme": "https"}
    if raw.server_name and not in_zone(raw.server_name, domain):
        update["server_name"] = None
        report.error(
            source.file,
            f"{source.path}.server_name",
            f"{raw.server_name!r} is outside {domain}: Portainer gets no certificate for it",
            f"remove the key for {host.fqdn}, or write a name in {domain}",
        )
    return raw.model_copy(update=update)


def _backend(
    host: Host,
    raw: RawService,
    source: Source,
    domain: str,
    report: Report,
    *,
    of_stack: bool = False,
) -> Service | None:
    fqdn = f"{raw.name}.{domain}"
    if raw.name in _RESERVED:
        report.error(
            source.file,
            f"{source.path}.name",
            f"{raw.name!r} is reserved: {_RESERVED[raw.name]}",
            "choose another name",
        )
        return None
    if raw.port is None:
        report.error(
            source.file,
            f"{source.path}.port",
            f"route {raw.name!r} has no backend: no port",
            f'add "port": the port on which {host.name} serves it',
        )
        return None
    scheme: Literal["http", "https"] = raw.scheme or ("http" if host.kind == "lxc" else "https")
    if scheme == "http":
        client = "Traefik" if raw.exposure == "gateway" else "clients"
        report.warn(
            source.file,
            f"{source.path}.scheme" if raw.scheme else source.path,
            f"{raw.name!r} crosses from {client} to {host.name} in plain text",
            'serve TLS there and write "scheme": "https"',
        )
    default = stack_name(raw.name, domain) if of_stack and scheme == "https" else host.fqdn
    server_name = raw.server_name or (fqdn if raw.exposure == "direct" else default)
    if not is_name(server_name):
        report.error(
            source.file,
            f"{source.path}.server_name",
            f"{server_name!r} is not a host name",
            f"write a lower-case DNS name, or leave it out for {default}",
        )
        return None
    if in_zone(server_name, domain) and not has_policy(server_name, domain):
        report.error(
            source.file,
            f"{source.path}.server_name",
            f"the CA's policy refuses {server_name}: it lies more than one label below {domain}",
            f"write a name such as {raw.name}.{domain}, or leave it out for {default}",
        )
        return None
    if raw.exposure == "direct" and server_name != fqdn:
        report.warn(
            source.file,
            f"{source.path}.server_name",
            f"clients ask {host.name} for {fqdn}, and its certificate proves {server_name}",
            'remove the key, or write "exposure": "gateway"',
        )
    if raw.server_name and not in_zone(server_name, domain):
        report.warn(
            source.file,
            f"{source.path}.server_name",
            f"{server_name} is outside {domain}, so the CA issues no certificate for it",
            f"leave it out for {default}",
        )
    return Service(
        name=raw.name,
        fqdn=fqdn,
        owner=host,
        port=raw.port,
        scheme=scheme,
        exposure=raw.exposure,
        server_name=server_name,
        health_path=raw.health_path,
        kind="backend",
        source=source,
        aliases=tuple(f"{label}.{domain}" for label in dict.fromkeys(raw.aliases)),
    )


_RESERVED = {
    CA: "only the guest with role step_ca has it",
    AGENT: "only a guest with portainer_role agent has it",
    HOST_ZONE: "it is the zone of the host names",
    DASHBOARD: "it is Traefik's dashboard, derived from role traefik",
    HOME: "it is the site's start page, derived from role traefik",
}


def _of_traefik(
    host: Host, domain: str, name: str, path: str, kind: Literal["dashboard", "home"]
) -> Service:
    """What Traefik's guest itself serves, through Traefik's port.

    The start page stands behind Traefik on the guest's loopback (`phoenix.derived.home`).
    """
    return Service(
        name=name,
        fqdn=f"{name}.{domain}",
        owner=host,
        port=ports.HTTPS,
        scheme="https",
        exposure="gateway",
        server_name=host.fqdn,
        health_path=path,
        kind=kind,
        source=host.source,
    )


def _ca(host: Host, raw: RawService | None, domain: str, report: Report) -> Service:
    service = _direct(host, raw, CA, domain, "ca")
    if raw:
        source = _declared_at(host)
        _check_fixed(raw, _fixed(service), "the CA", source, report)
        if service.port < ports.UNPRIVILEGED:
            report.error(
                source.file,
                f"{source.path}.port",
                f"{service.port} is not possible: the CA has no privilege to listen below "
                f"{ports.UNPRIVILEGED}",
                f"write a port from {ports.UNPRIVILEGED} up, such as {ports.CA}",
            )
    return service


def _direct(
    host: Host, raw: RawService | None, label: str, domain: str, kind: Literal["ca", "agent"]
) -> Service:
    """The CA or an agent: `raw` chooses the port, all else follows from what it is."""
    default, health = {"ca": (ports.CA, "/health"), "agent": (ports.AGENT, "/ping")}[kind]
    return Service(
        name=label,
        fqdn=f"{label}.{domain}",
        owner=host,
        port=(raw and raw.port) or default,
        scheme="https",
        exposure="direct",
        server_name=f"{label}.{domain}",
        health_path=health,
        kind=kind,
        source=host.source,
    )


def _fixed(service: Service) -> dict[str, str]:
    return {
        "scheme": service.scheme,
        "server_name": service.server_name,
        "health_path": service.health_path,
    }


def _agent_label(entry: Entry, domain: str) -> str:
    name = entry.raw.portainer_agent_hostname
    return name.removesuffix(f".{domain}") if name else AGENT


def _agent(
    host: Host, entry: Entry, raw: RawService | None, domain: str, report: Report
) -> Service | None:
    label = _agent_label(entry, domain)
    if not LABEL.match(label) or label in _RESERVED.keys() - {AGENT}:
        report.error(
            *entry.at("portainer_agent_hostname"),
            f"{label!r} is not a free label in {domain}",
            f'write "{AGENT}.{domain}", or leave it out',
        )
        return None
    service = _direct(host, raw, label, domain, "agent")
    if raw:
        _check_fixed(raw, _fixed(service), "the Portainer agent", _declared_at(host), report)
    return service
