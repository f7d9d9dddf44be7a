"""What is broken, and the cause that explains the rest: from the outcomes of checks. Pure.

The one place that decides it. `phoenix.health.diagnosis` tells it to people at the control machine,
and the watcher (`phoenix.watch.judge`) raises alarms by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Layer = Literal["reach", "service", "dns", "tcp", "certificate", "tls", "router", "http"]
LAYERS: tuple[Layer, ...] = (
    "reach", "service", "dns", "tcp", "certificate", "tls", "router", "http",
)  # fmt: skip
"""In the order in which a fault of one explains faults of the next.

`reach` is the way in to a host: one that does not answer explains what fails behind it.
An expired certificate explains why TLS is refused; where there is no TLS at all, `tls` says so.
"""
Kind = Literal[
    "request", "network", "folder", "host", "names", "name_server", "gateway", "proxy", "renewal",
    "agent", "stack", "api", "swarm", "backup", "guard",
]  # fmt: skip
"""What a path is for; `guard`: something that must be refused."""
HopState = Literal["ok", "broken", "follows", "unknown"]
"""`follows`: it fails as well, behind a broken hop; `unknown`: who should ask cannot be asked."""
State = Literal["ok", "broken", "unknown"]


@dataclass(frozen=True)
class Check:
    """One check, made on one host.

    The fields from `target` on say what it is about, each empty (0) where it is about no such
    thing: whoever wants the checks of a service, unit or endpoint looks there.

    Attributes:
        host: Name of the host that makes it.
        layer: See `LAYERS`.
        hop: What is checked, in a few words for people.
        command: A function of `checks.sh` and its arguments; empty for the layer `reach`.
        target: Name of the host that it is about.
        port: TCP port of that host.
        unit: systemd unit.
        name: DNS name that is resolved, or that a certificate must prove.
        service: Name of the one service that it is about.
        certificate: Name of a certificate that a host gets by ACME.
        endpoint: Name of an endpoint of Portainer.
        stack: Name of a deployed stack, as Portainer and Docker know it.
        question: What several hosts are asked, each by a check of its own, and one answer is enough
            to. Empty: this host alone can tell.
    """

    host: str
    layer: Layer
    hop: str
    command: tuple[str, ...]
    target: str = ""
    port: int = 0
    unit: str = ""
    name: str = ""
    service: str = ""
    certificate: str = ""
    endpoint: str = ""
    stack: str = ""
    question: str = ""

    @property
    def function(self) -> str:
        """The function of `checks.sh`; empty for the layer `reach`."""
        return self.command[0] if self.command else ""

    @property
    def title(self) -> str:
        """What is checked and where, for people; no two checks of a site have the same."""
        return f"{self.layer} on {self.host}: {self.hop}"


@dataclass(frozen=True)
class Outcome:
    """What a check found: `fault` is empty when all is well; `warning` is what will be one.

    `is_untold`: its host cannot answer the question that others are asked as well, and another of
    its checks says why.
    """

    check: Check
    fault: str
    warning: str = ""
    is_untold: bool = False


def outcome_of(check: Check, answer: str) -> Outcome:
    """The outcome of a check that `checks.sh` made: "~" begins a warning, "?" is no answer."""
    if answer == "?":
        return Outcome(check, "", is_untold=True)
    return Outcome(check, "", answer[1:]) if answer.startswith("~") else Outcome(check, answer)


def left_out(outcomes: Iterable[Outcome]) -> frozenset[Check]:
    """The checks whose outcomes say nothing: others have told it before, or they are no answer.

    Args:
        outcomes: in the order of the site's checks, in which the first choice comes first.
    """
    answered: set[str] = set()
    result: set[Check] = set()
    for outcome in outcomes:
        question = outcome.check.question
        if outcome.is_untold or question in answered:
            result.add(outcome.check)
        elif question:
            answered.add(question)
    return frozenset(result)


def without_spared(checks: Iterable[Check], outcomes: Mapping[Check, Outcome]) -> tuple[Check, ...]:
    """The checks without those whose question another host has answered."""
    checks = tuple(checks)
    if not any(check.question and check not in outcomes for check in checks):
        return checks  # most lists of checks: nobody looks through all outcomes for these
    answered = {check.question for check in outcomes if check.question}
    return tuple(check for check in checks if check in outcomes or check.question not in answered)


@dataclass(frozen=True)
class Hop:
    """One step of a path: `source` asks `target`; `what` is asked, in a few words."""

    source: str
    target: str
    what: str
    checks: tuple[Check, ...]

    @property
    def hosts(self) -> frozenset[str]:
        """Every host that takes part."""
        return frozenset({self.source, self.target, *(check.host for check in self.checks)})


@dataclass(frozen=True)
class CheckedPath:
    """One way through the site.

    Attributes:
        kind: What it is for.
        name: For people; no two paths of a site have the same.
        hops: In the order in which a request meets them.
        about: Names by which an operator asks for it, in lower case.
        service: Of the kind `request`: the name of the service.
        guest: Of the kinds `agent` and `stack`: the Docker host.
        stack: Of the kind `stack`: the deployed stack.
    """

    kind: Kind
    name: str
    hops: tuple[Hop, ...]
    about: frozenset[str] = frozenset()
    service: str = ""
    guest: str = ""
    stack: str = ""

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks of the path, each once."""
        return checks_of(self.hops)

    @property
    def hosts(self) -> frozenset[str]:
        """Every host that takes part."""
        return frozenset(host for hop in self.hops for host in hop.hosts)


