"""How many examples hypothesis tries: as many as a test names, and fewer in the fast lane."""

from hypothesis import settings

WHOLE, FAST = 100, 20
"""Of a test that names no number, in a whole run and in the fast lane."""


def examples(number: int) -> settings:
    """The settings of a test with so many in a whole run; another profile has its own share."""
    assert settings.default is not None
    return settings(max_examples=-(-number * settings.default.max_examples // WHOLE))
