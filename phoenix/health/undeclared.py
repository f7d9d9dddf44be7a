"""What runs on the site and is declared nowhere. Pure: a site and what was seen, in; things, out.

Ours and a person's are told apart by what Phoenix alone leaves: a line in the register
(`derived.register`) for hosts, stacks and endpoints; a configuration tree for components and
certificates; the tag for guests of Proxmox VE. What has none of these is a person's: it is never
told as undeclared, and never removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from pydantic import TypeAdapter

from phoenix.components.docker.projects import ComposeProject
from phoenix.components.move.decision import HostState, Moves, decide
from phoenix.components.stack import named_in
from phoenix.components.swarm.cluster import Swarm, left, managers_first, overlays_left
from phoenix.derived.certificates import stack_certificate
from phoenix.derived.components import (
    AGENT,
    CERTIFICATE,
    SERVER,
    STACK,
    stack_tree,
    trees_of,
)
from phoenix.derived.deployments import environments
from phoenix.derived.find import find
from phoenix.derived.register import Entry
from phoenix.site.model import Frozen, Host, Site
from phoenix.site.names import AGENT_PROJECT, SERVER_PROJECT, host_name, normalise_name

Kind = Literal[
    "stack",
    "volumes",
    "component",
    "certificate",
    "endpoint",
    "node",
    "overlay",
    "host",
    "guest",
    "firewall",
    "secret",
]
KINDS: Mapping[Kind, str] = {
    "stack": "stacks",
    "component": "components",
    "certificate": "certificates and their renewal",
    "endpoint": "endpoints in Portainer",
    "node": "nodes of the Docker Swarm",
    "overlay": "overlay networks of the Docker Swarm",
    "host": "hosts",
    "guest": "guests of Proxmox VE",
    "firewall": "rules of Proxmox VE's firewall",
    "volumes": "kept volumes",
    "secret": "kept secrets",
}
"""Every kind, in the order in which a person reads of them."""
_PLATFORM = {SERVER_PROJECT: SERVER, AGENT_PROJECT: AGENT}


class Item(Frozen):
    """One thing that is there and is not declared.

    Attributes:
        kind: what it is.
        name: its own name.
        host: the host that it is on; a host's own address; empty for what is on none.
        since: when it was made there, UTC; None where nothing tells.
        holds: what it has, in words: containers, open ports, volumes.
        command: the one command that removes it.
        address: of a host that is no longer declared, where it was reached; else empty.
        vmid: of a guest of Proxmox VE its id; of a host, that of its guest; else None.
        endpoints: names of Portainer's endpoints that go with it.
        kept: left on purpose by an earlier removal.
    """

    kind: Kind
    name: str
    host: str
    since: datetime | None = None
    holds: tuple[str, ...] = ()
    command: str = ""
    address: str = ""
    vmid: int | None = None
    endpoints: tuple[str, ...] = ()
    kept: bool = False


class Foreign(Frozen):
    """A compose project on a host of the site that Phoenix did not deploy."""

    project: str
    host: str
    deployer: str
    containers: int


class Undeclared(Frozen):
    """All undeclared things of a site.

    Attributes:
        items: what is not declared.
        foreign: what a person started.
        unknown: for each host that could not be looked at, why.
        unlisted: what no host of this site can tell, and why; it is no fault.
    """

    items: tuple[Item, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    unknown: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def running(self) -> tuple[Item, ...]:
        """The items not kept on purpose: for these `plan` and `status` exit with 2."""
        return tuple(item for item in self.items if not item.kept)


NOTHING = Undeclared()


class Move(NamedTuple):
    """A stack that is on one host and is declared on another, where it is not yet."""

    project: str
    source: Host
    target: Host


@dataclass(frozen=True)
class Placed:
    """Names of the configuration trees and of the certificates that a host has.

    `stacks`: those that its own compose deploys, by their directories.
    """

    trees: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    stacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaggedGuest:
    """A guest of Proxmox VE with our tag. `kind` is `lxc` or `qemu`."""

    vmid: int
    kind: str
    node: str
    name: str
    running: bool


@dataclass(frozen=True)
class Sightings:
    """What was seen of a site.

    Attributes:
        projects: compose projects of each host that told.
        placed: what Phoenix has put on each host that told.
        register: what it was ever told to deploy.
        guests: guests of Proxmox VE with our tag.
        unlisted: whether the hypervisor has no program that lists them.
        endpoints: names of Portainer's endpoints; None where it was not asked or did not tell.
        stacks: Portainer's stacks by name and the name of their endpoint.
        stored: names of the secrets that the store or the SOPS file has.
        used: names of those that the site uses.
        unknown: why a host, or Portainer, told nothing.
        rules: how many rules with our mark each file of Proxmox VE's firewall has.
        firewall: whether a sync keeps that firewall.
        swarms: what each Docker host that told has of a swarm.
    """

    projects: Mapping[str, Sequence[ComposeProject]] = field(default_factory=dict)
    placed: Mapping[str, Placed] = field(default_factory=dict)
    register: Sequence[Entry] = ()
    guests: Sequence[TaggedGuest] = ()
    unlisted: bool = False
    endpoints: Sequence[str] | None = None
    stacks: Sequence[tuple[str, str]] = ()
    stored: Set[str] = frozenset()
    used: Set[str] = frozenset()
    unknown: Sequence[str] = ()
    rules: Mapping[str, int] = field(default_factory=dict)
    firewall: bool = True
    swarms: Mapping[str, Swarm] = field(default_factory=dict)


PLACED = TypeAdapter(Placed)
REGISTER = TypeAdapter(tuple[Entry, ...])
GUESTS = TypeAdapter(tuple[TaggedGuest, ...])


def undeclared(site: Site, sightings: Sightings) -> Undeclared:
    """What is there and not declared, by kind, host and name, each with its command."""
    stacks = list(_stacks(site, sightings))
    items = [
        *stacks,
        *_placed(site, sightings, stacks),
        *(hosts := list(_hosts(site, sightings))),
        *_endpoints(site, sightings),
        *_nodes(site, sightings),
        *_overlays(site, sightings),
        *_guests(site, sightings, {host.vmid for host in hosts}),
        *_rules(site, sightings),
        *(
            Item(kind="secret", name=name, host="", kept=True)
            for name in sorted(_registered(sightings, "secret"))
            if name in sightings.stored and name not in sightings.used
        ),
    ]
    order = list(KINDS)
    items.sort(key=lambda item: (order.index(item.kind), item.host, item.name))
    return Undeclared(
        items=tuple(_with_commands(site, items)),
        foreign=tuple(_foreign(site, sightings)),
        unknown=tuple(sightings.unknown),
        unlisted=_unlisted(site) if sightings.unlisted else (),
    )


def _unlisted(site: Site) -> tuple[str, ...]:
    why = f"{site.hypervisor.name} has no pvesh, the program of Proxmox VE that lists guests"
    return (f"guests with Phoenix' tag that left the declaration cannot be known: {why}",)


def moves(site: Site, sightings: Sightings) -> tuple[Move, ...]:
    """The stacks that move to another host, as a sync decides it (`components.move.decision`).

    A stack that runs where it is declared does not move: another copy of it is undeclared.
    """
    places: dict[str, set[str]] = {}
    for host, projects in sightings.projects.items():
        for project in projects:
            places.setdefault(project.name, set()).add(host)
    pending: list[Move] = []
    for target in site.hosts:
        for name in sorted({stack.project for stack in target.docker_stacks}):
            if not places.get(name, set()) - {target.name}:
                continue
            decision = decide(name, target.name, _states(site, sightings, target, name))
            if isinstance(decision, Moves):
                pending.append(Move(name, site.host(decision.source), target))
    return tuple(pending)


def _states(
    site: Site, sightings: Sightings, target: Host, project: str
) -> dict[str, HostState | str]:
    """What a stack's host has, and every other one that does not declare it."""
    candidates = [host for host in site.hosts if host == target or not _declares(host, project)]
    return {
        host.name: HostState({project.name: project for project in sightings.projects[host.name]})
        if host.name in sightings.projects
        else "it told nothing"
        for host in candidates
    }