def checks_of(hops: Iterable[Hop]) -> tuple[Check, ...]:
    """All checks of these hops, each once."""
    return tuple(dict.fromkeys(check for hop in hops for check in hop.checks))


@dataclass(frozen=True)
class Findings:
    """What a run brought back. `silent`: hosts that could not be asked, and why."""

    outcomes: Sequence[Outcome]
    silent: Mapping[str, str] = field(default_factory=dict)

    def by_check(self) -> dict[Check, Outcome]:
        """Outcomes by their check."""
        return {outcome.check: outcome for outcome in self.outcomes}


@dataclass(frozen=True)
class WalkedHop:
    """One hop as it was found, with its lowest fault; None where all is well."""

    hop: Hop
    state: HopState
    fault: Outcome | None


@dataclass(frozen=True)
class WalkedPath:
    """One path as it was found. `cause`: the fault of its first broken hop, None if all is well."""

    path: CheckedPath
    state: State
    cause: Outcome | None
    hops: tuple[WalkedHop, ...]


@dataclass(frozen=True)
class RootCause:
    """One fault that no other explains: `outcome` tells it.

    `seen_by` are the hosts that found it, that of `outcome` among them; `breaks` the names of the
    paths that it stops.
    """

    outcome: Outcome
    seen_by: tuple[str, ...]
    breaks: tuple[str, ...]


def no_answer(host: str, reason: str) -> Outcome:
    """The outcome of a host that could not be asked."""
    return Outcome(Check(host, "reach", "its own checks", (), target=host), reason)


