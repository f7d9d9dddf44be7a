"""Certificates that guests keep for themselves: files for the guest-side `phoenix-acme`."""

from __future__ import annotations

from datetime import timedelta

from phoenix.derived.certificates import WantedCertificate

PROGRAM = "/usr/local/sbin/phoenix-acme"
PAIRS = "/etc/phoenix/tls"
"""PAIRS/NAME/{fullchain.pem,privkey.pem} is the pair that a service reads."""
TIMER = "phoenix-acme@"
"""TIMER + NAME + ".timer" is the unit that renews the certificate NAME."""
RENEW_FRACTION = 3
"""`phoenix-acme` renews when less than one part in so many of the lifetime is left."""
WEBROOT = "/var/lib/phoenix-acme-webroot"
"""What Nginx serves below /.well-known/acme-challenge/ (RFC 8555, section 8.3)."""


def configuration(
    wanted: WantedCertificate,
    *,
    directory: str,
    root: str,
    owner: str = "root",
    check: str = "",
    reload: str = "",
) -> str:
    """The certificate's /etc/phoenix/acme/NAME.conf.

    Args:
        directory: URL of the ACME directory.
        root: path of the file with the trusted roots on the guest.
        owner: the user that the private key belongs to, and who alone may read it.
        check: shell command that must accept the new pair before it is loaded.
        reload: shell command that makes the service load it.
    """
    challenge = f"webroot:{WEBROOT}" if wanted.challenge == "webroot" else wanted.challenge
    values = {
        "DOMAINS": " ".join(wanted.sans),
        "DIRECTORY": directory,
        "ROOT": root,
        "CHALLENGE": challenge,
        "KEY_OWNER": owner,
        "CHECK": check,
        "RELOAD": reload,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def interval(lifetime: timedelta) -> str:
    """When to look whether a certificate is due, as a systemd timer's calendar event.

    About twenty-four looks in a lifetime, so that a third of it holds eight of them and the CA
    may be away for hours of a day. systemd.time(7).
    """
    seconds = lifetime.total_seconds() / 24
    if seconds >= 3600:
        return "hourly"
    if seconds >= 60:
        return f"*:0/{_divisor(int(seconds // 60))}"
    return f"*:*:0/{_divisor(max(5, int(seconds)))}"


def _divisor(limit: int) -> int:
    """The largest divisor of sixty not above `limit`, so that looks are evenly spaced."""
    return max(n for n in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30) if n <= limit)
