"""What `phoenix validate` shows: every finding where it stands."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from phoenix.cli import exits, output
from phoenix.cli.declared import Declared
from phoenix.declaration import inventory as inventories
from phoenix.declaration import positions
from phoenix.secrets.store import SecretStore
from phoenix.site.findings import Finding
from phoenix.validation import validate as validation

_STYLES = {"error": "bold red", "warning": "yellow"}


class Found(BaseModel):
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
    findings: list[Found]

    def exit_code(self, *, strict: bool) -> int:
        """1 for an error, 2 for a warning where `strict`, else 0."""
        if self.errors:
            return exits.ERROR
        return exits.CHANGES if strict and self.warnings else exits.OK


def look(found: Declared) -> Verdict:
    """Everything that can be said of a declaration and its settings."""
    site = found.site
    findings = list(found.findings)
    if site is not None:
        findings += validation.chain(site)
    store = found.data.get("site_secrets", "~/.config/phoenix/secrets.json")
    findings += validation.settings(
        found.root,
        found.name,
        found.data,
        groups=(*inventories.GROUPS, *_inventory_names(found.root)),
        known=_pyinfra_settings(),
        site=site,
        find=SecretStore(Path(store).expanduser()).find,
        home=Path.home(),
    )
    lines = cache(lambda label: positions.lines(found.file(label)))
    files = list(dict.fromkeys(finding.file for finding in findings))
    placed = [_with_line(one, lines(one.file)) for one in findings]
    placed.sort(key=lambda one: (files.index(one.file), one.severity != "error", one.line or 0))
    return Verdict(
        inventory=found.name,
        errors=sum(one.severity == "error" for one in findings),
        warnings=sum(one.severity == "warning" for one in findings),
        findings=placed,
    )


def _with_line(one: Finding, lines: dict[str, int]) -> Found:
    said = one.path.removeprefix("line ").partition(",")[0]  # of text that is no JSON at all
    line = int(said) if said.isdigit() else positions.line_of(lines, one.path)
    return Found(severity=one.severity, file=one.file, line=line, path=one.path,
                 message=one.message, fix=one.fix)  # fmt: skip


def _inventory_names(root: Path) -> list[str]:
    """Each inventory's hosts are a group that is called like its file."""
    return [file.stem for file in (root / "inventories").glob("*.py")]


def _pyinfra_settings() -> frozenset[str]:
    """Host data that pyinfra itself reads: its SSH connector's; slow to import, so only here."""
    from pyinfra.connectors.ssh import ConnectorData

    return frozenset(ConnectorData.__annotations__)


def tell(console: Console, verdict: Verdict) -> None:
    """The findings for a person, grouped by file, and a last line with their numbers."""
    for file in dict.fromkeys(found.file for found in verdict.findings):
        console.print(Text(file, style="bold"))
        for found in (one for one in verdict.findings if one.file == file):
            head = Text("  ")
            head.append(found.severity, style=_STYLES[found.severity])
            place = f"line {found.line}" if found.line else ""
            where = ", ".join(word for word in (place, found.path) if word)
            head.append(f"  {where}" if where else "  the whole file")
            console.print(head)
            console.print(Text(f"    {found.message}"))
            console.print(Text(f"    fix: {found.fix}", style="dim"))
        console.print()
    errors = output.count(verdict.errors, "error")
    warnings = output.count(verdict.warnings, "warning")
    if verdict.findings:
        console.print(f"{errors}, {warnings}")
    else:
        console.print(f"nothing is wrong with {verdict.inventory}: {errors}, {warnings}")
