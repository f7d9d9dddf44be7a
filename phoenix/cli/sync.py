"""`phoenix sync`: converge the site or a part of it, and say what happened."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phoenix.cli import complete, exits, output, project, targets
from phoenix.cli.exits import CommandError
from phoenix.cli.progress import Follower, follow
from phoenix.cli.targets import Work
from phoenix.runs import lock
from phoenix.runs.logs import run_log
from phoenix.runs.process import Finished, run
from phoenix.runs.results import Failure, Outcome, component_of


class HostSummary(BaseModel):
    """What a run did on one host: numbers of steps, and the steps that changed something."""

    host: str
    outcome: Outcome
    steps: int
    changed: list[str]


class Summary(BaseModel):
    """What a whole `sync` did. `seconds` is wall time; `log` the file with pyinfra's own words.

    `verified`: every hop was proven as well, as the whole platform's run does at its end.
    """

    model_config = ConfigDict(extra="forbid")

    site: str
    targets: list[str]
    ok: bool
    verified: bool
    seconds: float
    hosts: list[HostSummary]
    failures: list[Failure]
    first_cause: Failure | None
    log: str


TargetsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[all|TARGET...]",
        help="Guests (name or id), components (as nginx), or stack:NAME. Default: all.",
        autocompletion=complete.work,
        show_default=False,
    ),
]


def sync(
    target: TargetsArgument = None,
    inventory: output.InventoryOption = output.DEFAULT_INVENTORY,
    as_json: output.JsonOption = False,
) -> None:
    """Converge the site, or the targets alone; a second run changes nothing.

    Examples:
      phoenix sync                      the whole platform, in dependency order
      phoenix sync nginx traefik        two components
      phoenix sync drphoenix            all that concerns one guest
      phoenix sync stack:qdrant_service

    Exit code: 0 converged and verified, 1 something failed (its first cause is named).
    """
    chosen = list(target or [])
    site = project.load(inventory)
    planned = targets.work(chosen, site.site, targets.components(site.root))
    summary = converge(site, planned, f"sync {' '.join(chosen) or targets.ALL}", quiet=as_json)
    output.emit(as_json, summary, lambda console: tell(console, summary))
    if not summary.ok:
        raise typer.Exit(exits.ERROR)


def converge(
    site: project.Project, planned: Sequence[Work], command: str, *, quiet: bool
) -> Summary:
    """Run `planned`, one call of pyinfra after the other, under the site's lock and with a log.

    The first call that fails ends it. From a hypervisor without guests the guests come first,
    since pyinfra connects to every host before it deploys anything.

    Raises:
        CommandError: another run is at work.
    """
    began, now = time.monotonic(), datetime.now(UTC)
    runs: list[Finished] = []
    notes = output.notes()
    owner = lock.me(f"phoenix {command}")
    try:
        with (
            lock.held(site.state / "lock", owner) as left,
            run_log(site.state / "runs", "sync", now, site.known_secrets()) as (path, log),
            follow(notes, quiet=quiet) as follower,
        ):
            if left is not None and not quiet:
                notes.print(
                    f"taking over from a run that ended without a word: {left}", markup=False
                )
            log.write(f"{now:%Y-%m-%d %H:%M:%S} UTC: phoenix {command}\n")
            for one in _with_guests_first(site, planned):
                runs.append(_call(site, one, owner, follower, log))
                if runs[-1].returncode != 0:
                    break
    except lock.LockedError as error:
        raise CommandError(str(error)) from None
    return _summary(site, command, runs, time.monotonic() - began, str(path))


def _with_guests_first(site: project.Project, planned: Sequence[Work]) -> list[Work]:
    whole = any(one.deploys == ("deploys/all.py",) and not one.limit for one in planned)
    if not whole or site.setting("proxmox_api", "off") == "off":
        return list(planned)
    return [Work(("deploys/proxmox.py",), (site.site.hypervisor.name,)), *planned]


def _call(
    site: project.Project, one: Work, owner: lock.Owner, follower: Follower, log: Any
) -> Finished:
    request = site.request(
        "deploys/lock.py",
        *one.deploys,
        limit=one.limit,
        data=one.data,
        environment={lock.OWNER: owner.model_dump_json()},
    )
    return run(request, listen=follower, log=log)


def _summary(
    site: project.Project, command: str, runs: Sequence[Finished], seconds: float, log: str
) -> Summary:
    stories = [one.story for one in runs]
    hosts = []
    for name in dict.fromkeys(name for story in stories for name in story.hosts):
        found = [story.outcome(name) for story in stories]
        changed = [step for story in stories for step, host in story.changed if host == name]
        steps = sum(name in step.outcomes for story in stories for step in story.steps)
        worst = next((o for o in ("failed", "changed", "unchanged") if o in found), None)
        if worst is not None:
            hosts.append(HostSummary(host=name, outcome=worst, steps=steps, changed=changed))
    failures = [failure for story in stories for failure in story.failures]
    first = next((story.first_cause for story in stories if story.first_cause), None)
    last = runs[-1]
    if first is None and last.returncode != 0:  # it ended before it had any result
        first = Failure(host="", step="", reason=list(last.last_lines))
    return Summary(
        site=site.name,
        targets=command.split()[1:],
        ok=all(one.returncode == 0 for one in runs),
        verified=any(component_of(step.name) == "verify" for one in stories for step in one.steps),
        seconds=round(seconds, 1),
        hosts=hosts,
        failures=failures,
        first_cause=first,
        log=log,
    )


def tell(console: Console, summary: Summary) -> None:
    """The summary for a person: hosts, then the first cause of a failure, then the log."""
    styles = {"changed": "green", "unchanged": "", "failed": "bold red"}
    if summary.hosts:
        table = Table("host", "outcome", "steps", "changed", box=None, padding=(0, 2, 0, 0))
        for host in summary.hosts:
            word = Text(host.outcome, style=styles[host.outcome])
            names = [step.rpartition("|")[2].strip() for step in host.changed]
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
            table.add_row(host.host, word, str(host.steps), shown)
        console.print(table)
    if summary.first_cause is not None:
        tell_cause(console, summary.first_cause)
    total = sum(len(host.changed) for host in summary.hosts)
    end = (
        ("converged and verified" if summary.verified else "converged") if summary.ok else "FAILED"
    )
    console.print(
        f"{end} in {summary.seconds:.0f} s, {total} changes; log: {summary.log}", markup=False
    )


def tell_cause(console: Console, cause: Failure) -> None:
    """The first cause of a failure, before anything else that went wrong."""
    where = f"{cause.host}: {cause.step.rpartition('|')[2].strip()}" if cause.host else "the run"
    console.print(Text(f"first cause: {where}", style="bold red"))
    for line in cause.reason:
        console.print(f"  {line}", markup=False)
    sys.stdout.flush()
