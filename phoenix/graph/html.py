"""The topology as one page: the picture, and what it shows as tables. Nothing from elsewhere."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from phoenix.graph import svg as graph_svg
from phoenix.graph.canvas import printable
from phoenix.graph.mermaid import mermaid
from phoenix.graph.topology import Topology

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b2430; --edge: #b6c0ca; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12171d; --ink: #e8edf2; --edge: #45525f; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 80rem; background: var(--paper);
  color: var(--ink); line-height: 1.45;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
figure { margin: 1.5rem 0; overflow-x: auto; }
svg { max-width: 100%; height: auto; min-width: 48rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .3rem 1.2rem .3rem 0; text-align: left; border-bottom: 1px solid var(--edge);
  white-space: nowrap; }
"""
_WORDS = {
    "request": "request",
    "agent": "Portainer to agent",
    "acme": "certificates (ACME)",
    "names": "names (DNS)",
}


def html(picture: Topology) -> str:
    """The page as text."""
    heading = printable(f"Topology of {picture.domain}")
    root = ET.Element("html", {"lang": "en"})
    head = ET.SubElement(root, "head")
    ET.SubElement(head, "meta", {"charset": "utf-8"})
    ET.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    ET.SubElement(
        head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    )
    ET.SubElement(head, "title").text = heading
    ET.SubElement(head, "style").text = _STYLE
    body = ET.SubElement(root, "body")
    ET.SubElement(body, "h1").text = heading
    ET.SubElement(body, "figure").append(graph_svg.draw(picture))
    _table(body, "Machines", ("name", "what", "runs"), _machines(picture))
    _table(body, "Connections", ("what", "from", "to", "by", "verified"), _links(picture))
    details = ET.SubElement(body, "details")
    ET.SubElement(details, "summary").text = "The same as Mermaid"
    ET.SubElement(details, "pre").text = mermaid(picture)
    return "<!doctype html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def _machines(picture: Topology) -> Iterable[tuple[str, ...]]:
    for box in picture.boxes:
        runs = ", ".join(item.name for item in box.items)
        yield box.name, ", ".join(box.about), runs


def _links(picture: Topology) -> Iterable[tuple[str, ...]]:
    kinds = list(_WORDS)
    for link in sorted(picture.links, key=lambda link: kinds.index(link.kind)):
        ends = (picture.title(link.source), picture.title(link.target))
        proof = link.verified or link.proof
        yield _WORDS[link.kind], *ends, f"{link.protocol} {link.port}", proof


def _table(
    body: ET.Element, title: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> None:
    ET.SubElement(body, "h2").text = title
    table = ET.SubElement(ET.SubElement(body, "div", {"class": "scroll"}), "table")
    line = ET.SubElement(ET.SubElement(table, "thead"), "tr")
    for words in heads:
        ET.SubElement(line, "th", {"scope": "col"}).text = words
    lines = ET.SubElement(table, "tbody")
    for row in rows:
        line = ET.SubElement(lines, "tr")
        for words in row:
            ET.SubElement(line, "td").text = printable(words)
