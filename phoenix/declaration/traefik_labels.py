"""Traefik labels, the original system's form of a route, read as a declaration.

Phoenix writes Traefik's configuration itself, so a label does nothing by itself. What a label says
is carried out, or the label is refused: a middleware that is left out opens what it guarded.

Reference: https://doc.traefik.io/traefik/reference/routing-configuration/other-providers/docker/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from phoenix.compose.scalars import text_of

PREFIX = "traefik."
_TEXT = r"(?:`[^`]+`|\"[^\"]+\")"
_HOST = rf"Host\(\s*{_TEXT}(?:\s*,\s*{_TEXT})*\s*\)"
_HOSTS = rf"{_HOST}(?:\s*\|\|\s*{_HOST})*"
_PATH = rf"PathPrefix\(\s*{_TEXT}\s*\)"
# `&&` binds more strongly than `||`: several hosts and a path need parentheses.
_RULE = re.compile(
    rf"(?P<hosts>{_HOSTS})\Z"
    rf"|(?:(?P<one>{_HOST})|\(\s*(?P<group>{_HOSTS})\s*\))\s*&&\s*(?P<path>{_PATH})\Z"
    rf"|(?P<first>{_PATH})\s*&&\s*(?:(?P<last>{_HOST})|\(\s*(?P<others>{_HOSTS})\s*\))\Z"
)
_ONE_HOST = re.compile(rf"Host\(\s*{_TEXT}\s*\)\Z")
_WORD = re.compile(_TEXT)
_ROUTER = re.compile(r"traefik\.http\.routers\.[^.]+\.")
_SERVICE = re.compile(r"traefik\.http\.services\.[^.]+\.loadbalancer\.")
_TRANSPORT = re.compile(r"traefik\.http\.serverstransports\.[^.]+\.")
_MIDDLEWARE = re.compile(r"traefik\.http\.middlewares\.([^.]+)\.")
# Each route has these by itself: TLS at the gateway, one backend, its certificate verified.
_GIVEN = ("tls", "tls.certresolver", "service")
_GIVEN_OF_SERVICE = ("passhostheader", "serverstransport")
_OPENS = "without it the service would be open to everyone"
_NETWORKS = ("ipallowlist.sourcerange", "ipwhitelist.sourcerange")
_PREFIXES = "stripprefix.prefixes"
_MEANT = {
    "basicauth": "basic_auth",
    "forwardauth": "forward_auth",
    "headers": "request_headers or response_headers",
    "buffering": "max_body",
    "redirectregex": "redirect_to",
    "redirectscheme": "nothing: the gateway redirects HTTP to HTTPS by itself",
}
"""The key of `traefik_service` that does what a middleware does."""


@dataclass(frozen=True)
class Refused:
    """A label that Phoenix does not carry out; `key` is as written, `position` counts from 0."""

    position: int
    key: str
    message: str
    fix: str


@dataclass(frozen=True)
class Labels:
    """What labels say of one route.

    Attributes:
        hosts: the names that it is asked by, the first one first.
        port: the one inside the container, as written.
        scheme: how the container is asked; http where no label says it: Traefik's default.
        path: the beginning of the paths that it has; None: every path.
        strip_path: whether the container gets the path without that beginning.
        networks: where clients may be, as written; empty: everywhere.
        server_name: the name that the container's certificate has.
        refused: labels that are not carried out.
        ignored: labels that do nothing here, and take nothing away.
    """

    hosts: tuple[str, ...] = ()
    port: str | None = None
    scheme: str = "http"
    path: str | None = None
    strip_path: bool = False
    networks: tuple[str, ...] = ()
    server_name: str | None = None
    refused: tuple[Refused, ...] = ()
    ignored: tuple[Refused, ...] = ()

    @property
    def host(self) -> str | None:
        """The first name."""
        return self.hosts[0] if self.hosts else None

    def declared(self, domain: str) -> dict[str, object]:
        """The route as `traefik_service` writes it, but for its port; names are of `domain`."""
        names = [name.removesuffix(f".{domain}") for name in self.hosts]
        data: dict[str, object] = {"name": names[0], "scheme": self.scheme}
        if names[1:]:
            data["aliases"] = names[1:]
        if self.path is not None:
            data |= {"path": self.path, "strip_path": self.strip_path}
        if self.networks:
            data["allowed_networks"] = list(self.networks)
        if self.server_name is not None:
            data["server_name"] = self.server_name
        return data


@dataclass
class _Read:
    """What was found so far: values by what they mean, and middlewares by name.

    `asked` and `defined` are places of labels with the middlewares that they ask for, or define.
    """

    values: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[int, str, str]] = field(default_factory=list)
    middlewares: dict[str, dict[str, str]] = field(default_factory=dict)
    defined: list[tuple[int, str, str]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ignored: list[Refused] = field(default_factory=list)


def read(labels: Iterable[str], *, plain: bool = False) -> Labels:
    """Read labels, written as KEY=VALUE.

    Args:
        labels: those of one compose service; keys that are not Traefik's are left alone.
        plain: refuse whatever is more than one name, a port and a scheme: the labels stand where
            nothing carries them out.

    Returns:
        What they say, and every label that is not carried out.
    """
    labels_read = _Read()
    for position, entry in enumerate(labels):
        key, _, value = entry.partition("=")
        name = key.strip().lower()  # Traefik compares keys without regard to case
        if name.startswith(PREFIX):
            _take(labels_read, position, key, name, value.strip(), plain=plain)
        else:
            message = f"{key.strip()[:80]!r} is not a label of Traefik's, and nothing else reads it"
            fix = "write it under labels in the compose file, or remove it"
            labels_read.ignored.append(Refused(position, key, message, fix))
    path = _path(labels_read.values.get("rule", ""))
    networks, strip = _middlewares(labels_read, path)
    return Labels(
        hosts=_hosts(labels_read.values.get("rule", "")),
        port=labels_read.values.get("port"),
        scheme=labels_read.values.get("scheme", "http"),
        path=path,
        strip_path=strip,
        networks=networks,
        server_name=labels_read.values.get("servername"),
        refused=tuple(sorted(labels_read.refused, key=lambda label: label.position)),
        ignored=tuple(labels_read.ignored),
    )


def of_compose(service: Mapping[str, Any]) -> Iterator[str]:
    """The labels of a service in a compose file, a list or a mapping, as KEY=VALUE."""
    labels = service.get("labels") or ()
    if isinstance(labels, Mapping):
        yield from (f"{key}={text_of(value)}" for key, value in labels.items())
    else:
        yield from (str(label) for label in labels)


def _take(
    labels_read: _Read, position: int, key: str, name: str, value: str, *, plain: bool
) -> None:
    """Note what one label says, or why it is refused."""
    middleware = _MIDDLEWARE.match(name)
    router = _ROUTER.match(name)
    if router and name[router.end() :] == "middlewares" and not plain:
        labels_read.asked.append((position, key, value))
        return
    if middleware and not plain:
        meaning = name[middleware.end() :]
        if meaning in (*_NETWORKS, _PREFIXES):
            labels_read.middlewares.setdefault(middleware[1], {})[meaning] = value
            labels_read.defined.append((position, key, middleware[1]))
            return
    if ignored := _ignored(name, value):
        labels_read.ignored.append(Refused(position, key, *ignored))
        return
    meaning, message, fix = _meaning(name, value, plain=plain)
    if meaning and labels_read.values.setdefault(meaning, value) != value:
        message = f"a second {meaning} for one service: only one route is carried out"
        fix = "declare the other route as a service of its own, by traefik_service"
    if message:
        labels_read.refused.append(Refused(position, key, message, fix))


def _ignored(name: str, value: str) -> tuple[str, str] | None:
    """Message and fix of a label that has no effect here, and can be removed safely."""
    router, transport = _ROUTER.match(name), _TRANSPORT.match(name)
    if router and name[router.end() :] == "entrypoints" and value != "websecure":
        message = f"there is no entry point {value[:60]!r}: each route is reached by HTTPS at the "
        return f"{message}gateway, and there alone", "remove the label"
    if transport and name[transport.end() :] == "insecureskipverify":
        message = "the certificate of each backend is verified, and that is never skipped"
        fix = "remove the label, and serve by a certificate of the site's CA: a stack's own is in "
        return message, f"{fix}PHOENIX_TLS_DIR"
    return None


def _meaning(name: str, value: str, *, plain: bool) -> tuple[str, str, str]:
    """What a label gives ("rule", "port", ... or nothing), or why it is refused."""
    if name == "traefik.enable":
        if value.lower() in ("true", "1"):
            return "", "", ""
        message = "turns off a route that this service declares"
        return "", message, "remove the service from `services`"
    if name == "traefik.docker.network":
        return "", "", ""  # the published port is used
    if (meaning := _of_backend(name, value, plain=plain)) is not None:
        return meaning, "", ""
    router = _ROUTER.match(name)
    setting = name[router.end() :] if router else ""
    if setting == "rule":
        if (_ONE_HOST if plain else _RULE).match(value):
            return "rule", "", ""
        message = f"the rule {value!r} is more than one Host(`NAME`): Phoenix routes full names"
        if not plain:
            message += " and beginnings of paths"
        fix = (
            "write Host(`NAME`) || Host(`OTHER`), with && PathPrefix(`/PATH`) behind it in "
            "parentheses, or traefik_service; decide on other parts of a request in the service "
            "itself"
        )
        return "", message, fix
    if setting in (*_GIVEN, "entrypoints"):
        return "", "", ""
    if setting == "middlewares" or ".middlewares." in name:
        return "", f"middlewares are not carried out: {_OPENS}", _instead(name)
    message = f"this label is not carried out: {_OPENS} or changes the route"
    return "", message, "remove it, and do the same in the service itself"


def _of_backend(name: str, value: str, *, plain: bool) -> str | None:
    """What a label of the backend gives; empty where that is so anyway, None for other labels."""
    if service := _SERVICE.match(name):
        setting = name[service.end() :]
        if setting in ("server.port", "server.scheme"):
            return setting.removeprefix("server.")
        if setting in _GIVEN_OF_SERVICE and value.lower() != "false":
            return ""
    transport = _TRANSPORT.match(name)
    named = transport and name[transport.end() :] == "servername"
    return "servername" if named and not plain else None


def _instead(name: str) -> str:
    """What to write for a middleware."""
    kind = name.partition(".middlewares.")[2].partition(".")[2].partition(".")[0]
    if kind in _MEANT:
        return f"write traefik_service, with {_MEANT[kind]}, instead of the labels"
    return "let the service itself ask who may enter, then remove the label"


def _middlewares(labels_read: _Read, path: str | None) -> tuple[tuple[str, ...], bool]:
    """The clients' networks and whether the path is stripped, by the middlewares of a route.

    A middleware that the labels do not define, or of another kind, is refused at the route.
    """
    networks: list[str] = []
    strip = False
    names = {_named(word) for _, _, value in labels_read.asked for word in value.split(",")}
    for position, key, name in labels_read.defined:
        if name not in names:
            message = f"no router of these labels asks for the middleware {name[:60]}"
            fix = "name it in the router's middlewares, or remove the label"
            labels_read.refused.append(Refused(position, key, message, fix))
    for position, key, value in labels_read.asked:
        for word in filter(None, (part.strip() for part in value.split(","))):
            known = labels_read.middlewares.get(_named(word), {})
            if _PREFIXES in known and known[_PREFIXES] == path:
                strip = True
            elif len(known) == 1 and _PREFIXES not in known:
                (text,) = known.values()
                if networks:
                    labels_read.refused.append(
                        Refused(position, key, f"a second list of networks, {word[:60]}, narrows "
                                "the first", "write one list of networks")
                    )  # fmt: skip
                networks = [part.strip() for part in text.split(",") if part.strip()]
                if not networks:
                    message = f"{word[:60]} names no network, so Traefik would admit nobody"
                    labels_read.refused.append(
                        Refused(position, key, message, "name networks, or remove the middleware")
                    )
            else:
                message = f"middlewares are not carried out: {_OPENS} ({word[:60]})"
                if _PREFIXES in known:
                    message = f"{word[:60]} strips {known[_PREFIXES][:60]}, and the path is {path}"
                labels_read.refused.append(Refused(position, key, message, _instead("")))
    return tuple(networks), strip


def _named(word: str) -> str:
    """The name of a middleware, without its provider."""
    return word.strip().partition("@")[0].lower()


def _hosts(rule: str) -> tuple[str, ...]:
    match = _RULE.match(rule)
    if match is None:
        return ()
    part = next(filter(None, map(match.group, ("hosts", "one", "group", "last", "others"))))
    return tuple(dict.fromkeys(word[1:-1] for word in _WORD.findall(part)))


def _path(rule: str) -> str | None:
    match = _RULE.match(rule)
    part = match and (match["path"] or match["first"])
    return _WORD.findall(part)[0][1:-1].rstrip("/") or None if part else None
