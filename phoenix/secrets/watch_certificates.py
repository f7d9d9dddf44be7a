"""The certificates by which hosts and the watcher know each other, all made from one secret.

Not those of the site's CA: an alarm must come through when the CA is down, a certificate has
expired or a clock is wrong, since these are what it is about. Each is signed by itself and trusted
by its content alone. A host gets its own key, and none that another's could be made from.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import SecretStr

from phoenix.secrets.rules import check_watch_key

_FROM = datetime(2000, 1, 1, tzinfo=UTC)
_NO_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""No well-defined expiration date (RFC 5280, 4.1.2.5): it ends by rotation of the secret."""


class Pair:
    """A certificate and its key.

    Attributes:
        certificate: PEM.
        pem: the certificate, then the key, as curl and Python read both from one file.
        fingerprint: SHA-256 of the certificate, in lower-case hex.
    """

    def __init__(self, certificate: x509.Certificate, key: Ed25519PrivateKey) -> None:
        """Both in the forms in which they are needed."""
        self.certificate = certificate.public_bytes(Encoding.PEM).decode()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.pem = SecretStr(self.certificate + private)
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex()


def of_host(secret: SecretStr, host: str) -> Pair:
    """The pair by which a host proves itself to the watcher.

    Args:
        secret: `watch_key`.
        host: its full name.

    Raises:
        SecretError: the secret cannot be used.
    """
    return _pair(secret, "host", host, ExtendedKeyUsageOID.CLIENT_AUTH)


def of_watcher(secret: SecretStr, host: str) -> Pair:
    """The pair by which the watcher proves itself to the hosts; the same call gives the same pair.

    Args:
        secret: `watch_key`.
        host: its full name.

    Raises:
        SecretError: the secret cannot be used.
    """
    return _pair(secret, "watcher", host, ExtendedKeyUsageOID.SERVER_AUTH)


def of_scraper(secret: SecretStr, site: str) -> Pair:
    """The pair by which whoever reads the watcher's metrics proves itself.

    Args:
        secret: `watch_key`.
        site: its domain.

    Raises:
        SecretError: the secret cannot be used.
    """
    return _pair(secret, "scraper", site, ExtendedKeyUsageOID.CLIENT_AUTH)


def _pair(secret: SecretStr, role: str, host: str, usage: x509.ObjectIdentifier) -> Pair:
    """Made from the secret alone, so that a second run finds nothing to change.

    The key is an HMAC (RFC 2104) of what it is for; signatures of Ed25519 have no random part
    (RFC 8032, section 5.1.6).
    """
    check_watch_key(secret.get_secret_value())
    word = secret.get_secret_value().encode()
    seed = hmac.digest(word, f"phoenix watch {role} {host}".encode(), hashlib.sha256)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    serial = hmac.digest(word, f"serial {role} {host}".encode(), hashlib.sha256)[:16]
    # One of its own: OpenSSL finds a certificate that is trusted by its subject.
    title = f"Phoenix: watch, {role} {hashlib.sha256(host.encode()).hexdigest()[:16]}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(serial, "big") >> 1 | 1)
        .not_valid_before(_FROM)
        .not_valid_after(_NO_END)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(key, None)
    )
    return Pair(certificate, key)
