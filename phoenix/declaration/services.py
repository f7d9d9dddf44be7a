"""The services of a site: of guests (`traefik_service`, `traefik_services`) and of stacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Literal

from phoenix.declaration import external
from phoenix.declaration.guests import Entry
from phoenix.declaration.json_keys import RawOptions, RawService
from phoenix.declaration.service_options import OPTION_KEYS, options
from phoenix.declaration.stacks import StackRoute
from phoenix.derived.certificates import stack_name
from phoenix.site import ports
from phoenix.site.findings import Report
from phoenix.site.model import Host, Redirect, Scheme, Service, Source
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
    is_proof,
)

Declared = tuple[Host, Entry, tuple[StackRoute, ...]]


def derive(
    declared: Sequence[Declared],
    far: Sequence[external.Declared],
    domain: str,
    networks: Sequence[IPv4Network],
    report: Report,
) -> tuple[Service, ...]:
    """All services, sorted by name; every name and path has one owner, or it is reported.

    Args:
        declared: the running guests, each with its entry and the routes of its stacks.
        far: the services that Phoenix does not manage.
        domain: the site's.
        networks: the site's, for which `allowed_networks` may say `site`.
        report: takes what is wrong.
    """
    services: dict[str, Service] = {}
    has_gateway = any("nginx" in host.roles for host, _, _ in declared)
    proxies = [host for host, _, _ in declared if "traefik" in host.roles]
    proxy = next(iter(proxies), None)
    make = _Maker(domain, networks, proxy, report)
    for host, entry, stack_routes in declared:
        own = [_own(host, entry, make)]
        own += _further(host, entry, make)
        if host is proxy and has_gateway:
            own += _by_itself(host, domain, proxies)
        if host.portainer_role == "agent" and not any(s and s.kind == "agent" for s in own):
            own.append(_agent(host, entry, None, domain, report))
        if "step_ca" in host.roles and not any(s and s.kind == "ca" for s in own):
            own.append(_ca(host, None, domain, report))
        for service in own:
            if service:
                _add(services, service, report)
        for route in stack_routes:
            backend = make.backend(host, route.raw, route.source, of_stack=True)
            if backend:
                _add(services, backend, report)
    for service in make.externals(far):
        _add(services, service, report)
    _check_aliases(services, domain, report)
    return tuple(services[name] for name in sorted(services))


def _check_aliases(services: dict[str, Service], domain: str, report: Report) -> None:
    """Every further name has one owner for a path, as every name has; others are taken out."""
    owners = {_place(service.fqdn, service): service for service in services.values()}
    for name, service in services.items():
        free = []
        for alias in service.aliases:
            label = alias.removesuffix(f".{domain}")
            first = owners.setdefault(_place(alias, service), service)
            if label in _RESERVED or is_proof(label):
                message = f"{label!r} is reserved: {_RESERVED.get(label, _PROOF)}"
            elif first.name != name:
                message = (
                    f"{label + service.path!r} is a name of the service {first.name!r}, declared "
                    f"at {first.source.file}: {first.source.path}"
                )
            elif alias == service.fqdn:
                message = f"{label!r} is the service's own name"
            else:
                free.append(alias)
                continue
            place = f"{service.source.path}.aliases"
            report.error(service.source.file, place, message, "choose another name, or remove it")
        services[name] = service.model_copy(update={"aliases": tuple(free)})


def _place(name: str, service: Service) -> tuple[str, str, int]:
    """What of a name is one service's alone: a path, or a port of the gateway."""
    return name, service.path, service.gateway_port


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
    if service.source == first.source:
        report.error(
            service.source.file,
            service.source.path,
            f"the stack is deployed on {first.owner.name} and on {service.owner.name}, and the "
            f"name {service.name!r} can lead to one of them alone",
            "deploy it on one guest, or write another environment of it with another name",
        )
        return
    report.error(
        service.source.file,
        service.source.path,
        f"duplicate service name {service.name!r}, declared first at {place}",
        f"give one of the two another name{', or another path' if service.path else ''}"
        + (" by portainer_agent_hostname" if service.kind == "agent" else ""),
    )


