"""A file that a person names never fills the machine's memory, and no verb hangs on one."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix import bounded
from tests.unit.project_copy import phoenix
from tests.unit.project_copy import project as project

ENDLESS = "/dev/zero"


def test_a_file_is_read_whole_up_to_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    assert bounded.read(file, 5) == b"12345"
    with pytest.raises(OSError, match="longer than 4 bytes"):
        bounded.read(file, 4)


@pytest.mark.parametrize(
    "words",
    [
        ("secrets", "import", ENDLESS),
        ("secrets", "import", ENDLESS, "--identity", ENDLESS),
        ("check", "portainer", "https://a.example:1", "--ca", ENDLESS, "--key-file", ENDLESS),
    ],
    ids=" ".join,
)
def test_a_file_without_an_end_ends_a_verb_with_its_reason(
    words: tuple[str, ...], project: Path
) -> None:
    del project
    why = str(phoenix(*words).exception)
    assert f"{ENDLESS} cannot be read: it is longer than" in why
