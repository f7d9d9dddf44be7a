"""`phoenix sync`: converge the site or a part of it, and say what happened."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoenix.cli import complete, exits, options
from phoenix.cli.exits import CommandError

if TYPE_CHECKING:
    from phoenix.cli.project import Project
    from phoenix.cli.reports.plan import Plan
    from phoenix.cli.targets import Work

TargetsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET",
        help="Components (as nginx), services, guests or stacks. Default: all.",
        autocompletion=complete.targets,
        show_default=False,
    ),
]


def sync(
    target: TargetsArgument = None,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Do not show the plan and do not ask, even in a terminal."
        ),
    ] = False,
    older: Annotated[
        bool, typer.Option("--older", help="Deploy although a newer revision is deployed.")
    ] = False,
    move: Annotated[
        bool,
        typer.Option(
            "--move",
            help="Move stacks with their data to the hosts that declare them. Guests that change "
            "their node in Proxmox VE may be stopped for it.",
        ),
    ] = False,
    serial: Annotated[
        str | None,
        typer.Option(
            "--serial",
            metavar="N|P%",
            help="Number or share of Docker hosts in a batch. Docker and agents of a batch are "
            "done host by host; a failed host stops its batch alone. Default: the setting "
            "`serial`.",
            show_default=False,
        ),
    ] = None,
    new: Annotated[
        list[str] | None,
        typer.Option(
            "--new",
            metavar="STACK",
            help="Start this stack without its data on another host, for example when that host "
            "is lost. Repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Converge the site, or the targets alone; a second run changes nothing.

    In a terminal it shows the plan first and asks. Elsewhere (a script, cron, --json) it does not.
    A plan kept by `phoenix plan --out` is applied only if it is still the same. At the end it
    checks everything that it touched.

    A stack that now belongs to another host is not started there without --move, since its data
    would be missing. --move stops it, copies its volumes, starts and checks it on the new host, and
    then removes it on the old host, where its volumes stay. If that fails, the old copy is started
    again.

    A guest that changes its node in Proxmox VE and cannot move while it runs needs --move too,
    which stops it.

    Examples:
      phoenix sync                      the whole platform, in dependency order
      phoenix sync nginx traefik        two components, on their hosts alone
      phoenix sync drphoenix            a guest, and what its services need
      phoenix sync qdrant               what one service needs
      phoenix sync stack:qdrant_service
      phoenix sync guest:portainer      not the component of this name

      phoenix sync change.json          a plan that was kept by plan --out
      phoenix sync --move               stacks that change their host, with data
      phoenix sync --serial 20%         Docker in five batches, each host by host

    Exit code: 0 converged and verified, 1 something failed (its first cause is named), 2 you
    answered no.
    """
    from phoenix.cli import project, targets
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.reports.plan import read_plan
    from phoenix.components.move.decision import NEW
    from phoenix.declaration import file_digests
    from phoenix.runs.history import OLDER

    chosen = list(target or [])
    data = _batch_size(serial)
    site = project.load(inventory)
    site.print_warnings()
    kept_plan = read_plan(Path(chosen[0]), site) if _is_plan(chosen) else None
    if kept_plan is not None:
        chosen = kept_plan.targets
    environment = {
        file_digests.VARIABLE: site.file_digests,  # what is shown and agreed to is what is done
        **({OLDER: "1"} if older else {}),
        **({NEW: ",".join(targets.projects(new, site.site))} if new else {}),
    }
    planned = [
        replace(work, data={**work.data, **data}, environment={**work.environment, **environment})
        for work in targets.work(chosen, site.site)
    ]
    ask = in_terminal() and not (yes or as_json)
    if kept_plan is not None or ask:
        move = _agree(site, chosen, planned, kept_plan, ask=ask, move=move)
    planned = targets.with_moves(planned, site.site, move=move)
    command = f"sync {' '.join(chosen) or targets.ALL}" + (" --move" if move else "")
    command += f" --serial {serial}" if serial else ""
    notes = ("moves", "finish_moves") if move else ()
    finish(converge(site, planned, command, quiet=as_json, notes=notes), as_json)


def _batch_size(serial: str | None) -> dict[str, object]:
    """The data of a run with `--serial`, which takes the place of the setting.

    Raises:
        CommandError: it is not a size of a batch.
    """
    from phoenix.declaration.settings import read

    if serial is None:
        return {}
    for finding in read({"serial": serial})[1]:
        raise CommandError(f"--serial {finding.message}: {finding.fix}")
    return {"serial": serial}


def in_terminal() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _is_plan(chosen: Sequence[str]) -> bool:
    """Whether the one target is a file that `phoenix plan --out` wrote: no name ends so."""
    return len(chosen) == 1 and chosen[0].endswith(".json")


def _agree(
    site: Project,
    chosen: Sequence[str],
    planned: Sequence[Work],
    kept_plan: Plan | None,
    *,
    ask: bool,
    move: bool,
) -> bool:
    """Show the plan, hold a kept one against it, and ask.

    Returns:
        Whether stacks that change their host are to be moved: as was given, or is the answer.

    Raises:
        CommandError: the plan cannot be made, or is another one than was kept.
        typer.Exit: the operator does not want it.
    """
    from phoenix.cli import output
    from phoenix.cli.reports.plan import differences, make_plan, print_plan

    now = make_plan(site, chosen, planned)
    if (
        kept_plan is not None
        and now.first_cause is None
        and (changed := differences(kept_plan, now))
    ):
        raise CommandError(
            "the site or its declaration has changed since the plan was made, so it is not "
            "applied. Make a new one. The difference:\n"
            + "\n".join(f"  {line}" for line in changed)
        )
    if kept_plan is not None and now.first_cause is not None:
        where = "\n".join(f"  {line}" for line in now.first_cause.reason)
        raise CommandError(
            f"the plan cannot be held against {now.first_cause.host or 'the site'}, so it is not "
            f"applied:\n{where}"
        )
    if not ask:
        return move
    print_plan(output.console(), now)
    to_do = now.changes or now.first_cause is not None or now.older
    if to_do and not typer.confirm("Apply it?", default=False):
        typer.echo("Nothing was changed.")
        raise typer.Exit(exits.CHANGES)
    if now.moves and not move:
        for sentence in now.moves:
            typer.echo(sentence)
        move = typer.confirm("Move with all data, as --move does?", default=False)
    return move
