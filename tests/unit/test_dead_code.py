"""What a module offers has a user: a function, class or constant that tests alone use is gone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from phoenix.cli.commands import VERBS

ROOT = Path(__file__).parents[2]
PACKAGES = ("phoenix", "deploys", "operations", "facts")
USERS = (*PACKAGES, "lab", "portainer_emulator", "benchmarks", "inventories", "config.py")
"""Whose use counts."""

Offered = tuple[str, str]
"""A module and a name of it."""


def modules(packages: tuple[str, ...]) -> dict[str, ast.Module]:
    trees = {}
    for package in packages:
        place = ROOT / package
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            trees[name] = ast.parse(path.read_text())
    return trees


def offered(module: str, tree: ast.Module) -> Iterator[Offered]:
    """Names that a module gives. pyinfra and Typer call what is decorated."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            if not any(isinstance(decorator, ast.Call) for decorator in statement.decorator_list):
                yield module, statement.name
        elif isinstance(statement, ast.AnnAssign):
            yield module, dotted(statement.target)
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                names = [name.id for name in ast.walk(target) if isinstance(name, ast.Name)]
                yield from ((module, name) for name in names if is_constant_or_alias(name))


def is_constant_or_alias(name: str) -> bool:
    """By its form: `SOME_NAME` or `SomeName`, and not a variable of the module."""
    return name.lstrip("_")[:1].isupper()


def dotted(node: ast.expr) -> str:
    """`a.b.c`; empty where it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    before = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{before}.{node.attr}" if before and isinstance(node, ast.Attribute) else ""


def aliases_of(module: str, tree: ast.Module, known: set[str]) -> dict[str, set[str]]:
    """The modules that a name of this module stands for."""
    aliases: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                full = name.name if name.asname else name.name.partition(".")[0]
                aliases.setdefault(name.asname or full, set()).add(full)
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                full = f"{source_of(module, node)}.{name.name}"
                if full in known:
                    aliases.setdefault(name.asname or name.name, set()).add(full)
    return aliases


def source_of(module: str, node: ast.ImportFrom) -> str:
    """The module that is imported from."""
    before = module.split(".")[: -node.level] if node.level else []
    return ".".join([*before, *([node.module] if node.module else [])])


def used(module: str, tree: ast.Module, known: set[str]) -> Iterator[Offered]:
    """Names that a module uses, of itself and of others; a function's use of itself is none."""
    aliases = aliases_of(module, tree, known)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((source_of(module, node), name.name) for name in node.names)
        elif isinstance(node, ast.Attribute):
            head, dot, tail = dotted(node.value).partition(".")
            yield from ((f"{full}{dot}{tail}", node.attr) for full in aliases.get(head, ()))
    for statement in tree.body:
        own = getattr(statement, "name", "")
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id != own:
                yield module, node.id
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                # An annotation in quotes, or a name that is looked up.
                for word in re.findall(r"[A-Za-z_]\w*", node.value[:80]):
                    yield module, word


def test_all_that_a_module_offers_is_used_by_more_than_tests() -> None:
    users = modules(USERS)
    uses = {use for module, tree in users.items() for use in used(module, tree, {*users})}
    uses |= {(f"phoenix.cli.{verb.module}", verb.name) for verb in VERBS.values()}
    offers = {
        offer for module, tree in users.items() if module.startswith(PACKAGES)
        for offer in offered(module, tree) if not offer[1].startswith("__")
    }  # fmt: skip
    assert len(offers) > 3000, "the search sees the project"
    assert sorted(offers - uses) == []


def test_the_search_finds_what_nobody_uses() -> None:
    text = "def one() -> None:\n    one()\n\n\nTWO = 2\n\n\ndef _three() -> int:\n    return TWO\n"
    tree = ast.parse(text)
    assert {*offered("a.b", tree)} - {*used("a.b", tree, {"a.b"})} == {
        ("a.b", "one"),
        ("a.b", "_three"),
    }
    text = "Dead = list[int]\nUsed = list[int]\n_Own = tuple[int, ...]\nplain = 1\n"
    tree = ast.parse(f"{text}\n\ndef f(x: Used) -> '_Own':\n    f(x)\n")
    assert {*offered("a.b", tree)} - {*used("a.b", tree, {"a.b"})} == {
        ("a.b", "Dead"),
        ("a.b", "f"),
    }
    user = ast.parse("from . import b as other\n\nother.one()\nother.dead.x()\n")
    assert {("a.b", "one")} <= {*used("a.c", user, {"a.b", "a.c"})}
