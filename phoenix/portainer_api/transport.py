"""The session to Portainer: one root trusted, no cookies, no netrc, no proxies."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy

import requests

from phoenix.net.https import Dial, DialledAdapter, client_context


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
    made = requests.Session()
    made.trust_env = False
    made.auth = _NoAuth()
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    made.mount("https://", DialledAdapter(context, dial))
    made.adapters.pop("http://")  # no plaintext, not even after a redirect
    return made
