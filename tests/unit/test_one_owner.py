"""Names of units and places on hosts are written once: two that differ would be found by nobody."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix.components.answers import unexpected
from phoenix.site import ports

ROOT = Path(__file__).parents[2]
PACKAGES = ("phoenix", "deploys", "operations", "facts")
UNIT = re.compile(r"(?<![\w/@.-])[\w@-]+\.(?:service|timer|socket)(?![\w.])")
PLACE = re.compile(r"(?<![\w.}])/(?:etc|run|usr/local|var/lib)/[\w./-]*phoenix[\w./-]*\w")
TRAILING = {
    # A stack's containers may mount nothing of these, nor of what is below them.
    "/etc/phoenix", "/var/lib/phoenix", "/var/lib/phoenix-acme",
}  # fmt: skip


def texts(tree: ast.Module) -> Iterator[str]:
    """Text that code uses: docstrings, of constants too, are for readers."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ):
            yield node.value


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """The text of each module."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {
        str(path.relative_to(ROOT)): "\n".join(texts(ast.parse(path.read_text()))) for path in files
    }


def owners(written: dict[str, str], pattern: re.Pattern[str]) -> dict[str, list[str]]:
    """The modules that write each word, of those that several write."""
    modules_by_word: dict[str, list[str]] = {}
    for module, text in written.items():
        for word in {*pattern.findall(text)}:
            modules_by_word.setdefault(word, []).append(module)
    assert len(modules_by_word) > 10, "the search sees the project"
    return {word: modules for word, modules in modules_by_word.items() if len(modules) > 1}


def test_a_unit_has_its_name_in_one_module(written: dict[str, str]) -> None:
    assert owners(written, UNIT) == {}


def test_a_place_on_a_host_is_written_in_one_module(written: dict[str, str]) -> None:
    several = owners(written, PLACE)
    assert {place: modules for place, modules in several.items() if place not in TRAILING} == {}


PATTERN = re.compile(r"\[[^\]\s]+\][{+*]|\(\?:|\\[dwsZ]")
"""What a regular expression has, and other text seldom."""


def test_a_regular_expression_is_written_in_one_module() -> None:
    """A name that one file takes and another refuses, and words for it that differ."""
    modules_by_text: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for text in texts(ast.parse(path.read_text())):
                if len(text) >= 16 and " " not in text and PATTERN.search(text):
                    modules_by_text.setdefault(text, set()).add(str(path.relative_to(ROOT)))
    assert len(modules_by_text) > 50, "the search sees the project"
    assert {text: modules for text, modules in modules_by_text.items() if len(modules) > 1} == {}


def likens(tree: ast.Module) -> bool:
    """Whether code asks difflib how like texts are; differences of texts are another matter."""
    nodes = [*ast.walk(tree)]
    imported = {a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    named = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return bool({"get_close_matches", "SequenceMatcher"} & (imported | named))


def test_what_somebody_meant_is_asked_in_one_module() -> None:
    """`phoenix/site/suggestions.py`: by two rules the same slip has a hint in one place alone."""
    assert likens(ast.parse("import difflib\ndifflib.get_close_matches('a', ['b'])"))
    assert likens(ast.parse("from difflib import SequenceMatcher as Likeness"))
    assert not likens(ast.parse("import difflib\ndifflib.unified_diff([], [])"))
    asking, sentences = set(), set()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree, name = ast.parse(path.read_text()), str(path.relative_to(ROOT))
            if likens(tree):
                asking.add(name)
            if any("did you mean" in text.lower() for text in texts(tree)):
                sentences.add(name)
    assert asking == sentences == {"phoenix/site/suggestions.py"}


def test_an_answer_of_another_form_is_told_in_the_words_of_one_module() -> None:
    """`phoenix/components/answers.py`: it cuts what came to a length that a person reads."""
    telling = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if any(
            re.search("unexpected (?:answer|line)", t) for t in texts(ast.parse(path.read_text()))
        )
    }
    assert telling == {"phoenix/components/answers.py"}
    words = unexpected("x" * 100_000, of="docker")
    assert words.startswith("unexpected answer of docker: 'xxx")
    assert len(words) < 600
    assert unexpected("a\nb") == r"unexpected answer of the host: 'a\nb'"


OWN_PORTS = {str(port) for port in (ports.CA, ports.AGENT, ports.PORTAINER, ports.WATCH)}
EXAMPLES = {
    # A service that may be found on a Proxmox VE host.
    "phoenix/cli/new_site/hypervisor.py": {"9000"},
    # Ids of guests, and no ports.
    "phoenix/cli/new_site/answers.py": {"9000"},
    "phoenix/declaration/json_keys.py": {"9000"},
    # It runs on a guest without phoenix/site; a test compares the two.
    "phoenix/watch/__main__.py": {"8470"},
}  # fmt: skip


def test_a_port_of_the_platform_is_a_number_in_one_module() -> None:
    """`phoenix/site/ports.py`: a declared port goes before each of them."""
    stray: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            numbers = {
                str(node.value) for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant) and type(node.value) is int
            }  # fmt: skip
            name = str(path.relative_to(ROOT))
            if own := (numbers & OWN_PORTS) - EXAMPLES.get(name, set()):
                stray[name] = own
    assert stray.keys() == {"phoenix/site/ports.py"}, stray


def test_who_verifies_by_a_root_takes_no_other_one() -> None:
    """`openssl verify -CAfile FILE` reads the store of the system beside it (openssl-verify(1))."""
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
        for line in path.read_text(errors="replace").replace("\\\n", " ").splitlines()
        if re.search(r"openssl verify .*-CAfile", line)
    ]
    assert len(lines) > 5, lines
    assert [line for line in lines if "-no-CApath -no-CAstore" not in line] == []
