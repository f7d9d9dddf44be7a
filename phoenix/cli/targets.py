"""What `phoenix sync` and `phoenix plan` do for each name: pure, checked before any host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from phoenix.derived.components import Component, components_of, hosts_of, in_order
from phoenix.derived.dns import DnsRecord
from phoenix.derived.find import Kind, Stack, choose
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Host, Service, Site, Template

ALL = "all"
FIRST: tuple[Kind, ...] = ("component",)
"""A name with several meanings is the component; any other meaning needs its kind before it."""


@dataclass(frozen=True)
class Work:
    """One call of pyinfra: deploy files in order, hosts (empty: every host), and settings.

    `environment` is for what must not stand in a command line.
    """

    deploys: tuple[str, ...]
    limit: tuple[str, ...] = ()
    data: dict[str, object] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def work(targets: Sequence[str], site: Site) -> list[Work]:
    """The calls of pyinfra that converge `targets`; no target, or "all", is the whole platform.

    What each kind of name (see `phoenix.derived.find`) stands for:
        component: its deploy file, on the hosts that it changes.
        service: the components whose output depends on it, on the hosts that carry it, then proof.
        guest: everything, on that guest.
        stack: its deployments alone.
        template, record: the component that makes it: `proxmox`, `dns`.

    Components are done first, in the platform's order, one call for each stage of it; then
    services likewise, guests in one call, stacks in one. A host that none of them changes is not
    contacted.

    Raises:
        NameLookupError: a target means nothing, or several things, or concerns no host.
    """
    if not targets or ALL in (target.strip() for target in targets):
        return [Work(("deploys/all.py",))]
    chosen = [choose(site, target, first=FIRST) for target in targets]
    components = [target for target in chosen if isinstance(target, Component)]
    components += [_maker(target) for target in chosen if isinstance(target, Template | DnsRecord)]
    services = [target for target in chosen if isinstance(target, Service)]
    guests = [target for target in chosen if isinstance(target, Host)]
    stacks = [target for target in chosen if isinstance(target, Stack)]
    calls = [*_components(components, site), *_services(services, site)]
    if guests:
        calls.append(Work(("deploys/all.py",), _names(guests)))
    if stacks:
        calls.append(_stacks(stacks))
    return calls


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


def _services(services: Sequence[Service], site: Site) -> list[Work]:
    """Only the stacks that declare these services are deployed, where any of them does."""
    components = [part for service in services for part in components_of(site, service)]
    hosts = [host for service in services for host in hosts_of(site, service)]
    projects = [
        service.deployment.project for service in services if service.deployment is not None
    ]
    data: dict[str, object] = {"stacks_only": list(dict.fromkeys(projects))} if projects else {}
    return _staged(components, hosts, site, data)


def _staged(
    components: Sequence[Component], hosts: Sequence[Host], site: Site, data: dict[str, object]
) -> list[Work]:
    """A call for each stage of the components, on those of `hosts` that its components change."""
    calls = []
    names = set(_names(hosts))
    for stage in sorted({component.stage for component in components}):
        parts = [component for component in components if component.stage == stage]
        taking_part = [h for component in parts for h in component.hosts(site) if h.name in names]
        calls.append(Work(_deploys(parts), _limit(taking_part, site), dict(data)))
    return calls


def _stacks(stacks: Sequence[Stack]) -> Work:
    deployed = [deployment for stack in stacks for deployment in stack.deployed]
    projects = [deployment.project for _, deployment in deployed]
    return Work(
        ("deploys/stacks.py",),
        _names(host for host, _ in deployed),
        {"stacks_only": list(dict.fromkeys(projects))},
    )


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
