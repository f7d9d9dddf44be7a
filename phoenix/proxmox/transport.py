"""HTTPS to the Proxmox VE API: verified by a CA or by the certificate's fingerprint, any way there.

proxmoxer speaks the API; this gives its session an adapter that trusts exactly what it is told,
and that can send its bytes through an SSH forward.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from proxmoxer import ProxmoxAPI  # type: ignore[import-untyped]
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from phoenix.proxmox.errors import LoginError, ProxmoxError

Dial = Callable[[float], socket.socket]
"""Opens the byte stream to the API; the argument is the connect time-out in seconds."""

_TOKEN = re.compile(r"(?P<user>[^@!=\s]+@[^@!=\s]+)!(?P<id>[^!=\s]+)=(?P<secret>\S+)\Z")


@dataclass(frozen=True)
class Trust:
    """What the API's certificate must be.

    Either `fingerprint`, the SHA-256 of the certificate in hex, colons allowed: then its name and
    issuer don't matter, it's that very certificate. Or `ca_file`: then it must chain to it and
    carry the URL's name. One of the two is needed.
    """

    fingerprint: str | None = None
    ca_file: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where the API is, how it is trusted and who we are. The token: USER@REALM!ID=SECRET."""

    url: str
    token: SecretStr
    trust: Trust
    dial: Dial | None = None
    seconds: float = 30.0


class _PinnedAdapter(HTTPAdapter):
    """Trusts what `Trust` says and nothing else; requests' own bundle of roots stays out."""

    def __init__(self, trust: Trust, dial: Dial | None) -> None:
        self._trust = trust
        self._dial = dial
        super().__init__(max_retries=0)  # what may be sent again is for the client to decide

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kwargs: Any
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._trust.fingerprint:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            kwargs["assert_fingerprint"] = self._trust.fingerprint.replace(":", "").lower()
        else:
            context.load_verify_locations(cafile=self._trust.ca_file)
        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=context, **kwargs
        )
        if self._dial is not None:
            self.poolmanager.pool_classes_by_scheme = {"https": _dialled(self._dial)}

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """The pool's host alone: its TLS settings are the context's."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add: the context already decides."""


def _dialled(dial: Dial) -> type[HTTPSConnectionPool]:
    class DialledConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            seconds = self.timeout if isinstance(self.timeout, int | float) else 10.0
            try:
                return dial(float(seconds))
            except OSError as error:
                raise NewConnectionError(self, f"cannot reach {self.host}: {error}") from error

    class DialledPool(HTTPSConnectionPool):
        ConnectionCls = DialledConnection

    return DialledPool


def connect(endpoint: Endpoint) -> ProxmoxAPI:
    """proxmoxer's API object; nothing is sent yet.

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
    if not (endpoint.trust.fingerprint or endpoint.trust.ca_file):
        raise ProxmoxError(
            "the API's certificate can't be verified: set proxmox_ca_file or proxmox_fingerprint, "
            'or proxmox_api = "ssh", which learns the fingerprint from the hypervisor by SSH'
        )
    try:
        adapter = _PinnedAdapter(endpoint.trust, endpoint.dial)
    except OSError as error:
        raise ProxmoxError(f"proxmox_ca_file {endpoint.trust.ca_file}: {error}") from error
    where = urlsplit(endpoint.url)
    api = ProxmoxAPI(
        where.hostname, port=where.port or 8006, user=parts["user"], token_name=parts["id"],
        token_value=parts["secret"], timeout=endpoint.seconds, verify_ssl=True,
    )  # fmt: skip
    # proxmoxer has no public way to its session, and no other hook for a transport.
    session: requests.Session = api._store["session"]
    session.trust_env = False  # no proxy, no ~/.netrc
    session.mount("https://", adapter)
    return api
