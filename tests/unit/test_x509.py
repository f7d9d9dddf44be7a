"""phoenix.components.x509 on certificates made in the test, with a fixed clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from phoenix.components.x509 import (
    CertificateError,
    CertificateInfo,
    fingerprint,
    parse_chain,
    permitted,
    public_key_digest,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NAMES = ("app.lab.test", "gw.lab.test")


class Authority:
    """A root and one intermediate, P-256, as the project's Step-CA has them.

    `limits` are the domains and networks that the intermediate may vouch for.
    """

    def __init__(self, name: str, *limits: str) -> None:
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = _ca(f"{name} Root", self.root_key, f"{name} Root", self.root_key, 1)
        self.intermediate = _ca(f"{name} Int", self.key, f"{name} Root", self.root_key, 0, limits)

    def leaf(
        self,
        key: ec.EllipticCurvePrivateKey,
        *,
        sans: tuple[str, ...] = NAMES,
        start: datetime = NOW - timedelta(hours=8),
        lifetime: timedelta = timedelta(hours=24),
    ) -> x509.Certificate:
        names: list[x509.GeneralName] = [
            x509.IPAddress(ip_address(san)) if san[0].isdigit() else x509.DNSName(san)
            for san in sans
        ]
        return (
            _builder(sans[0], key, self.intermediate.subject, self.key, start, lifetime)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    start: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )


def _ca(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    path_length: int,
    limits: tuple[str, ...] = (),
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    start, lifetime = NOW - timedelta(days=10), timedelta(days=3650)
    builder = (
        _builder(subject, key, _name(issuer), issuer_key, start, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if limits:
        subtrees: list[x509.GeneralName] = [
            x509.IPAddress(ip_network(limit)) if limit[0].isdigit() else x509.DNSName(limit)
            for limit in limits
        ]
        builder = builder.add_extension(x509.NameConstraints(subtrees, None), critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(
        certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates
    )


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


CA = Authority("Phoenix")
KEY = ec.generate_private_key(ec.SECP256R1())


def _info(**changes: object) -> CertificateInfo:
    leaf = CA.leaf(KEY, **changes)  # type: ignore[arg-type]
    return parse_chain(_pem(leaf), key=public_key_digest(_public_pem(KEY)))[0]


def test_parse_chain_reads_every_field() -> None:
    leaf = CA.leaf(KEY, sans=("app.lab.test", "10.0.0.5"))
    first, second = parse_chain(
        _pem(leaf, CA.intermediate), key=public_key_digest(_public_pem(KEY))
    )
    assert (first.subject_cn, first.issuer_cn) == ("app.lab.test", "Phoenix Int")
    assert (first.dns_sans, first.ip_sans) == (("app.lab.test",), ("10.0.0.5",))
    assert first.sans == {"app.lab.test", "10.0.0.5"}
    assert (first.not_before, first.lifetime) == (NOW - timedelta(hours=8), timedelta(hours=24))
    assert int(first.serial, 16) == leaf.serial_number
    assert first.fingerprint == fingerprint(leaf) == leaf.fingerprint(hashes.SHA256()).hex()
    assert (first.is_ca, first.key_matches) == (False, True)
    assert (second.is_ca, second.key_matches, second.sans) == (True, None, frozenset())


def test_another_key_does_not_match() -> None:
    other = public_key_digest(_public_pem(ec.generate_private_key(ec.SECP256R1())))
    assert parse_chain(_pem(CA.leaf(KEY)), key=other)[0].key_matches is False


@pytest.mark.parametrize(
    "text",
    ["", "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_junk_is_a_certificate_error(text: str) -> None:
    with pytest.raises(CertificateError, match="not a PEM certificate chain"):
        parse_chain(text)
    with pytest.raises(CertificateError, match="not a PEM public key"):
        public_key_digest(text)


def test_what_a_ca_may_vouch_for_is_read_and_asked() -> None:
    limits = permitted(_pem(Authority("A", "apps.example.org", "10.0.0.0/24").intermediate))
    assert limits is not None
    assert limits.domains == ("apps.example.org",)
    assert limits.networks == (IPv4Network("10.0.0.0/24"),)
    for name in ("apps.example.org", "a.apps.example.org", "a.host.apps.example.org", "10.0.0.7"):
        assert limits.allows(name), name
    for name in ("example.org", "myapps.example.org", "10.0.1.7", "apps.example.org.evil.test"):
        assert not limits.allows(name), name
    assert permitted(_pem(Authority("A").intermediate)) is None
