"""The site's topology as boxes and links, for every way to draw it.

Everything comes from the functions that the deploys use, so the picture is of what is deployed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Literal

from phoenix.derived import control_plane, dns
from phoenix.derived.certificates import HostCertificate, certificates, is_the_gateways
from phoenix.derived.virtual_addresses import of_host
from phoenix.site.addressing import name_servers
from phoenix.site.model import Frozen, Host, Service, Site
from phoenix.site.ports import DNS, HTTPS

Place = Literal["client", "dns", "gateway", "proxy", "ca", "guest"]
Kind = Literal["request", "names", "acme", "agent"]
CLIENT, NAMES = "client", "dns"


class Item(Frozen):
    """What runs in a box: a service, or a stack that nothing is routed to.

    `about` says in a few words what it is; `proof` is the name that its certificate proves.
    """

    id: str
    name: str
    kind: Literal[
        "backend", "dashboard", "home", "ca", "agent", "redirect", "external", "tcp", "stack"
    ]
    about: str
    stack: str = ""
    port: int | None = None
    scheme: str = ""
    proof: str = ""
    direct: bool = False

    @property
    def where(self) -> str:
        """Scheme and port, such as "https 6333"; empty for what listens on none."""
        return f"{self.scheme} {self.port}" if self.port else ""

    def notes(self, domain: str) -> str:
        """What a picture says below the name: one line, names without the site's domain."""
        stack = f"stack {self.stack}" if self.stack and self.kind != "stack" else ""
        notes = [self.about, stack]
        if self.scheme in ("http", "h2c", "grpc", "tcp"):
            notes.append(unverified(self.scheme))
        elif not any(notes) and self.proof:
            notes = [f"proves {short(self.proof, domain)}"]
        return ", ".join(word for word in notes if word)


class Box(Frozen):
    """A machine, or the clients. `about` are short lines: id and address, what it does."""

    id: str
    name: str
    place: Place
    about: tuple[str, ...]
    items: tuple[Item, ...] = ()


class Link(Frozen):
    """A connection. `verified` says how the target is authenticated; empty: it is not."""

    source: str
    target: str
    kind: Kind
    protocol: str
    port: int
    verified: str

    @property
    def proof(self) -> str:
        """How a request's other end is proven, in words; empty for what is no request."""
        if self.verified:
            return f"verified as {self.verified}"
        return unverified(self.protocol) if self.kind == "request" else ""


class Topology(Frozen):
    """The whole picture; boxes in the order of the site's hosts, clients first."""

    domain: str
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]

    def at(self, place: Place) -> tuple[Box, ...]:
        """The boxes of one place, in order."""
        return tuple(box for box in self.boxes if box.place == place)

    def title(self, key: str) -> str:
        """What the end of a link is called: a machine, or a service on one."""
        for box in self.boxes:
            if box.id == key:
                return box.name
            for item in box.items:
                if item.id == key:
                    return f"{item.name} on {box.name}"
        return key


def topology(site: Site) -> Topology:
    """Boxes and links of a loaded site."""
    client = Box(id=CLIENT, name="clients", place="client", about=tuple(map(str, site.subnets)))
    boxes = (client, *(_box(site, host) for host in site.hosts))
    return Topology(domain=site.domain, boxes=boxes, links=tuple(_links(site)))


def box_id(host: Host) -> str:
    """A host's id in the picture: `dns` for the hypervisor, else by its number."""
    return NAMES if host.vmid is None else f"guest-{host.vmid}"


def _box(site: Site, host: Host) -> Box:
    place: Place = "guest"
    about = [f"{host.vmid} · {host.address}" if host.vmid else str(host.address)]
    if host == site.hypervisor:
        place = "dns"
        about.append(f"internal DNS: {len(dns.records(site))} names and no other")
    elif host in site.gateways:
        place = "gateway"
        about.append("Nginx, the front door")
        about += [f"may have {address.address}" for address in of_host(site, host)]
    elif host in site.traefiks:
        place = "proxy"
        about.append("Traefik, routes by name")
    elif host == site.ca:
        place = "ca"
        about.append("Step-CA, the root of trust")
    else:
        about.append(_description(host))
    if host in site.name_servers[1:] and "name server" not in about:
        about.append("name server")
    about += [_held(certificate) for certificate in certificates(site) if certificate.host == host]
    return Box(
        id=box_id(host), name=host.name, place=place, about=tuple(about),
        items=tuple(_items(site, host)),
    )  # fmt: skip


