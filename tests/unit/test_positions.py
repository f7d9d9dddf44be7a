"""The small JSON reader agrees with `json.loads` on everything, and knows where things are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.declaration.json_errors import join
from phoenix.declaration.positions import json_offsets, line_of, lines

# Keys without the characters of paths, so that each path has one meaning.
KEYS = st.text(st.characters(blacklist_characters=".[]", blacklist_categories=["Cs"]), min_size=1)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


def every(value: Any, path: str = "") -> dict[str, Any]:
    nodes = {path: value}
    if isinstance(value, dict):
        for key, item in value.items():
            nodes |= every(item, join(path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            nodes |= every(item, join(path, number))
    return nodes


@given(VALUES, st.sampled_from([None, 0, 2, "\t"]), st.booleans())
def test_every_path_is_found_where_its_text_is(value: Any, indent: Any, ascii_only: bool) -> None:
    text = "\n " + json.dumps(value, indent=indent, ensure_ascii=ascii_only) + " \r\n"
    offsets = json_offsets(text)
    expected = every(json.loads(text))
    assert offsets.keys() == expected.keys()
    decoder = json.JSONDecoder()
    for path, at in offsets.items():
        parsed, end = decoder.raw_decode(text, at)
        if path and not path.endswith("]"):  # the key stands there, and its value behind the colon
            assert path.endswith(parsed), (path, text[at:])
            rest = text[end:].lstrip().removeprefix(":").lstrip()
            parsed, _ = decoder.raw_decode(rest)
        assert parsed == expected[path], (path, text[at:])


@given(st.text(alphabet='{}[]",:01 \n\\ntrue.e-', max_size=14))
def test_what_json_refuses_is_refused(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - its text is nobody's business
            json_offsets(text)
    else:
        json_offsets(text)


def test_lines_of_json_yaml_and_python(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{\n "a": [\n  1,\n  {"b": 2}\n ],\n "a.b": 3\n}')
    (tmp_path / "a.yml").write_text("services:\n  web:\n    ports:\n      - 1:1\n      - 2:2\n")
    (tmp_path / "a.py").write_text("import os\nx = 1\n\ny: int = (\n 2)\n")
    assert lines(tmp_path / "a.json") == {
        "": 1, "a": 2, "a[0]": 3, "a[1]": 4, "a[1].b": 4, "a.b": 6,
    }  # fmt: skip
    assert lines(tmp_path / "a.yml")["services.web.ports[1]"] == 5
    assert lines(tmp_path / "a.py") == {"x": 2, "y": 4}


def test_what_is_not_there_has_the_line_of_what_is_around_it(tmp_path: Path) -> None:
    lines = {"": 1, "vms": 3, "vms[1]": 9, "vms[1].name": 11}
    assert line_of(lines, "vms[1].name") == 11
    assert line_of(lines, "vms[1].firewall.rules[0]") == 9
    assert line_of(lines, "vms[7].name") == 3
    assert line_of(lines, "") is None
    assert line_of(lines, "line 4, column 2") is None


@pytest.mark.parametrize("text", ["{", "\xff", "[" * 2_000, "a: [", ""])
def test_unreadable_files_have_no_lines(tmp_path: Path, text: str) -> None:
    for name in ("a.json", "a.yml", "a.py", "a.txt"):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
        if text:
            assert lines(tmp_path / name) == {}, name
    assert lines(tmp_path / "absent.json") == {}
