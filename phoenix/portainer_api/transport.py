"""HTTPS to Portainer: one root trusted, no cookies, no netrc, no proxies, any way to connect.

The name in the URL is the name the certificate must carry; how the bytes get there is the dialler's
business. So the same verified URL works straight and through an SSH forward.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

Dial = Callable[[float], socket.socket]
"""Opens the byte stream to Portainer; the argument is the connect time-out in seconds."""


def dial_tcp(host: str, port: int) -> Dial:
    """A dialler to a fixed TCP address, such as the local end of a forward."""

    def dial(timeout: float) -> socket.socket:
        return socket.create_connection((host, port), timeout=timeout)

    return dial


class _VerifiedAdapter(HTTPAdapter):
    """Trusts one context and nothing else; requests' own bundle of public roots stays out."""

    def __init__(self, context: ssl.SSLContext, dial: Dial | None) -> None:
        self._context = context
        self._dial = dial
        super().__init__(max_retries=0)  # a lost answer to a POST must never be sent again

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kwargs: Any
    ) -> None:
        manager = PoolManager(
            num_pools=connections,
            maxsize=maxsize,
            block=block,
            ssl_context=self._context,
            **kwargs,
        )
        if self._dial is not None:
            manager.pool_classes_by_scheme = {"https": _pool_class(self._dial)}
        self.poolmanager = manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """The pool's host alone: its TLS settings are the context's."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add: the context already decides."""


def _pool_class(dial: Dial) -> type[HTTPSConnectionPool]:
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


class _NoAuth(requests.auth.AuthBase):
    """Stops requests from reading ~/.netrc even where a caller turns trust_env on again."""

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        return r


def session(ca_pem: str, dial: Dial | None = None) -> requests.Session:
    """A session that trusts only `ca_pem` (PEM text) and keeps no cookie.

    A stored login cookie would make Portainer ask for CSRF tokens, and a netrc entry would add a
    second credential, which it refuses with 403.

    Raises:
        ssl.SSLError: `ca_pem` holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_pem)
    made = requests.Session()
    made.trust_env = False
    made.auth = _NoAuth()
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    made.mount("https://", _VerifiedAdapter(context, dial))
    made.adapters.pop("http://")  # no plaintext, not even after a redirect
    return made
