"""Mistakes of a person at first try: each error says where it is and what to write instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix.compose import document
from phoenix.declaration import misplaced_keys
from phoenix.declaration.json_errors import read_object
from phoenix.declaration.json_keys import Raw
from phoenix.declaration.load import LXC_FILE, VM_FILE
from phoenix.declaration.settings import unknown
from phoenix.site.findings import Report
from tests.unit.site_builder import Declaration, minimal, problem

SYNTAX = [
    ('{\n  "a": 1,\n}', "line 2, column 9", "a comma before }", "remove the comma"),
    ('{"a": [1, ]}', "line 1, column 9", "a comma before ]", "remove the comma"),
    ('{\n  "a": 1\n  "b": 2\n}', "line 2, column 9", "a comma is missing", "write a comma here"),
    ('{"a" 1}', "line 1, column 5", "a colon is missing", "write : and the value"),
    ('{\n  // mine\n  "a": 1}', "line 2, column 3", "JSON has no comments", "remove the comment"),
    ('{"a": 1} # end', "line 1, column 10", "JSON has no comments", "remove the comment"),
    ("{'a': 1}", "line 1, column 2", "stand in double quotes", "in place of '"),
    ("{a: 1}", "line 1, column 2", "a key stands in double quotes", 'write the key as "key"'),
    ('{"a": True}', "line 1, column 7", "True is Python's word", "write true"),
    ('{"a": None}', "line 1, column 7", "None is Python's word", "write null"),
    ('{"a": "x\ty"}', "line 1, column 9", "a tab or another control character", r"write \n for"),
    (r'{"a": "C:\data"}', "line 1, column 10", "an escape that JSON does not have", r"write \\"),
    ('{"a": "x', "line 1, column 7", "a text has no closing quote", 'write " at its end'),
    ('{"a": [1', "line 1, column 9", "it ends too early", "close what is open"),
    ('{"a": 1}}', "line 1, column 9", "something follows the end", "remove it"),
    ('{"a": ', "line 1, column 6", "it ends too early", "close what is open"),
    ('{"a": NaN}', "line 1, column 7", "NaN is not a JSON number", "write a number in digits"),
    ('{"NaN": "NaN",\n "b": -Infinity}', "line 2, column 7", "-Infinity is no", "in digits"),
    ('{"a": ' + "9" * 5000 + "}", "line 1, column 7", "a number of 5000 digits", "a smaller one"),
    ("", "", "is empty", "write one object: { ... }"),
    (" \n", "", "is empty", "write one object: { ... }"),
    ("\ufeff{}", "line 1, column 1", "byte order mark", "without BOM"),
]


@pytest.mark.parametrize(("text", "place", "message", "fix"), SYNTAX, ids=lambda text: text[:20])
def test_a_file_that_is_no_json_is_told_where_it_is_corrected(
    tmp_path: Path, text: str, place: str, message: str, fix: str
) -> None:
    file, report = tmp_path / "x.json", Report()
    file.write_bytes(text.encode())
    assert read_object(file, "x.json", report) is None
    (finding,) = report.errors
    assert finding.path == place
    assert message in finding.message
    assert fix in finding.fix


def test_every_position_of_a_sound_file_can_be_spoilt(tmp_path: Path) -> None:
    """Whatever character is missing, there is one error, with a place and a fix."""
    text = json.dumps({"site": {"domain": "a.b"}, "l": [1, True, None, "x"]}, indent=1)
    file = tmp_path / "x.json"
    faults = 0
    for position in range(len(text)):
        file.write_text(text[:position] + text[position + 1 :])
        report = Report()
        if read_object(file, "x.json", report) is None:
            (finding,) = report.errors
            faults += 1
            assert finding.fix
            assert "\n" not in f"{finding.message}{finding.fix}"
            assert finding.path.startswith("line ") or finding.message == "is not a JSON object"
    assert faults > len(text) // 4


def _loop(file: Path) -> None:
    file.symlink_to(file)


@pytest.mark.parametrize(
    ("make", "place", "message", "fix"),
    [
        (Path.mkdir, "", "is a folder, and no file", "put a file in its place"),
        (_loop, "", "cannot be read: Too many levels", "replace the link, which leads back"),
        (lambda f: f.write_bytes(b'{\n"a": "\xe9"}'), "line 2", "not UTF-8: byte 0xe9", "as UTF-8"),
        (lambda f: f.write_bytes("{}".encode("utf-16")), "line 1", "not UTF-8", "save it as UTF-8"),
    ],
    ids=["folder", "loop", "latin1", "utf-16"],
)
def test_a_file_that_cannot_be_read_is_told_in_words(
    tmp_path: Path, make: Callable[[Path], Any], place: str, message: str, fix: str
) -> None:
    file, report = tmp_path / "x.json", Report()
    make(file)
    assert read_object(file, "x.json", report) is None
    (finding,) = report.errors
    assert finding.path == place
    assert message in finding.message
    assert fix in finding.fix
    assert "Errno" not in str(finding)


def _lxc(**keys: Any) -> Declaration:
    declared = minimal()
    declared.lxc |= keys
    return declared


def _vm(**keys: Any) -> Declaration:
    declared = minimal()
    declared.vm |= keys
    return declared


def _site(**keys: Any) -> Declaration:
    declared = minimal()
    declared.lxc.setdefault("site", {}).update(keys)
    return declared


@pytest.mark.parametrize(
    ("declared", "file", "path", "fix"),
    [
        (_vm(site={}), VM_FILE, "site", "move it to the top of phoenix_lxc_configs.json"),
        (_lxc(vms=[]), LXC_FILE, "vms", "move it to the top of phoenix_vm_configs.json"),
        (_lxc(networks={}), LXC_FILE, "networks",
         "move it to the top of phoenix_hypervisor_config.json"),
        (_lxc(domain="a.b"), LXC_FILE, "domain", 'move it to "site" in phoenix_lxc_configs.json'),
        (_site(external_services=[]), LXC_FILE, "site.external_services",
         "move it to the top of phoenix_lxc_configs.json"),
        (_site(timezone="Etc/UTC"), LXC_FILE, "site.timezone",
         "it is a setting: write it in group_data/all.py, and remove it here"),
        (_site(zzz=1), LXC_FILE, "site.zzz", "remove it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_key_of_another_place_is_told_where_it_belongs(
    tmp_path: Path, declared: Declaration, file: str, path: str, fix: str
) -> None:
    finding = problem(declared.load(tmp_path).warnings, file, path)
    assert finding.message == "unknown key: nothing reads it"
    assert finding.fix == fix


def test_a_setting_that_is_a_key_of_the_json_files_is_told_where_it_belongs() -> None:
    def elsewhere(name: str) -> str:
        return misplaced_keys.of_setting(Raw, name)

    told = dict(unknown(["domain", "timezon", "zzz"], elsewhere=elsewhere))
    assert told["domain"] == 'move it to "site" in phoenix_lxc_configs.json'
    assert told["timezon"].startswith("did you mean 'timezone'?")
    assert told["zzz"] == "remove it"


def _stacks_as_text(declared: Declaration) -> None:
    declared.vm["vms"][1]["docker_stacks"] = "shop"


def _no_target(declared: Declaration) -> None:
    declared.lxc.setdefault("site", {})["backups"] = {}


def _null(declared: Declaration) -> None:
    declared.lxc.setdefault("site", {})["hypervisor"] = None


def _port(declared: Declaration) -> None:
    declared.vm["vms"][0]["traefik_service"]["port"] = "94x"


def _upper_case(declared: Declaration) -> None:
    declared.lxc.setdefault("site", {})["domain"] = "Internal.Example.com"


def _upper_case_name(declared: Declaration) -> None:
    declared.vm["vms"][1]["portainer_agent_hostname"] = "Agent.internal.thinkheads.ai"


def _ipv6(declared: Declaration) -> None:
    declared.vm["vms"][1]["network_config"]["ip"] = "fd00::1/64"


def _no_prefix(declared: Declaration) -> None:
    declared.vm["vms"][1]["network_config"]["ip"] = "10.0.0.77"


@pytest.mark.parametrize(
    ("spoil", "path", "fix"),
    [
        (_stacks_as_text, "vms[1].docker_stacks", 'write a list, [ ... ], as ["qdrant_service"'),
        (_no_target, "site.backups.target", 'add it, as "target": "/mnt/backups"'),
        (_null, "site.hypervisor", "write an object, { ... }, in place of null"),
        (_port, "vms[0].traefik_service.port", "write digits alone"),
        (_upper_case, "site.domain", 'write it in lower case: "internal.example.com"'),
        (_upper_case_name, "vms[1].portainer_agent_hostname",
         'write it in lower case: "agent.internal.thinkheads.ai"'),
        (_ipv6, "vms[1].network_config.ip", "write its IPv4 address"),
        (_no_prefix, "vms[1].network_config.ip", 'as "10.0.0.77/24"'),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)  # fmt: skip
def test_a_wrong_value_is_told_what_to_write(
    tmp_path: Path, spoil: Callable[[Declaration], None], path: str, fix: str
) -> None:
    declared = minimal()
    spoil(declared)
    (finding,) = [f for f in declared.refused(tmp_path) if f.path == path]
    assert fix in finding.fix
    assert "correct the value" not in finding.fix


def test_a_stack_whose_folder_is_a_link_to_nowhere_is_told(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"][1]["docker_stacks"].append("wiki")
    declared.refused(tmp_path)  # writes the files
    link = tmp_path / "stacks/wiki"
    link.symlink_to(link)
    finding = problem(declared.refused(tmp_path), "stacks/wiki", "")
    assert finding.message == "is a link that leads to no folder"


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("services:\n  web:\n\timage: a:1\n", "indent by spaces"),
        ("services:\n  web: {image: *one}\n", "write &NAME before the value"),
        ("services:\n  web:\n    image: a: b\n", "indent the line as its neighbours, or quote"),
        ("services:\n  web:\n    image: @a\n", "quote the value"),
        ('services:\n  web:\n    image: "a:1\n', "close the quotes"),
        ("services: {web: {image: a:1}\n", "the bracket that is missing"),
    ],
)
def test_a_compose_file_that_is_no_yaml_is_told_what_to_do(text: str, fix: str) -> None:
    with pytest.raises(document.ComposeFileError) as caught:
        document.read(text)
    (fault,) = caught.value.problems
    assert fault.path.startswith("line ")
    assert fix in fault.fix


def test_an_empty_compose_file_is_told() -> None:
    with pytest.raises(document.ComposeFileError) as caught:
        document.read("# nothing yet\n")
    assert [fault.message for fault in caught.value.problems] == ["is empty"]
