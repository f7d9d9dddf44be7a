"""Replacing the CA's intermediate or root: what must hold before the next step.

The state is on the CA's guest (`components.step_ca.authority.CaState`): any run goes on from it.
"""

from __future__ import annotations

from collections.abc import Collection

from phoenix.components.step_ca.authority import CaState, Rotation, faults
from phoenix.components.trust import family
from phoenix.components.x509 import CertificateInfo, parse_chain
from phoenix.derived.certificates import HostCertificate, certificates
from phoenix.derived.endpoints import endpoints
from phoenix.site.findings import SettingError
from phoenix.site.model import Host, Site
from phoenix.site.roles import guest_with

CHOICES = ("root", "intermediate", "continue")
"""What the setting `certs_rotate` may be; `continue` never begins anything."""


class RotationError(SettingError):
    """A rotation or renewal that was asked for and cannot be; says what can."""


def check_setting(setting: object) -> None:
    """Refuse a setting `certs_rotate` that means nothing.

    Raises:
        RotationError: names what may be written.
    """
    if setting not in CHOICES:
        raise RotationError(
            f"setting certs_rotate is {setting!r}: write --data certs_rotate=root, "
            "intermediate, or continue (finish an interrupted rotation, and start none)"
        )


def beginning(step: str, ca: CaState) -> Rotation:
    """What a run that was asked for `step` begins; empty where it goes on, or has nothing to do.

    Raises:
        RotationError: another rotation is under way, or the CA is not in a state to begin one.
    """
    if ca.rotation:
        if step not in (ca.rotation, "continue"):
            raise RotationError(
                f"the {ca.rotation} is being replaced (phase {ca.phase}): finish that first, with "
                "--data certs_rotate=continue"
            )
        return ""
    if step == "continue":
        return ""
    if ca.absent:
        raise RotationError("there is no CA yet: run deploys/all.py first")
    if wrong := faults(ca):
        raise RotationError(f"the CA cannot be used: {'; '.join(wrong)}")
    if step == "intermediate" and "secrets/root_ca_key" not in ca.modes:
        raise RotationError(
            "the root's key signs the next intermediate, and is not on the CA's guest: put it back "
            "as /etc/step-ca/secrets/root_ca_key (mode 0600, owner root), and remove it afterwards"
        )
    return "root" if step == "root" else "intermediate"


def next_name(name: str) -> str:
    """The common name of a successor: the same with the next number behind it.

    Not the same name again: a client that has both roots, or an operator who looks at them, would
    have to tell two different CAs of one name apart by their keys.
    """
    base = family(name)
    number = name[len(base) :].strip()
    return f"{base} {int(number) + 1 if number else 2}"


def signer(ca: CaState) -> CertificateInfo:
    """The intermediate that the CA signs with.

    Raises:
        phoenix.x509.CertificateError: there is none.
    """
    return parse_chain(ca.intermediate)[0]


def certificates_of(site: Site, host: Host) -> tuple[HostCertificate, ...]:
    """The certificates that `host` gets by ACME."""
    return tuple(certificate for certificate in certificates(site) if certificate.host == host)


def unproven(site: Site, proven: Collection[str], *, serving: bool = False) -> list[str]:
    """Names of the hosts that have yet to be proven, of all, or of those that serve a certificate.

    A host that was left out of the run or could not be reached is among them.
    """
    hosts = [end.host for end in endpoints(site)] if serving else list(site.hosts)
    return list(dict.fromkeys(host.name for host in hosts if host.name not in proven))


def check_renewal(site: Site, guest: str) -> Host:
    """The guest whose certificates are to be renewed now.

    Raises:
        RotationError: it holds none; names those that do.
    """
    holders = {certificate.host.name: certificate.host for certificate in certificates(site)}
    ca = guest_with(site, "step_ca")
    holders[ca.name] = ca
    if guest not in holders:
        raise RotationError(
            f"setting certs_renew is {guest!r}: write --data certs_renew= one of "
            f"{', '.join(sorted(holders))}"
        )
    return holders[guest]
