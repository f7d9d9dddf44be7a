"""Help, completion and version: the same for every verb, in 80 columns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer

from phoenix.cli.app import app
from phoenix.cli.helptext import reflowed
from phoenix.declaration.load import load_site
from phoenix.derived.find import names
from phoenix.runs.revision import NONE, Revision
from tests.unit.project_copy import ROOT, phoenix
from tests.unit.project_copy import project as project

NO_SITE = {
    "init",
    "lab up",
    "lab down",
    "lab status",
    "lab shell",
    "schema",
    "check portainer",
    "check proxmox",
}
"""Verbs about the lab itself, which has one inventory, about every site's files, or a server."""
NO_JSON = {"lab up", "lab down", "lab shell", "schema", "logs", "exec"}
"""Verbs that hand over to another program, and the one whose words are JSON already."""


def verbs(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb, those of groups too, as "lab up"."""
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for key, subcommand in inner.items():
        yield from verbs(subcommand, f"{name} {key}".strip())


VERBS = dict(verbs())


def options(name: str) -> set[str]:
    return {option for parameter in VERBS[name].params for option in parameter.opts}


def test_the_offline_verbs_are_there() -> None:
    assert {"validate", "explain", "graph", "plan", "sync", "lab status"} <= set(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_the_common_options(name: str) -> None:
    if name not in NO_SITE:
        assert {"--inventory", "-i"} <= options(name)
    if name not in NO_JSON:
        assert "--json" in options(name)


@pytest.mark.parametrize("name", VERBS)
def test_help_has_examples_that_fit(name: str) -> None:
    result = phoenix(*name.split(), "--help", environment={"COLUMNS": "80", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    start = next(i for i, line in enumerate(lines) if line.strip() == "Examples:")
    assert lines[start - 1].strip() == "", "a blank line stands before the examples"
    examples = [line for line in VERBS[name].help.splitlines() if line.startswith("  phoenix ")]
    assert examples, "an example begins with the command"
    for example in examples:
        assert example.split()[1 : 1 + len(name.split())] == name.split(), example
        shown = [line.rstrip() for line in lines[start:]]
        assert f" {example}" in shown, "it is neither broken nor moved to the margin"


@pytest.mark.parametrize("name", ["", *VERBS])
def test_help_is_what_is_written(name: str) -> None:
    """Rich reads `:CD:` as a picture of a disc, and typer shows a flag as if it took a value."""
    shown = phoenix(*name.split(), "--help", environment={"COLUMNS": "200", "TERM": "dumb"}).stdout
    assert not [letter for letter in shown if ord(letter) >= 0x1F000]
    own = [
        line for line in shown.splitlines() if not re.search("--(help|version|.*-completion)", line)
    ]
    assert "<bool>" not in "".join(own)
    if name:
        arguments = [param for param in VERBS[name].params if param.param_type_name == "argument"]
        for argument in arguments:
            assert argument.display_name_raw == argument.display_name_raw.upper()
            assert "[" not in argument.display_name_raw, "typer writes the brackets"


@pytest.mark.parametrize("name", ["", *VERBS])
def test_both_help_options_say_the_same(name: str) -> None:
    short, long = phoenix(*name.split(), "-h"), phoenix(*name.split(), "--help")
    assert (short.exit_code, short.stdout) == (0, long.stdout)


def test_prose_flows_and_examples_stay() -> None:
    text = """First line
    goes on.

    Prose that is
    on two lines.

    Examples:
      phoenix a
      phoenix b

    Exit code: 0
    or 1."""
    assert reflowed(text) == (
        "First line goes on.\n\nProse that is on two lines.\n\n"
        "Examples:\n  phoenix a\n  phoenix b\n\nExit code: 0 or 1."
    )


def test_version() -> None:
    result = phoenix("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("phoenix 0.")


def test_version_names_the_revision_of_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    for revision, expected in (
        (Revision(commit="0123456789abcdef", dirty=False), " (revision 0123456789ab)\n"),
        (Revision(commit="0123456789abcdef", dirty=True),
         " (revision 0123456789ab, with changes since)\n"),
        (NONE, "\n"),
    ):  # fmt: skip
        monkeypatch.setattr(
            "phoenix.runs.revision.revision", lambda _root, revision=revision: revision
        )
        version = phoenix("--version").stdout
        assert version == f"phoenix {metadata.version('phoenix')}{expected}"


def test_usage_errors_are_no_success() -> None:
    for words in (("explain",), ("validate", "--no-such"), ("graph", "-f", "png"), ("nothing",)):
        assert phoenix(*words).exit_code == 64, words


COMPLETES = """
import os, runpy, sys
for words in sys.argv[1:]:
    os.environ.update(COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    sys.argv = ["phoenix"]
    try:
        runpy.run_module("phoenix", run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
    for stream in (sys.stdout, sys.stderr):
        stream.write("\\f")
"""


def completed(cwd: Path, *lines: str) -> list[tuple[list[str], str]]:
    """What bash would be offered for the last word of each line, and what was written to stderr."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": str(ROOT),
        "_PHOENIX_COMPLETE": "complete_bash",
    }  # fmt: skip
    process = subprocess.run(
        [sys.executable, "-c", COMPLETES, *lines], cwd=cwd, env=environment, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process
    streams = (process.stdout.split("\f")[:-1], process.stderr.split("\f")[:-1])
    return [(output.split(), errors) for output, errors in zip(*streams, strict=True)]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("verb", ["plan", "doctor", "sync", "explain"])
def test_completion_knows_the_names_of_the_site(project: Path, verb: str) -> None:
    zone = "internal.thinkheads.ai"
    by_word = completed(project, *(f"phoenix {verb} {word}" for word in ("qd", "ngin", "")))
    assert by_word[0] == (
        ["qdrant", "qdrant_service", f"qdrant.{zone}", "qdrant_service-production",
         f"qdrant.stack.{zone}"], "",
    )  # fmt: skip
    assert by_word[1] == (["nginx-phoenix", "nginx", f"nginx-phoenix.host.{zone}"], "")
    every = set(by_word[2][0])
    site = load_site(project / "inventories")
    assert every - {"all"} == set(names(site)), "every verb offers the same names"
    assert ("all" in every) == (verb in ("plan", "sync"))


BASH = """
eval "$(phoenix --show-completion bash)"
complete_() {
    COMP_CWORD=$1; shift; COMP_WORDS=("$@")
    _phoenix_completion phoenix
    echo "${COMPREPLY[*]}"
}
complete_ 4 phoenix doctor guest : drp
complete_ 3 phoenix doctor guest :
complete_ 4 phoenix doctor https : //qd
complete_ 2 phoenix doctor QDRANT.I
complete_ 5 phoenix doctor guest : drphoenix --js
complete_ 2 phoenix doctor guest:drp
"""
"""Bash takes a word apart at each colon, and puts the answer in the place of its last part."""


def test_bash_completes_words_with_a_colon(project: Path, tmp_path: Path) -> None:
    program = tmp_path / "phoenix"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m phoenix "$@"\n')
    program.chmod(0o755)
    process = subprocess.run(
        ["bash", "--norc", "-c", BASH], cwd=project, capture_output=True, text=True, check=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path),
             "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    drphoenix, guests, url, capitals, option, whole = process.stdout.splitlines()
    assert drphoenix.split() == ["drphoenix", "drphoenix.host.internal.thinkheads.ai"]
    assert {"phoenix", "1002", "10.0.0.102"} <= set(guests.split())
    assert "qdrant" not in guests.split()
    assert url == "//qdrant.internal.thinkheads.ai"
    assert capitals == "QDRANT.Internal.thinkheads.ai"
    assert option == "--json"
    assert whole.split()[0] == "guest:drphoenix", "where COMP_WORDBREAKS has no colon"


def test_completion_knows_secrets_and_stacks(project: Path) -> None:
    of_secrets, every, stack = completed(
        project,
        "phoenix secrets rotate portainer_ad",
        "phoenix secrets rotate portainer_admin_password ",
        "phoenix add service x --stack qd",
    )
    assert of_secrets == (["portainer_admin_password"], "")
    assert {"traefik_dashboard_password", "qdrant_service_api_key"} <= set(every[0])
    assert "qdrant_service" in stack[0]


def test_completion_knows_the_verbs(project: Path) -> None:
    assert completed(project, "phoenix val") == [(["validate"], "")]


def test_completion_is_silent_where_there_is_no_usable_site(project: Path) -> None:
    assert completed(project, "phoenix explain -i /nowhere/x.py q") == [([], "")]
    (project / "inventories" / "phoenix.py").write_text("raise RuntimeError('no site')\n")
    assert completed(project, "phoenix explain q") == [([], "")]
    (project / "inventories" / "phoenix.py").write_text("import sys; sys.exit('none')\n")
    assert completed(project, "phoenix sync q") == [([], "")]
