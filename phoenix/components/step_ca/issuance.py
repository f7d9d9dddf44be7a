"""Issuance bound to the guest: the CA signs names for who shows the proof of just these names.

http-01 proves who answers at a name's address, and on a network segment any machine can take an
address. So each certificate request carries a proof as well: a keyed digest of its names, which a
run hands to the guest that holds them, over SSH. The CA's certificate template compares it
(https://smallstep.com/docs/step-ca/templates/). It is what external account binding (RFC 8555,
section 7.3.4) would be, which step-ca has in its commercial parts alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pydantic import SecretStr

from phoenix.files import text
from phoenix.secrets.rules import check_issuance_key

TEMPLATE = "/etc/step-ca/templates/leaf.tpl"
"""The template on the CA's guest; the CA reads it for each certificate."""


def leaf_template(key: SecretStr) -> str:
    """The template of certificates by ACME, with the key that proofs are made with.

    Raises:
        SecretError: the key cannot be used.
    """
    check_issuance_key(key.get_secret_value())
    return text("components/step_ca/leaf.tpl").replace("@KEY@", key.get_secret_value())


def proof(key: SecretStr, names: Iterable[str]) -> SecretStr:
    """What a request for exactly these DNS names must carry, as its subject's serialNumber.

    The key stands before both digests, as in HMAC (RFC 2104): who has proofs of other names
    cannot make this one.

    Args:
        key: the secret `step_ca_issuance_key`.
        names: SANs of the certificate, in any order.
    """
    word = key.get_secret_value()
    inner = hashlib.sha256(f"{word}{' '.join(sorted(names))}".encode()).hexdigest()
    return SecretStr(hashlib.sha256(f"{word}{inner}".encode()).hexdigest())