def _own(host: Host, entry: Entry, make: _Maker) -> Service | None:
    """The service of the guest itself; control-plane names are told apart here."""
    raw = entry.raw.traefik_service
    if raw is None:
        return None
    source, domain, report = _declared_at(host), make.domain, make.report
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
        role = "the gateway" if "nginx" in host.roles else "Traefik"
        message = f"ignored: {role} would be routed through itself"
        report.warn(source.file, source.path, message, "remove it")
        return None
    if "portainer" in host.roles:
        raw = _portainer(host, raw, source, domain, report)
    return make.backend(host, raw, source)


def _further(host: Host, entry: Entry, make: _Maker) -> list[Service | None]:
    """The services of the guest beside its one `traefik_service`."""
    services = []
    for position, raw in enumerate(entry.raw.traefik_services):
        path = f"{host.source.path}.traefik_services[{position}]"
        source = Source(file=host.source.file, path=path)
        if host.roles & {"nginx", "traefik"}:
            role = "the gateway" if "nginx" in host.roles else "Traefik"
            message = f"ignored: {role} would be routed through itself"
            make.report.warn(source.file, source.path, message, "remove it")
            continue
        services.append(make.backend(host, raw, source))
    return services


def _declared_at(host: Host) -> Source:
    return Source(file=host.source.file, path=f"{host.source.path}.traefik_service")


def _check_direct(raw: RawService, label: str, source: Source, report: Report) -> None:
    if raw.exposure == "gateway":
        report.warn(
            source.file,
            source.path,
            f"{label} is reached directly, never through the gateway",
            'remove it, or write "exposure": "direct"',
        )


