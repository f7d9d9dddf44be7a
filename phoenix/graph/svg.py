"""The topology as one SVG without any reference to the outside: fixed columns, no layout engine.

Columns: clients, gateway, proxy, guests. The name server is a bar above them, the CA one below.
Text is measured by estimate, on the safe side, so that the picture is the same everywhere.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from itertools import chain

from phoenix.graph.canvas import (
    FONT,
    LINE,
    LINKS,
    PAD,
    Canvas,
    Place,
    dark_style,
    height_of,
    measured_bold,
    number,
    path,
    printable,
    shape_class,
    text_width,
    width_of,
)
from phoenix.graph.topology import CLIENT, Box, Link, Topology

MARGIN, TITLE = 20, 21
BOX_GAP, GAP, LANE, BAR, RISE, LEAST = 16, 96, 16, 56, 40, 560

_LEGEND = (
    ("request", "requests by TLS, names verified"),
    ("plain", "requests not encrypted by the site"),
    ("agent", "Portainer to its agents: TLS, both ends verified"),
    ("acme", "certificates, by ACME"),
    ("names", "names, by DNS"),
)


@dataclass
class _Layout:
    """Where everything is. `chain` are the columns on a request's way: clients, gateways, proxies.

    `frame` is around the guests, None if there are none.
    """

    places: dict[str, Place]
    chain: list[list[Box]]
    frame: Place | None
    right: float
    bottom: float


def _layout(picture: Topology) -> _Layout:
    columns = (picture.at("client"), picture.at("gateway"), picture.at("proxy"))
    chained = [list(column) for column in columns if column]
    guests = picture.at("guest")
    top = MARGIN + TITLE + (BAR + RISE if picture.at("dns") else 0)
    inner = max((width_of(box) for box in guests), default=0)
    stack = sum(height_of(box) + BOX_GAP for box in guests) + BOX_GAP
    heights = [sum(height_of(box) + BOX_GAP for box in column) - BOX_GAP for column in chained]
    body = max(stack, *heights)
    places: dict[str, Place] = {}
    x = float(MARGIN)
    for column, height in zip(chained, heights, strict=True):
        y, width = top + (body - height) / 2, max(width_of(box) for box in column)
        for box in column:
            places[box.id] = Place(x, y, width, height_of(box))
            y += height_of(box) + BOX_GAP
        x += width + GAP
    if not guests:
        return _Layout(places, chained, None, x - GAP, top + body)
    lane = LANE if any(link.kind == "agent" for link in picture.links) else 0
    frame = Place(x, top + (body - stack) / 2, inner + 2 * BOX_GAP + lane, stack)
    y = frame.y + BOX_GAP
    for box in guests:
        places[box.id] = Place(x + BOX_GAP, y, inner, height_of(box))
        y += height_of(box) + BOX_GAP
    return _Layout(places, chained, frame, frame.right, top + body)


def draw(picture: Topology) -> ET.Element:
    """The picture as an <svg> element."""
    layout, canvas = _layout(picture), Canvas(picture.domain)
    for box in (*chain.from_iterable(layout.chain), *picture.at("guest")):
        canvas.box(box, layout.places[box.id])
    if layout.frame:
        canvas.rectangle(layout.frame, "frame", "guests", 12)
    _chain(canvas, picture, layout)
    _fan(canvas, picture, layout)
    _agents(canvas, picture, layout)
    _direct(canvas, picture, layout)
    _name_server(canvas, picture, layout)
    _authority(canvas, picture, layout)
    low = _legend(canvas, picture, layout)
    return _document(canvas, picture, max(layout.right, LEAST) + MARGIN, low + MARGIN)


def svg(picture: Topology) -> str:
    """The picture as an SVG file."""
    root = draw(picture)
    root.set("xmlns", "http://www.w3.org/2000/svg")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _document(canvas: Canvas, picture: Topology, width: float, height: float) -> ET.Element:
    title = f"Topology of {picture.domain}"
    root = ET.Element("svg", {
        "class": "topology", "viewBox": path(0, 0, width, height), "width": number(width),
        "height": number(height), "role": "img", "aria-labelledby": "topology-title topology-desc",
        "font-family": FONT,
    })  # fmt: skip
    ET.SubElement(root, "title", {"id": "topology-title"}).text = printable(title)
    ET.SubElement(root, "desc", {"id": "topology-desc"}).text = printable(description(picture))
    ET.SubElement(root, "style").text = dark_style()
    defs = ET.SubElement(root, "defs")
    for kind in LINKS:
        head = ET.SubElement(defs, "marker", {
            "id": f"head-{kind}", "viewBox": "0 0 8 8", "refX": "8", "refY": "4",
            "markerWidth": "8", "markerHeight": "8", "markerUnits": "userSpaceOnUse",
            "orient": "auto",
        })  # fmt: skip
        ET.SubElement(head, "path", {**shape_class(f"head-{kind}"), "d": "M0 0 L8 4 L0 8 z"})
    ET.SubElement(root, "rect", {**shape_class("paper"), "width": "100%", "height": "100%"})
    root.extend(_beneath(canvas))
    return root


def _beneath(canvas: Canvas) -> list[ET.Element]:
    """Boxes, then the lines that end in their rows, then rows and text on top."""
    large = [element for element in canvas.boxes if element.get("class") in ("box", "frame")]
    others = [element for element in canvas.boxes if element.get("class") not in ("box", "frame")]
    return [*large, *canvas.links, *others]


def description(picture: Topology) -> str:
    """The picture in words, for those who do not see it."""
    sentences = [f"{box.name}: {', '.join(box.about)}." for box in picture.boxes]
    for link in picture.links:
        if link.kind == "request":
            ends = (picture.title(link.source), picture.title(link.target))
            sentences.append(f"{ends[0]} to {ends[1]}: {link.protocol} {link.port}, {link.proof}.")
    return " ".join(sentences)


def _name_server(canvas: Canvas, picture: Topology, layout: _Layout) -> None:
    """The bar on top, below the title; every column asks it."""
    canvas.text(MARGIN, MARGIN + 10, picture.domain, "name")
    x = MARGIN + measured_bold(picture.domain) + 14
    canvas.text(x, MARGIN + 10, "names are shown without it", "soft")
    for box in picture.at("dns"):
        place = Place(MARGIN, MARGIN + TITLE, layout.right - MARGIN, BAR)
        _bar(canvas, box, place, "asked by clients and every host")
        columns = [layout.places[column[0].id] for column in layout.chain]
        for column in (*columns, *([layout.frame] if layout.frame else [])):
            line = path("M", column.centre, column.y, "V", place.bottom)
            canvas.link("names", line, "names, by DNS")


def _authority(canvas: Canvas, picture: Topology, layout: _Layout) -> None:
    """The bar below, and lines to it from those that get certificates there."""
    for box in picture.at("ca"):
        left_edge = layout.places[layout.chain[1][0].id].x if layout.chain[1:] else MARGIN
        place = Place(left_edge, layout.bottom + RISE, layout.right - left_edge, BAR)
        _bar(canvas, box, place, *(f"{item.name} {item.scheme} {item.port}" for item in box.items))
        askers = {link.source for link in picture.links if link.kind == "acme"}
        ends = [
            layout.places[column[-1].id]
            for column in layout.chain
            if askers & {box.id for box in column}
        ]
        if layout.frame and askers & {guest.id for guest in picture.at("guest")}:
            ends.append(layout.frame)
        for end in ends:
            line = path("M", end.centre, end.bottom, "V", place.y)
            canvas.link("acme", line, "certificates, by ACME")
        layout.bottom = place.bottom


def _bar(canvas: Canvas, box: Box, place: Place, *more: str) -> None:
    details = ", ".join((*box.about, *more))
    canvas.rectangle(place, "box", f"{box.name}: {details}")
    canvas.text(place.x + PAD, place.y + 24, box.name, "name")
    canvas.text(place.x + PAD, place.y + 42, details, "soft")


def _chain(canvas: Canvas, picture: Topology, layout: _Layout) -> None:
    """Clients to gateway to proxy, labelled above and below the line."""
    places = layout.places
    for link in picture.links:
        if link.kind != "request" or link.source not in places or link.target not in places:
            continue
        source, other = places[link.source], places[link.target]
        title = f"{link.protocol} {link.port}, verified: {link.verified}"
        x = (source.right + other.x) / 2
        way: tuple[str | float, ...] = ("H", other.x)
        above, below = -9, 19
        if source.middle != other.middle:
            way = ("C", x, source.middle, x, other.middle, other.x, other.middle)
            above, below = (-25, -9) if other.middle < source.middle else (19, 35)
        canvas.link("request", path("M", source.right, source.middle, *way), title)
        canvas.text(x, other.middle + above, f"{link.protocol} {link.port}", "soft", "middle")
        canvas.text(x, other.middle + below, "verified", "soft", "middle")


def _fan(canvas: Canvas, picture: Topology, layout: _Layout) -> None:
    """The proxy to each service, as a fan of curves; a service's row says which port and name."""
    for link in picture.links:
        row = canvas.rows.get(link.target)
        if link.kind != "request" or row is None or link.source == CLIENT:
            continue
        start = layout.places[link.source]
        x, y, half = start.right, start.middle, (start.right + row.x) / 2
        line = path("M", x, y, "C", half, y, half, row.middle, row.x, row.middle)
        canvas.link(_kind(link), line, _label(link))


