"""Files that nothing reads, as their names or forms are others, are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phoenix.declaration import group_data
from phoenix.declaration.load import load_site
from phoenix.site.findings import ConfigError, Finding, Report
from tests.unit.site_builder import HYPERVISOR, LXC, minimal, problem


def warnings(folder: Path, file: str, text: str = "{}") -> tuple[Finding, ...]:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)
    return minimal().load(folder).warnings


@pytest.mark.parametrize(
    ("file", "meant"),
    [
        ("phoenix_hypervisor_configs.json", HYPERVISOR),
        ("phoenix_stack_config.json", "phoenix_stacks_config.json"),
        ("phoenix_lxc_config.json", LXC),
        ("certificate_manifest.json", "certificate-manifest.json"),
    ],
)
def test_json_file_of_a_misspelt_name_is_told(tmp_path: Path, file: str, meant: str) -> None:
    finding = problem(warnings(tmp_path, file), file, "")
    assert finding.unread
    assert meant in finding.fix


@pytest.mark.parametrize("file", ["phoenix_lxc_configs.schema.json", "renovate.json"])
def test_other_json_files_are_no_concern(tmp_path: Path, file: str) -> None:
    assert warnings(tmp_path, file) == ()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("docker-compose.yml", "write phoenix.json"),
        ("compose.yaml", "write phoenix.json"),
        ("pheonix.json", "call pheonix.json phoenix.json"),
    ],
)
def test_folder_of_a_stack_without_manifest_is_told(tmp_path: Path, file: str, words: str) -> None:
    finding = problem(warnings(tmp_path, f"stacks/wiki/{file}"), "stacks/wiki", "")
    assert finding.unread
    assert words in finding.fix


def test_other_folders_beside_the_stacks_are_no_concern(tmp_path: Path) -> None:
    assert warnings(tmp_path, "stacks/notes/README.md", "mine") == ()


def test_compose_file_of_another_name_is_named(tmp_path: Path) -> None:
    declared = minimal()
    declared.load(tmp_path)
    compose = tmp_path / "stacks" / "shop" / "docker-compose.yml"
    compose.rename(compose.with_name("compose.yaml"))
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    assert "compose.yaml" in caught.value.findings[0].fix


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("compose.yaml", "into docker-compose.yml"),
        ("docker-compose.override.yml", "into docker-compose.yml"),
        ("compose.override.yaml", "into docker-compose.yml"),
        (".env", "variables in stacks/shop/phoenix.json"),
    ],
)
def test_file_that_compose_would_read_beside_the_compose_file_is_told(
    tmp_path: Path, file: str, words: str
) -> None:
    finding = problem(warnings(tmp_path, f"stacks/shop/{file}"), f"stacks/shop/{file}", "")
    assert words in finding.fix


def test_files_of_a_stack_s_own_beside_its_compose_file_are_no_concern(tmp_path: Path) -> None:
    declared = minimal()
    ship = {"source": ".env", "destination_in_container": "/app/.env"}
    declared.stacks["shop"][0]["environments"]["production"]["files"] = [ship]
    declared.stacks["shop"][1]["services"]["web"]["volumes"] = []
    (tmp_path / "stacks" / "shop").mkdir(parents=True)
    for name in (".env", "README.md", "app.conf"):
        (tmp_path / "stacks" / "shop" / name).write_text("A=1")
    assert declared.load(tmp_path).warnings == ()


def test_variables_in_the_folder_of_the_whole_site_are_no_concern(tmp_path: Path) -> None:
    declared = minimal()
    environment: dict[str, Any] = {"production": {"services": {}}}
    listed = {"wiki": {"compose_file_path": "wiki.yml", "environments": environment}}
    tmp_path.joinpath("phoenix_stacks_config.json").write_text(
        json.dumps({"docker_stacks": listed})
    )
    (tmp_path / "wiki.yml").write_text("services: {web: {image: 'a/b:1'}}")
    (tmp_path / ".env").write_text("A=1")
    declared.vm["vms"][1]["docker_stacks"].append("wiki")
    assert declared.load(tmp_path).warnings == ()


def settings(root: Path, name: str, content: bytes) -> Report:
    report = Report()
    (root / "group_data").mkdir()
    (root / "group_data" / name).write_bytes(content)
    group_data.misplaced(root / "inventories", root, report)
    group_data.read(root, report)
    return report


def test_settings_of_another_form_are_told(tmp_path: Path) -> None:
    (finding,) = settings(tmp_path, "all.yml", b"timezone: Europe/Vienna\n").findings
    assert (finding.file, finding.unread) == ("group_data/all.yml", True)
    assert "group_data/all.py" in finding.fix


def test_settings_with_a_byte_order_mark_are_read_as_python_reads_them(tmp_path: Path) -> None:
    assert settings(tmp_path, "all.py", b"\xef\xbb\xbfimport os\nx = 1\n").findings == []
    assert [file.values for file in group_data.read(tmp_path, Report())] == [{"x": 1}]


@pytest.mark.parametrize("end", ["/dev/zero", "/nowhere", "."])
def test_settings_that_are_no_file_end_no_run(tmp_path: Path, end: str) -> None:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").symlink_to(end)
    report = Report()
    assert group_data.read(tmp_path, report) == ()
    assert [finding.file for finding in report.errors] == ["group_data/all.py"]


def test_certificate_that_is_no_file_ends_no_run(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["external_services"] = [
        {"name": "nas", "address": "192.168.7.5", "port": 443, "ca_file": "nas.pem"}
    ]
    (tmp_path / "nas.pem").symlink_to("/dev/zero")
    problem(declared.refused(tmp_path), LXC, "external_services[0].ca_file")


def test_settings_that_fail_are_told_with_their_line(tmp_path: Path) -> None:
    text = b"import os\n\n\nname = os.environ['NOT_SET_ANYWHERE']\n"
    (finding,) = settings(tmp_path, "all.py", text).findings
    assert finding.path == "line 4"


def test_json_with_a_byte_order_mark_has_a_fix_of_its_own(tmp_path: Path) -> None:
    declared = minimal()
    declared.load(tmp_path)
    file = tmp_path / LXC
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    assert "without BOM" in problem(caught.value.findings, LXC, "line 1, column 1").fix
