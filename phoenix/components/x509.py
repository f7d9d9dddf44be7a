"""What a certificate says: pure functions, no host and no clock.

Every answer comes from `cryptography`'s parser. Times are aware UTC datetimes; fingerprints are
lower-case hex without colons, as step-ca prints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtensionOID, NameOID

from phoenix.site.names import in_zone


class CertificateError(ValueError):
    """Input that is not the certificate or key it should be."""


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


@dataclass(frozen=True)
class Permitted:
    """Names below `domains`, and addresses in `networks`: the subtrees of RFC 5280, 4.2.1.10."""

    domains: tuple[str, ...]
    networks: tuple[IPv4Network, ...]

    @property
    def of_site(self) -> tuple[str, ...]:
        """What it may vouch for beside the machine's own loopback, in words."""
        allowed = (*LOOPBACK.domains, *LOOPBACK.networks)
        return tuple(str(name) for name in (*self.domains, *self.networks) if name not in allowed)

    def allows(self, name: str) -> bool:
        """Whether a DNS name or an IPv4 address is one of these."""
        try:
            address = IPv4Address(name)
        except ValueError:
            return any(name == domain or in_zone(name, domain) for domain in self.domains)
        return any(address in network for network in self.networks)


LOOPBACK = Permitted(("localhost",), (IPv4Network("127.0.0.1"),))
"""What every CA vouches for, beside the names of its site."""


def permitted(pem: str | bytes) -> Permitted | None:
    """What the first certificate of a PEM text may vouch for; None where nothing limits it.

    Raises CertificateError as `load_chain` does.
    """
    certificate, *_ = load_chain(pem)
    try:
        limits = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    subtrees = limits.permitted_subtrees or []
    return Permitted(
        tuple(str(subtree.value) for subtree in subtrees if isinstance(subtree, x509.DNSName)),
        tuple(
            subtree.value
            for subtree in subtrees
            if isinstance(subtree, x509.IPAddress) and isinstance(subtree.value, IPv4Network)
        ),
    )


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER in lower-case hex: step-ca's own root fingerprint."""
    return certificate.fingerprint(SHA256()).hex()


def public_key_digest(pem: str | bytes) -> str:
    """SHA-256 in hex of the SubjectPublicKeyInfo of a PEM public key (`openssl pkey -pubout`).

    Raises CertificateError when it is not a public key.
    """
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"not a PEM public key: {error}") from error
    return _sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


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
