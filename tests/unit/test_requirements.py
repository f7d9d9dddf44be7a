"""The pinned requirements follow pyproject.toml: operators get no tool of the tests."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab.settings import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(text) for text in PROJECT["dependencies"]]
DEV = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]


def pins(file: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> version and hashes of a pinned file."""
    pins: dict[str, tuple[str, frozenset[str]]] = {}
    text = (ROOT / file).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if not line or line.startswith(("#", " ")):
            continue
        match = re.match(r"(\S+)==(\S+) +--hash", line)
        assert match, f"{file}: no pin with a hash: {line[:80]}"
        name, version = match.groups()
        pins[canonicalize_name(name)] = version, frozenset(re.findall(r"sha256:\w{64}", line))
    return pins


OPERATORS, EVERYTHING = pins("requirements.txt"), pins("requirements-dev.txt")


@pytest.mark.parametrize(
    ("file", "requirements"),
    [("requirements.txt", RUNTIME), ("requirements-dev.txt", RUNTIME + DEV)],
    ids=["operators", "dev"],
)
def test_each_requirement_is_pinned_within_its_range(
    file: str, requirements: list[Requirement]
) -> None:
    pinned = pins(file)
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{requirement}: not in {file}; make it anew as CONTRIBUTING.md says"
        assert requirement.specifier.contains(pinned[name][0]), f"{file}: {name} {pinned[name][0]}"


def test_operators_get_no_tool_of_the_tests() -> None:
    tools = {canonicalize_name(requirement.name) for requirement in DEV}
    needed = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    # pyinfra brings this one by itself.
    assert tools & OPERATORS.keys() - needed <= {"types-paramiko"}


def test_both_files_pin_the_same() -> None:
    assert {name: EVERYTHING.get(name) for name in OPERATORS} == OPERATORS


def test_files_name_no_index_and_no_local_directory() -> None:
    for file in ("requirements.txt", "requirements-dev.txt"):
        assert not re.search(r"^(--|-[ief])|://|(^| )/", (ROOT / file).read_text(), re.M), file
