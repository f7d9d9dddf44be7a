"""certificate-manifest.json: what the site has by itself is told once, the rest name by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phoenix.site.findings import Finding
from tests.unit.site_builder import minimal, problem

FILE = "certificate-manifest.json"
DOMAIN = "internal.thinkheads.ai"


def entry(name: str, *sans: str, **more: Any) -> dict[str, Any]:
    return {
        "common_name": f"{name}.{DOMAIN}", "sans": list(sans), "guest_id": 1001,
        "guest_type": "vm", "cert_path": "/a.crt", "key_path": "/a.key", "owner": "root:root",
        "post_renewal_command": "systemctl reload a", **more,
    }  # fmt: skip


def findings(folder: Path, content: Any) -> list[Finding]:
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(json.dumps(content))
    return [warning for warning in minimal().load(folder).warnings if warning.file == FILE]


def test_what_the_site_has_is_told_once(tmp_path: Path) -> None:
    content = [entry("shop", f"shop.{DOMAIN}"), entry("portainer"), entry("ca")]
    (finding,) = findings(tmp_path, content)
    assert finding.path == ""
    for name in ("shop", "portainer", "ca"):
        assert f"{name}.{DOMAIN}" in finding.message


@pytest.mark.parametrize(
    ("san", "message"),
    [(f"*.{DOMAIN}", "no wildcard"), ("localhost", "names of the site only"),
     ("127.0.0.1", "names of the site only"), ("10.0.0.23", "names of the site only"),
     (f"nobody.{DOMAIN}", "no service or host")],
)  # fmt: skip
def test_each_name_that_no_certificate_has_is_told(tmp_path: Path, san: str, message: str) -> None:
    warnings = findings(tmp_path, [entry("shop", f"shop.{DOMAIN}", san)])
    (finding,) = warnings
    assert finding.path == "[0].sans[1]"
    assert message in finding.message
    assert finding.fix


def test_a_clients_certificate_is_the_gateways_alone(tmp_path: Path) -> None:
    gateway = {**entry("client"), "guest_id": 101, "cert_type": "client"}
    other = {**entry("other"), "cert_type": "client"}
    warnings = findings(tmp_path, [gateway, other])
    assert {warning.path for warning in warnings} == {"", "[1].cert_type"}


@pytest.mark.parametrize(
    ("content", "path"),
    [("{", ""), ('{"a": 1}', ""), ('[{"sans": []}]', "[0].common_name"), ('["a"]', "[0]"),
     ('[{"common_name": "a", "guest_id": "x"}]', "[0].guest_id")],
)  # fmt: skip
def test_a_faulty_file_is_refused_by_its_place(tmp_path: Path, content: str, path: str) -> None:
    (tmp_path / FILE).write_text(content)
    problem(minimal().refused(tmp_path), FILE, path)


def test_a_key_that_is_not_known_is_told(tmp_path: Path) -> None:
    warnings = findings(tmp_path, [entry("shop", ownr="me")])
    assert "[0].ownr" in {warning.path for warning in warnings}
