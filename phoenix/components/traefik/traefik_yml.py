"""Traefik's static and dynamic configuration, as typed models dumped to YAML.

Field names follow https://doc.traefik.io/traefik/reference/; unknown ones are refused here,
since Traefik itself has no check mode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from phoenix import files
from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.programs import LIBRARY
from phoenix.components.trust import ROOTS
from phoenix.components.x509 import describe, load_chain
from phoenix.derived.routes import Route, routes, routes_of
from phoenix.shell import Script
from phoenix.site import unit_names
from phoenix.site.addressing import address_pair, target_address
from phoenix.site.model import Host, Login, Redirect, Service, Site
from phoenix.site.names import in_zone
from phoenix.site.ports import HTTPS, TRAEFIK_LOCAL
from phoenix.site.roles import guest_with, guests_with

UNIT = unit_names.TRAEFIK
STATIC = "/etc/traefik/traefik.yml"
DYNAMIC = "/etc/traefik/dynamic"
ADMISSION = f"{DYNAMIC}/admission.yml"
"""Whom Traefik lets through a handshake; see `admission`."""
CHECK = f"{LIBRARY}/traefik-check"
"""The check of a proposed configuration, beside it (check.sh)."""
LOCAL = f"127.0.0.1:{TRAEFIK_LOCAL}"
"""The guest's own entry point: ping, metrics and the API, for checks made on the guest."""
USERS_FILE = "/etc/traefik/dashboard.users"
USERS = "/etc/traefik/users"
"""USERS/KEY.users has the users of one service, as `USERS_FILE` has those of the dashboard;
USERS/KEY.d/USER says by which secret a user has a password."""
ENTRY_POINTS = ("local", "websecure")
"""Phoenix's own: of the guest itself, and of the gateway."""
BESIDE = "beside-phoenix"
"""TLS options for routers of a person's that are kept: as `TLS`, from any client."""
LOCAL_ROUTER = "local_api"
"""The router of Traefik's own API; the underscore keeps it apart from every service's name."""
RETRY = "retry"
"""The middleware that retries a request whose backend restarts."""
RETRY_TIMEOUT = "10s"
"""How long a request waits for a backend that refuses connections. A container's restart took 2 s,
and 4 s on a machine with a load of sixteen per processor (measured)."""
DIAL, NODES_DIAL = "5s", "2s"
"""How long a connection to a backend may take to open: to one, and to one of several nodes.
Traefik's own 30 s are longer than people wait."""
TLS = {
    "minVersion": "VersionTLS12",
    # Of TLS 1.2; those of 1.3 are all good, and not a choice.
    "cipherSuites": [
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ],
    "curvePreferences": ["X25519MLKEM768", "X25519", "CurveP256", "CurveP384"],
}
"""What Traefik offers: Mozilla's "intermediate" (https://ssl-config.mozilla.org/)."""
USER = "traefik"
CERTIFICATE = f"{CERTIFICATES}/traefik"
"""Its certificate, which `phoenix-acme` keeps. Not Traefik's own ACME client: that one trusts the
roots that were there when Traefik started, renews only when due, and would need a restart for
either; and a Traefik that starts answers before it has its certificate and routes (measured)."""


class _Model(BaseModel):
    model_config = ConfigDict(
        defer_build=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
    )


class _Router(_Model):
    rule: str
    entry_points: list[str]
    service: str
    middlewares: list[str] | None = None
    priority: int | None = None


class _Server(_Model):
    url: str


class _HealthCheck(_Model):
    """Traefik asks no server that does not give this status."""

    path: str
    hostname: str
    status: int
    interval: str = "5s"
    timeout: str = "3s"


class _LoadBalancer(_Model):
    servers: list[_Server]
    servers_transport: str | None
    health_check: _HealthCheck | None = None


class _Service(_Model):
    load_balancer: _LoadBalancer


class _Timeouts(_Model):
    dial_timeout: str
    idle_conn_timeout: str = "90s"


class _ServersTransport(_Model):
    server_name: str | None = None
    root_c_as: list[str] | None = None
    max_idle_conns_per_host: int = 64
    forwarding_timeouts: _Timeouts


class _BasicAuth(_Model):
    users_file: str
    remove_header: bool = True


class _RedirectRegex(_Model):
    regex: str
    replacement: str
    permanent: bool | None = None


class _IPStrategy(_Model):
    depth: int


