"""The whole configuration, looked at offline: everything that a run would refuse or ignore."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from phoenix.declaration import group_data, misplaced_keys
from phoenix.declaration import settings as model
from phoenix.declaration.group_data import SettingsFile
from phoenix.declaration.inventory import GROUPS
from phoenix.declaration.json_keys import Raw
from phoenix.declaration.load import LXC_FILE
from phoenix.declaration.pyinfra_inventory import ALL, Inventory
from phoenix.declaration.settings import FOLDER
from phoenix.site import suggestions
from phoenix.site.findings import Finding, Report
from phoenix.site.model import Site
from phoenix.site.ports import SSH
from phoenix.site.roles import CHAIN, RoleError, guest_with
from phoenix.validation import setting_readers
from phoenix.validation.setting_values import Find, check, check_secrets
from phoenix.validation.unread_certificates import unserved


def settings(
    root: Path, inventory: Inventory, *, groups: Iterable[str], pyinfra_settings: Iterable[str],
    site: Site | None, find: Find, home: Path,
) -> tuple[Finding, ...]:  # fmt: skip
    """What is wrong with the settings of a project.

    Args:
        root: the project's directory.
        inventory: what pyinfra takes from its inventory.
        groups: names that settings files may have beside the inventory's: those of others.
        pyinfra_settings: settings that pyinfra itself reads.
        site: None where the declaration is faulty; then only names and types are checked.
        find: tells a secret that was given or made before.
        home: where the operator's public keys are, for new guests.
    """
    report = Report()
    files = group_data.read(root, report)
    unread(
        files,
        inventory,
        groups=groups,
        pyinfra_settings=pyinfra_settings,
        report=report,
    )
    if site is not None:
        undeclared_hosts(inventory, site, report)
    ssh_key = inventory.data.get("ssh_key")
    for host in group_data.of_hosts(files, inventory, site.hosts if site else ()):
        chosen, findings = model.read(host.data)
        faulty = {model.name_of(finding.path) for finding in findings}
        findings += check(site, chosen, faulty=faulty, ssh_key=ssh_key, home=home)
        if site is not None:
            findings += tuple(check_secrets(site, chosen, find))
        for finding in findings:
            report.add(host.place(finding) if finding.file == FOLDER else finding)
    if site is not None:
        reported = {(finding.file, model.name_of(finding.path)) for finding in report.errors}
        for finding in setting_readers.findings(site, files, inventory):
            if (finding.file, model.name_of(finding.path)) not in reported:
                report.add(finding)
    return tuple(report.findings)


def missing_roles(site: Site) -> tuple[Finding, ...]:
    """Roles that no guest has: without the whole chain the deploys refuse the site.

    And what the gateway hands on to nobody who could prove its name.
    """
    findings = list(unserved(site))
    for role in CHAIN:
        try:
            guest_with(site, role)
        except RoleError as error:
            message, _, fix = str(error).partition(": ")
            findings.append(Finding(LXC_FILE, "", message, fix))
    return tuple(findings)


def undeclared_hosts(inventory: Inventory, site: Site, report: Report) -> None:
    """Refuse hosts that the inventory adds to those of the JSON files: each deploy asks who it is.

    A list of other words is one of such hosts, too, as pyinfra takes every list for a group.
    """
    known = {host.name for host in site.hosts}
    for name in inventory.hosts:
        if name not in known:
            groups = ", ".join(inventory.groups[name])
            report.error(
                inventory.label, "",
                f"{name!r} is a host for pyinfra, and the JSON files have none of this name "
                f"(groups: {groups})",
                suggestions.fix(
                    name, sorted(known),
                    "declare it in the JSON files, or remove it here; begin the name of a list "
                    "that is no group with _",
                ),
            )  # fmt: skip


def _elsewhere(name: str) -> str:
    """The fix for a setting that is a key of the JSON files; empty where it is none."""
    return misplaced_keys.of_setting(Raw, name)


def unread(
    files: Sequence[SettingsFile],
    inventory: Inventory,
    *,
    groups: Iterable[str],
    pyinfra_settings: Iterable[str],
    report: Report,
) -> None:
    """Warn of settings that no code reads, and of files that no group reads.

    Args:
        files: those of group_data.
        inventory: what pyinfra takes from the inventory.
        groups: names that a settings file may have, beside `all` and the inventory's groups.
        pyinfra_settings: names of settings that pyinfra itself reads.
    """
    groups = dict.fromkeys((ALL, *GROUPS, *inventory.names, *groups))
    for file in files:
        if file.group not in groups:
            report.unread(
                file.label, "", f"no group is called {file.group!r}, so nothing reads this file",
                suggestions.fix(
                    file.group, groups, f"name it after one of: {', '.join(sorted(groups))}"
                ),
            )  # fmt: skip
    places = [(file.label, file.values) for file in files] + [(inventory.label, inventory.given)]
    for place, values in places:
        for name, fix in model.unknown(values, pyinfra_settings, _elsewhere):
            if not name.startswith(model.PROXMOX):  # an error, found with the wrong values
                report.unread(place, name, model.UNREAD, fix)
    of_groups = (SettingsFile(inventory.label, g, own) for g, own in inventory.values.items())
    for file in (*files, *of_groups):
        _logins(file, inventory, report)


_LOGIN = {"ssh_user": "user", "ssh_port": "port", "ssh_key": "identity_file"}
"""pyinfra's own data by which a group is logged in to, and the key of `login` that says it."""


def _logins(file: SettingsFile, inventory: Inventory, report: Report) -> None:
    """Warn of log-ins in group_data: pyinfra takes the inventory's own before them.

    What it does take, the firewall, the checks and `phoenix exec` would not know.
    """
    data = inventory.data
    effective = {"ssh_port": SSH, **data}
    if file.group in GROUPS:
        where = f"site.logins.{file.group}"
    elif file.group in (ALL, Path(inventory.label).stem):
        where = "site.login"
    else:
        where = "login of each of its hosts"
    for name, key in _LOGIN.items():
        if name in file.values and file.values[name] != effective.get(name):
            why = (
                "the inventory's own goes before it"
                if name in data
                else ("pyinfra alone reads it: firewall, checks and `phoenix exec` do not")
            )
            fix = f'write it as {where} in {LXC_FILE}: {{"{key}": ...}}, and remove it here'
            report.warn(file.label, name, why, fix)