def _description(host: Host) -> str:
    """What a guest without a place of its own is, in words."""
    if host.portainer_role == "server":
        stacks = ", with stacks of its own" if host.docker_stacks else ""
        return f"Docker host, Portainer server{stacks}"
    if host.portainer_role == "agent":
        return "Docker host, Portainer agent"
    if host.docker_stacks:
        return "Docker host, stacks by its compose"
    if "docker" in host.roles:
        return "Docker host"
    return "name server" if "name_server" in host.roles else "guest"


def _held(certificate: HostCertificate) -> str:
    if is_the_gateways(certificate.name):
        return f"certificate: {len(certificate.sans)} names"
    if certificate.project:
        return f"certificate of {certificate.project}"
    more = f" and {len(certificate.sans) - 1} more" if certificate.sans[1:] else ""
    return f"certificate: own name{more}"


def _items(site: Site, host: Host) -> Iterator[Item]:
    routed: set[str] = set()
    for service in site.services:
        if service.owner != host:
            continue
        stack = service.deployment
        routed.add(stack.name if stack else "")
        yield Item(
            id=f"service-{service.name}",
            name=service.name,
            kind=service.kind,
            about=_about(service, site.domain),
            stack=stack.project if stack else "",
            port=service.port,
            scheme=service.scheme,
            proof=service.server_name if service.has_tls else "",
            direct=service.exposure == "direct",
        )
    for stack in host.docker_stacks:
        if stack.name not in routed:
            yield Item(
                id=f"stack-{host.vmid}-{stack.project}",
                name=stack.project,
                kind="stack",
                about="stack without a route",
                stack=stack.project,
            )


def _about(service: Service, domain: str) -> str:
    if service.kind == "dashboard":
        return "dashboard, by password"
    if service.kind == "home":
        return "start page"
    if service.external is not None:
        return f"not managed, at {service.external.host}"
    if service.redirect is not None:
        return f"redirect to {service.redirect.url}"
    if service.kind == "agent":
        return "Portainer's agent"
    if service.kind == "ca":
        return "ACME"
    notes = ["direct"] if service.exposure == "direct" else []
    notes += [f"also {short(alias, domain)}" for alias in service.aliases]
    return ", ".join(notes)


def _links(site: Site) -> Iterator[Link]:
    yield from _asking(site)
    gateways, proxies = site.gateways, site.traefiks
    for gateway in gateways if proxies else ():
        yield _request(CLIENT, box_id(gateway), HTTPS, "https", "by the name asked for")
    for gateway, proxy in product(gateways, proxies):
        yield _request(box_id(gateway), box_id(proxy), HTTPS, "https", proxy.fqdn)
    for service in site.services:
        target = f"service-{service.name}"
        proof = service.server_name if service.has_tls else ""
        if service.kind == "agent" and site.portainer:
            yield Link(
                source=box_id(site.portainer), target=target, kind="agent", protocol="https",
                port=service.port, verified=service.owner.fqdn,
            )  # fmt: skip
        elif service.kind == "backend" and service.exposure == "direct":
            yield _request(CLIENT, target, service.port, service.scheme, proof)
        else:
            sources = {"tcp": gateways, "backend": proxies}.get(service.kind, ())
            for source in sources:
                yield _request(box_id(source), target, service.port, service.scheme, proof)
    if site.ca:
        ca = control_plane.ca(site)
        for holder in dict.fromkeys(certificate.host for certificate in certificates(site)):
            yield Link(
                source=box_id(holder), target=box_id(site.ca), kind="acme",
                protocol="https", port=ca.port, verified=ca.server_name,
            )  # fmt: skip


def _asking(site: Site) -> Iterator[Link]:
    """Clients and hosts to each name server that they ask."""
    for server in site.name_servers:
        askers = [
            box_id(host)
            for host in site.hosts
            if host != server
            and server in (name_server.server for name_server in name_servers(site, host))
        ]
        for source in (CLIENT, *askers):
            yield Link(
                source=source, target=box_id(server), kind="names", protocol="udp and tcp",
                port=DNS, verified="",
            )  # fmt: skip


def _request(source: str, target: str, port: int, scheme: str, proof: str) -> Link:
    return Link(
        source=source, target=target, kind="request", protocol=scheme, port=port, verified=proof
    )


def unverified(protocol: str) -> str:
    """What a connection is whose other end proves nothing. TCP may be encrypted by its clients."""
    return "as its client sends it" if protocol == "tcp" else "in plain text"


def short(name: str, domain: str) -> str:
    """A name without the site's domain."""
    return name.removesuffix(f".{domain}")
