"""`phoenix graph`: the same picture in every form, readable, escaped, and of the whole site."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
import zlib
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pytest

from phoenix.declaration.load import load_site
from phoenix.derived import firewall, routes
from phoenix.graph import html as graph_html
from phoenix.graph import mermaid as graph_mermaid
from phoenix.graph import svg as graph_svg
from phoenix.graph.canvas import measured_bold, text_width
from phoenix.graph.topology import Box, Item, Link, Topology, topology
from phoenix.site.model import Host, Site
from tests.unit.project_copy import ROOT, phoenix
from tests.unit.site_builder import lxc, minimal, stack, vm

SVG = "{http://www.w3.org/2000/svg}"
NASTY = '"><script>alert(1)</script> & ]]> `x` %% end {{}} [[a]] |b| <br> #quot; \x07'


@pytest.fixture(scope="module")
def own() -> Site:
    return load_site(ROOT / "inventories")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Four more Docker hosts with three stacks each, a long name, plain text, a direct service."""
    declaration = minimal()
    for number in range(4):
        names = [f"app-{number}{letter}" for letter in "abc"]
        if number == 2:
            names[1] = "a-rather-long-service-name-that-somebody-chose-to-keep-to-the-end"[:63]
        declaration.stacks |= {
            name: stack(name, 8100 + 10 * number + i) for i, name in enumerate(names)
        }
        declaration.vm["vms"].append(vm(
            1100 + number, f"docker-host-number-{number}", "docker", 60 + number,
            portainer_role="agent", docker_stacks=names,
            portainer_agent_hostname=f"portainer-agent-{number}.internal.thinkheads.ai",
        ))  # fmt: skip
    plain = {"name": "wiki", "port": 80, "scheme": "http"}
    direct = {"name": "metrics", "port": 9100, "scheme": "https", "exposure": "direct"}
    declaration.lxc["lxc_configs"]["150"] = lxc("wiki", None, 90, traefik_service=plain)
    declaration.lxc["lxc_configs"]["151"] = lxc("meter", None, 91, traefik_service=direct)
    return declaration.load(tmp_path_factory.mktemp("large"))


@pytest.fixture
def nasty() -> Topology:
    """What no loaded site can be: every text is an attack on some writer."""
    item = Item(id="service-x", name=NASTY, kind="backend", about=NASTY, stack=NASTY, port=1,
                scheme="https", proof=NASTY)  # fmt: skip
    boxes = (
        Box(id="client", name=NASTY, place="client", about=(NASTY,)),
        Box(id="guest-1", name=NASTY, place="proxy", about=(NASTY,)),
        Box(id="guest-2", name=NASTY, place="guest", about=(NASTY,), items=(item,)),
    )
    links = (
        Link(source="client", target="guest-1", kind="request", protocol=NASTY, port=1,
             verified=NASTY),
        Link(source="guest-1", target="service-x", kind="request", protocol=NASTY, port=1,
             verified=NASTY),
    )  # fmt: skip
    return Topology(domain=NASTY, boxes=boxes, links=links)


def test_every_service_is_reached_by_a_flow_that_the_firewall_lets_through(large: Site) -> None:
    picture = topology(large)
    boxes = {box.id: box.name for box in picture.boxes}
    owners = {item.id: box.name for box in picture.boxes for item in box.items}
    allowed = {
        (
            flow.source.name if isinstance(flow.source, Host) else "clients",
            flow.destination.name if isinstance(flow.destination, Host) else "",
            flow.port,
        )
        for flow in firewall.flows(large)
    }
    for link in picture.links:
        target = boxes.get(link.target) or owners[link.target]
        assert (boxes[link.source], target, link.port) in allowed, link
    drawn = {link.target for link in picture.links if link.kind == "request"}
    expected = {f"service-{r.service.name}" for r in routes.routes(large) if r.kind == "backend"}
    assert expected <= drawn
    assert {host.name for host in large.hosts} <= set(boxes.values())


def test_tcp_is_not_called_plain_text(tmp_path: Path) -> None:
    """SSH to Git is encrypted by its clients: Phoenix passes it on, and knows no more."""
    declaration = minimal()
    git = {"name": "git", "port": 22, "scheme": "tcp", "gateway_port": 2222}
    declaration.lxc["lxc_configs"]["150"] = lxc("git", None, 90, traefik_service=git)
    picture = topology(declaration.load(tmp_path))
    assert "tcp 22, as its client sends it" in graph_svg.description(picture)
    texts = (
        graph_svg.description(picture),
        graph_svg.svg(picture),
        graph_mermaid.mermaid(picture),
        graph_html.html(picture),
    )
    assert [text for text in texts if "plain text" in text] == []
    assert [text for text in texts if "as its client sends it" not in text] == []


