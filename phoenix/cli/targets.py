"""What `phoenix sync` and `phoenix plan` do for each name: pure, checked before any host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from phoenix.components.move.decision import MOVING
from phoenix.components.registries import of_a_stack
from phoenix.derived import firewall
from phoenix.derived.components import (
    COMPONENTS,
    Component,
    component_hosts,
    components_of,
    hosts_of,
    in_order,
)
from phoenix.derived.dns import DnsRecord
from phoenix.derived.find import Kind, Stack, choose
from phoenix.health.proof import ONLY, provers, target_of
from phoenix.proxmox.moving import STOPPING
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Deployment, Host, Service, Site, Template
from phoenix.site.roles import RoleError

ALL = "all"
VERIFY = "deploys/verify.py"
STACKS_ONLY = "stacks_only"
"""The data of a run that names the stacks that it is about; without it: all of each host."""
FIRST: tuple[Kind, ...] = ("component",)
"""A name with several meanings is the component; any other meaning needs its kind before it."""


@dataclass(frozen=True)
class Work:
    """One call of pyinfra: deploy files in order, hosts (empty: every host), and settings.

    `environment` is for what must not stand in a command line. `decides`: where it fails, no later
    call is made. `rests_on_all`: it is made only where all calls before it did well.
    """

    deploys: tuple[str, ...]
    limit: tuple[str, ...] = ()
    data: dict[str, object] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    decides: bool = False
    rests_on_all: bool = False


def projects(names: Iterable[str], site: Site) -> tuple[str, ...]:
    """What Docker calls the stacks of these names, each once.

    Raises:
        NameLookupError: the site declares no such stack.
    """
    stacks = (choose(site, name, first=(), of=("stack",)) for name in names)
    return tuple(
        dict.fromkeys(
            deployed.project
            for stack in stacks
            if isinstance(stack, Stack)
            for _, deployed in stack.deployed
        )
    )


def work(targets: Sequence[str], site: Site) -> list[Work]:
    """The calls of pyinfra that converge `targets`; no target, or "all", is the whole platform.

    What each kind of name (see `phoenix.derived.find`) stands for:
        component: its deploy file, on the hosts that it changes.
        service: the components whose output depends on it, on the hosts that carry it.
        stack: its deployments, and what each of its services needs.
        guest: everything on that guest, and what each of its services needs elsewhere.
        template, record: the component that makes it: `proxmox`, `dns`.

    Components are done first, in the platform's order, one call for each stage of it; then
    services and stacks likewise, then guests in one call. The last call proves what was touched
    (see `phoenix.health.proof`). A host that neither changes nor proves is not contacted.

    Raises:
        NameLookupError: a target means nothing, or several things, or concerns no host.
    """
    if not targets or ALL in (target.strip() for target in targets):
        return [Work(("deploys/all.py",))]
    chosen = [choose(site, target, first=FIRST) for target in targets]
    touched = [_maker(target) if isinstance(target, Template | DnsRecord) else target
               for target in chosen]  # fmt: skip
    components = [target for target in touched if isinstance(target, Component)]
    services = [target for target in touched if isinstance(target, Service)]
    guests = [target for target in touched if isinstance(target, Host)]
    stacks = [target for target in touched if isinstance(target, Stack)]
    calls = [
        *_components(components, site),
        *_services(services, stacks, site),
        *_guests(guests, site),
    ]
    return _proven(calls, [target_of(target) for target in touched], site)


def with_moves(calls: Sequence[Work], site: Site, *, move: bool) -> list[Work]:
    """The calls, and before and after them what a stack that changes its host needs.

    Asked to `move`: first the moves, up to the proof of each new copy on its host, so that no route
    leads to it before; last the end on the old hosts, when all is proven. Not asked: a run of
    several calls is refused before its first one, and not in the middle. Guests of Proxmox VE that
    change their node may be stopped for it where `move` is asked.
    """
    deploying = [
        call for call in calls if {"deploys/all.py", "deploys/stacks.py"} & {*call.deploys}
    ]
    every = _names(site.docker_hosts)
    limit = tuple(
        name for name in every if any(not call.limit or name in call.limit for call in deploying)
    )
    worded = [_with_word(call) if move else call for call in calls]
    if not limit:
        return worded
    only = [call.data[STACKS_ONLY] for call in deploying if STACKS_ONLY in call.data]
    data = {STACKS_ONLY: only[0]} if only and len(only) == len(deploying) else {}
    environment = deploying[0].environment
    if move:
        first = Work(("deploys/moves.py",), limit, data, environment, decides=True)
        end = Work(("deploys/finish_moves.py",), every, {}, environment, rests_on_all=True)
        moving = [replace(work, environment={**work.environment, MOVING: "1"}) for work in worded]
        return [first, *moving, end]
    if len(calls) == 1:
        return list(calls)
    return [Work(("deploys/check_moves.py",), limit, data, environment, decides=True), *calls]


def _with_word(call: Work) -> Work:
    """A call that, where it makes guests, may stop those that change their node."""
    if not {"deploys/all.py", "deploys/proxmox.py"} & {*call.deploys}:
        return call
    return replace(call, environment={**call.environment, STOPPING: "1"})


def _proven(calls: list[Work], touched: Sequence[str], site: Site) -> list[Work]:
    """The calls, and proof of what they touched: by the last one, or where that cannot be by one
    more.

    It can be where nothing else would change on the hosts that prove. Of some things there is no
    proof, as of a site that has no gateway yet: then the run says that it is not verified.
    """
    if any(VERIFY in call.deploys and not call.limit for call in calls):
        return calls  # every hop is asked for
    try:
        proving = provers(site, touched)
    except RoleError:
        return calls
    if not proving:
        return calls
    data: dict[str, object] = {ONLY: list(dict.fromkeys(touched))}
    last = calls[-1]
    changed_by_it = [part for part in COMPONENTS if part.deploy in last.deploys]
    others = [site.host(name) for name in proving if last.limit and name not in last.limit]
    changing = any(host in part.hosts(site) for part in changed_by_it for host in others)
    if not changed_by_it or changing:
        return [*calls, Work((VERIFY,), _limit(map(site.host, proving), site), data)]
    limit = _limit(map(site.host, (*last.limit, *proving)), site) if last.limit else ()
    return [*calls[:-1], replace(last, deploys=(*last.deploys, VERIFY), limit=limit,
                                 data={**last.data, **data})]  # fmt: skip


def guest(name: str, site: Site) -> str:
    """A host's name, by whatever `phoenix.derived.find` takes for a guest.

    Raises:
        NameLookupError: there is no such host.
    """
    return choose(site, name, first=(), of=("guest",)).name


def host_of(name: str, site: Site) -> str:
    """The one host that a name stands for: a guest, or where a service, stack or component is.

    Raises:
        NameLookupError: there is none, or there are several.
    """
    of: tuple[Kind, ...] = ("guest", "service", "component", "stack")
    match choose(site, name, first=("guest",), of=of):
        case Host() as host:
            hosts: tuple[str, ...] = (host.name,)
        case Service() as service:
            hosts = (service.owner.name,)
        case Component() as component:
            hosts = _names(component.hosts(site))
        case Stack() as stack:
            hosts = _names(host for host, _ in stack.deployed)
        case _:
            hosts = ()
    if len(hosts) != 1:
        where = ", ".join(hosts) or "no host"
        raise NameLookupError(f"{name} is on {where}: name the one host that you mean")
    return hosts[0]


def _maker(target: Template | DnsRecord) -> Component:
    """The component that makes a template or a record."""
    (component,) = in_order(["proxmox" if isinstance(target, Template) else "dns"])
    return component


def _components(components: Sequence[Component], site: Site) -> list[Work]:
    for component in components:
        if not component.hosts(site):
            raise NameLookupError(
                f"no host of this site has the component {component.name}: {component.does}"
            )
    return _staged(components, site.hosts, site, {})


def _services(services: Sequence[Service], stacks: Sequence[Stack], site: Site) -> list[Work]:
    """Only the stacks that are meant, or declare these services, are deployed."""
    deployed = [pair for stack in stacks for pair in stack.deployed]
    every = [
        *services,
        *(service for host, stack in deployed for service in _of_stack(site, host, stack)),
    ]
    components = [part for service in every for part in components_of(site, service)]
    hosts = [host for service in every for host in hosts_of(site, service)]
    components += in_order(["stacks"] if deployed else [])
    deployments = [stack for _, stack in deployed]
    deployments += [service.deployment for service in services if service.deployment is not None]
    components += in_order(
        ["trust"] if any(of_a_stack(site, deployment) for deployment in deployments) else []
    )
    components += in_order(
        ["guard"] if any(deployment.firewall_rules for _, deployment in deployed) else []
    )
    hosts += [host for host, _ in deployed]
    projects = [stack.project for stack in deployments]
    data: dict[str, object] = {STACKS_ONLY: list(dict.fromkeys(projects))} if projects else {}
    without_proof = [part for part in components if part.deploy != VERIFY]
    return _staged(without_proof, hosts, site, data)


def _of_stack(site: Site, host: Host, stack: Deployment) -> list[Service]:
    return [service for service in site.services_of(host) if service.deployment == stack]


def _guests(guests: Sequence[Host], site: Site) -> list[Work]:
    """The work for whole guests, after their DNS records and what other guests have for them.

    Whom it connects to lets it in first.
    """
    if not guests:
        return []
    bridges = ["networks"] if component_hosts("networks", site) else []
    before = in_order([*bridges, "proxmox", "dns", "guard"])
    elsewhere = [site.hypervisor, *firewall.reached_by(site, guests)]
    for service in (candidate for guest in guests for candidate in site.services_of(guest)):
        if service.exposure == "gateway":
            before = (*before, *in_order(["traefik", "nginx"]))
            elsewhere += [host for host in hosts_of(site, service) if host != service.owner]
    whole = set(_names(guests))
    elsewhere = [host for host in elsewhere if host.name not in whole]
    return [
        *_staged(in_order(part.name for part in before), elsewhere, site, {}),
        Work(("deploys/all.py",), _limit(guests, site), {}),
    ]


def _staged(
    components: Sequence[Component], hosts: Sequence[Host], site: Site, data: dict[str, object]
) -> list[Work]:
    """A call for each stage of the components, on those of `hosts` that its components change."""
    calls = []
    names = set(_names(hosts))
    for stage in sorted({component.stage for component in components}):
        parts = [component for component in components if component.stage == stage]
        taking_part = [h for component in parts for h in component.hosts(site) if h.name in names]
        if taking_part:
            calls.append(Work(_deploys(parts), _limit(taking_part, site), dict(data)))
    return calls


def _deploys(components: Iterable[Component]) -> tuple[str, ...]:
    return tuple(
        component.deploy for component in in_order(component.name for component in components)
    )


def _limit(hosts: Iterable[Host], site: Site) -> tuple[str, ...]:
    """Hosts as pyinfra's --limit takes them, in the site's order; all of them need no limit."""
    limited = set(_names(hosts))
    names = tuple(host.name for host in site.hosts if host.name in limited)
    return () if len(names) == len(site.hosts) else names


def _names(hosts: Iterable[Host]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(host.name for host in hosts))