class _IPAllowList(_Model):
    source_range: list[str]
    ip_strategy: _IPStrategy | None = None


class _Tls(_Model):
    ca: str


class _ForwardAuth(_Model):
    """`trust_forward_header`: what the gateway says of the client, and nobody else can."""

    address: str
    auth_response_headers: list[str] | None
    tls: _Tls | None
    trust_forward_header: bool = True


class _StripPrefix(_Model):
    prefixes: list[str]


class _Headers(_Model):
    custom_request_headers: dict[str, str] | None = None
    custom_response_headers: dict[str, str] | None = None


class _Retry(_Model):
    """Retries while nothing of the request has reached the backend: also a POST is safe.

    `timeout` needs Traefik 3.7 or newer.
    """

    attempts: int
    initial_interval: str
    timeout: str


class _Middleware(_Model):
    basic_auth: _BasicAuth | None = None
    redirect_regex: _RedirectRegex | None = None
    ip_allow_list: _IPAllowList | None = None
    headers: _Headers | None = None
    retry: _Retry | None = None
    forward_auth: _ForwardAuth | None = None
    strip_prefix: _StripPrefix | None = None


class _Http(_Model):
    routers: dict[str, _Router]
    services: dict[str, _Service] | None = None
    servers_transports: dict[str, _ServersTransport] | None = None
    middlewares: dict[str, _Middleware]


FORMER = Script("former", files.text("components/proves.sh", "components/traefik/backend_names.sh"))
"""Refuses to switch a route to a name that its running backend does not prove yet."""

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml where the wheel has it


def _dump(data: object) -> str:
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=True, default_flow_style=False, width=100)
    return text


