"""What `phoenix history` shows: the runs of a site, the last one at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from phoenix.cli import output, project, tables
from phoenix.cli.exits import CommandError
from phoenix.runs.history import DEPLOY, TOLD, WANTED, Entry, parse
from phoenix.runs.process import Finished, run

_WORDS = {
    "ok": ("ok", "green"),
    "failed": ("FAILED", "bold red"),
    "stopped": ("interrupted", "yellow"),
    "refused": ("refused", "yellow"),
    "lost": ("lost", "yellow"),
}


def look(site: project.Project, *, quiet: bool) -> list[Entry]:
    """Every run that the hypervisor remembers, oldest first.

    Raises:
        CommandError: it could not be asked.
    """
    request = site.request(
        DEPLOY, limit=(site.site.hypervisor.name,), dry=True, environment={WANTED: "all"}
    )
    console = output.notes()
    if quiet or not console.is_terminal:
        finished = run(request)
    else:
        with console.status("asking the hypervisor"):
            finished = run(request)
    lines = lines_of(finished)
    if lines is None:
        cause = finished.course.first_cause
        words = cause.reason if cause else finished.last_lines
        raise CommandError("the history could not be read:\n" + "\n".join(words))
    return parse(lines)


def lines_of(finished: Finished) -> list[str] | None:
    """What a run told of the history; None where it could not ask."""
    deployed = finished.course.values.get(TOLD, {})
    return next((list(lines) for lines in deployed.values()), None)


def print_history(console: Console, runs: Sequence[Entry]) -> None:
    """The table for a person."""
    if not runs:
        console.print("no run is remembered yet")
        return
    rows: list[tuple[tables.Cell, ...]] = []
    for entry in runs:
        word, style = _WORDS[entry.end.result]
        start = entry.start
        revision = (start.commit or "none")[:12] + ("+" if start.dirty else "")
        summary = (
            f"{start.command}: {entry.end.reason or output.count(entry.end.changed, 'change')}"
        )
        if entry.end.failed:
            summary += f"; failed: {', '.join(entry.end.failed)}"
        rows.append(
            (
                f"{start.began:%Y-%m-%d %H:%M}",
                Text(word, style=style),
                f"{start.user}@{start.machine}",
                revision,
                summary,
            )
        )
    tables.show(console, "runs", ["began (UTC)", "result", "who", "revision", "what"], rows)
    if any(entry.start.dirty for entry in runs):
        console.print("+ with changes that were not committed")
    if any(entry.end.result == "lost" for entry in runs):
        console.print("lost: the run's connection went before it said how it ended")
