"""What `phoenix init` writes and says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from rich.console import Console

from phoenix.cli import offline, project
from phoenix.cli.exits import CommandError
from phoenix.cli.new_site import contents
from phoenix.cli.new_site import folder as folders
from phoenix.cli.new_site.answers import Answers
from phoenix.cli.reports import secret_files
from phoenix.cli.reports.validate import verdict_of
from phoenix.secrets import sops
from phoenix.secrets.errors import SecretError
from phoenix.shell import quote


class Step(BaseModel):
    """A command, and what it will do."""

    command: str
    does: str


class NewSite(BaseModel):
    """What was written, what a person should know, and what each next command will do."""

    folder: str
    domain: str
    hosts: dict[str, str]
    finished: bool
    secrets: secret_files.Start | None
    notes: list[str]
    next: list[Step]


def make(folder: Path, answers: Answers) -> NewSite:
    """Write a new site.

    Raises:
        CommandError: the folder is not empty, or the site would not be sound: nothing is written.
    """
    folders.check(folder)
    files = contents.files(answers)
    prove(files)
    folders.write(folder, files)
    return _report(folder, list(answers.notes), finished=False)


def finish(folder: Path) -> NewSite | None:
    """Finish what an interrupted call was writing; None where there is no such thing."""
    files = folders.unfinished(folder)
    if files is None:
        return None
    folders.write(folder, files)
    return _report(folder, [], finished=True)


def prove(files: Mapping[str, str]) -> None:
    """Validate a site as `validate --strict` does, in a folder of its own.

    Raises:
        CommandError: all that is wrong with it.
    """
    with tempfile.TemporaryDirectory(prefix="phoenix-init-") as temporary:
        for name, text in files.items():
            folders.write_whole(Path(temporary, name), text)
        verdict = verdict_of(offline.read(Path(temporary, contents.INVENTORY)), strict=True)
    if verdict.findings:
        lines = "\n".join(
            f"- {': '.join(filter(None, (finding.file, finding.path, finding.message)))}\n    "
            f"fix: {finding.fix}"
            for finding in verdict.findings
        )
        raise CommandError(f"nothing was written, the site would not be sound:\n{lines}")


def _report(folder: Path, notes: list[str], *, finished: bool) -> NewSite:
    loaded = project.load(folder / contents.INVENTORY)
    started = None
    if shutil.which("sops") is None:
        notes.append(
            "sops is not installed here, so secrets stay on this machine "
            f"({loaded.secrets.path}); to share them through git: {sops.INSTALL}, then `phoenix "
            "secrets init`"
        )
    else:
        try:
            started = secret_files.start(loaded)
        except SecretError as error:
            notes.append(f"no SOPS file was made ({error}); later: phoenix secrets init")
    site = loaded.site
    return NewSite(
        folder=str(folder),
        domain=site.domain,
        hosts={host.name: str(host.address) for host in site.hosts},
        finished=finished,
        secrets=started,
        notes=notes,
        next=steps(folder),
    )


def steps(folder: Path) -> list[Step]:
    """The next commands: into the site's folder, where no verb needs `--site`."""
    change_folder = Step(command=f"cd {quote(folder)}", does="here no command needs --site")
    return [
        *([] if folder.resolve() == Path.cwd() else [change_folder]),
        Step(command="phoenix validate --strict",
             does="checks the whole declaration, offline; it is sound now"),
        Step(command="phoenix graph", does="draws what you have declared, offline"),
        Step(command="phoenix add stack NAME --host HOST",
             does="declares an application; `add service` and `add host` declare the others"),
        Step(command="phoenix plan",
             does="logs in to every host and shows what would change; touches nothing"),
        Step(command="phoenix sync",
             does="shows the same, asks, converges the site, and proves every hop"),
        Step(command="phoenix doctor",
             does="names the first cause where something does not answer"),
    ]  # fmt: skip


def print_report(console: Console, report: NewSite) -> None:
    """Words for a person."""
    verb = "finished" if report.finished else "made"
    console.print(f"{verb} {report.folder}, a site of {report.domain}", markup=False)
    width = max(map(len, report.hosts))
    for name, address in report.hosts.items():
        console.print(f"  {name:{width}}  {address}", markup=False)
    if report.secrets is not None:
        secret_files.print_started(console, report.secrets)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    console.print("next:")
    for step in report.next:
        console.print(f"  {step.command}\n      {step.does}", markup=False)
