"""Pins and the newest releases that the maintainers know of. Pure: nobody is asked.

The list is `releases.toml`. A pin is compared within its series: another one may need a migration.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from phoenix import files
from phoenix.components.artifacts import version_tuple
from phoenix.declaration import image_reference

State = Literal["current", "outdated", "unknown"]
FILE = "components/releases.toml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fix(_Strict):
    """A release that must be had: what it fixes, by its public numbers."""

    version: str = Field(pattern=r"^[0-9]+(\.[0-9]+)*$")
    why: str = Field(min_length=1)


class Release(_Strict):
    """The newest release of one series of one program or image."""

    name: str = Field(min_length=1)
    series: str = Field(pattern=r"^[0-9]+(\.[0-9]+)*$")
    newest: str = Field(pattern=r"^[0-9]+(\.[0-9]+)*$")
    fix: tuple[Fix, ...] = ()


class Known(_Strict):
    """The list, and the day on which it was compared with what upstream publishes."""

    checked: date
    release: tuple[Release, ...]


class Pin(BaseModel):
    """One pin of a site, beside what is known of it.

    Attributes:
        name: the program, or the image's repository.
        version: the one that is pinned; empty where a digest alone is.
        places: what pins it: a setting, or a stack in an environment.
        state: `unknown` where the list has nothing of its series.
        newest: the newest release of its series; empty where none is known.
        why: what the releases since the pinned one fix.
        proof: what proves the content: `digest`, `program alone`, or `tag alone`.
    """

    name: str
    version: str
    places: list[str]
    state: State
    newest: str
    why: str
    proof: Literal["digest", "program alone", "tag alone", "archive"]


@cache
def release_list() -> Known:
    """The list of the maintainers.

    Raises:
        pydantic.ValidationError: the file is of another form; its test shows where.
    """
    return Known.model_validate(tomllib.loads(files.text(FILE)))


def pins(
    programs: Mapping[str, Mapping[str, Mapping[str, object]]],
    images: Iterable[tuple[str, str]],
    archives: Iterable[str] = (),
    listed: Known | None = None,
) -> tuple[Pin, ...]:
    """Every pin of a site, those that are outdated first.

    Args:
        programs: the setting `artifacts`.
        images: references of images, each with what names it; one may be there several times.
        archives: references that come as archives with a digest of their own (`image_archives`).
        listed: what is known; the maintainers' list where it is None.
    """
    releases = (listed or release_list()).release
    pinned = [*_programs(programs, releases), *_images(images, set(archives), releases)]
    order = {"outdated": 0, "unknown": 1, "current": 2}
    return tuple(sorted(pinned, key=lambda pin: (order[pin.state], pin.name, pin.version)))


def _programs(
    programs: Mapping[str, Mapping[str, Mapping[str, object]]], releases: Iterable[Release]
) -> Iterator[Pin]:
    releases = tuple(releases)
    for name, by_arch in programs.items():
        versions: dict[tuple[str, bool], list[str]] = {}
        for arch, pin in by_arch.items():
            proven = bool(pin.get("sha256")) or not pin.get("member")
            versions.setdefault((str(pin.get("version", "")), proven), []).append(arch)
        for (version, proven), archs in versions.items():
            places = [f"artifacts.{name}.{arch}" for arch in archs]
            state, newest, why = _judge(name, version, releases)
            yield Pin(
                name=name, version=version, places=places, state=state, newest=newest, why=why,
                proof="digest" if proven else "program alone",
            )  # fmt: skip


def _images(
    images: Iterable[tuple[str, str]], archives: set[str], releases: Iterable[Release]
) -> Iterator[Pin]:
    releases = tuple(releases)
    places: dict[str, dict[str, None]] = {}
    for reference, place in images:
        places.setdefault(reference, {})[place] = None
    for reference, named in places.items():
        image = image_reference.parse(reference)
        if image is None:
            continue  # an error of the declaration or of its settings
        state, newest, why = _judge(image.name, image.tag, releases)
        proof: Literal["digest", "archive", "tag alone"] = "digest" if image.digest else "tag alone"
        yield Pin(
            name=image.name, version=image.tag, places=list(named), state=state, newest=newest,
            why=why, proof="archive" if reference in archives else proof,
        )  # fmt: skip


_TAG = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)")


def _judge(name: str, tag: str, releases: Iterable[Release]) -> tuple[State, str, str]:
    """State, newest release, and what the releases after the pinned one fix."""
    match = _TAG.match(tag)
    version = version_tuple(match[1]) if match else ()
    for release in releases:
        series = version_tuple(release.series)
        if release.name != name or version[: len(series)] != series:
            continue
        if version >= version_tuple(release.newest):
            return "current", release.newest, ""
        since = [fix.why for fix in release.fix if version_tuple(fix.version) > version]
        return "outdated", release.newest, "; ".join(since)
    return "unknown", "", ""
