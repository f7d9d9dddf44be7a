"""The internal name server's configuration (https://thekelleys.org.uk/dnsmasq/docs/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from phoenix.derived.dns import DnsRecord
from phoenix.site.addressing import static_addresses
from phoenix.site.findings import SettingError
from phoenix.site.model import Host, Site
from phoenix.site.ports import DNS, LOOPBACK

KEPT_PORT = 5335
"""Where it listens, on the loopback, where another resolver keeps port 53 of its host."""


class DnsmasqError(SettingError):
    """Settings that would leave the network without names."""


def config(
    site: Site,
    records: Sequence[DnsRecord],
    upstreams: Sequence[str],
    *,
    on: Host | None = None,
    stop_rebind: bool = True,
    behind_another: bool = False,
) -> str:
    """One whole configuration file: exact records, explicit upstreams, nothing inherited.

    Args:
        on: the name server that it is for; None: the hypervisor.
        upstreams: addresses of the resolvers to ask for everything outside the site's domain.
        stop_rebind: drop private addresses in upstreams' answers (DNS rebinding).
        behind_another: another resolver has port 53 of the host, and forwards the zone.

    Raises:
        DnsmasqError: no upstream, one that is no address, or one that is a name server of the site
            or a virtual address of the gateways; or another resolver forwards the zone of a site
            whose answers depend on the network.
    """
    listen_addresses = static_addresses(on or site.hypervisor)
    views = len(static_addresses(site.hypervisor)) > 1 or len(listen_addresses) > 1
    if behind_another and views:
        raise DnsmasqError(
            'setting taking_over: "resolver": "keep" does not do for a site of several networks, '
            "since a client gets the address in the network in which it asks, and a resolver that "
            'forwards hides it: write "replace"'
        )
    if not upstreams:
        raise DnsmasqError("setting dns_upstreams is empty: name at least one resolver's address")
    for upstream in upstreams:
        try:
            address = IPv4Address(upstream)
        except ValueError as error:
            raise DnsmasqError(
                f"setting dns_upstreams: {upstream!r} is not an IPv4 address"
            ) from error
        if address in listen_addresses:
            raise DnsmasqError(f"setting dns_upstreams: {upstream} is this server: a loop")
        for server in site.name_servers:
            if address in static_addresses(server):
                raise DnsmasqError(
                    f"setting dns_upstreams: {upstream} is {server.name}, a name server of this "
                    "site as well: they would wait for each other: name another resolver"
                )
        if address in site.virtual_addresses:
            raise DnsmasqError(
                f"setting dns_upstreams: {upstream} is a virtual address of the gateways "
                "(site.virtual_address), where no name server answers: name another resolver"
            )
    lines = [
        "# Made by Phoenix: deploys/dns.py",
        "no-resolv",
        "no-hosts",
        # A bridge of its own may come up later than the name server.
        "bind-dynamic" if len(listen_addresses) > 1 else "bind-interfaces",
        *(
            [f"port={KEPT_PORT}", f"listen-address={LOOPBACK}"]
            if behind_another
            else [f"listen-address={','.join(map(str, listen_addresses))}"]
        ),
        # Of a name's addresses a client gets the one in the network in which it asks.
        *(["localise-queries"] if views else []),
        "user=dnsmasq",
        "no-ident",  # no name and version of the program to whoever asks (CHAOS TXT)
        "domain-needed",
        "bogus-priv",
        *(["stop-dns-rebind", "rebind-localhost-ok"] if stop_rebind else []),
        "cache-size=2000",
        # Authoritative: an undeclared name does not exist, and is not forwarded.
        f"local=/{site.domain}/",
        *(f"server={upstream}" for upstream in upstreams),
        # host-record is exact: address=/name/ would answer every name below it as well.
        *(
            f"host-record={record.name},{address}"
            for record in records
            for address in record.addresses
        ),
        # The first address of a name alone is found in reverse by itself.
        *_reverse(site),
    ]
    return "\n".join(lines) + "\n"


def _reverse(site: Site) -> Iterator[str]:
    for host in site.hosts:
        for address in static_addresses(host)[1:]:
            yield f"ptr-record={address.reverse_pointer},{host.fqdn}"


def forwarding(site: Site) -> tuple[str, ...]:
    """How a resolver that keeps port 53 is told to forward the site's zone: a line each.

    dnsmasq(8); BIND 9, Administrator Reference Manual, zone type forward; unbound.conf(5).
    """
    zone, resolver = site.domain, f"{LOOPBACK}:{KEPT_PORT}"
    bind = f"forwarders {{ {LOOPBACK} port {KEPT_PORT}; }};"
    unbound = f'name: "{zone}", forward-addr: {LOOPBACK}@{KEPT_PORT}'
    return (
        f"dnsmasq: server=/{zone}/{LOOPBACK}#{KEPT_PORT}",
        f"    rebind-domain-ok=/{zone}/",
        f"systemd-resolved: [Resolve] DNS={resolver} Domains=~{zone}",
        f'BIND: options {{ validate-except {{ "{zone}"; }}; }};',
        f'    zone "{zone}" {{ type forward; forward only; {bind} }};',
        f'unbound: server: do-not-query-localhost: no, domain-insecure: "{zone}"',
        f'    private-domain: "{zone}", forward-zone: {unbound}',
    )


def server(host: Host, *, behind_another: bool) -> tuple[str, int]:
    """Address and port where a name server is asked on its host itself."""
    if behind_another:
        return str(LOOPBACK), KEPT_PORT
    return str(host.address), DNS
