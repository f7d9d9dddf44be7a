"""The register on the hypervisor, as its shell keeps it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from phoenix.derived.register import ADD, DROP, Entry, removed_hosts
from phoenix.runs import history
from phoenix.secrets import record
from phoenix.shell import Script
from tests.unit.site_builder import minimal


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "register"


def run(script: Script, file: Path, *lines: str) -> None:
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run([*script.argv(file)], input=text, text=True, check=True)


def test_lines_are_added_once_and_taken_away_whole(file: Path) -> None:
    run(ADD, file, "stack\tb", "host\ta")
    run(ADD, file, "host\ta", "host\tab")
    assert file.read_text() == "host\ta\nhost\tab\nstack\tb\n"
    assert file.stat().st_mode & 0o777 == 0o600
    run(DROP, file, "host\ta", "host\t", "never there")
    assert file.read_text() == "host\tab\nstack\tb\n"
    run(DROP, file, "host\tab", "stack\tb")
    assert file.read_text() == ""


@pytest.mark.parametrize("program", ["awk", "sort"])
def test_a_program_that_is_killed_leaves_the_register_as_it_was(
    file: Path, tmp_path: Path, program: str
) -> None:
    run(ADD, file, "stack\ta", "stack\tb")
    killed = tmp_path / "bin" / program
    killed.parent.mkdir()
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    path = f"{killed.parent}:{os.environ['PATH']}"
    done = subprocess.run([*ADD.argv(file)], input="stack\tc\n", text=True, env={"PATH": path})
    assert done.returncode != 0
    assert file.read_text() == "stack\ta\nstack\tb\n"
    run(ADD, file, "stack\tc")
    assert file.read_text() == "stack\ta\nstack\tb\nstack\tc\n"


def test_nothing_is_taken_from_a_register_that_is_not_there(file: Path) -> None:
    run(DROP, file, "host\ta")
    assert not file.exists()


def test_stacks_of_hosts_that_the_site_no_longer_has(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    guest = site.guests[0]
    entries = (
        Entry("stack", "shop", "gone", "10.0.0.200", 7),
        Entry("stack", "shop", "gone too", "10.0.0.201", 8),
        Entry("host", "gone", "gone", "10.0.0.200", 7),
        Entry("stack", "here", guest.name, "10.0.0.202", 9),  # it has another address now
        Entry("stack", "renamed", "old-name", str(guest.address), 9),
    )
    assert removed_hosts(entries, site) == {"shop": ("gone", "gone too")}


def test_a_machine_has_its_last_name(file: Path) -> None:
    run(
        ADD,
        file,
        "host\tz\tz\t10.0.0.5\t7",
        "host\tother\tother\t10.0.0.6\t-",
        "stack\ts\tz\t10.0.0.5\t7",
    )
    run(ADD, file, "host\ta\ta\t10.0.0.5\t7", "host\tnew\tnew\t10.0.0.7\t-")
    names = [line.split("\t")[1] for line in file.read_text().splitlines()]
    assert names == ["a", "new", "other", "s"]


@pytest.mark.parametrize(
    "script", [ADD, record.WRITE, history.APPEND], ids=lambda program: program.name
)
def test_what_only_root_reads_shuts_its_folder_to_nobody(script: Script, tmp_path: Path) -> None:
    """It is the folder of all configuration, which services read as users of their own."""
    file = tmp_path / "lib/phoenix/file"
    (tmp_path / "lib").mkdir()
    words = [str(file)] if script is not history.APPEND else [str(tmp_path / "lock"), str(file)]
    subprocess.run(script.argv(*words), input="line\n", text=True, check=True)
    assert file.parent.stat().st_mode & 0o777 == 0o755
    assert file.stat().st_mode & 0o777 == 0o600
