"""The internal name server's configuration (https://thekelleys.org.uk/dnsmasq/docs/)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from phoenix.derived.dns import DnsRecord
from phoenix.site.findings import SettingError
from phoenix.site.model import Site


class DnsmasqError(SettingError):
    """Settings that would leave the network without names."""


def config(
    site: Site, records: Sequence[DnsRecord], upstreams: Sequence[str], *, stop_rebind: bool = True
) -> str:
    """One whole configuration file: exact records, explicit upstreams, nothing inherited.

    Args:
        upstreams: addresses of the resolvers to ask for everything outside the site's domain.
        stop_rebind: drop private addresses in upstreams' answers (DNS rebinding).

    Raises:
        DnsmasqError: no upstream, one that is no address, or one that is this server itself.
    """
    own = site.hypervisor.address
    if not upstreams:
        raise DnsmasqError("setting dns_upstreams is empty: name at least one resolver's address")
    for upstream in upstreams:
        try:
            address = IPv4Address(upstream)
        except ValueError as error:
            raise DnsmasqError(
                f"setting dns_upstreams: {upstream!r} is not an IPv4 address"
            ) from error
        if address == own:
            raise DnsmasqError(f"setting dns_upstreams: {upstream} is this server: a loop")
    lines = [
        "# Made by Phoenix: deploys/dns.py",
        "no-resolv",
        "no-hosts",
        "bind-interfaces",
        f"listen-address={own}",
        "user=dnsmasq",
        "no-ident",  # no name and version of the program to whoever asks (CHAOS TXT)
        "domain-needed",
        "bogus-priv",
        *(["stop-dns-rebind", "rebind-localhost-ok"] if stop_rebind else []),
        "cache-size=2000",
        # Authoritative: a name that is not declared does not exist, and is never asked outside.
        f"local=/{site.domain}/",
        *(f"server={upstream}" for upstream in upstreams),
        # host-record is exact: address=/name/ would answer every name below it as well.
        *(f"host-record={record.name},{record.address}" for record in records),
    ]
    return "\n".join(lines) + "\n"
