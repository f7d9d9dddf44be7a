"""Request headers that the gateway removes, so that no client can pass for a proxy."""

from __future__ import annotations

REMOVED_HEADERS = (
    # Who a user is: a backend believes it of its proxy.
    "Remote-User",
    "X-Remote-User",
    "X-Forwarded-User",
    "X-Forwarded-Groups",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    # Where a client is: the gateway tells it in X-Forwarded-For and X-Real-IP.
    "Forwarded",
    "True-Client-IP",
    "Client-IP",
    "X-Client-IP",
    "CF-Connecting-IP",
    # What was asked for: a backend that believes it checks one path and serves another.
    "X-Forwarded-Method",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Uri",
    "X-Original-Method",
    "X-Original-URL",
    "X-Rewrite-URL",
    # Becomes the variable HTTP_PROXY of a CGI program (https://httpoxy.org/).
    "Proxy",
)
"""Request headers that only a proxy sets. The gateway sets none of them and removes them from a
client's request (RFC 7239, section 8.1)."""
