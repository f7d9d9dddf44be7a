"""The facts that a run has of its hosts: read in one command a host, and again after a change.

While pyinfra prepares a run, each operation says which facts it will read (`expect`). When the
first operation begins, every host is asked for all of them in one SSH command; in a plan, when all
are declared (`phoenix.runs.planning`). A command that an operation sends makes the answers of its
host old; work on the control machine, which may reach any host through an API, those of all hosts.
The next question then asks for what is still to be read.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import gevent
from gevent.lock import BoundedSemaphore
from pyinfra.api import State, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.exceptions import ConnectError, FactProcessError
from pyinfra.api.host import Host
from pyinfra.connectors.util import CommandOutput
from pyinfra.context import ctx_host, ctx_state

from facts.command import command
from facts.host_fact import (
    Answer,
    ConversationError,
    FactError,
    HostFact,
    JoinedFact,
    Unknown,
    answers,
    complete_lines,
)
from facts.programs import Program
from operations import prefetch
from operations.connection import BROKEN, connect, is_gone, was_silent
from operations.failure import print_reason
from operations.prefetch import MAX_SECONDS
from phoenix.runs import planning

T = TypeVar("T")


@dataclass(frozen=True)
class Question(Generic[T]):
    """A fact and its arguments."""

    fact: type[HostFact[T]]
    arguments: Mapping[str, Any]

    @property
    def command(self) -> StringCommand:
        """The command that reads the fact, between its marks."""
        result = self.fact().command(**self.arguments)
        assert isinstance(result, StringCommand)  # noqa: S101  # the type of HostFact's commands
        return result

    @property
    def line(self) -> str:
        """The command as text: equal questions have equal lines."""
        return self.command.get_raw_value()


def question(fact: type[HostFact[T]], **arguments: Any) -> Question[T]:
    """A fact and its arguments, those of its `command`."""
    return Question(fact, arguments)


class _HostState:
    """The answers of one host; `waiting` counts how often each line is still to be read."""

    def __init__(self) -> None:
        # Of greenlets, which take turns in one thread: a lock of threads would stop them all.
        self.lock = BoundedSemaphore(1)
        self.waiting: Counter[str] = Counter()
        self.questions: dict[str, Question[Any]] = {}
        self.prepared: dict[str, Answer] = {}
        self.answers: dict[str, Answer] = {}
        self.asked_at = 0.0
        self.changes = 0
        self.was_prefetched = False
        """Whether the last output is what `read_ahead` had."""

    def forget(self) -> None:
        self.answers = {}
        self.changes += 1


_host_states: WeakKeyDictionary[Host, _HostState] = WeakKeyDictionary()
_change_counts: WeakKeyDictionary[State, int] = WeakKeyDictionary()
_prefetched: WeakSet[State] = WeakSet()


def _state_of(target: Host) -> _HostState:
    return _host_states.setdefault(target, _HostState())


def expect(questions: Iterable[Question[Any]]) -> None:
    """Announce facts that this host will be asked for; called while the run is prepared."""
    host_state = _state_of(this_host())
    for query in questions:
        host_state.waiting[query.line] += 1
        host_state.questions[query.line] = query


def prepare(questions: Iterable[Question[Any]]) -> None:
    """Ask this host for what its deploys will read while the run is prepared, in one command.

    An answer serves one reading. Where the host does not answer, each is asked again where it is
    read, which tells why.
    """
    this, queries = this_host(), list(questions)
    host_state = _state_of(this)
    with host_state.lock, contextlib.suppress(FactError, ConnectError, OSError):
        answers = _ask(this, queries, _first_output)
        host_state.prepared = {
            query.line: answer for query, answer in zip(queries, answers, strict=True)
        }


def read(query: Question[T]) -> T:
    """A fact of this host, as of its last change by this run.

    Raises:
        FactError: the host's answer is not whole, or not of the expected form.
    """
    return read_of(this_host(), query)


def read_or(query: Question[T], otherwise: T) -> T:
    """`read` for a deploy; where the answer cannot be used the host is left out of the run.

    Its deploys go on to their end all the same, with `otherwise`, and none of its operations runs.
    """
    try:
        return read(query)
    except FactError as error:
        fail(this_host(), str(error))
        return otherwise


def read_of(target: Host, query: Question[T]) -> T:
    """`read`, of another host.

    Raises:
        FactError: as for `read`.
        ConnectError: it does not answer by SSH.
    """
    state = _state()
    if not state.is_executing:
        if not planning.looks(state):
            return _once(target, query)
        _refuse_failed(target)
    line = query.line
    host_state = _state_of(target)
    with host_state.lock:
        if time.monotonic() - host_state.asked_at >= MAX_SECONDS:
            host_state.forget()
        if line not in host_state.answers:
            _learn(target, host_state, query)
        if host_state.waiting[line] > 0:
            host_state.waiting[line] -= 1
        answer = host_state.answers[line]
    return _parsed(query, answer)


def _learn(target: Host, host_state: _HostState, *queries: Question[Any]) -> None:
    """Ask `queries`, and all that is still to be read, unless the answers are known."""
    first = {query.line: query for query in queries}
    waiting = {line: host_state.questions[line] for line in host_state.waiting.elements()}
    missing = {
        line: query for line, query in (first | waiting).items() if line not in host_state.answers
    }
    if not missing:
        return
    changes = host_state.changes
    new_answers = dict(zip(missing, _ask(target, list(missing.values()), _own_output), strict=True))
    if changes == host_state.changes:
        host_state.asked_at = host_state.asked_at if host_state.answers else time.monotonic()
        host_state.answers |= new_answers
    else:  # the host was changed meanwhile: only who asked first may use it
        host_state.answers = {line: new_answers[line] for line in first if line in new_answers}
        host_state.asked_at = 0.0


def prefetch_hosts() -> None:
    """Ask all hosts at once for the facts to come, while the first operations run elsewhere.

    A host that cannot be asked here is asked again, and fails, when an operation reads.
    """
    state = _state()
    if state in _prefetched:
        return
    _prefetched.add(state)
    for target in state.inventory.get_active_hosts():
        host_state = _state_of(target)
        if host_state.waiting and target.connected:
            gevent.spawn(_prefetch_host, state, target, host_state)


def _prefetch_host(state: State, target: Host, host_state: _HostState) -> None:
    with (
        ctx_state.use(state),
        ctx_host.use(target),
        host_state.lock,
        contextlib.suppress(FactError),
    ):
        _learn(target, host_state)


def ask(query: Question[T]) -> T:
    """A fact of this host as it is now, whatever is known.

    Raises:
        FactError: as for `read`.
    """
    return ask_of(this_host(), query)


def ask_of(target: Host, query: Question[T]) -> T:
    """`ask`, of another host.

    Raises:
        FactError, ConnectError: as for `read_of`.
    """
    if not _state().is_executing:
        return _once(target, query)
    (answer,) = _ask(target, [query])
    return _parsed(query, answer)


def consult(target: Host, query: Question[T]) -> T:
    """A fact of a host for a decision about something else, as where a stack's data are.

    Unlike `ask_of`, it leaves a host in the run that answers by SSH but not this question: what
    does not answer, as a dockerd that hangs, may be what the run repairs.

    Raises:
        FactError, ConnectError: as for `read_of`; the host of a ConversationError is left out while
            the run is prepared, since none of its answers can be used.
    """
    _refuse_failed(target)
    try:
        answer = None if _state().is_executing else _prepared(target, query)
        if answer is None:
            (answer,) = _ask(target, [query])
    except ConversationError as error:
        if not _state().is_executing:
            fail(target, str(error))
        raise
    return _parsed(query, answer)


def ask_all(
    questions: Iterable[Question[Any]], *, holds: Callable[[Sequence[Any]], bool] = lambda _: True
) -> list[Any]:
    """Facts of this host as they are now, in one command; a FactError in the place of a bad one.

    Args:
        questions: what it is asked.
        holds: whether facts that the host told while the run was prepared still hold; where they
            do not, as a fault that may have passed, it is asked again.
    """
    queries = list(questions)
    values = _values(queries)
    if _state_of(this_host()).was_prefetched and not holds(values):
        values = _values(queries)
    return values


def _values(queries: Sequence[Question[Any]]) -> list[Any]:
    if not queries:
        return []
    try:
        results = _ask(this_host(), queries)
    except FactError as error:
        return [error] * len(queries)
    values: list[Any] = []
    for query, answer in zip(queries, results, strict=True):
        try:
            values.append(_parsed(query, answer))
        except FactError as error:
            values.append(error)
    return values


def changes(sent_command: PyinfraCommand) -> None:
    """A command is about to run, or has run: drop the answers that it may change."""
    if not _state().is_executing:
        return
    _change_counts[_state()] = _change_counts.get(_state(), 0) + 1
    anywhere = isinstance(sent_command, FunctionCommand)
    prefetch.forget(this_host(), site=anywhere)
    if anywhere:
        for host_state in list(_host_states.values()):
            host_state.forget()
    else:
        _state_of(this_host()).forget()


def stage() -> tuple[State, bool, int]:
    """The run, whether it executes, and how many commands it has begun and ended on its hosts.

    What was read of the site at one stage may not hold at the next.
    """
    state = _state()
    return state, state.is_executing, _change_counts.get(state, 0)


def fail(target: Host, reason: str) -> None:
    """Leave a host out of the rest of the run, and say why, while the run is prepared."""
    if target not in _state().failed_hosts:
        print_reason(target, reason)
        _state().fail_hosts({target})  # type: ignore[no-untyped-call]


def this_host() -> Host:
    """The host that is in turn; pyinfra's `host` is a proxy, and cannot be a key."""
    current: Host = ctx_host.get()  # type: ignore[no-untyped-call]
    return current


