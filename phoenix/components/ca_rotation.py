"""Replacing the CA's intermediate or root: what must hold before the next step.

The state is on the CA's guest (`components.step_ca.authority.CaState`): any run goes on from it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Network

from phoenix.components.step_ca.authority import ROOT_KEY, CaState, Rotation, faults
from phoenix.components.trust import family
from phoenix.components.x509 import (
    LOOPBACK,
    CertificateInfo,
    Permitted,
    parse_chain,
    permitted,
)
from phoenix.derived.certificates import HostCertificate, certificates
from phoenix.derived.endpoints import endpoints
from phoenix.site.findings import SettingError
from phoenix.site.model import Host, Site
from phoenix.site.names import CA, in_zone, is_name
from phoenix.site.roles import guest_with

ABANDON = "abandon"
CHOICES = ("root", "intermediate", "continue", ABANDON)
"""What the setting `certs_rotate` may be; `continue` never begins anything, and `abandon` drops
what was begun."""


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
            "intermediate, continue (finish an interrupted rotation, and start none) or abandon "
            "(drop one that has not changed the CA's keys)"
        )


def beginning(step: str, ca: CaState, *, key_given: bool = False) -> Rotation:
    """What a run that was asked for `step` begins; empty where it goes on, or has nothing to do.

    Args:
        step: of `CHOICES`.
        ca: its state.
        key_given: whether the operator gives the root's key, which may be offline.

    Raises:
        RotationError: another rotation is under way, or the CA is not in a state to begin one.
    """
    if ca.rotation:
        if step not in (ca.rotation, "continue"):
            raise RotationError(
                f"the {ca.rotation} is being replaced (phase {ca.phase}): finish that first, with "
                "--data certs_rotate=continue, or drop it with certs_rotate=abandon"
            )
        return ""
    if step == "continue":
        return ""
    if ca.absent:
        raise RotationError("there is no CA yet: run deploys/all.py first")
    if problems := faults(ca):
        raise RotationError(f"the CA cannot be used: {'; '.join(problems)}")
    if step == "intermediate" and ROOT_KEY not in ca.modes and not key_given:
        raise RotationError(
            "the root's key signs the next intermediate, and is off the CA's guest: give the file "
            "that `phoenix certs root offline` made, by `phoenix certs rotate intermediate "
            "--root-key FILE` (and --identity KEY for the key that opens it). It is used in memory "
            "there, and stays offline"
        )
    return "root" if step == "root" else "intermediate"


def required_names(site: Site) -> tuple[str, ...]:
    """What the CA must be able to vouch for as the site is declared: a domain, and its address."""
    return site.domain, str(guest_with(site, "step_ca").address)


def not_permitted(site: Site, ca: CaState) -> str:
    """Why the CA as it is deployed cannot vouch for the site as it is declared, with the way there.

    Empty where it can, and where there is no CA yet.
    """
    limits_of = {
        kind: permitted(pem)
        for kind, pem in (("root", ca.root), ("intermediate", ca.intermediate))
        if pem
    }
    for kind, limits in limits_of.items():
        missing = [name for name in required_names(site) if limits and not limits.allows(name)]
        if limits and missing:
            return _way(ca, kind, limits, missing)
    return ""


def _way(ca: CaState, kind: str, limits: Permitted, missing: Sequence[str]) -> str:
    finish = f" (a rotation of the {ca.rotation} is under way: it goes on)" if ca.rotation else ""
    return (
        f"the CA's {kind} certificate vouches for {', '.join(limits.of_site)} alone, and "
        f"{' and '.join(missing)} is "
        "declared: with this declaration no host would get a certificate. Nothing was changed. "
        f"Let the CA vouch for both first, by `phoenix certs rotate {kind}`{finish}: no request is "
        "lost, and names and addresses stay. Then `phoenix sync`. Afterwards `phoenix certs rotate "
        f"{kind}` again takes the old ones away"
        + (
            "; give clients that are no hosts of the site the new root (`--prepare` waits for that)"
            if kind == "root"
            else ""
        )
    )


def permitted_next(site: Site, ca: CaState, more: Sequence[str] = ()) -> Permitted:
    """What the next intermediate vouches for.

    That is the declared site, what is asked for, and whatever the present one vouches for and the
    CA is still deployed with: while a site moves to another domain or network, both.

    Args:
        more: domains and networks to come, as an operator writes them.

    Raises:
        RotationError: one of `more` is neither a domain nor an IPv4 network.
    """
    domains, networks = [site.domain], [*site.subnets]
    for text in more:
        if is_name(text) and "." in text and not text.replace(".", "").isdigit():
            domains.append(text)
            continue
        try:
            networks.append(IPv4Network(text))
        except ValueError:
            raise RotationError(
                f"{text!r} is neither a domain nor an IPv4 network: write for example "
                "apps.example.org or 10.9.0.0/24"
            ) from None
    present = permitted(ca.intermediate) if ca.intermediate else None
    if present is not None:
        declared = Permitted(tuple(domains), tuple(networks))
        deployed = [n for n in ca.served if not (declared.allows(n) or LOOPBACK.allows(n))]
        domains += [
            domain
            for domain in present.domains
            if any(Permitted((domain,), ()).allows(name) for name in deployed)
        ]
        networks += [
            network
            for network in present.networks
            if any(Permitted((), (network,)).allows(name) for name in deployed)
        ]
    return Permitted(tuple(dict.fromkeys(domains)), tuple(dict.fromkeys(networks)))


def check_below_root(site: Site, ca: CaState, names: Permitted) -> None:
    """Refuse a next intermediate that vouches for more than its root: clients would reject it.

    Args:
        site: as it is declared.
        ca: with its present root.
        names: what the next intermediate is to vouch for.

    Raises:
        RotationError: names what is too much, and the way, by a new root.
    """
    limits = permitted(ca.root) if ca.root else None
    if limits is None:
        return
    beyond = [domain for domain in names.domains if not limits.allows(domain)]
    beyond += [
        str(network)
        for network in names.networks
        if not any(network.subnet_of(other) for other in limits.networks)
    ]
    if beyond:
        declared = {site.domain, *map(str, site.subnets)}
        more = "".join(f" --permit {name}" for name in beyond if name not in declared)
        raise RotationError(
            f"the CA's root vouches for {', '.join(limits.of_site)} alone, so an intermediate for "
            f"{' and '.join(beyond)} would be rejected by every client: replace the root, which "
            f"then vouches for both, by `phoenix certs rotate root{more}`"
        )


def outdated(ca: CaState, names: Permitted) -> bool:
    """Whether the next keys stand ready and do not vouch for all that they now should."""
    if ca.phase != "prepared" or not ca.following:
        return False
    ready = permitted(ca.following)
    return ready is not None and not (
        set(names.domains) <= set(ready.domains) and set(names.networks) <= set(ready.networks)
    )


def deployed_name(site: Site, ca: CaState, name: str) -> str:
    """A name of the site as the hosts have it, who may still be in the domain before this one."""
    zone = ca.served[0].removeprefix(f"{CA}.") if ca.served else site.domain
    if in_zone(name, site.domain):
        return f"{name.removesuffix(f'.{site.domain}')}.{zone}"
    return name


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
