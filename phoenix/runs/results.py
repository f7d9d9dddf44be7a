"""The course of one pyinfra run, put together from its events: pure, live and afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from phoenix.net.ssh_faults import explained

Outcome = Literal["changed", "unchanged", "failed"]
FIRST_CAUSE = "first_cause"
"""The value that `deploys/verify.py` tells: the host whose check found the first cause."""
PROVEN = "proven"
"""The value that `deploys/verify.py` tells: how many checks each host made."""
NOT_DONE = "not done: "
"""Begins the reason of a step that an earlier failure on its host has stopped."""
VERDICT = "Verify: verdict"
"""The step that tells what the checks found."""
CONNECT = "connect"
"""The step of a failure to connect: no step of a deploy."""
_ERROR = re.compile(r"--> (?:pyinfra|Operation) error(?: in \S+ line \d+)?: (.*)$")
_OF_A_HOST = re.compile(r"\s+\[[^\]]+\]\s")
"""A line that a host wrote meanwhile: it belongs to no error of the run."""
_COURSE = re.compile(r"\s*(?:--> )?(?:Loading\b|Disconnecting\b)")
"""Lines of pyinfra that tell how far it is, and never why it ended."""
_NOT_REASONS = ("Success", "No changes", "Skipped", "Connected", "Ready:", "noop:", "waiting ")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Failure(_Model):
    """One host's failure: at which step, and in the host's or checker's own words."""

    host: str
    step: str
    reason: list[str]


class Step(_Model):
    """One operation of the run on `hosts`. `outcomes` by host; one still at work has none."""

    name: str
    hosts: list[str] = Field(default_factory=list)
    outcomes: dict[str, Outcome] = Field(default_factory=dict)

    @property
    def component(self) -> str:
        """The deploy file that it belongs to: `deploys/base.py | Base: packages` is `base`."""
        return component_of(self.name)

    @property
    def title(self) -> str:
        """The step's name without its files."""
        return title_of(self.name)


class TakenOver(_Model):
    """A file that Phoenix did not write and whose place it took.

    `kept` is where it is on the host; empty where it stays at `path` and is no longer read.
    """

    host: str
    path: str
    kept: str


