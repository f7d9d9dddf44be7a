"""What a run knows of its hosts: asked in one command a host, and again when something changed.

While pyinfra prepares a run, each operation says which facts it will read (`expect`). When the
first operation begins, every host is asked for all of them in one SSH command. A command that an
operation sends makes the answers of its host old; work on the control machine, which may reach any
host through an API, those of all hosts. The next question then asks for what is still to be read.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import gevent
from gevent.lock import BoundedSemaphore
from paramiko import SSHException
from pyinfra.api import State, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, ctx_state

from facts.command import command
from facts.host_fact import Answer, FactError, HostFact, Unknown, answers, whole
from operations.failure import say

T = TypeVar("T")

MOST_SECONDS = 30.0
"""A person may change a host while a long run is busy elsewhere: older answers are asked again."""


@dataclass(frozen=True)
class Question(Generic[T]):
    """A fact and its arguments."""

    fact: type[HostFact[T]]
    arguments: Mapping[str, Any]

    @property
    def command(self) -> StringCommand:
        """What asks it, between its marks."""
        made = self.fact().command(**self.arguments)
        assert isinstance(made, StringCommand)  # noqa: S101  # the type of HostFact's commands
        return made

    @property
    def line(self) -> str:
        """The command as text: equal questions have equal lines."""
        return self.command.get_raw_value()


def question(fact: type[HostFact[T]], **arguments: Any) -> Question[T]:
    """A fact and its arguments, those of its `command`."""
    return Question(fact, arguments)


class _Known:
    """What is known of one host; `waiting` counts how often each line is still to be read."""

    def __init__(self) -> None:
        # Of greenlets, which take turns in one thread: a lock of threads would stop them all.
        self.lock = BoundedSemaphore(1)
        self.waiting: Counter[str] = Counter()
        self.answers: dict[str, Answer] = {}
        self.asked_at = 0.0
        self.changes = 0

    def forget(self) -> None:
        self.answers = {}
        self.changes += 1


_known: WeakKeyDictionary[Host, _Known] = WeakKeyDictionary()
_ahead: WeakSet[State] = WeakSet()


def _of(target: Host) -> _Known:
    return _known.setdefault(target, _Known())


def expect(questions: Iterable[Question[Any]]) -> None:
    """This host will be asked these; called while the run is prepared."""
    _of(this_host()).waiting.update(one.line for one in questions)


def read(wanted: Question[T]) -> T:
    """A fact of this host, as of its last change by this run.

    Raises:
        FactError: the host's answer is not whole, or not of the expected form.
    """
    return read_of(this_host(), wanted)


def read_or(wanted: Question[T], otherwise: T) -> T:
    """`read` for a deploy; where the answer cannot be used the host is left out of the run.

    Its deploys go on to their end all the same, with `otherwise`, and none of its operations runs.
    """
    try:
        return read(wanted)
    except FactError as error:
        fail(this_host(), str(error))
        return otherwise


def read_of(target: Host, wanted: Question[T]) -> T:
    """`read`, of another host: for what one host has to know of another.

    Raises:
        FactError: as for `read`.
        ConnectError: it does not answer by SSH.
    """
    if not _state().is_executing:
        return _once(target, wanted)
    line = wanted.line
    known = _of(target)
    with known.lock:
        if time.monotonic() - known.asked_at >= MOST_SECONDS:
            known.forget()
        if line not in known.answers:
            _learn(target, known, line)
        if known.waiting[line] > 0:
            known.waiting[line] -= 1
        answer = known.answers[line]
    return _parsed(wanted, answer)


def _learn(target: Host, known: _Known, *lines: str) -> None:
    """Ask for `lines` and for what is still to be read, unless it is known."""
    wanted = dict.fromkeys([*lines, *known.waiting.elements()])
    missing = [line for line in wanted if line not in known.answers]
    if not missing:
        return
    changes = known.changes
    found = dict(zip(missing, _ask(target, missing), strict=True))
    if changes == known.changes:
        known.asked_at = known.asked_at if known.answers else time.monotonic()
        known.answers |= found
    else:  # the host was changed meanwhile: only who asked first may use it
        known.answers = {line: found[line] for line in lines if line in found}
        known.asked_at = 0.0


def ask_ahead() -> None:
    """Ask every host at once for what will be read, while the first operations run elsewhere.

    A host that cannot be asked here is asked again, and fails, when an operation reads.
    """
    state = _state()
    if state in _ahead:
        return
    _ahead.add(state)
    for target in state.inventory.get_active_hosts():
        known = _of(target)
        if known.waiting and target.connected:
            gevent.spawn(_ask_ahead, state, target, known)


def _ask_ahead(state: State, target: Host, known: _Known) -> None:
    with ctx_state.use(state), ctx_host.use(target), known.lock, contextlib.suppress(FactError):
        _learn(target, known)


def ask(wanted: Question[T]) -> T:
    """A fact of this host as it is now, whatever is known.

    Raises:
        FactError: as for `read`.
    """
    return ask_of(this_host(), wanted)


def ask_of(target: Host, wanted: Question[T]) -> T:
    """`ask`, of another host.

    Raises:
        FactError, ConnectError: as for `read_of`.
    """
    if not _state().is_executing:
        return _once(target, wanted)
    (answer,) = _ask(target, [wanted.line])
    return _parsed(wanted, answer)


def ask_all(questions: Iterable[Question[Any]]) -> list[Any]:
    """Facts of this host as they are now, in one command; a FactError in the place of a bad one."""
    wanted = list(questions)
    if not wanted:
        return []
    try:
        given = _ask(this_host(), [one.line for one in wanted])
    except FactError as error:
        return [error] * len(wanted)
    found: list[Any] = []
    for one, answer in zip(wanted, given, strict=True):
        try:
            found.append(_parsed(one, answer))
        except FactError as error:
            found.append(error)
    return found


def changes(sent: PyinfraCommand) -> None:
    """A command is about to run, or has run: what was known may be no more."""
    if not _state().is_executing:
        return
    if isinstance(sent, FunctionCommand):
        for known in list(_known.values()):
            known.forget()
    else:
        _of(this_host()).forget()


def fail(target: Host, reason: str) -> None:
    """Leave a host out of the rest of the run, and say why, while the run is prepared."""
    if target not in _state().failed_hosts:
        say(target, reason)
        _state().fail_hosts({target})  # type: ignore[no-untyped-call]


def this_host() -> Host:
    """Pyinfra's `host` stands for whichever host is in turn; as a key it must be the host."""
    found: Host = ctx_host.get()  # type: ignore[no-untyped-call]
    return found


