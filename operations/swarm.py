"""The site's Docker Swarm: made, joined, its nodes as declared. Give operations a ``name=``.

A node is changed through a manager, so each operation asks others than its own host: of a site
whose first manager is new, another one has the swarm. A token goes from a manager to the host that
joins through this process's memory; it stands in no command line, file or log.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple

from pyinfra import host, inventory
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.exceptions import ConnectError, OperationError
from pyinfra.api.host import Host

from facts.command import script
from facts.host_fact import FactError
from facts.swarm import SwarmNode
from operations.explain import fail_in_turn, log_reasons
from operations.failure import local_command
from operations.host_state import question, read, read_of
from operations.operation import operation
from operations.ssh_stream import ask, stream
from phoenix import files
from phoenix.components.swarm import cluster
from phoenix.components.swarm.address_pool import SUBNET_SIZE, UsedRange, clash
from phoenix.components.swarm.cluster import NO_QUORUM, Node, Swarm
from phoenix.derived import swarm as meeting
from phoenix.shell import Script
from phoenix.site.model import Host as SiteHost
from phoenix.site.model import Site, SwarmNetwork
from phoenix.site.model import SwarmNode as DeclaredNode
from phoenix.site.ports import SWARM

Commands = Generator[StringCommand | FunctionCommand, None, None]


def _script(name: str) -> Script:
    return Script(f"swarm-{name}", files.text(f"components/swarm/{name}.sh"))


class _Manager(NamedTuple):
    """A host that the swarm can be changed through, and what it tells."""

    name: str
    swarm: Swarm


@operation(reads=lambda *_, **__: [question(SwarmNode)])
def initialized(site: Site, pools: Iterable[str]) -> Commands:
    """Make the site's swarm on this host, unless another node has it.

    Args:
        site: whose swarm it is; this host is its first manager.
        pools: where the swarm's networks are to be from.
    """
    if read(question(SwarmNode)).joined:
        host.noop("it is in a swarm")
        return
    silent = []
    for other in _others(site):
        state = _state(other)
        if isinstance(state, Swarm) and state.joined and (other.swarm or state.is_ours):
            host.noop(f"{other.name} is in the swarm already")
            return
        if isinstance(state, str) and other.is_manager:
            silent.append(f"{other.name} ({state})")
    if silent:
        yield from fail_in_turn(
            f"no swarm is made while a manager does not answer, since it may have one: "
            f"{', '.join(silent)}"
        )
        return
    declared, this_node = _own_node(site)
    log_reasons(f"a new swarm is made, whose networks are from {', '.join(pools)}")
    address = meeting.advertised(site, this_node)
    yield script(_script("init"), address, SWARM, declared.availability, SUBNET_SIZE, *pools)


@operation(reads=lambda *_, **__: [question(SwarmNode)])
def joined(site: Site) -> Commands:
    """Have this host join the site's swarm, by the token of its role.

    Args:
        site: whose swarm it is.
    """
    here_now = read(question(SwarmNode))
    manager = _manager(site)
    if here_now.joined:
        if reason := _refusal(here_now, manager):
            yield from fail_in_turn(reason)
            return
        host.noop("it is in the swarm")
        return
    declared, this_node = _own_node(site)
    if manager is None and this_node == site.swarm_nodes[0]:
        host.noop("the swarm is made on it")
        return
    log_reasons(f"joins the swarm as {declared.role}, {declared.availability}")

    def join() -> None:
        through = _manager(site)
        if through is None:
            raise OperationError("no manager of the swarm answers")
        by = site.host(through.name)
        ways = [
            candidate
            for candidate in site.swarm_nodes
            if candidate.is_manager and candidate != this_node
        ]
        met = dict.fromkeys([meeting.advertised(site, by), *_met(site, ways)])
        addresses = [f"{address}:{SWARM}" for address in met]
        arguments = (meeting.advertised(site, this_node), SWARM, declared.availability, *addresses)
        stream(
            (_of_inventory(through.name), f"docker swarm join-token --quiet {declared.role}"),
            (_of_inventory(this_node.name), _script("join").line(*arguments)),
            lambda _: None,
        )

    yield local_command(join)


@operation(reads=lambda *_, **__: [question(SwarmNode)])
def node(site: Site, in_use: Iterable[UsedRange], *, role: str) -> Commands:
    """Give this host's node its declared role, labels and availability, through a manager.

    Args:
        site: whose swarm it is.
        in_use: what the swarm's networks must not overlap.
        role: of the nodes whose turn it is; there is nothing to do on others.
    """
    declared, this_node = _own_node(site)
    if declared.role != role:
        host.noop(f"it is a {declared.role}")
        return
    here_now = read(question(SwarmNode))
    manager = _manager(site, last=this_node.name)
    if here_now.joined and (reason := _refusal(here_now, manager)):
        yield from fail_in_turn(reason)
        return
    known_node = (
        cluster.of_host(manager.swarm, this_node.name, here_now.node)
        if manager and here_now.joined
        else None
    )
    if manager and (overlap := clash(manager.swarm.ranges, in_use)):
        log_reasons(f"{overlap}; a swarm keeps its ranges for good (docs/swarm.md)")
    change = cluster.change(this_node.name, declared, known_node)
    if not change:
        host.noop("role, labels and availability are as declared")
        return
    log_reasons(*change.words)

    def update() -> None:
        through = _manager(site, last=this_node.name)
        known = read(question(SwarmNode)).node
        if through is None or not known:
            raise OperationError("no manager of the swarm answers, or this host is in none")
        now = cluster.change(
            this_node.name, declared, cluster.of_host(through.swarm, this_node.name, known)
        )
        _update(through.name, known, now.role, now.arguments)

    yield local_command(update)


@operation(reads=lambda *_, **__: [question(SwarmNode)])
def network(site: Site, declared: SwarmNetwork) -> Commands:
    """Have the swarm have one overlay network as declared.

    One that differs is made anew, since Docker changes none; it is refused while services or
    containers are in it, and where it is a person's.

    Args:
        site: whose swarm it is.
        declared: the network.
    """
    manager = _manager(site)
    actual = (
        next((o for o in manager.swarm.overlays if o.name == declared.name), None)
        if manager
        else None
    )
    differs = cluster.overlay_differs(declared, actual) if actual else ()
    if actual and not differs:
        host.noop(f"the swarm has the network {declared.name}")
        return
    if actual and not actual.ours:
        yield from fail_in_turn(
            f"the swarm has a network {declared.name} that Phoenix did not make, and "
            f"{' and '.join(differs)}: docker network rm {declared.name}, or declare it as it is"
        )
        return
    words = f"network {declared.name}"
    if actual:
        log_reasons(f"{words} is made anew, as Docker changes none: {', '.join(differs)}")
    else:
        log_reasons(f"{words} is made{', encrypted' if declared.encrypted else ''}")

    def make() -> None:
        through = _manager(site)
        if through is None:
            raise OperationError("no manager of the swarm answers")
        former = next((o.id for o in through.swarm.overlays if o.name == declared.name), "")
        line = _script("network").line(
            declared.name, f"{meeting.NETWORK_LABEL}={declared.name}",
            "yes" if declared.encrypted else "", "yes" if declared.attachable else "",
            str(declared.subnet or ""), former,
        )  # fmt: skip
        try:
            ask(_of_inventory(through.name), line)
        except OperationError as error:
            if not former:
                raise
            raise OperationError(
                f"{error}. Take network {declared.name} out of the stacks that use it, sync, and "
                "put it back"
            ) from None

    yield local_command(make)


@operation(reads=lambda *_, **__: [question(SwarmNode)])
def network_removed(site: Site, network: str) -> Commands:
    """Remove an overlay network of ours that is not declared.

    Args:
        site: whose swarm it is.
        network: its name.
    """
    manager = _manager(site)
    left = cluster.overlays_left(manager.swarm, site.swarm_networks) if manager else ()
    gone = [overlay for overlay in left if overlay.name == network]
    if manager is None or not gone:
        host.noop(f"the swarm has no network {network} of ours that is not declared")
        return
    through = manager.name
    log_reasons(f"network {network} goes; Docker refuses it while a service is in it")

    def remove() -> None:
        for overlay in gone:
            ask(_of_inventory(through), f"docker network rm {overlay.id}")

    yield local_command(remove)


@operation(reads=lambda *_, **__: [question(SwarmNode)])
def removed(site: Site, node: str) -> Commands:
    """Take a node of ours that is not declared out of the swarm: its tasks go to other nodes.

    A manager is made a worker first. The last node takes the swarm with it; the last manager is
    refused while there are others.

    Args:
        site: whose swarm it is.
        node: the host that the node is, by our label.
    """
    through = _manager(site, last=node)
    if through is None:
        host.noop("no manager of the swarm is on a host of this site")
        return
    answers = {
        swarm_node.name: _state(swarm_node)
        for swarm_node in site.swarm_nodes
        if swarm_node.name == node
    }
    node_ids = {name: state.node for name, state in answers.items() if isinstance(state, Swarm)}
    left = cluster.left(through.swarm, site.swarm_nodes, node_ids)
    gone = [member for member in left if member.name == node]
    if not gone:
        host.noop(f"the swarm has no node {node} that is not declared")
        return
    others = [member for member in through.swarm.nodes if member not in gone]
    if others and not any(member.role == "manager" for member in others):
        yield from fail_in_turn(
            f"{node} is the last manager of {len(others) + 1} nodes: declare another, or remove "
            "the workers first"
        )
        return
    log_reasons(
        *(f"node {node} ({member.id}, {member.role}, {member.state}) leaves" for member in gone)
    )

    def leave() -> None:
        for member in gone:
            _leave(site, through.name, member, alone=not others)

    yield local_command(leave)


def _leave(site: Site, manager: str, gone: Node, *, alone: bool) -> None:
    """Away with one node; where its host is one of the site and answers, it leaves by itself."""
    its_host = next(
        (docker_host for docker_host in site.docker_hosts if docker_host.name == gone.name), None
    )
    its_swarm = _state(its_host) if its_host else None
    is_there = isinstance(its_swarm, Swarm) and its_swarm.node == gone.id
    if not alone:
        _update(
            manager, gone.id, "worker" if gone.role == "manager" else "",
            ("--availability", "drain"),
        )  # fmt: skip
    if is_there:
        ask(_of_inventory(gone.name), _script("leave").line())
    if not alone:
        ask(_of_inventory(manager), _script("forget").line(gone.id, "yes" if is_there else ""))


def _update(manager: str, node_id: str, role: str, arguments: Iterable[str]) -> None:
    ask(_of_inventory(manager), _script("update").line(node_id, role, *arguments))


def _met(site: Site, hosts: Iterable[SiteHost]) -> list[object]:
    return [meeting.advertised(site, member) for member in hosts]


def _refusal(here_now: Swarm, manager: _Manager | None) -> str:
    """Why this host, which is in a swarm, cannot be converged; empty where it can."""
    own_name: str = host.name
    if NO_QUORUM in here_now.error:
        return (
            f"the swarm has lost its managers' majority ({here_now.error}): start those that "
            "are down. "
            "Where they are gone for good, on one that is left: docker swarm init "
            "--force-new-cluster (docs/swarm.md)"
        )
    if here_now.state != "active":
        words = {"locked": "docker swarm unlock", "pending": "wait, or docker swarm leave"}
        return (
            f"Docker says that {own_name} is {here_now.state} in its swarm"
            f"{f' ({here_now.error})' if here_now.error else ''}: "
            f"{words.get(here_now.state, 'docker swarm leave, and sync again')}"
        )
    if manager is None:
        return "no manager of the swarm answers: see `phoenix doctor`"
    if all(member.id != here_now.node for member in manager.swarm.nodes):
        return (
            f"{own_name} is in another swarm than {manager.name}: docker swarm leave on one of the "
            "two, and sync again"
        )
    return ""


def _own_node(site: Site) -> tuple[DeclaredNode, SiteHost]:
    this_node = site.host(host.name)
    if this_node.swarm is None:
        raise OperationError(f"{this_node.name} is not a node of the swarm")
    return this_node.swarm, this_node


def _others(site: Site) -> list[SiteHost]:
    return [
        docker_host
        for docker_host in cluster.managers_first(site.docker_hosts)
        if docker_host.name != host.name
    ]


def _manager(site: Site, last: str = "") -> _Manager | None:
    """A host that the swarm can be changed through; a node itself after the others.

    Any Docker host of the site may be one: what it is declared as may be what is to change.
    """
    every = sorted(
        cluster.managers_first(site.docker_hosts), key=lambda docker_host: docker_host.name == last
    )
    for docker_host in every:
        state = _state(docker_host)
        if isinstance(state, Swarm) and state.answers and (docker_host.swarm or state.is_ours):
            return _Manager(docker_host.name, state)
    return None


def _state(docker_host: SiteHost) -> Swarm | str:
    """What a host tells of its swarm; else why it tells nothing."""
    try:
        state = read_of(_of_inventory(docker_host.name), question(SwarmNode))
    except (FactError, ConnectError, OSError) as error:
        return str(error)
    return f"Docker does not answer: {state.error}" if state.state == "silent" else state


def _of_inventory(name: str) -> Host:
    other: Host = inventory.get_host(name)
    return other
