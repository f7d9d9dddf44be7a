"""Arguments of one run are taken as they were written, whatever pyinfra made of them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra_cli.util import parse_cli_arg

from deploys import run_arguments
from phoenix.site.findings import SettingError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives a run one argument, as pyinfra reads it."""

    def give(text: str) -> None:
        monkeypatch.setattr(sys, "argv", ["pyinfra", "site.py", "--data", f"name={text}"])
        data = {"name": parse_cli_arg(text)}
        monkeypatch.setattr(run_arguments, "host", SimpleNamespace(data=data))

    return give


@pytest.mark.parametrize("text", ["2026", "007", "1e3", "true", "~", "a b"])
def test_text_is_text(given: Any, text: str) -> None:
    given(text)
    assert run_arguments.text("name") == text
    assert run_arguments.path("name") == Path(text).expanduser()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a-production,b-production", ("a-production", "b-production")),
        ("a, b,", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ("007", ("007",)),
        ("", ()),
    ],
)
def test_a_list_is_text_with_commas_or_json(given: Any, text: str, names: tuple[str, ...]) -> None:
    given(text)
    assert run_arguments.listed("name") == names


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("", False)])
def test_a_flag_is_true_or_false(given: Any, text: str, *, value: bool) -> None:
    given(text)
    assert run_arguments.flag("name") is value


@pytest.mark.parametrize("text", ["no", "0", "1", "yes", "[]"])
def test_another_flag_is_refused(given: Any, text: str) -> None:
    given(text)
    with pytest.raises(SettingError, match="write true or false"):
        run_arguments.flag("name")


def test_what_is_not_given_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_arguments, "host", SimpleNamespace(data={}))
    assert run_arguments.text("name") == ""
    assert run_arguments.path("name") is None
    assert run_arguments.listed("name") == ()
    assert run_arguments.flag("name") is False
