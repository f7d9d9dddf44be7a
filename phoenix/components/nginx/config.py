"""The gateway's nginx.conf: values of a site and of the settings in the template beside this file.

Directives follow https://nginx.org/en/docs/dirindex.html.
"""

from __future__ import annotations

import hashlib

from phoenix.components.acme.config import CERTIFICATES, WEBROOT
from phoenix.components.trust import ROOTS
from phoenix.derived.routes import gateway_names
from phoenix.files import render
from phoenix.site.model import Site
from phoenix.site.roles import guest_with

CONFIG = "/etc/nginx/nginx.conf"
ACCESS_LOG = "/var/log/nginx/access.log"
"""JSON, one request a line: the one access log of a request on its way to a backend."""
STATUS = "127.0.0.1:8082"
"""For checks made on the guest: `/generation` and `/status`."""

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
"""Request headers that only a proxy sets. The gateway sets none of them and takes them off a
client's request (RFC 7239, section 8.1)."""


def nginx_config(
    site: Site, *, certificate: str, hsts_seconds: int, max_body: str, read_timeout: str
) -> tuple[str, str]:
    """The whole nginx.conf, and the name of its generation.

    Args:
        site: the gateway answers to its routed names and hands over to its Traefik guest.
        certificate: name of the gateway's certificate, which `phoenix-acme` keeps.
        hsts_seconds: max-age of Strict-Transport-Security (RFC 6797); 0 takes it back.
        max_body: largest request body, as nginx writes sizes ("512m").
        read_timeout: how long a backend may be silent, as nginx writes times ("300s").

    Returns:
        The text, and a hash of it: the workers tell it at `http://STATUS/generation`.

    Raises:
        RoleError: the site has no guest with the role `traefik`.
    """
    traefik = guest_with(site, "traefik")
    values = {
        "access_log": ACCESS_LOG,
        "certificate": f"{CERTIFICATES}/{certificate}",
        "names": gateway_names(site),
        "removed_headers": REMOVED_HEADERS,
        "status": STATUS,
        "traefik_address": traefik.address,
        "traefik_name": traefik.fqdn,
        "root": ROOTS,
        "webroot": WEBROOT,
        "hsts_seconds": hsts_seconds,
        "max_body": max_body,
        "read_timeout": read_timeout,
    }
    template = "components/nginx/nginx.conf.j2"
    generation = hashlib.sha256(render(template, generation="", **values).encode()).hexdigest()[:16]
    return render(template, generation=generation, **values), generation