def _state() -> State:
    current: State = ctx_state.get()  # type: ignore[no-untyped-call]
    return current


def _once(target: Host, query: Question[T]) -> T:
    """While the run is prepared the host may lack everything, and pyinfra asks."""
    _refuse_failed(target)
    if answer := _prepared(target, query):
        with contextlib.suppress(FactError):  # else it is asked again, and pyinfra tells why
            return _parsed(query, answer)
    value: T = target.get_fact(query.fact, **query.arguments)
    if isinstance(value, Unknown):
        raise FactError(f"{query.fact.name} is not known")
    return value


def _refuse_failed(target: Host) -> None:
    """Ask nothing of a host that has failed while the run is prepared.

    Raises:
        FactError: it has.
    """
    if target in getattr(_state(), "failed_hosts", ()):
        why = "does not answer by SSH" if was_silent(target) else "has failed before"
        raise FactError(f"{target.name} {why}")


def _prepared(target: Host, query: Question[Any]) -> Answer | None:
    """The answer from `prepare`, for one reading while the run is prepared."""
    host_state = _state_of(target)
    with host_state.lock:
        return host_state.prepared.pop(query.line, None)


def _parsed(query: Question[T], answer: Answer) -> T:
    fact = query.fact()
    # A fact may keep from here what it checks its answer by.
    fact.command(**query.arguments)
    try:
        return fact.parse(complete_lines(answer))
    except FactProcessError as error:
        raise FactError(f"{query.fact.name}: {error}") from error


