"""What `phoenix doctor` shows: the causes first, then each path, hop by hop."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.text import Text

from phoenix.cli import output, tables
from phoenix.cli.undeclared import summary_line
from phoenix.health.diagnosis import Cause, Diagnosis, Fault, PathReport
from phoenix.health.undeclared import NOTHING, Undeclared

_MARKS = {"ok": ("ok", "green"), "broken": ("BROKEN", "bold red"),
          "follows": ("fails too", "red"), "unknown": ("unknown", "yellow")}  # fmt: skip

_KINDS = {
    "names": "names, asked by",
    "name_server": "names, answered by",
    "gateway": "requests, taken by",
    "proxy": "requests, routed by",
    "renewal": "the CA, asked by",
    "api": "Portainer",
    "agent": "its agents",
    "stack": "stacks",
    "swarm": "the swarm",
    "network": "networks made by",
    "folder": "folders by NFS",
    "backup": "backups of",
    "host": "room and clock of",
    "guard": "kept shut",
}


_OF_HOSTS = ("host", "names", "name_server", "gateway", "proxy", "renewal", "network", "backup")
"""The kinds of which the host with the first hop is told, and not the path's name."""


class Report(BaseModel):
    """What `doctor` found. `name`: what was asked about, empty for the whole site."""

    model_config = ConfigDict(extra="forbid")

    site: str
    name: str
    ok: bool
    first_cause: Cause | None
    other_causes: tuple[Cause, ...]
    warnings: tuple[Fault, ...]
    paths: tuple[PathReport, ...]
    undeclared: Undeclared = Undeclared()

    @classmethod
    def of(cls, site: str, name: str, diagnosis: Diagnosis, left: Undeclared = NOTHING) -> Report:
        """The report of a diagnosis."""
        return cls(
            site=site,
            name=name,
            ok=not diagnosis.causes and all(path.state == "ok" for path in diagnosis.paths),
            first_cause=diagnosis.first_cause,
            other_causes=diagnosis.causes[1:],
            warnings=diagnosis.warnings,
            paths=diagnosis.paths,
            undeclared=left,
        )


def print_report(console: Console, report: Report) -> None:
    """The causes first, then each path; hop by hop where it is not well or was asked for."""
    if report.first_cause is not None:
        print_cause(console, report.first_cause, first=True)
    for cause in report.other_causes:
        print_cause(console, cause, first=False)
    print_warnings(console, report.warnings)
    well = [path for path in report.paths if path.state == "ok"]
    for group in _by_cause(report):
        _tell_path(console, group[0])
        if group[1:]:
            names = ", ".join(path.name for path in group[1:])
            _indented(console, f"the same stops: {names}")
            console.print()
    if not report.name:
        causes = [cause for cause in (report.first_cause, *report.other_causes) if cause]
        _tell_well(console, well, {cause.host for cause in causes if cause.layer == "reach"})
    if left := summary_line(report.undeclared):
        console.print(f"no fault, but there {left}: `phoenix status` has the commands")
    if report.ok:
        console.print(f"all is well: {output.count(len(well), 'path')}, every hop proven")
    else:
        console.print(f"{len(well)} of {len(report.paths)} paths are well")


def print_warnings(console: Console, warnings: Sequence[Fault]) -> None:
    """What will be a fault, a line each."""
    for warning in warnings:
        line = f"warning: {warning.layer} on {warning.host}: {warning.summary}"
        console.print(Text(line, style="yellow"), soft_wrap=True)


def _by_cause(report: Report) -> list[list[PathReport]]:
    """Paths that one cause stops, as one group; those that were asked for, each by itself."""
    if report.name:
        return [[path] for path in report.paths]
    causes = [cause for cause in (report.first_cause, *report.other_causes) if cause]
    groups = [[path for path in report.paths if path.name in cause.breaks] for cause in causes]
    return [group for group in groups if group]


def print_cause(console: Console, cause: Cause, *, first: bool) -> None:
    """One cause, what it breaks, and what is likely to fix it."""
    style = "bold red" if first else "red"
    word = "first cause" if first else "also"
    console.print(Text(f"{word}: {cause.layer} on {cause.host}: {cause.hop}", style=style))
    lines = [cause.fault]
    others = [host for host in cause.seen_by if host != cause.host]
    if others:
        lines.append(f"seen by {', '.join(others)} as well")
    if cause.breaks:
        broken = ", ".join(cause.breaks[:3])
        more = f" and {len(cause.breaks) - 3} more" if cause.breaks[3:] else ""
        verb = "breaks or hides" if cause.layer == "reach" else "breaks"
        lines.append(f"{verb}: {broken}{more}")
    lines.append(f"likely fix: {cause.fix.advice}")
    for line in lines:
        _indented(console, line)
    for command in cause.fix.commands:
        console.print(Text(f"    {command}", style="cyan"))
    console.print()


def _tell_path(console: Console, path: PathReport) -> None:
    rows: list[tuple[tables.Cell, ...]] = []
    for hop in path.hops:
        word, style = _MARKS[hop.state]
        where = hop.source if hop.source == hop.target else f"{hop.source} → {hop.target}"
        fault = hop.fault.brief if hop.fault and hop.state in ("broken", "unknown") else ""
        rows.append((Text(f"  {where}"), hop.what, Text(word, style=style), fault))
    word, _ = _MARKS[path.state]
    tables.show(console, f"{path.name}: {word}", ["", "", "", ""], rows)


def _tell_well(console: Console, well: Sequence[PathReport], silent: Collection[str]) -> None:
    """Requests by name with their way, and who of it is silent; what they rest on by its kind."""
    rows: list[tuple[tables.Cell, ...]] = []
    for path in well:
        if path.kind == "request":
            way = dict.fromkeys(name for hop in path.hops for name in (hop.source, hop.target))
            labels = (f"{name} (silent)" if name in silent else name for name in way)
            rows.append((tables.state("ok"), path.name, " → ".join(labels)))
    for kind, plural in _KINDS.items():
        names = dict.fromkeys(
            path.hops[0].source if kind in _OF_HOSTS else path.name
            for path in well
            if path.kind == kind
        )
        if names:
            rows.append((tables.state("ok"), plural, ", ".join(names)))
    if rows:
        tables.show(console, "what is well", ["", "", ""], rows)


def _indented(console: Console, line: str) -> None:
    width = (console.width if console.is_terminal else output.WIDTH) - 2
    for part in Text(line).wrap(console, width):
        console.print(Text("  ") + part)