def static_config(
    site: Site,
    *,
    on: Host | None = None,
    metrics: bool,
    entry_points: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Traefik's install configuration.

    It has no access log: the gateway's has each request already, and a second one costs as much
    time as the routing itself (benchmarks/README.md).

    Args:
        site: its gateways are the clients that Traefik admits and whose forwarding headers count.
        on: the guest that it is for; None: the first of those with the role.
        metrics: serve Prometheus metrics of the entry points at `http://LOCAL/metrics`. Those of
            routers and services cost more and say less: the gateway's log has host and duration.
        entry_points: those of a person's own routers that are kept, as they had declared them.

    Returns:
        YAML, for `traefik --configFile`.

    Raises:
        RoleError: the site has no guest with the role `nginx`.
    """
    sources = _gateways(site, on)
    entry_points_alone = {
        "entryPoint": "local",
        "addEntryPointsLabels": True,
        "addRoutersLabels": False,
        "addServicesLabels": False,
    }
    return _dump(
        {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "INFO", "format": "json"},
            "api": {"dashboard": True, "insecure": False},
            "ping": {"entryPoint": "local"},
            **({"metrics": {"prometheus": entry_points_alone}} if metrics else {}),
            "entryPoints": {
                **entry_points,
                "local": {"address": LOCAL},
                "websecure": {
                    "address": f":{HTTPS}",
                    "forwardedHeaders": {"trustedIPs": sources},
                    "http": {
                        "tls": {},
                        "middlewares": ["from-gateway@file"],
                        # X_Forwarded_For and its like must not pass beside the real one
                        # (CVE-2026-88879).
                        "aliasHeadersStrategy": "delete",
                    },
                    # The gateway streams uploads and guards against slow clients itself, and
                    # it drops idle connections after 60 s: it must be the one to hang up.
                    "transport": {
                        "respondingTimeouts": {"readTimeout": "0s", "idleTimeout": "180s"},
                        "lifeCycle": {"graceTimeOut": "10s"},
                    },
                },
            },
            # Read anew on SIGHUP only: a half-written file can never be picked up.
            "providers": {"file": {"directory": DYNAMIC, "watch": False}},
        }
    )


def dynamic_config(
    site: Site,
    users: str = "",
    leaves: Mapping[str, str] = MappingProxyType({}),
    *,
    on: Host | None = None,
    beside: bool = False,
) -> tuple[str, str]:
    """Traefik's routing configuration, with a middleware that names this version of it.

    Traefik's API tells its middlewares, so it tells which version it runs.

    Args:
        site: each routed service gets a router and, where it has a backend, a service.
        users: what `USERS_FILE` has, hashes of passwords. Traefik reads that file only with a
            configuration that differs from the one it runs, so another password is another version.
        leaves: certificates as PEM by their SHA-256, of services that are known by that. Traefik
            has no server for one that is missing, and refuses each request for it (503).
        on: the guest that it is for; None: the first of those with the role.
        beside: whether routers of a person's are kept, for which it has the TLS options `BESIDE`.

    Returns:
        The YAML, and the name of the marker middleware in it, made from a hash of the content.

    Raises:
        RoleError: the site has no guest with the role `nginx`.
    """
    routed = routes_of(site, on) if on else routes(site)
    backends = [route for route in routed if route.url is not None]
    transports = {
        route.service.key: transport
        for route in backends
        if (transport := _transport(route, leaves)) is not None
    }
    middlewares = {
        "from-gateway": _Middleware(ip_allow_list=_IPAllowList(source_range=_gateways(site, on))),
        "dashboard-login": _Middleware(basic_auth=_BasicAuth(users_file=USERS_FILE)),
        "dashboard-home": _Middleware(
            redirect_regex=_RedirectRegex(
                regex="^(https?://[^/]+)/?$", replacement="${1}/dashboard/"
            )
        ),
        # A container that restarts to load a renewed certificate delays requests, none fails.
        RETRY: _Middleware(
            retry=_Retry(attempts=100, initial_interval="100ms", timeout=RETRY_TIMEOUT)
        ),
    }
    for route in routed:
        middlewares |= _asked_of_traefik(route, site.domain)
    http = _Http(
        routers=_routers(routed, site.domain),
        services={
            route.service.key: _Service(
                load_balancer=_LoadBalancer(
                    servers=[_Server(url=url) for url in route.urls or (route.url,) if url]
                    if _is_known(route, leaves)
                    else [],
                    servers_transport=route.service.key
                    if route.service.key in transports
                    else None,
                    # Of a swarm's nodes, those that run it at the moment.
                    health_check=_HealthCheck(
                        path=route.health_path,
                        hostname=route.fqdn,
                        status=route.service.health_status,
                    )
                    if route.urls
                    else None,
                )
            )
            for route in backends
        }
        or None,
        servers_transports=transports or None,
        middlewares=middlewares,
    )
    data = {
        "http": http.model_dump(by_alias=True, exclude_none=True),
        "tls": {
            **({"options": {BESIDE: TLS}} if beside else {}),
            "stores": {
                "default": {
                    "defaultCertificate": {
                        "certFile": f"{CERTIFICATE}/fullchain.pem",
                        "keyFile": f"{CERTIFICATE}/privkey.pem",
                    }
                }
            },
        },
    }
    marker = _marker("phoenix", [data, users])
    data["http"]["middlewares"][marker] = _marked(marker)
    return _dump(data), marker


def _gateways(site: Site, on: Host | None) -> list[str]:
    """The addresses by which the gateways come to a Traefik, each as a network."""
    proxy = on or guest_with(site, "traefik")
    return [f"{address_pair(gateway, proxy).source}/32" for gateway in guests_with(site, "nginx")]


def taken_names(site: Site) -> frozenset[str]:
    """Every name that the site's own routing has: of routers, services, middlewares, transports."""
    http = yaml.safe_load(dynamic_config(site)[0])["http"]
    return frozenset(name for section in http.values() for name in section)


def admission(certificates: Sequence[str]) -> tuple[str, str]:
    """What Traefik offers in a handshake, and whom it lets through one: the gateway alone.

    A file of its own, since it may be loaded only when the gateway presents its certificate.

    Args:
        certificates: PEM of each certificate by which a client may prove to be the gateway. Two
            while it changes.

    Returns:
        YAML, and the name of the marker middleware in it, as in `dynamic_config`.
    """
    data: dict[str, Any] = {
        "tls": {
            "options": {
                "default": TLS
                | {
                    "clientAuth": {
                        "caFiles": list(certificates),
                        "clientAuthType": "RequireAndVerifyClientCert",
                    }
                }
            }
        }
    }
    marker = _marker("gateway", data)
    data["http"] = {"middlewares": {marker: _marked(marker)}}
    return _dump(data), marker


def admitted(text: str) -> tuple[str, ...]:
    """PEM of each certificate that a file of `admission` lets in; none of an empty one.

    Raises:
        ValueError: it is of another form.
    """
    if not text.strip():
        return ()
    try:
        return tuple(yaml.safe_load(text)["tls"]["options"]["default"]["clientAuth"]["caFiles"])
    except (yaml.YAMLError, KeyError, TypeError):
        raise ValueError("is not as Phoenix writes it") from None


def former_names(site: Site, on: Host | None = None) -> tuple[str, ...]:
    """The words of `FORMER`: the trusted roots, and of each stack's TLS port four.

    An earlier release verified each stack by the name of its Docker host.
    """
    arguments = [ROOTS]
    for route in routes(site):
        service = route.service
        if service.deployment is not None and route.url and route.url.startswith("https:"):
            owner = service.owner
            arguments += [
                str(target_address(on or guest_with(site, "traefik"), owner)),
                str(service.port),
                route.server_name,
                owner.fqdn,
            ]
    return tuple(arguments)


EXTERNAL = "/etc/traefik/external"
"""EXTERNAL/KEY.pem has the CA, or the certificate itself, that proves a service which Phoenix does
not manage."""


def proofs(site: Site, leaves: Mapping[str, str]) -> dict[str, str]:
    """What proves each service that Phoenix does not manage, by path on Traefik's guest.

    Args:
        site: whose services.
        leaves: see `dynamic_config`.
    """
    pem_by_path = {
        proof_file(service): service.external.ca or leaves.get(service.external.fingerprint, "")
        for service in site.services
        if service.external is not None
    }
    return {path: pem for path, pem in pem_by_path.items() if pem}


def proof_file(service: Service) -> str:
    """The file with what proves a service that Phoenix does not manage."""
    return f"{EXTERNAL}/{service.key}.pem"


def pinned(site: Site) -> tuple[Service, ...]:
    """The services that are known by the SHA-256 of their certificate."""
    return tuple(
        service
        for service in site.services
        if service.external is not None and service.external.fingerprint
    )


def _is_known(route: Route, leaves: Mapping[str, str]) -> bool:
    external = route.service.external
    return external is None or not external.fingerprint or external.fingerprint in leaves


def _proven_name(service: Service, leaf: str) -> str:
    """The name that Traefik asks a pinned certificate for: one that it has.

    The fingerprint proves who it is, but Traefik compares a name in any case.
    """
    names = describe(load_chain(leaf)[0])
    if service.server_name in names.sans:
        return service.server_name
    return next(iter((*names.dns_sans, *names.ip_sans)), service.server_name)


def _transport(route: Route, leaves: Mapping[str, str]) -> _ServersTransport | None:
    """How Traefik reaches a backend; None for one on its own loopback, and for a redirect.

    Of several nodes a lost one does not refuse connections: a short time-out leads to the next.
    """
    wait = route.service.options.connect_timeout or (NODES_DIAL if route.urls[1:] else DIAL)
    timeouts = _Timeouts(dial_timeout=wait)
    external = route.service.external
    if external is not None and route.service.has_tls:
        leaf = leaves.get(external.fingerprint, "")
        name = _proven_name(route.service, leaf) if leaf else route.server_name
        pem = external.ca or leaf
        return _ServersTransport(
            server_name=name, root_c_as=[pem] if pem else None, forwarding_timeouts=timeouts
        )
    if route.url and route.url.startswith("https:"):
        return _ServersTransport(
            server_name=route.server_name, root_c_as=[ROOTS], forwarding_timeouts=timeouts
        )
    return _ServersTransport(forwarding_timeouts=timeouts) if route.kind == "backend" else None


def users_file(service: Service) -> str:
    """Where the users of a service are, hashed as bcrypt."""
    return f"{USERS}/{service.key}.users"


def users_of(site: Site, line: Callable[[Login], str]) -> tuple[dict[str, str], dict[str, str]]:
    """The users that Traefik asks for their passwords, dashboard aside.

    Args:
        site: whose services.
        line: makes the line of one user for an htpasswd file, from the secret that it names.

    Returns:
        Contents of files by path: those with hashes, and those that name each user's secret.
    """
    asking = [route.service for route in routes(site) if route.service.options.basic_auth]
    hashes = {
        users_file(service): "".join(map(line, service.options.basic_auth)) for service in asking
    }
    named = {
        user_file(service, login): f"{login.secret}\n"
        for service in asking
        for login in service.options.basic_auth
    }
    return hashes, named


def user_file(service: Service, login: Login) -> str:
    """The file that notes which secret is the password of a service's user."""
    return f"{USERS}/{service.key}.d/{login.user}"


def _asked_of_traefik(route: Route, domain: str) -> dict[str, _Middleware]:
    """The middlewares of one service by name, in the order in which a request meets them.

    An underscore keeps each name apart from every service's.
    """
    service, options = route.service, route.service.options
    key, middlewares = service.key, dict[str, _Middleware]()
    if options.allowed_networks:
        # The gateway refuses others, too. It decides by its own reading of the path, so that it
        # could take a request for another service's; here it is certain whose it is. The last
        # address of X-Forwarded-For is the gateway's word for its client.
        middlewares[f"{key}_networks"] = _Middleware(
            ip_allow_list=_IPAllowList(
                source_range=[str(network) for network in options.allowed_networks],
                ip_strategy=_IPStrategy(depth=1),
            )
        )
    if options.basic_auth:
        middlewares[f"{key}_login"] = _Middleware(
            basic_auth=_BasicAuth(users_file=users_file(service))
        )
    if options.forward_auth is not None:
        auth = options.forward_auth
        middlewares[f"{key}_auth"] = _Middleware(
            forward_auth=_ForwardAuth(
                address=auth.url,
                auth_response_headers=list(auth.headers) or None,
                # A server elsewhere is proven as any is: by the CAs that the guest trusts.
                tls=_Tls(ca=ROOTS) if _is_in_zone(auth.url, domain) else None,
            )
        )
    if service.strip_path:
        middlewares[f"{key}_path"] = _Middleware(strip_prefix=_StripPrefix(prefixes=[service.path]))
    if options.request_headers or options.response_headers:
        middlewares[f"{key}_headers"] = _Middleware(
            headers=_Headers(
                custom_request_headers=dict(options.request_headers) or None,
                custom_response_headers=dict(options.response_headers) or None,
            )
        )
    if service.redirect is not None:  # the last one: it answers by itself
        middlewares[f"{key}_redirect"] = _Middleware(redirect_regex=_redirect(service.redirect))
    return middlewares


def _is_in_zone(url: str, domain: str) -> bool:
    """Whether a URL is https with a name that the site's CA issues for."""
    parts = urlsplit(url)
    return parts.scheme == "https" and in_zone(parts.hostname or "", domain)


def _redirect(redirect: Redirect) -> _RedirectRegex:
    asked = "${1}" if redirect.keeps_path else ""
    return _RedirectRegex(
        regex="^https?://[^/]+(.*)$",
        replacement=f"{redirect.url}{asked}",
        permanent=redirect.permanent,
    )


def _marker(kind: str, data: object) -> str:
    return f"{kind}-{hashlib.sha256(_dump(data).encode()).hexdigest()[:16]}"


def _marked(marker: str) -> dict[str, Any]:
    """A middleware that no router uses: the API tells that it is loaded."""
    return _Middleware(headers=_Headers(custom_request_headers={"X-Phoenix": marker})).model_dump(
        by_alias=True, exclude_none=True
    )


def _routers(routed: Sequence[Route], domain: str) -> dict[str, _Router]:
    routers = {
        LOCAL_ROUTER: _Router(
            rule="PathPrefix(`/api`)", entry_points=["local"], service="api@internal"
        )
    }
    for route in routed:
        path = route.service.path
        own = list(_asked_of_traefik(route, domain))
        of_its_kind = {"dashboard": ["dashboard-login", "dashboard-home"], "redirect": []}
        service = {"dashboard": "api@internal", "redirect": "noop@internal"}
        routers[route.service.key] = _Router(
            rule=_rule(route),
            entry_points=["websecure"],
            service=service.get(route.kind, route.service.key),
            middlewares=[*own, *of_its_kind.get(route.kind, [RETRY])],
            # The longest path of a name goes first. Without a priority Traefik takes the longest
            # rule, and one with aliases is longer than one with a path.
            priority=_FIRST + len(path) if path else None,
        )
    return routers


_FIRST = 100_000
"""Above the length of every rule, which is a router's priority without one of its own."""


def _rule(route: Route) -> str:
    """Traefik's rule; a path ends at a slash, which its PathPrefix does not ask for."""
    hosts, path = " || ".join(f"Host(`{name}`)" for name in route.names), route.service.path
    if not path:
        return hosts
    return f"({hosts}) && (Path(`{path}`) || PathPrefix(`{path}/`))"
