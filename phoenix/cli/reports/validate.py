"""What `phoenix validate` shows: every finding where it stands."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from phoenix.cli import exits, output
from phoenix.cli.offline import Declared
from phoenix.declaration import group_data, positions, pyinfra_inventory
from phoenix.secrets.store import of_inventory
from phoenix.site.findings import Finding, Report
from phoenix.validation import project as validation

_STYLES = {"error": "bold red", "warning": "yellow"}


class LocatedFinding(BaseModel):
    """One finding. `line` is in `file`, from 1; null where it is about no line."""

    severity: Literal["error", "warning"]
    file: str
    line: int | None
    path: str
    message: str
    fix: str


class Verdict(BaseModel):
    """All findings, by file, errors first."""

    inventory: str
    errors: int
    warnings: int
    findings: list[LocatedFinding]

    def exit_code(self, *, strict: bool) -> int:
        """1 for an error, 2 for a warning where `strict`, else 0."""
        if self.errors:
            return exits.ERROR
        return exits.CHANGES if strict and self.warnings else exits.OK


def verdict_of(declaration: Declared, *, strict: bool = False) -> Verdict:
    """Everything that can be said of a declaration and its settings.

    Args:
        declaration: sound or not.
        strict: what nothing reads is an error.
    """
    site = declaration.site
    findings = list(declaration.findings)
    if site is not None:
        findings += validation.missing_roles(site)
    findings += validation.settings(
        declaration.root,
        declaration.inventory,
        groups=pyinfra_inventory.names_in((declaration.root / "inventories").glob("*.py")),
        pyinfra_settings=_pyinfra_settings(),
        site=site,
        find=of_inventory(declaration.data).find,
        home=Path.home(),
    )
    report = Report()
    group_data.misplaced(declaration.inventories, declaration.root, report)
    findings += report.findings
    findings = [
        replace(finding, severity="error") if strict and finding.unread else finding
        for finding in findings
    ]
    lines = cache(lambda label: positions.lines(declaration.file(label)))
    files = list(dict.fromkeys(finding.file for finding in findings))
    placed = [_with_line(finding, lines(finding.file)) for finding in findings]
    placed.sort(
        key=lambda finding: (
            files.index(finding.file),
            finding.severity != "error",
            finding.line or 0,
        )
    )
    return Verdict(
        inventory=declaration.name,
        errors=sum(finding.severity == "error" for finding in findings),
        warnings=sum(finding.severity == "warning" for finding in findings),
        findings=placed,
    )


def _with_line(finding: Finding, lines: dict[str, int]) -> LocatedFinding:
    number = finding.path.removeprefix("line ").partition(",")[0]  # of text that is not JSON at all
    line = int(number) if number.isdigit() else positions.line_of(lines, finding.path)
    return LocatedFinding(
        severity=finding.severity, file=finding.file, line=line, path=finding.path,
        message=finding.message, fix=finding.fix,
    )  # fmt: skip


def _pyinfra_settings() -> frozenset[str]:
    """Host data that pyinfra itself reads: its SSH connector's; slow to import, so only here."""
    from pyinfra.connectors.ssh import ConnectorData

    return frozenset(ConnectorData.__annotations__)


def _print_group(console: Console, places: list[LocatedFinding]) -> None:
    """One message with every place where it holds: many in few words."""
    first = places[0]
    head = Text("  ")
    head.append(first.severity, style=_STYLES[first.severity])
    head.append(f"  {_place(first)}" if len(places) == 1 else f"  in {len(places)} places")
    console.print(head)
    console.print(Text(f"    {first.message}"))
    console.print(Text(f"    fix: {first.fix}", style="dim"))
    for file in dict.fromkeys(place.file for place in places if len(places) > 1):
        where = "; ".join(_place(place) for place in places if place.file == file)
        console.print(Text(f"    {where}" if file == first.file else f"    {file}: {where}"))


def _place(finding: LocatedFinding) -> str:
    line = f"line {finding.line}" if finding.line else ""
    if line and finding.path.partition(",")[0] == line:  # the place itself is that line
        line = ""
    return ", ".join(word for word in (line, finding.path) if word) or "the whole file"


def print_verdict(console: Console, verdict: Verdict) -> None:
    """The findings for a person, by file and the same ones together, and their numbers."""
    groups: dict[tuple[str, str, str], list[LocatedFinding]] = {}
    for finding in verdict.findings:
        groups.setdefault((finding.severity, finding.message, finding.fix), []).append(finding)
    for file in dict.fromkeys(places[0].file for places in groups.values()):
        console.print(Text(file, style="bold"))
        for places in (group for group in groups.values() if group[0].file == file):
            _print_group(console, places)
        console.print()
    errors = output.count(verdict.errors, "error")
    warnings = output.count(verdict.warnings, "warning")
    if verdict.findings:
        same = (
            f"; {output.count(len(groups), 'different one')}"
            if len(groups) < len(verdict.findings)
            else ""
        )
        console.print(f"{errors}, {warnings}{same}")
    else:
        console.print(f"nothing is wrong with {verdict.inventory}: {errors}, {warnings}")
