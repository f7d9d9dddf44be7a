"""Which certificates of the CA went to a key that no guest has made. Pure.

Guests note their keys before they ask (`phoenix-acme`); what was issued before a guest began to
note is not judged. Nor is a certificate of names that no guest has any more and that were declared
when it was issued: the notes of a guest go with it. `phoenix.health.issued` tells it to people, and
the watcher raises an alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

_SHOWN = 3


class Certificate(Protocol):
    """One that the CA issued; `key` tells its public key from others, as `Notes` does."""

    @property
    def serial(self) -> str:
        """In hex."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its SANs."""

    @property
    def not_before(self) -> datetime:
        """UTC."""

    @property
    def not_after(self) -> datetime:
        """UTC."""

    @property
    def key(self) -> str:
        """Of its SubjectPublicKeyInfo."""

    @property
    def was_declared(self) -> bool:
        """Whether the site declared all its names when it was issued."""


class Notes(Protocol):
    """The keys for which a guest asked one certificate, since it began to note them."""

    @property
    def since(self) -> datetime | None:
        """UTC; None where it has noted none."""

    @property
    def keys(self) -> frozenset[str]:
        """Each as `Certificate.key`."""


class Issued(NamedTuple):
    """A certificate, as a report has it."""

    serial: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    key: str
    was_declared: bool = False


class Asked(NamedTuple):
    """A guest's notes, as a report has them."""

    since: datetime | None
    keys: frozenset[str]


def foreign(
    owners: Mapping[str, Sequence[tuple[str, str]]],
    issued: Sequence[Certificate],
    notes: Mapping[tuple[str, str], Notes],
) -> str:
    """What to tell of certificates whose key no guest has made; empty where there are none.

    Args:
        owners: by name, each host whose certificate has it, and that certificate.
        issued: certificates that are still valid.
        notes: by host and certificate; those of certificates that were removed are without a name.
    """
    descriptions = list(_foreign(owners, issued, notes))
    more = f" and {len(descriptions) - _SHOWN} more" if descriptions[_SHOWN:] else ""
    return f"{'; '.join(descriptions[:_SHOWN])}{more}"


def _foreign(
    owners: Mapping[str, Sequence[tuple[str, str]]],
    issued: Sequence[Certificate],
    notes: Mapping[tuple[str, str], Notes],
) -> Iterator[str]:
    known = {key for noted in notes.values() for key in noted.keys}

    def urgency(certificate: Certificate) -> tuple[bool, float]:
        """First who may pass for what is declared; the newest first of each kind."""
        return not owners.keys() & set(certificate.names), -certificate.not_before.timestamp()

    for certificate in sorted(issued, key=urgency):
        if certificate.key in known:
            continue
        by_name = [tuple(owners[name]) for name in certificate.names if name in owners]
        holders = {holder for held in by_name for holder in held}
        # Of two gateways the one that tells nothing may have asked for it.
        known_notes = {
            name for held in by_name if all(name in notes for name in held) for name in held
        }
        begun = [notes[holder].since for holder in known_notes]
        if holders and not any(since and since <= certificate.not_before for since in begun):
            continue
        if not holders and certificate.was_declared:
            continue
        undeclared = [name for name in certificate.names if name not in owners]
        name_issued = (
            f"{undeclared[0]}, which nobody declares," if undeclared else certificate.names[0]
        )
        to = f" to a key that {sorted(holders)[0][0]} never made" if holders else ""
        until = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
        yield f"{name_issued}{to} (until {until}, serial {certificate.serial})"