class Course(_Model):
    """What happened in a run, in order. Give it every event by `add`."""

    steps: list[Step] = Field(default_factory=list)
    unreachable: dict[str, str] = Field(default_factory=dict)
    addresses: dict[str, str] = Field(default_factory=dict)
    connected: list[str] = Field(default_factory=list)
    failures: list[Failure] = Field(default_factory=list)
    values: dict[str, dict[str, Any]] = Field(default_factory=dict)
    details: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    unknown: dict[str, dict[str, str]] = Field(default_factory=dict)
    failing: dict[str, list[str]] = Field(default_factory=dict)
    named: dict[str, dict[str, str]] = Field(default_factory=dict)
    taken_over: list[TakenOver] = Field(default_factory=list)
    told: list[str] = Field(default_factory=list)
    log: list[str] = Field(default_factory=list, exclude=True)

    def add(self, event: Mapping[str, Any]) -> None:
        """Add one event of `phoenix.runs.reporter`.

        Args:
            event: its kind under `event`, and the fields of that kind; other kinds are ignored.
        """
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def outcome(self, host: str) -> Outcome | None:
        """The worst that happened on a host; None where it took no part."""
        outcomes = {step.outcomes[host] for step in self.steps if host in step.outcomes}
        if host in self.unreachable or any(failure.host == host for failure in self.failures):
            return "failed"
        return next((outcome for outcome in ("changed", "unchanged") if outcome in outcomes), None)

    @property
    def hosts(self) -> list[str]:
        """Every host that took part or should have."""
        hosts = [*self.connected, *self.unreachable]
        return list(dict.fromkeys(hosts))

    @property
    def changed(self) -> list[tuple[str, str]]:
        """(step, host) of every change."""
        return [
            (step.name, host)
            for step in self.steps
            for host, outcome in step.outcomes.items()
            if outcome == "changed"
        ]

    @property
    def first_cause(self) -> Failure | None:
        """The failure that explains the others best.

        An unreachable guest explains what fails behind it: the reason names all such guests, by
        cause, each cause with its fix. Else it is the first failure. Among verdicts of one step it
        is that of the host which found the first cause.
        """
        return first_cause_of([self])

    @property
    def first_failure(self) -> Failure | None:
        """The step that failed first; of a verdict, the host whose check found the first cause."""
        if not self.failures:
            return None
        step = self.failures[0].step
        of_step = [failure for failure in self.failures if failure.step == step]
        found_by = self.values.get(FIRST_CAUSE, {}).values()
        of_cause = [failure for failure in of_step if failure.host in found_by]
        return (of_cause or of_step)[0]

    # -- events ------------------------------------------------------------------------------------

    def _on_connect(self, event: Mapping[str, Any]) -> None:
        if event["ok"]:
            self.connected.append(event["host"])
        else:
            self.unreachable[event["host"]] = event["reason"]
            self.addresses[event["host"]] = event.get("address", "")

    def _on_step(self, event: Mapping[str, Any]) -> None:
        self.steps.append(Step(name=event["step"], hosts=event["hosts"]))
        for host in event["hosts"]:  # the execution sends them again
            self.details.get(event["step"], {}).pop(host, None)

    def _on_step_done(self, event: Mapping[str, Any]) -> None:
        for outcome in ("changed", "unchanged"):
            for host in event[outcome]:
                self._step(event["step"], host).outcomes[host] = outcome

    def _on_host_failed(self, event: Mapping[str, Any]) -> None:
        self._step(event["step"], event["host"]).outcomes[event["host"]] = "failed"
        lines = self.details.get(event["step"], {}).get(event["host"], [])
        reason = [line for line in lines if line.strip() and not _is_progress(line)]
        self.failures.append(Failure(host=event["host"], step=event["step"], reason=reason[-40:]))

    def _on_value(self, event: Mapping[str, Any]) -> None:
        self.values.setdefault(event["name"], {})[event["host"]] = event["data"]

    def _on_unknown(self, event: Mapping[str, Any]) -> None:
        self.unknown.setdefault(event["step"], {})[event["host"]] = event["reason"]

    def _on_would_fail(self, event: Mapping[str, Any]) -> None:
        self.failing.setdefault(event["step"], []).append(event["host"])

    def _on_named(self, event: Mapping[str, Any]) -> None:
        self.named.setdefault(event["operation"], {})[event["host"]] = event["step"]

    def _on_told(self, event: Mapping[str, Any]) -> None:
        self.told.append(f"{event['host']}: {event['text']}")

    def _on_taken_over(self, event: Mapping[str, Any]) -> None:
        self.taken_over.append(TakenOver(**{k: v for k, v in event.items() if k != "event"}))

    def _on_line(self, event: Mapping[str, Any]) -> None:
        self.log.append(event["text"])
        step, host, text = event["step"], event["host"], event["text"]
        if step and host and not _is_progress(text):
            self.details.setdefault(step, {}).setdefault(host, []).extend(text.split("\n"))

    def _step(self, name: str, host: str) -> Step:
        """The step of a host: hosts of a batch begin it one after the other."""
        named = [step for step in reversed(self.steps) if step.name == name]
        for step in named:
            if host in step.hosts:
                return step
        if named:
            return named[0]
        self.steps.append(Step(name=name))
        return self.steps[-1]


def first_cause_of(courses: Iterable[Course]) -> Failure | None:
    """The first cause of several runs of one command; see `Course.first_cause`.

    Hosts that cannot be reached stand in the order of their names: that in which they failed is
    another one in each run.
    """
    every = list(courses)
    unreachable = {host: why for course in every for host, why in course.unreachable.items()}
    if unreachable:
        unreachable = dict(sorted(unreachable.items()))
        addresses = {
            host: address for course in every for host, address in course.addresses.items()
        }
        reason = explained(unreachable, addresses)
        return Failure(host=next(iter(unreachable)), step=CONNECT, reason=reason)
    return next((course.first_failure for course in every if course.first_failure), None)


def component_of(name: str) -> str:
    """The last deploy file in a step's name, without path and ending; empty if there is none."""
    files = [part.strip() for part in name.split("|") if part.strip().endswith(".py")]
    return files[-1].rpartition("/")[2].removesuffix(".py") if files else ""


def title_of(name: str) -> str:
    """A step's own name."""
    return name.rpartition("|")[2].strip()


def _is_progress(line: str) -> bool:
    return line.startswith(_NOT_REASONS) or line.startswith("Error: executed ")


def last_words(lines: Iterable[str], most: int = 12) -> list[str]:
    """Why a run ended before it had any result: pyinfra's error, else the end of its log."""
    last_lines = [line.rstrip() for line in lines if line.strip() and not _COURSE.match(line)]
    for number, line in enumerate(last_lines):
        if match := _ERROR.search(line):
            more = last_lines[number + 1 :]
            return [match[1], *(line for line in more if not _OF_A_HOST.match(line))]
    return last_lines[-most:]