def select(leftovers: Undeclared, word: str, domain: str) -> tuple[Item, ...]:
    """The things that a word means: NAME, NAME@HOST, and KIND: before either.

    A host and a guest may also be given by full name in the site's domain, id or address. Case and
    a final dot make no difference. A name with a path behind it means nothing.
    """
    query = word.strip().lower()
    kind, colon, remainder = query.partition(":")
    if not colon or kind not in KINDS:
        kind, remainder = "", query
    name, _, host = remainder.partition("@")
    return tuple(
        item
        for item in leftovers.items
        if kind in ("", item.kind)
        and name.rstrip(".") in _names(item, domain)
        and host.rstrip(".") in ("", *_host_names(item.host, domain))
    )


def _host_names(name: str, domain: str) -> tuple[str, ...]:
    """The names of a host: its own, and its full one with and without the site's domain."""
    full = host_name(name.lower(), domain)
    return name.lower(), full, full.removesuffix(f".{domain}")


def _names(item: Item, domain: str) -> set[str]:
    """The names by which a thing may be called: name, address and VMID, as far as it has them."""
    own = _host_names(item.name, domain) if item.kind in ("host", "guest") else (item.name.lower(),)
    return {*own, *filter(None, [item.address, str(item.vmid or "")])}


# -- one kind after the other ----------------------------------------------------------------------


