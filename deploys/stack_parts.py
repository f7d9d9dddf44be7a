"""The parts of a Docker host's stacks that several deploys use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyinfra import host

from deploys.access import portainer as access
from deploys.context import secrets, setting_errors, settings, site, site_host
from deploys.run_arguments import listed
from deploys.site_secrets import secret
from operations import docker_names, moves
from operations.compose_host import HostStacks
from operations.config_tree import config_tree
from operations.images import images
from operations.isolation import part
from operations.portainer import PortainerStacks
from operations.stacks import Stacks
from phoenix.components import registries
from phoenix.components import stack as deployment
from phoenix.components.config_tree.tree import Tree
from phoenix.components.move.decision import (
    Moves,
    Ports,
    Refused,
    Shape,
    exchange,
    givers,
    host_port,
    shape,
    shared,
    taken_ports,
)
from phoenix.components.stack import Prepared
from phoenix.derived import deployments
from phoenix.derived.components import stack_tree
from phoenix.site import suggestions
from phoenix.site.findings import SettingError
from phoenix.site.model import Deployment, Host


def desired_stacks() -> list[Deployment]:
    """This host's stacks; where the run is about some of them (`stacks_only`), those.

    Raises:
        DeployError: the site has no such stack.
    """
    if host.data.get("stacks_only") is None:
        return list(site_host().docker_stacks)
    only = listed("stacks_only")
    projects = {stack.project for machine in site().hosts for stack in machine.docker_stacks}
    with setting_errors():
        for name in only:
            if name not in projects:
                hint = suggestions.hint_for(name, sorted(projects))
                raise SettingError(f"stacks_only: the site has no stack {name!r}. {hint}")
    return [stack for stack in site_host().docker_stacks if stack.project in only]


def prepared(stacks: Sequence[Deployment]) -> list[Prepared]:
    """Stacks with everything filled in."""
    with setting_errors():
        return [
            deployment.prepare(stack, settings().stack_variables.get(stack.name, {}), secret)
            for stack in stacks
        ]


def others_are_there(
    stacks: Sequence[Prepared], ports: Mapping[str, Ports] | None = None
) -> list[Prepared]:
    """Have each stack find the networks and volumes that it takes and does not make.

    The run is refused before its first step if this host's Docker lacks one. In a swarm networks
    are left out: a node knows those of another one only when it uses them, and Compose does not
    look for them either.

    Args:
        stacks: those that this run deploys here.
        ports: what each stack publishes here now.

    Returns:
        The stacks in order: makers before takers, and a stack that gives up a port before the one
        that takes it.
    """
    with setting_errors():
        names = {
            stack.project: deployment.names(stack, settings().stack_variables.get(stack.name, {}))
            for stack in site_host().docker_stacks
        }
    makers = {pair: project for project, names_of in names.items() for pair in names_of.makes}
    chosen = [prepared.stack.project for prepared in stacks]
    names = {project: names[project] for project in chosen}
    makes = frozenset().union(*(names_of.makes for names_of in names.values()))
    kinds = ("volume",) if site_host().swarm is not None else ("network", "volume")
    for project, names_of in names.items():
        needed = sorted(pair for pair in names_of.takes - makes if pair[0] in kinds)
        if needed:
            with part(project):
                docker_names.refuse_missing(project, needed, makers)
                docker_names.needed_exists(
                    name=f"Stack {project}: networks and volumes of others",
                    project=project,
                    needed=needed,
                    makers=makers,
                )
    declared = {
        prepared.stack.project: frozenset(
            host_port(port.host_port, port.proto, port.address) for port in prepared.stack.ports
        )
        for prepared in stacks
    }
    if circle := exchange(declared, ports or {}):
        with part(circle[0]):
            moves.refuse_run(*_exchanged(circle, declared, ports or {}))
    elsewhere = {
        stack.project
        for other in site().docker_hosts
        if other.name != host.name
        for stack in other.docker_stacks
    }
    remaining = {name: has for name, has in (ports or {}).items() if name not in elsewhere}
    for project, holder, in_use in taken_ports(declared, remaining):
        with part(project):
            moves.refuse_run(*_port_in_use(project, holder, in_use))
    order = deployment.in_order(names, givers(declared, ports or {}))
    return sorted(stacks, key=lambda prepared: order.index(prepared.stack.project))


def _exchanged(
    circle: Sequence[str], declared: Mapping[str, Ports], published: Mapping[str, Ports]
) -> tuple[str, str]:
    """The title of a refused step, and why stacks cannot take each other's ports, with the fix."""
    who = "; ".join(
        f"{name} takes {_numbers(shared(declared[name], published[other]))}, which {other} has"
        for name in circle
        for other in circle
        if other in givers(declared, published)[name]
    )
    why = (
        f"stacks of {host.name} exchange ports, and Docker gives one to a single container at a "
        f"time: {who}. Nothing was changed. fix: give one of them a free port, sync, then write "
        "the port that it is to have"
    )
    return f"Stacks {' and '.join(circle)} exchange ports", why


