"""What `phoenix secrets` shows: names and origins, never a value."""

from __future__ import annotations

from pydantic import BaseModel
from rich.console import Console

from phoenix.cli import project, tables
from phoenix.secrets import catalog
from phoenix.secrets.store import Origin

_ORIGINS = {"store": "generated, kept", "sops": "SOPS"}


class SecretRow(BaseModel):
    """One secret: never its value. `changing`: a rotation was started and not finished.

    `generated`: Phoenix makes one where neither this machine nor the site has it.
    """

    name: str
    what: str
    origin: Origin
    changing: bool
    generated: bool

    @property
    def where(self) -> str:
        """Where it comes from, for a person."""
        if self.origin == "absent":
            return "not on this machine" if self.generated else "not given"
        return _ORIGINS.get(self.origin, self.origin)


class Listing(BaseModel):
    """All secrets of a site, by name."""

    site: str
    store: str
    secrets: list[SecretRow]


def listing(site: project.Project) -> Listing:
    """Every secret of a site."""
    statuses = catalog.listing(site.site, site.secrets, site.settings.registries)
    return Listing(
        site=site.name,
        store=str(site.secrets.place),
        secrets=[
            SecretRow(
                name=secret.use.name,
                what=secret.use.what,
                origin=secret.origin,
                changing=secret.changing,
                generated=secret.use.generated,
            )
            for secret in statuses
        ],
    )


def print_listing(console: Console, listing: Listing) -> None:
    """The names for a person, in a table."""
    rows = [
        (secret.name, f"{secret.where}{', being changed' * secret.changing}", secret.what)
        for secret in listing.secrets
    ]
    tables.show(console, "secrets", ["secret", "from", "what for"], rows)
    absent = [secret for secret in listing.secrets if secret.origin == "absent"]
    if any(secret.generated for secret in absent):
        console.print(
            "not on this machine: a new site's first sync makes it; one that the site has "
            "already comes by\n  phoenix secrets import", markup=False,
        )  # fmt: skip
    if not all(secret.generated for secret in absent):
        console.print("not given: give it where you need it; none is made on this machine")
    console.print(f"kept in {listing.store}", markup=False)
