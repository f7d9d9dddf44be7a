"""The session to Portainer: one root trusted, no cookies, no netrc, no proxies."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy

import requests

from phoenix.net.https import Dial, HttpsAdapter, client_context


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
    context = client_context()
    context.load_verify_locations(cadata=ca_pem)
    requests_session = requests.Session()
    requests_session.trust_env = False
    requests_session.auth = _NoAuth()
    requests_session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    requests_session.mount("https://", HttpsAdapter(context, dial))
    requests_session.adapters.pop("http://")  # no plaintext, not even after a redirect
    return requests_session
