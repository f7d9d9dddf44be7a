"""Certificates that `phoenix-acme` keeps on a guest: one fact, then one command or none.

The script and /etc/phoenix/acme/NAME.conf are installed by the component's file tree before these
run; all decisions about a certificate are the script's, so its timer and a deploy agree.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

from pydantic import SecretStr
from pyinfra import host
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import OperationValueError

from facts.certificates import AcmeState, AcmeStatus
from facts.command import command, script
from facts.containers import ComposeProjects
from facts.host_fact import ConversationError, FactError
from operations.explain import log_reasons, unknown_before_run
from operations.host_state import Question, question, read
from operations.operation import operation
from phoenix import files
from phoenix.components.acme.phoenix_acme_conf import PROGRAM, StackPair
from phoenix.components.trust import ROOTS
from phoenix.derived.certificates import HOST_PAIRS
from phoenix.shell import Script

# A unit and a shell command that succeeds when it is well.
_RESTART = Script(
    "restart",
    'systemctl restart -- "$1" || exit 1; end=$(($(date +%s) + 30)); '
    'until why=$(sh -c "$2" 2>&1); do '
    '[ "$(date +%s)" -lt "$end" ] || { echo "not healthy: $why" >&2; exit 1; }; sleep 0.3; done',
)
# ROOTS, then ADDRESS PORT NAME PROJECT of each TLS port. A program that reads its pair anew does so
# within a minute or so; any other is restarted once.
_PROVEN = Script(
    "proven",
    files.text("components/proves.sh")
    + """roots=$1 pairs=$2; shift 2
while [ $# -ge 4 ]; do
 began=$(date +%s) restarted=
 until proves "$1" "$2" "$3" "$roots"; do
  waited=$(($(date +%s) - began))
  if [ "$waited" -gt 75 ] && [ -z "$restarted" ]; then
   restarted=yes
   docker ps -q --filter "label=com.docker.compose.project=$4" --filter "volume=$pairs" |
    xargs -r docker restart >/dev/null
  fi
  [ "$waited" -le 150 ] || { echo "$4 on $1 port $2 does not prove to be $3" >&2; exit 1; }
  sleep 1
 done
 shift 4
done
""",
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
    yield command(PROGRAM, "ensure", certificate)


def _sharing(pairs: Sequence[StackPair]) -> list[StackPair] | None:
    """The stacks with a running container that reads the host's pair, of an earlier release.

    None where Docker does not tell: one that hangs is repaired later in the same run.
    """
    try:
        projects = read(question(ComposeProjects))
    except ConversationError:
        raise
    except FactError as error:
        host.noop(f"Docker does not tell who reads the host's pair: {error}")
        return None
    reading = {
        project.name
        for project in projects
        for container in project.containers
        if container.state == "running"
        and any(f"{bind}/".startswith(f"{HOST_PAIRS}/") for bind in container.binds)
    }
    return [pair for pair in pairs if pair.project in reading]


@operation(
    reads=lambda certificate, **_: [_status(certificate), question(ComposeProjects)], stops=False
)
def shared_pair(
    *, certificate: str, pairs: Sequence[StackPair], proof: SecretStr
) -> Generator[StringCommand, None, None]:
    """Have the host's pair prove the names of stacks that still read it, and see it served.

    Routes verify each stack by its own name. Until a stack is deployed anew it serves the host's
    pair, so that proves the name as well: no request is lost on the way to a pair of its own.

    + certificate: the name of the host's own
    + pairs: what this host's stacks prove, and where
    + proof: that this host holds its own names and theirs, all together
    """
    sharing = _sharing(pairs)
    if sharing is None:
        return
    if not sharing:
        host.noop("each stack has a pair of its own")
        return
    names = sorted({name for pair in pairs for name in pair.sans})
    log_reasons(*(f"{pair.project} still reads the host's pair" for pair in sharing))
    yield command(PROGRAM, "also", certificate, *names, stdin=f"{proof.get_secret_value()}\n")
    ends = [word for pair in sharing for end in pair.ends for word in (*end, pair.project)]
    yield script(_PROVEN, ROOTS, HOST_PAIRS, *ends)


@operation(
    reads=lambda certificate, **_: [_status(certificate), question(ComposeProjects)], stops=False
)
def host_names_only(
    *, certificate: str, pairs: Sequence[StackPair]
) -> Generator[StringCommand, None, None]:
    """Have the host's pair prove the host's own names alone, once no stack reads it.

    + certificate: the name of the host's own
    + pairs: as for `shared_pair`
    """
    state = read(_status(certificate))
    if state is None or not state.also:
        host.noop("the host's pair proves the host's names alone")
        return
    sharing = _sharing(pairs)
    if sharing is None:
        return
    if sharing:
        names = ", ".join(pair.project for pair in sharing)
        host.noop(f"{names} still read the host's pair, which goes on proving {state.also}")
        return
    log_reasons(f"no stack reads the host's pair: it no longer proves {state.also}")
    yield command(PROGRAM, "also", certificate)


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
    yield command(PROGRAM, "placeholder", certificate)


@operation(is_idempotent=False)
def renewed_now(*, certificate: str) -> Generator[StringCommand, None, None]:
    """Issue and load a certificate, whether due or not; the old one serves until then.

    + certificate: the NAME of /etc/phoenix/acme/NAME.conf
    """
    _check_name(certificate)
    yield command(PROGRAM, "renew", certificate)


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
            f"certificate: {certificate!r} is not a certificate name: use a-z, 0-9 and -, "
            "beginning with a letter or digit"
        )
