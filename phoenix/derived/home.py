"""The start page's place on the Traefik guest: one name for what several modules speak of."""

from __future__ import annotations

from phoenix.site.ports import HOME

ADDRESS = f"127.0.0.1:{HOME}"
"""Where it is served to the guest's own Traefik: no guest is in between, so no TLS is needed."""
URL = f"http://{ADDRESS}"
UNIT = "phoenix-home.service"
PAGE = "/var/lib/phoenix/home"
"""What the last verification wrote: index.html and home.json."""
STATIC = "/usr/local/share/phoenix/home"
"""Style, icon, and what is shown before the first verification."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Content Security Policy Level 3: nothing but the page's own style and icon; no script at all."""
