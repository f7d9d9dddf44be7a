"""How the stacks of a Docker host are deployed: the one answer to that question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from phoenix.site.model import Deployment, Host, Site

DeploymentMethod = Literal["agent", "local", "compose"]
"""`agent`: by Portainer, through its agent on the host. `local`: by Portainer on its own guest,
through that guest's Docker socket. `compose`: by the host's own compose, over SSH."""


METHOD_WORDS: Mapping[DeploymentMethod, str] = {
    "agent": "by Portainer, through the agent there",
    "local": "by Portainer, whose own guest it is",
    "compose": "by the host's own compose, over SSH",
}
"""What deploys a stack, for a person."""


class Placed(NamedTuple):
    """One stack on its host, and how it is deployed there."""

    host: Host
    stack: Deployment
    way: DeploymentMethod


def deployment_method(site: Site, host: Host) -> DeploymentMethod:
    """How the stacks of `host` are deployed, whether it has any now or not."""
    if site.has_portainer and host.portainer_role == "agent":
        return "agent"
    if host == site.portainer:
        return "local"
    return "compose"


def by_portainer(site: Site, host: Host) -> bool:
    """Whether Portainer deploys the stacks of `host`."""
    return deployment_method(site, host) != "compose"


def environments(site: Site) -> tuple[Host, ...]:
    """The hosts that Portainer has an environment for: with its agent, and its own with stacks."""
    return tuple(
        host
        for host in site.guests
        if deployment_method(site, host) == "agent"
        or (deployment_method(site, host) == "local" and host.docker_stacks)
    )


def stack_hosts(site: Site) -> tuple[Host, ...]:
    """The Docker hosts that stacks are deployed on or may be removed from.

    Portainer's own guest is one while stacks are declared there: its server has the Docker socket
    for them alone.
    """
    return tuple(
        host
        for host in site.docker_hosts
        if deployment_method(site, host) != "local" or host.docker_stacks
    )


def placed(site: Site) -> Iterator[Placed]:
    """Every declared stack, in the site's order."""
    for host in site.guests:
        for stack in host.docker_stacks:
            yield Placed(host, stack, deployment_method(site, host))
