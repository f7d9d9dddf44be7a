"""When a fault is told, what of it, and when it is over: the watcher's memory, look by look."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.watch.causes import Check, CheckedPath, Hop
from phoenix.watch.disks import DAY, added, days_left
from phoenix.watch.issued import Asked, Issued
from phoenix.watch.judge import (
    FLAPS,
    ISSUED,
    QUIET_SECONDS,
    Arrival,
    Message,
    State,
    messages_of,
    observe,
)  # fmt: skip
from phoenix.watch.plan import Fix, Plan, from_json
from phoenix.watch.report import Report, Room

MINUTE = 60
START = 1_000_000.0
UNIT = Check("gateway", "service", "Nginx (nginx.service)", ("unit_runs",), target="gateway")
PORT = Check("outside", "tcp", "a client to the gateway", ("port_answers",), target="gateway")
ROOM = Check("gateway", "service", "room on its disks", ("has_room",), target="gateway")
APART = Check("other", "service", "Docker (docker.service)", ("unit_runs",), target="other")
CHECKS = (UNIT, ROOM, APART, PORT)
PATHS = (
    CheckedPath("host", "room of gateway", (Hop("gateway", "gateway", "room", (ROOM,)),)),
    CheckedPath("host", "docker on other", (Hop("other", "other", "docker", (APART,)),)),
    CheckedPath("request", "https://app", (Hop("outside", "gateway", "TLS", (UNIT, PORT)),)),
)
PLAN = Plan(
    domain="lab.example",
    interval=MINUTE,
    lists={"outside": "a", "gateway": "b", "other": "c"},
    fingerprints={},
    checks=CHECKS,
    paths=PATHS,
    fixes={UNIT.title: Fix("a sync starts it again", ("phoenix sync nginx",))},
)


@dataclass
class Site:
    """A watched site: `faults` by check, and what the watcher was made to say so far."""

    now: float = START
    faults: dict[Check, str] = field(default_factory=dict)
    off: set[str] = field(default_factory=set)
    locked: bool = False
    state: State = field(default_factory=State)
    newest: dict[str, Arrival] = field(default_factory=dict)
    room: Room = field(default_factory=lambda: Room(10, 1000))
    plan: Plan = PLAN
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By host, further fields of its reports."""

    def report(self, host: str) -> None:
        """A host's report arrives, whose checks began now and took a second."""
        texts = tuple(self.faults.get(check, "") for check in self.plan.made_on(host))
        report = Report(
            host, PLAN.lists[host], 1, texts, {"/": self.room}, self.locked and host == "outside"
        )
        report = replace(report, **self.beside.get(host, {}))
        self.newest[host] = Arrival(report, self.now + 1)

    def looks(self) -> list[Message]:
        """The watcher looks; its memory goes through its file."""
        observed = observe(self.plan, self.newest, self.state, self.now)
        messages = messages_of(self.plan, observed, self.state, self.now)
        self.state = State.from_json(json.loads(json.dumps(self.state.to_json())))
        return messages

    def round(self, count: int = 1, order: Iterable[str] = tuple(PLAN.lists)) -> list[Message]:
        """Every host reports, in order, each with a look behind it; then the minute ends."""
        messages = []
        for _ in range(count):
            for host in order:
                if host not in self.off:
                    self.report(host)
                self.now += 5
                messages += self.looks()
            self.now += MINUTE - 5 * len(PLAN.lists)
        return messages


@pytest.fixture
def site() -> Site:
    site = Site()
    assert site.round(3) == []
    return site


def titles(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.kind, message.title.removeprefix("[lab.example] ")) for message in messages]


ALARM = ("failure", f"fault: gateway: {UNIT.hop}")
OVER = ("success", f"over: gateway: {UNIT.hop}")


def test_a_fault_is_told_when_all_have_looked_again_and_its_end_as_well(site: Site) -> None:
    site.faults[UNIT] = "is inactive"
    assert site.round() == [], "seen once"
    (message,) = site.round()
    assert titles([message]) == [ALARM]
    assert message.body.splitlines() == [
        f"{UNIT.hop} on gateway: is inactive",
        "It breaks: https://app",
        "Likely fix: a sync starts it again",
        "  phoenix sync nginx",
    ]
    assert site.round(5) == [], "one message for one cause"
    site.faults.clear()
    assert titles(site.round(2)) == [OVER]
    assert site.round(5) == []


