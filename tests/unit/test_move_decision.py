"""Whether a stack may start on its host, moves there, or is refused: each state of two hosts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from phoenix.components.docker.projects import Anonymous, ComposeProject, Container, Volume
from phoenix.components.move.decision import (
    Decision,
    HostPort,
    HostState,
    Moves,
    Ports,
    Refused,
    Shape,
    Stays,
    Unfinished,
    decide,
    exchange,
    givers,
    host_port,
    renamed,
    shape,
    taken_ports,
)
from phoenix.components.move.steps import Phase

NAME = "shop-production"
DAY = datetime(2026, 1, 1, tzinfo=UTC)
VOLUME = Volume("shop-production_data", "/v/data", own=True, size_kib=2048)


def project(*states: str, volumes: tuple[Volume, ...] = (VOLUME,)) -> ComposeProject:
    containers = tuple(
        Container(f"c{number}", "web", "i:1", state, state == "running", DAY)
        for number, state in enumerate(states)
    )
    return ComposeProject(NAME, "portainer", "", containers, volumes, ())


def stack_in(*states: str, volumes: tuple[Volume, ...] = (VOLUME,)) -> HostState:
    return HostState({NAME: project(*states, volumes=volumes)})


def arriving(phase: Phase, state: HostState | None = None) -> HostState:
    return HostState(state.projects if state else {}, {NAME: Unfinished("a", phase)})


NOTHING = HostState()
RUNS, STOPPED, LEFT = stack_in("running"), stack_in("exited"), stack_in()


def outcome(own_state: HostState, **others: HostState | str) -> Decision:
    return decide(NAME, "b", {"b": own_state, **others})


@pytest.mark.parametrize(
    ("own_state", "other_state"),
    [
        (NOTHING, NOTHING),
        (RUNS, NOTHING),
        (RUNS, STOPPED),
        (RUNS, RUNS),  # it is told as undeclared there; here it goes on
        (RUNS, "no route"),
        (STOPPED, NOTHING),
        (STOPPED, STOPPED),
        (STOPPED, "no route"),
        (LEFT, NOTHING),
        (LEFT, LEFT),  # somebody took its containers away, here where it is at home
        (NOTHING, stack_in(volumes=())),
        (arriving("proven", RUNS), STOPPED),
    ],
)
def test_it_may_start(own_state: HostState, other_state: HostState | str) -> None:
    assert outcome(own_state, a=other_state) == Stays()


@pytest.mark.parametrize(
    "own_state", [NOTHING, STOPPED, LEFT, stack_in("created"), stack_in("dead")]
)
@pytest.mark.parametrize("state", ["running", "restarting", "paused"])
def test_it_moves_from_where_it_runs(own_state: HostState, state: str) -> None:
    assert outcome(own_state, a=stack_in(state), c=NOTHING) == Moves(
        NAME, "a", "b", None, (VOLUME,)
    )


@pytest.mark.parametrize("state", ["running", "restarting", "paused"])
@pytest.mark.parametrize(
    "other_state", [RUNS, stack_in("restarting"), STOPPED, LEFT, NOTHING, "no route"]
)
def test_it_is_here_while_it_is_paused_or_in_a_crash_loop(
    state: str, other_state: HostState | str
) -> None:
    """A loop is `running` and `restarting` in turn: what was chosen depended on the moment."""
    assert outcome(stack_in("exited", state), a=other_state) == Stays()


@pytest.mark.parametrize("other_state", [STOPPED, LEFT])
def test_data_of_a_stopped_or_removed_stack_are_not_left_behind(other_state: HostState) -> None:
    assert outcome(NOTHING, a=other_state) == Moves(NAME, "a", "b", None, (VOLUME,))


@pytest.mark.parametrize("other_state", [NOTHING, STOPPED, LEFT, "no route"])
def test_docker_that_is_down_here_is_no_reason_to_refuse(other_state: HostState | str) -> None:
    assert decide(NAME, "b", {"b": "no daemon", "a": other_state}) == Stays()


def test_docker_that_is_down_here_hides_no_stack_that_runs_elsewhere() -> None:
    decision = decide(NAME, "b", {"b": "no daemon", "a": RUNS})
    assert isinstance(decision, Moves)


def test_a_silent_host_elsewhere_does_not_hide_where_it_runs() -> None:
    assert outcome(NOTHING, a=RUNS, c="no route") == Moves(NAME, "a", "b", None, (VOLUME,))


@pytest.mark.parametrize("other_state", [NOTHING, LEFT, STOPPED])
def test_a_silent_host_may_have_it(other_state: HostState) -> None:
    decision = outcome(NOTHING, a=other_state, c="no route")
    assert isinstance(decision, Refused)
    assert "c does not answer (no route)" in decision.refusal
    assert f"phoenix sync --new {NAME}" in decision.refusal
    assert "PHOENIX_NEW=" in decision.refusal


@pytest.mark.parametrize("other_state", [RUNS, STOPPED, LEFT])
def test_of_two_hosts_that_have_it_none_is_chosen(other_state: HostState) -> None:
    decision = outcome(NOTHING, a=other_state, c=other_state)
    assert isinstance(decision, Refused)
    assert "a and c have it" in decision.refusal


@pytest.mark.parametrize("phase", ["copying", "copied", "started"])
def test_a_move_that_was_killed_is_gone_on_with(phase: Phase) -> None:
    decision = outcome(arriving(phase), a=STOPPED)
    assert isinstance(decision, Moves)
    assert decision.phase == phase
    assert decision.sentence.startswith(f"stack {NAME} has not finished its move from a to b")


def test_a_copy_is_old_when_the_old_stack_runs_again() -> None:
    decision = outcome(arriving("copied"), a=RUNS)
    assert isinstance(decision, Moves)
    assert decision.phase == "copying"


@pytest.mark.parametrize("state", ["no route", None])
def test_a_partial_copy_never_starts_without_its_old_host(state: str | None) -> None:
    others: dict[str, HostState | str] = {} if state is None else {"a": state}
    decision = outcome(arriving("copying"), **others)
    assert isinstance(decision, Refused)
    assert "its move from a has not ended" in decision.refusal


def test_started_and_killed_it_is_not_taken_for_proven() -> None:
    decision = outcome(arriving("started", RUNS), a=STOPPED)
    assert isinstance(decision, Moves)
    assert decision.phase == "started"


def test_the_sentence_names_hosts_volumes_and_size() -> None:
    second = Volume("shop-production_logs", "/v/logs", own=True, size_kib=100)
    both = stack_in("running", volumes=(VOLUME, second))
    decision = outcome(NOTHING, a=both)
    assert isinstance(decision, Moves)
    assert decision.sentence == (
        f"stack {NAME} moves from a to b "
        "(volumes: shop-production_data, shop-production_logs, 3 MiB)"
    )
    assert decision.refusal.startswith(decision.sentence)
    assert "phoenix sync --move" in decision.refusal


def test_without_volumes_it_moves_by_the_same_rule() -> None:
    decision = outcome(NOTHING, a=stack_in("running", volumes=()))
    assert isinstance(decision, Moves)
    assert decision.sentence.endswith("(no volumes)")


UNNAMED = Anonymous("ab" * 32, "shop-web-1", "/cache")


@pytest.mark.parametrize(
    ("volumes", "moved"),
    [((VOLUME,), "shop-production_data, 2 MiB; "), ((), "(no named volumes; ")],
)
@pytest.mark.parametrize("phase", [None, "copying"])
def test_what_no_name_leads_to_is_said_to_stay_behind(
    phase: Phase | None, volumes: tuple[Volume, ...], moved: str
) -> None:
    other_state = HostState(
        {NAME: replace(project("exited", volumes=volumes), anonymous=(UNNAMED,))}
    )
    decision = outcome(arriving(phase) if phase else NOTHING, a=other_state)
    assert isinstance(decision, Moves)
    left = "not copied: the anonymous volume abababababab (/cache of shop-web-1))"
    assert f"{moved}{left}" in decision.sentence
    assert f"{moved}{left}" in decision.refusal


def test_a_size_that_nobody_measured_is_not_told() -> None:
    unknown = Volume("v", "/v", own=False)
    decision = outcome(NOTHING, a=stack_in("running", volumes=(VOLUME, unknown)))
    assert isinstance(decision, Moves)
    assert "MiB" not in decision.sentence


def test_a_host_that_left_the_declaration_may_have_it() -> None:
    decision = decide(NAME, "b", {"b": NOTHING}, ["a"])
    assert isinstance(decision, Refused)
    assert "it was deployed on a, which this site no longer declares" in decision.refusal
    assert f"phoenix sync --new {NAME}" in decision.refusal


@pytest.mark.parametrize("own_state", [RUNS, STOPPED, LEFT])
def test_a_host_that_left_the_declaration_is_no_matter_where_it_is_here(
    own_state: HostState,
) -> None:
    assert decide(NAME, "b", {"b": own_state}, ["a"]) == Stays()


SHAPE = shape(["web"], ["i:2"])


@pytest.mark.parametrize(
    ("declared", "state", "deployed_once", "is_refused"),
    [
        (SHAPE, RUNS, {NAME}, True),
        (SHAPE, RUNS, set(), False),  # a person's
        (SHAPE, STOPPED, {NAME}, False),
        (SHAPE, LEFT, {NAME}, False),  # removed, volumes kept: who did that knows
        (SHAPE, stack_in("running", volumes=()), {NAME}, False),
        (shape(["api"], ["i:1"]), RUNS, {NAME}, False),
        (shape(["web"], ["other:1"]), RUNS, {NAME}, False),
        (shape(["web", "db"], ["i:1"]), RUNS, {NAME}, False),
    ],
)
def test_a_new_name_of_a_stack_with_data_does_not_start_empty_beside_it(
    declared: Shape, state: HostState, deployed_once: set[str], is_refused: bool
) -> None:
    decision = renamed("store-production", "b", declared, {"b": state}, {"b": deployed_once})
    assert isinstance(decision, Refused if is_refused else Stays)
    if isinstance(decision, Refused):
        assert "would start without its data (shop-production_data)" in decision.refusal
        assert "`phoenix sync --new store-production`" in decision.refusal
        assert "give folder and environment the name that they had" in decision.refusal


def test_a_stack_that_gets_a_new_name_and_a_new_host_does_not_start_empty_either() -> None:
    states = {"b": NOTHING, "a": RUNS}
    decision = renamed("store-production", "b", SHAPE, states, {"a": {NAME}})
    assert isinstance(decision, Refused)
    assert f"{NAME} runs on a with the same services" in decision.refusal
    assert "would start without its data (shop-production_data)" in decision.refusal
    assert "declare it on a under its new name first" in decision.refusal
    assert renamed("store-production", "b", SHAPE, states, {"b": {NAME}}) == Stays()


def ports(**numbers: tuple[int, ...]) -> dict[str, Ports]:
    return {
        name: frozenset(HostPort(number, "tcp") for number in own) for name, own in numbers.items()
    }


@pytest.mark.parametrize(
    ("desired", "has_now", "circle"),
    [
        (ports(a=(1,), b=(2,)), ports(a=(2,), b=(1,)), ("a", "b")),
        (ports(a=(1,), b=(2,), c=(3,)), ports(a=(2,), b=(3,), c=(1,)), ("a", "b", "c")),
        (ports(a=(1,), b=(2,), c=(9,)), ports(a=(2,), b=(1,), c=(3,)), ("a", "b")),
        (ports(a=(1,), b=(2,), c=(4,)), ports(a=(2, 4), b=(1,), c=(3,)), ("a", "b")),
        (ports(a=(1,), b=(3,)), ports(a=(2,), b=(1,)), ()),  # b gives 1 up first
        (ports(a=(1,), b=(2,)), ports(a=(1,), b=(2,)), ()),
        (ports(a=(1,), b=(2,)), {}, ()),
        (ports(a=(1,)), ports(a=(2,), b=(1,)), ()),  # b is not in this run
        (ports(a=(1,), b=(1, 2)), ports(b=(1,)), ()),  # two that want one port: told by validate
    ],
)
def test_ports_that_go_round_in_a_circle(
    desired: dict[str, Ports],
    has_now: dict[str, Ports],
    circle: tuple[str, ...],
) -> None:
    assert exchange(desired, has_now) == circle


def test_who_gives_up_a_port_comes_first() -> None:
    before = givers(ports(a=(1,), b=(3,)), ports(a=(2,), b=(1,)))
    assert before == {"a": frozenset({"b"}), "b": frozenset()}


ALL, HOME, OUTER = (
    HostPort(1, "tcp"),
    HostPort(1, "tcp", "127.0.0.1"),
    HostPort(1, "tcp", "10.0.0.2"),
)
DATAGRAMS = HostPort(1, "udp")


@pytest.mark.parametrize(
    ("a_wants", "b_wants", "b_has", "first"),
    [
        (OUTER, HOME, OUTER, True),  # the same number on another address is no longer this port
        (OUTER, HOME, ALL, True),
        (ALL, HOME, OUTER, True),
        (OUTER, HOME, HOME, False),
        (OUTER, DATAGRAMS, DATAGRAMS, False),
        (DATAGRAMS, ALL, ALL, False),
        (DATAGRAMS, ALL, DATAGRAMS, True),
    ],
)
def test_a_port_is_given_up_on_its_address_and_protocol_alone(
    a_wants: HostPort, b_wants: HostPort, b_has: HostPort, *, first: bool
) -> None:
    desired = {"a": frozenset({a_wants}), "b": frozenset({b_wants})}
    before = givers(desired, {"b": frozenset({b_has})})
    assert before["a"] == (frozenset({"b"}) if first else frozenset())


@pytest.mark.parametrize(
    ("wants", "published", "is_taken"),
    [(OUTER, HOME, False), (OUTER, ALL, True), (ALL, HOME, True)],
)
def test_a_port_of_a_stack_beside_the_run_is_taken_where_the_addresses_meet(
    wants: HostPort, published: HostPort, *, is_taken: bool
) -> None:
    clashes = taken_ports({"a": frozenset({wants})}, {"b": frozenset({published})})
    assert bool(list(clashes)) is is_taken


def test_what_a_stack_has_on_every_address_it_has_on_each() -> None:
    both = frozenset({host_port(1, "tcp", "0.0.0.0"), host_port(1, "tcp", "::")})  # noqa: S104
    assert both == {ALL}
    assert not list(taken_ports({"a": frozenset({OUTER})}, {"a": both, "b": both}))
