"""What is wrong with a secret or its source, never with a secret in the text."""

from __future__ import annotations

import json

from phoenix.site.findings import SettingError


class SecretError(SettingError):
    """A secret that is missing or cannot be read; the message never holds a secret."""


def flat_strings(text: str, source: str) -> dict[str, str]:
    """One flat JSON object of strings, as every file of secrets is.

    Args:
        text: the JSON.
        source: what it was read from, for the error.

    Raises:
        SecretError: it is something else.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not all(isinstance(v, str) for v in data.values()):
        # The parser's own message would quote the text, secrets and all.
        raise SecretError(f"{source} must hold one flat object of strings") from None
    return data