def test_what_is_over_before_it_was_seen_twice_is_not_told(site: Site) -> None:
    site.faults[UNIT] = "is activating"
    assert site.round() == []
    site.faults.clear()
    assert site.round(5) == []


@pytest.mark.parametrize(
    "order", [("outside", "gateway", "other"), ("gateway", "other", "outside")]
)
def test_whoever_notices_first_the_cause_alone_is_told(site: Site, order: tuple[str, ...]) -> None:
    """The client sees its symptom up to a minute before the gateway reports the cause."""
    site.report("gateway")  # all is well there, a moment before it stops
    site.faults |= {UNIT: "is inactive", PORT: "does not answer"}
    assert titles(site.round(6, order)) == [ALARM]
    site.report("gateway")  # it still stands, a moment before it is started
    site.faults.clear()
    assert titles(site.round(6, order)) == [OVER]


def test_two_causes_are_two_messages(site: Site) -> None:
    site.faults |= {UNIT: "is inactive", APART: "is failed"}
    assert sorted(titles(site.round(4))) == sorted(
        [ALARM, ("failure", f"fault: other: {APART.hop}")]
    )


def test_a_cause_that_hides_behind_another_is_not_over(site: Site) -> None:
    site.faults[PORT] = "does not answer"
    assert titles(site.round(3)) == [("failure", f"fault: outside: {PORT.hop}")]
    site.faults[UNIT] = "is inactive"
    assert titles(site.round(4)) == [ALARM]
    site.faults.pop(UNIT)
    assert titles(site.round(4)) == [OVER]
    site.faults.clear()
    assert titles(site.round(4)) == [("success", f"over: outside: {PORT.hop}")]


def test_a_silent_host_is_a_fault_and_its_checks_hide_nothing(site: Site) -> None:
    site.off.add("gateway")
    messages = site.round(4)
    assert titles(messages) == [("failure", "fault: gateway: its own checks")]
    assert "has not reported for" in messages[0].body
    site.faults[UNIT] = "is inactive"  # nobody can tell
    assert site.round(5) == []
    site.off.clear()
    assert sorted(titles(site.round(4))) == [ALARM, ("success", "over: gateway: its own checks")]


def test_a_fault_of_a_host_that_goes_silent_is_not_over(site: Site) -> None:
    site.faults[UNIT] = "is inactive"
    site.round(3)
    site.off.add("gateway")
    site.faults.clear()
    assert OVER not in titles(site.round(8))
    site.off.clear()
    assert OVER in titles(site.round(4))


def test_what_several_hosts_tell_is_one_message_whoever_tells_it() -> None:
    """It neither begins anew nor stays where the host that told it goes silent."""
    asked = [
        Check(host, "service", "a node", ("node_is",), target="gateway", question="node gateway")
        for host in ("outside", "other")
    ]
    hop = Hop("outside", "gateway", "the node", tuple(asked))
    plan = replace(
        PLAN, checks=(*CHECKS, *asked), paths=(*PATHS, CheckedPath("swarm", "x", (hop,)))
    )
    site = Site(plan=plan)
    assert site.round(3) == []
    site.faults |= dict.fromkeys(asked, "down")
    assert titles(site.round(2)) == [("failure", "fault: outside: a node")]
    site.off.add("outside")
    silent = titles(site.round(5))
    assert silent == [("failure", "fault: outside: its own checks")], (
        "and no second one of the node"
    )
    site.faults.clear()
    assert titles(site.round(2)) == [("success", "over: outside: a node")]
    site.off.clear()
    assert titles(site.round(3)) == [("success", "over: outside: its own checks")]


def test_most_hosts_silent_at_once_are_one_message(site: Site) -> None:
    site.off |= {"gateway", "other", "outside"}
    messages = site.round(6)
    assert titles(messages) == [("failure", "fault: the watcher: reports of the site's hosts")]
    assert "3 of 3 hosts do not report" in messages[0].body


SPREAD = {"outside": 3, "gateway": 22, "other": 47}
"""Seconds of the minute at which each host reports."""


