"""What `phoenix explain` shows: how one name travels, and the line of JSON that declares it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from phoenix.cli.offline import Declared
from phoenix.declaration import positions
from phoenix.explain.model import Backend, Certificate, Explanation, Gateway, Router, UnknownName
from phoenix.site import suggestions
from phoenix.site.model import Source

_MAX_ROWS = 16
"""So many flows and checks are shown to a person; JSON has all."""
_LONGEST = 160
"""Characters of a declaration that are shown whole; of a longer one its first line."""


class Line(BaseModel):
    """The line that declares something; `text` is as it stands in the file."""

    file: str
    path: str
    line: int
    text: str


class Answer(BaseModel):
    """What `phoenix explain` gives as JSON: `explanation`, or `unknown` if nothing has the name."""

    explanation: Explanation | None = None
    unknown: UnknownName | None = None
    line: Line | None = None


def line_of(project: Declared, places: Iterable[Source]) -> Line | None:
    """The first of `places` that exists in its file, else what surrounds the first one."""
    tried = list(places)
    for exact in (True, False):
        for place in tried:
            file = project.file(place.file)
            lines = positions.lines(file)
            number = positions.line_of(lines, place.path)
            if number is None or (exact and place.path not in lines):
                continue
            text = file.read_text(encoding="utf-8")
            excerpt = positions.json_text(text, place.path) if exact else ""
            if not excerpt or len(excerpt) > _LONGEST:
                excerpt = text.split("\n")[number - 1].strip()
            return Line(file=place.file, path=place.path, line=number, text=excerpt)
    return None


def print_explanation(console: Console, result: Explanation, line: Line | None) -> None:
    """The explanation for a person, as a tree in the order of the way."""
    title = Text(result.name, style="bold")
    title.append(f"  {result.title}", style="dim")
    tree = Tree(title, guide_style="dim")
    for fact in result.facts:
        tree.add(Text(fact))
    _add(
        tree,
        "DNS",
        (f"{record.name} is {record.address}  ({record.why})" for record in result.records),
    )
    _add(tree, "gateway", _gateway(result.gateway) if result.gateway else ())
    _add(tree, "router", _router(result.router) if result.router else ())
    _add(tree, "backend", _backend(result.backend) if result.backend else ())
    _add(
        tree,
        "certificates",
        (_certificate(certificate, result.name) for certificate in result.certificates),
    )
    _add(tree, "flows", (f"{flow.source} to {flow.destination}, {flow.what}  ({flow.why})"
                         for flow in result.flows))  # fmt: skip
    _add(tree, "checks", result.checks)
    _add(tree, "declared", _declared(line) if line else ())
    if result.see_also:
        tree.add(Text(f"see also: {', '.join(result.see_also)}", style="dim"))
    console.print(tree, soft_wrap=False)


def _gateway(gateway: Gateway) -> Iterator[str]:
    yield f"{gateway.host}, {gateway.address}:{gateway.port}, by this name in SNI"
    proxy = f"{gateway.proxy}, {gateway.proxy_address}, verified as {gateway.proxy_verified}"
    yield f"hands over to {proxy}"
    yield from gateway.further


def _router(router: Router) -> Iterator[str]:
    yield f"{router.name}@file in Traefik: {router.rule}, to {router.target}"
    if router.middlewares:
        yield f"middlewares: {', '.join(router.middlewares)}"


def _backend(backend: Backend) -> Iterator[str]:
    ways = {
        "verified": f"verified as {backend.verified}",
        "pinned": "proven by the SHA-256 of its certificate",
        "mutual": f"verified as {backend.verified}, and Portainer's guest by its own certificate",
        "plain": "in plain text",
    }
    yield f"{backend.url} on {backend.host}, {ways[backend.transport]}"
    yield f"health: {backend.health}"
    if backend.stack:
        yield f"stack {backend.stack}"


def _declared(line: Line) -> Iterator[str]:
    yield f"{line.file}, line {line.line}: {line.text}"
    yield f"path {line.path}"


def _certificate(certificate: Certificate, explained: str) -> str:
    """A certificate with its first names; the name that is explained goes first."""
    own = sorted(certificate.names, key=lambda name: name != explained)
    names = ", ".join(own[:3]) + (f" and {len(own) - 3} more" if own[3:] else "")
    place = f", in {certificate.place}" if certificate.place else ""
    return f"{certificate.host}: {names}  ({certificate.how}{place})"


def _add(tree: Tree, title: str, lines: Iterable[str]) -> None:
    rows = list(lines)
    if not rows:
        return
    branch = tree.add(Text(title, style="cyan"))
    for line in rows[:_MAX_ROWS]:
        branch.add(Text(line))
    if rows[_MAX_ROWS:]:
        branch.add(Text(f"and {len(rows) - _MAX_ROWS} more, all by --json", style="dim"))


def print_unknown(console: Console, unknown: UnknownName) -> None:
    """A name that nothing has: what happens to a request for it, and near names that exist."""
    name = f"the name {unknown.name}" if unknown.name else "an empty name"
    console.print(Text(f"nothing here has {name}", style="bold red"))
    for line in unknown.happens:
        console.print(Text(f"  {line}"))
    if unknown.near:
        console.print(Text(suggestions.sentence(unknown.near)))