def _output(target: Host, program: str, *, of_site: bool = True) -> list[str]:
    """The lines that a program for sh(1) prints on a host, which it may have been asked ahead.

    Args:
        target: the host.
        program: what it runs.
        of_site: whether the output rests on other hosts as well.

    Raises:
        ConversationError, ConnectError: as for `run`.
    """
    is_step = _state().is_executing
    lines = prefetch.answer(target, program, of_site=of_site) if is_step else None
    _state_of(target).was_prefetched = lines is not None
    return run(target, command("sh"), program).stdout_lines if lines is None else lines


def _own_output(target: Host, program: str) -> list[str]:
    """`_output` that rests on this host alone."""
    return _output(target, program, of_site=False)


def _first_output(target: Host, program: str) -> list[str]:
    """`_output` of the first program of a run; behind it the host answers what is asked later."""
    lines = prefetch.begin(target, program)
    return run(target, command("sh"), program).stdout_lines if lines is None else lines


def _ask(
    target: Host,
    queries: Sequence[Question[Any]],
    output: Callable[[Host, str], list[str]] = _output,
) -> list[Answer]:
    """The answers of one command that asks all `queries`, one after the other.

    Args:
        target: the host.
        queries: what it is asked.
        output: has it run the command.

    Raises:
        ConversationError: the answers cannot be separated, or the connection broke.
        ConnectError: the host does not answer by SSH.
    """
    groups = _groups(queries)
    program = Program([_line(group) for group in groups])
    results: dict[int, Answer] = {}
    alone: list[int] = []
    for group, answer in zip(groups, program.answers(output(target, program.text)), strict=True):
        numbers = [number for number, _ in group]
        try:
            results |= zip(numbers, _parted(group, answer), strict=True)
        except FactProcessError:
            alone += numbers
    if alone:
        lines = _output(target, "".join(f"{queries[number].line}\n" for number in alone))
        results |= zip(alone, answers(lines, len(alone)), strict=True)
    return [results[number] for number in range(len(queries))]


