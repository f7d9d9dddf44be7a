"""The gateway's certificate for Traefik: what is made, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from phoenix.secrets import client_certificate
from phoenix.secrets.errors import SecretError


def test_openssl_takes_it_for_a_client_that_never_expires_and_for_no_ca(tmp_path: Path) -> None:
    file = tmp_path / "client.pem"
    file.write_text(client_certificate.generate())
    command = ["openssl", "verify", "-purpose", "sslclient", "-CAfile", str(file), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    shown = subprocess.run(
        ["openssl", "x509", "-in", str(file), "-noout", "-text"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "CA:FALSE" in shown
    assert "TLS Web Client Authentication" in shown
    assert "Not After : Dec 31 23:59:59 9999 GMT" in shown
    key = subprocess.run(
        ["openssl", "pkey", "-in", str(file), "-pubout"], capture_output=True, text=True, check=True
    ).stdout
    assert key in subprocess.run(
        ["openssl", "x509", "-in", str(file), "-noout", "-pubkey"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def test_each_is_another_and_the_certificate_is_without_its_key() -> None:
    first, other = client_certificate.generate(), client_certificate.generate()
    certificates = [client_certificate.certificate_in(pem) for pem in (first, other)]
    assert len({client_certificate.fingerprint(pem) for pem in certificates}) == 2
    assert " KEY-----" not in "".join(certificates)
    assert first.startswith(certificates[0])


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        ("", "it is not PEM"),
        ("planted-5ecret", "it is not PEM"),
        (client_certificate.generate().partition("-----BEGIN PRIVATE")[0], "it is not PEM"),
    ],
)
def test_what_is_something_else_is_refused_without_telling_it(pem: str, message: str) -> None:
    with pytest.raises(SecretError, match=message) as caught:
        client_certificate.certificate_in(pem)
    assert not pem or pem not in str(caught.value)


def test_key_of_another_certificate_is_refused() -> None:
    first, other = client_certificate.generate(), client_certificate.generate()
    end = "-----END CERTIFICATE-----\n"
    mixed = first.partition(end)[0] + end + other.partition(end)[2]
    with pytest.raises(SecretError, match="its key is not the certificate's"):
        client_certificate.certificate_in(mixed)