def _declares(host: Host, project: str) -> bool:
    return project in {stack.project for stack in host.docker_stacks}


def is_ours(project: ComposeProject, registered: Set[str]) -> bool:
    """Whether Phoenix deployed a stack: it is in the register, and not a person's of this name.

    Args:
        project: what a host has.
        registered: names of the stacks in the register, as Docker has them.
    """
    if project.name in _PLATFORM:
        return False
    return project.deployer == "phoenix" or (
        project.deployer != "hand" and project.name in registered
    )


def _is_ours(project: ComposeProject, sightings: Sightings) -> bool:
    return is_ours(project, _registered(sightings, "stack").keys())


def _registered(sightings: Sightings, kind: str) -> dict[str, Entry]:
    """The entries of a kind by their name as Portainer and Docker have it."""
    return {
        normalise_name(entry.name) if kind == "stack" else entry.name: entry
        for entry in sightings.register
        if entry.kind == kind
    }


def _stacks(site: Site, sightings: Sightings) -> Iterator[Item]:
    moving = {(move.project, move.source.name) for move in moves(site, sightings)}
    running = [item for item in _running(site, sightings) if (item.name, item.host) not in moving]
    places = moving | {(item.name, item.host) for item in running if item.kind == "stack"}
    yield from running
    in_portainer = list(_in_portainer(site, sightings, places))
    yield from in_portainer
    places |= {(item.name, item.host) for item in in_portainer}
    for host in site.hosts:
        for name in sightings.placed.get(host.name, Placed()).stacks:
            if not _declares(host, name) and (name, host.name) not in places:
                places.add((name, host.name))
                yield Item(kind="stack", name=name, host=host.name, holds=("its directory",))
    trees = {(stack_tree(name), host) for name, host in places}
    for host in site.hosts:
        for tree in sightings.placed.get(host.name, Placed()).trees:
            declared = tree in trees_of(site, host) or (tree, host.name) in trees
            if tree.startswith(STACK) and not declared:
                name = tree.removeprefix(STACK)
                yield Item(kind="stack", name=name, host=host.name, holds=("its files",))