_Group = list[tuple[int, Question[Any]]]
"""Questions that one command answers, each with its place among those that are asked."""


def _groups(queries: Sequence[Question[Any]]) -> list[_Group]:
    groups: list[_Group] = []
    joined: dict[type[HostFact[Any]], _Group] = {}
    for number, query in enumerate(queries):
        group = joined.setdefault(query.fact, []) if issubclass(query.fact, JoinedFact) else []
        if not group:
            groups.append(group)
        group.append((number, query))
    return groups


def _line(group: _Group) -> str:
    _, query = group[0]
    if len(group) == 1 or not issubclass(query.fact, JoinedFact):
        return query.line
    return query.fact.joined([query.arguments for _, query in group]).get_raw_value()


def _parted(group: _Group, answer: Answer | None) -> list[Answer]:
    """The answer of each question of the group.

    Raises:
        FactProcessError: their one command did not end well.
    """
    if answer is None:
        raise FactProcessError("it has not ended")
    _, query = group[0]
    if len(group) == 1 or not issubclass(query.fact, JoinedFact):
        return [answer]
    parts = query.fact.parted(complete_lines(answer), len(group))
    return [Answer(lines, answer.status) for lines in parts]


def run(target: Host, line: StringCommand, stdin: str, *, is_secret: bool = False) -> CommandOutput:
    """What a command says that is run on a host at once, outside of any operation.

    Args:
        target: the host; it is connected to where it is not.
        line: the command.
        stdin: what it reads; a line feed is added where none ends it.
        is_secret: neither the command nor its output is ever shown.

    Raises:
        ConversationError: the connection broke.
        ConnectError: the host does not answer by SSH.
    """
    connect(target, "to read its state")
    state = _state()
    arguments, _ = pop_global_arguments(state, target, {})
    connector = {key: value for key, value in arguments.items() if key in CONNECTOR_ARGUMENT_KEYS}
    try:
        _, output = target.run_shell_command(
            line,
            print_output=state.print_fact_output and not is_secret,
            print_input=state.print_fact_input and not is_secret,
            **(connector | {"_stdin": stdin}),
        )
    except BROKEN as error:
        raise ConversationError(f"the connection broke while it was asked: {error}") from error
    if is_gone(target):
        raise ConversationError("the connection broke while it was asked")
    return output
