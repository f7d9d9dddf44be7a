"""Hostile and broken files: each is refused with a reason and a fix, or does no harm.

`python -m tests.fuzz` looks for more; what it found is kept in tests/data/hostile.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from phoenix.declaration import json_keys
from phoenix.declaration import settings as setting_model
from phoenix.declaration.load import load_site
from phoenix.site.findings import ConfigError, SettingError
from phoenix.site.model import Site
from tests.fuzz.__main__ import run_case
from tests.fuzz.cases import SETTINGS, site_files, texts_within
from tests.fuzz.outputs import outputs
from tests.fuzz.targets import folder, readable, sound_site, write
from tests.unit.project_copy import ROOT

CORPUS = sorted((ROOT / "tests/data/hostile").glob("*.json"))


@pytest.mark.parametrize("file", CORPUS, ids=[file.stem for file in CORPUS])
def test_case_that_once_did_harm(file: Path) -> None:
    kept = json.loads(file.read_text())
    run_case(kept["target"], kept["case"])


def test_generated_files_give_findings_within_time_and_memory() -> None:
    """Few examples, the same each time, in a child with a limit on its memory."""
    from tests.fuzz.targets import TARGETS

    words = ["--seed", "1", "--examples", "25", "--targets", ",".join(TARGETS)]
    result = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *words], cwd=ROOT, check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.rpartition("COUNT ")[2]) >= 25 * len(TARGETS), result.stdout


MARK = "INJECTED"
TEXTS = {
    "line": f"x\n{MARK}", "carriage return": f"x\r{MARK}",
    "null": f"x\0{MARK}", "tab": f"x\t{MARK}",
    "double quote": f'x"{MARK}', "single quote": f"x'{MARK}", "command": f"$({MARK})",
    "back quotes": f"`{MARK}`", "second command": f"x; {MARK}", "template": "{{ " + MARK + " }}",
    "property": f"x,{MARK}=1", "look-alikes": f"\u0430\u2028{MARK}", "turned": f"x\u202e{MARK}",
    "option": f"--{MARK}", "long": "x" * 5000, "glob": f"/[1-9]{{a,b}}{MARK}",
}  # fmt: skip
PATTERN = re.compile(rf"(?:^|[\s,;\"'`$(\[{{=]|\r|--){MARK}", re.MULTILINE)
# Free text of people, on one line of its own; and what Compose is given as it was written.
FREE = re.compile(r"rule |.* compose\Z")


def places() -> Iterator[tuple[str, str]]:
    """Label of a file and a path in it: one for each kind of place."""
    known = set()
    for label, data in site_files().items():
        if label.endswith(".json"):
            for path, _, _ in texts_within(data):
                kind = re.sub(r"environments\.\w+", "environments", path)
                known.add((label.partition("/")[0], kind))
                yield label, path


PLACES = sorted(
    {
        (re.sub(r"stacks/\w+/", "", label), re.sub(r"environments\.\w+", "environments", path)): (
            label, path,
        )
        for label, path in places()
    }.values()
)  # fmt: skip


def text_fields(model: type[BaseModel]) -> Iterator[str]:
    """Names of the fields of a model, and of those within it, that take text."""
    for name, info in model.model_fields.items():
        if isinstance(info.json_schema_extra, dict) and "unused" in info.json_schema_extra:
            continue
        parts = list(_parts(info.annotation))
        if str in parts:
            yield name
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from text_fields(part)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    keys_alone = get_origin(annotation) is dict
    for part in get_args(annotation)[1 if keys_alone else 0 :]:
        yield from _parts(part)


def test_every_text_field_of_the_models_is_tried() -> None:
    tried = {step for _, path in PLACES for step in path.split(".")}
    models = (
        json_keys.RawLxc,
        json_keys.RawVm,
        json_keys.RawSite,
        json_keys.RawVmDefaults,
        json_keys.RawStack,
        json_keys.RawEnvironment,
    )
    wanted = {name for model in models for name in text_fields(model)}
    assert wanted <= tried, wanted - tried


def harmless(made: Site, settings: setting_model.Settings | None = None) -> None:
    """Nothing that is made of a site has the mark as a word or line of its own."""
    for name, text in outputs(made, settings).items():
        assert "\0" not in text, name
        if name.endswith((".yml", ".json")):
            assert not any(PATTERN.search(word) for word in words(yaml.safe_load(text))), text
        elif not FREE.match(name):
            assert not PATTERN.search(text), (name, text)
        else:
            assert name.endswith(" compose") or len(text.splitlines()) == 1, (name, text)


def words(data: Any) -> Iterator[str]:
    """Every key and every text in data."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield str(key)
            yield from words(value)
    elif isinstance(data, list):
        for item in data:
            yield from words(item)
    else:
        yield str(data)


@pytest.mark.parametrize(("label", "path"), PLACES, ids=[f"{a}: {b}" for a, b in PLACES])
def test_hostile_text_is_refused_or_stays_one_word(label: str, path: str) -> None:
    for text in TEXTS.values():
        data = copy.deepcopy(site_files()[label])
        holder, key = next((h, k) for where, h, k in texts_within(data) if where == path)
        holder[key] = text
        write(folder(), label, json.dumps(data))
        try:
            made = load_site(folder())
        except ConfigError as error:
            readable((*error.findings, *error.warnings))
        else:
            readable(made.warnings)
            harmless(made)
        finally:
            write(folder(), label, json.dumps(site_files()[label]))


SETTING_PLACES = sorted({path for path, _, _ in texts_within(SETTINGS)})


@pytest.mark.parametrize("path", SETTING_PLACES)
def test_hostile_setting_is_refused_or_stays_one_word(path: str) -> None:
    for text in TEXTS.values():
        data = copy.deepcopy(SETTINGS)
        holder, key = next((h, k) for where, h, k in texts_within(data) if where == path)
        holder[key] = text
        chosen, findings = setting_model.read(data)
        readable(findings)
        if path.split(".")[0] not in {setting_model.name_of(one.path) for one in findings}:
            with contextlib.suppress(SettingError, ConfigError):  # said by validate as well
                harmless(sound_site(), chosen)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "too long", "no text"])
def test_file_that_is_none(tmp_path: Path, kind: str) -> None:
    for label, data in site_files().items():
        write(tmp_path, label, json.dumps(data))
    for label in site_files():
        file = tmp_path / label
        before = file.read_bytes()
        file.unlink()
        if kind == "pipe":
            os.mkfifo(file)
        elif kind == "device":
            file.symlink_to("/dev/zero")
        elif kind == "folder":
            file.mkdir()
        elif kind == "too long":
            with file.open("wb") as handle:
                handle.truncate(200 * 1024 * 1024)
        else:
            file.write_bytes(b"\xff\xfe{}")
        with pytest.raises(ConfigError) as caught:
            load_site(tmp_path)
        assert [one.file for one in caught.value.findings] == [label], caught.value
        readable(caught.value.findings)
        file.rmdir() if kind == "folder" else file.unlink()
        file.write_bytes(before)
