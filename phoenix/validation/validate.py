"""The whole configuration, looked at offline: everything that a run would refuse or ignore."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from phoenix.declaration import settings as group_data
from phoenix.declaration.load import LXC_FILE
from phoenix.declaration.settings import ALL, FOLDER, SettingsFile
from phoenix.site.findings import Finding, Report
from phoenix.site.model import Site
from phoenix.site.roles import SINGLE_ROLES, RoleError, guest_with
from phoenix.validation.settings import Find, Problem, check, near

PROJECT = ("site_inventories", "site_stacks", "site_environment", "site_subnet", "site_secrets")
"""Host data that inventories give to the project itself."""


def settings(
    root: Path, inventory: str, data: Mapping[str, Any], *, groups: Iterable[str],
    known: Iterable[str], site: Site | None, find: Find, home: Path,
) -> tuple[Finding, ...]:  # fmt: skip
    """What is wrong with the settings of a project.

    Args:
        root: the project's directory.
        inventory: its inventory relative to `root`, as "inventories/phoenix.py".
        data: of the inventory's hosts.
        groups: names that settings files may have: the inventory's groups, and all inventories.
        known: settings that pyinfra itself reads.
        site: None where the declaration is faulty; then only names and types are looked at.
        find: tells a secret that was given or made before.
        home: where the operator's public keys are, for new guests.
    """
    report = Report()
    files = group_data.read(root, report)
    known = {*known, *group_data.asked_for(root)}
    unused(files, data, label=inventory, groups=groups, known=known, report=report)
    defaults = next((dict(file.values) for file in files if file.group == ALL), {})
    own, written = Path(inventory).stem, {file.group for file in files}
    each = [(own, *host.groups) for host in site.hosts] if site else [(own,)]
    for names in dict.fromkeys(tuple(one for one in names if one in written) for names in each):
        seen = group_data.effective(files, names, data)
        for finding in placed(check(site, seen, defaults, find, home), files, names, data,
                              inventory):  # fmt: skip
            note = report.error if finding.severity == "error" else report.warn
            note(finding.file, finding.path, finding.message, finding.fix)
    return tuple(report.findings)


def chain(site: Site) -> tuple[Finding, ...]:
    """Roles that no guest has: without the whole chain the deploys refuse the site."""
    found = []
    for role in SINGLE_ROLES:
        try:
            guest_with(site, role)
        except RoleError as error:
            what, _, fix = str(error).partition(": ")
            found.append(Finding(LXC_FILE, "", what, fix))
    return tuple(found)


def unused(
    files: Sequence[SettingsFile],
    data: Mapping[str, Any],
    *,
    label: str,
    groups: Iterable[str],
    known: Iterable[str],
    report: Report,
) -> None:
    """Warn of settings that no code reads, and of files that no group reads.

    Args:
        data: of the inventory's hosts; `label` is what findings call the inventory.
        groups: names that a settings file may have, beside `all`.
        known: names of settings beside those of `group_data/all.py`.
    """
    groups = [ALL, *groups]
    names = {*known, *PROJECT, *(key for f in files if f.group == ALL for key in f.values)}
    for file in files:
        if file.group not in groups:
            hint = near(file.group, groups)
            report.warn(
                file.label, "", f"no group is called {file.group!r}, so nothing reads this file",
                f"{hint}name it after one of: {', '.join(sorted(groups))}",
            )  # fmt: skip
    places = [(f.label, f.values) for f in files if f.group != ALL] + [(label, data)]
    for place, values in places:
        for key in values:
            if key not in names and not key.startswith("_"):
                hint = near(key, sorted(names))
                report.warn(place, key, "no code reads this setting", f"{hint}remove it")


def placed(
    problems: Iterable[Problem], files: Sequence[SettingsFile], groups: Sequence[str],
    data: Mapping[str, Any], label: str,
) -> Iterator[Finding]:  # fmt: skip
    """Each problem as a finding, in the file that gives the setting its value."""
    for problem in problems:
        owners = [f.label for g in (ALL, *groups) for f in files if f.group == g
                  and problem.setting in f.values]  # fmt: skip
        if problem.setting in data:
            owners.append(label)
        file = owners[-1] if owners else f"{FOLDER}/{ALL}.py"
        if problem.path.startswith("secret "):
            file = "secrets"
        yield Finding(file, problem.path, problem.message, problem.fix, problem.severity)
