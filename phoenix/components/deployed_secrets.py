"""Which secrets a deployed site holds: told by what its components have on their guests.

A secret that the site holds is never made anew by a machine that lacks it: the new value would
replace one that applications, data and other operators rely on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from phoenix.components.nginx.nginx_conf import CLIENT_CERTIFICATE
from phoenix.components.portainer.compose_files import AGENT_ENVIRONMENT, PASSWORD_FILE
from phoenix.components.restic.files import PASSWORD
from phoenix.components.stack import FILES, swarm_name
from phoenix.components.step_ca.issuance import TEMPLATE
from phoenix.components.traefik.traefik_yml import USERS_FILE, user_file
from phoenix.components.watch.files import PAIR_OF_THE_WATCHER
from phoenix.derived import backups
from phoenix.secrets.errors import SecretError
from phoenix.site.model import Host, Site
from phoenix.site.secret_names import (
    ADMIN_PASSWORD,
    AGENT_SECRET,
    BACKUP_KEY,
    DASHBOARD_PASSWORD,
    GATEWAY_CERTIFICATE,
    ISSUANCE_KEY,
    WATCH_KEY,
)


@dataclass(frozen=True)
class Trace:
    """Where a guest that was given a secret shows it.

    Attributes:
        secret: the secret's name.
        guest: the guest's name in the site.
        path: a file that holds it, or what was made of it; empty for a variable. Of a Swarm secret
            `swarm:` and its name, without the digest of its content.
        project: the compose project of a stack's file or variable; else empty.
        variable: the variable's name.
        file: where the stack's containers read the file; empty for any other.
    """

    secret: str
    guest: str
    path: str = ""
    project: str = ""
    variable: str = ""
    file: str = ""

    def __str__(self) -> str:
        """The place for a person."""
        place = self.path
        if self.project:
            part = f"file {self.file}" if self.file else f"variable {self.variable}"
            place = f"stack {self.project}, {part}"
        return f"{self.guest}: {place}"


@dataclass(frozen=True)
class Holdings:
    """What a guest that was asked has: files of `Trace.path`, and stacks that run there.

    Those of its swarm are among them, where it is a manager.
    """

    paths: tuple[str, ...]
    projects: tuple[str, ...]


Variables = Mapping[tuple[str, str], frozenset[str] | None]
"""By guest and project, the names of a deployed stack's variables; None where nobody tells."""


def traces(site: Site) -> tuple[Trace, ...]:
    """Every place where the site shows that it was given a generated secret."""
    return (*_of_the_platform(site), *_of_guests(site))


def _of_the_platform(site: Site) -> Iterator[Trace]:
    if site.watcher is not None:
        yield Trace(WATCH_KEY, site.watcher.name, PAIR_OF_THE_WATCHER)
    for host in backups.hosts(site):
        yield Trace(BACKUP_KEY, host.name, PASSWORD)


def _of_guests(site: Site) -> Iterator[Trace]:
    for guest in site.guests:
        if "traefik" in guest.groups:
            yield Trace(DASHBOARD_PASSWORD, guest.name, USERS_FILE)
            for service in site.services:
                for login in service.options.basic_auth:
                    yield Trace(login.secret, guest.name, user_file(service, login))
        if guest == site.ca:
            yield Trace(ISSUANCE_KEY, guest.name, TEMPLATE)
        if guest in site.gateways:
            yield Trace(GATEWAY_CERTIFICATE, guest.name, CLIENT_CERTIFICATE)
        if guest == site.portainer:
            yield Trace(ADMIN_PASSWORD, guest.name, PASSWORD_FILE)
        if guest == site.portainer or guest in site.agents:
            yield Trace(AGENT_SECRET, guest.name, AGENT_ENVIRONMENT)
        yield from _of_stacks(guest)


def _of_stacks(guest: Host) -> Iterator[Trace]:
    for stack in guest.docker_stacks:
        for number, file in enumerate(stack.files):
            if file.secret is not None:
                path = f"{FILES}/{stack.project}/{number}"
                if stack.type == "swarm":
                    path = f"swarm:{swarm_name(stack, number)}"
                yield Trace(
                    file.secret.lower(), guest.name, path,
                    project=stack.project, file=file.destination,
                )  # fmt: skip
        for variable in stack.variables:
            if variable.secret is not None:
                yield Trace(
                    variable.secret.lower(),
                    guest.name,
                    project=stack.project,
                    variable=variable.name,
                )


def deployed_secrets(
    expected: Iterable[Trace],
    actual: Mapping[str, Holdings],
    variables: Variables,
) -> tuple[Trace, ...]:
    """The secrets of `expected` that the guests have.

    Args:
        expected: where secrets would show.
        actual: what each guest has, by its name.
        variables: by guest and project, the names of the variables that are kept for it where it
            is deployed; None where nobody tells, and the project's containers alone do.
    """
    return tuple(trace for trace in expected if _shows(trace, actual[trace.guest], variables))


def _shows(trace: Trace, actual: Holdings, variables: Variables) -> bool:
    if trace.path:
        return trace.path in actual.paths
    names = variables.get((trace.guest, trace.project))
    # A running stack whose variables are unknown counts as having them: that is the safe answer.
    return trace.project in actual.projects if names is None else trace.variable in names


def refusal(held: Iterable[Trace]) -> SecretError:
    """The error that names each secret that the site holds and this machine lacks."""
    places: dict[str, list[str]] = {}
    for trace in held:
        places.setdefault(trace.secret, []).append(str(trace))
    lines = [f"  {name} ({'; '.join(where)})" for name, where in sorted(places.items())]
    return SecretError(
        "the site holds secrets that this machine lacks, and nothing was changed: new values would "
        "replace those in use.\n" + "\n".join(lines) + "\nGet them from an operator who has them: "
        "`phoenix secrets export --to YOUR_AGE_KEY` there and `phoenix secrets import FILE` here, "
        "the site's SOPS file (PHOENIX_SOPS_FILE), or PHOENIX_SECRET_NAME in the environment. One "
        "that nobody has any more: `phoenix secrets rotate --lost NAME`"
    )
