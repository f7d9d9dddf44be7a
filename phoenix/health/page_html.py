"""The start page as HTML: no script, no inline style, everything escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from phoenix.files import FOLDER
from phoenix.health.page import Health, Page, Stamp, headline

STYLE = FOLDER / "components/home/style.css"
_LAYERS = {
    "reach": "were not run",
    "service": "does not run as it should",
    "dns": "names are answered wrongly",
    "tcp": "the connection is not as it should be",
    "tls": "identity is not proven (TLS)",
    "certificate": "the certificate is not in order",
    "router": "Traefik does not route it",
    "http": "the answer is wrong",
}


def render(page: Page) -> str:
    """The whole page; equal pages give equal text."""
    template = _environment().get_template("page.html.j2")
    return template.render(page=page, version=_version())


@cache
def _version() -> str:
    """Of the style: a page is never shown with the style of another one from a browser's cache."""
    return hashlib.sha256(STYLE.read_bytes()).hexdigest()[:12]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "health"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"moment": moment, "time_left": time_left, "iso": iso, "fresh": fresh}
    environment.globals |= {"headline": headline, "why": why}
    return environment


def why(health: Health) -> str:
    """The first cause in words; empty where there is none."""
    cause = health.first_cause
    if cause is None:
        return ""
    return f"First cause, seen from {cause.host}: {cause.hop}: {_LAYERS[cause.layer]}"


def moment(at: datetime) -> str:
    """`24 Nov 2026, 18:40 UTC`."""
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def iso(at: datetime) -> str:
    """For <time datetime=...>: `2026-11-24T18:40:00Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def fresh(stamp: Stamp) -> str:
    """A regular expression for what nginx's `$msec` begins with until the page is old.

    The page has no script, and nobody may run when it gets old: nginx compares at each request
    (https://nginx.org/en/docs/http/ngx_http_ssi_module.html, command `if`).
    """
    first, end = (int(at.timestamp()) // _STEP for at in (stamp.at, stamp.old_at))
    return "|".join(_prefixes(first, end - 1))


_STEP = 100
"""Seconds: how exactly it is known when a page gets old."""


def _prefixes(first: int, last: int) -> Iterator[str]:
    """Decimal digits that the numbers from `first` to `last`, and no others, begin with."""
    while first <= last:
        size = 1
        while first % (size * 10) == 0 and first + size * 10 - 1 <= last:
            size *= 10
        yield str(first // size)
        first += size


def time_left(until: datetime, now: datetime) -> str:
    """What is left: `12 days`, `23 hours`, `50 minutes`, or `expired`."""
    remaining = until - now
    if remaining <= timedelta(0):
        return "expired"
    for unit, size in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
        if remaining >= 2 * size:
            return f"{remaining // size} {unit}s left"
    return f"{remaining // timedelta(minutes=1)} minutes left"
