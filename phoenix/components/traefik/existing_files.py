"""A person's own Traefik on Traefik's guest: its files, and whether its routers can stay.

Phoenix's Traefik reads every file of its folder. A router of a person's that has an entry point of
its own lives on there, beside the site's: on the site's own entry point Traefik answers the gateway
alone. Names and defaults follow https://doc.traefik.io/traefik/reference/.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from phoenix.components.answers import unexpected
from phoenix.components.traefik.traefik_yml import (
    BESIDE,
    DYNAMIC,
    ENTRY_POINTS,
    STATIC,
    UNIT,
    USER,
)
from phoenix.site.findings import visible
from phoenix.site.ports import HTTP, HTTPS, TRAEFIK_LOCAL

_NEEDED = {
    HTTP: "on which the proofs of its certificate are given",
    HTTPS: "where Phoenix's Traefik answers the gateway alone",
    TRAEFIK_LOCAL: "where Phoenix's Traefik answers its own guest",
}
"""Ports of Traefik's guest that Phoenix needs, and what for."""
_PORT = re.compile(r".*:([0-9]{1,5})(?:/(?:tcp|udp))?")


class OwnFilesError(ValueError):
    """A host's answer is not of the expected form."""


@dataclass(frozen=True)
class OwnFile:
    """One file: `data` is what it says, None where that cannot be read; `is_readable`: by Traefik.

    Values that may be secrets are not in it.
    """

    path: str
    data: Mapping[str, Any] | None = None
    is_readable: bool = True

    def section(self, *names: str) -> Mapping[str, Any]:
        """A section by its names from the top, in any case; empty where there is none."""
        return _section(self.data or {}, *names)


@dataclass(frozen=True)
class OwnTraefik:
    """The files of a person's Traefik.

    `static` is its own configuration; `is_ours`: its place has Phoenix's by now, and it is the one
    that was kept then.
    """

    is_ours: bool = False
    static: OwnFile | None = None
    dynamic: tuple[OwnFile, ...] = field(default=())

    @property
    def entry_points(self) -> Mapping[str, Any]:
        """Every entry point that the static configuration declares, as it does."""
        return self.static.section("entryPoints") if self.static else {}

    @property
    def providers(self) -> Mapping[str, Any]:
        """Where it has its routers from."""
        return self.static.section("providers") if self.static else {}

    @property
    def used(self) -> Mapping[str, Any]:
        """The entry points of their own that their routers name: Phoenix's Traefik has them too."""
        named = {
            name
            for file in self.dynamic
            for _, _, router in _routers(file)
            for name in _entry_points(router)
        }
        return {
            name: entry_point for name, entry_point in self.entry_points.items() if name in named
        }


def parse(lines: Iterable[str]) -> OwnTraefik:
    """What a host answers to `existing_files.sh`.

    Raises:
        OwnFilesError: a line is of another form.
    """
    is_ours, static = False, ""
    files: dict[str, bool] = {}
    texts: dict[str, list[str]] = {}
    for line in filter(None, lines):
        match line.split("\t", 3):
            case ["ours"]:
                is_ours = True
            case ["static", path, "-", "-"]:
                static = path
                files[path] = True
            case ["file", path, mode, group] if mode.isdigit():
                files[path] = bool(int(mode[-1]) & 4 or (group == USER and int(mode[-2]) & 4))
            case ["in", path, *text] if path in files:
                texts.setdefault(path, []).append("\t".join(text))
            case _:
                raise OwnFilesError(unexpected(line))
    read = {
        path: OwnFile(path, _data(path, "\n".join(texts.get(path, ()))), is_readable)
        for path, is_readable in files.items()
    }
    dynamic = tuple(file for path, file in read.items() if path != static)
    return OwnTraefik(is_ours, read.get(static), dynamic)


def considered(traefik: OwnTraefik, *, is_kept: bool) -> OwnTraefik | None:
    """What somebody has to decide about; None where there is nothing of theirs in force."""
    if traefik.is_ours and not is_kept:
        return None
    return traefik if traefik.dynamic or (traefik.static and traefik.entry_points) else None


def faults(traefik: OwnTraefik, in_use: Collection[str]) -> Iterator[str]:
    """Why their files cannot be read beside the site's own, each with the fix.

    Args:
        traefik: theirs.
        in_use: names of the site's own routers, services and middlewares.
    """
    where = visible(traefik.static.path) if traefik.static else STATIC
    if traefik.static and traefik.static.data is None:
        yield f"{where} cannot be read: write it as YAML in block style, and run again"
    yield from _provider_faults(traefik, where)
    for file in traefik.dynamic:
        place = visible(file.path)
        if file.data is None:
            yield f"{place} cannot be read: write it as YAML in block style, and run again"
            continue
        if not file.is_readable:
            yield (
                f"{place} cannot be read by the user {USER}, which Phoenix's Traefik runs as: run "
                f"chmod o+r, or chgrp {USER} and chmod g+r, on it, and run again"
            )
        for fault in _file_faults(file, traefik, where, in_use):
            yield f"{place}: {fault}, and run again"


