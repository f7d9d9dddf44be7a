"""Suggestions for an unknown word: the known names that are similar, and the text that offers them.

Keys of files, settings, names of services, verbs and option values all use this one rule. No other
module compares texts by likeness.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

REMOVE = "remove it"
"""The fix for what nothing reads, where no name is similar."""
MAX_NAMES = 3
"""The most names that are offered."""
MAX_LENGTH = 253
"""Characters of the longest name (of a host: RFC 1035, section 2.3.4). A longer word is compared
with nothing: it is no typing error, and the time would grow with the square of its length."""
_MIN_LIKENESS = 0.6
"""The least likeness (1: the same) from which a word counts as a typing error."""
_MISSPELT_LIKENESS = 0.85
"""The least likeness of a word in which one or two letters are wrong."""
_MAX_GAP = 0.05
"""A name is offered only if its likeness is within this of the best one."""
_MIN_PREFIX = 3
"""The least letters of a word that stands for the names that begin with it."""
_PARTS = re.compile(r"[^a-z0-9]+")


def similar(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """The known names that are similar to a word, the most similar first.

    Case and the kind of separator make no difference, two neighbouring letters in the wrong order
    and a singular for a plural next to none. A beginning of a name stands for it. Names of several
    parts are compared part by part as well, so that one left out makes little difference.

    Args:
        word: what was written; nothing is similar to one of more than `MAX_LENGTH` characters.
        known: the names that there are. `word` is none of them.

    Returns:
        `MAX_NAMES` names at most; none where nothing is similar.
    """
    return _rated(word, tuple(sorted({*known})), _MIN_LIKENESS) if len(word) <= MAX_LENGTH else ()


def misspelt(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """As `similar`, but only names that differ from the word in one or two letters.

    A file that nothing reads is not ours, unless its name is one of ours with a typing error.
    """
    return (
        _rated(word, tuple(sorted({*known})), _MISSPELT_LIKENESS) if len(word) <= MAX_LENGTH else ()
    )


def did_you_mean(names: Sequence[str]) -> str:
    """The question about similar names: `did you mean 'a', 'b' or 'c'?`; empty for none."""
    return f"did you mean {alternatives([repr(name) for name in names])}?" if names else ""


def alternatives(words: Sequence[str]) -> str:
    """Alternatives in a sentence: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def fix(word: str, known: Iterable[str], otherwise: str = REMOVE) -> str:
    """The fix of a finding about an unknown word: the similar names, else `otherwise`.

    Args:
        word: what was written.
        known: the names that there are.
        otherwise: what to do if none of them was meant.
    """
    return fix_of(similar(word, known), otherwise)


def fix_of(names: Sequence[str], otherwise: str = REMOVE) -> str:
    """As `fix`, for similar names that the caller has found."""
    return f"{did_you_mean(names)} else {otherwise}" if names else otherwise


def sentence(names: Sequence[str]) -> str:
    """The question as a sentence of its own: `Did you mean 'a'?`; empty for none."""
    return did_you_mean(names).replace("did", "Did", 1)


def hint(names: Sequence[str], known: Sequence[str]) -> str:
    """The sentence behind an error about an unknown name: the similar names, else all.

    Args:
        names: what `similar` gave.
        known: the names that there are, in the order in which they are listed.
    """
    return sentence(names) or (f"There are: {', '.join(known)}" if known else "There is none")


def hint_for(word: str, known: Iterable[str]) -> str:
    """As `hint`, for a word and the names that there are."""
    names = [*known]
    return hint(similar(word, names), names)


@lru_cache(maxsize=256)  # each host's data has the same unknown names
def _rated(word: str, known: tuple[str, ...], close: float) -> tuple[str, ...]:
    like = _Like(word.lower(), close)
    rated = [(like.of(name.lower()), name) for name in known if len(name) <= MAX_LENGTH]
    best = max((likeness for likeness, _ in rated), default=0.0)
    if best < close:
        return ()
    least = best if best >= _SAME_FORM else max(close, best - _MAX_GAP)
    found = [(-likeness, name) for likeness, name in rated if likeness >= least]
    return tuple(name for _, name in sorted(found)[:MAX_NAMES])


_EXACT = 3.0
"""The likeness of what differs in case or separators alone. That of letters is up to 1."""
_SAME_FORM = 2.0
"""The likeness of a singular and its plural, and of two letters in the wrong order."""


class _Like:
    """The likeness of names to one word; 0 for a name that is surely not similar."""

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
            return _EXACT
        if _is_swapped(self.word, name) or (
            self.singular and [*map(_singular, parts)] == self.singular
        ):
            return _SAME_FORM
        likeness = _ratio(self.whole, name, self.close)
        if self.close > _MIN_LIKENESS:  # a part that is left out is more than a letter or two
            return likeness
        if len(self.word) >= _MIN_PREFIX and name.startswith(self.word):
            likeness = max(likeness, self.close)
        return max(likeness, self._by_parts(name, parts) if parts[1:] else 0.0)

    def _by_parts(self, name: str, parts: Sequence[str]) -> float:
        if not self.parts or max(len(self.parts), len(parts)) > _MAX_PARTS:
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
    return _ratio(matcher, part, _MIN_PART_LIKENESS)


_MIN_PART_LIKENESS = 0.8
"""Parts that are less like each other have nothing in common: they are short."""
_MAX_PARTS = 12
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
