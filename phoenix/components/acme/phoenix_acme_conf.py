"""Certificates that guests keep for themselves: files for the guest-side `phoenix-acme`."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from pydantic import SecretStr

from phoenix import files
from phoenix.derived.certificates import (
    HOST_PAIRS,
    RENEWAL_ANSWERS,
    RENEWAL_LABEL,
    HostCertificate,
    certificates,
)
from phoenix.shell import fill
from phoenix.site.model import Host, Site

PROGRAM = "/usr/local/sbin/phoenix-acme"
CERTIFICATES = HOST_PAIRS
"""CERTIFICATES/NAME/{fullchain.pem,privkey.pem}: a certificate with its chain, and its key."""
STATE = "/var/lib/phoenix-acme"
"""What it knows of each certificate: accounts, the keys that it asked for, failures."""
RENEW_FRACTION = 3
"""A certificate is renewed when less than one part in so many of its lifetime is left."""
WEBROOT = "/var/lib/phoenix-acme-webroot"
"""What Nginx serves below /.well-known/acme-challenge/ (RFC 8555, section 8.3)."""


def configuration(
    certificate: HostCertificate,
    *,
    directory: str,
    root: str,
    proof: SecretStr,
    owner: str = "root",
    check: str = "",
    reload: str = "",
    restart: str = "",
) -> str:
    """The certificate's /etc/phoenix/acme/NAME.conf.

    Args:
        certificate: its names and how the guest proves them to the CA.
        directory: URL of the ACME directory.
        root: path of the file with the trusted roots on the guest.
        proof: that this guest holds these names (`components.step_ca.issuance.proof`).
        owner: the user that the private key belongs to, and who alone may read it; of a stack's
            certificate its `reader` says that.
        check: shell command that must accept the new certificate before the service loads it.
        reload: shell command that makes the service load it.
        restart: shell command that does so where `reload` fails; empty for none.

    Returns:
        Lines NAME=VALUE, as `phoenix-acme` reads them.
    """
    challenge = (
        f"webroot:{WEBROOT}" if certificate.challenge == "webroot" else certificate.challenge
    )
    reader = {"KEY_OWNER": owner}
    if certificate.project:
        reader = {
            "PLACE": certificate.directory,
            "KEY_OWNER": str(certificate.reader.uid),
            "KEY_GROUP": str(certificate.reader.gid),
            "KEY_MODE": certificate.reader.mode,
        }
    values = {
        "DOMAINS": " ".join(certificate.sans),
        "DIRECTORY": directory,
        "ROOT": root,
        "CHALLENGE": challenge,
        "PROOF": proof.get_secret_value(),
        **reader,
        "CHECK": check,
        "RELOAD": reload,
        "RESTART": restart,
        "RENEW_FRACTION": str(RENEW_FRACTION),
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


class StackPair(NamedTuple):
    """A stack's own pair, and its TLS ports on its host.

    `ends`: address, port and the name that is verified there.
    """

    project: str
    sans: tuple[str, ...]
    ends: tuple[tuple[str, int, str], ...]


def stack_pairs(site: Site, host: Host) -> tuple[StackPair, ...]:
    """The pairs of a host's stacks."""
    return tuple(
        StackPair(
            certificate.project,
            certificate.sans,
            tuple(
                (str(host.address), service.port, service.server_name)
                for service in site.services_of(host)
                if service.server_name in certificate.sans
            ),
        )
        for certificate in certificates(site)
        if certificate.host == host and certificate.project
    )


def containers_take(certificate: HostCertificate) -> str:
    """The command by which a stack's containers take a renewed pair, as their labels say.

    Raises:
        KeyError: the script names other values.
    """
    text = files.text("components/acme/containers.sh").strip()
    signals = " ".join(answer for answer in RENEWAL_ANSWERS if answer.startswith("SIG"))
    return fill(
        text.replace("{{ signals }}", signals), project=certificate.project, label=RENEWAL_LABEL
    )


def interval(lifetime: timedelta) -> str:
    """How often `phoenix-acme` checks whether a certificate is due for renewal.

    About twenty-four times in a lifetime. The last third of it, in which a certificate is due, then
    has eight tries: the CA may be away for hours of a day.

    Args:
        lifetime: of the certificates that the CA issues.

    Returns:
        OnCalendar= of a systemd timer (systemd.time(7)).
    """
    seconds = lifetime.total_seconds() / 24
    if seconds >= 3600:
        return "hourly"
    if seconds >= 60:
        return f"*:0/{_divisor(int(seconds // 60))}"
    return f"*:*:0/{_divisor(max(5, int(seconds)))}"


def retry(lifetime: timedelta) -> str:
    """When systemd runs a `phoenix-acme` again that failed: soon, then at growing intervals.

    From a 720th of the lifetime (two minutes for 24 hours, which is also the longest) to a 96th of
    it. systemd before 254 does not know the growth, and stays at the first interval.

    Args:
        lifetime: of the certificates that the CA issues.

    Returns:
        A drop-in for the service (systemd.service(5)).
    """
    first = int(min(max(5.0, lifetime.total_seconds() / 720), 120))
    longest = int(min(max(first, lifetime.total_seconds() / 96), 900))
    return f"[Service]\nRestartSec={first}s\nRestartSteps=4\nRestartMaxDelaySec={longest}s\n"


def _divisor(limit: int) -> int:
    """The largest divisor of sixty up to `limit`: checks are then evenly spaced."""
    return max(n for n in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30) if n <= limit)
