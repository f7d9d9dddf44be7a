"""One program that asks a host several questions, and which of its lines answers which.

Each question is a command of `facts.host_fact.marked`, with a time limit of its own. Most are short
scripts that read a few files: to start `timeout` and `sh` for each costs a host more than to run
it. So those are run by one `sh` under one time limit, one after the other. Where that limit passes,
a question that has no answer is to be asked again by itself, with its own limit: so one that hangs
takes no answer of the others along.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from facts.host_fact import BEGIN, END, FACT_SECONDS, Answer, answers, answers_between

_WORD = r"'[^']*(?:'\"'\"'[^']*)*'"
"""A shell word in quotes, as `phoenix.shell.quote` writes it."""
_SCRIPT = re.compile(rf"\A(echo {BEGIN}; {{ timeout -k \d+ \d+ sh -c )({_WORD})(?= )")
"""How the line of a question begins whose command is a script, up to the script's text."""
_SHORT = re.compile(
    rf"\Aecho {BEGIN}; {{ timeout -k \d+ {FACT_SECONDS} sh -c ({_WORD})"
    rf"((?: (?:[^\s'&|;]+|{_WORD}))*); }} </dev/null; printf '\\n{END} %s\\n' \$\?\Z"
)
"""The whole line of a question whose command is one script with the usual limit: the script's text,
its name and its words."""
PART_BEGIN, PART_END = "phoenix-part-begins", "phoenix-part-ends"
_LAST_LINE = "phoenix-short-questions-end"


class Program:
    """A program for sh(1) that asks several questions."""

    def __init__(self, lines: Sequence[str]) -> None:
        """`lines` are the questions' commands as text, each built by `marked`."""
        self._count = len(lines)
        self._short = {
            number: match for number, line in enumerate(lines) if (match := _SHORT.match(line))
        }
        if len(self._short) < 2:
            self._short = {}
        self._others = [number for number in range(self._count) if number not in self._short]
        self.text = self._short_text() + _with_texts_once([lines[each] for each in self._others])

    def _short_text(self) -> str:
        if not self._short:
            return ""
        texts = Counter(match[1] for match in self._short.values())
        names = _names(texts)
        parts = "".join(
            f"echo {PART_BEGIN}; (set --{match[2]}; shift; eval {_named(match[1], names)}) "
            f"</dev/null; printf '\\n{PART_END} %s\\n' $?\n"
            for match in self._short.values()
        )
        return (
            f"echo {BEGIN}; timeout -k 5 {FACT_SECONDS} sh <<'{_LAST_LINE}'\n"
            f"{_assigned(names)}{parts}{_LAST_LINE}\n"
            f"printf '\\n{END} %s\\n' $?\n"
        )

    def answers(self, output: Sequence[str]) -> list[Answer | None]:
        """The answers in the lines that it printed, in the order of the questions.

        Returns:
            For each question its answer; None where it is to be asked again by itself.

        Raises:
            ConversationError: see `facts.host_fact.answers`.
        """
        results: list[Answer | None] = [None] * self._count
        found = answers(output, len(self._others) + bool(self._short))
        if self._short:
            parts = answers_between(next(found).lines, PART_BEGIN, PART_END)
            for number, part in zip(self._short, parts, strict=False):
                results[number] = part if part.status is not None else None
        for number, answer in zip(self._others, found, strict=True):
            results[number] = answer
        return results


def _with_texts_once(lines: Sequence[str]) -> str:
    """The lines as one program, in which a script's text stands once, however often it runs."""
    names = _names(Counter(match[2] for line in lines if (match := _SCRIPT.match(line))))
    shortened = (_SCRIPT.sub(lambda match: match[1] + _named(match[2], names), line)
                 for line in lines)  # fmt: skip
    return _assigned(names) + "".join(f"{line}\n" for line in shortened)


def _names(texts: Counter[str]) -> dict[str, str]:
    """A shell variable for each script's text, as a word, that stands in more than one line."""
    return {text: f"script{number}" for number, text in enumerate(texts) if texts[text] > 1}


def _named(text: str, names: dict[str, str]) -> str:
    return f'"${names[text]}"' if text in names else text


def _assigned(names: dict[str, str]) -> str:
    return "".join(f"{name}={text}\n" for text, name in names.items())
