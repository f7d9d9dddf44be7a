"""The topology as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html)."""

from __future__ import annotations

from phoenix.graph.topology import CLIENT, Item, Link, Topology, short

_ARROWS = {"request": "==>", "names": "-.->", "acme": "-.->", "agent": "-->"}


def mermaid(picture: Topology) -> str:
    """The picture as a Mermaid flowchart: guests as subgraphs, their stacks as ones in them.

    That every guest asks the name server is said once, on the clients' line.
    """
    lines = ["flowchart LR"]
    for box in picture.boxes:
        title = _text("\n".join((box.name, *box.about)))
        if not box.items:
            lines.append(f"    {_id(box.id)}[{title}]")
            continue
        lines.append(f"    subgraph {_id(box.id)}[{title}]")
        for stack in dict.fromkeys(item.stack for item in box.items):
            indent = " " * (12 if stack else 8)
            if stack:
                lines.append(f"        subgraph {_id(f'{box.id}-{stack}')}[{_text(stack)}]")
            lines += [
                f"{indent}{_id(item.id)}([{_text(_label(item))}])"
                for item in box.items
                if item.stack == stack
            ]
            if stack:
                lines.append("        end")
        lines.append("    end")
    for link in picture.links:
        if link.kind == "names" and link.source != CLIENT:
            continue
        label = _text(_says(link, picture.domain))
        lines.append(f"    {_id(link.source)} {_ARROWS[link.kind]}|{label}| {_id(link.target)}")
    return "\n".join(lines) + "\n"


def _says(link: Link, domain: str) -> str:
    if link.kind == "names":
        return "names\n(every guest asks too)"
    if link.kind == "acme":
        return "ACME"
    if link.kind == "agent":
        return f"{link.protocol} {link.port}\nboth ends verified"
    proof = f"verified: {short(link.verified, domain)}" if link.verified else link.proof
    return f"{link.protocol} {link.port}\n{proof}"


def _label(item: Item) -> str:
    return "\n".join(filter(None, (item.name, item.where, item.about)))


def _id(name: str) -> str:
    """An id of letters, digits and underscores: nothing that Mermaid parses."""
    plain = (c if c == "-" or (c.isascii() and c.isalnum()) else f"_{ord(c):x}_" for c in name)
    return "".join(plain).replace("-", "_")


def _text(label: str) -> str:
    """A quoted label: entities for what Mermaid or HTML would read, `<br>` for line ends."""
    safe = "".join(c if c.isalnum() or c in " .,:-_/·()\n" else f"#{ord(c)};" for c in label)
    return '"' + safe.replace("\n", "<br>") + '"'
