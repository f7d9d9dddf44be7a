"""What the site's TLS endpoints serve: one record, whoever asked and wherever it is shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from phoenix.components.x509 import CertificateInfo
from phoenix.derived.endpoints import Endpoint, endpoints
from phoenix.health.checks import checks, first_answering
from phoenix.site.memo import once_per_site
from phoenix.site.model import Frozen, Site


class Served(Frozen):
    """What one TLS endpoint serves.

    Attributes:
        holder: Name of the host that serves it.
        address: IPv4 address of that host.
        port: TCP port.
        server_name: What the client asks for by SNI, and verifies (RFC 6066, section 3).
        names: SANs of the leaf; empty without a TLS session, as `issuer` and `serial` are.
        issuer: Common name of the issuer.
        serial: Serial number in hex.
        not_before: UTC; None without a TLS session.
        not_after: UTC; None without a TLS session.
        fault: Why a client that trusts the site's root alone refuses it; empty where it verifies.
    """

    holder: str
    address: str
    port: int
    server_name: str
    names: tuple[str, ...] = ()
    issuer: str = ""
    serial: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    fault: str = ""

    @property
    def other_names(self) -> tuple[str, ...]:
        """The SANs beside the name that was asked for."""
        return tuple(name for name in self.names if name != self.server_name)


def served(endpoint: Endpoint, leaf: CertificateInfo | None, fault: str) -> Served:
    """The record of what an endpoint served; `leaf` is None without a TLS session."""
    record = Served(
        holder=endpoint.host.name,
        address=str(endpoint.host.address),
        port=endpoint.port,
        server_name=endpoint.server_name,
        fault=fault or ("" if leaf else "no certificate"),
    )
    if leaf is None:
        return record
    return record.model_copy(
        update={
            "names": tuple(sorted(leaf.sans)),
            "issuer": leaf.issuer_cn,
            "serial": leaf.serial,
            "not_before": leaf.not_before,
            "not_after": leaf.not_after,
        }
    )


@once_per_site
def askers(site: Site) -> Mapping[Endpoint, tuple[str, ...]]:
    """The hosts that may ask each endpoint, the first choice first.

    Their own connections lead there: the firewall lets each of them through, and it sees what a
    request would see. The host that serves it is the last choice: nothing stands before itself.
    """
    by_place: dict[tuple[str, int], dict[str, None]] = {}
    for check in checks(site):
        if check.function == "served_is_fresh":
            by_place.setdefault((check.target, check.port), {})[check.host] = None
    return {
        end: tuple(sorted(by_place[end.host.name, end.port], key=end.host.name.__eq__))
        for end in endpoints(site)
    }


def asked_by(site: Site, name: str, answering: Collection[str]) -> tuple[Endpoint, ...]:
    """The endpoints that a host asks for all: it is the first of their askers that answers.

    Args:
        site: the site.
        name: the host.
        answering: the hosts that answer us, by name.
    """
    return tuple(
        end for end, names in askers(site).items() if first_answering(names, answering) == name
    )
