"""What a double of a host prints for a program that asks it several questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from facts.host_fact import BEGIN, END
from facts.programs import PART_BEGIN, PART_END


def printed(program: str, answer: Callable[[str], Sequence[str]]) -> list[str] | None:
    """The lines for all questions of a program; None where it asks none.

    Args:
        program: as `facts.programs.Program` builds it.
        answer: the lines for the text of one question. They have an end of their own where the
            question is not to end well.
    """
    _, *questions = program.split(f"echo {BEGIN}; ")
    if not questions:
        return None
    lines: list[str] = []
    for question in questions:
        _, *parts = question.split(f"echo {PART_BEGIN}; ")
        if parts:
            inside = [line for part in parts for line in _ended(answer(part), PART_BEGIN, PART_END)]
            lines += [BEGIN, *inside, "", f"{END} 0"]
        else:
            lines += _ended(answer(question), BEGIN, END)
    return lines


def _ended(lines: Sequence[str], begin: str, end: str) -> list[str]:
    if any(line.startswith(END) for line in lines):
        return [begin, *(line.replace(END, end) for line in lines)]
    return [begin, *lines, "", f"{end} 0"]
