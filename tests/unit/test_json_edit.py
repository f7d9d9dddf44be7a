"""A value is added to a JSON text, or cut, and what a person wrote stays as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phoenix.declaration.json_edit import add, cut, insert, value

FILE = (
    '{\n  "site": {"domain": "a.b",   "x": 1},\n  "vms": [\n    {"vmid": 1}\n  ],\n  "e": {}\n}\n'
)


@pytest.mark.parametrize(
    ("text", "path", "key", "value", "expected"),
    [
        (FILE, "vms", None, {"vmid": 2}, FILE.replace(
            '{"vmid": 1}\n', '{"vmid": 1},\n    {\n      "vmid": 2\n    }\n')),
        (FILE, "site", "y", [1, 2], FILE.replace('"x": 1}', '"x": 1, "y": [1, 2]}')),
        (FILE, "e", "k", "é", FILE.replace("{}", '{\n    "k": "é"\n  }')),
        (FILE, "", "z", None, FILE.replace("{}\n}", '{},\n  "z": null\n}')),
        ('{"a":[]}', "a", None, 1, '{"a":[\n    1\n]}'),
        ("{}", "", "a", 1, '{\n    "a": 1\n}'),
        ('{\r\n\t"a": {\r\n\t\t"b": 1\r\n\t}\r\n}', "a", "c", [2],
         '{\r\n\t"a": {\r\n\t\t"b": 1,\r\n\t\t"c": [\r\n\t\t\t2\r\n\t\t]\r\n\t}\r\n}'),
        ('{"a" : "x:y", "b" : [ 1 , 2 ]}', "b", None, 3, '{"a" : "x:y", "b" : [ 1 , 2, 3 ]}'),
        ('["k", {"k": ["v"]}]', "[1].k", None, "w", '["k", {"k": ["v", "w"]}]'),
    ],
)  # fmt: skip
def test_a_member_is_added(
    text: str, path: str, key: str | None, value: Any, expected: str
) -> None:
    result = insert(text, path, value, key)
    assert result == expected
    json.loads(result)


def test_a_list_that_is_absent_is_made() -> None:
    text = '{\n    "name": "a"\n}\n'
    once = add(text, "", "stacks", "x")
    assert json.loads(once) == {"name": "a", "stacks": ["x"]}
    assert json.loads(add(once, "", "stacks", "y")) == {"name": "a", "stacks": ["x", "y"]}
    assert json.loads(add(text, "", "by", 1, "k")) == {"name": "a", "by": {"k": 1}}


@pytest.mark.parametrize(
    ("path", "key", "error"),
    [("vms", "k", "no object"), ("site", None, "no list"), ("site", "x", "site.x is there")],
)
def test_what_takes_no_such_member_is_refused(path: str, key: str | None, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        insert(FILE, path, 1, key)
    with pytest.raises(KeyError):
        insert(FILE, "none", 1)


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        (FILE, "vms[0]", FILE.replace('[\n    {"vmid": 1}\n  ]', "[]")),
        (FILE, "site.domain", FILE.replace('"domain": "a.b",   ', "")),
        (FILE, "site.x", FILE.replace(',   "x": 1', "")),
        (FILE, "vms", FILE.replace('  "vms": [\n    {"vmid": 1}\n  ],\n', "")),
        (FILE, "e", FILE.replace(',\n  "e": {}', "")),
        ('{"a" : [ 1 , "x,y" , 3 ]}', "a[1]", '{"a" : [ 1 , 3 ]}'),
        ('{\r\n\t"a": {"b": [1, 2]},\r\n\t"c": 3\r\n}', "a", '{\r\n\t"c": 3\r\n}'),
    ],
)  # fmt: skip
def test_a_member_is_cut_with_its_comma(text: str, path: str, expected: str) -> None:
    result = cut(text, path)
    assert result == expected
    json.loads(result)


@pytest.mark.parametrize(
    ("path", "key"), [("vms", None), ("site", "new"), ("e", "new"), ("", "new")]
)
def test_what_was_added_is_cut_to_the_same_text(path: str, key: str | None) -> None:
    once = insert(FILE, path, {"a": [1]}, key)
    more = insert(once, path, {"b": 2}, None if key is None else "newer")
    last = "vms[2]" if key is None else f"{path}.newer".lstrip(".")
    assert value(more, last) == {"b": 2}
    assert cut(more, last) == once
    assert json.loads(cut(once, "vms[1]" if key is None else f"{path}.{key}".lstrip("."))) == (
        json.loads(FILE)
    )


@pytest.mark.parametrize("path", ["", "site.none", "vms[1]"])
def test_nothing_is_cut_where_nothing_is(path: str) -> None:
    with pytest.raises(KeyError):
        cut(FILE, path)
