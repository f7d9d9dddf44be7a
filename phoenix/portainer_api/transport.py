"""The session to Portainer: one root trusted, no cookies, no netrc, no proxies."""

from __future__ import annotations

import ssl
from http.cookiejar import DefaultCookiePolicy

import requests

from phoenix.net.https import Dial, HttpsAdapter, client_context


class _NoAuth(requests.auth.AuthBase):
    """Stops requests from reading ~/.netrc even where a caller turns trust_env on again."""

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        return r


def session(
    ca_pem: str | None, dial: Dial | None = None, fingerprint: str = ""
) -> requests.Session:
    """A session that trusts only `ca_pem` (PEM text) and keeps no cookie.

    With `fingerprint` it trusts that one certificate; with None for both, the machine's own CAs.

    A stored login cookie would make Portainer ask for CSRF tokens, and a netrc entry would add a
    second credential, which it refuses with 403.

    Raises:
        ssl.SSLError: `ca_pem` holds no certificate.
    """
    context = client_context()
    if fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the adapter compares the fingerprint
    elif ca_pem is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=ca_pem)
    requests_session = requests.Session()
    requests_session.trust_env = False
    requests_session.auth = _NoAuth()
    requests_session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    requests_session.mount("https://", HttpsAdapter(context, dial, fingerprint=fingerprint or None))
    requests_session.adapters.pop("http://")  # no plaintext, not even after a redirect
    return requests_session
