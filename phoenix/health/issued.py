"""What the CA has issued, compared with what is declared and what its guests asked for. Pure.

A certificate whose key no guest asked for went to somebody else. Guests note their keys before
they ask (`phoenix-acme`); what was issued before a guest began to note is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from phoenix.derived.certificates import certificates
from phoenix.health.checks import ISSUED, checks
from phoenix.site.model import Frozen, Site
from phoenix.watch.causes import Check, Outcome

_SHOWN = 3


class Issued(Frozen):
    """One certificate. `key` is the SHA-256 of its SubjectPublicKeyInfo; times are UTC."""

    serial: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    key: str


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
    foreign = list(_foreign(site, issued, asked))
    if not foreign:
        return Outcome(check(site), "")
    more = f" and {len(foreign) - _SHOWN} more" if foreign[_SHOWN:] else ""
    return Outcome(
        check(site),
        "",
        f"{'; '.join(foreign[:_SHOWN])}{more}. If that was none of you, the names are in others' "
        "hands until then, or until a new root: phoenix certs rotate root",
    )


def _foreign(
    site: Site, issued: Sequence[Issued], asked: Mapping[str, Sequence[AskedKeys]]
) -> Iterator[str]:
    notes = {
        (host, asked_keys.certificate): asked_keys
        for host, every in asked.items()
        for asked_keys in every
    }
    known = {key for asked_keys in notes.values() for key in asked_keys.keys}
    owners = {
        name: (certificate.host.name, certificate.name)
        for certificate in certificates(site)
        for name in certificate.sans
    }

    def urgency(certificate: Issued) -> tuple[bool, float]:
        """First who may pass for what is declared; the newest first of each kind."""
        return not owners.keys() & set(certificate.names), -certificate.not_before.timestamp()

    for certificate in sorted(issued, key=urgency):
        if certificate.key in known:
            continue
        holders = {owners[name] for name in certificate.names if name in owners}
        noted = [notes[holder].since for holder in holders if holder in notes]
        if holders and not any(since and since <= certificate.not_before for since in noted):
            continue
        undeclared = [name for name in certificate.names if name not in owners]
        name_issued = (
            f"{undeclared[0]}, which nobody declares," if undeclared else certificate.names[0]
        )
        to = f" to a key that {sorted(holders)[0][0]} never made" if holders else ""
        until = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
        yield f"{name_issued}{to} (until {until}, serial {certificate.serial})"
