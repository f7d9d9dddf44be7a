"""What an SVG of the topology is made of: colours, boxes with text, lines with arrows.

Text is measured by estimate, on the safe side, so that the picture is the same everywhere. All
text goes through an XML writer, which escapes it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from phoenix.graph.topology import Box, Item

PAD, LINE = 12, 18
ROW, ROW_GAP = 44, 8
LONGEST = 34
_NARROW, _WIDE = "ijlt.,:;|'fr-·() ", "mwMW@%"

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'
LINKS = ("request", "plain", "acme", "names", "agent")
_COLOURS = {  # name: on light paper, on dark paper
    "paper": ("#ffffff", "#12171d"), "ink": ("#1b2430", "#e8edf2"), "soft": ("#57636f", "#a3b0bd"),
    "box": ("#f2f5f8", "#1c242d"), "edge": ("#b6c0ca", "#45525f"),
    "request": ("#0b6bcb", "#6cb6ff"), "plain": ("#b3261e", "#ff8a80"),
    "acme": ("#8a5a00", "#e0b050"), "names": ("#4d6b57", "#8fc7a3"),
    "agent": ("#7a3e9d", "#cf9bea"),
}  # fmt: skip
_LOOK: dict[str, dict[str, str]] = {  # class: attributes; a colour by its name
    "paper": {"fill": "paper"},
    "name": {"fill": "ink", "font-size": "14", "font-weight": "600"},
    "soft": {"fill": "soft", "font-size": "12"},
    "box": {"fill": "box", "stroke": "edge"},
    "frame": {"fill": "none", "stroke": "edge", "stroke-dasharray": "2 4"},
    "row": {"fill": "paper", "stroke": "edge"},
    "request": {"fill": "none", "stroke": "request", "stroke-width": "2"},
    "plain": {"fill": "none", "stroke": "plain", "stroke-width": "2", "stroke-dasharray": "7 3"},
    "acme": {"fill": "none", "stroke": "acme", "stroke-width": "1.4", "stroke-dasharray": "6 4"},
    "names": {"fill": "none", "stroke": "names", "stroke-width": "1.4", "stroke-dasharray": "2 3"},
    "agent": {"fill": "none", "stroke": "agent", "stroke-width": "1.4"},
    **{f"head-{kind}": {"fill": kind} for kind in LINKS},
}


def shape_class(kind: str) -> dict[str, str]:
    """The class of a shape, and how it looks on light paper.

    Attributes, since not every renderer knows CSS (librsvg and Inkscape know a part, without
    variables); `dark` is for those that do.
    """
    light = {key: _COLOURS[word][0] if word in _COLOURS else word
             for key, word in _LOOK[kind].items()}  # fmt: skip
    return {"class": kind, **light}


def dark_style() -> str:
    """The style sheet that changes the colours where dark paper is asked for."""
    rules = []
    for kind, attributes in _LOOK.items():
        colours = [f"{key}: {_COLOURS[word][1]}" for key, word in attributes.items()
                   if word in _COLOURS]  # fmt: skip
        rules.append(f".topology .{kind} {{ {'; '.join(colours)} }}")
    return "\n@media (prefers-color-scheme: dark) {\n" + "\n".join(rules) + "\n}\n"


@dataclass
class Place:
    """Where a box is: left, top, width, height, in pixels."""

    x: float
    y: float
    w: float
    h: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x + self.w

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.h

    @property
    def middle(self) -> float:
        """Half way down."""
        return self.y + self.h / 2

    @property
    def centre(self) -> float:
        """Half way across."""
        return self.x + self.w / 2


@dataclass
class Canvas:
    """What is drawn: links below boxes, so that no line ever crosses text."""

    domain: str
    links: list[ET.Element] = field(default_factory=list)
    boxes: list[ET.Element] = field(default_factory=list)
    rows: dict[str, Place] = field(default_factory=dict)

    def link(self, kind: str, path: str, title: str) -> None:
        """A line with an arrow at its end."""
        element = ET.Element(
            "path", {**shape_class(kind), "d": path, "marker-end": f"url(#head-{kind})"}
        )
        ET.SubElement(element, "title").text = printable(title)
        self.links.append(element)

    def rectangle(self, place: Place, kind: str, title: str, radius: int = 8) -> None:
        """A rounded rectangle."""
        element = ET.Element("rect", {
            **shape_class(kind), "x": number(place.x), "y": number(place.y),
            "width": number(place.w), "height": number(place.h), "rx": str(radius),
        })  # fmt: skip
        ET.SubElement(element, "title").text = printable(title)
        self.boxes.append(element)

    def text(self, x: float, y: float, content: str, kind: str, anchor: str = "start") -> None:
        """One line of text; `y` is its base line."""
        element = ET.Element("text", {**shape_class(kind), "x": number(x), "y": number(y),
                                   "text-anchor": anchor})  # fmt: skip
        element.text = printable(content)
        self.boxes.append(element)

    def box(self, box: Box, place: Place) -> None:
        """A machine with its lines and what runs on it."""
        self.rectangle(place, "box", f"{box.name}: {', '.join(box.about)}")
        y = place.y + PAD + 12
        self.text(place.x + PAD, y, shortened(box.name), "name")
        for line in box.about:
            y += LINE
            self.text(place.x + PAD, y, shortened(line), "soft")
        y += PAD
        for item in ordered(box):
            self.item(item, Place(place.x + PAD, y, place.w - 2 * PAD, ROW))
            y += ROW + ROW_GAP

    def item(self, item: Item, place: Place) -> None:
        """A service or stack, as a row in its box."""
        self.rows[item.id] = place
        proof = f"; its certificate proves {item.proof}" if item.proof else ""
        notes = item.notes(self.domain)
        self.rectangle(place, "row", f"{item.name}: {notes}{proof}", 6)
        self.text(place.x + 10, place.y + 18, shortened(item.name), "name")
        if item.port:
            self.text(place.right - 10, place.y + 18, item.where, "soft", "end")
        self.text(place.x + 10, place.y + 35, shortened(notes), "soft")


def ordered(box: Box) -> list[Item]:
    """Routed services first, the agent last: lines then do not cross in the box."""
    return sorted(box.items, key=lambda item: (item.kind == "agent", item.kind == "stack"))


def width_of(box: Box) -> float:
    """How wide a box must be for all its text, in pixels."""
    widest = max(
        measured_bold(shortened(box.name)), *(text_width(shortened(line)) for line in box.about)
    )
    for item in box.items:
        where = text_width(item.where) + 24 if item.port else 0
        rows = (measured_bold(shortened(item.name)) + where, text_width(shortened(item.notes(""))))
        widest = max(widest, 20 + max(rows))
    return round(widest + 2 * PAD)


def height_of(box: Box) -> float:
    """How high a box is with its lines and rows, in pixels."""
    rows = len(box.items) * (ROW + ROW_GAP) + (4 if box.items else 0)
    return 2 * PAD + 12 + LINE * len(box.about) + rows


def measured_bold(text: str) -> float:
    """The width of a name: bold, 14 px."""
    return text_width(text) * 14 / 12 * 1.12


def text_width(text: str) -> float:
    """About how wide a text of 12 px is, in pixels, on the safe side."""
    ems = 0.0
    for character in text:
        if character in _NARROW:
            ems += 0.38
        elif character in _WIDE:
            ems += 0.95
        elif character.isupper():
            ems += 0.7
        else:
            ems += 0.61 if ord(character) < 0x2E80 else 1.05
    return ems * 12


def shortened(text: str) -> str:
    """A text that fits into a box: a long one loses its middle; the <title> has it whole."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]}…{text[-(LONGEST // 2 - 1) :]}"


def printable(text: str) -> str:
    """A text without characters that XML 1.0 does not allow."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def path(*words: str | float) -> str:
    """The `d` of a path: letters and numbers as in SVG."""
    return " ".join(word if isinstance(word, str) else number(word) for word in words)


def number(value: float) -> str:
    """A number as it is written in SVG: short, and the same on every machine."""
    return f"{round(value, 1):g}"