def test_mermaid_declares_each_end_once_and_closes_each_subgraph(large: Site) -> None:
    lines = [line.strip() for line in graph_mermaid.mermaid(topology(large)).splitlines()]
    assert lines[0] == "flowchart LR"
    nodes = [re.match(r'(?:subgraph )?(\w+)(?:\(\[|\[)"', line) for line in lines]
    ids = [match[1] for match in nodes if match]
    assert len(ids) == len(set(ids))
    links = [re.fullmatch(r'(\w+) (?:==>|-->|-\.->)\|"[^"]*"\| (\w+)', line) for line in lines]
    ends = {end for match in links if match for end in match.groups()}
    assert ends <= set(ids)
    assert ends
    assert sum(line.startswith("subgraph ") for line in lines) == lines.count("end")


def test_svg_has_literal_colours_for_renderers_that_know_little_css(large: Site) -> None:
    """librsvg, cairosvg and Inkscape paint black what CSS variables colour."""
    root = graph_svg.draw(topology(large))
    assert "var(" not in ET.tostring(root, encoding="unicode")
    for element in root.iter():
        if element.tag in ("rect", "text", "path"):
            look = {element.get("fill", ""), element.get("stroke", "none")}
            assert all(re.fullmatch("none|#[0-9a-f]{6}", value) for value in look), element.attrib
            assert look != {"none"}, element.attrib
            assert element.tag != "text" or element.get("font-size"), element.attrib
    sheets = [element.text or "" for element in root.iter("style")]
    assert len(sheets) == 1
    assert sheets[0].split("{")[0].strip() == "@media (prefers-color-scheme: dark)"


def pixels(png: bytes) -> list[list[bytes]]:
    """Rows of RGB or RGBA pixels of a PNG that is not interlaced (PNG specification, 9)."""
    width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", png[16:29])
    assert (depth, interlaced, colour in (2, 6)) == (8, 0, True)
    data, at = b"", 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += 12 + size
    raw, step = zlib.decompress(data), {2: 3, 6: 4}[colour]
    above, rows = bytearray(width * step), []
    for number in range(height):
        start = number * (width * step + 1)
        kind, line = raw[start], bytearray(raw[start + 1 : start + 1 + width * step])
        if kind == 2:
            line = bytearray((a + b) & 0xFF for a, b in zip(line, above, strict=True))
        for i in range(len(line)) if kind in (1, 3, 4) else ():
            left_pixel, up = (line[i - step] if i >= step else 0), above[i]
            corner = above[i - step] if i >= step else 0
            guess = left_pixel + up - corner
            nearest = min((left_pixel, up, corner), key=lambda value: abs(guess - value))
            line[i] = (
                line[i] + {1: left_pixel, 3: (left_pixel + up) // 2, 4: nearest}[kind]
            ) & 0xFF
        rows.append([bytes(line[i : i + 3]) for i in range(0, len(line), step)])
        above = line
    return rows


def test_picture_is_right_in_a_renderer_without_css_variables(own: Site, tmp_path: Path) -> None:
    if shutil.which("rsvg-convert") is None:
        pytest.skip("rsvg-convert is not installed (Debian: librsvg2-bin); `lab test` installs it")
    source = tmp_path / "topology.svg"
    source.write_text(graph_svg.svg(topology(own)))
    process = subprocess.run(["rsvg-convert", str(source)], capture_output=True, check=True)
    rows = pixels(process.stdout)
    root = graph_svg.draw(topology(own))
    for element in root.iter("rect"):
        if "x" in element.attrib and element.get("fill") != "none":
            x, y = float(element.attrib["x"]), float(element.attrib["y"])
            inside = rows[round(y) + 4][round(x) + 8]
            assert inside.hex() == element.attrib["fill"][1:], element.attrib
    assert rows[2][2].hex() == "ffffff"
    texts = list(root.iter("text"))
    assert len(texts) > 20
    for element in texts:
        x, y = round(float(element.attrib["x"])), round(float(element.attrib["y"]))
        ink = bytes.fromhex(element.attrib["fill"][1:])
        shift = {"start": 0, "middle": -20, "end": -40}[element.get("text-anchor", "start")]
        place = [pixel for row in rows[y - 10 : y + 1] for pixel in row[x + shift : x + shift + 40]]
        near = [p for p in place if max(abs(a - b) for a, b in zip(p, ink, strict=True)) < 80]
        assert len(near) > 5, (element.text, element.attrib)


def test_svg_stands_alone_and_tells_what_it_shows(own: Site) -> None:
    text = graph_svg.svg(topology(own))
    root = ET.fromstring(text)  # noqa: S314 - we wrote it
    assert root.get("role") == "img"
    labels = str(root.get("aria-labelledby")).split()
    words_of_picture = {
        str(element.get("id")): element.text
        for element in root
        if element.tag in (f"{SVG}title", f"{SVG}desc")
    }
    assert sorted(words_of_picture) == sorted(labels)
    assert "qdrant on drphoenix: https 6333, verified as qdrant.stack" in str(words_of_picture)
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"(?:href|src|@import|url\((?!#head-))", text) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert "<script" not in text


