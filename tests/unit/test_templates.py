"""Every template renders with exactly its variables, and not with one missing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, UndefinedError, meta

from phoenix import files
from phoenix.files import FOLDER, render

NAMES = sorted(
    str(p.relative_to(FOLDER)) for p in FOLDER.rglob("*.j2") if not p.name.endswith(".html.j2")
)
PLAIN = sorted(str(p.relative_to(FOLDER)) for p in FOLDER.rglob("*.sh"))


class Anything(str):
    """A value of any shape: text, a list, an object with attributes, and each of those likewise."""

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything("attribute")

    def __iter__(self) -> Iterator[str]:
        return iter((Anything("first"), Anything("second")))


def variables(name: str) -> dict[str, Anything]:
    parsed = Environment(autoescape=True).parse((FOLDER / name).read_text())
    return {variable: Anything("x") for variable in meta.find_undeclared_variables(parsed)}


@pytest.mark.parametrize("name", NAMES)
def test_renders_completely(name: str) -> None:
    text = render(name, **variables(name))
    assert text.endswith("\n"), repr(text[-40:])
    assert "{{" not in text.replace("{{.", ""), text
    assert "{%" not in text, text


@pytest.mark.parametrize(
    ("name", "left_out"), [(name, v) for name in NAMES for v in sorted(variables(name))]
)
def test_missing_variable_is_an_error(name: str, left_out: str) -> None:
    values = {key: value for key, value in variables(name).items() if key != left_out}
    with pytest.raises(UndefinedError, match=left_out):
        render(name, **values)


@pytest.mark.parametrize("name", [*(n for n in NAMES if n.endswith(".sh.j2")), *PLAIN])
def test_shell_is_shell(name: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text() if name in PLAIN else render(name, **variables(name))
    (tmp_path / "script").write_text(text)
    process = subprocess.run(
        ["sh", "-n", str(tmp_path / "script")], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process


def test_a_time_zone_that_the_host_lacks_is_told_with_the_package_of_former_names() -> None:
    """Debian 13 and Ubuntu 24.04 have US/Eastern in tzdata-legacy, Debian 12 in tzdata."""
    script = render("components/base/timezone.sh.j2", timezone="US/Nowhere")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "this host knows no 'US/Nowhere'" in done.stdout
    assert "tzdata-legacy" in done.stdout
    assert "America/New_York" in done.stdout


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The templates that Jinja compiles, where the kept ones lie in a folder of the test's own."""
    names: list[str] = []
    compile_template = Environment.compile

    def counted(self: Environment, source: str, name: str, *rest: object) -> object:
        names.append(name)
        return compile_template(self, source, name, *rest)  # type: ignore[call-overload]

    monkeypatch.setattr(Environment, "compile", counted)
    monkeypatch.setattr(files._Compiled, "folder", tmp_path / "__pycache__")
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    return names


def rendered_anew(name: str) -> str:
    files._environment.cache_clear()
    return render(name, **variables(name))


@pytest.mark.parametrize(
    "name", ["components/base/timezone.sh.j2", "components/nginx/nginx.conf.j2"]
)
def test_a_template_is_compiled_once(compiled: list[str], name: str) -> None:
    first = rendered_anew(name)
    assert compiled == [name]
    assert rendered_anew(name) == first
    assert compiled == [name]


NAME = "components/base/timezone.sh.j2"


@pytest.mark.parametrize("content", [b"", b"junk", b"torn"])
def test_what_is_kept_of_a_template_and_is_none_is_made_anew(
    compiled: list[str], content: bytes
) -> None:
    first = rendered_anew(NAME)
    (file,) = files._Compiled.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-40] if content == b"torn" else content)
    assert rendered_anew(NAME) == first
    assert compiled == [NAME, NAME]
    assert rendered_anew(NAME) == first
    assert len(compiled) == 2


def test_a_template_that_has_changed_is_compiled_again(
    compiled: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    for text in ("one\n", "two\n"):
        (tmp_path / "x.j2").write_text(text)
        files._environment.cache_clear()
        assert render("x.j2") == text
    assert compiled == ["x.j2", "x.j2"]
    files._environment.cache_clear()


@pytest.mark.parametrize("why", ["python keeps nothing", "read-only"])
def test_nothing_is_kept_where_it_cannot_or_must_not_be(
    compiled: list[str], monkeypatch: pytest.MonkeyPatch, why: str, tmp_path: Path
) -> None:
    if why == "read-only":
        (tmp_path / "__pycache__").write_text("no folder")
    else:
        monkeypatch.setattr("sys.dont_write_bytecode", True)
    assert rendered_anew(NAME) == rendered_anew(NAME)
    assert compiled == [NAME, NAME]
    assert not (tmp_path / "__pycache__").is_dir()