def _numbers(ports: Ports) -> str:
    return ", ".join(dict.fromkeys(str(port.number) for port in sorted(ports)))


def _port_in_use(project: str, holder: str, in_use: Ports) -> tuple[str, str]:
    """The title of a refused step, and why a stack cannot have a port, with the fix."""
    numbers = _numbers(in_use)
    declared = {stack.project for stack in site_host().docker_stacks}
    fix = (
        f"sync both at once, as `phoenix sync stacks`, so that {holder} gives it up first"
        if holder in declared
        else f"give {project} a free port, or stop {holder}, which this site does not declare"
    )
    why = (
        f"{project} takes {numbers} on {host.name}, which {holder} has, and Docker gives a port to "
        f"one container at a time. Nothing was changed. fix: {fix}"
    )
    return f"Stack {project} takes a port of {holder}", why


def engine(target: Host) -> Stacks:
    """What deploys the stacks of a Docker host."""
    if deployments.by_portainer(site(), target):
        return PortainerStacks(access(), target.portainer_environment)
    return HostStacks(target.name)


def stack_outlook(stacks: Sequence[Deployment]) -> moves.Outlook:
    """What becomes of stacks that this host declares.

    One of type Swarm runs on its nodes: no data of it are looked for on other hosts. Those of a
    compose stack of its name keep it from starting without them.
    """
    swarm = {stack.project for stack in stacks if stack.type == "swarm"}
    shapes = {
        stack.project: Shape()
        if stack.project in swarm
        else shape(deployment.services(stack), stack.images)
        for stack in stacks
    }
    prospects = moves.outlook(site(), shapes)
    decisions = {
        project: Refused(project, decision.target, _no_move(decision))
        if project in swarm and isinstance(decision, Moves)
        else decision
        for project, decision in prospects.decisions.items()
    }
    return replace(prospects, decisions=decisions)


def _no_move(move: Moves) -> str:
    return (
        f"it is a Swarm stack here, and {move.source} has it as a compose stack ({move.data}): a "
        "move changes no type. Declare it as type compose here, `phoenix sync --move`, and then as "
        "type swarm"
    )


def images_and_files(stacks: Sequence[Prepared]) -> None:
    """Images that come as archives, and the stacks' files; what deploys pulls the other images.

    A host whose own compose deploys gets the registries' log-ins; Portainer has its own.
    """
    if not deployments.by_portainer(site(), site_host()):
        with setting_errors():
            logins = registries.tree(registries.logins(settings().registries, secrets().find))
        config_tree(name="Stacks: registries", tree=logins)
    references = [reference for planned in stacks for reference in planned.images]
    if site_host().swarm is not None:  # any node may run a task of any Swarm stack
        references += [reference for stack in _of_swarm() for reference in stack.images]
    archived = [
        reference
        for reference in dict.fromkeys(references)
        if reference in settings().image_archives
    ]
    if archived:
        images(name="Stacks: images", references=archived, archives=settings().image_archives)
    for planned in stacks:
        if planned.files:
            with part(planned.stack.project):
                config_tree(
                    name=f"Stacks: files of {planned.stack.project}",
                    tree=Tree(
                        component=stack_tree(planned.stack.project),
                        files=planned.files,
                    ),
                )


def _of_swarm() -> list[Deployment]:
    return [
        stack
        for node in site().swarm_nodes
        for stack in node.docker_stacks
        if stack.type == "swarm"
    ]


def refuse_moves(stacks: Sequence[Deployment]) -> moves.Outlook:
    """What becomes of the stacks; a run that was not asked to move one is refused as a whole."""
    prospects = stack_outlook(stacks)
    for project, decision in prospects.decisions.items():
        if isinstance(decision, Moves | Refused):
            with part(project):
                moves.refuse(decision)
    return prospects