@pytest.mark.parametrize("which", ["own", "large"])
def test_no_two_texts_overlap_and_all_are_in_the_picture(
    which: str, request: pytest.FixtureRequest
) -> None:
    root = graph_svg.draw(topology(request.getfixturevalue(which)))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    boxes = []
    for text in root.iter("text"):
        words, bold = text.text or "", text.get("class") == "name"
        long = measured_bold(words) if bold else text_width(words)
        x, y = float(text.get("x", 0)), float(text.get("y", 0))
        left_edge = (
            x - long * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "start")]
        )
        assert left_edge >= 0, words
        assert left_edge + long <= width, words
        assert 12 <= y <= height, words
        boxes.append((left_edge, y - 11, left_edge + long, y + 3, words))
    assert len(boxes) > 20
    for first, other in combinations(boxes, 2):
        apart = (
            first[2] <= other[0]
            or other[2] <= first[0]
            or first[3] <= other[1]
            or other[3] <= first[1]
        )
        assert apart, (first, other)


def test_same_site_same_bytes(own: Site) -> None:
    again = load_site(ROOT / "inventories")
    for write in (graph_svg.svg, graph_html.html, graph_mermaid.mermaid):
        assert write(topology(own)) == write(topology(again))


class Tags(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_page_has_a_strict_policy_and_no_script_or_link(own: Site) -> None:
    tags = Tags(graph_html.html(topology(own))).found
    assert {"script", "link", "img", "iframe", "a"} & {tag for tag, _ in tags} == set()
    metas = [attributes for tag, attributes in tags if tag == "meta"]
    policy = [m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy
    assert "default-src 'none'" in str(policy[0])


def test_no_text_escapes_its_place(nasty: Topology) -> None:
    root = ET.fromstring(graph_svg.svg(nasty))  # noqa: S314 - that it parses is the test
    assert {element.tag for element in root.iter()} == {
        f"{SVG}{tag}"
        for tag in ("svg", "title", "desc", "style", "defs", "marker", "path", "rect", "text")
    }
    tags = {tag for tag, _ in Tags(graph_html.html(nasty)).found}
    assert {"script", "br"} & tags == set()
    for line in graph_mermaid.mermaid(nasty).splitlines()[1:]:
        labels = re.findall(r'"[^"]*"', line)
        rest = re.sub(r'"[^"]*"', "", line)
        assert not set(rest) & set("<>&`%{}#;") - {">"}, line
        for label in labels:
            assert not set(label.replace("<br>", "")) & set("<>&`%{}[]|\x07"), label


def test_site_of_one_host_is_drawn_too(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc, declaration.vm, declaration.stacks = {"lxc_configs": {}}, {"vms": []}, {}
    picture = topology(declaration.load(tmp_path))
    ET.fromstring(graph_svg.svg(picture))  # noqa: S314
    assert "phoenix" in graph_mermaid.mermaid(picture)


@pytest.mark.parametrize(
    ("words", "begins"),
    [((), "flowchart LR\n"), (("-f", "svg"), "<svg "), (("--format", "html"), "<!doctype html>")],
)
def test_formats(tmp_path: Path, words: tuple[str, ...], begins: str) -> None:
    inventory = ("-i", ROOT / "inventories/phoenix.py")
    text = phoenix("graph", *words, *inventory)
    assert text.exit_code == 0, text.output
    assert text.stdout.startswith(begins)
    result = phoenix("graph", *words, *inventory, "-o", tmp_path / "picture")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "picture").read_text() == text.stdout


def test_json_is_the_picture_as_data(own: Site) -> None:
    result = phoenix("graph", "--json", "-i", ROOT / "inventories/phoenix.py")
    assert Topology.model_validate(json.loads(result.stdout)) == topology(own)


def test_unwritable_output_is_an_error() -> None:
    result = phoenix("graph", "-i", ROOT / "inventories/phoenix.py", "-o", "/nowhere/picture.svg")
    assert result.exit_code == 1
    assert "cannot write /nowhere/picture.svg" in str(result.exception)


def test_the_readme_s_picture_is_up_to_date(own: Site) -> None:
    fix = "phoenix graph -f svg -o docs/topology.svg"
    assert (ROOT / "docs/topology.svg").read_text() == graph_svg.svg(topology(own)), fix