def _provider_faults(traefik: OwnTraefik, where: str) -> Iterator[str]:
    for name, provider in traefik.providers.items():
        if name.lower() != "file":
            yield (
                f"{where} has routers from the provider {visible(name)}, which Phoenix's Traefik "
                f"has not: write them into a file in {DYNAMIC}, or have a Traefik of your own go "
                f"on with them, of another unit than {UNIT} and at other ports, and take the "
                "provider out; then run again"
            )
            continue
        place = provider if isinstance(provider, Mapping) else {"directory": ""}
        folders = {str(value) for key, value in place.items() if key.lower() == "directory"}
        single = {str(value) for key, value in place.items() if key.lower() == "filename"}
        outside = (folders - {DYNAMIC, f"{DYNAMIC}/"}) | {
            path for path in single if not path.startswith(f"{DYNAMIC}/")
        }
        if outside:
            yield (
                f"{where} reads {' and '.join(map(visible, sorted(outside))) or 'another place'}, "
                f"and Phoenix's Traefik {DYNAMIC} alone: move the files there, write that as its "
                "directory, in block style, and run again"
            )
    if traefik.static and traefik.static.section("experimental"):
        yield (
            f"{where} has plugins (experimental), which Phoenix's Traefik has not: take them out, "
            "or have a Traefik of your own go on with them at other ports, and run again"
        )


def _file_faults(
    file: OwnFile, traefik: OwnTraefik, where: str, in_use: Collection[str]
) -> Iterator[str]:
    for kind, name, router in _routers(file):
        yield from _router_faults(f"{kind} router {visible(name)}", router, traefik, where)
    for section in ("routers", "services", "middlewares", "serversTransports"):
        if claimed := sorted(set(in_use) & set(file.section("http", section))):
            yield (
                f"{', '.join(map(visible, claimed))} among its {section} is a name that the site "
                "has itself: give it another one"
            )
    for section in ("stores", "options"):
        if "default" in file.section("tls", section):
            yield (
                f"tls.{section}.default would hold for the site's own names too: take it out, or "
                "give it another name"
            )


def _router_faults(subject: str, router: object, traefik: OwnTraefik, where: str) -> Iterator[str]:
    if not isinstance(router, Mapping):
        yield f"{subject} cannot be read: write it in block style"
        return
    names = _entry_points(router)
    if not names:
        yield (
            f"{subject} names no entryPoints, and would answer on every one, the site's too: name "
            "those that it is for"
        )
    for name in names:
        if fault := _entry_point_fault(name, traefik, where):
            yield f"{subject} {fault}"
    fields = {key.lower(): value for key, value in router.items()}
    service = str(fields.get("service", ""))
    if "@" in service and not service.endswith("@file"):
        yield f"{subject} leads to {visible(service)}, which would not be its person's: take it out"
    yield from (
        f"{subject} {fault}" for fault in _tls_faults(fields.get("tls"), names, traefik, where)
    )


def _entry_point_fault(name: str, traefik: OwnTraefik, where: str) -> str:
    if name not in traefik.entry_points:
        if name in ENTRY_POINTS:
            return (
                f"answers on {name}, which is Phoenix's, for the gateway or its own guest alone: "
                f"give it an entry point of its own in {where}, or declare what it leads to as "
                "external_services (docs/routes.md) and take it out"
            )
        return f"answers on {visible(name)}, which {where} does not declare: declare it there"
    entry_point = traefik.entry_points[name]
    address = str(_section({"it": entry_point}, "it").get("address", ""))
    match = _PORT.fullmatch(address)
    if match is None:
        return f"answers on {visible(name)}, which has no port in {where}: write its address there"
    port = int(match[1])
    if port in _NEEDED:
        return (
            f"answers on {visible(name)}, port {port}, {_NEEDED[port]}: give it an entry point of "
            f'another port in {where}, as address: ":8443", or declare what it leads to as '
            "external_services (docs/routes.md) and take it out"
        )
    if name in ENTRY_POINTS:
        return f"answers on {name}, and Phoenix has an entry point of that name: give it another"
    return ""


def _tls_faults(
    tls_value: object, names: Iterable[str], traefik: OwnTraefik, where: str
) -> Iterator[str]:
    """A router's own `tls` counts instead of the entry point's, all of it."""
    if tls_value is not None and tls_value is not False:
        yield from _tls_fault(tls_value, "has tls")
        return
    for name in names:
        http = _section(traefik.entry_points, name, "http")
        if (tls := {key.lower(): value for key, value in http.items()}.get("tls")) is not None:
            yield from _tls_fault(tls, f"has the tls of {visible(name)} in {where}")


def _tls_fault(tls_value: object, subject: str) -> Iterator[str]:
    tls = (
        {str(key).lower(): value for key, value in tls_value.items()}
        if isinstance(tls_value, Mapping)
        else {}
    )
    if tls.get("certresolver"):
        yield (
            f"{subject} with a certificate by {visible(str(tls['certresolver']))}, and Phoenix's "
            "Traefik has no such resolver: give the certificate as files (tls.certificates)"
        )
    if str(tls.get("options") or "default") == "default":
        yield (
            f"{subject} without options, and the default asks each client for the gateway's "
            f"certificate: write options: {BESIDE} there, which Phoenix declares, or options of "
            "your own"
        )


def _routers(file: OwnFile) -> Iterator[tuple[str, str, Any]]:
    for kind in ("http", "tcp", "udp"):
        for name, router in file.section(kind, "routers").items():
            yield kind, name, router


def _entry_points(router: object) -> tuple[str, ...]:
    if not isinstance(router, Mapping):
        return ()
    entry_points = {str(key).lower(): value for key, value in router.items()}.get("entrypoints")
    return tuple(map(str, entry_points)) if isinstance(entry_points, list) else ()


def _section(data: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for key_name in path:
        section = {str(key).lower(): value for key, value in data.items()}.get(key_name.lower())
        if not isinstance(section, Mapping):
            return {}
        data = section
    return {str(key): value for key, value in data.items()}


def _data(path: str, text: str) -> Mapping[str, Any] | None:
    try:
        data = tomllib.loads(text) if path.endswith(".toml") else yaml.safe_load(text)
    except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError):
        return None
    if data is None:
        return {}
    return data if isinstance(data, Mapping) else None