def seconds_pass(site: Site, count: int) -> list[tuple[float, Message]]:
    """Second by second, hosts at moments of their own, and a look each 15 s."""
    messages = []
    begun = site.now
    for _ in range(count):
        for host, moment in SPREAD.items():
            if host not in site.off and (site.now - START) % MINUTE == moment:
                site.report(host)
        site.now += 1
        if (site.now - START) % 15 == 0:
            messages += [(site.now - begun, message) for message in site.looks()]
    return messages


@pytest.mark.parametrize("moment", [0, 23, 24, 40, 59])
def test_a_host_that_is_cut_off_is_told_within_three_minutes(site: Site, moment: int) -> None:
    assert seconds_pass(site, 3 * MINUTE + moment) == []
    site.off = {"gateway"}
    ((after, message),) = seconds_pass(site, 5 * MINUTE)
    assert titles([message]) == [("failure", "fault: gateway: its own checks")]
    assert after <= 180


@pytest.mark.parametrize("moment", [0, 5, 24, 40, 59])
def test_hosts_that_report_at_moments_of_their_own_and_all_go_silent_are_one_message(
    site: Site, moment: int
) -> None:
    """As when the watcher's own network is cut."""
    assert seconds_pass(site, 3 * MINUTE + moment) == []
    site.off = set(SPREAD)
    ((after, message),) = seconds_pass(site, 5 * MINUTE)
    assert titles([message]) == [("failure", "fault: the watcher: reports of the site's hosts")]
    assert after <= 180
    site.off = set()
    (over,) = seconds_pass(site, 5 * MINUTE)
    assert over[1].kind == "success"


@pytest.mark.parametrize("took", [40, 60])
def test_hosts_whose_checks_wait_for_one_that_is_cut_off_are_not_silent(took: int) -> None:
    """With rounds each ten seconds: the next is made when the last has ended."""
    site = Site(plan=replace(PLAN, interval=10))
    messages: list[Message] = []
    for second in range(180):
        if second < 60 and second % 10 == 3:
            for host in site.plan.hosts:
                site.report(host)
        if second >= 60 and (second - 60) % took == 0:
            for host in set(site.plan.hosts) - {"gateway"}:
                site.report(host)
        site.now += 1
        messages += site.looks()
    assert titles(messages) == [("failure", "fault: gateway: its own checks")]


def test_a_watcher_that_was_off_itself_calls_nobody_silent(site: Site) -> None:
    site.now += 40 * MINUTE
    assert site.looks() == []
    assert site.round(4) == []


@pytest.mark.parametrize("off", [3, 2 * MINUTE])
def test_a_watcher_that_boots_calls_nobody_silent(site: Site, off: int) -> None:
    """Reports are kept in memory: those of before are gone."""
    site.round(100)
    site.newest.clear()
    site.now += off
    assert site.looks() == []
    site.now += MINUTE
    assert site.looks() == [], "a minute without a report"
    site.round(2)
    site.off = {"gateway"}
    assert titles(site.round(5)) == [("failure", "fault: gateway: its own checks")]


def test_a_watcher_that_is_told_nothing_after_its_boot_says_so(site: Site) -> None:
    site.round(100)
    site.newest.clear()
    site.off = set(PLAN.lists)
    silent = ("failure", "fault: the watcher: reports of the site's hosts")
    assert titles(site.round(6)) == [silent]


def test_a_watcher_that_begins_tells_nothing_before_every_host_has_looked_or_is_silent() -> None:
    site = Site(faults={PORT: "does not answer", UNIT: "is inactive"}, off={"gateway"})
    assert site.round(2) == [], "the gateway would tell what comes first"
    site.off.clear()
    assert titles(site.round(3)) == [ALARM]


def test_hosts_that_the_first_run_comes_to_late_raise_no_alarm() -> None:
    """The run that set the watcher up took a minute more, and "6 of 6 hosts do not report" came."""
    site = Site(off={"gateway", "other", "outside"})
    assert site.round(4) == []
    site.off.remove("other")
    site.off.remove("outside")
    messages = site.round(3)
    assert titles(messages) == [("failure", "fault: gateway: its own checks")]
    site.off.clear()
    assert titles(site.round(4)) == [("success", "over: gateway: its own checks")]


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_watchers_clock_that_is_set_raises_no_alarm(site: Site, jump: float) -> None:
    site.now += jump
    assert site.looks() == []
    assert site.round(5) == []


