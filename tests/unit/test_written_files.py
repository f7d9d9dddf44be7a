"""What the deploys write on hosts is what a person has seen last: no line changes unseen.

Other tests say why a line must be there. This one says that nothing else has changed: a line of a
template that is lost, a mode, an owner, a check of a site.
"""

from __future__ import annotations

import difflib

import pytest

from tests.deploys.written_files import SITES, WRITTEN, everything


@pytest.fixture(scope="module")
def now() -> dict[str, str]:
    return everything()


@pytest.mark.parametrize("name", SITES)
def test_files_are_as_they_were_seen_last(now: dict[str, str], name: str) -> None:
    file = WRITTEN / f"{name}.txt"
    before = file.read_text().splitlines()
    changed = list(difflib.unified_diff(before, now[name].splitlines(), "before", "now", "", "", 1))
    assert not changed, "\n".join(
        ["hosts get other files: read it, and renew by `python -m tests.deploys.written_files`",
         *changed[:60]]
    )  # fmt: skip


def test_no_value_of_a_secret_and_no_hash_stands_there(now: dict[str, str]) -> None:
    for text in now.values():
        assert "planted-" not in text
        assert "BEGIN" not in text
