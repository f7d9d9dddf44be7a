"""Services that Traefik asks by TLS, of stacks whose containers see no certificate."""

from __future__ import annotations

from collections.abc import Iterator

from phoenix.derived.certificates import TLS_VARIABLE
from phoenix.site.findings import Finding
from phoenix.site.model import Site


def unserved(site: Site) -> Iterator[Finding]:
    """A warning for each: the stack's pair is at one place, and its compose file never names it.

    A stack with `host_access` may find it in another way.
    """
    for service in site.services:
        stack = service.deployment
        if stack is None or stack.host_access or not service.has_tls or service.kind != "backend":
            continue
        if any(variable.name == TLS_VARIABLE for variable in stack.variables):
            continue
        yield Finding(
            service.source.file,
            service.source.path,
            f"{service.name!r} is asked by HTTPS, and no container of the stack has the "
            f"certificate of {service.server_name}",
            f'mount "${{{TLS_VARIABLE}}}:/tls:ro" in {stack.compose_label} and serve by that pair; '
            'or write "scheme": "http"',
            "warning",
        )
