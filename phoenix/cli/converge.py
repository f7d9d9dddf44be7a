"""Change the site: pyinfra under the site's lock, followed live, logged, and summed up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import typer
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.text import Text

from phoenix.cli import exits, output, project, tables
from phoenix.cli.exits import CommandError, StoppedError
from phoenix.cli.observe_hosts import OBSERVE
from phoenix.cli.progress import Follower, follow
from phoenix.cli.targets import Work
from phoenix.cli.undeclared import asked_in_run, of_run, print_undeclared, remember
from phoenix.declaration import file_digests
from phoenix.derived.components import component_hosts, in_order
from phoenix.health.observation import LEFT
from phoenix.health.undeclared import Undeclared
from phoenix.net.ssh_greeting import answers
from phoenix.proxmox.moving import STOPPING
from phoenix.runs import lock
from phoenix.runs.history import DEPLOY as HISTORY
from phoenix.runs.history import REFUSED, Refusal
from phoenix.runs.logs import Log, run_log
from phoenix.runs.process import Finished, Request, run
from phoenix.runs.process import StoppedError as RunStoppedError
from phoenix.runs.results import (
    CONNECT,
    NOT_DONE,
    PROVEN,
    VERDICT,
    Failure,
    Outcome,
    TakenOver,
    component_of,
    first_cause_of,
    title_of,
)
from phoenix.site.addressing import routed_networks

_MAX_OTHERS = 12


class HostSummary(BaseModel):
    """What a run did on one host: numbers of steps, and the steps that changed something."""

    host: str
    outcome: Outcome
    steps: int
    changed: list[str]


class Summary(BaseModel):
    """What a command did to the site.

    `seconds`: wall time. `log`: the file with pyinfra's own words. `verified`: the checks
    of what it touched were made at its end, and passed. `notes`: what a person should know; where
    the command is about that, all that the changing steps said. `taken_over`: files that Phoenix
    did not write and whose place it took. `undeclared`: what runs and is declared nowhere, where
    the whole platform was converged; no sync removes it.
    """

    model_config = ConfigDict(extra="forbid")

    site: str
    command: str
    ok: bool
    verified: bool
    seconds: float
    hosts: list[HostSummary]
    failures: list[Failure]
    first_cause: Failure | None
    notes: list[str]
    taken_over: list[TakenOver]
    log: str
    undeclared: Undeclared = Undeclared()


@dataclass
class Session:
    """Calls of pyinfra by one command, under one lock and with one log."""

    site: project.Project
    owner: lock.Owner
    follower: Follower
    log: Log
    path: Path
    began: float = field(default_factory=time.monotonic)
    runs: list[Finished] = field(default_factory=list)

    def call(self, work: Work) -> Finished:
        """One call, followed and logged; the run locks the site on the hypervisor as well."""
        try:
            self.runs.append(run(self._request(work), listen=self.follower, log=self.log))
        except RunStoppedError as error:
            self.runs.append(error.finished)
            raise
        return self.runs[-1]

    @contextmanager
    def hold_lock(self) -> Iterator[bool]:
        """Keep the hypervisor's lock between calls too, by a run that does nothing else.

        Yields whether the site is free for us; where it is not, the summary says why.
        """
        work = Work((), (self.site.site.hypervisor.name,), environment={lock.KEEP: "1"})
        lock_answered = threading.Event()
        ended: list[Finished] = []
        read_end, write_end = os.pipe()

        def hear(event: Mapping[str, object]) -> None:
            if event["event"] == "locked":
                lock_answered.set()

        def keep() -> None:
            try:
                ended.append(run(self._request(work), listen=hear, stdin=read_end))
            finally:
                lock_answered.set()

        keeper = threading.Thread(target=keep)
        keeper.start()
        try:
            lock_answered.wait()
            name = self.site.site.hypervisor.name
            refused = [failed for failed in ended if failed.returncode != 0]
            if any(name in failed.course.unreachable for failed in refused):
                refused = []  # each run warns of it; a site without its hypervisor can be fixed
            self.runs += refused
            yield not refused
        finally:
            os.close(write_end)  # the run that keeps the lock ends with its input
            keeper.join()
            os.close(read_end)

    def _request(self, work: Work) -> Request:
        return self.site.request(
            "deploys/lock.py",
            *work.deploys,
            limit=work.limit,
            data=work.data,
            environment={
                lock.OWNER: self.owner.model_dump_json(),
                file_digests.VARIABLE: self.site.file_digests,
                **work.environment,
            },
        )

    def summary(self, *, notes: bool | Collection[str] = False) -> Summary:
        """What all calls did together, with what their steps said where `notes` are wanted."""
        summary = summarise(self.site.name, self.owner.command, self.runs, self.began, self.path)
        for finished in filter(asked_in_run, self.runs):
            undeclared = of_run(self.site, finished)
            remember(self.site, undeclared)
            summary = summary.model_copy(update={"undeclared": undeclared})
        messages = _notes(self.runs, None if notes is True else notes) if notes else []
        return summary.model_copy(update={"notes": [*summary.notes, *messages]})


@contextmanager
def session(site: project.Project, command: str, *, quiet: bool) -> Iterator[Session]:
    """Hold the site's lock, and keep a log, while a command calls pyinfra.

    Args:
        site: the project and its inventory.
        command: what the operator typed after `phoenix`.
        quiet: show no progress.

    Yields:
        The session, by which the command calls pyinfra.

    Raises:
        CommandError: another run is at work.
        StoppedError: Ctrl-C ended it.
    """
    notes, now = output.notes(), datetime.now(UTC)
    owner = lock.this_process(f"phoenix {command}")
    logs = run_log(site.state / "runs", command.split()[0], now, site.known_secrets())
    try:
        with (
            lock.hold(site.state / "lock", owner) as died,
            logs as (path, log),
            follow(notes, quiet=quiet) as follower,
        ):
            if died is not None and not quiet:
                notes.print(f"taking over from a run that died: {died}", markup=False)
            log.write(f"{now:%Y-%m-%d %H:%M:%S} UTC: phoenix {command}\n")
            calls = Session(site, owner, follower, log, path)
            try:
                yield calls
            except KeyboardInterrupt:
                message = interrupted(calls.runs, command, path)
                log.write(f"{message}\n")
                raise StoppedError(message) from None
    except lock.LockedError as error:
        _tell_refused(site, owner, str(error))
        raise CommandError(str(error)) from None


def _tell_refused(site: project.Project, owner: lock.Owner, reason: str) -> None:
    """Have the site's history tell of a run that this machine's lock refused, where it answers."""
    refusal = Refusal(owner=owner, reason=reason).model_dump_json()
    hypervisor = (site.site.hypervisor.name,)
    run(site.request(HISTORY, limit=hypervisor, dry=True, environment={REFUSED: refusal}))


def converge(
    site: project.Project,
    planned: Sequence[Work],
    command: str,
    *,
    quiet: bool,
    notes: bool | Collection[str] = False,
) -> Summary:
    """Run pyinfra once for each part of the work.

    After a part that fails the others go on, and find out themselves whether they need it. After a
    part that is refused as a whole, as by the site's lock or a setting, none follows; nor after a
    failed one that decides (see `Work`).

    From a hypervisor without guests the guests come first, since pyinfra connects to every host
    before it deploys anything.

    Args:
        site: the project and its inventory.
        planned: the calls of pyinfra, in order.
        command: what the operator typed after `phoenix`: its first word names the log.
        quiet: show no progress.
        notes: the summary holds what the steps that changed something said of it; of these deploy
            files alone (as `moves`), where they are named.

    Returns:
        What all calls did together; `ok` is false where one failed.

    Raises:
        CommandError: another run is at work.
    """
    with session(site, command, quiet=quiet) as calls:
        works = _with_guests_first(site, planned, quiet=quiet)
        with calls.hold_lock() if len(works) > 1 else nullcontext(enter_result=True) as free:
            for work in _looking(works) if free else ():
                if work.rests_on_all and any(run.returncode != 0 for run in calls.runs):
                    break
                finished = calls.call(work)
                if finished.returncode != 0 and (work.decides or _was_refused(finished)):
                    break
        return calls.summary(notes=notes)


def _was_refused(finished: Finished) -> bool:
    """Whether a run ended before its first step although hosts answered: so would the next one."""
    return bool(finished.course.connected) and not finished.course.steps


def _looking(works: Sequence[Work]) -> list[Work]:
    """The calls, of which one looks; after a move the last, when the old copy has gone."""
    looking = [with_undeclared(work) for work in works]
    if looking == list(works) or not any(work.rests_on_all for work in works):
        return looking
    return [*works, Work((OBSERVE,), (), {"observe": LEFT}, rests_on_all=True)]


def with_undeclared(work: Work) -> Work:
    """A call for the whole platform also looks for what runs and is not declared."""
    if work.deploys != ("deploys/all.py",) or work.limit:
        return work
    return replace(work, deploys=(OBSERVE, *work.deploys), data={**work.data, "observe": LEFT})


def _with_guests_first(
    site: project.Project, planned: Sequence[Work], *, quiet: bool
) -> list[Work]:
    whole = any(work.deploys == ("deploys/all.py",) and not work.limit for work in planned)
    parts = ["networks"] if component_hosts("networks", site.site) else []
    parts += ["proxmox"] if site.settings.proxmox.api != "off" else []
    if not whole or not parts:
        return list(planned)
    # A guest behind a jump host, or with a name of ~/.ssh/config, cannot be tried directly: where
    # Phoenix creates guests, the run itself tries it.
    indirect = [guest for guest in site.site.guests if guest.login.jump or guest.login.name]
    behind = {network.name for network in routed_networks(site.site)}
    hidden = "proxmox" in parts and bool(indirect)
    hidden |= any(guest.login.jump and guest.managed.network in behind for guest in indirect)
    guests = [guest for guest in site.site.guests if guest not in indirect]
    ports = [guest.ssh_port for guest in guests]
    with ThreadPoolExecutor(max_workers=len(guests) or 1) as pool:
        heard = list(pool.map(answers, [str(guest.address) for guest in guests], ports))
    silent = [guest for guest, answered in zip(guests, heard, strict=True) if not answered]
    if not silent and not hidden:
        return list(planned)
    for guest in () if quiet else silent:
        output.notes().print(
            f"{guest.name} does not answer by SSH at {guest.address}:{guest.ssh_port}, so the "
            "hypervisor comes first: its bridges and guests",
            markup=False,
        )
    deploys = tuple(part.deploy for part in in_order(parts))
    word = {STOPPING: "1"} if any(STOPPING in work.environment for work in planned) else {}
    first = Work(deploys, (site.site.hypervisor.name,), {}, word)
    # Guests that started have had their time by then.
    waited = {"proxmox_ssh_seconds": 1}
    return [first, *(replace(work, data={**work.data, **waited}) for work in planned)]


def summarise(
    site: str, command: str, runs: Sequence[Finished], began: float, log: Path
) -> Summary:
    """What several calls of pyinfra did together; `began` is of `time.monotonic`."""
    courses = [run.course for run in runs]
    hosts = []
    for name in dict.fromkeys(name for course in courses for name in course.hosts):
        outcomes = [course.outcome(name) for course in courses]
        changed = [step for course in courses for step, host in course.changed if host == name]
        steps = sum(name in step.outcomes for course in courses for step in course.steps)
        worst = next((o for o in ("failed", "changed", "unchanged") if o in outcomes), None)
        if worst is not None:
            hosts.append(HostSummary(host=name, outcome=worst, steps=steps, changed=changed))
    failures = [failure for course in courses for failure in course.failures]
    first = first_cause_of(courses)
    last = runs[-1] if runs else None
    if (
        first is None and last is not None and last.returncode != 0
    ):  # it ended before it had any result
        first = Failure(host="", step="", reason=list(last.last_lines))
    return Summary(
        site=site,
        command=command,
        ok=all(run.returncode == 0 for run in runs),
        verified=all(run.returncode == 0 for run in runs)
        and any(sum(course.values.get(PROVEN, {}).values()) > 0 for course in courses),
        seconds=round(time.monotonic() - began, 1),
        hosts=hosts,
        failures=failures,
        first_cause=first,
        notes=list(dict.fromkeys(line for course in courses for line in course.told)),
        taken_over=[file for course in courses for file in course.taken_over],
        log=str(log),
    )


def interrupted(runs: Sequence[Finished], command: str, log: Path) -> str:
    """What an interrupted command did until then, and how to go on."""
    changed = [change for run in runs for change in run.course.changed]
    finished = sum(bool(step.outcomes) for run in runs for step in run.course.steps)
    lines = [f"interrupted: {output.count(finished, 'step')} had ended, "
             + (f"{output.count(len(changed), 'change')} stay:" if changed
                else "and nothing was changed")]  # fmt: skip
    lines += [f"  {host}: {title_of(step)}" for step, host in changed]
    lines += [
        f"  under way on {', '.join(step.hosts)}: {step.title} (it may have begun)"
        for run in runs
        for step in run.course.steps[-1:]
        if not step.outcomes
    ]
    return "\n".join([*lines, f"`phoenix {command}` again goes on from there; log: {log}"])


def _notes(runs: Sequence[Finished], of: Collection[str] | None) -> list[str]:
    return [
        f"{host}: {line}"
        for run in runs
        for name, host in run.course.changed
        if of is None or component_of(name) in of
        for line in run.course.details.get(name, {}).get(host, ())
    ]


def finish(summary: Summary, as_json: bool) -> None:
    """Show a summary, and end the verb with exit code 1 where something failed."""
    output.emit(as_json, summary, lambda console: print_summary(console, summary))
    if not summary.ok:
        raise typer.Exit(exits.ERROR)


def print_summary(console: Console, summary: Summary) -> None:
    """The summary for a person: hosts, then the first cause of a failure, then the log."""
    styles = {"changed": "green", "unchanged": "", "failed": "bold red"}
    rows: list[tuple[tables.Cell, ...]] = []
    for host in summary.hosts:
        word = Text(host.outcome, style=styles[host.outcome])
        names = [step.rpartition("|")[2].strip() for step in host.changed]
        names_shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
        rows.append((host.host, word, str(host.steps), names_shown))
    if rows:
        tables.show(console, "hosts", ["host", "outcome", "steps", "changed"], rows)
    print_undeclared(console, summary.undeclared)
    for line in summary.notes:
        console.print(f"  {line}", markup=False)
    for line in _taken_over(summary.taken_over):
        console.print(line, markup=False)
    if summary.first_cause is not None:
        print_cause(console, summary.first_cause)
    for line in _others(summary):
        console.print(line, markup=False)
    total = sum(len(host.changed) for host in summary.hosts)
    end = "FAILED"
    if summary.ok:
        end = "converged" if summary.command.startswith("phoenix sync") else "done"
        end += " and verified" if summary.verified else ""
        if end == "converged":
            console.print("not verified: no check is about this alone; `phoenix doctor` makes all")
    text = f"{end} in {summary.seconds:.0f} s, {output.count(total, 'change')}; log: {summary.log}"
    console.print(text, markup=False)


def _taken_over(files: Sequence[TakenOver]) -> list[str]:
    """One line for each place, whatever the number of its hosts."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for file in files:
        hosts.setdefault((file.path, file.kept), []).append(file.host)
    return [
        f"{path} was not of Phoenix: kept as {copy} on {', '.join(names)}"
        if copy
        else f"{path} is no longer read on {', '.join(names)}"
        for (path, copy), names in hosts.items()
    ]


