"""What `phoenix sync` and `phoenix plan` are told to work on: pure, checked before any host."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phoenix.cli.exits import CommandError
from phoenix.site.model import Site

ALL = "all"
STACK = "stack:"
_INCLUDE = re.compile(r'^local\.include\("deploys/(\w+)\.py"\)', re.MULTILINE)


@dataclass(frozen=True)
class Work:
    """One call of pyinfra: deploy files in order, hosts (empty: every host), and settings.

    `environment` is for what must not stand in a command line.
    """

    deploys: tuple[str, ...]
    limit: tuple[str, ...] = ()
    data: dict[str, object] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def components(root: Path) -> tuple[str, ...]:
    """The components in their order, as `deploys/all.py` includes them."""
    return tuple(_INCLUDE.findall((root / "deploys" / "all.py").read_text()))


def work(targets: Sequence[str], site: Site, known: Sequence[str]) -> list[Work]:
    """The calls that bring `targets` about; no target, or "all", is the whole platform.

    A target is a component (`known`, the order they run in), a guest by name or id, or
    `stack:NAME`. Several are done one kind after the other. A name that is both a component and
    a guest is the component; the guest still has its id.

    Raises:
        CommandError: a target matches nothing; pyinfra itself would do nothing and exit with 0.
    """
    names = [target.strip() for target in targets]
    if not names or ALL in names:
        return [Work(("deploys/all.py",))]
    found_components = {name for name in names if name in known}
    stacks = [name.removeprefix(STACK) for name in names if name.startswith(STACK)]
    hosts = _hosts(site)
    guests = []
    for name in names:
        if name in found_components or name.startswith(STACK):
            continue
        if name.lower() not in hosts:
            raise CommandError(_unknown(name, [*known, *hosts, *_stack_targets(site)]))
        guests.append(hosts[name.lower()])
    limit = tuple(dict.fromkeys(guests))
    made = []
    if found_components:
        deploys = tuple(f"deploys/{name}.py" for name in known if name in found_components)
        made.append(Work(deploys))
    if limit:
        made.append(Work(("deploys/all.py",), limit))
    if stacks:
        made.append(_stacks(stacks, site))
    return made


def guest(name: str, site: Site) -> str:
    """A host's name, by name or id.

    Raises:
        CommandError: there is no such host.
    """
    hosts = _hosts(site)
    if name.lower() not in hosts:
        raise CommandError(_unknown(name, list(hosts)))
    return hosts[name.lower()]


def _hosts(site: Site) -> dict[str, str]:
    """Name in lower case, and id, to name."""
    hosts = {host.name.lower(): host.name for host in site.hosts}
    return hosts | {str(host.vmid): host.name for host in site.guests}


def _stacks(names: Sequence[str], site: Site) -> Work:
    """The named stacks, by name or as NAME-ENVIRONMENT, on the guests that deploy them."""
    hosts, projects = [], []
    for name in names:
        found = [
            (host.name, stack.project)
            for host in site.guests
            for stack in host.docker_stacks
            if name in (stack.name, stack.project)
        ]
        if not found:
            raise CommandError(_unknown(f"{STACK}{name}", _stack_targets(site)))
        hosts += [host for host, _ in found]
        projects += [project for _, project in found]
    return Work(
        ("deploys/stacks.py",),
        tuple(dict.fromkeys(hosts)),
        {"stacks_only": list(dict.fromkeys(projects))},
    )


def _stack_targets(site: Site) -> list[str]:
    return [f"{STACK}{stack.name}" for host in site.guests for stack in host.docker_stacks]


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"no target {name!r}.{hint} There are: {', '.join(dict.fromkeys(known))}"
