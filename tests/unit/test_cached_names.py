"""Names that are cached for completion, and read anew after any change."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from phoenix.cli import cached_names
from phoenix.cli.cached_names import matching, names

HOUR = 3600


class Loader:
    """Reads a folder as a declaration is read, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __call__(self) -> cached_names.Names:
        self.count += 1
        words = [path.read_text() for path in sorted(self.folder.iterdir()) if path.is_file()]
        if (self.folder / "more" / "absent").exists():
            words.append("more")
        with suppress(FileNotFoundError):
            words.append((self.folder / "deep" / "optional").read_text())
        return {"": words, "guest": words[:1]}


def settle(folder: Path) -> None:
    """Files and folders that nobody has changed for an hour."""
    for path in (folder, *folder.rglob("*")):
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - HOUR * 10**9))


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "site"
    (folder / "deep").mkdir(parents=True)
    (folder / "one").write_text("first")
    (folder / "two").write_text("second")
    settle(folder)
    return Loader(folder)


def test_names_are_read_once(load: Loader, tmp_path: Path) -> None:
    first = names(Path("site.py"), load)
    assert names(Path("site.py"), load) == first == {"": ["first", "second"], "guest": ["first"]}
    assert load.count == 1
    assert names(Path("other.py"), load) == first, "another inventory"
    assert load.count == 2
    (file, _) = sorted((tmp_path / "cache" / "phoenix").iterdir())
    file.write_text("{")
    names(Path("site.py"), load)
    names(Path("other.py"), load)
    assert load.count == 3, "a damaged file is read no further, and written anew"


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "one").write_text("changed"),
        lambda folder: (folder / "three").write_text("third"),
        lambda folder: (folder / "two").unlink(),
        lambda folder: (folder / "two").rename(folder / "four"),
        lambda folder: (folder / "deep" / "optional").write_text("optional"),
        lambda folder: (folder / "more").mkdir(),
    ],
)
def test_a_change_is_seen_at_once(load: Loader, change: Callable[[Path], object]) -> None:
    before = names(Path("site.py"), load)
    change(load.folder)
    after = names(Path("site.py"), load)
    assert load.count == 2
    assert after == Loader(load.folder)()
    # What has just changed may change again with the same time: it is kept later.
    names(Path("site.py"), load)
    assert load.count == 3
    settle(load.folder)
    names(Path("site.py"), load)
    names(Path("site.py"), load)
    assert load.count == 4
    assert before != after or (load.folder / "more").is_dir() or (load.folder / "four").exists()


def test_names_are_those_of_this_environment(
    load: Loader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names(Path("site.py"), load)
    monkeypatch.setenv("PHOENIX_ENVIRONMENT", "staging")
    names(Path("site.py"), load)
    assert load.count == 2
    monkeypatch.chdir(tmp_path)
    names(Path("site.py"), load)
    assert load.count == 3


def test_a_site_that_cannot_be_read_is_not_kept(load: Loader) -> None:
    def faulty() -> cached_names.Names:
        load()
        raise ValueError("faulty")

    for _ in range(2):
        with pytest.raises(ValueError, match="faulty"):
            names(Path("site.py"), faulty)
    assert load.count == 2


def test_a_cache_that_cannot_be_written_stops_nobody(
    load: Loader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert names(Path("site.py"), load)[""] == ["first", "second"]


def test_words_that_can_follow() -> None:
    known = {
        "": ["wiki", "web", "shop"], "guest": ["web"], "stack": ["shop", "Shopping"],
        "service": ["wiki", "wiki.a.test"],
    }  # fmt: skip
    assert matching(known, "w") == ["wiki", "web"]
    assert matching(known, "W") == ["Wiki", "Web"], "Typer and shells compare the very letters"
    assert matching(known, "stack:S") == ["stack:Shop", "stack:Shopping"]
    assert matching(known, "https://w") == ["https://wiki.a.test"]
    assert matching(known, "", "guest") == ["web"]
    assert matching(known, "guest:", "guest") == ["guest:web"]
    assert matching(known, "stack:s", "guest") == []
    assert matching(known, "nothing:") == []
    assert matching(known, ":") == []
