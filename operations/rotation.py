"""Replace the CA's intermediate or root, one verified step after the other.

Each operation looks at the state on the CA's guest and at what the hosts prove in this very run,
and ignores what an earlier run saw. So the next run finishes a killed one, and an unreachable host
stops the rotation while both roots are still trusted.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.state import StateStage

from facts.certificates import (
    AcmeStatus,
    CertificateFile,
    ServedCertificate,
    ServedState,
)
from facts.command import command, script
from facts.trust import LocalTrust
from operations.failure import refuse
from operations.host_state import ask, question
from operations.operation import operation
from operations.step_ca import shipped
from operations.trust import certificate_authority, forget
from phoenix.backup.root_key import Opens
from phoenix.components.acme import phoenix_acme_conf as acme
from phoenix.components.ca_rotation import (
    beginning,
    certificates_of,
    check_below_root,
    deployed_name,
    next_name,
    outdated,
    permitted_next,
    signer,
    unproven,
)
from phoenix.components.step_ca.authority import DIRECTORY, Phase
from phoenix.components.trust import directory, stored
from phoenix.components.x509 import parse_chain
from phoenix.derived.endpoints import Endpoint, endpoints
from phoenix.site.findings import SettingError
from phoenix.site.model import Site

Commands = Generator[StringCommand | FunctionCommand, None, None]
SERVED_WITHIN = 150
"""Seconds in which a service loads a renewed certificate: Qdrant looks once a minute."""

_trusting: set[str] = set()
_serving: set[str] = set()


@operation()
def prepared(
    site: Site,
    request: str,
    *,
    organisation: str,
    years: int,
    permit: Sequence[str] = (),
    opens: Opens | None = None,
) -> Commands:
    """Create the CA's next keys beside the present ones: the first step of a rotation.

    Those that stand ready, and do not vouch for all that they now should, are made again.

    Args:
        request: "root", "intermediate" or "continue"; see
            `phoenix.components.ca_rotation.beginning`.
        organisation: O of the subjects, and the start of the root's common name.
        years: lifetime; an intermediate ends with its root at the latest.
        permit: domains and networks to come that the CA shall vouch for as well.
        opens: gives the root's key, where the operator has it offline.
    """
    ca = certificate_authority(site)
    try:
        names = permitted_next(site, ca, permit)
        kind = beginning(request, ca, key_given=opens is not None)
        if (kind or (outdated(ca, names) and ca.rotation)) == "intermediate":
            check_below_root(site, ca, names)
        key = opens(ca.root).get_secret_value() if opens is not None else "\n"
    except SettingError as error:
        yield from refuse(str(error))
        return
    if outdated(ca, names):
        logger.info("%sthe next keys vouch for other names: made again", host.print_prefix)
        kind = ca.rotation
        yield _run("finish", DIRECTORY)
    if not kind:
        host.noop(
            f"rotation of the {ca.rotation}: {ca.phase}"
            if ca.rotation
            else "no rotation is under way"
        )
        return
    arguments = (
        "prepare", DIRECTORY, kind, organisation, next_name(parse_chain(ca.root)[0].subject_cn),
        next_name(signer(ca).subject_cn), " ".join(names.domains),
        " ".join(network.with_netmask for network in names.networks), str(years),
    )  # fmt: skip
    yield script(shipped("rotate.sh"), *arguments, stdin=key)
    forget()


@operation()
def abandoned(site: Site, *, unit: str, health: str) -> Commands:
    """Drop the next keys of a rotation; the CA goes on with those that it signs with.

    Args:
        unit: the CA's systemd unit.
        health: shell command that succeeds when it runs.
    """
    ca = certificate_authority(site)
    if not ca.rotation:
        host.noop("no rotation is under way")
        return
    if ca.phase == "switched":
        yield from refuse(
            f"the CA signs with its next {ca.rotation} already: finish the rotation, with --data "
            "certs_rotate=continue"
        )
        return
    yield _run("abandon", DIRECTORY, unit, health)
    forget()


@operation()
def trust_proven(site: Site) -> Commands:
    """Check that this host trusts each root of the CA; the next step needs that of every host."""
    if not _executing():
        return
    expected = {parse_chain(pem)[0].fingerprint for pem in certificate_authority(site).roots}
    trusted = ask(question(LocalTrust, directory=directory(site, host.name)))
    if missing := expected - {info.fingerprint for info in trusted.values()}:
        yield from refuse(f"this host does not trust {len(missing)} of the CA's roots")
        return
    _trusting.add(host.name)
    host.noop(f"{len(expected)} of the CA's roots are trusted")


@operation()
def switched(site: Site, *, unit: str, stop: str, health: str) -> Commands:
    """The CA signs with its next keys, when every host of the site trusts the next root.

    Args:
        unit: the CA's systemd unit.
        stop: shell command that stops it and keeps a copy of its database.
        health: shell command that succeeds when it runs.

    An exchange that was interrupted is finished whatever else; one after which the CA does not
    run is undone.
    """
    if not _executing():
        return
    ca = certificate_authority(site)
    if ca.phase not in ("prepared", "switching"):
        host.noop("the CA signs with the newest keys that it has")
        return
    if ca.phase == "prepared" and (missing := unproven(site, _trusting)):
        yield from refuse(
            _stopped(ca.rotation, f"not proven to trust the next root: {', '.join(missing)}")
        )
        return
    yield _run("switch", DIRECTORY, unit, stop, health)
    forget()


@operation()
def renewed(site: Site) -> Commands:
    """Renew each certificate of this host that is not of the CA's present intermediate.

    One that an earlier run renewed, and whose service has not taken it up, is loaded.
    """
    if not _executing():
        return
    ca = certificate_authority(site)
    if ca.phase != "switched":
        host.noop("no certificate is out of date")
        return
    issuer, own_certificates = signer(ca).fingerprint, certificates_of(site, site.host(host.name))
    commands = []
    for certificate in own_certificates:
        name = certificate.name
        pair = ask(question(CertificateFile, path=f"{certificate.directory}/fullchain.pem"))
        if pair is None or issuer not in {info.fingerprint for info in pair.chain}:
            commands.append(command(acme.PROGRAM, "renew", name))
        elif (state := ask(question(AcmeStatus, certificate=name))) is None or not state.loaded:
            commands.append(command(acme.PROGRAM, "ensure", name))
    if not commands:
        host.noop(f"{len(own_certificates)} certificates are of the present chain, and loaded")
    yield from commands


@operation()
def served(site: Site, phase: Phase) -> Commands:
    """Check that this host's ports serve the CA's present chain, to a client of the newest root.

    Args:
        phase: of the rotation, in which that must hold: "switched", or "" when all is done.
    """
    if not _executing():
        return
    ca = certificate_authority(site)
    if ca.phase != phase:
        host.noop("nothing to check yet")
        return
    own_endpoints = [end for end in endpoints(site) if end.host.name == host.name]
    own_endpoints = [
        end._replace(server_name=deployed_name(site, ca, end.server_name)) for end in own_endpoints
    ]
    root, issuer = (
        stored(directory(site, host.name))[len(ca.roots) - 1],
        signer(ca).fingerprint,
    )
    deadline = time.monotonic() + SERVED_WITHIN
    waiting = dict.fromkeys(own_endpoints, "")
    while True:
        for end in list(waiting):
            waiting[end] = _fault(end, root, issuer)
            if not waiting[end]:
                del waiting[end]
        if not waiting or time.monotonic() > deadline:
            break
        time.sleep(2)
    if waiting:
        lines = [f"port {end.port} ({end.server_name}): {fault}" for end, fault in waiting.items()]
        yield from refuse("\n".join(lines))
        return
    _serving.add(host.name)
    host.noop(f"{len(own_endpoints)} ports serve the CA's present chain")


def _fault(end: Endpoint, root: str, issuer: str) -> str:
    state: ServedState = ask(
        question(
            ServedCertificate,
            address=str(end.host.address),
            port=end.port,
            server_name=end.server_name,
            ca_file=root,
        )
    )
    if state.error or state.verify_code:
        return state.error or f"not verified with the newest root alone: {state.verify_message}"
    if issuer not in {info.fingerprint for info in state.chain}:
        return "still serves a certificate of the earlier intermediate"
    return ""


@operation()
def finished(site: Site) -> Commands:
    """Remove the earlier chain, once every host passed the checks of this run.

    From then on hosts trust the newest root alone.
    """
    if not _executing():
        return
    ca = certificate_authority(site)
    if ca.phase != "switched":
        host.noop("no rotation is to be finished")
        return
    missing = dict.fromkeys(unproven(site, _trusting) + unproven(site, _serving, serving=True))
    if missing:
        yield from refuse(
            _stopped(
                ca.rotation, f"not proven to trust and serve the new chain: {', '.join(missing)}"
            )
        )
        return
    yield _run("finish", DIRECTORY)
    forget()
    logger.info("%sthe %s is replaced", host.print_prefix, ca.rotation)


def _stopped(rotation: str, why: str) -> str:
    both = "both roots stay trusted everywhere" if rotation == "root" else "nothing is lost"
    return (
        f"the rotation of the {rotation} stops here, and {both}; {why}. When they can be reached, "
        "`phoenix certs rotate continue` goes on (by pyinfra: --data certs_rotate=continue)"
    )


def _run(*arguments: str) -> StringCommand:
    return script(shipped("rotate.sh"), *arguments)


def _executing() -> bool:
    """Whether the run executes; while it is prepared, say that the decision comes later."""
    if host.state.current_stage >= StateStage.Execute:
        return True
    host.noop("is decided after the steps before it")
    return False
