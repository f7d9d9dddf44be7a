"""Whether the CA knows the ACME account that Traefik has registered."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Literal

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

Account = Literal["none", "known", "unknown", "silent"]

# A request by the account's URL whose signature cannot be right: the CA looks the account up
# before it verifies (RFC 8555, 6.2 and 6.7), so an account that it has gets another refusal than
# one that it has not. The account's key is not needed, and stays where it is.
_SCRIPT = r"""store=$1 root=$2 directory=$3
b64() { base64 -w 0 | tr '+/' '-_' | tr -d =; }
ask() { curl -sS --max-time 10 --cacert "$root" "$@" 2>/dev/null; }
uri=$(sed -n 's/^ *"uri": "\(https:[^"]*\)".*/\1/p' "$store" 2>/dev/null | head -n 1)
[ -n "$uri" ] || { echo none; exit 0; }
nonce=$(ask -I "${directory%/directory}/new-nonce" | tr -d '\r' |
    sed -n 's/^[Rr]eplay-[Nn]once: //p')
[ -n "$nonce" ] || { echo silent; exit 0; }
head=$(printf '{"alg":"ES256","kid":"%s","nonce":"%s","url":"%s"}' "$uri" "$nonce" "$uri" | b64)
sig=$(head -c 64 /dev/zero | b64)
answer=$(ask -w '\n%{http_code}' -H 'Content-Type: application/jose+json' \
    -d "{\"protected\":\"$head\",\"payload\":\"\",\"signature\":\"$sig\"}" "$uri")
case $answer in
*accountDoesNotExist*|*'account is not active'*|*500) echo unknown ;;
*malformed*) echo known ;;
*) echo silent ;;
esac
"""


class AcmeAccount(FactBase[Account]):
    """What the CA makes of the account in Traefik's store: none, known, unknown, or silent.

    "none": Traefik has not registered yet. "silent": the CA gave no answer that tells.

    Args:
        store: path of acme.json on the guest.
        root: path of the root certificate there.
        directory: URL of the ACME directory.
    """

    @staticmethod
    @override
    def default() -> Account:
        return "none"

    @override
    def command(self, store: str, root: str, directory: str) -> StringCommand:
        words = (shlex.quote(word) for word in (store, root, directory))
        return StringCommand("sh", "-c", shlex.quote(_SCRIPT), "acme-account", *words)

    @override
    def process(self, output: Iterable[str]) -> Account:
        match list(output):
            case [("none" | "known" | "unknown" | "silent") as found]:
                return found
            case lines:
                raise FactProcessError(f"unexpected answer from the host: {lines!r}")
