"""What `phoenix remove` is to do with one thing that is not declared. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from phoenix.components.docker.projects import ComposeProject
from phoenix.derived.certificates import stack_certificate
from phoenix.derived.components import CERTIFICATE, stack_tree, trees_of
from phoenix.health.undeclared import Item, Placed, Sightings, is_ours, volumes_of_declared
from phoenix.site.findings import SettingError
from phoenix.site.model import Frozen, Site
from phoenix.site.names import normalise_name

STAYING = ("base", "ssh", "trust")
"""Trees that a host keeps when it leaves the site: without its SSH hardening it would be less safe,
and whoever takes it over can change the rest."""


class Removal(Frozen):
    """One removal.

    Attributes:
        item: what is removed.
        volumes: its data as well.
        destroy: a guest of Proxmox VE as well, with its disks.
        target: the inventory's name of the host that it is on; empty where it is on none.
        environment: the name of that host's environment in Portainer; empty for none.
        projects: names of stacks that are ours.
        lines: what the register is to lose afterwards, line by line.
        keeps: volumes that stay since a declared stack has them, each with that stack.
    """

    item: Item
    volumes: bool
    destroy: bool
    target: str
    environment: str
    projects: tuple[str, ...]
    lines: tuple[str, ...]
    keeps: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_setting(cls, value: Any) -> Removal:
        """The removal that the setting `remove` holds.

        Raises:
            SettingError: it holds none.
        """
        try:
            return cls.model_validate(json.loads(value) if isinstance(value, str) else value)
        except (ValueError, ValidationError):
            raise SettingError(
                "setting remove is what `phoenix remove` gives it: use that command"
            ) from None

    def check(self, site: Site) -> None:
        """Refuse what the site declares.

        Raises:
            SettingError: names what, and where.
        """
        item = self.item
        host = next((host for host in site.hosts if host.name == item.host), None)
        trees = trees_of(site, host) if host else frozenset()
        projects = {stack.project for stack in host.docker_stacks} if host else ()
        environments = {agent.portainer_environment for agent in site.agents}
        machines = {str(host.address) for host in site.hosts}
        guests = {guest.vmid for guest in (*site.guests, *site.templates)}
        if (
            (item.kind in ("component", "certificate") and item.name in trees)
            or (item.kind in ("stack", "volumes") and item.name in projects)
            or environments & set(item.endpoints)
            or (item.kind == "overlay" and item.name in {n.name for n in site.swarm_networks})
            or (item.kind == "host" and item.address in machines)
            or (item.vmid is not None and item.vmid in guests)
        ):
            where = f" on {item.host}" if item.host else ""
            raise SettingError(f"{item.kind} {item.name}{where} is declared: it is not removed")


def removal(
    site: Site, sightings: Sightings, item: Item, *, volumes: bool, destroy: bool
) -> Removal:
    """The removal of one thing.

    Args:
        site: the site.
        sightings: what was seen of it.
        item: one of `undeclared`.
        volumes, destroy: as the operator wants it.
    """
    host = next((host for host in site.hosts if host.name == item.host), None)
    keeps = volumes_of_declared(host) if host and item.kind in ("stack", "volumes") else {}
    keeps = {
        volume.name: keeps[volume.name]
        for project in sightings.projects.get(item.host, ())
        for volume in project.volumes
        if project.name == item.name and volume.name in keeps
    }
    target = f"{item.name}@{item.address}" if item.kind == "host" else host.name if host else ""
    return Removal(
        item=item,
        volumes=volumes,
        destroy=destroy,
        target=target,
        environment=host.portainer_environment if host in site.docker_hosts and host else "",
        projects=tuple(
            sorted({normalise_name(e.name) for e in sightings.register if e.kind == "stack"})
        ),
        lines=tuple(_lines(site, sightings, item, volumes=volumes and not keeps)),
        keeps=tuple(keeps.items()),
    )


def hosts(site: Site, requested: Removal) -> tuple[str, ...]:
    """The hosts that take part, by their names in the inventory."""
    names = [site.hypervisor.name]
    portainer = requested.item.kind == "stack" or bool(requested.item.endpoints)
    if site.portainer is not None and portainer:
        names.append(site.portainer.name)
    return tuple(dict.fromkeys([*names, *filter(None, [requested.target])]))


def leaving_trees(item: Item, placed: Placed) -> tuple[str, ...]:
    """The configuration trees that go with a thing, of those that its host has."""
    if item.kind == "stack":
        own = stack_certificate(item.name)
        has_tree = own in placed.certificates or f"{CERTIFICATE}{own}" in placed.trees
        return (stack_tree(item.name), *((f"{CERTIFICATE}{own}",) if has_tree else ()))
    if item.kind in ("component", "certificate"):
        return (item.name,)
    if item.kind != "host":
        return ()
    certificates = (f"{CERTIFICATE}{name}" for name in placed.certificates)
    trees = dict.fromkeys((*placed.trees, *certificates))
    return tuple(tree for tree in trees if tree not in STAYING)


def stacks_on(projects: Iterable[ComposeProject], own_projects: Iterable[str]) -> tuple[str, ...]:
    """The compose projects of ours on a host that leaves the site."""
    known = frozenset(own_projects)
    return tuple(project.name for project in projects if is_ours(project, known))


def _lines(site: Site, sightings: Sightings, item: Item, *, volumes: bool) -> Iterator[str]:
    """Lines of the register that mean nothing once the thing is gone.

    A stack stays in it as long as its volumes are kept: by it they are told from a person's.
    """
    held = any(
        project.name == item.name and project.volumes
        for of_host in sightings.projects.values()
        for project in of_host
    )
    declared = {s.project for host in site.hosts for s in host.docker_stacks}
    for entry in sightings.register:
        name = normalise_name(entry.name) if entry.kind == "stack" else entry.name
        of_stack = (
            entry.kind == "stack"
            and item.kind in ("stack", "volumes")
            and (volumes or not held)
            and name not in declared
        )
        of_host = item.kind == "host" and item.address == entry.address
        if of_host or (name == item.name and (of_stack or entry.kind == item.kind != "stack")):
            yield entry.line
