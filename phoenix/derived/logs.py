"""The logs of a name: the command that shows each, and its host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phoenix.derived.components import Component, components_of
from phoenix.derived.find import Kind, Stack, choose
from phoenix.shell import Script
from phoenix.site import unit_names
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Deployment, Host, Service, Site

_RENEWALS = f"{unit_names.RENEWALS}*"
UNITS: Mapping[str, tuple[str, ...]] = {
    "dns": (unit_names.DNS,),
    "networks": (unit_names.NETWORKS,),
    "guard": (unit_names.GUARD,),
    "base": (unit_names.SSH, "unattended-upgrades.service", unit_names.APT_UPGRADES),
    "nfs_exports": (unit_names.NFS_SERVER,),
    "nfs": (unit_names.NFS,),
    "step_ca": (unit_names.STEP_CA,),
    "certificates": (_RENEWALS,),
    "traefik": (unit_names.TRAEFIK, _RENEWALS),
    "home": (unit_names.HOME,),
    "keepalived": (unit_names.KEEPALIVED,),
    "nginx": (unit_names.NGINX, _RENEWALS),
    "docker": (unit_names.DOCKER,),
    "portainer": ("phoenix-portainer*",),
    "restic": ("phoenix-backup*",),
    "watch": ("phoenix-watch*",),
}
"""The units of each component that has any, as journalctl -u takes them."""
FIRST: tuple[Kind, ...] = ("component", "stack", "service", "guest")


@dataclass(frozen=True)
class Log:
    """One log: on which host, and the command that shows it."""

    host: Host
    command: tuple[str, ...]


def logs(
    site: Site, name: str, *, lines: int, follow: bool, container: str = ""
) -> tuple[Log, ...]:
    """The logs that a name stands for.

    Args:
        site: where the name is looked up, as `phoenix.derived.find` finds it.
        name: a component (the journal of its units), a stack (its containers), a service (that of
            what runs it) or a guest (its whole journal).
        container: of a stack: the service of its compose file; empty: all.
        lines: so many of the last ones.
        follow: go on with what comes.

    Raises:
        NameLookupError: nothing has the name, or what has it writes no log.
    """
    of: tuple[Kind, ...] = ("service", "guest", "component", "stack")
    match choose(site, name, first=FIRST, of=of):
        case Stack(deployed=deployed):
            return tuple(
                Log(host, _of_stack(stack, lines, container, follow=follow))
                for host, stack in deployed
            )
        case Component() as component:
            return _of_component(component, component.hosts(site), lines, follow=follow)
        case Service(deployment=None) as service:
            names = {component.name for component in components_of(site, service)}
            units = next((UNITS[name] for name in _RUN if name in names), ())
            return (Log(service.owner, _journal(units, lines, follow=follow)),)
        case Service() as service if service.deployment is not None:
            routed = service.compose_service
            command = _of_stack(service.deployment, lines, routed, follow=follow)
            return (Log(service.owner, command),)
        case Host() as host:
            return (Log(host, _journal((), lines, follow=follow)),)
    raise NameLookupError(f"{name} writes no log")


_RUN = ("step_ca", "home", "portainer", "traefik")
"""The components that run a service of their own, in the order in which one is taken for it; a
gateway's service has Traefik among its components as well."""


def _of_component(
    component: Component, hosts: tuple[Host, ...], lines: int, *, follow: bool
) -> tuple[Log, ...]:
    units = UNITS.get(component.name)
    if units is None:
        with_units = ", ".join(UNITS)
        raise NameLookupError(
            f"the component {component.name} has no unit, and so no log. Of: {with_units}"
        )
    if not hosts:
        raise NameLookupError(f"no host of this site has the component {component.name}")
    return tuple(Log(host, _journal(units, lines, follow=follow)) for host in hosts)


def _journal(units: tuple[str, ...], lines: int, *, follow: bool) -> tuple[str, ...]:
    """journalctl(1) of units; of none: everything."""
    chosen = [word for unit in units for word in ("-u", unit)]
    return ("journalctl", "--no-pager", *chosen, "-n", str(lines), *(["-f"] if follow else []))


def _of_stack(
    stack: Deployment, lines: int, service: str, *, follow: bool
) -> tuple[str, ...]:  # fmt: skip
    if stack.type == "swarm":
        return _tasks(stack.project, lines, service, follow=follow)
    return _containers(stack.project, lines, service, follow=follow)


_SERVICES = Script(
    "logs",
    """services=$3
[ -n "$services" ] ||
 services=$(docker service ls --quiet --filter "label=com.docker.stack.namespace=$1") || exit 1
for service in $services; do
 docker service logs --timestamps --tail "$2" $4 "$service" &
done
wait""",
)
"""Logs of services side by side, since Docker follows one at a time."""


def _tasks(project: str, lines: int, service: str, *, follow: bool) -> tuple[str, ...]:
    """The logs of a Swarm stack's services, or of one, from every node, asked of a manager."""
    name = f"{project}_{service}" if service else ""
    return tuple(_SERVICES.argv(project, lines, name, "--follow" if follow else ""))


def _containers(project: str, lines: int, service: str, *, follow: bool) -> tuple[str, ...]:
    """The logs of a compose project's containers, or of one service's, found by name alone."""
    tail = ("--tail", str(lines), *(["--follow"] if follow else []))
    which = (service,) if service else ()
    return ("docker", "compose", "-p", project, "logs", "--timestamps", *tail, *which)
