"""Shell completion of names: from the site where there is one, and silent where there is none."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from phoenix.cli import declared, targets
from phoenix.cli.declared import Declared
from phoenix.cli.output import DEFAULT_INVENTORY
from phoenix.explain.build import known


def names(context: typer.Context, incomplete: str) -> list[str]:
    """What `phoenix explain` can explain."""
    return _offered(context, incomplete, lambda found: known(found.sound()))


def work(context: typer.Context, incomplete: str) -> list[str]:
    """Targets of `plan` and `sync`: components, guests and stacks."""
    return _offered(context, incomplete, _targets)


def _targets(found: Declared) -> Iterable[str]:
    site = found.sound()
    yield targets.ALL
    yield from targets.components(found.root)
    yield from (host.name for host in site.hosts)
    yield from (
        f"{targets.STACK}{stack.name}" for host in site.guests for stack in host.docker_stacks
    )


def _offered(
    context: typer.Context, incomplete: str, ask: Callable[[Declared], Iterable[str]]
) -> list[str]:
    """What `ask` knows that starts so. A shell waits for this: no error, and no word of ours."""
    chosen = context.params.get("inventory") or DEFAULT_INVENTORY
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            found = list(ask(declared.read(Path(chosen))))
        except (Exception, SystemExit):  # noqa: BLE001 - whatever an inventory's Python raises
            return []
    return [name for name in dict.fromkeys(found) if name.startswith(incomplete.lower())]
