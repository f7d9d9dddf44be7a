"""A value is added to a JSON text, and what a person wrote stays as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phoenix.declaration.json_edit import add, insert

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
    found = insert(text, path, value, key)
    assert found == expected
    json.loads(found)


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
