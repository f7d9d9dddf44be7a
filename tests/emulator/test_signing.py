"""The signature of the agent protocol."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from portainer_emulator import signing

KEY = ec.generate_private_key(ec.SECP256R1())


def headers(message: str = signing.DEFAULT_MESSAGE) -> tuple[str, str]:
    signed = signing.sign(KEY, message)
    return signed[signing.PUBLIC_KEY_HEADER], signed[signing.SIGNATURE_HEADER]


def test_signature_is_raw_r_and_s_without_padding() -> None:
    public, signature = headers()
    assert not signature.endswith("="), signature
    assert len(base64.b64decode(signature + "==")) == 64, signature
    assert signing.verify(public, signature, signing.DEFAULT_MESSAGE)


def test_other_message_key_or_form_is_refused() -> None:
    public, signature = headers("one secret")
    assert not signing.verify(public, signature, "another secret")
    stranger = signing.sign(ec.generate_private_key(ec.SECP256R1()), "one secret")
    assert not signing.verify(public, stranger[signing.SIGNATURE_HEADER], "one secret")
    for broken in ("", "no base64!", base64.b64encode(b"x" * 63).decode()):
        assert not signing.verify(public, broken, "one secret"), broken
    for broken in ("", "no hex", "00"):
        assert not signing.verify(broken, signature, "one secret"), broken


def test_key_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    first = signing.load_or_make_key(tmp_path)
    again = signing.load_or_make_key(tmp_path)
    assert first.private_numbers() == again.private_numbers()
    assert stat.S_IMODE((tmp_path / "portainer.key").stat().st_mode) == 0o600


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "portainer.key").write_bytes(other)
    with pytest.raises(TypeError, match="no elliptic curve key"):
        signing.load_or_make_key(tmp_path)
