"""Groups and hosts of an inventory file, as pyinfra takes them: Phoenix's own and an operator's.

A group is a list of hosts, or a tuple of hosts and the group's data, under a name of the file that
begins with no underscore. A host is a name, or a tuple of the name and the host's data
(https://docs.pyinfra.com/en/3.x/inventory-data.html; pyinfra_cli.inventory, pyinfra.api.inventory).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phoenix.site.model import Host

ALL = "all"


class MalformedGroupError(ValueError):
    """A name of an inventory that pyinfra takes for a group and cannot read; says which and why."""


@dataclass(frozen=True)
class Inventory:
    """What pyinfra takes from an inventory file.

    Attributes:
        label: what findings call the inventory, as "inventories/phoenix.py".
        hosts: the own data of each host, by its name.
        groups: the groups of each host beside `all`, by its name, in pyinfra's order: of a setting
            in several of their files, that of the last one counts.
        names: every group, also one without hosts.
        values: the data that a group has in the inventory itself; of `all` as well.
    """

    label: str
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def data(self) -> Mapping[str, Any]:
        """Of the first host; empty where there is none."""
        return next(iter(self.hosts.values()), {})

    def data_of(self, host: Host) -> Mapping[str, Any]:
        """A host's own data; that of the first one where the inventory was not executed."""
        return self.hosts.get(host.name, self.data)

    def groups_of(self, host: Host) -> tuple[str, ...]:
        """A host's groups in pyinfra's order; the declared ones where it was not executed."""
        declared = (*host.groups, Path(self.label).stem)
        return self.groups.get(host.name, () if self.hosts else declared)

    @property
    def given(self) -> dict[str, Any]:
        """Every name that the inventory gives a host or a group, each once."""
        sources = (*self.values.values(), *self.hosts.values())
        return {name: value for own in sources for name, value in own.items()}


def read(label: str, names: Mapping[str, Any]) -> Inventory:
    """The groups and hosts among the names of an inventory file, in the order of their definition.

    Args:
        label: what findings call the inventory.
        names: those that the executed file has.

    Raises:
        MalformedGroupError: pyinfra would fail on a group.
    """
    groups: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    values: dict[str, Mapping[str, Any]] = {}
    for name, value in names.items():
        if name.startswith("_") or not isinstance(value, list | tuple):
            continue
        members, own = value if isinstance(value, tuple) and len(value) == 2 else (value, {})
        if isinstance(value, tuple) and not (
            len(value) == 2 and isinstance(members, list | tuple) and isinstance(own, dict)
        ):
            raise MalformedGroupError(
                f"{name} is a tuple, which pyinfra takes for a group: its hosts and its data"
            )
        if not all(isinstance(member, str | tuple) for member in members):
            continue  # pyinfra ignores it as well, with a warning
        groups[name] = [_host(name, member) for member in members]
        values[name] = own
    return _joined(label, groups, {name: own for name, own in values.items() if own})


def _host(group: str, member: str | tuple[Any, ...]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(member, str):
        return member, {}
    if len(member) == 2 and isinstance(member[0], str) and isinstance(member[1], dict):
        return member[0], member[1]
    raise MalformedGroupError(f"{group} has a host that is not a name, or a name and its data")


def _joined(
    label: str,
    groups: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]],
    values: Mapping[str, Mapping[str, Any]],
) -> Inventory:
    """Each host with all that its mentions say.

    Of a value that several mentions have the last one counts, and that of `all` before all others.
    A file's own name is a group of all its hosts, unless the file defines one. Where it defines
    `all`, it has these hosts and no other.
    """
    others = {name: members for name, members in groups.items() if name != ALL}
    of_host: dict[str, list[str]] = {}
    hosts: dict[str, dict[str, Any]] = {}
    for name, members in [*others.items(), (ALL, groups.get(ALL, ()))]:
        for host, data in members:
            hosts.setdefault(host, {}).update(data)
            if name != ALL and name not in of_host.setdefault(host, []):
                of_host[host].append(name)
    chosen = [host for host, _ in groups[ALL]] if ALL in groups else list(hosts)
    stem = Path(label).stem
    if stem not in others:
        of_host = {host: [*of_host.get(host, []), stem] for host in chosen}
    return Inventory(
        label,
        {host: hosts[host] for host in chosen},
        {host: tuple(of_host.get(host, [])) for host in chosen},
        tuple(dict.fromkeys((*others, stem))),
        values,
    )


def names_in(files: Iterable[Path]) -> set[str]:
    """Names that may be groups of inventory files: theirs, and those that they assign.

    Unlike `read` it executes nothing, so it also serves a file whose declaration is faulty.
    """
    result = set()
    for file in files:
        result.add(file.stem)
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        result |= {
            node.id
            for statement in tree.body
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
    return {name for name in result if not name.startswith("_")}
