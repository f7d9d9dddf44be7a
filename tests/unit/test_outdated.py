"""Pins beside the newest releases that are known; references of images; `phoenix outdated`."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from phoenix.cli.app import app
from phoenix.components import releases
from phoenix.components.artifacts import ArtifactError, check_archive, version_tuple
from phoenix.components.releases import Fix, Known, Release, pins
from phoenix.declaration import image_reference
from phoenix.declaration import pins as defaults
from phoenix.declaration.image_reference import Image
from tests.unit.project_copy import copied
from tests.unit.site_builder import minimal, problem

DIGEST = "sha256:" + "0" * 63 + "a"
LISTED = Known(
    checked=date(2026, 1, 1),
    release=(
        Release(name="tool", series="1.2", newest="1.2.10",
                fix=(Fix(version="1.2.3", why="CVE-1"), Fix(version="1.2.9", why="CVE-2"))),
        Release(name="acme/web", series="2", newest="2.4.0"),
    ),
)  # fmt: skip


def program(version: str, **more: str) -> dict[str, dict[str, dict[str, object]]]:
    pin = {"version": version, "url": "https://a/b", "sha256": "0" * 64, **more}
    return {"tool": {"amd64": dict(pin)}}


@pytest.mark.parametrize(
    ("version", "state", "why"),
    [
        ("1.2.2", "outdated", "CVE-1; CVE-2"),
        ("1.2.3", "outdated", "CVE-2"),
        ("1.2.9", "outdated", ""),
        ("1.2.10", "current", ""),
        ("1.2.11", "current", ""),
        ("1.20.1", "unknown", ""),
        ("0.9", "unknown", ""),
    ],
)
def test_a_pin_is_compared_within_its_series(version: str, state: str, why: str) -> None:
    (pin,) = pins(program(version), [], listed=LISTED)
    assert (pin.state, pin.why) == (state, why)
    assert pin.newest == ("" if state == "unknown" else "1.2.10")


@pytest.mark.parametrize(
    ("reference", "state", "proof"),
    [
        ("acme/web:2.3", "outdated", "tag alone"),
        ("docker.io/acme/web:v2.3.1", "outdated", "tag alone"),
        (f"acme/web:2.4.0@{DIGEST}", "current", "digest"),
        (f"acme/web@{DIGEST}", "unknown", "digest"),
        ("acme/web:2.4.0-alpine", "current", "tag alone"),
        ("acme/web", "unknown", "tag alone"),
        ("acme/web:1", "unknown", "tag alone"),
        ("registry.test:5000/acme/web:2.3", "unknown", "tag alone"),
        ("acme/load:2.3", "unknown", "archive"),
    ],
)
def test_an_image_is_known_by_its_repository(reference: str, state: str, proof: str) -> None:
    images = [(reference, "here"), (reference, "there"), (reference, "here")]
    (pin,) = pins({}, images, ["acme/load:2.3"], listed=LISTED)
    assert (pin.state, pin.proof) == (state, proof)
    assert pin.places == ["here", "there"]


def test_an_archive_without_a_sum_of_its_own_is_told() -> None:
    by_program = {"sha256": "", "binary_sha256": "0" * 64, "member": "tool"}
    (pin,) = pins(program("1.2.10", **by_program), [], listed=LISTED)
    assert pin.proof == "program alone"
    (pin,) = pins(program("1.2.10", member="tool"), [], listed=LISTED)
    assert pin.proof == "digest"


def test_those_with_something_to_do_come_first() -> None:
    images = [("acme/web:2.4.0", "a"), ("b/c:1", "b"), ("acme/web:2.3", "c")]
    pinned = pins(program("1.2.10"), images, listed=LISTED)
    assert [pin.state for pin in pinned] == ["outdated", "unknown", "current", "current"]


def test_the_list_of_the_maintainers_is_sound() -> None:
    known = releases.release_list()
    series = [(release.name, release.series) for release in known.release]
    assert len(series) == len(set(series)), "a series is told twice"
    for release in known.release:
        newest = version_tuple(release.newest)
        assert newest[: len(version_tuple(release.series))] == version_tuple(release.series)
        assert all(version_tuple(fix.version) <= newest for fix in release.fix), release
        ordered = [version_tuple(fix.version) for fix in release.fix]
        assert ordered == sorted(ordered), release


def test_every_default_pin_is_in_the_list() -> None:
    images = [(defaults.PORTAINER_IMAGE, "x"), (defaults.PORTAINER_AGENT_IMAGE, "x")]
    pinned = pins(defaults.ARTIFACTS, images)
    assert {pin.name for pin in pinned} == {
        "step-ca", "traefik", "portainer/portainer-ce", "portainer/agent",
    }  # fmt: skip
    assert not [pin for pin in pinned if pin.state == "unknown"]


def test_server_and_agent_are_of_one_release() -> None:
    server = image_reference.parse(defaults.PORTAINER_IMAGE)
    agent = image_reference.parse(defaults.PORTAINER_AGENT_IMAGE)
    assert server
    assert agent
    assert server.tag == agent.tag


# -- the verb --------------------------------------------------------------------------------------


def outdated(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["outdated", *words])
    return done.exit_code, done.output


def test_the_verb_tells_version_reason_and_proof(tmp_path: Path) -> None:
    root = copied(tmp_path)
    (root / "group_data/all.py").write_text(
        'portainer_image = "portainer/portainer-ce:2.39.1"\n'
        f'chosen = {{"THINKHEADS_AI_APP_IMAGE": "app:1@{DIGEST}"}}\n'
        'stack_variables = {"thinkheads_ai_app": chosen}\n'
    )
    inventory = str(root / "inventories/phoenix.py")
    code, text = outdated("-i", inventory, "--json")
    answer = json.loads(text)
    assert code == 2
    by_name = {pin["name"]: pin for pin in answer["pins"]}
    portainer = by_name["portainer/portainer-ce"]
    assert (portainer["version"], portainer["newest"]) == ("2.39.1", "2.39.9")
    assert "CVE-2026-134804" in portainer["why"]
    assert "CVE-2026-44848" in portainer["why"]
    assert portainer["proof"] == "tag alone"
    assert portainer["places"] == ["portainer_image"]
    assert by_name["app"]["proof"] == "digest"
    assert by_name["app"]["places"] == ["stacks/thinkheads_ai_app (production)"]
    assert answer["outdated"] >= 1
    code, text = outdated("-i", inventory)
    assert code == 2
    assert "CVE-2026-134804" in text.replace("\n", "")


def test_a_faulty_declaration_is_an_error(tmp_path: Path) -> None:
    root = copied(tmp_path)
    (root / "inventories/phoenix_vm_configs.json").write_text("{")
    done = CliRunner().invoke(app, ["outdated", "-i", str(root / "inventories/phoenix.py")])
    assert done.exit_code == 1


# -- references ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "image"),
    [
        ("nginx", Image("nginx", "", "")),
        ("nginx:1.29", Image("nginx", "1.29", "")),
        (f"nginx:1.29@{DIGEST}", Image("nginx", "1.29", DIGEST)),
        (f"r.test:5000/a/b@{DIGEST}", Image("r.test:5000/a/b", "", DIGEST)),
        ("r.test:5000/a/b:1", Image("r.test:5000/a/b", "1", "")),
        ("nginx@sha256:12", None),
        ("nginx:1@sha512:" + "0" * 64, None),
        (f"nginx:1@{DIGEST.upper()}", None),
        (f"nginx:1@{DIGEST}0", None),
        ("nginx:1 ", None),
        ("", None),
    ],
)
def test_a_reference_has_three_parts(reference: str, image: Image | None) -> None:
    assert image_reference.parse(reference) == image


@pytest.mark.parametrize("name", ["nginx", "library/nginx", "docker.io/library/nginx",
                                  "index.docker.io/library/nginx"])  # fmt: skip
def test_docker_hub_has_one_name(name: str) -> None:
    parsed = image_reference.parse(f"{name}:1")
    assert parsed
    assert parsed.name == "nginx"


@pytest.mark.parametrize(
    "digest", ["sha256:", "sha256:abc", "sha256:" + "G" * 64, "md5:" + "0" * 32]
)
def test_half_a_digest_is_refused_in_a_stack_and_in_the_settings(
    tmp_path: Path, digest: str
) -> None:
    declared = minimal()
    declared.stacks["shop"][1]["services"]["web"]["image"] = f"acme/web:1@{digest}"
    finding = problem(
        declared.refused(tmp_path), "stacks/shop/docker-compose.yml", "services.web.image"
    )
    assert "no SHA-256 digest" in finding.message
    assert "imagetools inspect" in finding.fix


def test_an_archive_is_named_by_its_tag() -> None:
    proven = {"url": "file:///a", "sha256": "0" * 64}
    check_archive("acme/web:1", proven)  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="name it 'acme/web:1' here and where it is used"):
        check_archive(f"acme/web:1@{DIGEST}", proven)  # type: ignore[arg-type]
