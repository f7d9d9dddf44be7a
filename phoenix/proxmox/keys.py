"""How to compare and write one key of a guest's configuration: by value, and only our part of it.

Each type answers two questions about the current string (None where the key is absent): `holds`,
whether it already has the desired value, and `written`, the whole new string. That keeps what a
person put beside our part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from phoenix.proxmox import values


class Key(Protocol):
    """The desired value of one key."""

    def holds(self, current: str | None) -> bool:
        """Whether `current` already has the desired value."""

    def written(self, current: str | None) -> str:
        """The string to send instead of `current`."""


@dataclass(frozen=True)
class Number:
    """A whole number; `default` is what Proxmox VE takes where the key is absent."""

    value: int
    default: int | None = None

    def holds(self, current: str | None) -> bool:
        """Compare as numbers."""
        if current is None:
            return self.value == self.default
        return str(current).strip() == str(self.value)

    def written(self, current: str | None) -> str:  # noqa: ARG002
        """The number."""
        return str(self.value)


@dataclass(frozen=True)
class Flag:
    """Yes or no; `default` is what Proxmox VE takes where the key is absent."""

    value: bool
    default: bool = False

    def holds(self, current: str | None) -> bool:
        """Compare as truth values."""
        return (values.boolean(current) if current else self.default) == self.value

    def written(self, current: str | None) -> str:  # noqa: ARG002
        """1 or 0."""
        return str(int(self.value))


@dataclass(frozen=True)
class Preset:
    """A value for a key that is absent; one that is there stays."""

    value: str

    def holds(self, current: str | None) -> bool:
        """Whether there is any."""
        return bool(current)

    def written(self, current: str | None) -> str:  # noqa: ARG002
        """The value."""
        return self.value


@dataclass(frozen=True)
class Text:
    """Plain text; host names differ in nothing but letters' case (RFC 4343)."""

    value: str
    case: bool = True

    def holds(self, current: str | None) -> bool:
        """Compare without outer blanks."""
        desired, observed = self.value.strip(), (current or "").strip()
        return desired == observed if self.case else desired.lower() == observed.lower()

    def written(self, current: str | None) -> str:  # noqa: ARG002
        """The text."""
        return self.value


@dataclass(frozen=True)
class Words:
    """Words in order, as in `nameserver`."""

    value: tuple[str, ...]

    def holds(self, current: str | None) -> bool:
        """Compare word by word."""
        return tuple(re.findall(r"[^\s,;]+", current or "")) == self.value

    def written(self, current: str | None) -> str:  # noqa: ARG002
        """The words with blanks."""
        return " ".join(self.value)


@dataclass(frozen=True)
class Props:
    """Some properties of a string of them; the others stay, but those to `drop`."""

    value: Mapping[str, str]
    default_key: str = ""
    drop: frozenset[str] = frozenset()

    def holds(self, current: str | None) -> bool:
        """Compare our properties."""
        properties = values.parse(current or "", self.default_key)
        if (self.drop - self.value.keys()) & properties.keys():
            return False
        return all(_same(properties.get(key), value) for key, value in self.value.items())

    def written(self, current: str | None) -> str:
        """The string with our properties put in."""
        properties = values.parse(current or "", self.default_key)
        remaining = {key: value for key, value in properties.items() if key not in self.drop}
        return values.join({**remaining, **self.value}, self.default_key)


@dataclass(frozen=True)
class Nic:
    """Our properties of a network card; `model` counts only where there is no card yet.

    Others stay, but those to `drop`.
    """

    value: Mapping[str, str]
    model: str | None = None
    drop: frozenset[str] = frozenset()

    def holds(self, current: str | None) -> bool:
        """Compare our properties, a MAC in either case."""
        card = values.parse_nic(current or "")
        if (self.drop - self.value.keys()) & card.keys():
            return False
        return bool(card) and all(_same(card.get(k), v) for k, v in self.value.items())

    def written(self, current: str | None) -> str:
        """The card with our properties put in; its model and MAC stay where we name none."""
        card = values.parse_nic(current or "")
        if self.model and "model" not in card:
            card = {"model": self.model, **card}
        card = {key: value for key, value in card.items() if key not in self.drop}
        return values.join_nic({**card, **self.value})


@dataclass(frozen=True)
class Tags:
    """Our tags beside those of others; of `owned`, which we alone give, the rest is removed."""

    value: frozenset[str]
    owned: frozenset[str]

    def holds(self, current: str | None) -> bool:
        """Compare the tags that Phoenix gives."""
        return values.tags(current or "") & (self.owned | self.value) == self.value

    def written(self, current: str | None) -> str:
        """The tags of others and of Phoenix."""
        return values.join_tags((values.tags(current or "") - self.owned) | self.value)


@dataclass(frozen=True)
class SshKeys:
    """Public keys that a VM's user accepts, beside those of others.

    `only_new`: they are those of whoever runs Phoenix, so that the guest can be reached once it is
    made. They are no part of the declaration: another operator's are no difference.
    """

    value: tuple[str, ...]
    only_new: bool = False

    def holds(self, current: str | None) -> bool:
        """Whether each is there, whatever its comment."""
        return _bare(self.value) <= _bare(values.ssh_keys(current or ""))

    def written(self, current: str | None) -> str:
        """The present keys, then the missing ones."""
        present = values.ssh_keys(current or "")
        present_bodies = _bare(present)
        missing = [key for key in self.value if not _bare([key]) <= present_bodies]
        return values.join_ssh_keys([*present, *missing])


@dataclass(frozen=True)
class Note:
    """A description of ours, which starts with `mark`; one that a person wrote is left alone."""

    value: str
    mark: str

    def holds(self, current: str | None) -> bool:
        """Whether it's ours and up to date, or a person's."""
        text = (current or "").strip()
        return text == self.value.strip() or bool(text and not text.startswith(self.mark))

    def written(self, current: str | None) -> str:  # noqa: ARG002
        """The description."""
        return self.value


def _same(current: str | None, desired: str) -> bool:
    if current is None:
        return False
    if {current.lower(), desired.lower()} <= {"0", "1", "yes", "no", "on", "off", "true", "false"}:
        return values.boolean(current) == values.boolean(desired)
    return current.lower() == desired.lower()


def _bare(keys: Iterable[str]) -> frozenset[tuple[str, ...]]:
    """Type and body of each key, without its comment."""
    return frozenset(tuple(key.split()[:2]) for key in keys)
