"""What `phoenix secrets init`, `export` and `import` do and show: names, never a value."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel
from rich.console import Console

from phoenix.cli import project
from phoenix.secrets import age, catalog, sharing, sops


class Start(BaseModel):
    """What `secrets init` did. `made`: files that were made now; `moved`: secrets in the new file.

    `used`: whether runs find the file by themselves, else PHOENIX_SOPS_FILE must name it.
    """

    file: str
    key: str
    recipient: str
    made: list[str]
    moved: list[str]
    used: bool


def start(site: project.Project) -> Start:
    """Have the site's secrets in a SOPS file; see `phoenix.secrets.sharing.start`."""
    store = site.secrets
    named = os.environ.get("PHOENIX_SOPS_FILE")
    file = Path(named) if named else store.team_file or site.root / sharing.FILE_NAME
    done = sharing.start(site.site, store, file, age.key_file(os.environ), site.settings.registries)
    return Start(
        file=str(done.file),
        key=str(done.key),
        recipient=done.recipient,
        made=[str(path) for path in done.created],
        moved=list(done.moved),
        used=store.sops_file == file,
    )


def print_started(console: Console, report: Start) -> None:
    """Files, and what to do next."""
    lines = [f"made: {', '.join(report.made) or 'nothing, all was there'}"]
    if report.moved:
        lines.append(f"in it from this machine: {', '.join(report.moved)}")
    lines.append(f"your public age key: {report.recipient}")
    if any(path == report.key for path in report.made):
        lines.append(f"keep {report.key} safe, and a copy of it: it alone decrypts the secrets")
    if not report.used:
        lines.append(f"set PHOENIX_SOPS_FILE={report.file}, or site_sops in the inventory's data")
    lines.append(f"commit {report.file} and {sops.CONFIG} beside it; the key stays out of git")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


class Handed(BaseModel):
    """Secrets that were written to a file for others, or taken from one: names alone."""

    file: str
    place: str
    secrets: list[str]
    ignored: list[str]
    aside: str | None


def export(site: project.Project, to: list[str], out: Path) -> Handed:
    """Write the secrets that this machine knows for the age keys `to`."""
    data, names = sharing.export(site.name, site.site, site.secrets, to, site.settings.registries)
    sharing.write_private(out, data)
    return Handed(file=str(out), place=str(out), secrets=list(names), ignored=[], aside=None)


def import_(site: project.Project, file: Path, identity: Path | None, *, replace: bool) -> Handed:
    """Keep the secrets of a file; those that this site does not use are ignored."""
    values = sharing.read(file, site.name, identity or age.key_file(os.environ))
    known = {use.name for use in catalog.uses(site.site, site.settings.registries)}
    own = {name: value for name, value in values.items() if name in known}
    done = sharing.import_(own, site.secrets, replace=replace)
    return Handed(
        file=str(file),
        place=str(site.secrets.place),
        secrets=list(done.names),
        ignored=sorted(values.keys() - known),
        aside=str(done.aside) if done.aside else None,
    )


def print_handed(console: Console, report: Handed) -> None:
    """Names and places."""
    names = ", ".join(report.secrets) or "nothing, all was there"
    lines = [f"{names}: in {report.place}"]
    if report.ignored:
        lines.append(f"ignored, this site has no such secret: {', '.join(report.ignored)}")
    if report.aside:
        lines.append(f"the former values are kept in {report.aside}")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
