"""Facts whose answer is known to be whole: nothing is ever decided on a default.

pyinfra gives a fact's `default()` where the command failed, printed nothing or printed something
else. An operation reads that as "nothing there", and installs everything again. So every fact
of this project marks where its answer begins and ends, and how its command ended; an answer that
is not whole is an error with its cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from phoenix.components.answers import unexpected as in_words

T = TypeVar("T")

BEGIN, END = "phoenix-answer-begins", "phoenix-answer-ends"
_LOG_IN = (
    "the log-in prints text where an answer was expected: {line!r}. Remove what prints it from the "
    "shell's start files on this host (/root/.bashrc, /root/.profile, /etc/profile.d, "
    "/etc/bash.bashrc), or have it print to terminals only"
)


class FactError(FactProcessError):
    """A host's answer is missing or unusable; says why."""


class ConversationError(FactError):
    """The host's answers are unusable: its log-in adds text to them, or its connection broke."""


class Unknown:
    """The value of a fact that has no answer."""


def unexpected(answer: object, *, of: str = "the host") -> FactProcessError:
    """The error for an answer of another form than its command's.

    Args:
        answer: the line, or the part of it.
        of: who gave it: a program or a file.
    """
    return FactProcessError(in_words(answer, of=of))


class HostFact(FactBase[T], Generic[T]):
    """A fact whose `command` is built by `marked`, and whose `parse` gets the whole answer."""

    @staticmethod
    @override
    def default() -> T:
        """An unknown value; `operations.host_state` refuses to decide on it."""
        return cast(T, Unknown())

    @override
    def process(self, output: Iterable[str]) -> T:
        """The value of the one answer in the output.

        Raises:
            FactError: the answer is not complete.
            FactProcessError: it is not of the expected form.
        """
        return self.parse(complete_lines(next(answers(output, 1))))

    def parse(self, lines: list[str]) -> T:
        """The answer as a value.

        Raises:
            FactProcessError: the lines are of another form.
        """
        raise NotImplementedError


class JoinedFact(HostFact[T]):
    """A fact of which one command answers several questions for less than one command each.

    Where that command does not end well, each question is asked by itself: so one that hangs or
    fails takes no answer of the others along.
    """

    @staticmethod
    def joined(questions: Sequence[Mapping[str, Any]]) -> StringCommand:
        """The command, built by `marked`, for the arguments of several `command`s."""
        raise NotImplementedError

    @staticmethod
    def parted(lines: Sequence[str], count: int) -> list[list[str]]:
        """What `joined` has printed, as the lines that each of the `count` commands prints.

        Raises:
            FactProcessError: the lines are of another form.
        """
        raise NotImplementedError


class Answer:
    """What one command printed, and how it ended; `status` is None where it is unknown."""

    def __init__(self, lines: Iterable[str] = (), status: str | None = None) -> None:
        """The default: no answer yet."""
        self.lines = list(lines)
        self.status = status


FACT_SECONDS = 90
"""How long a command of a fact may take: what it asks may hang, and then its host is left."""
MAX_SECONDS = 1800
"""For those that read large files."""
_KILLED = ("124", "137")  # of timeout(1)


def marked(
    *commands: StringCommand, reads_input: bool = False, seconds: int = FACT_SECONDS
) -> StringCommand:
    """The commands, each if the one before it succeeds, between the marks of `answers`.

    Args:
        reads_input: whether they read standard input.
        seconds: how long each may take, before it is ended.
    """
    ended = f"timeout -k 5 {seconds} "
    line = " && ".join(ended + command.get_raw_value() for command in commands)
    source = "" if reads_input else " </dev/null"
    # The line before the second mark ends output that ends without a line feed.
    return StringCommand(f"echo {BEGIN}; {{ {line}; }}{source}; printf '\\n{END} %s\\n' $?")


def answers(output: Iterable[str], count: int) -> Iterator[Answer]:
    """The answers of `count` commands that were run one after the other.

    Raises:
        ConversationError: the host printed something outside of them, or not all are there.
    """
    results = answers_between(output, BEGIN, END)
    if len(results) != count:
        raise ConversationError(
            f"{count} answers were expected from this host, {len(results)} came"
        )
    return iter(results)


def answers_between(output: Iterable[str], begin: str, end: str) -> list[Answer]:
    """The answers between marks, in order; the last may have no end.

    Args:
        output: the lines that the commands printed.
        begin: the line before an answer.
        end: what the line behind it begins with, before the status.

    Raises:
        ConversationError: something stands outside of them.
    """
    results: list[Answer] = []
    inside = False
    for line in output:
        if line == begin and not inside:
            results.append(Answer())
            inside = True
        elif inside and line.startswith(f"{end} "):
            results[-1].status = line.removeprefix(f"{end} ")
            if results[-1].lines[-1:] == [""]:
                results[-1].lines.pop()
            inside = False
        elif inside:
            results[-1].lines.append(line)
        elif line.strip():
            raise ConversationError(_LOG_IN.format(line=line))
    return results


def complete_lines(answer: Answer) -> list[str]:
    """The lines of an answer whose command ended well.

    Raises:
        FactError: it failed, or was killed.
    """
    if answer.status is None:
        raise FactError("the host's answer ends in the middle: the command was killed")
    if answer.status in _KILLED:
        raise FactError("the command did not end in time and was killed: what it asks hangs")
    if answer.status != "0":
        raise FactError(f"the command ended with status {answer.status}: {_last(answer.lines)}")
    return answer.lines


def _last(lines: Sequence[str]) -> str:
    return lines[-1] if lines else "it printed nothing"
