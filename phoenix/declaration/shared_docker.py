"""What the stacks of one Docker host have in common there: names of Docker's, and addresses."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network

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
            has = f"{kind} {name} is that of {other.project} too ({other.compose_label}: {place})"
            if kind == "container":
                report.error(
                    stack.compose_label,
                    path,
                    f"{has}, and {host.name} has one container of a name",
                    "give one of the two another name, or leave it to Compose",
                )
            else:
                report.warn(
                    stack.compose_label,
                    path,
                    f"{has}: whoever moves or removes one of the two takes it from the other",
                    "put the services that share it into one stack, or give it another name",
                )


def _subnets(site: Site, host: Host, catalog: StackCatalog, report: Report) -> None:
    """Docker routes each network's subnet to a bridge of its own, and refuses a second one."""
    taken: list[tuple[IPv4Network | IPv6Network, str, bool]] = [
        (subnet, f"the site's network {subnet}", True) for subnet in site.subnets
    ]
    for stack in host.docker_stacks:
        for path, text in catalog.subnets[stack.name, stack.environment]:
            here = f"{stack.compose_label}: {path}"
            try:
                subnet = ip_network(text)
            except ValueError:
                continue  # told where the file is read
            other = next(filter(_overlapping(subnet), taken), None)
            if other is None:
                taken.append((subnet, here, False))
                continue
            harm = (
                f"{host.name} would send to its own containers what is for the site's machines"
                if other[2]
                else "Docker refuses the second of two networks that overlap"
            )
            report.error(
                stack.compose_label, path, f"{subnet} overlaps {other[1]}: {harm}",
                "write another subnet, or leave it to Docker",
            )  # fmt: skip


def _overlapping(
    subnet: IPv4Network | IPv6Network,
) -> Callable[[tuple[IPv4Network | IPv6Network, str, bool]], bool]:
    def overlaps(other: tuple[IPv4Network | IPv6Network, str, bool]) -> bool:
        if isinstance(subnet, IPv4Network) and isinstance(other[0], IPv4Network):
            return subnet.overlaps(other[0])
        if isinstance(subnet, IPv6Network) and isinstance(other[0], IPv6Network):
            return subnet.overlaps(other[0])
        return False

    return overlaps