def _others(summary: Summary) -> list[str]:
    """What else failed, a line a step: not what a failed step stopped, nor the verdicts."""
    hosts: dict[tuple[str, str], list[str]] = {}
    cause = summary.first_cause
    same: list[str] = []
    for failure in summary.failures:
        reason = next((line.strip() for line in failure.reason if line.strip()), "no reason given")
        follows = reason.startswith(NOT_DONE) or title_of(failure.step) == VERDICT
        if failure == cause or follows:
            continue
        if cause and (failure.step, failure.reason) == (cause.step, cause.reason):
            same.append(failure.host)
        else:
            hosts.setdefault((title_of(failure.step), reason), []).append(failure.host)
    lines = [f"  {', '.join(dict.fromkeys(names))}: {step}: {reason}"
             for (step, reason), names in hosts.items()]  # fmt: skip
    if same:
        lines.insert(0, f"  {', '.join(dict.fromkeys(same))}: the same")
    left = len(lines) - _MAX_OTHERS
    if left > 0:
        lines = [*lines[:_MAX_OTHERS], f"  and {left} more: see the log"]
    return ["failed as well:", *lines] if lines else []


def print_cause(console: Console, cause: Failure) -> None:
    """The first cause of a failure, before anything else that went wrong."""
    where = f"{cause.host}: {title_of(cause.step)}" if cause.host else "the run"
    if cause.step == CONNECT:  # of one host or of several: the reason names each
        where = "no connection by SSH"
    console.print(Text(f"first cause: {where}", style="bold red"))
    for line in cause.reason:
        console.print(f"  {line}", markup=False)