def test_in_a_sync_nothing_new_is_told_and_what_lasts_is_told_after_it(site: Site) -> None:
    site.locked = True
    site.round()
    site.faults[UNIT] = "is deactivating"
    site.off.add("other")
    assert site.round(6) == []
    site.off.clear()
    site.round()
    site.locked = False
    assert titles(site.round(4)) == [ALARM]


def test_a_sync_may_end_a_fault(site: Site) -> None:
    site.faults[UNIT] = "is inactive"
    site.round(3)
    site.locked = True
    site.round()
    site.faults.clear()
    assert titles(site.round(3)) == [OVER]


def test_a_lock_that_nobody_gives_back_hides_faults_for_two_hours_alone(site: Site) -> None:
    site.locked = True
    site.round()
    site.faults[UNIT] = "is inactive"
    assert site.round(100) == []
    assert titles(site.round(30)) == [ALARM]


def test_what_comes_and_goes_is_told_three_times_then_once_it_was_well_for_long(site: Site) -> None:
    messages = []
    for _ in range(8):
        site.faults[UNIT] = "is inactive"
        messages += site.round(3)
        site.faults.clear()
        messages += site.round(3)
    assert titles(messages) == [*([ALARM, OVER] * (FLAPS - 1)), ALARM]
    assert f"It comes and goes: {FLAPS} times" in messages[-1].body
    assert titles(site.round(QUIET_SECONDS // MINUTE + 2)) == [OVER]
    assert site.state.known == {}


def test_a_warning_is_told_as_one_and_ends_as_one(site: Site) -> None:
    site.faults[ROOM] = "~/ has 12% of its room left"
    messages = site.round(3)
    assert titles(messages) == [("warning", f"warning: gateway: {ROOM.hop}")]
    assert "/ has 12% of its room left" in messages[0].body
    site.faults[ROOM] = "/ has 3% of its room left"  # now it is a fault as well: another cause
    assert ("failure", f"fault: gateway: {ROOM.hop}") in titles(site.round(3))
    site.faults.clear()
    assert {kind for kind, _ in titles(site.round(3))} == {"success"}
    assert site.state.known == {}


def test_what_is_told_beside_the_checks_is_a_warning(site: Site) -> None:
    def with_warnings(warnings: dict[str, str]) -> list[Message]:
        site.off.add("outside")
        messages = []
        for _ in range(3):
            site.report("outside")
            arrival = site.newest["outside"]
            site.newest["outside"] = Arrival(replace(arrival.report, warnings=warnings), arrival.at)
            messages += site.round()
        return messages

    assert titles(with_warnings({"backups": "is old"})) == [
        ("warning", "warning: outside: backups")
    ]
    assert titles(with_warnings({})) == [("success", "over: outside: backups")]


def test_a_report_that_was_cut_off_is_a_fault_and_says_nothing_else(site: Site) -> None:
    def cut(took: int | None, plan: str) -> None:
        site.report("gateway")
        arrival = site.newest["gateway"]
        site.newest["gateway"] = Arrival(replace(arrival.report, took=took, plan=plan), arrival.at)

    for took, plan, reason in ((None, "b", "2 of 2 checks were made"), (1, "x", "other checks")):
        messages = []
        site.off.add("gateway")
        for _ in range(4):
            cut(took, plan)
            messages += site.round()
        assert titles(messages) == [("failure", "fault: gateway: its report")], plan
        assert reason in messages[0].body
        site.off.clear()
        assert titles(site.round(3)) == [("success", "over: gateway: its report")]


def test_a_check_that_is_not_declared_any_more_is_over(site: Site) -> None:
    site.faults[APART] = "is failed"
    site.round(3)
    site.faults.clear()
    plan = replace(PLAN, checks=CHECKS[:2] + CHECKS[3:], paths=(PATHS[0], PATHS[2]))
    messages = []
    for _ in range(4):
        for host in PLAN.lists:
            site.report(host)
        report = site.newest["other"].report
        site.newest["other"] = Arrival(replace(report, outcomes=()), site.now)
        site.now += MINUTE
        observed = observe(plan, site.newest, site.state, site.now)
        messages += messages_of(plan, observed, site.state, site.now)
    assert titles(messages) == [("success", f"over: other: {APART.hop}")]


def test_what_was_told_of_a_host_that_left_the_site_is_over(site: Site) -> None:
    """It stood in `phoenix status` for good."""
    site.faults[APART] = "is failed"
    assert [message.kind for message in site.round(3)] == ["failure"]
    lists = {host: plan for host, plan in PLAN.lists.items() if host != "other"}
    checks = tuple(check for check in CHECKS if check != APART)
    site.plan = replace(PLAN, lists=lists, checks=checks, paths=(PATHS[0], PATHS[2]))
    site.off.add("other")
    messages = site.round(4)
    assert titles(messages) == [("success", f"over: other: {APART.hop}")]
    assert site.state.known == {}


def test_a_warning_that_becomes_a_fault_is_not_over(site: Site) -> None:
    site.faults[ROOM] = "~/ has 12% left"
    assert [message.kind for message in site.round(3)] == ["warning"]
    site.faults[ROOM] = "/ has 3% left"
    assert [message.kind for message in site.round(4)] == ["failure"]
    site.faults[ROOM] = "~/ has 12% left"
    assert [message.kind for message in site.round(4)] == ["success"], (
        "the fault; its warning is known"
    )
    site.faults.clear()
    assert [message.kind for message in site.round(4)] == ["success"]
    assert site.state.known == {}


def test_a_disk_that_fills_is_told_days_ahead() -> None:
    site, messages = Site(), []
    for hour in range(40):
        site.room = Room(1000 + 20 * hour, 1500 - 20 * hour)
        messages += site.round()
        site.now += 3600 - MINUTE
        site.looks()
    warned = [message for message in messages if message.kind == "warning"]
    assert titles(warned)[0] == ("warning", "warning: outside: how / fills")
    assert "will be full in 2 days" in warned[0].body
    assert len(warned) == len(PLAN.lists), "once for each host"


def test_a_watcher_that_boots_goes_on_foretelling() -> None:
    """Its reports lie in memory: it forgot a week of each disk with them, and said: it is over."""
    site, messages = Site(), []
    for hour in range(40):
        site.room = Room(1000 + 20 * hour, 1500 - 20 * hour)
        messages += site.round()
        site.now += 3600 - MINUTE
        site.looks()
    assert [message.kind for message in messages] == ["warning"] * len(PLAN.lists)
    site.newest.clear()
    after = site.looks() + site.round(4)
    assert after == []
    site.plan = replace(PLAN, lists={"outside": PLAN.lists["outside"]})
    site.looks()
    assert set(site.state.disks) == {"outside"}, "nothing is kept of a host that left"


def test_a_report_that_was_cut_off_ends_no_warning(site: Site) -> None:
    site.beside["other"] = {"warnings": {"backups": "too old"}}
    messages = site.round(3)
    assert [message.kind for message in messages] == ["warning"]
    before = site.state.disks["other"]
    site.beside["other"] = {"took": None, "outcomes": (), "disks": {}}
    messages = site.round(3)
    assert [message.kind for message in messages] == ["failure"], (
        "its report is not whole, and no more is known"
    )
    assert site.state.disks["other"] == before
    site.beside.clear()
    assert sorted(message.kind for message in site.round(4)) == ["success", "success"]


def test_no_end_of_a_disk_is_foretold_of_what_comes_and_goes() -> None:
    samples: list[list[int]] = []
    for hour in range(72):
        samples = added(samples, hour * 3600, 1000 + (900 if hour % 24 < 2 else 0) + hour)
    assert days_left(samples, Room(0, 100)) is None
    steady: list[list[int]] = []
    for hour in range(10 * 24):
        steady = added(steady, hour * 3600, 100 * hour)
    assert steady[0][0] >= (10 * 24 - 1) * 3600 - 7 * DAY
    assert days_left(steady, Room(0, 4800)) == pytest.approx(2.0)
    assert days_left(steady[:20], Room(0, 4800)) is None, "less than a day"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fault", "well", "off", "on", "lock", "free", "round"]),
            st.sampled_from(CHECKS),
        ),
        max_size=25,
    )
)
def test_every_alarm_has_one_end_and_no_end_has_no_alarm(steps: list[tuple[str, Check]]) -> None:
    """Whatever happens, messages of one cause alternate; when all is well at last, none is open."""
    site = Site()
    messages = site.round(2)
    for action, check in steps:
        if action == "fault":
            site.faults[check] = "is broken"
        elif action == "well":
            site.faults.pop(check, None)
        elif action in ("off", "on"):
            (site.off.add if action == "off" else site.off.discard)(check.host)
        elif action in ("lock", "free"):
            site.locked = action == "lock"
        messages += site.round()
    site.faults.clear()
    site.off.clear()
    site.locked = False
    messages += site.round(QUIET_SECONDS // MINUTE + 5)
    assert site.state.known == {}
    open_: set[str] = set()
    for kind, title in titles(messages):
        word, _, cause = title.partition(": ")
        key = f"{cause} {kind if word != 'over' else ''}".strip()
        if word == "over":
            begun = next(sentence for sentence in open_ if sentence.startswith(cause))
            open_.remove(begun)
        else:
            assert key not in open_, "told twice"
            open_.add(key)
    assert open_ == set()


def test_the_plan_goes_through_its_file() -> None:
    assert from_json(PLAN.to_json()) == replace(
        PLAN,
        checks=tuple(replace(check, command=check.command) for check in CHECKS),
    )
    with pytest.raises(ValueError, match="version 9"):
        from_json(json.dumps({"version": 9}))


# -- what the CA issued ----------------------------------------------------------------------------

MINE, THEIRS = "aa" * 8, "bb" * 8
OWNED = replace(PLAN, owners={"app.lab.example": (("gateway", "gateway"),)})


def issued(key: str, name: str = "app.lab.example", since: float = START) -> Issued:
    first, last = (datetime.fromtimestamp(at, UTC) for at in (since, START + 9 * DAY))
    return Issued("a1", (name,), first, last, key)


def ca_tells(site: Site, *certificates: Issued, asked: dict[str, Asked] | None = None) -> list[str]:
    """What is told after two rounds in which `other` is the CA and `gateway` asked for keys."""
    notes = {"gateway": Asked(datetime.fromtimestamp(START - DAY, UTC), frozenset({MINE}))}
    site.plan = OWNED
    site.beside = {
        "other": {"issued": certificates},
        "gateway": {"asked": notes if asked is None else asked},
    }
    return [f"{message.title}: {message.body}" for message in site.round(3)]


def test_a_certificate_that_no_guest_asked_for_is_told(site: Site) -> None:
    (message,) = ca_tells(site, issued(MINE), issued(THEIRS))
    assert "warning: other: certificates that the CA issued" in message
    assert "app.lab.example to a key that gateway never made" in message


def test_a_foreign_certificate_is_not_over_because_the_notes_are_missing(site: Site) -> None:
    """The watcher restarts while the host that made the keys is down."""
    assert len(ca_tells(site, issued(MINE), issued(THEIRS))) == 1
    over = ("success", f"over: other: {ISSUED}")
    site.newest.clear()
    site.off.add("gateway")
    assert over not in titles(site.round(8))
    site.off.clear()
    site.beside["other"] = {"issued": (issued(MINE),)}
    assert over in titles(site.round(4))


def test_a_name_that_nobody_declares_is_told(site: Site) -> None:
    (message,) = ca_tells(site, issued(THEIRS, "evil.lab.example"))
    assert "evil.lab.example, which nobody declares" in message


@pytest.mark.parametrize(
    ("certificate", "asked"),
    [
        (issued(MINE), None),
        (issued(THEIRS, since=START - 3 * DAY), None),
        (issued(THEIRS), {}),
        (issued(THEIRS), {"gateway": Asked(None, frozenset())}),
        (issued(THEIRS, "old.lab.example"), {"": Asked(None, frozenset({THEIRS}))}),
        (issued(THEIRS, "old.lab.example")._replace(was_declared=True), None),
    ],
    ids=[
        "asked for",
        "of days ago",
        "no notes",
        "none noted yet",
        "of a certificate removed",
        "of a guest that is gone",
    ],
)
def test_what_was_asked_for_or_cannot_be_known_is_not_told(
    site: Site, certificate: Issued, asked: dict[str, Asked] | None
) -> None:
    assert ca_tells(site, certificate, asked=asked) == []
