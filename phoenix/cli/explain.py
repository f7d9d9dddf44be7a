"""`phoenix explain`: how one name travels, and the line of JSON that declares it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from phoenix.cli import complete, declared, exits, output
from phoenix.cli.declared import Declared
from phoenix.declaration import positions
from phoenix.explain.build import explain as explained
from phoenix.explain.model import Backend, Certificate, Explanation, Gateway, Nowhere, Router
from phoenix.site.model import Source

_MOST = 16
"""Flows and checks that are told to a person; JSON has all."""
_LONGEST = 160
"""Characters of a declaration that are shown whole; of a longer one its first line."""


class Line(BaseModel):
    """The line that declares something; `text` is as it stands in the file."""

    file: str
    path: str
    line: int
    text: str


class Answer(BaseModel):
    """What `phoenix explain` gives as JSON: `found` or, where the name leads nowhere, `nowhere`."""

    found: Explanation | None = None
    nowhere: Nowhere | None = None
    line: Line | None = None


NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A service, URL, guest, component, stack, or any internal DNS name.",
        autocompletion=complete.names,
        show_default=False,
    ),
]


def explain(
    name: NameArgument,
    inventory: declared.InventoryOption = output.DEFAULT_INVENTORY,
    as_json: output.JsonOption = False,
) -> None:
    """Explain a name: DNS, gateway, router, backend, certificates, flows, and who declares it.

    Examples:
      phoenix explain qdrant           a service, from the client to its container
      phoenix explain 1002             a guest: its names, certificates, flows
      phoenix explain https://app.internal.thinkheads.ai/health
      phoenix explain ca --json

    Exit code: 0 the name is explained, 1 it leads nowhere (what would happen, and near names).
    """
    found = declared.read(inventory)
    result = explained(found.sound(), name)
    if isinstance(result, Nowhere):
        answer = Answer(nowhere=result)
        output.emit(as_json, answer, lambda console: tell_nowhere(console, result))
        raise typer.Exit(exits.ERROR)
    answer = Answer(found=result, line=line_of(found, result.declared))
    output.emit(as_json, answer, lambda console: tell(console, result, answer.line))


def line_of(found: Declared, places: Iterable[Source]) -> Line | None:
    """The first of `places` that stands in its file, else what is around the first one."""
    tried = list(places)
    for exact in (True, False):
        for place in tried:
            file = found.file(place.file)
            lines = positions.lines(file)
            number = positions.line_of(lines, place.path)
            if number is None or (exact and place.path not in lines):
                continue
            text = file.read_text(encoding="utf-8")
            shown = positions.json_text(text, place.path) if exact else ""
            if not shown or len(shown) > _LONGEST:
                shown = text.split("\n")[number - 1].strip()
            return Line(file=place.file, path=place.path, line=number, text=shown)
    return None


def tell(console: Console, found: Explanation, line: Line | None) -> None:
    """The explanation for a person, as a tree in the order of the way."""
    title = Text(found.name, style="bold")
    title.append(f"  {found.title}", style="dim")
    tree = Tree(title, guide_style="dim")
    for fact in found.facts:
        tree.add(Text(fact))
    _add(tree, "DNS", (f"{one.name} is {one.address}  ({one.why})" for one in found.records))
    _add(tree, "gateway", _gateway(found.gateway) if found.gateway else ())
    _add(tree, "router", _router(found.router) if found.router else ())
    _add(tree, "backend", _backend(found.backend) if found.backend else ())
    _add(tree, "certificates", map(_certificate, found.certificates))
    _add(tree, "flows", (f"{f.source} to {f.destination}, {f.what}  ({f.why})"
                         for f in found.flows))  # fmt: skip
    _add(tree, "checks", found.checks)
    _add(tree, "declared", _declared(line) if line else ())
    if found.see_also:
        tree.add(Text(f"see also: {', '.join(found.see_also)}", style="dim"))
    console.print(tree, soft_wrap=False)


def _gateway(one: Gateway) -> Iterator[str]:
    yield f"{one.host}, {one.address}:{one.port}, by this name in SNI"
    yield f"hands over to {one.proxy}, {one.proxy_address}, verified as {one.proxy_verified}"


def _router(one: Router) -> Iterator[str]:
    yield f"{one.name}@file in Traefik: {one.rule}, to {one.target}"
    if one.middlewares:
        yield f"through {', '.join(one.middlewares)}"


def _backend(one: Backend) -> Iterator[str]:
    ways = {
        "verified": f"verified as {one.verified}",
        "signed": "TLS, requests signed with a shared secret",
        "plain": "in plain text",
    }
    yield f"{one.url} on {one.host}, {ways[one.transport]}"
    yield f"health: {one.health}"
    if one.stack:
        yield f"stack {one.stack}"


def _declared(line: Line) -> Iterator[str]:
    yield f"{line.file}, line {line.line}: {line.text}"
    yield f"path {line.path}"


def _certificate(one: Certificate) -> str:
    names = ", ".join(one.names[:3]) + (f" and {len(one.names) - 3} more" if one.names[3:] else "")
    place = f", in {one.place}" if one.place else ""
    return f"{one.host}: {names}  ({one.how}{place})"


def _add(tree: Tree, title: str, lines: Iterable[str]) -> None:
    told = list(lines)
    if not told:
        return
    branch = tree.add(Text(title, style="cyan"))
    for one in told[:_MOST]:
        branch.add(Text(one))
    if told[_MOST:]:
        branch.add(Text(f"and {len(told) - _MOST} more, all by --json", style="dim"))


def tell_nowhere(console: Console, nowhere: Nowhere) -> None:
    """A name that leads nowhere: what happens to who asks, and what was perhaps meant."""
    console.print(Text(f"{nowhere.name} leads nowhere", style="bold red"))
    for line in nowhere.happens:
        console.print(Text(f"  {line}"))
    if nowhere.near:
        console.print(Text(f"did you mean {', '.join(nowhere.near)}?"))
