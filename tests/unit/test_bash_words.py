"""What bash takes apart at a colon is one word again."""

from __future__ import annotations

import pytest

from phoenix.cli.bash_words import Joined, joined


@pytest.mark.parametrize(
    ("words", "position", "expected"),
    [
        ("phoenix doctor qd", 2, Joined(("phoenix", "doctor", "qd"), 2, "")),
        ("phoenix doctor guest : dr", 4, Joined(("phoenix", "doctor", "guest:dr"), 2, "guest:")),
        ("phoenix doctor guest :", 3, Joined(("phoenix", "doctor", "guest:"), 2, "guest:")),
        ("phoenix doctor guest:dr", 2, Joined(("phoenix", "doctor", "guest:dr"), 2, "")),
        ("phoenix doctor https : //a : 8", 4,
         Joined(("phoenix", "doctor", "https://a:8"), 2, "https:")),
        ("phoenix doctor https : //a : 8", 6,
         Joined(("phoenix", "doctor", "https://a:8"), 2, "https://a:")),
        ("phoenix doctor a : b --js", 5, Joined(("phoenix", "doctor", "a:b", "--js"), 3, "")),
        ("phoenix", 0, Joined(("phoenix",), 0, "")),
    ],
)  # fmt: skip
def test_colons_join(words: str, position: int, expected: Joined) -> None:
    assert joined(words.split(), position) == expected


def test_an_empty_word_after_a_colon_stays_the_one_that_is_completed() -> None:
    assert joined(["phoenix", "doctor", "guest", ":", ""], 4) == Joined(
        ("phoenix", "doctor", "guest:"), 2, "guest:"
    )
    assert joined(["phoenix", "doctor", ""], 2) == Joined(("phoenix", "doctor", ""), 2, "")
