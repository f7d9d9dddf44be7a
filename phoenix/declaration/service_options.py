"""What a declared service asks of the proxies, checked: whether its keys fit each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network

from phoenix.declaration.json_keys import SITE, RawOptions
from phoenix.site.findings import Report
from phoenix.site.model import ForwardAuth, Login, Options, Source
from phoenix.site.removed_headers import REMOVED_HEADERS
from phoenix.site.secret_names import NEW, PLATFORM

OPTION_KEYS = tuple(key for key in RawOptions.model_fields if key not in ("name", "health_path"))
"""The keys that need a proxy before the service: the proxies carry them out, the checks and the
start page read them. A service without one has none of these keys."""
_OF_THE_PROXIES = frozenset(
    [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-real-ip",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
    ]
)
"""Headers that Nginx and Traefik set, or that belong to one connection (RFC 9110, 7.6.1)."""
_OF_THE_GATEWAY = frozenset({"strict-transport-security"})
"""Headers of answers that the gateway sets; a second one would be sent beside it."""


def options(
    raw: RawOptions, networks: Sequence[IPv4Network], source: Source, report: Report
) -> Options:
    """The options of a service.

    Args:
        raw: as declared.
        networks: the site's, all of which a peer `site` means.
        source: where the service is declared.
        report: takes what cannot work.
    """
    for key in ("allowed_networks", "basic_auth"):
        if key in raw.model_fields_set and not getattr(raw, key):
            report.error(
                *(source.file, f"{source.path}.{key}", "an empty list would admit everybody"),
                "name who may enter, or remove the key where everyone may",
            )
    _check_headers(raw, source, report)
    _check_users(raw, source, report)
    auth = raw.forward_auth
    return Options(
        allowed_networks=tuple(
            dict.fromkeys(
                peer
                for network in raw.allowed_networks
                for peer in (networks if network == SITE else (network,))
            )
        ),
        basic_auth=tuple(
            Login(user=login.user, secret=login.secret.lower()) for login in raw.basic_auth
        ),
        forward_auth=None if auth is None else ForwardAuth(url=auth.url, headers=auth.headers),
        request_headers=tuple(sorted(raw.request_headers.items())),
        response_headers=tuple(sorted(raw.response_headers.items())),
        max_body=raw.max_body or "",
        connect_timeout=raw.connect_timeout or "",
        read_timeout=raw.read_timeout or "",
    )


def _check_headers(raw: RawOptions, source: Source, report: Report) -> None:
    refused = _OF_THE_PROXIES | {name.lower() for name in REMOVED_HEADERS}
    for key, headers, forbidden in (
        ("request_headers", raw.request_headers, refused),
        ("response_headers", raw.response_headers, _OF_THE_PROXIES | _OF_THE_GATEWAY),
    ):
        first: dict[str, str] = {}
        for name in headers:
            place = f"{source.path}.{key}.{name}"
            if name.lower() in forbidden:
                report.error(
                    *(source.file, place, f"{name} is a header that the proxies set or remove"),
                    "remove it; who a user is, forward_auth tells the service",
                )
            elif first.setdefault(name.lower(), name) != name:
                report.error(
                    *(
                        source.file,
                        place,
                        f"{name} and {first[name.lower()]} are the same header",
                    ),
                    "keep one of the two",
                )
    for position, name in enumerate(raw.forward_auth.headers if raw.forward_auth else ()):
        if name.lower() in _OF_THE_PROXIES:
            report.error(
                source.file,
                f"{source.path}.forward_auth.headers[{position}]",
                f"{name} is a header that the proxies set",
                "name headers that tell who the user is, as Remote-User",
            )


def _check_users(raw: RawOptions, source: Source, report: Report) -> None:
    users: set[str] = set()
    for position, login in enumerate(raw.basic_auth):
        place = f"{source.path}.basic_auth[{position}]"
        if login.user in users:
            report.error(
                source.file, f"{place}.user", f"user {login.user!r} appears twice", "keep one"
            )
        users.add(login.user)
        name = login.secret.lower()
        if name.removesuffix(NEW) in PLATFORM:
            report.error(
                source.file,
                f"{place}.secret",
                f"secret {login.secret} is the platform's: {login.user} would know it",
                f"name a secret of its own, as {_secret_of(login.user)}",
            )
    if raw.basic_auth and raw.forward_auth is not None:
        report.error(
            source.file,
            f"{source.path}.forward_auth",
            "two log-ins for one service: both use the header Authorization",
            "keep one of basic_auth and forward_auth",
        )


def _secret_of(user: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", f"WEB_{user}_PASSWORD".upper())
