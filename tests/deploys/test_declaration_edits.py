"""Files that are edited after a command has read them: its runs do not begin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from operations import declaration_edits, run_refused
from phoenix.declaration import file_digests
from tests.deploys.recorder import Run, run
from tests.unit.site_builder import LXC, minimal


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run_refused, "_reasons", {})
    monkeypatch.setattr(run_refused, "_said", [])
    monkeypatch.setattr(declaration_edits, "_looked", [])
    minimal().load(tmp_path / "site")
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text("timezone = 'Etc/UTC'\n")
    monkeypatch.setenv(
        file_digests.VARIABLE, file_digests.to_text(file_digests.digests(data(tmp_path)))
    )
    return tmp_path


def data(folder: Path) -> dict[str, str]:
    return {
        "site_inventories": str(folder / "site"),
        "site_stacks": str(folder / "site" / "stacks"),
        "site_secrets": str(folder / "site" / "secrets.json"),
        "site_sops": str(folder / "site" / "secrets.sops.json"),
    }


def deployed(folder: Path) -> Run:
    return run("base", folder / "site" / "secrets.json", **data(folder))  # type: ignore[arg-type]


def test_a_run_on_the_files_that_were_read_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOENIX_SOPS_FILE", str(folder / "site" / "mine"))
    for secrets in ("secrets.json", "team.sops.yaml", "mine"):  # a run writes them
        (folder / "site" / secrets).write_text("{}")
    for left in (".#phoenix.json", "x.json~", ".x.swp"):
        (folder / "site" / left).write_text("an editor's")
    done = deployed(folder)
    assert done.sent
    assert run_refused.reason() == ""


@pytest.mark.parametrize(
    "name",
    [
        *(f"site/{LXC}", "site/stacks/shop/docker-compose.yml", "group_data/all.py"),
        "site/data/notes/docker-compose.yml",  # where `compose_file_path` may lead
    ],
)
def test_a_run_on_others_begins_nowhere(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        file.write("\n")
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        deployed(folder)
    words = [record.message for record in caplog.records]
    assert sum(f"does not go on ({name})" in line for line in words) == 1, words
    assert sum("not done: this run is refused" in line for line in words) == 5, words
    assert not any("executed 1" in line for line in words)


@pytest.mark.parametrize("change", ["new", "gone"])
def test_a_file_that_came_or_went_is_an_edit(folder: Path, change: str) -> None:
    before = file_digests.to_text(file_digests.digests(data(folder)))
    place = folder / "site" / "stacks" / "shop"
    if change == "new":
        (place / "app.conf").write_text("x")
    else:
        (place / "phoenix.json").unlink()
    name = "app.conf" if change == "new" else "phoenix.json"
    assert file_digests.changed_files(before, data(folder)) == (f"site/stacks/shop/{name}",)


def test_of_very_many_files_one_digest_is_kept(folder: Path) -> None:
    many = folder / "site" / "stacks" / "shop" / "files"
    many.mkdir()
    for number in range(2500):
        (many / f"{number}").write_text("x")
    before = file_digests.to_text(file_digests.digests(data(folder)))
    assert len(before) < 200
    assert set(json.loads(before)) == {""}
    assert file_digests.changed_files(before, data(folder)) == ()
    (many / "7").write_text("y")
    assert file_digests.changed_files(before, data(folder)) == ("one of its files",)
