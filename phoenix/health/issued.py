"""What the CA has issued, compared with what is declared and what its guests asked for. Pure.

A certificate whose key no guest asked for went to somebody else: `phoenix.watch.issued`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from phoenix.derived.certificates import certificates
from phoenix.health.checks import ISSUED, checks
from phoenix.site.model import Frozen, Site
from phoenix.watch.causes import Check, Outcome
from phoenix.watch.issued import foreign


class Issued(Frozen):
    """One certificate. `key` is the SHA-256 of its SubjectPublicKeyInfo; times are UTC.

    `was_declared` tells whether the site declared all its names when it was issued.
    """

    serial: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    key: str
    was_declared: bool = False


class AskedKeys(Frozen):
    """The keys for which a guest has asked one certificate, since it began to note them."""

    certificate: str
    since: datetime | None = None
    keys: frozenset[str] = frozenset()

    def with_key(self, at: int, key: str) -> AskedKeys:
        """With one more, noted at `at` (seconds since 1970)."""
        time = datetime.fromtimestamp(at, UTC)
        since = time if self.since is None else min(self.since, time)
        return AskedKeys(certificate=self.certificate, since=since, keys=self.keys | {key})


def check(site: Site) -> Check:
    """The check that no host makes: `outcome` does, of what the CA and the holders tell."""
    return next(known for known in checks(site) if known.function == ISSUED)


def unknown(site: Site, why: str) -> Outcome:
    """The outcome of `check` where the CA's list cannot be read."""
    return Outcome(check(site), f"the list cannot be read: {why}")


def outcome(
    site: Site, issued: Sequence[Issued], asked: Mapping[str, Sequence[AskedKeys]]
) -> Outcome:
    """The outcome of `check`: a warning where a certificate went to a key that no guest has made.

    Args:
        site: what is declared.
        issued: certificates that are still valid.
        asked: by host, the keys that it asked for; a host that told nothing is left out.
    """
    notes = {
        (host, asked_keys.certificate): asked_keys
        for host, every in asked.items()
        for asked_keys in every
    }
    undeclared = foreign(owners(site), issued, notes)
    if not undeclared:
        return Outcome(check(site), "")
    return Outcome(
        check(site),
        "",
        f"{undeclared}. If that was none of you, the names are in others' hands until then, "
        "or until a "
        "new root: phoenix certs rotate root",
    )


def owners(site: Site) -> dict[str, tuple[tuple[str, str], ...]]:
    """For each name the hosts whose certificates have it, with the certificate."""
    held: dict[str, list[tuple[str, str]]] = {}
    for certificate in certificates(site):
        for name in certificate.sans:
            held.setdefault(name, []).append((certificate.host.name, certificate.name))
    return {name: tuple(holders) for name, holders in held.items()}