def _check_fixed(
    raw: RawService, fixed: Mapping[str, str], label: str, source: Source, report: Report
) -> None:
    """Refuse keys that say of one of the site's own services what it cannot be."""
    for key in (*OPTION_KEYS, "gateway_port", "redirect_to", *_OF_A_REDIRECT):
        of_portainer = label == "Portainer" and key not in ("path", "redirect_to")
        if key in raw.model_fields_set and key != "aliases" and not of_portainer:
            report.error(
                source.file,
                f"{source.path}.{key}",
                f"{label} does not take this key: "
                + (
                    "it needs every path of its name"
                    if label == "Portainer"
                    else "it is reached directly, and no proxy stands before it"
                ),
                "remove the key",
            )
    if raw.aliases and label != "Portainer":
        report.error(
            source.file,
            f"{source.path}.aliases",
            f"{label} has a single name: its certificate is made for no other",
            "remove the key",
        )
    for key, fixed_value in fixed.items():
        value = getattr(raw, key)
        if key in raw.model_fields_set and value is not None and value != fixed_value:
            report.error(
                source.file,
                f"{source.path}.{key}",
                f"{value!r} is not possible: {label} always has {fixed_value!r}",
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


class _Maker:
    """Makes services of what a site declares.

    Args:
        domain: the site's.
        networks: the site's.
        proxy: Traefik's guest, which answers for what has no backend; None where there is none.
        report: takes what is wrong.
    """

    def __init__(
        self, domain: str, networks: Sequence[IPv4Network], proxy: Host | None, report: Report
    ) -> None:
        self.domain, self.networks, self.proxy, self.report = domain, networks, proxy, report

    def backend(
        self, host: Host, raw: RawService, source: Source, *, of_stack: bool = False
    ) -> Service | None:
        """A declared service of a host, or of a stack on it; None with the reason reported."""
        domain, report = self.domain, self.report
        label = self._label(raw, source)
        if label is None:
            return None
        if raw.redirect_to is not None:
            return self._redirect(host, raw, label, raw.redirect_to, source)
        if raw.port is None:
            report.error(
                source.file,
                f"{source.path}.port",
                f"route {raw.name!r} has no backend: no port",
                f'add "port": the port on which {host.name} serves it',
            )
            return None
        if raw.scheme in ("tcp", "tls"):
            return self._tcp(host, raw, raw.scheme, label, raw.port, source)
        if raw.gateway_port is not None:
            report.error(
                source.file,
                f"{source.path}.gateway_port",
                "it is asked by HTTPS, at the gateway's port 443",
                'remove the key, or write "scheme": "tcp" or "tls"',
            )
        scheme: Scheme = raw.scheme or ("http" if host.kind == "lxc" else "https")
        has_tls = scheme in ("https", "grpcs")
        fqdn = f"{label}.{domain}"
        if not has_tls:
            client = "Traefik" if raw.exposure == "gateway" else "clients"
            report.warn(
                source.file,
                f"{source.path}.scheme" if raw.scheme else source.path,
                f"{raw.name!r} crosses from {client} to {host.name} in plain text",
                'serve TLS there and write "scheme": '
                + ('"grpcs"' if scheme == "grpc" else '"https"'),
            )
        default = stack_name(label, domain) if of_stack and has_tls else host.fqdn
        server_name = raw.server_name or (fqdn if raw.exposure == "direct" else default)
        if not self._provable(raw, server_name, default, fqdn, host, source):
            return None
        self._check_ways(raw, source)
        service = Service(
            name=f"{label}{raw.path or ''}",
            fqdn=fqdn,
            owner=host,
            port=raw.port,
            scheme=scheme,
            exposure=raw.exposure,
            server_name=server_name,
            health_path=raw.health_path,
            kind="backend",
            source=source,
        )
        return self._with_options(service, raw, source)

    def _tcp(
        self, host: Host, raw: RawService, scheme: Scheme, label: str, port: int, source: Source
    ) -> Service | None:
        """What is no HTTP, by a port of the gateway."""
        report, before = self.report, len(self.report.errors)
        for key in raw.model_fields_set - _OF_TCP:
            report.error(
                source.file,
                f"{source.path}.{key}",
                f"{scheme} carries no requests of HTTP that this could be done to",
                "remove the key",
            )
        if raw.exposure == "direct":
            report.error(
                source.file,
                f"{source.path}.exposure",
                f"{scheme} goes through the gateway",
                "remove the key; a direct way is what dns_records and firewall.rules declare",
            )
        if len(report.errors) != before:
            return None
        fqdn, at = f"{label}.{self.domain}", raw.gateway_port or port
        service = Service(
            name=f"{label}:{at}",
            fqdn=fqdn,
            owner=host,
            port=port,
            scheme=scheme,
            exposure="gateway",
            server_name=fqdn if scheme == "tls" else "",
            health_path="/",
            kind="tcp",
            source=source,
            gateway_port=at,
        )
        return self._with_options(service, raw, source)

    def externals(self, far: Sequence[external.Declared]) -> Iterator[Service]:
        """The services that Phoenix does not manage; none without a Traefik to connect to them."""
        proxy = self.proxy
        if proxy is not None:
            yield from filter(None, (self._external(entry, proxy) for entry in far))

    def _external(self, entry: external.Declared, proxy: Host) -> Service | None:
        """A service that Phoenix does not manage, which `proxy` connects to."""
        raw, source, report = entry.raw, entry.source, self.report
        label = self._label(raw, source)
        if label is None:
            return None
        has_tls = raw.scheme in ("https", "grpcs")
        if not has_tls:
            report.warn(
                source.file,
                f"{source.path}.scheme",
                f"{raw.name!r} crosses from Traefik to {raw.address} in plain text",
                'serve TLS there and write "scheme": "https"',
            )
        self._check_path(raw, source)
        service = Service(
            name=f"{label}{raw.path or ''}",
            fqdn=f"{label}.{self.domain}",
            owner=proxy,
            port=raw.port,
            scheme=raw.scheme,
            exposure="gateway",
            server_name=(raw.server_name or raw.address) if has_tls else "",
            health_path=raw.health_path,
            kind="external",
            source=source,
            external=entry.external,
        )
        return self._with_options(service, raw, source)

    def _label(self, raw: RawOptions, source: Source) -> str | None:
        """The name below the domain; None where it is reserved, which is reported."""
        label = raw.name.removesuffix(f".{self.domain}")
        for key, name in (("name", label), *(("aliases", alias) for alias in raw.aliases)):
            if _is_foreign(name.removesuffix(f".{self.domain}"), self.domain):
                self.report.warn(
                    source.file,
                    f"{source.path}.{key}",
                    f"{name} looks like a full name, but leads to {name}.{self.domain}: the site "
                    f"has names below {self.domain} alone",
                    f"write the part before it, as {name.partition('.')[0]}",
                )
        if label in _RESERVED or is_proof(label):
            self.report.error(
                source.file,
                f"{source.path}.name",
                f"{label!r} is reserved: {_RESERVED.get(label, _PROOF)}",
                "choose another name",
            )
            return None
        return label

    def _provable(
        self, raw: RawService, server_name: str, default: str, fqdn: str, host: Host,
        source: Source,
    ) -> bool:  # fmt: skip
        """Whether the service can prove this name; what is wrong with it is reported."""
        domain, report = self.domain, self.report
        if not is_name(server_name):
            report.error(
                source.file,
                f"{source.path}.server_name",
                f"{server_name!r} is not a host name",
                f"write a lower-case DNS name, or leave it out for {default}",
            )
            return False
        own = server_name in (fqdn, default)  # the CA's policy has those
        if in_zone(server_name, domain) and not own and not has_policy(server_name, domain):
            report.error(
                source.file,
                f"{source.path}.server_name",
                f"the CA's policy refuses {server_name}: it lies more than one label below "
                f"{domain}",
                f"write a name such as {raw.name}.{domain}, or leave it out for {default}",
            )
            return False
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
        return True

    def _check_ways(self, raw: RawService, source: Source) -> None:
        """Refuse keys that contradict each other, or that nothing would carry out."""
        report = self.report
        of_proxies = [key for key in OPTION_KEYS if key not in _WITHOUT_PROXY]
        for key in of_proxies if raw.exposure == "direct" else ():
            if key in raw.model_fields_set:
                report.error(
                    source.file,
                    f"{source.path}.{key}",
                    "no proxy stands before a service that is reached directly, so nothing "
                    "carries this out",
                    'remove the key, or write "exposure": "gateway"',
                )
        self._check_path(raw, source)
        for key in ("health_path", "health_status") if raw.check == "none" else ():
            if key in raw.model_fields_set:
                report.unread(
                    source.file, f"{source.path}.{key}", 'is not used: "check" is "none"',
                    'remove the key, or "check"',
                )  # fmt: skip
        for key in _OF_A_REDIRECT:
            if getattr(raw, key):
                report.error(
                    source.file, f"{source.path}.{key}", "there is no redirect_to",
                    "add it, or remove the key",
                )  # fmt: skip

    def _check_path(self, raw: RawOptions, source: Source) -> None:
        report = self.report
        if raw.strip_path and raw.path is None:
            report.error(
                source.file, f"{source.path}.strip_path", "there is no path to strip",
                'add "path", or remove the key',
            )  # fmt: skip
        declared = "health_path" in raw.model_fields_set
        if raw.path and not raw.strip_path and declared and not _below(raw.health_path, raw.path):
            report.error(
                source.file,
                f"{source.path}.health_path",
                f"{raw.health_path} is outside {raw.path}: the gateway gives it to another service",
                f"write a path below {raw.path}",
            )

    def _with_options(self, service: Service, raw: RawOptions, source: Source) -> Service:
        health = raw.health_path
        if "health_path" not in raw.model_fields_set:
            if service.is_grpc:
                health = _GRPC_HEALTH
            elif raw.path and not raw.strip_path:
                health = raw.path
        labels = (label.removesuffix(f".{self.domain}") for label in raw.aliases)
        return service.model_copy(
            update={
                "aliases": tuple(f"{label}.{self.domain}" for label in dict.fromkeys(labels)),
                "description": raw.description or "",
                "icon": raw.icon or "",
                "path": raw.path or "",
                "strip_path": raw.strip_path,
                "options": options(raw, self.networks, source, self.report),
                "health_path": health,
                "health_status": raw.health_status,
                "checked": raw.check == "full",
            }
        )

    def _redirect(
        self, host: Host, raw: RawService, label: str, target: str, source: Source
    ) -> Service | None:
        """A name that Traefik answers by itself, whoever declares it."""
        for key in ("port", "scheme", "server_name", "strip_path", "gateway_port",
                    "connect_timeout",
                    "read_timeout", "max_body", "request_headers", "health_path",
                    "health_status"):  # fmt: skip
            if key in raw.model_fields_set:
                self.report.error(
                    source.file,
                    f"{source.path}.{key}",
                    "a redirect has no backend, so nothing carries this out",
                    "remove the key, or redirect_to",
                )
        if raw.exposure == "direct":
            self.report.error(
                source.file,
                f"{source.path}.exposure",
                "a redirect is made by the proxies",
                "remove the key, or redirect_to",
            )
        owner = self.proxy or host  # without Traefik, `conflicts.roles` says that it is missing
        service = Service(
            name=f"{label}{raw.path or ''}",
            fqdn=f"{label}.{self.domain}",
            owner=owner,
            port=ports.HTTPS,
            scheme="https",
            exposure="gateway",
            server_name=owner.fqdn,
            health_path=raw.path or "/",
            kind="redirect",
            source=source,
            redirect=Redirect(
                url=target,
                permanent=raw.redirect_permanent,
                keeps_path=raw.redirect_keep_path,
            ),
        )
        redirect = self._with_options(service, raw, source)
        return redirect.model_copy(update={"health_status": 301 if raw.redirect_permanent else 302})


_GRPC_HEALTH = "/grpc.health.v1.Health/Check"
"""Where gRPC servers are asked for their health (https://grpc.io/docs/guides/health-checking/)."""
_OF_TCP = frozenset(
    {"name", "port", "scheme", "exposure", "gateway_port", "aliases", "allowed_networks",
     "connect_timeout", "read_timeout", "check", "description", "icon"}
)  # fmt: skip
"""Keys that a service by tcp or tls takes."""
_OF_A_REDIRECT = ("redirect_keep_path", "redirect_permanent")
_WITHOUT_PROXY = ("aliases", "health_status", "check")
"""Keys that need no proxy: names, and what the checks expect."""


def _is_foreign(label: str, domain: str) -> bool:
    """Whether a name with dots looks like one of another domain: that above the site's, say."""
    above = domain.split(".")[1:]
    parents = {".".join(above[start:]) for start in range(len(above) - 1)}
    ends = {label.split(".", start)[-1] for start in range(1, label.count(".") + 1)}
    return bool(ends & parents) or label.rpartition(".")[2] in _TOPMOST - {label}


_TOPMOST = frozenset({"com", "net", "org", "local", "lan", "arpa"})
"""The last labels of names as people know them (RFC 1591, RFC 6762, RFC 8375)."""


def _below(path: str, prefix: str) -> bool:
    return path.partition("?")[0] == prefix or path.startswith(f"{prefix}/")


_PROOF = "these names identify hosts and stacks"
_RESERVED = {
    CA: "only the guest with role step_ca has it",
    AGENT: "only a guest with portainer_role agent has it",
    HOST_ZONE: "it is the zone of the host names",
    DASHBOARD: "it is Traefik's dashboard, derived from role traefik",
    HOME: "it is the site's start page, derived from role traefik",
}


def _by_itself(host: Host, domain: str, proxies: Sequence[Host]) -> Iterator[Service]:
    """What each of Traefik's guests serves unless one of them leaves it away; `host` is the first.

    One name leads to all of them, so that none has it alone.
    """
    left = {word for proxy in proxies for word in proxy.left_alone}
    if "dashboard" not in left:
        yield _of_traefik(host, domain, DASHBOARD, "/dashboard/", "dashboard")
    if "start_page" not in left:
        yield _of_traefik(host, domain, HOME, "/", "home")


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
