"""Certificates that `phoenix-acme` keeps on a guest: one fact, then one command or none.

The script and /etc/phoenix/acme/NAME.conf are installed by the component's file tree before these
run; all decisions about a certificate are the script's, so its timer and a deploy agree.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import OperationValueError

from facts.certificates import ACME_PROGRAM, AcmeState, AcmeStatus
from facts.command import command, script
from operations.explain import log_reasons, unknown_before_run
from operations.host_state import Question, question, read
from operations.operation import operation
from phoenix.shell import Script

# A unit and a shell command that succeeds when it is well.
_RESTART = Script(
    "restart",
    'systemctl restart -- "$1" || exit 1; end=$(($(date +%s) + 30)); '
    'until why=$(sh -c "$2" 2>&1); do '
    '[ "$(date +%s)" -lt "$end" ] || { echo "not healthy: $why" >&2; exit 1; }; sleep 0.3; done',
)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def _status(certificate: str) -> Question[AcmeState | None]:
    return question(AcmeStatus, certificate=certificate)


@operation(reads=lambda certificate: [_status(certificate)], stops=False)
def acme_certificate(*, certificate: str) -> Generator[StringCommand, None, None]:
    """Issue, install and load a certificate where anything about it is not as configured.

    + certificate: the NAME of /etc/phoenix/acme/NAME.conf

    Also finishes what an earlier run left: a pair that was installed and never loaded, or a key
    whose owner or mode has drifted. Fails with the script's reason; the old pair then still serves,
    so the steps that follow are done.
    """
    _check_name(certificate)
    state = read(_status(certificate))
    # No script or an unusable configuration: in the plan they are still to come; when it runs, the
    # script itself names the file and the fix.
    if state is not None and not (
        state.error or state.due or state.failure or not state.loaded or state.permissions != "ok"
    ):
        host.noop(f"certificate {certificate} (serial {state.serial}) is valid and loaded")
        return
    if state is None:
        unknown_before_run("whether it is due: the host has no phoenix-acme yet")
    else:
        log_reasons(*_reasons(state))
    yield command(ACME_PROGRAM, "ensure", certificate)


@operation(reads=lambda certificate: [_status(certificate)])
def placeholder(*, certificate: str) -> Generator[StringCommand, None, None]:
    """Give a service a self-signed pair to start with, where it has none at all.

    + certificate: the NAME of /etc/phoenix/acme/NAME.conf

    `acme_certificate` replaces it; it never replaces anything itself.
    """
    _check_name(certificate)
    state = read(_status(certificate))
    if state is not None and state.pair != "missing":
        host.noop(f"certificate {certificate} has a pair ({state.pair})")
        return
    log_reasons("there is no pair at all to start with")
    yield command(ACME_PROGRAM, "placeholder", certificate)


@operation(is_idempotent=False)
def renewed_now(*, certificate: str) -> Generator[StringCommand, None, None]:
    """Issue and load a certificate, whether due or not; the old one serves until then.

    + certificate: the NAME of /etc/phoenix/acme/NAME.conf
    """
    _check_name(certificate)
    yield command(ACME_PROGRAM, "renew", certificate)


@operation(is_idempotent=False)
def restarted(*, unit: str, health: str) -> Generator[StringCommand, None, None]:
    """Restart a service that makes its own certificate when it starts, and wait until it is well.

    + unit: its systemd unit
    + health: shell command that succeeds when it is; it has 30 seconds
    """
    yield script(_RESTART, unit, health)


def _reasons(state: AcmeState) -> list[str]:
    reasons = [state.error, f"due: {state.due}" if state.due else ""]
    reasons += [f"the last renewal failed: {state.failure}"] if state.failure else []
    reasons += [] if state.loaded else ["the service has not loaded it"]
    reasons += [] if state.permissions == "ok" else ["owner or mode of its key has drifted"]
    return [reason for reason in reasons if reason]


def _check_name(certificate: str) -> None:
    if not _NAME.fullmatch(certificate):
        raise OperationValueError(
            f"certificate: {certificate!r} is no certificate name: use a-z, 0-9 and -, "
            "beginning with a letter or digit"
        )