def _running(site: Site, sightings: Sightings) -> Iterator[Item]:
    """Projects of ours with containers, or with volumes that an earlier removal kept."""
    for host in site.hosts:
        trees = sightings.placed.get(host.name, Placed()).trees
        for project in sightings.projects.get(host.name, ()):
            if _declares(host, project.name) or not _is_ours(project, sightings):
                continue
            if project.containers:
                files = ("its files",) if stack_tree(project.name) in trees else ()
                yield Item(
                    kind="stack",
                    name=project.name,
                    host=host.name,
                    since=project.since,
                    holds=(*_holds(project), *files),
                )
            elif project.volumes:
                users = volumes_of_declared(host)
                free = [volume.name for volume in project.volumes if volume.name not in users]
                volumes = tuple(f"volume {name}" for name in free)
                if not free:  # a declared stack goes on with them
                    continue
                yield Item(
                    kind="volumes", name=project.name, host=host.name, holds=volumes, kept=True
                )


def volumes_of_declared(host: Host) -> dict[str, str]:
    """Volumes that stacks of a host name in their compose files, each with its stack.

    One of another stack is named by `external`, or by `name`.
    """
    return {
        name: stack.project
        for stack in host.docker_stacks
        for kind, name in named_in(stack)
        if kind == "volume"
    }


def _in_portainer(site: Site, sightings: Sightings, places: Set[tuple[str, str]]) -> Iterator[Item]:
    """Stacks of ours that only Portainer still knows; `places` are told already.

    A declared stack without an endpoint in Portainer is left out: a sync associates it.
    """
    owners = {host.portainer_environment: host for host in site.docker_hosts}
    projects = _registered(sightings, "stack")
    for name, endpoint in sightings.stacks:
        if name not in projects:
            continue
        owner = owners.get(endpoint)
        if owner is None and endpoint not in (sightings.endpoints or ()):
            if _comes_back(site, sightings, name, owners):
                continue
            yield Item(kind="stack", name=name, host="", holds=("in Portainer, on no endpoint",))
        elif (
            owner
            and not _declares(owner, name)
            and (name, owner.name) not in places
            and not _is_renamed(site, sightings, name)
        ):
            holds = ("in Portainer, without containers",)
            yield Item(kind="stack", name=name, host=owner.name, holds=holds)


def _is_renamed(site: Site, sightings: Sightings, name: str) -> bool:
    """Whether a stack runs where it is declared and Portainer has it under no name of that host.

    Until the sync that follows a new name of its host, the former one's endpoint leads there: what
    a removal took down would be the declared stack.
    """
    return any(
        _declares(host, name)
        and (name, host.portainer_environment) not in sightings.stacks
        and any(
            project.name == name and project.containers
            for project in sightings.projects.get(host.name, ())
        )
        for host in environments(site)
    )


def _comes_back(site: Site, sightings: Sightings, name: str, owners: Mapping[str, Host]) -> bool:
    """Whether a stack on a deleted endpoint is declared on a host that has none of it."""
    holders = {
        owners[endpoint].name
        for stack, endpoint in sightings.stacks
        if stack == name and endpoint in owners
    }
    return any(_declares(host, name) and host.name not in holders for host in site.docker_hosts)


def _holds(project: ComposeProject) -> tuple[str, ...]:
    count = len(project.containers)
    running = sum(container.state == "running" for container in project.containers)
    ports = dict.fromkeys(f"{port.host_port}/{port.proto}" for port in project.ports)
    holdings = [f"{count} container{'s' * (count != 1)}, {running} running"]
    if ports:
        holdings.append(f"port{'s' * (len(ports) != 1)} {', '.join(ports)}")
    holdings += [f"volume {volume.name}" for volume in project.volumes]
    holdings += [str(anonymous) for anonymous in project.anonymous]
    return tuple(holdings)


