"""Several questions in one program: what is sent, and which lines answer which question."""

from __future__ import annotations

import subprocess

from facts.command import command, script
from facts.host_fact import Answer, marked
from facts.programs import Program
from phoenix.shell import Script

SAYS = Script("says", 'printf \'%s\n\' "it\'s" "$@"; cat; exit 0  # it is long enough')


def short(text: str, *words: str) -> str:
    """The line of a question that is a short script."""
    return marked(script(Script("test", text), *words)).get_raw_value()


def answers(program: Program, text: str = "") -> list[tuple[list[str], str | None] | None]:
    """What a shell makes of the program, or of that text."""
    done = subprocess.run(
        ["sh"], input=text or program.text, capture_output=True, text=True, check=False
    )
    found: list[Answer | None] = program.answers(done.stdout.splitlines())
    return [(answer.lines, answer.status) if answer else None for answer in found]


def test_each_question_gets_its_own_answer() -> None:
    words = ["a b", "$(c)", "it's", "", "--", "&&", "a;b"]
    lines = [
        marked(script(SAYS, "first", *words)).get_raw_value(),
        marked(command("echo", "a program")).get_raw_value(),
        short("echo no line feed | tr -d '\\n'"),
        marked(script(SAYS, "slow"), seconds=30).get_raw_value(),
        short("echo it fails; exit 3"),
        marked(script(SAYS, "both"), command("echo", "then this")).get_raw_value(),
        marked(script(SAYS)).get_raw_value(),
        short("cd /; own=1; false"),
        short('echo "$PWD${own-}" | grep -c "^/$"'),
    ]
    program = Program(lines)
    assert answers(program) == [
        (["it's", "first", *words], "0"),
        (["a program"], "0"),
        (["no line feed"], "0"),
        (["it's", "slow"], "0"),
        (["it fails"], "3"),
        (["it's", "both", "then this"], "0"),
        (["it's"], "0"),
        ([], "1"),
        (["0"], "1"),
    ]
    assert program.text.count("long enough") == 2, "once for the short ones, once for the others"
    assert program.text.count("timeout") == 1 + 1 + 1 + 2, "the short ones share one"


def test_one_short_question_is_asked_as_it_is() -> None:
    lines = [short("echo one"), marked(script(SAYS), seconds=30).get_raw_value()]
    program = Program(lines)
    assert program.text == "".join(f"{line}\n" for line in lines)
    assert answers(program) == [(["one"], "0"), (["it's"], "0")]


def test_where_a_short_question_hangs_it_and_those_behind_it_are_to_be_asked_again() -> None:
    lines = [
        short("echo one"),
        marked(script(SAYS, "slow"), seconds=30).get_raw_value(),
        short("echo part of it; sleep 600"),
        short("echo three"),
    ]
    program = Program(lines)
    hurried = program.text.replace("timeout -k 5 90 ", "timeout -k 5 1 ", 1)
    assert answers(program, hurried) == [(["one"], "0"), (["it's", "slow"], "0"), None, None]


def test_a_question_that_kills_the_shell_takes_no_answer_along() -> None:
    lines = [
        short("echo one"),
        short("kill -9 $$"),
        short("echo three"),
        marked(command("echo", "last")).get_raw_value(),
    ]
    assert answers(Program(lines)) == [(["one"], "0"), None, None, (["last"], "0")]


def test_no_question_is_no_program() -> None:
    assert Program([]).text == ""
    assert Program([]).answers([]) == []
