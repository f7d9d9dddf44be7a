"""What `phoenix backup list` shows: each part's snapshots, and what its host has noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from phoenix.backup.snapshots import HostBackups, Noted, Snapshot
from phoenix.cli import output, project, tables
from phoenix.cli.exits import CommandError
from phoenix.derived.backups import Part, hosts, parts
from phoenix.runs.process import run


@dataclass(frozen=True)
class Listed:
    """The parts of a site, each with its snapshots, oldest first, and what its host has noted.

    `silent` has the hosts that did not tell, and why.
    """

    parts: Sequence[tuple[Part, tuple[Snapshot, ...], Noted | None]]
    silent: dict[str, str]

    @property
    def is_fine(self) -> bool:
        """Whether the newest try and the newest proof of each part went well."""
        return not self.silent and all(
            noted is not None and noted.backed_up and not (noted.failure or noted.unproven)
            for _, _, noted in self.parts
        )

    def answer(self) -> dict[str, Any]:
        """The JSON for a program."""
        return {
            "parts": [
                {
                    "host": part.host.name,
                    **({"part": part.name} if noted is None else noted.model_dump(mode="json")),
                    "snapshots": [
                        snapshot.model_dump(mode="json", exclude={"part"}) for snapshot in snapshots
                    ],
                }
                for part, snapshots, noted in self.parts
            ],
            "silent": self.silent,
        }


def collect(site: project.Project, *, quiet: bool) -> Listed:
    """Ask every host that backs something up.

    Raises:
        CommandError: none does, or the run could not be carried out.
    """
    backup_hosts = hosts(site.site)
    if not backup_hosts:
        raise CommandError(
            'no host backs anything up by a timer: write "backups" into "site" of '
            "phoenix_lxc_configs.json (docs/backups.md), then run `phoenix sync`"
        )
    limit = tuple(sorted(host.name for host in backup_hosts))
    request = site.request("deploys/backup_list.py", limit=limit, data={}, dry=True)
    console = output.notes()
    if quiet or not console.is_terminal:
        finished = run(request)
    else:
        with console.status(f"asking {output.count(len(limit), 'host')}"):
            finished = run(request)
    answers_by_host = finished.course.values.get("backups", {})
    silent = dict(finished.course.unreachable)
    if finished.returncode != 0 and not (answers_by_host or silent):
        raise CommandError("the run could not be carried out:\n" + "\n".join(finished.last_lines))
    known: dict[str, HostBackups] = {}
    for host, answer in answers_by_host.items():
        if "error" in answer:
            silent[host] = answer["error"]
        else:
            known[host] = HostBackups.model_validate(answer)
    rows = []
    for part in parts(site.site):
        backups = known.get(part.host.name)
        snapshots = (
            [snapshot for snapshot in backups.snapshots if snapshot.part == part.name]
            if backups
            else []
        )
        noted = next((n for n in backups.noted if n.part == part.name), None) if backups else None
        rows.append((part, tuple(sorted(snapshots, key=lambda snapshot: snapshot.time)), noted))
    return Listed(rows, silent)


def show(console: Console, listed: Listed) -> None:
    """The text for the operator: a line for each part, newest snapshot first, then faults."""
    tables.show(
        console,
        "backups",
        ("part", "host", "newest", "proven", "snapshots", "state"),
        [
            (
                part.name,
                part.host.name,
                _at(snapshots[-1].time) if snapshots else "none",
                _at(noted.proven) if noted and noted.proven else "not yet",
                f"{len(snapshots)} since {_at(snapshots[0].time)}" if snapshots else "0",
                _state(part, noted, listed.silent),
            )
            for part, snapshots, noted in listed.parts
        ],
    )
    for host, why in listed.silent.items():
        console.print(f"{host}: {why}")
    for part, snapshots, noted in listed.parts:
        for words in (noted.failure, noted.unproven) if noted else ():
            if words:
                console.print(f"{part.name} on {part.host.name}: {words}")
        for snapshot in reversed(snapshots):
            console.print(f"  {part.name}  {_at(snapshot.time)}  {snapshot.id}")


def _state(part: Part, noted: Noted | None, silent: dict[str, str]) -> Text:
    if part.host.name in silent:
        return tables.state("silent")
    if noted is None or noted.backed_up is None:
        return tables.state("unknown")
    return tables.state("broken" if noted.failure or noted.unproven else "ok")


def _at(moment: datetime) -> str:
    """The time in the operator's time zone, as `--at` reads it."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
