"""The agent protocol's signature: ECDSA P-256 over MD5, raw r||s, base64 without padding.

MD5 is the protocol's choice, not ours. The message is "Portainer-App", or AGENT_SECRET when set.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

PUBLIC_KEY_HEADER = "X-PortainerAgent-PublicKey"
SIGNATURE_HEADER = "X-PortainerAgent-Signature"
DEFAULT_MESSAGE = "Portainer-App"
_ALGORITHM = ec.ECDSA(hashes.MD5())  # noqa: S303 - fixed by Portainer's protocol


def load_or_make_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """The server's agent key of its data directory, ``portainer.key``; made on first use."""
    path = directory / "portainer.key"
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{path}: no elliptic curve key")
        return key
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    return key


def sign(key: ec.EllipticCurvePrivateKey, message: str) -> dict[str, str]:
    """The two headers that sign a request."""
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    r, s = decode_dss_signature(key.sign(message.encode(), _ALGORITHM))
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return {
        PUBLIC_KEY_HEADER: public.hex(),
        SIGNATURE_HEADER: base64.b64encode(raw).rstrip(b"=").decode(),
    }


def verify(public_hex: str, signature: str, message: str) -> bool:
    """Whether `signature` is `message` signed by the key."""
    try:
        key = serialization.load_der_public_key(bytes.fromhex(public_hex))
        raw = base64.b64decode(signature + "=" * (-len(signature) % 4), validate=True)
        if not isinstance(key, ec.EllipticCurvePublicKey) or len(raw) != 64:
            return False
        pair = encode_dss_signature(
            int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        )
        key.verify(pair, message.encode(), _ALGORITHM)
    except (ValueError, InvalidSignature):
        return False
    return True
