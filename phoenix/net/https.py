"""HTTPS for requests that trusts one TLS context and nothing else, over any byte stream.

The name in the URL is the name the certificate must carry; `Dial` opens the connection. So the
same verified URL works directly and through an SSH forward.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Callable, Collection
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

Dial = Callable[[float], socket.socket]
"""Opens the byte stream to a server; the argument is the connect time-out in seconds."""


class HttpsAdapter(HTTPAdapter):
    """Trusts `context` alone; requests' own bundle of public roots stays out.

    Args:
        dial: how to connect; None connects to the URL's own host and port.
        fingerprint: SHA-256 of the one certificate to accept, hex; then `context` verifies nothing.
        fingerprints: of the certificates of which any one is accepted, likewise.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        dial: Dial | None,
        *,
        fingerprint: str | None = None,
        fingerprints: Collection[str] = (),
    ) -> None:
        """Keep the arguments of the pool; requests creates the pool in the base class."""
        self._context = context
        self._dial = dial
        self._fingerprint = fingerprint
        self._fingerprints = frozenset(fingerprints)
        super().__init__(max_retries=0)  # a lost answer to a POST must never be sent again

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kwargs: Any
    ) -> None:
        """The pool, with our context and our way to connect."""
        if self._fingerprint is not None:
            kwargs["assert_fingerprint"] = self._fingerprint
        manager = PoolManager(
            num_pools=connections,
            maxsize=maxsize,
            block=block,
            ssl_context=self._context,
            **kwargs,
        )
        if self._dial is not None or self._fingerprints:
            pool = _pool_class(self._dial, self._fingerprints)
            manager.pool_classes_by_scheme = {"https": pool}
        self.poolmanager = manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """The pool's host alone: its TLS settings are the context's."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context already decides."""


def client_context() -> ssl.SSLContext:
    """A client's context that verifies chain and name, and as yet trusts no root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _pool_class(dial: Dial | None, fingerprints: frozenset[str]) -> type[HTTPSConnectionPool]:
    class StreamConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            if not fingerprints:
                return
            served = self.sock.getpeercert(binary_form=True)  # type: ignore[union-attr]
            digest = hashlib.sha256(served or b"").hexdigest()
            if digest not in fingerprints:  # before the first byte of a request
                self.close()
                raise ssl.SSLError(f"the certificate's fingerprint {digest} is none of those known")
            self.is_verified = True

        def _new_conn(self) -> socket.socket:
            if dial is None:
                return super()._new_conn()
            seconds = self.timeout if isinstance(self.timeout, int | float) else 10.0
            try:
                return dial(float(seconds))
            except OSError as error:
                raise NewConnectionError(self, f"cannot reach {self.host}: {error}") from error

    class StreamPool(HTTPSConnectionPool):
        ConnectionCls = StreamConnection

    return StreamPool
