"""The start page's place on the Traefik guest: one name for what several modules speak of."""

from __future__ import annotations

from phoenix.site import unit_names
from phoenix.site.model import Host, Site
from phoenix.site.ports import HOME

ADDRESS = f"127.0.0.1:{HOME}"
"""Where it is served to the guest's own Traefik: no guest is in between, so no TLS is needed."""
URL = f"http://{ADDRESS}"
UNIT = unit_names.HOME
PAGE = "/var/lib/phoenix/home"
"""index.html and home.json: what the last verification wrote, or the watcher's last look."""
STATIC = "/usr/local/share/phoenix/home"
"""Style, icon, and what is shown before the first verification."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Content Security Policy Level 3: nothing but the page's own style and icon; no script at all."""


def served_by(site: Site) -> tuple[Host, ...]:
    """The hosts that serve the start page."""
    return site.traefiks if any(service.kind == "home" for service in site.services) else ()


def watched_by(site: Site) -> tuple[Host, ...]:
    """The hosts whose start page is the watcher's; a run of Phoenix writes that of the others."""
    return tuple(host for host in served_by(site) if host in site.watched)
