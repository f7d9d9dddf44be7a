"""What the stacks of one Docker host have in common there: names of Docker's, and addresses."""

from __future__ import annotations

from bisect import bisect_right, insort
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from phoenix.declaration.stacks import StackCatalog
from phoenix.site.findings import Report
from phoenix.site.model import Deployment, Host, Site


def check(site: Site, catalog: StackCatalog, report: Report) -> None:
    """Refuse what Docker refuses, or what cuts a host off; tell what two stacks share.

    Args:
        site: the site.
        catalog: has read the stacks that its guests deploy.
        report: takes the findings.
    """
    for host in site.guests:
        _names(host, catalog, report)
        _subnets(site, host, catalog, report)


def _names(host: Host, catalog: StackCatalog, report: Report) -> None:
    first: dict[tuple[str, str], tuple[Deployment, str]] = {}
    for stack in host.docker_stacks:
        for kind, name, path in catalog.docker_names[stack.name, stack.environment]:
            other, place = first.setdefault((kind, name), (stack, path))
            if other is stack:
                continue
            message = (
                f"{kind} {name} is that of {other.project} too ({other.compose_label}: {place})"
            )
            if kind == "container":
                report.error(
                    stack.compose_label,
                    path,
                    f"{message}, and {host.name} has one container of a name",
                    "give one of the two another name, or leave it to Compose",
                )
            else:
                report.warn(
                    stack.compose_label,
                    path,
                    f"{message}: moving or removing one of the stacks takes it from the other",
                    "put the services that share it into one stack, or rename one of the two",
                )


def _subnets(site: Site, host: Host, catalog: StackCatalog, report: Report) -> None:
    """Docker routes each network's subnet to a bridge of its own, and refuses a second one."""
    apart = _Apart()
    for known in site.subnets:
        apart.add(known, f"the site's network {known}", of_site=True)
    for stack in host.docker_stacks:
        for path, text in catalog.subnets[stack.name, stack.environment]:
            place = f"{stack.compose_label}: {path}"
            try:
                subnet = ip_network(text)
            except ValueError:
                continue  # told where the file is read
            other = apart.overlapping(subnet)
            if other is None:
                apart.add(subnet, place, of_site=False)
                continue
            harm = (
                f"{host.name} would send traffic for the site's machines to its own containers"
                if other.of_site
                else "Docker refuses the second of two networks that overlap"
            )
            report.error(
                stack.compose_label, path, f"{subnet} overlaps {other.what}: {harm}",
                "write another subnet, or leave it to Docker",
            )  # fmt: skip


class _Subnet(NamedTuple):
    """The first and last address of a network, with its version in front; and whose it is."""

    first: tuple[int, int]
    last: tuple[int, int]
    what: str
    of_site: bool


class _Apart:
    """Networks in the order of their addresses, none over another."""

    def __init__(self) -> None:
        self._sorted: list[_Subnet] = []

    def add(self, network: IPv4Network | IPv6Network, use: str, *, of_site: bool) -> None:
        """Keep one that overlaps none of those that are here."""
        first, last = _ends(network)
        insort(self._sorted, _Subnet(first, last, use, of_site))

    def overlapping(self, network: IPv4Network | IPv6Network) -> _Subnet | None:
        """One of them that a network overlaps; None where it is apart from all."""
        first, last = _ends(network)
        at = bisect_right(self._sorted, first, key=lambda block: block.first)
        near = self._sorted[max(at - 1, 0) : at + 1]
        return next((block for block in near if block.first <= last and first <= block.last), None)


def _ends(network: IPv4Network | IPv6Network) -> tuple[tuple[int, int], tuple[int, int]]:
    version = network.version
    return (version, int(network.network_address)), (version, int(network.broadcast_address))
