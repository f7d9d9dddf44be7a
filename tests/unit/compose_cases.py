"""Texts for the tests of compose files, and Compose itself where the machine has it."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from hypothesis import strategies as st

NAMES = ("A", "B", "LONG_name9")
_literals = st.text("ab1 /.:-+?_=#é", max_size=6)
_names = st.sampled_from(NAMES)


def _expressions(words: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from((":-", "-", ":+", "+"))
    return st.one_of(
        _names.map(lambda name: f"${{{name}}}"),
        _names.map(lambda name: f"${name}/"),
        st.just("$$"),
        st.builds(lambda name, operator, word: f"${{{name}{operator}{word}}}",
                  _names, operators, words),
    )  # fmt: skip


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(parts, max_size=4).map("".join)


_words = st.recursive(_literals, lambda inner: _joined(_literals | _expressions(inner)))
templates = _joined(_literals | st.sampled_from(("{", "}", "$ ")) | _expressions(_words))
"""Texts that Compose accepts whatever the variables are."""

values = st.dictionaries(st.sampled_from(NAMES), st.text(max_size=8).filter(
    lambda text: "\0" not in text and text.isprintable()))  # fmt: skip


@functools.cache
def compose_command() -> tuple[str, ...] | None:
    """The words that start Compose v2; None where the machine has none."""
    words: tuple[str, ...]
    for words in (("docker", "compose"), ("docker-compose",)):
        if program := shutil.which(words[0]):
            words = (program, *words[1:])
            process = subprocess.run([*words, "version", "--short"], capture_output=True, text=True)
            if process.returncode == 0 and process.stdout.strip().lstrip("v") >= "2":
                return words
    return None


def compose_environment(
    folder: Path, source: Mapping[str, str], env_file: str
) -> dict[str, str | None]:
    """What `docker compose config` makes of the environment of one service."""
    command = compose_command()
    assert command is not None
    service = {"image": "example/web:1", "environment": dict(source)}
    (folder / "docker-compose.yml").write_text(json.dumps({"services": {"web": service}}))
    (folder / "stack.env").write_text(env_file)
    process = subprocess.run(
        [*command, "--env-file", "stack.env", "config", "--format", "json"],
        cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": "/"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    result: dict[str, str | None] = json.loads(process.stdout)["services"]["web"]["environment"]
    return {name: text and text.replace("$$", "$") for name, text in result.items()}
