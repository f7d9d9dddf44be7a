"""Log-ins by SSH that cannot be meant: one machine for two hosts, a user who may do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from phoenix.declaration.json_errors import join, listed
from phoenix.declaration.json_keys import RawLoginBy, RawSite
from phoenix.site.findings import Report
from phoenix.site.model import Host, Source

_FIELDS = ("name", "user", "port", "sudo_password")


@dataclass(frozen=True)
class _DeclaredLogin:
    """A host, and the place of the declaration that each key of its log-in is from."""

    host: Host
    at: Mapping[str, Source]


def check(
    raw: RawSite,
    hosts: Sequence[tuple[Host, RawLoginBy]],
    served: Mapping[str, Mapping[tuple[int, str], str]],
    file: str,
    report: Report,
) -> None:
    """Refuse a log-in that makes two hosts one machine, or at a port that another program has.

    It also tells of what has no effect.

    Args:
        raw: the site's entry, with the log-ins of all hosts and of groups.
        hosts: the hypervisor and the guests, each with its own log-in as written.
        served: by host, who has each port there, beside SSH.
        file: where `raw` stands.
        report: takes the findings.
    """
    logins = [_declared_login(raw, host, own, file) for host, own in hosts]
    _one_machine(logins, report)
    _without_sudo(logins, report)
    _no_password(raw, logins, file, report)
    _taken_ports(logins, served, report)
    groups = {group for host, _ in hosts for group in host.groups}
    for group in raw.logins:
        if group not in {*groups, "hypervisor"}:
            report.unread(
                file, join("site.logins", group), "no host is in this group, so the log-in is not "
                "used",
                "correct the name, or remove it",
            )  # fmt: skip


def _declared_login(raw: RawSite, host: Host, own: RawLoginBy, file: str) -> _DeclaredLogin:
    at: dict[str, Source] = {}
    groups = ("hypervisor",) if host.kind == "hypervisor" else host.groups
    for path, login in _declared(raw, groups):
        at |= {key: Source(file=file, path=f"{path}.{key}") for key in _written(login)}
    path = f"{host.source.path}.login"
    at |= {key: Source(file=host.source.file, path=f"{path}.{key}") for key in _written(own)}
    return _DeclaredLogin(host, at)


def _declared(raw: RawSite, groups: Sequence[str]) -> Iterator[tuple[str, RawLoginBy]]:
    """The log-ins that hold for a host beside its own, a later one before an earlier one."""
    yield "site.login", raw.login
    of_groups: dict[str, RawLoginBy] = dict(raw.logins.items())
    yield from (
        (join("site.logins", group), of_groups[group]) for group in groups if group in of_groups
    )


def _written(login: RawLoginBy) -> Iterator[str]:
    return (key for key in _FIELDS if getattr(login, key) is not None)


def _one_machine(logins: Sequence[_DeclaredLogin], report: Report) -> None:
    """Two hosts of one name in ~/.ssh/config would be set up over each other."""
    first: dict[tuple[str, int | None, str | None], Host] = {}
    others: dict[Source, list[Host]] = {}
    names: dict[Source, tuple[str, Host]] = {}
    for entry in logins:
        login = entry.host.login
        if login.name is None:
            continue
        other = first.setdefault((login.name, login.port, login.jump), entry.host)
        if other is not entry.host:
            others.setdefault(entry.at["name"], []).append(entry.host)
            names[entry.at["name"]] = (login.name, other)
    for place, hosts in others.items():
        name, other = names[place]
        report.error(
            place.file, place.path,
            f"{listed([other.name, *(host.name for host in hosts)])} would be the same machine: "
            f"all are logged in to as {name}",
            "write each host's own name, in its own login; a user, port or jump host may be that "
            "of all",
        )  # fmt: skip


def _without_sudo(logins: Sequence[_DeclaredLogin], report: Report) -> None:
    """A user who is not root changes nothing on a host."""
    idle: dict[Source, list[_DeclaredLogin]] = {}
    for entry in logins:
        login = entry.host.login
        if login.user not in (None, "root") and not login.sudo and login.sudo_password is None:
            idle.setdefault(entry.at["user"], []).append(entry)
    for place, those in idle.items():
        report.warn(
            place.file, place.path,
            f"{those[0].host.login.user} is not root and uses no sudo, so nothing can be changed "
            f"on {listed([login.host.name for login in those])}",
            'write "sudo": true as well, or log in as root',
        )  # fmt: skip


def _no_password(raw: RawSite, logins: Sequence[_DeclaredLogin], file: str, report: Report) -> None:
    """A password for sudo that nothing asks for."""
    asking = {login.at["sudo_password"] for login in logins
              if login.host.login.sudo and "sudo_password" in login.at}  # fmt: skip
    places = [
        Source(file=file, path=f"{path}.sudo_password")
        for path, login in _declared(raw, tuple(raw.logins))
        if login.sudo_password is not None
    ]
    own = [
        login.at["sudo_password"]
        for login in logins
        if "sudo_password" in login.at
        and login.at["sudo_password"].path == f"{login.host.source.path}.login.sudo_password"
    ]
    for place in dict.fromkeys((*places, *own)):
        if place not in asking:
            report.warn(
                place.file, place.path, "no command runs by sudo, so nothing asks for it",
                'write "sudo": true as well, or remove it',
            )  # fmt: skip


def _taken_ports(
    logins: Sequence[_DeclaredLogin],
    served: Mapping[str, Mapping[tuple[int, str], str]],
    report: Report,
) -> None:
    """SSH at a port that Phoenix serves something else at."""
    for entry in logins:
        host = entry.host
        user = served[host.name].get((host.ssh_port, "tcp"))
        if user is not None and "port" in entry.at:
            place = entry.at["port"]
            report.error(
                place.file, place.path,
                f"SSH at port {host.ssh_port} of {host.name} is not possible: {user} is there",
                "let sshd listen on another port, and write that one",
            )  # fmt: skip
