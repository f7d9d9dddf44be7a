"""Values of the hypervisor's file that Phoenix derives from the guests: compared, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from phoenix.declaration.hypervisor_file import HYPERVISOR_FILE, RawHypervisorFile
from phoenix.derived import control_plane
from phoenix.site.findings import Report
from phoenix.site.model import Site
from phoenix.site.roles import RoleError


class _Value(NamedTuple):
    path: str
    declared: Any
    derived: Any
    owner: str


def check(raw: RawHypervisorFile, site: Site, report: Report) -> None:
    """Tell of each value that is another one than the site has.

    Args:
        raw: the file.
        site: the site, as declared and not re-addressed.
        report: takes the findings.
    """
    if not raw.dns_server.enabled:
        report.warn(
            HYPERVISOR_FILE, "dns_server.enabled", "not used: the name server runs all the same, "
            "since every host asks it for the site's names",
            "remove it; where a resolver of yours is to stay, docs/networks.md says how",
        )  # fmt: skip
    for value in _values(raw, site):
        if value.declared is None or value.declared == value.derived:
            continue
        actual = f"the site has {value.derived}, by {value.owner}"
        if value.derived is None:
            actual = f"the site has none: {value.owner}"
        report.warn(
            HYPERVISOR_FILE, value.path, f"{value.declared} is not used: {actual}",
            "remove it, or correct one of the two",
        )  # fmt: skip


def _values(raw: RawHypervisorFile, site: Site) -> Iterator[_Value]:
    portainer, network = site.portainer, raw.network
    hypervisor = f"{site.hypervisor.source.file}: {site.hypervisor.source.path}.ip"
    yield _Value("network.default_subnet", network.default_subnet, site.network, hypervisor)
    owner = (
        f"{portainer.source.file}: {portainer.source.path}" if portainer else "no role portainer"
    )
    yield _Value(
        "network.portainer_server_ip", network.portainer_server_ip,
        portainer.address if portainer else None, owner,
    )  # fmt: skip
    port = control_plane.portainer_port(site) if portainer else None
    yield _Value("network.portainer_server_port", network.portainer_server_port, port, owner)
    names = [
        service.fqdn
        for service in site.services
        if service.owner == portainer and service.port == port
    ]
    asked = raw.portainer_api.portainer_hostname
    hostname = asked if asked in names else next(iter(names), None)
    yield _Value("portainer_api.portainer_hostname", asked, hostname, owner)
    ports = {control_plane.agent(site, host).port for host in site.agents}
    port = network.portainer_agent_port
    agent = port if port in ports else next(iter(sorted(ports)), None)
    yield _Value("network.portainer_agent_port", port, agent, "the guests with an agent")
    try:
        name = control_plane.ca(site).fqdn
    except RoleError:
        name = None
    yield _Value("step_ca.dns_name", raw.step_ca.dns_name, name, "the guest with role step_ca")