def _state() -> State:
    found: State = ctx_state.get()  # type: ignore[no-untyped-call]
    return found


def _once(target: Host, wanted: Question[T]) -> T:
    """While the run is prepared the host may lack everything, and pyinfra asks."""
    if target in getattr(_state(), "failed_hosts", ()):
        raise FactError(f"{target.name} has failed before")
    found: T = target.get_fact(wanted.fact, **wanted.arguments)
    if isinstance(found, Unknown):
        raise FactError(f"{wanted.fact.name} is not known")
    return found


def _parsed(wanted: Question[T], answer: Answer) -> T:
    fact = wanted.fact()
    fact.command(**wanted.arguments)  # a fact may keep from here what it checks its answer by
    try:
        return fact.parse(whole(answer))
    except FactProcessError as error:
        raise FactError(f"{wanted.fact.name}: {error}") from error


def _ask(target: Host, lines: list[str]) -> list[Answer]:
    """The answers of one command that runs all of `lines`, one after the other.

    Raises:
        FactError: they cannot be told apart, or the connection broke.
        ConnectError: the host does not answer by SSH.
    """
    if not target.connected:
        target.connect(reason="to ask what is there", raise_exceptions=True)
    state = _state()
    arguments, _ = pop_global_arguments(state, target, {})
    connector = {key: value for key, value in arguments.items() if key in CONNECTOR_ARGUMENT_KEYS}
    try:
        _, output = target.run_shell_command(
            command("sh"),
            print_output=state.print_fact_output,
            print_input=state.print_fact_input,
            **(connector | {"_stdin": "\n".join(lines) + "\n"}),
        )
    except (TimeoutError, OSError, SSHException) as error:
        raise FactError(f"the connection broke while the host was asked: {error}") from error
    return list(answers(output.stdout_lines, len(lines)))
