"""What a person had on a host in the place that Phoenix takes: told and decided before anything.

Thin over `phoenix.components.taking_over`. Give operations a ``name=``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from pyinfra import host
from pyinfra.api import FunctionCommand, OperationError, StringCommand

from facts.command import script
from facts.taking_over import Standing, ZoneAnswer
from operations import isolation
from operations.explain import log_lines
from operations.failure import locally
from operations.host_state import Question, question, read, this_host
from operations.operation import operation
from phoenix.components.taking_over.decision import DIRECTORY, decide
from phoenix.components.taking_over.residents import Place, Residents
from phoenix.declaration.settings import TakingOver
from phoenix.runs.reporter import tell
from phoenix.shell import Script

Commands = Generator[StringCommand | FunctionCommand, None, None]

_RECORD = Script(
    "taking-over",
    'umask 077; mkdir -p -m 755 /var/lib/phoenix && mkdir -p "$1" && cat >"$1/$2.part" && '
    'sync -- "$1/$2.part" && mv -f -- "$1/$2.part" "$1/$2"',
)


def _standing(places: Sequence[Place]) -> Question[Residents]:
    return question(Standing, places=[place.word for place in places])


@operation(reads=lambda places, **_: [_standing(places)])
def looked_at(*, places: Sequence[Place], choices: TakingOver) -> Commands:
    """Find who stands in the places that Phoenix takes here, and note what gives way.

    Args:
        places: of this host.
        choices: what its person says becomes of it.

    Where they say nothing the host is refused, and left out of the run, before anything on it is
    touched. A plan shows what was found and what may be said.
    """
    verdict = decide(places, read(_standing(places)), choices)
    if verdict.refused:
        if not host.state.is_executing:
            log_lines(verdict.refused)
        else:
            isolation.leave(this_host())
        yield locally(_refusing("\n".join(verdict.refused)))
        return
    if not verdict.does:
        host.noop("nobody stands in the places that Phoenix takes")
        return
    log_lines(verdict.does)
    if not verdict.records:
        host.noop("what stands there is kept")
        return
    for kind, lines in verdict.records.items():
        text = "".join(f"{line}\n" for line in lines)
        yield script(_RECORD, DIRECTORY, kind, stdin=text)
    if host.state.is_executing:
        for line in verdict.does:
            tell(host.name, f"taking_over: {line}")


def _refusing(reason: str) -> Callable[[], None]:
    def refuse() -> None:
        raise OperationError(reason)

    return refuse


@operation(reads=lambda record, server, **_: [question(ZoneAnswer, record=record, server=server)])
def forwarded(*, record: str, address: str, server: str, how: Sequence[str]) -> Commands:
    """Refuse a resolver that keeps its place and does not forward the site's zone.

    Args:
        record: a name of the zone.
        address: what Phoenix's name server answers for it.
        server: where the resolver that stays is asked.
        how: the lines by which it is told to forward the zone.
    """
    answer = read(question(ZoneAnswer, record=record, server=server))
    if answer == address:
        host.noop(f"{server} forwards the site's zone")
        return
    reason = (
        f"{server} answers {answer or 'nothing'} for {record}, not {address}: the resolver that "
        "stays there does not forward the site's zone yet. Add to its configuration, reload it, "
        "and run again:"
    )
    lines = [reason, *(f"    {line}" for line in how)]
    if not host.state.is_executing:
        log_lines(lines)
    yield locally(_refusing("\n".join(lines)))
