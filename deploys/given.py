"""Secrets of a Portainer elsewhere, which nobody but its person knows."""

from __future__ import annotations

from pydantic import SecretStr

from deploys.context import secrets, site
from phoenix.secrets import catalog
from phoenix.secrets.errors import SecretError


def given(name: str) -> SecretStr:
    """A secret that only a person can give.

    Raises:
        SecretError: it is missing; says what it is, and where it is given.
    """
    value = secrets().find(name)
    if value is None:
        use = next(use for use in catalog.uses(site()) if use.name == name)
        raise SecretError(
            f"the secret {name} is missing ({use.what}): give it as "
            f"PHOENIX_SECRET_{name.upper()}, or in the SOPS file"
        )
    return value