def lowest(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The fault of the lowest layer, of several the first; None where there is no fault."""
    return min((outcome for outcome in outcomes if outcome.fault), key=_rank, default=None)


def walk(paths: Iterable[CheckedPath], findings: Findings) -> tuple[WalkedPath, ...]:
    """Each path as these findings show it, in order."""
    outcomes = findings.by_check()
    return tuple(_walk(path, outcomes, findings.silent) for path in paths)


def causes(
    walked: Sequence[WalkedPath], silent: Mapping[str, str], places: Mapping[Check, int]
) -> tuple[RootCause, ...]:
    """The causes over all paths that were walked, the first one to fix first.

    On each path it is the first broken hop's lowest fault; over all paths the causes are ordered
    by layer, since a lower one explains a higher one across paths, too: a CA that stopped
    explains a certificate that expired elsewhere. A fault of a guard explains no other
    fault, and comes last.

    Args:
        walked: what `walk` gives.
        silent: hosts that could not be asked, and why.
        places: the place of each check in the order of the site's checks.
    """
    faults: list[tuple[CheckedPath | None, Outcome]] = [
        (report.path, report.cause) for report in walked if report.cause is not None
    ]
    causing = {outcome.check.host for _, outcome in faults if outcome.check.layer == "reach"}
    on_paths = {host for report in walked for host in report.path.hosts} if silent else set()
    untold = [no_answer(host, why) for host, why in silent.items() if host in on_paths - causing]
    return _grouped([*((None, outcome) for outcome in untold), *faults], places)


def warnings(walked: Iterable[WalkedPath], outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """The outcomes of checks on these paths that found what will be a fault."""
    on_paths = {check for report in walked for check in report.path.checks}
    return tuple(outcome for outcome in outcomes if outcome.warning and outcome.check in on_paths)


def _walk(
    path: CheckedPath, outcomes: Mapping[Check, Outcome], silent: Mapping[str, str]
) -> WalkedPath:
    hops: list[WalkedHop] = []
    cause: Outcome | None = None
    broken = False
    for number, hop in enumerate(path.hops, 1):
        fault, state = _judge(hop, outcomes, silent)
        if state == "broken" and broken:
            state = "follows"
        elif state == "broken":
            # What a client sees at the end tells of an earlier hop, where that cannot be seen.
            at_the_end = path.kind == "request" and number == len(path.hops)
            if cause is None or not (at_the_end and _is_seen_from(hop.source, fault)):
                cause = fault
            broken = True
        elif state == "unknown" and cause is None:
            cause = fault
        hops.append(WalkedHop(hop, state, fault))
    hidden = any(hop.state == "unknown" for hop in hops)
    # A request that arrived as a whole is well, even if a host on its way cannot be asked.
    arrived = path.kind == "request" and hops[-1].state == "ok"
    state_of_path: State = "broken" if broken else "unknown" if hidden and not arrived else "ok"
    if state_of_path == "ok":
        cause = None
    return WalkedPath(path, state_of_path, cause, tuple(hops))


def _is_seen_from(source: str, fault: Outcome | None) -> bool:
    """Whether it is what a host sees of others."""
    return fault is not None and fault.check.host == source != fault.check.target


def _judge(
    hop: Hop, outcomes: Mapping[Check, Outcome], silent: Mapping[str, str]
) -> tuple[Outcome | None, HopState]:
    """The hop's lowest fault, and its state by itself.

    A hop whose checks all pass is well, even if a host on it does not let the operator in. What one
    host does not tell and another one does is not missing; and what those that are asked need for
    an answer counts where none of them gives one.
    """
    answered = {check.question for check in hop.checks if check.question and check in outcomes}
    checks = tuple(check for check in hop.checks if check.question or not answered)
    observed = [outcomes[check] for check in checks if check in outcomes]
    spared = [c for c in checks if c not in outcomes and c.question in answered]
    is_broken = any(outcome.fault for outcome in observed)
    if not is_broken and len(observed) + len(spared) == len(checks):
        return None, "ok"
    subjects = {check.target for check in checks if check.target != check.host}
    needed = hop.hosts - ({check.host for check in spared} - subjects)
    not_asked = [no_answer(host, silent[host]) for host in sorted(needed & silent.keys())]
    return lowest([*not_asked, *observed]), "broken" if is_broken else "unknown"


def _rank(outcome: Outcome) -> int:
    return LAYERS.index(outcome.check.layer)


_Groups = dict[tuple[str, str, str], list[tuple[CheckedPath | None, Outcome]]]
_NAMES = "names_resolve"
"""The check that asks a host's own resolver for a name."""


def _grouped(
    faults: Sequence[tuple[CheckedPath | None, Outcome]], places: Mapping[Check, int]
) -> tuple[RootCause, ...]:
    """Each fault once, with all who saw it and all that it breaks; the first cause first."""
    groups: _Groups = {}
    for path, outcome in faults:
        groups.setdefault(_sameness(outcome), []).append((path, outcome))
    groups = _names_together(groups)

    def place(outcome: Outcome) -> int:
        return places.get(outcome.check, -1)

    def rank(group: Sequence[tuple[CheckedPath | None, Outcome]]) -> tuple[bool, int, int]:
        guards_only = all(path is not None and path.kind == "guard" for path, _ in group)
        return guards_only, _rank(group[0][1]), min(place(outcome) for _, outcome in group)

    return tuple(
        RootCause(
            outcome=_together([outcome for _, outcome in group], place),
            seen_by=tuple(dict.fromkeys(outcome.check.host for _, outcome in group)),
            breaks=tuple(dict.fromkeys(path.name for path, _ in group if path is not None)),
        )
        for group in sorted(groups.values(), key=rank)
    )


def _names_together(groups: _Groups) -> _Groups:
    """The same, with wrong answers about several names of one host as one fault.

    They have one cause, its resolver or the records; and so has what other hosts say of the same
    names.
    """
    together: _Groups = {}
    first_of: dict[str, tuple[str, str, str]] = {}  # by host, where its wrong names are
    for sameness, group in groups.items():
        if sameness[1] != _NAMES:
            together[sameness] = group
            continue
        hosts = dict.fromkeys(outcome.check.host for _, outcome in group)
        place, *others = dict.fromkeys(first_of[host] for host in hosts if host in first_of) or (
            sameness,
        )
        together.setdefault(place, []).extend(group)
        for other in others:
            together[place] += together.pop(other)
        for _, outcome in together[place]:
            first_of[outcome.check.host] = place
    return together


def _together(outcomes: Sequence[Outcome], place: Callable[[Outcome], int]) -> Outcome:
    """The first of them; where they are of several names, with what was found of each."""
    ordered = sorted(outcomes, key=place)
    first = ordered[0]
    if first.check.function != _NAMES:
        return first
    texts = dict.fromkeys(outcome.fault for outcome in ordered)
    return replace(first, fault=" ".join(texts))


def _sameness(outcome: Outcome) -> tuple[str, str, str]:
    """Equal for one fault as several hosts see it.

    Units, ways in, and files of hosts say the same of themselves: there the host and its hop count.
    """
    check = outcome.check
    of_itself = check.layer == "certificate" and check.target == check.host
    if check.layer in ("reach", "service") or of_itself:
        return check.layer, check.function, check.title
    return check.layer, check.function, outcome.fault
