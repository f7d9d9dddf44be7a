"""Every template renders with exactly its variables, and not with one missing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, UndefinedError, meta

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
