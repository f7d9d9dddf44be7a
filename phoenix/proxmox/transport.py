"""HTTPS to the Proxmox VE API: verified by a CA or by the certificate's fingerprint, any way there.

proxmoxer speaks the API; this gives it a session that trusts exactly what `Trust` says, and that
can send its bytes through an SSH forward.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
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


class _Session:
    """What proxmoxer asks of a session: a request, its answer, and nothing that browsers need.

    No proxy, no ~/.netrc, no cookies, no redirects: half the CPU time of a request went into them,
    and a run sends hundreds.

    Args:
        like: proxmoxer's own session, for its headers and its token.
    """

    def __init__(self, like: requests.Session, adapter: HttpsAdapter, seconds: float) -> None:
        """Send nothing yet."""
        self._headers = dict(like.headers)
        self._token = like.auth
        self._adapter = adapter
        self._seconds = seconds

    def request(
        self,
        method: str,
        url: str,
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> requests.Response:
        """The answer, read whole.

        Raises:
            requests.exceptions.RequestException: there is none.
        """
        asked = requests.PreparedRequest()
        asked.prepare(method, url, self._headers, data=data or {}, params=params, auth=self._token)
        answer = self._adapter.send(asked, timeout=self._seconds)
        _ = answer.content  # its connection is free for the next one
        if answer.is_redirect:
            raise requests.exceptions.TooManyRedirects(
                f"it sends on to {answer.headers['location']}, and the API's own address is needed"
            )
        return answer


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
            f"proxmox_api: {endpoint.url!r} is no URL ({error}): write https://NAME:8006"
        ) from None
    api = ProxmoxAPI(
        where.hostname, port=port, user=parts["user"], token_name=parts["id"],
        token_value=parts["secret"], timeout=endpoint.seconds, verify_ssl=True,
    )  # fmt: skip
    # proxmoxer has no public way to its session, and no other hook for a transport.
    api._store["session"] = _Session(api._store["session"], adapter, endpoint.seconds)
    return api
