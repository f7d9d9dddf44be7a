"""What goes to the hosts with hostile text in every place that takes it: commands and files.

The places are found by reflection (`tests.unit.text_places`). Each deploy is run once with a plain
word and once with the hostile text in all of them; what was sent differs in that text alone.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from phoenix.secrets import catalog
from phoenix.site.findings import Finding
from tests.deploys.recorder import Run, run
from tests.fuzz.cases import SETTINGS, site_files
from tests.fuzz.targets import write
from tests.unit.output_parts import differences
from tests.unit.test_injection import PLACES, load
from tests.unit.text_places import FILES, Place, put

PLAIN = "Plainword"
HOSTILE = "x\"';$(id)`#{{x}}%,&|<>*?\\y"
GIVEN = ("step_ca_password", "thinkheads_ai_app_database_pass", "registry_password",
         "qdrant_service_file", "backup_passphrase")  # fmt: skip
DEPLOYS = ("base", "dns", "step_ca", "certificates", "traefik", "home", "nginx", "admission",
           "docker", "portainer", "stacks", "verify")  # fmt: skip


pytestmark = pytest.mark.long


@cache
def free_places() -> list[Place]:
    """Those that take both texts: a thousand loads of the site, so for who runs this file alone."""
    return [
        place
        for place in PLACES
        if all(not isinstance(load(place, text)[0], Finding) for text in (PLAIN, HOSTILE))
    ]


def test_places_with_free_text_are_few_and_known() -> None:
    """A new one is looked at: has it no form of its own?"""
    names = {last for place in free_places() if isinstance(last := place.steps[-1], str)}
    assert {"comment", "description", "value", "step_ca_organisation"} <= names
    assert names <= {
        "author", "ca_file", "comment", "compose_file_path", "compress", "description",
        "features", "identity_file", "mount_point", "name", "path", "proxmox_ca_file",
        "step_ca_organisation", "traefik_dashboard_user", "type", "username",
        "value", "version", "QDRANT_LOG_LEVEL",
    }, names  # fmt: skip


def sent(deploy: str, folder: Path, text: str) -> Run:
    """What a deploy sends with `text` in all of these places."""
    folder.mkdir()
    files: dict[str, Any] = dict(site_files())
    settings: dict[str, Any] = dict(SETTINGS)
    for place in free_places():
        if place.kind == "settings":
            settings = put(settings, place, text)
        else:
            files[FILES[place.kind]] = put(files[FILES[place.kind]], place, text)
    for label, data in files.items():
        write(folder, label, json.dumps(data))
    chosen = {str(place.steps[0]) for place in free_places() if place.kind == "settings"}
    return run(
        deploy, folder / "secrets.json", site_inventories=str(folder),
        site_stacks=str(folder / "stacks"),
        **{name: settings[name] for name in chosen if not name.startswith("proxmox_")},
    )  # fmt: skip


def outputs(done: Run) -> dict[str, str]:
    """Every command and file, by host and number or path; a script's words are one output."""
    texts: dict[str, str] = {}
    asked: Counter[str] = Counter()
    for request in done.sent:
        if request.command == "apt-get update":  # once a process
            continue
        number = asked[request.host] = asked[request.host] + 1
        texts[f"{request.host} {number}.sh"] = request.command
        files = request.files()
        texts |= {f"{request.host} {number} {path}": content for path, content in files.items()}
        if not files:
            texts[f"{request.host} {number} stdin"] = request.stdin
    return texts


@pytest.mark.parametrize("deploy", DEPLOYS)
def test_hostile_text_is_sent_in_the_place_of_a_word_and_nowhere_else(
    deploy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {use.name: use.generate() for use in catalog.PLATFORM if use.generated}
    for name, value in (values | dict.fromkeys(GIVEN, "planted-5ecret-of-the-test")).items():
        monkeypatch.setenv(f"PHOENIX_SECRET_{name.upper()}", value)
    plain = sent(deploy, tmp_path / "a", PLAIN)
    hostile = sent(deploy, tmp_path / "b", HOSTILE)
    assert (plain.operations, plain.failed) == (hostile.operations, hostile.failed)
    plain_texts, other = outputs(plain), outputs(hostile)
    assert plain_texts, "nothing was sent"
    assert differences(plain_texts, PLAIN, other, HOSTILE) == []
