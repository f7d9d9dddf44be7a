"""The certificate by which the gateway proves itself to Traefik, and its key: one secret.

Signed by itself and trusted by its content alone: a certificate of the site's CA would not do,
since every guest has one of those.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from phoenix.secrets.errors import SecretError

_FROM = datetime(2020, 1, 1, tzinfo=UTC)
_NO_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""No well-defined expiration date (RFC 5280, section 4.1.2.5): it ends by rotation."""


def generate() -> str:
    """A new key (P-256) and its certificate.

    Returns:
        PEM: the certificate, then the key, as nginx and curl read both from one file.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Phoenix: gateway")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_NO_END)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (certificate.public_bytes(Encoding.PEM) + private).decode()


def certificate_in(pem: str) -> str:
    """The certificate of such a secret, without its key.

    Args:
        pem: what `generate` makes.

    Returns:
        PEM, as Traefik may know it.

    Raises:
        SecretError: it is no certificate with its key; the message holds nothing of it.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise SecretError("it is not PEM of a certificate and its unencrypted key") from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise SecretError("its key is not the certificate's")
    return certificate.public_bytes(Encoding.PEM).decode()


def fingerprint(certificate: str) -> str:
    """SHA-256 of a certificate in PEM, in lower-case hex."""
    return x509.load_pem_x509_certificate(certificate.encode()).fingerprint(hashes.SHA256()).hex()
