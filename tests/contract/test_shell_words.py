"""No text of a declaration becomes a command: one place makes shell text, and it quotes.

The rules are kept by reading the source: whatever an operation, fact or deploy sends to a host is
made by `facts.command` or `phoenix.shell`, from shipped text and words.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facts.backup import CaData, PortainerData
from facts.certificates import AcmeStatus, CertificateFile, ServedCertificates
from facts.command import command, script
from facts.config_tree import ConfigTree
from facts.home import HomePage
from facts.portainer import PortainerState
from facts.proxmox import GuestHostKeys
from facts.renewal import Renewals
from facts.step_ca import CertificateAuthority
from facts.trust import LocalTrust
from facts.verification import Checks
from operations.artifact import ArtifactInstalled
from operations.images import ImagesPresent
from phoenix import files, shell
from phoenix.proxmox import hostkeys

ROOT = Path(__file__).parents[2]
HELPERS = {"facts/command.py", "facts/host_fact.py"}
SHELL_ARGUMENTS = {"validate", "before", "after", "health", "reload", "check", "stop"}
"""Parameters that take shell text: of Tree, of deploys.acme.tree, of operations."""


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def faults(path: Path, text: str | None = None) -> Iterator[str]:
    """Where a file makes shell text by itself."""
    tree = ast.parse(path.read_text() if text is None else text)
    for node in ast.walk(tree):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.Import(names=names) if any(name.name == "shlex" for name in names):
                yield f"{where} quotes by shlex itself: use phoenix.shell"
            case ast.ImportFrom(module=("shlex" | "pyinfra.api.command"), names=names) if any(
                name.name in ("quote", "join", "QuoteString") for name in names
            ):
                yield f"{where} quotes by itself: use facts.command or phoenix.shell"
            case ast.Call(func=ast.Name(id=("StringCommand" | "QuoteString") as name)):
                yield f"{where} makes a {name}: use facts.command"
            case ast.Call(func=ast.Attribute(attr="StringCommand" | "QuoteString")):
                yield f"{where} makes a StringCommand: use facts.command"
            case ast.Yield(value=ast.Constant(value=str()) | ast.JoinedStr()):
                yield f"{where} yields text as a command: use facts.command"
            case ast.Call(func=ast.Attribute(attr="run_shell_command"), args=[first, *_]) if (
                isinstance(first, ast.Constant | ast.JoinedStr | ast.BinOp)
            ):
                yield f"{where} runs text as a command: use facts.command"
            case ast.keyword(arg=name, value=value) if name in SHELL_ARGUMENTS and _joined(value):
                yield f"{where} joins shell text for {name}=: use phoenix.shell.fill"
            case ast.Call(func=ast.Name(id="Script" | "fill"), args=[*_, last]) if _joined(
                last
            ) and _varies(last):
                yield f"{where} puts a value into a script: give it as a word"


def _pieces(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is in it, without what our helpers are given: they quote it."""
    match node:
        case ast.Call(func=ast.Name(id="fill" | "join" | "render" | "text")):
            return
        case ast.Call(func=ast.Attribute(attr="text" | "render")):
            return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _pieces(child)


def _joined(node: ast.AST) -> bool:
    """Whether text is put together of pieces: an f-string, +, % or .format."""
    return any(
        isinstance(part, ast.JoinedStr | ast.BinOp)
        or (isinstance(part, ast.Attribute) and part.attr == "format")
        for part in _pieces(node)
    )


def _varies(node: ast.AST) -> bool:
    """Whether it holds anything but a module's own constants (CAPITALS)."""
    return any(isinstance(part, ast.Name) and part.id != part.id.upper() for part in _pieces(node))


