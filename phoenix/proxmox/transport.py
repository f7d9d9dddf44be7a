"""HTTPS to the Proxmox VE API: verified by a CA or by the certificate's fingerprint, any way there.

proxmoxer speaks the API; this gives its session an adapter that trusts exactly what `Trust` says,
and that can send its bytes through an SSH forward.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from proxmoxer import ProxmoxAPI  # type: ignore[import-untyped]
from pydantic import SecretStr

from phoenix.net.https import Dial, HttpsAdapter, client_context
from phoenix.proxmox.errors import LoginError, ProxmoxError

_TOKEN = re.compile(r"(?P<user>[^@!=\s]+@[^@!=\s]+)!(?P<id>[^!=\s]+)=(?P<secret>\S+)\Z")


@dataclass(frozen=True)
class Trust:
    """What the API's certificate must be.

    Either `fingerprint`, the SHA-256 of the certificate in hex, colons allowed: then its name and
    issuer don't matter, it's that very certificate. Or `ca_file`: then it must chain to it and
    carry the URL's name. Or `fingerprints`: then it must be one of those certificates. One of the
    three is needed.
    """

    fingerprint: str | None = None
    ca_file: str | None = None
    fingerprints: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Endpoint:
    """Where the API is, how it is trusted and who we are. The token: USER@REALM!ID=SECRET."""

    url: str
    token: SecretStr
    trust: Trust
    dial: Dial | None = None
    seconds: float = 30.0


def _adapter(trust: Trust, dial: Dial | None) -> HttpsAdapter:
    context = client_context()
    if trust.ca_file and not trust.fingerprint:
        context.load_verify_locations(cafile=trust.ca_file)
        return HttpsAdapter(context, dial)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if trust.fingerprint:
        return HttpsAdapter(context, dial, fingerprint=_hex(trust.fingerprint))
    return HttpsAdapter(context, dial, fingerprints=frozenset(map(_hex, trust.fingerprints)))


def _hex(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()


def connect(endpoint: Endpoint) -> ProxmoxAPI:
    """proxmoxer's API object; sends no request yet.

    Raises:
        LoginError: the token isn't of the form USER@REALM!ID=SECRET.
        ProxmoxError: there is nothing to verify the certificate by.
    """
    parts = _TOKEN.match(endpoint.token.get_secret_value().strip())
    if not parts:
        raise LoginError(
            "the secret proxmox_api_token is not of the form USER@REALM!ID=SECRET, as Proxmox VE "
            "shows it when a token is made (Datacenter, Permissions, API Tokens)"
        )
    if not (endpoint.trust.fingerprint or endpoint.trust.ca_file or endpoint.trust.fingerprints):
        raise ProxmoxError(
            "the API's certificate can't be verified: set proxmox_ca_file or proxmox_fingerprint, "
            'or proxmox_api = "ssh", which learns the fingerprint from the hypervisor by SSH'
        )
    try:
        adapter = _adapter(endpoint.trust, endpoint.dial)
    except OSError as error:
        raise ProxmoxError(f"proxmox_ca_file {endpoint.trust.ca_file}: {error}") from error
    try:
        where = urlsplit(endpoint.url)
        port = where.port or 8006
    except ValueError as error:
        raise ProxmoxError(
            f"proxmox_api: {endpoint.url!r} is not a URL ({error}): write https://NAME:8006"
        ) from None
    api = ProxmoxAPI(
        where.hostname, port=port, user=parts["user"], token_name=parts["id"],
        token_value=parts["secret"], timeout=endpoint.seconds, verify_ssl=True,
    )  # fmt: skip
    # proxmoxer has no public way to its session, and no other hook for a transport.
    session: requests.Session = api._store["session"]
    session.trust_env = False  # no proxy, no ~/.netrc
    session.max_redirects = 0  # the token is for this server alone
    session.mount("https://", adapter)
    return api
