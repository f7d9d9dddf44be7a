"""The context of every deploy: the site, this host in it, its settings, the secrets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from pyinfra import host
from pyinfra.api import DeployError
from pyinfra.api import arguments as pyinfra_arguments
from pyinfra.api import facts as pyinfra_facts
from pyinfra.api import util as pyinfra_util
from pyinfra.api.host import Host as PyinfraHost
from pyinfra.connectors.ssh import ConnectorData
from pyinfra.context import ctx_host

from facts.system import Machine, System
from operations import site_lock
from operations.connection import watch_all
from operations.host_state import question, read_or
from phoenix.components.artifacts import Artifact, pinned
from phoenix.declaration import group_data, pyinfra_inventory
from phoenix.declaration.inventory import site_of
from phoenix.declaration.settings import (
    COMMAND_LINE,
    UNREAD,
    Settings,
    from_command_line,
    on_command_line,
    read,
    unknown,
    written,
)
from phoenix.secrets.store import SecretStore, of_inventory
from phoenix.site.findings import ConfigError, Finding, Report, SettingError
from phoenix.site.model import Host, Site


class Frame(NamedTuple):
    """A frame's place in the source, as `inspect.getframeinfo` has it."""

    filename: str
    lineno: int


def stack() -> list[tuple[FrameType]]:
    """The caller's frames, the innermost first: what pyinfra takes of `inspect.stack`."""
    frames, frame = [], sys._getframe().f_back
    while frame is not None:
        frames.append((frame,))
        frame = frame.f_back
    return frames


def place(frame: FrameType) -> Frame:
    """Where a frame is: what pyinfra takes of `inspect.getframeinfo`."""
    return Frame(frame.f_code.co_filename, frame.f_lineno)


# pyinfra tells operations apart by file and line of each frame. inspect looks for the file of each
# and through all loaded modules where there is none: up to half of a run's CPU time.
pyinfra_util.stack = stack  # type: ignore[assignment]  # of both pyinfra takes no more than these
pyinfra_util.getframeinfo = place  # type: ignore[assignment]
# Of each operation and fact it works out anew which arguments every operation has.
pyinfra_arguments.all_global_arguments = pyinfra_facts.all_global_arguments = cache(
    pyinfra_arguments.all_global_arguments
)


def site() -> Site:
    """The site of this run's inventory; loaded once. From here on hosts that go silent are left."""
    watch_all(host.state)
    return site_of(host.data.dict())  # type: ignore[no-untyped-call]


def site_host() -> Host:
    """This host in the site."""
    return site().host(host.name)


def settings() -> Settings:
    """This host's settings, typed and checked; a name that nothing reads is warned of once.

    Raises:
        DeployError: a setting has a wrong value; names the file, the setting and the fix.
    """
    return _settings(ctx_host.get())  # type: ignore[no-untyped-call]


@cache
def _settings(this: PyinfraHost) -> Settings:
    given = this.inventory.get_override_data()  # type: ignore[no-untyped-call]
    override = from_command_line(given, written(sys.argv))
    data = {**this.data.dict(), **override}  # type: ignore[no-untyped-call]
    typed, findings = read(data)
    strange = unknown(data, ConnectorData.__annotations__)
    if not findings and not strange:
        return typed
    files = group_data.read(Path(data["site_inventories"]).parent, Report())
    inventory = this.inventory
    # pyinfra has joined a group's file with what the inventory gives the group.
    of_groups = [(pyinfra_inventory.ALL, inventory.get_data())]  # type: ignore[no-untyped-call]
    of_groups += [(name, inventory.get_group_data(name)) for name in this.groups]  # type: ignore[no-untyped-call]
    places = group_data.HostSettings((
        *(place for name, values in of_groups for place in (
            group_data.SettingsFile("the inventory", name, values),
            *(file for file in files if file.group == name),
        )),
        group_data.SettingsFile("the inventory", "", inventory.get_host_data(this.name)),
        group_data.SettingsFile(COMMAND_LINE, "", override),
    ))  # fmt: skip
    for name, fix in strange:
        _warn_unknown(str(places.place(Finding("", name, UNREAD, fix, "warning"))))
    if findings:
        raise DeployError(str(ConfigError(on_command_line(places.place(one)) for one in findings)))
    return typed


@cache
def _warn_unknown(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


@contextmanager
def setting_errors() -> Iterator[None]:
    """Settings that cannot be used end the run here with their own words, not a traceback.

    Raises:
        DeployError: in place of phoenix.site.findings.SettingError, before any host is touched.
    """
    try:
        yield
    except SettingError as error:
        site_lock.refused(str(error))
        raise DeployError(f"{host.name}: {error}") from error


def pinned_program(name: str) -> Artifact:
    """The program that the setting `artifacts` pins for this host's processor.

    Raises:
        ArtifactError: see `phoenix.components.artifacts.pinned`.
    """
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine().processor, "unknown")
    return pinned(name, settings().artifacts, arch)


def machine() -> Machine:
    """The processor and the distribution of this host.

    One that cannot be asked is left out of the run by pyinfra, with the reason, and its operations
    are never carried out; so that the other hosts' are, it is taken for a usual one here.
    """
    return _machine(ctx_host.get())  # type: ignore[no-untyped-call]


@cache  # a run asks once: every deploy of a host's needs it
def _machine(_this: PyinfraHost) -> Machine:
    usual = {"ID": "debian", "VERSION_ID": "13", "VERSION_CODENAME": "stable"}
    return read_or(question(System), Machine("x86_64", usual))


_stores: dict[tuple[str, str | None], SecretStore] = {}


def secrets() -> SecretStore:
    """The site's secrets; none is read until it is asked for."""
    data = host.data.dict()  # type: ignore[no-untyped-call]
    place = (data["site_secrets"], data.get("site_sops"))
    if place not in _stores:
        _stores[place] = of_inventory(data)
    return _stores[place]