@pytest.mark.parametrize(
    "path",
    sources("operations", "facts", "deploys"),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_nobody_makes_shell_text_but_the_helpers(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in HELPERS:
        assert list(faults(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "import shlex",
        "from pyinfra.api.command import QuoteString",
        "def f(x):\n    yield StringCommand('rm', x)",
        "def f(x):\n    yield f'rm {x}'",
        "host.run_shell_command(f'rm {x}')",
        "Tree(health=f'curl {url}')",
        "Tree(after='touch ' + path)",
        "acme.tree(c, reload='x %s' % unit)",
        "def f(name):\n    return Script('x', f'echo {name}')",
    ],
)
def test_the_rule_sees_what_it_forbids(text: str) -> None:
    assert list(faults(Path("probe.py"), text)) != []


def test_commands_of_pyinfra_are_made_in_two_files_only() -> None:
    created = {
        str(path.relative_to(ROOT))
        for path in sources("phoenix", "operations", "facts", "deploys")
        if "StringCommand(" in path.read_text()
    }
    assert created == HELPERS


HOSTILE = (
    "x; touch PWNED #", "$(touch PWNED)", "`touch PWNED`", "x' ; touch PWNED ; '",
    'x" ; touch PWNED ; "',
    "x\ntouch PWNED", "x && touch PWNED", "| touch PWNED", "${IFS}touch${IFS}PWNED",
    "--help", "*", "",
    "vmbr0; id >PWNED; #",
)  # fmt: skip


def commands(text: str) -> list[Any]:
    """Every fact with `text` in the place of each word that comes from a declaration."""
    guest = hostkeys.Guest(101, text, text, text, text)
    end = (text, 443, text)
    return [
        GuestHostKeys().command([guest]),
        ConfigTree().command(text, [text], [text]),
        CertificateAuthority().command(text),
        LocalTrust().command(text),
        CaData().command(text),
        PortainerData().command(text),
        CertificateFile().command(text, text),
        AcmeStatus().command(text),
        ServedCertificates().command([end], text),
        HomePage().command(),
        PortainerState().command(text, text, text),
        Renewals().command([text]),
        Checks().command([text]),
        ArtifactInstalled().command(text, text),
        ImagesPresent().command([text]),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_a_word_of_every_fact(text: str, tmp_path: Path) -> None:
    """Run for real. PATH has `touch` and `id` alone: traps that leave a file if they are called."""
    (tmp_path / "bin").mkdir()
    for name in ("touch", "id"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n: >{tmp_path}/PWNED\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for asked in commands(text):
        subprocess.run(
            ["/bin/sh", "-c", asked.get_raw_value()], cwd=tmp_path, check=False, timeout=20,
            env={"PATH": str(tmp_path / "bin")}, capture_output=True,
        )  # fmt: skip
        assert not (tmp_path / "PWNED").exists(), asked.get_raw_value()


@pytest.mark.parametrize("text", HOSTILE)
def test_helpers_give_back_the_very_words(text: str, tmp_path: Path) -> None:
    show = shell.Script("show", "printf '%s\\0' \"$@\"")
    filled = shell.fill("printf '%s\\0' {{ word }} pre{{ word }}post", word=text)
    for line, expected in (
        (script(show, text, "end").get_raw_value(), [text, "end"]),
        (command("printf", "%s\\0", text, "end").get_raw_value(), [text, "end"]),
        (filled, [text, f"pre{text}post"]),
    ):
        result = subprocess.run(
            ["/bin/sh", "-c", line], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        assert result.stdout.split("\0")[:-1] == expected, line


LANGUAGES = ("tr_TR.UTF-8", "de_DE.UTF-8", "no_SUCH.locale", "")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("variable", ["LC_ALL", "LANG", "LC_MESSAGES", "LC_COLLATE"])
def test_every_script_has_the_words_and_the_order_of_the_c_locale(
    variable: str, language: str
) -> None:
    """sort(1) is used by checksums of both ends of a move, which may speak two languages."""
    show = shell.Script("show", "printf '%s\\n' b A a B | sort | tr '\\n' ' '; echo $LC_ALL")
    done = subprocess.run(
        ["/bin/sh", "-c", script(show).get_raw_value()], capture_output=True, text=True, check=True,
        env={"PATH": "/usr/bin:/bin", variable: language},
    )  # fmt: skip
    assert done.stdout == "A B a b C\n", done.stderr


def test_every_fact_runs_in_the_c_locale(tmp_path: Path) -> None:
    """Each, run for real in another language with stand-ins of the programs that it asks."""
    spoken = tmp_path / "spoken"
    for name in ("systemctl", "openssl", "docker", "curl", "cat", "date", "readlink", "sha256sum",
                 "stat", "dpkg-query", "ss", "df", "pvesh", "qm", "pct"):  # fmt: skip
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} ${{LC_ALL:-$LANG}}" >>{spoken}\n')
        program.chmod(0o755)
    for asked in commands("x"):
        subprocess.run(
            ["/bin/sh", "-c", asked.get_raw_value()], check=False, timeout=60, capture_output=True,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "LANG": "de_DE.UTF-8",
                 "LC_ALL": "de_DE.UTF-8"},
        )  # fmt: skip
    calls = [line.split() for line in spoken.read_text().splitlines()]
    assert {name for name, _ in calls} >= {"systemctl", "openssl", "curl"}, calls
    assert {language for _, language in calls} == {"C"}, calls


def test_shell_text_runs_by_a_script_alone() -> None:
    """Who gives text to `sh -c` by himself gets whatever language the host has."""
    own = {
        str(path.relative_to(ROOT))
        for path in sources("phoenix", "operations", "facts", "deploys")
        if '"sh", "-c"' in path.read_text()
    }
    assert own == {"phoenix/shell.py"}


def test_a_word_with_nul_is_refused_and_a_value_that_nobody_names_too() -> None:
    with pytest.raises(shell.ShellError, match="NUL"):
        shell.join("a\0b")
    with pytest.raises(KeyError, match="other"):
        shell.fill("echo {{ one }}", one=1, other=2)
    with pytest.raises(KeyError):
        shell.fill("echo {{ one }} {{ two }}", one=1)


def test_values_of_shell_templates_are_quoted() -> None:
    text = files.render(
        "components/step_ca/health.sh.j2", root="/r", url="u", lifetime="$(touch PWNED)"
    )
    assert "lifetime='$(touch PWNED)'" in text, text


@pytest.mark.parametrize(
    "path", sorted((ROOT / "phoenix").rglob("*.sh.j2")), ids=lambda path: path.name
)
def test_no_value_of_a_shell_template_stands_inside_quotes(path: Path) -> None:
    """There its own quotes would end them."""
    for line in path.read_text().splitlines():
        before = ""
        for piece in line.split("{{")[:-1]:
            before += piece
            assert before.count('"') % 2 == 0, line
            assert before.count("'") % 2 == 0 or line.lstrip().startswith("#"), line
