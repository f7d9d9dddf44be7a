"""A person's own sites of Nginx on the gateway's guest: which there are, and whether they can stay.

What a file may say beside the site's own servers follows from how nginx chooses a server: by
address and port first, then by name (https://nginx.org/en/docs/http/request_processing.html).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from phoenix.components.answers import unexpected
from phoenix.components.nginx.nginx_conf import CONFIG
from phoenix.site.findings import visible
from phoenix.site.ports import HTTP, HTTPS

PATTERNS = ("/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*")
"""What Debian's and Ubuntu's nginx.conf reads in `http`."""

_PATH = re.compile(r"/etc/nginx/(?:conf\.d|sites-enabled)/[A-Za-z0-9_][A-Za-z0-9_.~-]*")
_EVERY = frozenset({"", "*", "0.0.0.0"})  # noqa: S104  # as nginx writes every address
_HARMLESS = frozenset({
    "server", "upstream", "map", "geo", "split_clients", "match", "log_format", "limit_req_zone",
    "limit_conn_zone", "proxy_cache_path", "fastcgi_cache_path", "uwsgi_cache_path",
    "scgi_cache_path",
})  # fmt: skip
"""Directives of `http` that change nothing for servers that do not name what they declare."""


class SitesError(ValueError):
    """A host's answer is not of the expected form."""


@dataclass(frozen=True)
class Listen:
    """One `listen`: an address (empty for every one), a port, and its further words."""

    address: str
    port: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class OwnServer:
    """One server block of a file."""

    listens: tuple[Listen, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class OwnSite:
    """A file with a person's own servers; `top` are its directives outside of blocks, by name.

    `is_read`: the configuration that is in force reads it.
    """

    path: str
    is_read: bool
    top: tuple[str, ...] = ()
    servers: tuple[OwnServer, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that it answers to."""
        return tuple(dict.fromkeys(name for server in self.servers for name in server.names))

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port on which it answers, beside those of the gateway."""
        numbers = {listen.port for server in self.servers for listen in server.listens}
        return tuple(sorted(numbers - {HTTP, HTTPS}))

    @property
    def include(self) -> str:
        """The line that has nginx read it: a pattern, so nginx starts where it was taken away."""
        return f"include {self.path[:-1]}[{self.path[-1]}];"


def parse(lines: Iterable[str]) -> tuple[OwnSite, ...]:
    """What a host answers to `sites.sh`.

    Raises:
        SitesError: a line is of another form.
    """
    read: dict[str, bool] = {}
    top: dict[str, list[str]] = {}
    servers: dict[str, list[list[list[str]]]] = {}
    for line in filter(None, lines):
        match line.split("\t"):
            case ["site", path, ("read" | "") as word]:
                read[path] = bool(word)
            case ["in", path, "top", name] if path in read:
                top.setdefault(path, []).append(name)
            case ["in", path, "server"] if path in read:
                servers.setdefault(path, []).append([])
            case ["in", path, "said", words] if servers.get(path):
                servers[path][-1].append(words.split(" "))
            case _:
                raise SitesError(unexpected(line))
    return tuple(
        OwnSite(
            path,
            word,
            tuple(dict.fromkeys(top.get(path, ()))),
            tuple(_server(directives) for directives in servers.get(path, ())),
        )
        for path, word in read.items()
    )


def _server(directives: Iterable[list[str]]) -> OwnServer:
    """A server without `listen` has port 80 (ngx_http_core_module, listen)."""
    listens: list[Listen] = []
    names: list[str] = []
    for name, *words in directives:
        if name == "server_name":
            names += [word.lower().removesuffix(".") for word in words]
        elif words and (listen := _listen(words)) is not None:
            listens.append(listen)
    return OwnServer(tuple(listens) or (Listen("", HTTP, ()),), tuple(names))


def _listen(words: list[str]) -> Listen | None:
    """None for a socket of the file system."""
    end, *more = words
    if end.startswith("unix:"):
        return None
    if end.isdigit():
        address, port = "", int(end)
    else:
        before, colon, behind = end.rpartition(":")
        has_port = colon and behind.isdigit() and not (before.startswith("[") and before[-1] != "]")
        address, port = (before, int(behind)) if has_port else (end, HTTP)
    return Listen("" if address in _EVERY else address, port, tuple(more))


def considered(sites: Iterable[OwnSite], *, are_kept: bool) -> tuple[OwnSite, ...]:
    """The sites to decide about: all if they are kept, else those that Nginx reads now.

    Empty files do not count. Where no file has a server, nothing is to be decided.
    """
    relevant = [site for site in sites if (are_kept or site.is_read) and (site.top or site.servers)]
    return tuple(relevant) if any(site.servers for site in relevant) else ()


def faults(site: OwnSite, names: Collection[str]) -> Iterator[str]:
    """Why a file cannot be read beside the site's own servers, each with the fix.

    Args:
        site: the file.
        names: those that the gateway answers to.
    """
    where = visible(site.path)
    if site.path == CONFIG:
        yield (
            f"{where} has servers of its own, and Phoenix takes its place: move each server block "
            "of it, and what it uses, into a file in /etc/nginx/conf.d, and run again"
        )
        return
    if _PATH.fullmatch(site.path) is None:
        yield f"{where}: rename it to a name of letters, digits, dots and hyphens, and run again"
    if widely := [name for name in site.top if name not in _HARMLESS]:
        yield (
            f"{where} says {', '.join(map(visible, widely))} outside of a server block, which "
            "would hold for the site's own names too: move it into each server block of the file, "
            "or take it out, and run again"
        )
    for server in site.servers:
        on_ours = [each for each in server.listens if each.port in (HTTP, HTTPS)]
        if on_ours and (claimed := [name for name in server.names if name in names]):
            yield (
                f"{where} claims {', '.join(map(visible, claimed))}, which the site serves: take "
                "the name out of its server_name, or out of the site's declaration, and run again"
            )
        for each in on_ours:
            yield from (f"{where} {fault}, and run again" for fault in _listen_faults(each))


def _listen_faults(listen: Listen) -> Iterator[str]:
    port = listen.port
    if not listen.address and {"default_server", "default"} & set(listen.words):
        yield (
            f"is the default_server of port {port}, where the site refuses names that nobody "
            f"declared: take the word default_server out of its `listen`"
        )
    if listen.address and not listen.address.startswith(("127.", "[", "localhost")):
        yield (
            f"listens on {visible(listen.address)}:{port}, and nginx would give it every request "
            f"to that address, the site's too: write `listen {port}`"
        )
    if "proxy_protocol" in listen.words and not listen.address:
        yield (
            f"expects the PROXY protocol on port {port}, which would hold for the site's own names "
            "too: take proxy_protocol out of its `listen`"
        )
