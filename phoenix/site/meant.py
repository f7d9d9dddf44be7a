"""What somebody perhaps meant who wrote a word that nothing has: one rule, and the words for it.

A key of a file, a setting, the name of a service, a verb: the same slip of the pen is told alike
wherever it stands. Other modules ask no likeness of texts themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

REMOVE = "remove it"
"""What else to do about what nothing reads."""
MOST = 3
"""So many names are offered at most."""
LONGEST = 253
"""Characters of the longest name (of a host: RFC 1035, section 2.3.4). What is longer is compared
with nothing: it is no slip of the pen, and the time would grow with the square of its length."""
_CLOSE = 0.6
"""From this likeness on, of 1 for the same, a word is taken for a slip of the pen."""
_SLIP = 0.85
"""The likeness of a word in which one or two letters are wrong."""
_BEHIND = 0.05
"""A name that is so much less like the word than another one is not offered beside it."""
_SHORTEST = 3
"""From so many letters on a word stands for the names that begin with it."""
_PARTS = re.compile(r"[^a-z0-9]+")


def near(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """The names that were perhaps meant, the most similar first.

    Case and the kind of separator make no difference, two neighbouring letters in the wrong order
    and a singular for a plural next to none. A beginning of a name stands for it. Names of several
    parts are compared part by part as well, so that one left out makes little difference.

    Args:
        word: what was written; nothing is near to one of more than `LONGEST` characters.
        known: the names that there are. `word` is none of them.

    Returns:
        `MOST` names at most; none where nothing is close.
    """
    return _near(word, tuple(sorted({*known})), _CLOSE) if len(word) <= LONGEST else ()


def slips(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """As `near`, for a word that is wrong only if it is one of these names, misspelt.

    A file that nothing reads is anybody's, unless all but a letter or two of its name is ours.
    """
    return _near(word, tuple(sorted({*known})), _SLIP) if len(word) <= LONGEST else ()


def question(names: Sequence[str]) -> str:
    """Whether one of these names was meant: `did you mean 'a', 'b' or 'c'?`; empty for none."""
    return f"did you mean {either([repr(name) for name in names])}?" if names else ""


def either(words: Sequence[str]) -> str:
    """Words for a sentence: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def fix(word: str, known: Iterable[str], otherwise: str = REMOVE) -> str:
    """What a finding advises about a word that nothing has: the near names, else something else.

    Args:
        word: what was written.
        known: the names that there are.
        otherwise: what to do if none of them was meant.
    """
    return fix_of(near(word, known), otherwise)


def fix_of(names: Sequence[str], otherwise: str = REMOVE) -> str:
    """As `fix`, where the near names are known."""
    return f"{question(names)} else {otherwise}" if names else otherwise


def sentence(names: Sequence[str]) -> str:
    """The question as a sentence of its own: `Did you mean 'a'?`; empty for none."""
    return question(names).replace("did", "Did", 1)


def hint(names: Sequence[str], known: Sequence[str]) -> str:
    """The sentence that follows an error about an unknown name: the near ones, else all.

    Args:
        names: what `near` gave.
        known: the names that there are, in the order in which they are listed.
    """
    return sentence(names) or (f"There are: {', '.join(known)}" if known else "There is none")


@lru_cache(maxsize=256)  # each host's data has the same unknown names
def _near(word: str, known: tuple[str, ...], close: float) -> tuple[str, ...]:
    like = _Like(word.lower(), close)
    rated = [(like.of(name.lower()), name) for name in known if len(name) <= LONGEST]
    best = max((likeness for likeness, _ in rated), default=0.0)
    if best < close:
        return ()
    least = best if best >= _OF_ONE_FORM else max(close, best - _BEHIND)
    found = [(-likeness, name) for likeness, name in rated if likeness >= least]
    return tuple(name for _, name in sorted(found)[:MOST])


_SAME = 3.0
"""The likeness of what differs in case or separators alone. That of letters is up to 1."""
_OF_ONE_FORM = 2.0
"""The likeness of a singular and its plural, and of two letters in the wrong order."""


class _Like:
    """How like names are to one word; what is surely not near counts as 0."""

    def __init__(self, word: str, close: float) -> None:
        self.word, self.close = word, close
        self.parts = _split(word)
        self.joined, self.singular = "".join(self.parts), [*map(_singular, self.parts)]
        self.whole, self.by_part = _matcher(word), [*map(_matcher, self.parts)]
        self.parts_like: dict[str, tuple[float, ...]] = {}

    def of(self, name: str) -> float:
        """The likeness of a name in lower case."""
        parts = _split(name)
        if self.joined and "".join(parts) == self.joined:
            return _SAME
        if _is_swapped(self.word, name) or (
            self.singular and [*map(_singular, parts)] == self.singular
        ):
            return _OF_ONE_FORM
        likeness = _ratio(self.whole, name, self.close)
        if self.close > _CLOSE:  # a part that is left out is more than a letter or two
            return likeness
        if len(self.word) >= _SHORTEST and name.startswith(self.word):
            likeness = max(likeness, self.close)
        return max(likeness, self._by_parts(name, parts) if parts[1:] else 0.0)

    def _by_parts(self, name: str, parts: Sequence[str]) -> float:
        if not self.parts or max(len(self.parts), len(parts)) > _MOST_PARTS:
            return 0.0
        rows = [self._part(part) for part in parts]
        best: float = sum(max(column) for column in zip(*rows, strict=True)) / len(self.parts)
        if 0.3 + 0.7 * best < self.close:
            return 0.0
        return 0.3 * _ratio(self.whole, name, 0.0) + 0.7 * best

    def _part(self, part: str) -> tuple[float, ...]:
        """How like each part of the word is to one of a name. Names share most of their parts."""
        if part not in self.parts_like:
            self.parts_like[part] = tuple(
                _of_parts(own, matcher, part)
                for own, matcher in zip(self.parts, self.by_part, strict=True)
            )
        return self.parts_like[part]


def _of_parts(own: str, matcher: SequenceMatcher[str], part: str) -> float:
    if _is_swapped(own, part) or _singular(own) == _singular(part):
        return 1.0
    return _ratio(matcher, part, _PART)


_PART = 0.8
"""Parts that are less like each other have nothing in common: they are short."""
_MOST_PARTS = 12
"""So many parts of a name are compared one by one: each costs as much as a name."""


def _matcher(word: str) -> SequenceMatcher[str]:
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(word)  # what it keeps of the second text serves for every first one
    return matcher


def _ratio(matcher: SequenceMatcher[str], name: str, close: float) -> float:
    """The ratio of difflib; 0 where it would be below `close`."""
    matcher.set_seq1(name)
    if matcher.real_quick_ratio() < close or matcher.quick_ratio() < close:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= close else 0.0


def _split(name: str) -> list[str]:
    return [part for part in _PARTS.split(name) if part]


def _is_swapped(word: str, name: str) -> bool:
    """Whether two neighbouring letters alone stand the other way round."""
    if len(word) != len(name):
        return False
    differs = [place for place, (a, b) in enumerate(zip(word, name, strict=True)) if a != b]
    if len(differs) != 2 or differs[1] != differs[0] + 1:
        return False
    first, second = differs
    return word[first] == name[second] and word[second] == name[first]


def _singular(part: str) -> str:
    """A word without the ending of an English plural."""
    for ending, of_one in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("s", "")):
        if part.endswith(ending) and len(part) > len(ending) + 1 and not part.endswith("ss"):
            return part.removesuffix(ending) + of_one
    return part
