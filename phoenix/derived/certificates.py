"""Which certificates the site needs, who holds each, and how its names are proven to the CA."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from phoenix.derived.routes import gateway_names
from phoenix.site.memo import once_per_site
from phoenix.site.model import Deployment, Host, Service, Site, StackTls
from phoenix.site.names import STACK_ZONE, has_policy, in_zone

Challenge = Literal["webroot", "standalone"]

HOST_PAIRS = "/etc/phoenix/tls"
"""HOST_PAIRS/NAME has a host's own pair. No stack may mount it."""
STACKS = "/etc/phoenix/stacks"
"""STACKS/PROJECT is what a stack has on its host: its files, and `tls` with its own pair."""
TLS_VARIABLE = "PHOENIX_TLS_DIR"
"""The variable that every compose file may use: the directory with the stack's own pair."""
RENEWAL_LABEL = "ai.thinkheads.phoenix.certificate"
"""A container says by it how it takes a renewed pair; without it, it reads the files by itself."""
RENEWAL_ANSWERS = ("restart", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""What the label may be: a restart, or the signal that its main process gets."""
STACK_PAIR = "stack-"
GATEWAY_PAIR = "gateway"
"""The gateway's certificate, and what those of a gateway with many names begin with."""
MAX_NAMES = 100
"""Names in one certificate of the gateway.

All of a certificate goes over the wire in each handshake, and what a server may send before the
client's first answer is about 14,600 bytes (RFC 6928): beyond 300 names a handshake takes a round
trip more (docs/scale.md). And an order proves one name after the other: what a failed one of many
costs grows with them.
"""


class HostCertificate(NamedTuple):
    """One certificate of one host. `sans` are DNS names, the first one the subject.

    `name`: "gateway", "gateway-2" and so on, "host", "traefik", or "stack-" and a stack's project.
    `challenge`: http-01 (RFC 8555, section 8.3) by the web server's directory (`webroot`) or by a
    server that runs for the purpose on port 80 (`standalone`).
    `project`: the stack whose containers alone see it; empty for the host's own.
    `reader`: who may read a stack's key.
    """

    host: Host
    name: str
    sans: tuple[str, ...]
    challenge: Challenge
    project: str = ""
    reader: StackTls = StackTls()

    @property
    def directory(self) -> str:
        """Where fullchain.pem and privkey.pem are on the host."""
        return stack_directory(self.project) if self.project else f"{HOST_PAIRS}/{self.name}"


def stack_directory(project: str) -> str:
    """The directory with the pair of one stack, which its containers mount."""
    return f"{STACKS}/{project}/tls"


def stack_certificate(project: str) -> str:
    """The name of a stack's certificate on its host."""
    return f"{STACK_PAIR}{project.replace('_', '-')}"


@once_per_site
def certificates(site: Site) -> tuple[HostCertificate, ...]:
    """All ACME certificates, in host order; only gateways share a name.

    Each gateway has the names of all. The CA's own certificate is made by the CA itself, the
    agent's by the agent.
    """
    result = []
    for host in site.guests:
        if host in site.gateways:
            result += [
                HostCertificate(host, name, names, "webroot")
                for name, names in _split(gateway_names(site))
            ]
        elif host in site.traefiks:
            result.append(HostCertificate(host, "traefik", (host.fqdn,), "standalone"))
        else:
            of_stacks = _of_stacks(site, host)
            if names := _served_names(site, host) or ((host.fqdn,) if of_stacks else ()):
                result.append(HostCertificate(host, "host", names, "standalone"))
            result += of_stacks
    return tuple(result)


def of_the_gateway(site: Site, gateway: Host | None = None) -> tuple[HostCertificate, ...]:
    """The certificates of a gateway, the first by default; each of its names is in one of them."""
    holder = gateway or site.gateway
    held = (certificate for certificate in certificates(site) if certificate.host == holder)
    return tuple(certificate for certificate in held if is_the_gateways(certificate.name))


def is_the_gateways(name: str) -> bool:
    """Whether a certificate of this name is one of the gateway's."""
    return name == GATEWAY_PAIR or name.startswith(f"{GATEWAY_PAIR}-")


def _split(names: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of certificates, and the server names in each.

    Where they are too many for one, a name's own hash decides, so that another name concerns one
    certificate alone. When that is full, each one gives about half of its names to a new one.
    """
    digests = {name: hashlib.sha256(name.encode()).digest() for name in names}
    number = 1
    while True:
        parts: list[list[str]] = [[] for _ in range(number)]
        for name in names:
            parts[int.from_bytes(digests[name]) % number].append(name)
        if max(map(len, parts)) <= MAX_NAMES:
            break
        number *= 2
    for position, part in enumerate(parts):
        if part:
            yield (f"{GATEWAY_PAIR}-{position + 1}" if position else GATEWAY_PAIR), tuple(part)


def is_passthrough(site: Site, certificate: HostCertificate) -> bool:
    """Whether the CA's question for its proof goes through the gateway.

    It does where the record of one of its names leads there: that of a service whose TLS the
    gateway passes on.
    """
    return any(
        service.kind == "tcp" and service.has_tls and {*_proven(service)} & {*certificate.sans}
        for service in site.services_of(certificate.host)
    )


def beyond_policy(site: Site) -> tuple[str, ...]:
    """Names with dots below the domain, sorted: the CA issues for each of them by its whole name.

    A star of the CA's policy matches one label alone.
    """
    names = {name for certificate in certificates(site) for name in certificate.sans}
    return tuple(
        sorted(
            name
            for name in names
            if in_zone(name, site.domain) and not has_policy(name, site.domain)
        )
    )


def _of_stacks(site: Site, host: Host) -> list[HostCertificate]:
    names: dict[str, list[str]] = defaultdict(list)
    for service in site.services_of(host):
        if service.deployment is not None and service.has_tls:
            names[service.deployment.project] += [
                name for name in _proven(service) if in_zone(name, site.domain)
            ]
    return [
        HostCertificate(
            host,
            stack_certificate(stack.project),
            tuple(dict.fromkeys(sans)),
            "standalone",
            project=stack.project,
            reader=stack.tls or StackTls(),
        )
        for stack in host.docker_stacks
        if (sans := names[stack.project] or _own_name(site, stack))
    ]


def _own_name(site: Site, stack: Deployment) -> list[str]:
    """The name of a stack that asks for TLS and has no HTTPS service to be named by."""
    if stack.tls is None:
        return []
    return [stack_name(stack.project, site.domain)]


def stack_name(label: str, domain: str) -> str:
    """The name that a service of a stack proves on its Docker host, or a stack without one."""
    return f"{label.replace('_', '-').replace('.', '-')}.{STACK_ZONE}.{domain}"


def _proven(service: Service) -> list[str]:
    aliases = service.aliases if _proves_aliases(service) else ()
    return [service.server_name, *aliases]


def _proves_aliases(service: Service) -> bool:
    """Whether clients have TLS with the service itself, by whichever name."""
    return service.exposure == "direct" or service.kind == "tcp"


def _served_names(site: Site, host: Host) -> tuple[str, ...]:
    """The host's own name first, then names that its own TLS services prove; empty if it has none.

    What its stacks serve has certificates of its own. A host with such a stack has a pair for its
    own name all the same: it is how the host is known, and what keeps the renewals has one owner.
    """
    https = [service for service in site.services_of(host) if service.has_tls]
    served = [service for service in https if service.kind in ("backend", "tcp")]
    if not served and host.portainer_role is None:
        return ()
    own = [
        name
        for service in https
        if service.deployment is None
        for name in ([service.server_name] if service.kind in ("backend", "tcp") else [])
        + ([*service.aliases] if _proves_aliases(service) else [])
    ]
    others = {name for name in own if name != host.fqdn and in_zone(name, site.domain)}
    return (host.fqdn, *sorted(others))
