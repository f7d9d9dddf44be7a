"""Secrets that Phoenix does not make: of a Portainer elsewhere, of a backup's target."""

from __future__ import annotations

from pydantic import SecretStr

from deploys.context import secrets, site
from phoenix.secrets import catalog
from phoenix.secrets.errors import SecretError


def given_secret(name: str) -> SecretStr:
    """A secret that only a person can give.

    Raises:
        SecretError: it is missing, and what it is and where it is given; or it cannot be used.
    """
    value = secrets().find(name)
    if value is None:
        use = next(use for use in catalog.uses(site()) if use.name == name)
        variable = f"PHOENIX_SECRET_{name.upper()}"
        raise SecretError(
            f"the secret {name} is missing ({use.what}): give it as {variable}, as the file that "
            f"{variable}_FILE names, or in the SOPS file (docs/secrets.md)"
        )
    catalog.check(name, value)
    return value