def _placed(site: Site, sightings: Sightings, stacks: Iterable[Item]) -> Iterator[Item]:
    """Components and certificates whose host should not have them (any more).

    The certificate of one of the undeclared `stacks` is told, and goes, with that.
    """
    of_stacks = {(stack.host, f"{CERTIFICATE}{stack_certificate(stack.name)}") for stack in stacks}
    for host in site.hosts:
        placed = sightings.placed.get(host.name, Placed())
        declared = trees_of(site, host)
        running = {
            _PLATFORM[project.name]: project
            for project in sightings.projects.get(host.name, ())
            if project.name in _PLATFORM and project.containers
        }
        certificates = [f"{CERTIFICATE}{name}" for name in placed.certificates]
        for tree in dict.fromkeys((*placed.trees, *certificates, *running)):
            if tree in declared or tree.startswith(STACK) or (host.name, tree) in of_stacks:
                continue
            project = running.get(tree)
            yield Item(
                kind="certificate" if tree.startswith(CERTIFICATE) else "component",
                name=tree,
                host=host.name,
                since=project.since if project else None,
                holds=_holds(project) if project else (),
            )


def _is_declared(site: Site, entry: Entry) -> bool:
    """Whether the machine of an entry is still a guest of the site, whatever its name is now."""
    return any(
        str(host.address) == entry.address or (entry.vmid is not None and host.vmid == entry.vmid)
        for host in site.hosts
    )


def _hosts(site: Site, sightings: Sightings) -> Iterator[Item]:
    """Hosts of earlier declarations; a host that got a new id or address before is told once."""
    tagged = {guest.vmid: guest for guest in sightings.guests}
    declared = {host.portainer_environment for host in environments(site)}
    gone: dict[object, Entry] = {}
    for entry in sightings.register:
        if entry.kind == "host" and not _is_declared(site, entry):
            gone[entry.address if entry.vmid is None else entry.vmid] = entry
    for entry in gone.values():
        guest = tagged.get(entry.vmid) if entry.vmid is not None else None
        # One that another host is called by now is that host's: a sync moves it there.
        endpoints = [name for name in _endpoints_of(entry, sightings) if name not in declared]
        holds = [f"endpoint {name} in Portainer" for name in endpoints]
        holds += [f"stack {name}" for name, endpoint in sightings.stacks if endpoint in endpoints]
        if guest is not None:
            holds.append(_guest_words(guest))
        yield Item(
            kind="host",
            name=entry.name,
            host=entry.address,
            address=entry.address,
            vmid=guest.vmid if guest else None,
            endpoints=tuple(endpoints),
            holds=tuple(holds),
        )


def _endpoints_of(host: Entry, sightings: Sightings) -> list[str]:
    """The endpoints that Portainer still has of a registered host."""
    names = {
        entry.name
        for entry in sightings.register
        if entry.kind == "endpoint"
        and (entry.address == host.address or (host.vmid is not None and entry.vmid == host.vmid))
    }
    return [name for name in sightings.endpoints or () if name in names]


def _manager(site: Site, sightings: Sightings) -> Host | None:
    """A host that told as a manager of the site's swarm."""
    hosts = [host for host in managers_first(site.docker_hosts) if host.name in sightings.swarms]
    return next((host for host in hosts if sightings.swarms[host.name].is_ours), None)


def _overlays(site: Site, sightings: Sightings) -> Iterator[Item]:
    """Overlay networks of ours that are not declared."""
    manager = _manager(site, sightings)
    if manager is None:
        return
    for network in overlays_left(sightings.swarms[manager.name], site.swarm_networks):
        holds = ("encrypted" if network.encrypted else "not encrypted", *network.subnets)
        yield Item(kind="overlay", name=network.name, host=manager.name, holds=holds)


