"""A partial answer is an error with its cause, and is not taken for an empty one."""

from __future__ import annotations

import subprocess

import pytest

from facts.command import command, script
from facts.config_tree import ConfigTree
from facts.host_fact import BEGIN, END, FactError, answers, complete_lines, marked
from facts.packages import Packages
from phoenix.shell import Script


def sh(text: str) -> list[str]:
    result = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=False)
    return result.stdout.splitlines()


@pytest.mark.parametrize("words", [["%s", "a"], ["%s\\n", "a"], ["%s\\n\\n", "a"], [""]])
def test_output_comes_back_as_it_was(words: list[str]) -> None:
    output = sh(marked(command("printf", *words)).get_raw_value())
    assert complete_lines(next(answers(output, 1))) == sh(command("printf", *words).get_raw_value())


def test_text_of_the_log_in_is_named_with_what_to_do() -> None:
    output = sh("echo 'Welcome to box'; " + marked(command("true")).get_raw_value())
    with pytest.raises(FactError, match=r"log-in prints text.*'Welcome to box'.*\.bashrc"):
        ConfigTree().process(output)


def test_text_behind_the_answer_is_no_answer_either() -> None:
    output = [*sh(marked(command("true")).get_raw_value()), "logout"]
    with pytest.raises(FactError, match="log-in prints text"):
        ConfigTree().process(output)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ([], "1 answers were expected from this host, 0 came"),
        ([BEGIN], "ends in the middle"),
        ([BEGIN, "file"], "ends in the middle"),
        ([BEGIN, "sh: 1: dpkg-query: not found", "", f"{END} 127"], "status 127: sh: 1: dpkg"),
    ],
)
def test_what_is_cut_or_fails_is_an_error(output: list[str], reason: str) -> None:
    with pytest.raises(FactError, match=reason):
        Packages().process(output)


def test_a_shell_that_is_killed_leaves_no_answer() -> None:
    dies = Script("dies", "echo half; read -r _ _ _ shell _ </proc/$PPID/stat; kill -KILL $shell")
    output = sh(marked(script(dies)).get_raw_value())
    with pytest.raises(FactError, match="ends in the middle"):
        ConfigTree().process(output)


def test_a_fact_that_reads_its_input_takes_nothing_from_the_next() -> None:
    program = "\n".join(marked(command("cat")).get_raw_value() for _ in range(2))
    result = subprocess.run(["/bin/sh"], input=program, capture_output=True, text=True, check=True)
    assert [complete_lines(answer) for answer in answers(result.stdout.splitlines(), 2)] == [[], []]


def test_no_package_at_all_is_no_answer() -> None:
    with pytest.raises(Exception, match="knows of no package"):
        Packages().process([BEGIN, "", f"{END} 0"])


def test_a_command_that_hangs_is_ended_and_told() -> None:
    output = sh(marked(script(Script("hangs", "exec sleep 60")), seconds=1).get_raw_value())
    with pytest.raises(FactError, match="did not end in time and was killed: what it asks hangs"):
        ConfigTree().process(output)
