"""The gateway's nginx.conf: values of a site and of the settings in the template beside this file.

Directives follow https://nginx.org/en/docs/dirindex.html.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

from phoenix.components.acme.phoenix_acme_conf import WEBROOT
from phoenix.components.trust import ROOTS
from phoenix.derived import control_plane
from phoenix.derived.certificates import of_the_gateway
from phoenix.derived.routes import gateway_names, route_for_check, routes, tcp_services
from phoenix.files import render
from phoenix.site.addressing import address_pair, target_address
from phoenix.site.model import Host, Service, Site
from phoenix.site.ports import NGINX_STATUS
from phoenix.site.removed_headers import REMOVED_HEADERS
from phoenix.site.roles import guest_with, guests_with

CONFIG = "/etc/nginx/nginx.conf"
ACCESS_LOG = "/var/log/nginx/access.log"
"""JSON, one request a line: the one access log of a request on its way to a backend."""
CLIENT_CERTIFICATE = "/etc/phoenix/gateway/client.pem"
"""Certificate and key by which the gateway proves itself to Traefik."""
STREAM_PACKAGE = "libnginx-mod-stream"
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
"""Debian's and Ubuntu's package of the module, and its file."""
ALIVE = "alive.invalid"
"""What keepalived asks each of two gateways for: a name that nobody else asks (RFC 2606). By TLS
Nginx itself answers, by HTTP what is behind it."""
_POINTER = 8  # bytes, on every processor that Phoenix has programs for
STATUS = f"127.0.0.1:{NGINX_STATUS}"
"""For checks made on the guest: `/generation`, `/client-certificate` and `/status`."""


def hash_bucket(names: Iterable[str]) -> int:
    """The value of `server_names_hash_bucket_size` in bytes that the longest name needs.

    An entry is a pointer, the length and the name, padded to a pointer's size, and a bucket ends
    with a pointer (nginx: ngx_hash.c, NGX_HASH_ELT_SIZE). nginx refuses to start with less. It
    counts in lines of the processor's cache, so that the value is a power of two from 64 up.
    """
    longest = max(map(len, names), default=0)
    needed = _POINTER + -(-(longest + 2) // _POINTER) * _POINTER + _POINTER
    return max(64, 1 << (needed - 1).bit_length())


class _Place(NamedTuple):
    """A location of a server. `location` is as Nginx writes it; what is empty is as for all."""

    location: str
    grpc: bool = False
    login: bool = False
    allowed: tuple[str, ...] = ()
    max_body: str = ""
    read_timeout: str = ""


class _Server(NamedTuple):
    """Names that have the same places; `pair` is their certificate where it is not the first."""

    names: tuple[str, ...]
    places: tuple[_Place, ...]
    pair: str = ""


class _Traefik(NamedTuple):
    """One that requests are handed to, and the name that it proves."""

    address: IPv4Address
    name: str


def served_names(site: Site) -> tuple[str, ...]:
    """Every name that a server of the gateway has, those of services that are no HTTP too."""
    return (
        *gateway_names(site),
        *(name for service in tcp_services(site) for name in service.names),
    )


def packages(site: Site) -> tuple[str, ...]:
    """Packages that the gateway needs for this site beside those of every gateway."""
    return (STREAM_PACKAGE,) if tcp_services(site) else ()


class _Stream(NamedTuple):
    """A port of the gateway for what is no HTTP: `targets` by name, or one for all by ""."""

    port: int
    targets: tuple[tuple[str, str], ...]
    allowed: tuple[str, ...]
    connect_timeout: str
    read_timeout: str


def _streams(site: Site, gateway: Host) -> list[_Stream]:
    ports: dict[int, list[Service]] = {}
    for service in tcp_services(site):
        ports.setdefault(service.gateway_port, []).append(service)
    return [
        _Stream(
            port,
            tuple(
                (name, f"{target_address(gateway, service.owner)}:{service.port}")
                for service in services
                for name in (service.names if service.has_tls else ("",))
            ),
            tuple(str(network) for network in services[0].options.allowed_networks),
            services[0].options.connect_timeout or "5s",
            services[0].options.read_timeout or "1h",
        )
        for port, services in ports.items()
    ]


def _proving(site: Site, gateway: Host) -> Iterator[tuple[list[str], IPv4Address]]:
    """The names whose certificates others have, each once, and where the CA's question goes."""
    listed: set[str] = set()
    for service in tcp_services(site):
        names = [name for name in service.names if service.has_tls and name not in listed]
        listed.update(names)
        if names:
            yield names, target_address(gateway, service.owner)


