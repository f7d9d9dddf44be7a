"""Traefik labels, the original system's form of a route, read as a declaration.

Phoenix writes Traefik's configuration itself, so a label does nothing by itself. What a label says
is carried out, or the label is refused: a middleware that is left out opens what it guarded.

Reference: https://doc.traefik.io/traefik/reference/routing-configuration/other-providers/docker/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "traefik."
_RULE = re.compile(r"Host\(\s*(?:`([^`]+)`|\"([^\"]+)\")\s*\)\Z")
_ROUTER = re.compile(r"traefik\.http\.routers\.[^.]+\.")
_SERVICE = re.compile(r"traefik\.http\.services\.[^.]+\.loadbalancer\.server\.")
# Each route has these by itself: TLS at the gateway, one entry point, one backend.
_GIVEN = ("entrypoints", "tls", "tls.certresolver", "service")
_OPENS = "leaving it out would open what it guards"


@dataclass(frozen=True)
class Refused:
    """A label that Phoenix does not carry out; `key` is as written, `position` counts from 0."""

    position: int
    key: str
    message: str
    fix: str


@dataclass(frozen=True)
class Labels:
    """What labels say of one route. `port` is the one inside the container, as written."""

    host: str | None
    port: str | None
    scheme: str
    refused: tuple[Refused, ...]


def read(labels: Iterable[str]) -> Labels:
    """Read labels, written as KEY=VALUE.

    Args:
        labels: those of one compose service; keys that are not Traefik's are left alone.

    Returns:
        Host, port and scheme (http where no label says it: Traefik's default), and every label
        that is not carried out.
    """
    result: dict[str, str] = {}
    refused: list[Refused] = []
    for position, entry in enumerate(labels):
        key, _, value = entry.partition("=")
        name = key.strip().lower()  # Traefik compares keys without regard to case
        if not name.startswith(PREFIX):
            continue
        what, message, fix = _meaning(name, value.strip())
        if what and result.setdefault(what, value.strip()) != value.strip():
            message = f"a second {what} for one service: only one route is carried out"
            fix = "declare the other route as a service of its own, by traefik_service"
        if message:
            refused.append(Refused(position, key, message, fix))
    rule = _RULE.match(result.get("rule", ""))
    host = (rule[1] or rule[2]) if rule else None
    return Labels(host, result.get("port"), result.get("scheme", "http"), tuple(refused))


def of_compose(service: Mapping[str, Any]) -> Iterator[str]:
    """The labels of a service in a compose file, a list or a mapping, as KEY=VALUE."""
    labels = service.get("labels") or ()
    if isinstance(labels, Mapping):
        yield from (f"{key}={_text(value)}" for key, value in labels.items())
    else:
        yield from (str(label) for label in labels)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _meaning(name: str, value: str) -> tuple[str, str, str]:
    """What a label gives ("rule", "port", "scheme" or nothing), or why it is refused."""
    if name == "traefik.enable":
        if value.lower() in ("true", "1"):
            return "", "", ""
        message = "turns the route off, but this service is declared to have one"
        return "", message, "remove the service from `services`"
    if name == "traefik.docker.network":
        return "", "", ""  # the published port is used
    if _SERVICE.match(name):
        setting = _SERVICE.sub("", name)
        if setting in ("port", "scheme"):
            return setting, "", ""
    router = _ROUTER.match(name)
    setting = name[router.end() :] if router else ""
    if setting == "rule":
        if _RULE.match(value):
            return "rule", "", ""
        message = f"the rule {value!r} is more than one Host(`NAME`): Phoenix routes whole names"
        fix = (
            "write one rule Host(`NAME`), or traefik_service; decide on paths and other parts of a "
            "request in the service itself, and give each further name a service of its own"
        )
        return "", message, fix
    if setting in _GIVEN:
        return "", "", ""
    if setting == "middlewares" or ".middlewares." in name:
        message = f"middlewares are not carried out: {_OPENS}"
        return "", message, "let the service itself ask who may enter, then remove the label"
    message = f"this label is not carried out: {_OPENS} or changes the route"
    return "", message, "remove it, and do what it does in the service itself"