def _nodes(site: Site, sightings: Sightings) -> Iterator[Item]:
    """Our nodes in the swarm that are no longer declared; those of a person are left out."""
    manager = _manager(site, sightings)
    if manager is None:
        return
    own = {name: swarm.node for name, swarm in sightings.swarms.items()}
    for node in left(sightings.swarms[manager.name], site.swarm_nodes, own):
        on_its_host = node.id == own.get(node.name)
        holds = [f"{node.role} at {node.address}, {node.state}, {node.availability}"]
        holds.append(f"id {node.id}")
        holds += [f"label {key}={value}" for key, value in node.declared_labels]
        yield Item(
            kind="node",
            name=node.name,
            host=node.name if on_its_host else manager.name,
            holds=tuple(holds),
        )


def _endpoints(site: Site, sightings: Sightings) -> Iterator[Item]:
    """Endpoints that we registered of hosts that are declared without them."""
    declared = {host.portainer_environment for host in environments(site)}
    registered = _registered(sightings, "endpoint")
    for name in sightings.endpoints or ():
        entry = registered.get(name)
        if entry is None or name in declared or not _is_declared(site, entry):
            continue
        holds = tuple(f"stack {stack}" for stack, endpoint in sightings.stacks if endpoint == name)
        yield Item(kind="endpoint", name=name, host="", endpoints=(name,), holds=holds)


def _guests(site: Site, sightings: Sightings, reported: Set[int | None]) -> Iterator[Item]:
    declared = {guest.vmid for guest in (*site.guests, *site.templates)}
    for guest in sightings.guests:
        if guest.vmid in declared or guest.vmid in reported:
            continue
        yield Item(
            kind="guest",
            name=guest.name or str(guest.vmid),
            host=guest.node,
            vmid=guest.vmid,
            holds=(_guest_words(guest),),
            kept=not guest.running,
        )


def _rules(site: Site, sightings: Sightings) -> Iterator[Item]:
    """Rules with our mark that no sync keeps: the firewall is off, as a whole or for a guest.

    Those of a guest that is not declared go with it.
    """
    off = {
        f"{guest.vmid}.fw"
        for guest in site.guests
        if not (sightings.firewall and guest.firewall_enabled)
    }
    off |= set() if sightings.firewall else {"host.fw"}
    files = {path: n for path, n in sightings.rules.items() if path.rpartition("/")[2] in off}
    if files:
        holds = tuple(f"{count} in {path}" for path, count in sorted(files.items()))
        yield Item(kind="firewall", name="rules", host=site.hypervisor.name, holds=holds)


def _guest_words(guest: TaggedGuest) -> str:
    kind = "container" if guest.kind == "lxc" else "VM"
    return f"{kind} {guest.vmid} on {guest.node}, {'running' if guest.running else 'stopped'}"


def _foreign(site: Site, sightings: Sightings) -> Iterator[Foreign]:
    for host in site.hosts:
        for project in sightings.projects.get(host.name, ()):
            if (
                not project.containers
                or project.name in _PLATFORM
                or _declares(host, project.name)
                or _is_ours(project, sightings)
            ):
                continue
            yield Foreign(
                project=project.name,
                host=host.name,
                deployer=project.deployer or "",
                containers=len(project.containers),
            )


def _with_commands(site: Site, items: Iterable[Item]) -> Iterator[Item]:
    """Each with the shortest name that means it alone, and nothing that is declared."""
    listed = list(items)
    by_name = Counter(item.name.lower() for item in listed)
    by_place = Counter((item.name.lower(), item.host) for item in listed)
    for item in listed:
        word = item.name
        if by_name[item.name.lower()] > 1 or find(site, item.name):
            word = f"{item.name}@{item.host}" if item.host else f"{item.kind}:{item.name}"
            if by_place[item.name.lower(), item.host] > 1:
                word = f"{item.kind}:{item.name}@{item.host}"
        more = " --volumes" if item.kind == "volumes" else ""
        if item.kind == "guest" and item.kept:
            more = " --destroy"
        yield item.model_copy(update={"command": f"phoenix remove {word}{more}"})