def _own_servers(site: Site, read_timeout: str) -> list[_Server]:
    """Names with a service that asks the gateway for more than the others do, sorted."""
    by_name: dict[str, list[Service]] = {}
    for route in routes(site):
        for name in route.names:
            by_name.setdefault(name, []).append(route.service)
    names_of: dict[tuple[_Place, ...], list[str]] = {}
    for name, services in sorted(by_name.items()):
        places = tuple(place for service in services for place in _places(service))
        if any(place != _Place(place.location) for place in places):
            if all(service.path for service in services):
                places = (_Place("/"), *places)  # what no service has, Traefik refuses
            names_of.setdefault(tuple(sorted(places)), []).append(name)
    return [
        _Server(
            tuple(names),
            tuple(
                place._replace(read_timeout=place.read_timeout or read_timeout) for place in places
            ),
        )
        for places, names in names_of.items()
    ]


def _by_certificate(site: Site, servers: Iterable[_Server]) -> Iterator[_Server]:
    """The servers, each for the names of one certificate."""
    issued = of_the_gateway(site)
    for server in servers:
        if len(issued) == 1:
            yield server
            continue
        for number, certificate in enumerate(issued):
            names = tuple(name for name in server.names if name in certificate.sans)
            if names:
                yield server._replace(names=names, pair=certificate.directory if number else "")


def _places(service: Service) -> Iterator[_Place]:
    """Where Nginx has the requests of a service: a path itself, and what lies below it."""
    options = service.options
    body = options.max_body or ("0" if service.is_grpc else "")  # a stream has no end
    for location in (f"= {service.path}", f"^~ {service.path}/") if service.path else ("/",):
        yield _Place(
            location,
            grpc=service.is_grpc,
            login=bool(options.basic_auth),
            allowed=tuple(str(network) for network in options.allowed_networks),
            max_body=body,
            read_timeout=options.read_timeout,
        )


def nginx_config(
    site: Site,
    *,
    on: Host | None = None,
    client_certificate: str,
    hsts_seconds: int,
    max_body: str,
    read_timeout: str,
    includes: Sequence[str] = (),
    further_names: Iterable[str] = (),
) -> tuple[str, str]:
    """The whole nginx.conf, and the name of its generation.

    Args:
        site: the gateway answers to its routed names, by the certificates that have them, and hands
            over to its Traefik guests.
        on: the guest that it is for; None: the first of those with the role.
        client_certificate: fingerprint of the certificate in CLIENT_CERTIFICATE.
        hsts_seconds: max-age of Strict-Transport-Security (RFC 6797); 0 takes it back.
        max_body: largest request body, as nginx writes sizes ("512m").
        read_timeout: how long a backend may be silent, as nginx writes times ("300s").
        includes: directives that have a person's own sites read beside the site's servers.
        further_names: those that they answer to.

    Returns:
        The text, and a hash of it: the workers tell it at `http://STATUS/generation`.

    Raises:
        RoleError: the site has no guest with the role `traefik`.
    """
    gateway = on or guest_with(site, "nginx")
    traefiks = [
        _Traefik(target_address(gateway, host), host.fqdn) for host in guests_with(site, "traefik")
    ]
    portainer = control_plane.portainer(site) if site.portainer else None
    servers = _own_servers(site, read_timeout)
    own_names = {name for server in servers for name in server.names}
    common = tuple(name for name in gateway_names(site) if name not in own_names)
    streams = _streams(site, gateway)
    values = {
        "access_log": ACCESS_LOG,
        "certificate": of_the_gateway(site)[0].directory,
        "client_certificate": CLIENT_CERTIFICATE,
        "client_fingerprint": client_certificate,
        "names": gateway_names(site),
        "common": _Place("/", read_timeout=read_timeout),
        "common_servers": list(_by_certificate(site, [_Server(common, ())])),
        "streams": streams,
        "proving": list(_proving(site, gateway)),
        # A person's own sites may need any of the modules that are installed.
        "modules": "include /etc/nginx/modules-enabled/*.conf"
        if includes
        else f"load_module {STREAM_MODULE}"
        if streams
        else "",
        "own_servers": list(_by_certificate(site, servers)),
        "upstreams": [
            "traefik",
            *(
                ["traefik_http2"]
                if any(p.grpc for own_server in servers for p in own_server.places)
                else []
            ),
        ],
        "login_names": sorted(
            {
                name
                for route in routes(site)
                if route.service.options.basic_auth
                for name in route.names
            }
        ),
        "portainer_names": [
            name for r in routes(site) if r.service == portainer for name in r.names
        ],
        "dashboard_names": [r.fqdn for r in routes(site) if r.kind == "dashboard"],
        "hash_bucket": hash_bucket((*served_names(site), *further_names)),
        "includes": includes,
        "removed_headers": REMOVED_HEADERS,
        "status": STATUS,
        "traefiks": traefiks,
        "first": traefiks[0],
        "several": len(traefiks) > 1,
        "others": [address_pair(gateway, other) for other in site.gateways if other != gateway],
        "alive": ALIVE,
        "compared": route_for_check(site),
        "root": ROOTS,
        "webroot": WEBROOT,
        "hsts_seconds": hsts_seconds,
        "max_body": max_body,
    }
    template = "components/nginx/nginx.conf.j2"
    generation = hashlib.sha256(render(template, generation="", **values).encode()).hexdigest()[:16]
    return render(template, generation=generation, **values), generation
