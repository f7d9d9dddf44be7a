"""What a certificate says and whether it still serves: pure functions, no host and no clock.

Every answer comes from `cryptography`'s parser. Times are aware UTC datetimes; fingerprints are
lower-case hex without colons, as step-ca prints them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtensionOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError


class CertificateError(ValueError):
    """Input that is not the certificate or key it should be."""


class ChainError(CertificateError):
    """A chain that a client holding only the root would refuse."""


@dataclass(frozen=True)
class CertificateInfo:
    """One certificate, in the words that a deploy compares.

    `public_key` is the SHA-256 of the SubjectPublicKeyInfo, `fingerprint` that of the whole DER.
    `key_matches` is None where nobody looked at a key.
    """

    subject_cn: str
    dns_sans: tuple[str, ...]
    ip_sans: tuple[str, ...]
    issuer_cn: str
    not_before: datetime
    not_after: datetime
    serial: str
    fingerprint: str
    public_key: str
    is_ca: bool
    key_matches: bool | None = None

    @property
    def sans(self) -> frozenset[str]:
        """DNS names and IP addresses together: the set that must equal what was asked for."""
        return frozenset(self.dns_sans) | frozenset(self.ip_sans)

    @property
    def lifetime(self) -> timedelta:
        """The whole validity period."""
        return self.not_after - self.not_before


def load_chain(pem: str | bytes) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM text, in its order, the leaf first (RFC 8446, 4.4.2).

    Raises CertificateError when there is none or one cannot be read.
    """
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError as error:
        raise CertificateError(f"not a PEM certificate chain: {error}") from error


def describe(certificate: x509.Certificate, *, key: str | None = None) -> CertificateInfo:
    """The facts of one certificate; `key` is the `public_key_digest` of the key it should have."""
    public_key = _spki_digest(certificate)
    try:
        dns_sans, ip_sans = _sans(certificate)
        is_ca = _is_ca(certificate)
        subject_cn, issuer_cn = _common_name(certificate.subject), _common_name(certificate.issuer)
    except (ValueError, x509.UnsupportedGeneralNameType, x509.DuplicateExtension) as error:
        raise CertificateError(f"certificate with unreadable fields: {error}") from error
    return CertificateInfo(
        subject_cn=subject_cn,
        dns_sans=dns_sans,
        ip_sans=ip_sans,
        issuer_cn=issuer_cn,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=format(certificate.serial_number, "x"),
        fingerprint=fingerprint(certificate),
        public_key=public_key,
        is_ca=is_ca,
        key_matches=None if key is None else key == public_key,
    )


def parse_chain(pem: str | bytes, *, key: str | None = None) -> tuple[CertificateInfo, ...]:
    """`describe` for every certificate of a PEM text; only the leaf is compared with `key`.

    Raises CertificateError as `load_chain` does.
    """
    leaf, *others = load_chain(pem)
    return (describe(leaf, key=key), *(describe(certificate) for certificate in others))


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER in lower-case hex: step-ca's own root fingerprint."""
    return certificate.fingerprint(SHA256()).hex()


def public_key_digest(pem: str | bytes) -> str:
    """SHA-256 in hex of the SubjectPublicKeyInfo of a PEM public key (`openssl pkey -pubout`).

    Raises CertificateError when it is no public key.
    """
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"not a PEM public key: {error}") from error
    return _sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def verify_chain(
    chain: Sequence[x509.Certificate],
    root: x509.Certificate,
    server_name: str,
    now: datetime,
) -> None:
    """Judge a chain as a strict client would: to `root` alone, for `server_name`, at `now`.

    The rules are RFC 5280's with the CA/B profile, as `cryptography.x509.verification` has them.
    Raises ChainError with the reason.
    """
    if not chain:
        raise ChainError("the chain is empty")
    builder = PolicyBuilder().store(Store([root])).time(now)
    try:
        verifier = builder.build_server_verifier(_subject(server_name))
        verifier.verify(chain[0], list(chain[1:]))
    except (VerificationError, ValueError) as error:
        raise ChainError(f"{server_name} does not verify to the root: {error}") from error


def due(
    info: CertificateInfo | None,
    wanted_sans: Collection[str],
    now: datetime,
    *,
    renew_fraction: Fraction = Fraction(1, 3),
    issuer_cn: str | None = None,
    chain_error: str | None = None,
) -> str | None:
    """Why a leaf must be issued anew, or None where it may stay.

    The guest's own `phoenix-acme` decides by the same rules; this is their counterpart for what is
    read from outside (`verify`, status pages). RFC 8555 sets no time to renew: a third of the
    lifetime left is certbot's rule since 4.0 and Let's Encrypt's advice.

    Raises ValueError for a naive `now` or a fraction outside 0..1.
    """
    if now.tzinfo is None:
        raise ValueError("now must be an aware datetime")
    if not 0 < renew_fraction < 1:
        raise ValueError(f"renew_fraction {renew_fraction} is not between 0 and 1")
    if info is None:
        return "missing"
    if info.key_matches is False:
        return "key does not match"
    wanted = frozenset(wanted_sans)
    if info.sans != wanted:
        return _difference(info.sans, wanted)
    if chain_error is not None:
        return chain_error
    if issuer_cn is not None and info.issuer_cn != issuer_cn:
        return f"issued by {info.issuer_cn!r}, not by {issuer_cn!r}"
    return _time_reason(info, now, renew_fraction)


def _time_reason(info: CertificateInfo, now: datetime, renew_fraction: Fraction) -> str | None:
    if now >= info.not_after:
        return f"expired at {info.not_after.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if now < info.not_before:
        return f"not valid before {info.not_before.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if info.not_after - now < info.lifetime * float(renew_fraction):
        return f"less than {renew_fraction} of the lifetime left"
    return None


def _difference(found: frozenset[str], wanted: frozenset[str]) -> str:
    missing, extra = sorted(wanted - found), sorted(found - wanted)
    parts = [
        f"{what} {', '.join(names)}"
        for what, names in (("lacks", missing), ("has", extra))
        if names
    ]
    return f"names differ: {' and '.join(parts)}"


def _subject(server_name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(server_name))
    except ValueError:
        return x509.DNSName(server_name)


def _common_name(name: x509.Name) -> str:
    attributes = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attributes[0].value) if attributes else ""


def _sans(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        extension = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        )
    except x509.ExtensionNotFound:
        return (), ()
    names = extension.value
    assert isinstance(names, x509.SubjectAlternativeName)  # noqa: S101 - by its OID
    return (
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    )


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _spki_digest(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"certificate with an unknown kind of key: {error}") from error
    return _sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _sha256(data: bytes) -> str:
    digest = Hash(SHA256())
    digest.update(data)
    return digest.finalize().hex()
