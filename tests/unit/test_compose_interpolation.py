"""Variables are filled in as Compose does: cases of compose-go, properties, Compose itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix.compose import dotenv
from phoenix.compose.interpolation import (
    MAX_DEPTH,
    InterpolationError,
    InvalidTemplateError,
    RequiredVariableError,
    interpolate,
    names,
)
from tests.unit.compose_cases import NAMES, compose_command, compose_environment, templates, values

VALUES = {"FOO": "first", "EMPTY": "", "JSON": '{"json":2}', "DOLLAR": "$FOO"}

CASES = [  # what compose-go's own tests and the Compose specification give
    ("plain", "plain", ()),
    ("$FOO", "first", ()),
    ("${FOO}", "first", ()),
    ("$FOO-bar", "first-bar", ()),
    ("$FOOS", "", ("FOOS",)),
    ("a $EMPTY b", "a  b", ()),
    ("a ${missing} b", "a  b", ("missing",)),
    ("$missing $missing", " ", ("missing",)),
    ("$$", "$", ()),
    ("$${FOO}", "${FOO}", ()),
    ("$$$FOO", "$first", ()),
    ("a $ string", "a $ string", ()),
    ("^REGEX$", "^REGEX$", ()),
    ("$}", "$}", ()),
    ("$1", "$1", ()),
    ("${missing:-def}", "def", ()),
    ("${missing-def}", "def", ()),
    ("${EMPTY:-def}", "def", ()),
    ("${EMPTY-def}", "", ()),
    ("${FOO:-def}", "first", ()),
    ("${EMPTY:-/non:-alphanumeric}", "/non:-alphanumeric", ()),
    ("${missing:-}", "", ()),
    ("${missing-}", "", ()),
    ("${FOO:+there}", "there", ()),
    ("${FOO+there}", "there", ()),
    ("${EMPTY:+there}", "", ()),
    ("${EMPTY+there}", "there", ()),
    ("${missing:+there}", "", ()),
    ("${missing+there}", "", ()),
    ("${FOO:?must}", "first", ()),
    ("${FOO?must}", "first", ()),
    ("${EMPTY?must}", "", ()),
    ("${A:-${B:-8443}}:443", "8443:443", ()),
    ("${A-${B-${FOO}}}", "first", ()),
    ("${missing-${FOO} ${FOO}}", "first first", ()),
    ("${EMPTY+$FOO ${FOO:+second}}", "first second", ()),
    ("${missing:-${EMPTY-no}}", "", ()),
    ("${missing:-${other}}", "", ("other",)),
    ("${missing:+${other}}x", "x", ()),
    ("${FOO:-${other:?unused}}", "first", ()),
    ("${FOO:?${other}}", "first", ()),
    ("${missing:-{\"a\": 1}}", '{"a": 1}', ()),
    ("${missing:-$$FOO}", "$FOO", ()),
    ("$JSON", '{"json":2}', ()),
    ("${DOLLAR}", "$FOO", ()),
    ("${missing:-a}${missing:-b}}", "ab}", ()),
    (":?ok ${EMPTY:-x}", ":?ok x", ()),
    ("$FOOé", "firsté", ()),
    ("$\u017f $\u212a", " ", ("\u017f", "\u212a")),
    ("${\u017f:-def}", "def", ()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected", "unset"), CASES, ids=[case[0] for case in CASES])
def test_case(text: str, expected: str, unset: tuple[str, ...]) -> None:
    assert interpolate(text, VALUES) == (expected, unset)


@pytest.mark.parametrize(
    "text",
    ["${", "${}", "${ }", "${ FOO}", "${FOO }", "${FOO!}", "${FOO", "${FOO:-", "${1}", "${FOO:x}",
     "${missing:-a\n}", "${missing:-${}}"],
)  # fmt: skip
def test_invalid_expression(text: str) -> None:
    with pytest.raises(InvalidTemplateError):
        interpolate(text, VALUES)


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("${missing:?}", "missing", ""),
        ("${missing?say why}", "missing", "say why"),
        ("${EMPTY:?say why}", "EMPTY", "say why"),
        ("a ${missing:?see $FOO}", "missing", "see first"),
        ("${missing:-${EMPTY:?inner}}", "EMPTY", "inner"),
    ],
)
def test_required_variable(text: str, name: str, reason: str) -> None:
    with pytest.raises(RequiredVariableError) as caught:
        interpolate(text, VALUES)
    assert (caught.value.name, caught.value.reason) == (name, reason)
    assert name in str(caught.value)


@given(text=st.text("$aA{}:-+? 1\n", max_size=60), values=values)
def test_any_text_is_filled_in_or_refused(text: str, values: dict[str, str]) -> None:
    try:
        result = interpolate(text, values)
    except InterpolationError:
        return
    assert not set(result.unset) & set(values)
    if "$" not in text:
        assert result == (text, ())


@given(text=st.text(), values=values)
def test_an_escaped_text_is_itself(text: str, values: dict[str, str]) -> None:
    assert interpolate(text.replace("$", "$$"), values) == (text, ())


@given(value=st.text(), default=st.text("ab$", max_size=4))
def test_a_value_is_never_read_again(value: str, default: str) -> None:
    assert interpolate("<${A}>", {"A": value}).text == f"<{value}>"
    escaped = default.replace("$", "$$")
    assert interpolate(f"${{A:-{escaped}}}", {"A": value}).text == (value or default)


@given(text=templates)
def test_every_variable_that_counts_is_named(text: str) -> None:
    """What a text gives is decided by the variables that `names` tells, and by no other."""
    told = names(text)
    for value in ("", "x"):
        known = dict.fromkeys(told, value)
        assert interpolate(text, known).unset == ()
    assert set(interpolate(text, {}).unset) <= set(told)


@given(text=templates, values=values)
def test_defaults_make_every_accepted_template_complete(text: str, values: dict[str, str]) -> None:
    everything = dict.fromkeys(NAMES, "") | values
    assert interpolate(text, everything).unset == ()


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    "text",
    ["${A:-" * 20_000 + "}" * 20_000, "${A:-{" * 100_000 + "}", "${A:-{}" * 50_000],
    ids=["nested", "without end", "unbalanced"],
)
def test_hostile_nesting_is_refused(text: str) -> None:
    with pytest.raises(InvalidTemplateError, match=f"more than {MAX_DEPTH}|invalid expression"):
        interpolate(text, {})


def test_a_long_line_of_expressions_is_read() -> None:
    assert interpolate("${A:-x}" * 50_000, {}).text == "x" * 50_000


@pytest.mark.skipif(compose_command() is None, reason="Compose v2 is not on this machine")
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(templates, min_size=60, max_size=120), values=values)
def test_compose_itself_gives_the_same(texts: list[str], values: dict[str, str]) -> None:
    source = {f"KEY{number}": f"<{text}>" for number, text in enumerate(texts)}
    env_file = "".join(f"{name}={dotenv.quote(value)}\n" for name, value in values.items())
    with tempfile.TemporaryDirectory() as folder:
        by_compose = compose_environment(Path(folder), source, env_file)
    assert {name: interpolate(text, values).text for name, text in source.items()} == by_compose
