"""Compose's `.env` files: cases of compose-go, and values that come back as they were."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix.compose.dotenv import EnvFileError, parse, quote
from tests.unit.compose_cases import compose_command, compose_environment

CASES = [  # compose-go, dotenv/godotenv_test.go
    ("FOO=bar", {"FOO": "bar"}),
    ("FOO =bar\nBAR= baz ", {"FOO": "bar", "BAR": "baz"}),
    ("FOO=", {"FOO": ""}),
    ("FOO: bar", {"FOO": "bar"}),
    ("FOO: a=b", {"FOO": "a=b"}),
    ("FOO=1:B", {"FOO": "1:B"}),
    ("FOO=foobar=", {"FOO": "foobar="}),
    ("FOO.BAR=x\nFOO-BAZ=y\nFOO[0]=z", {"FOO.BAR": "x", "FOO-BAZ": "y", "FOO[0]": "z"}),
    ("\ufeffFOO=bar", {"FOO": "bar"}),
    ("  export\tFOO=2\nexportBAR=3\nexport_X =4", {"FOO": "2", "exportBAR": "3", "export_X": "4"}),
    ("# note\n\n  # more\nFOO=1 # end\n", {"FOO": "1"}),
    ("FOO=123#no-comment\nBAR=a #\nBAZ=#x", {"FOO": "123#no-comment", "BAR": "a", "BAZ": "#x"}),
    ("FOO=my string # note", {"FOO": "my string"}),
    ("FOO=\"bar#baz\" # note\nBAR='a # b'#", {"FOO": "bar#baz", "BAR": "a # b"}),
    ("FOO='\\n'\nBAR=\"\\n\"\nBAZ=\\n", {"FOO": "\\n", "BAR": "\n", "BAZ": "\\n"}),
    ("FOO='Let\\'s go!'\nBAR=\"say \\\"x\\\"\"", {"FOO": "Let's go!", "BAR": 'say "x"'}),
    ("FOO='first\nsecond'\nBAR=\"a\nb\"\nX=1", {"FOO": "first\nsecond", "BAR": "a\nb", "X": "1"}),
    (r'KEY="Z\aZ\bZ\fZ\nZ\rZ\tZ\vZ\\Z\0123Z"', {"KEY": "Z\aZ\bZ\fZ\nZ\rZ\tZ\vZ\\ZSZ"}),
    (r'KEY="\x07\u12e4"', {"KEY": r"\x07\u12e4"}),
    (r'FOO="bar\\\n\ b\az"', {"FOO": "bar\\\n\\ b\az"}),
    (r'FOO="foo\$BAR" ', {"FOO": "foo$BAR"}),
    (r'FOO="foo\${BAR}"', {"FOO": "foo${BAR}"}),
    ("FOO=test\nBAR=$FOO\nBAZ=\"${FOO}x\"\nQ='$FOO'",
     {"FOO": "test", "BAR": "test", "BAZ": "testx", "Q": "$FOO"}),
    ("FOO=pa$$w0rd\nBAR=$NOTHING.\nBAZ=${NOTHING:-x}", {"FOO": "pa$w0rd", "BAR": ".", "BAZ": "x"}),
    ("FOO=1\nFOO=2", {"FOO": "2"}),
    (r'A="\0777"' + "\n" + r'B="\08x"' + "\n" + r'C="\0"' + "\n" + r'D="\c"',
     {"A": r"\777", "B": r"\8x", "C": "\\", "D": r"\c"}),
    ("A=x\x1f\nB=y\u2003\nC=z\xa0", {"A": "x\x1f", "B": "y", "C": "z"}),
    ("A\tB=1\nexport\vC=2", {"A\tB": "1", "export\vC": "2"}),
    ("export\nexport A=1", {"A": "1"}),
    ("A=1\nFOO BAR", {"A": "1", "": "FOO BAR"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[case[0] for case in CASES])
def test_case(text: str, expected: dict[str, str]) -> None:
    assert parse(text) == expected


def test_outer_variables_come_first_and_fill_a_name_alone() -> None:
    assert parse("FOO\nNONE\nBAR=$A\nA=2\n", {"FOO": "x", "A": "1"}) == {
        "FOO": "x", "BAR": "1", "A": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\nlol$wut\n", 2),
        ("A='x\n\n", 1),
        ('\n\nA="x', 3),
        ("A=1\nB=${", 2),
        ("A B=1", 1),
        ("A=1\nexport ", 2),
        ("A\u2028=1", 1),
        ("\x1fA=1", 1),
        ("NONE\nA B\nC=1", 2),
    ],
)
def test_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(EnvFileError, match=f"line {line}: "):
        parse(text)


AWKWARD = st.text(st.sampled_from(list("ab \\'\"$#{}=\n\r\t:-é\xa0")), max_size=12)


@given(value=AWKWARD | st.text(max_size=12))
def test_a_quoted_value_comes_back_byte_for_byte(value: str) -> None:
    assert parse(f"A=x\nNAME={quote(value)}\nB=y") == {"A": "x", "NAME": value, "B": "y"}
    assert "\n" not in quote(value)


@given(value=st.text("ab/:.-_=@1", max_size=12))
def test_a_harmless_value_is_written_as_it_is(value: str) -> None:
    assert quote(value) == value


@pytest.mark.skipif(compose_command() is None, reason="Compose v2 is not on this machine")
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(AWKWARD, min_size=60, max_size=120))
def test_compose_itself_reads_the_same(texts: list[str]) -> None:
    outer = {f"KEY{number}": text for number, text in enumerate(texts)}
    env_file = "".join(f"{name}={quote(value)}\n" for name, value in outer.items())
    with tempfile.TemporaryDirectory() as folder:
        by_compose = compose_environment(
            Path(folder), {name: f"<${{{name}}}>" for name in outer}, env_file
        )
    assert {name: f"<{value}>" for name, value in outer.items()} == by_compose
