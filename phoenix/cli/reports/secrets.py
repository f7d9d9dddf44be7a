"""What `phoenix secrets` shows: names and origins, never a value."""

from __future__ import annotations

from pydantic import BaseModel
from rich.console import Console

from phoenix.cli import project, tables
from phoenix.secrets import catalog
from phoenix.secrets.store import Origin

_ORIGINS = {"store": "generated, kept", "absent": "not there yet", "sops": "SOPS"}


class SecretRow(BaseModel):
    """One secret: never its value. `changing`: a rotation was started and not finished."""

    name: str
    what: str
    origin: Origin
    changing: bool


class Listing(BaseModel):
    """All secrets of a site, by name."""

    site: str
    store: str
    secrets: list[SecretRow]


def listing(site: project.Project) -> Listing:
    """Every secret of a site."""
    statuses = catalog.listing(site.site, site.secrets)
    return Listing(
        site=site.name,
        store=str(site.secrets.place),
        secrets=[
            SecretRow(
                name=secret.use.name,
                what=secret.use.what,
                origin=secret.origin,
                changing=secret.changing,
            )
            for secret in statuses
        ],
    )


def print_listing(console: Console, listing: Listing) -> None:
    """The names for a person, in a table."""
    rows = []
    for secret in listing.secrets:
        origin = _ORIGINS.get(secret.origin, secret.origin)
        rows.append((secret.name, f"{origin}{', being changed' * secret.changing}", secret.what))
    tables.show(console, "secrets", ["secret", "from", "what for"], rows)
    console.print(f"kept in {listing.store}", markup=False)
