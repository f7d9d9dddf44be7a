"""Mounts of either form are what Compose reads, and every check sees the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.compose import mounts
from phoenix.compose.mounts import Mount, MountError
from tests.unit.site_builder import Declaration, minimal, problem

COMPOSE = "stacks/shop/docker-compose.yml"

FORMS = [  # compose-go, format/volume.go and volume_test.go
    ("data:/d", Mount("volume", "data", "/d")),
    ("/d", Mount("volume", "", "/d")),
    ("/srv/d:/d", Mount("bind", "/srv/d", "/d")),
    ("./d:/d:ro,z", Mount("bind", "./d", "/d", ("ro", "z"), read_only=True)),
    ("/d:/d:ro,rw", Mount("bind", "/d", "/d", ("ro", "rw"))),
    ("/d:/d:rw,ro", Mount("bind", "/d", "/d", ("rw", "ro"), read_only=True)),
    ("~/d:/d", Mount("bind", "~/d", "/d")),
    ("..:/d", Mount("bind", "..", "/d")),
    ("d:/d", Mount("volume", "", "d:/d")),
    ("c:/x:/y", Mount("bind", "c:/x", "/y")),
    ("c:/x:d:/y:ro", Mount("bind", "c:/x", "d:/y", ("ro",), read_only=True)),
    ("\\\\srv\\x:/d", Mount("bind", "\\\\srv\\x", "/d")),
    ("a:", Mount("volume", "", "a:")),
    ("${A:-/srv/a}:/d", Mount("volume", "${A:-/srv/a}", "/d")),
    ("${A:-${B:-/srv/a}}:/d:ro", Mount("volume", "${A:-${B:-/srv/a}}", "/d", ("ro",), True)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FORMS, ids=[form[0] for form in FORMS])
def test_short_form(text: str, expected: Mount) -> None:
    assert mounts.of_text(text) == expected


@pytest.mark.parametrize("text", ["", "/a::ro", ":/d", "/a:/d:", "/a:/d:ro:x", ":::", "data:/d::"])
def test_short_form_that_compose_refuses(tmp_path: Path, text: str) -> None:
    with pytest.raises(MountError):
        mounts.of_text(text)
    declared = with_web(volumes=[text])
    finding = problem(declared.refused(tmp_path), COMPOSE, "services.web.volumes[0]")
    assert "Compose refuses it" in finding.message


@given(
    source=st.from_regex(r"[a-z][a-z0-9_.-]{1,5}|/[a-z/.]{0,5}", fullmatch=True),
    target=st.from_regex(r"/[a-z][a-z/]{1,5}", fullmatch=True),
    options=st.lists(st.sampled_from(("ro", "rw", "z", "nocopy")), max_size=3),
)
def test_both_forms_are_one_mount(source: str, target: str, options: list[str]) -> None:
    short = mounts.read(":".join([source, target, *([",".join(options)] if options else [])]), {})
    kind = "bind" if source.startswith("/") else "volume"
    read_only = [option for option in options if option in ("ro", "rw")][-1:] == ["ro"]
    written = {"type": kind, "source": source, "target": target, "read_only": read_only}
    assert short is not None
    assert short._replace(options=()) == mounts.read(written, {})


@pytest.mark.parametrize(
    ("entry", "read_only"),
    [("yes", True), ("ON", True), ("true", True), (True, True), ("no", False), (None, False)],
)
def test_read_only_is_a_flag_of_compose(entry: Any, read_only: bool) -> None:
    written = {"type": "bind", "source": "/a", "target": "/b", "read_only": entry}
    read = mounts.read(written, {})
    assert read is not None
    assert read.read_only is read_only


def with_web(**web: Any) -> Declaration:
    declared = minimal()
    declared.stacks["shop"][1]["services"]["web"].update(web)
    return declared


@pytest.mark.parametrize(
    "mount",
    [
        {"type": "${T:-bind}", "source": "/etc/phoenix/tls", "target": "/keys"},
        "${A:-/etc/phoenix}/tls:/keys:ro",
        "${NONE}/etc/phoenix/tls:/keys:ro",
    ],
)
def test_the_host_s_keys_are_reached_by_no_expression(tmp_path: Path, mount: Any) -> None:
    findings = with_web(volumes=[mount]).refused(tmp_path)
    problem(findings, COMPOSE, "services.web.volumes[0]")


def test_a_volume_of_one_letter_is_refused_with_two_ways_out(tmp_path: Path) -> None:
    """Compose takes `d:/data` for a path of Windows, and Docker refuses that as a target."""
    declared = with_web(volumes=["d:/data"])
    declared.stacks["shop"][1]["volumes"] = {"d": {}}
    finding = problem(declared.refused(tmp_path), COMPOSE, "services.web.volumes[0]")
    assert "a path of Windows" in finding.message
    assert "{type: volume, source: d, target: /data}" in finding.fix
    declared = with_web(volumes=[{"type": "volume", "source": "d", "target": "/data"}])
    declared.stacks["shop"][1]["volumes"] = {"d": {}}
    declared.load(tmp_path / "long")


def test_a_volume_that_a_variable_makes_one_must_be_declared(tmp_path: Path) -> None:
    mount = {"type": "${T:-volume}", "source": "${D:-data}", "target": "/d"}
    finding = problem(with_web(volumes=[mount]).refused(tmp_path), COMPOSE,
                      "services.web.volumes[0]")  # fmt: skip
    assert "declares no volume 'data'" in finding.message
