"""Shell text for a host: the one place where words become part of a command.

A script is text that this project ships. What differs from host to host (a path, a name, an
address, a setting) is a word, and reaches the script as an argument or as a quoted value; so no
text of a declaration can become a command (POSIX.1-2017, Shell Command Language, 2.2).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

_VALUE = re.compile(r"\{\{ *([a-z_]+) *\}\}")
_LANGUAGE = "export LC_ALL=C; "
"""Programs then write the words, numbers and order that this project reads, whatever language the
host or the log-in has (POSIX.1-2017, Base Definitions, 8.2)."""


class ShellError(ValueError):
    """A word that no shell can take."""


def quote(word: object) -> str:
    """One word as the shell reads it back, whatever it holds.

    Args:
        word: taken as `str` makes it: text, a number, an address, a path.

    Raises:
        ShellError: it holds a NUL character, which no argument can.
    """
    text = str(word)
    if "\0" in text:
        raise ShellError(f"{text!r} holds a NUL character, which no command can take")
    return shlex.quote(text)


def join(*words: object) -> str:
    """A command line of these words, each one quoted.

    Raises:
        ShellError: see `quote`.
    """
    return " ".join(quote(word) for word in words)


def fill(text: str, **values: object) -> str:
    """Shipped shell text with every `{{ name }}` replaced by its quoted value.

    Args:
        text: where a value stands it is a word of its own or joined to one; never inside quotes,
            which would end there.
        values: those that the text names, no more and no fewer.

    Raises:
        KeyError: a value is missing or not used.
        ShellError: see `quote`.
    """
    names = set(_VALUE.findall(text))
    if names != values.keys():
        raise KeyError(f"the text names {sorted(names)}, the values are {sorted(values)}")
    return _VALUE.sub(lambda match: quote(values[match[1]]), text)


def in_turn(*commands: str) -> str:
    """Shell commands that run one after the other, up to the first that fails; empty ones go."""
    return " && ".join(f"{{ {command.strip()}\n}}" for command in commands if command.strip())


@dataclass(frozen=True)
class Script:
    """A script for `sh` that takes words as "$1", "$2" and so on, and runs in the C locale.

    `name` is its "$0", which the shell puts before its own messages.
    """

    name: str
    text: str

    def argv(self, *arguments: object) -> tuple[str, ...]:
        """The program and its arguments that run it with these words, for `join`."""
        return ("sh", "-c", f"{_LANGUAGE}{self.text}", self.name, *map(str, arguments))

    def line(self, *arguments: object) -> str:
        """The command line that runs it with these words, each one quoted.

        Raises:
            ShellError: see `quote`.
        """
        return join(*self.argv(*arguments))