def _agents(canvas: Canvas, picture: Topology, layout: _Layout) -> None:
    """Portainer to its agents, along a lane of their own at the right of the guests."""
    for link in picture.links:
        row = canvas.rows.get(link.target)
        if link.kind == "agent" and row is not None:
            start = layout.places[link.source]
            lane = start.right + LANE
            line = path("M", start.right, start.y + 24, "H", lane, "V", row.middle, "H", row.right)
            title = (
                f"{link.protocol} {link.port}, both ends verified, the agent's as {link.verified}"
            )
            canvas.link("agent", line, title)


def _direct(canvas: Canvas, picture: Topology, layout: _Layout) -> None:
    """Clients to services past the gateway: below everything, and up at the guests' right."""
    links = [
        link
        for link in picture.links
        if link.kind == "request" and link.source == CLIENT and link.target in canvas.rows
    ]
    if not links:
        return
    start, low, lane = layout.places[CLIENT], layout.bottom + LANE / 2, layout.right + LANE - 4
    for link in links:
        row = canvas.rows[link.target]
        line = path("M", start.centre, start.bottom, "V", low, "H", lane, "V", row.middle,
                    "H", row.right)  # fmt: skip
        canvas.link(_kind(link), line, f"clients, directly: {_label(link)}")
    layout.right += LANE
    layout.bottom += LANE


def _kind(link: Link) -> str:
    return "request" if link.verified else "plain"


def _label(link: Link) -> str:
    return f"{link.protocol} {link.port}, {link.proof}"


def _legend(canvas: Canvas, picture: Topology, layout: _Layout) -> float:
    """What the lines mean, below everything; gives the base line of its last row."""
    x, y = float(MARGIN), layout.bottom + 28
    used = {_kind(link) if link.kind == "request" else link.kind for link in picture.links}
    for kind, words in _LEGEND:
        if kind not in used:
            continue
        width = 36 + text_width(words) + 14
        if x > MARGIN and x + width > max(layout.right, LEAST):
            x, y = float(MARGIN), y + LINE + 4
        canvas.link(kind, path("M", x, y - 4, "h", 28), words)
        canvas.text(x + 36, y, words, "soft")
        x += width
    return y
