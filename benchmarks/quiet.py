"""Two hours of normal work on a site that watches itself: no alarm, and what the watching costs.

A long measure. The watch has the times of a real site (a round a minute). Every certificate is
renewed, the site is backed up and synced, the CA's keys and secrets are replaced, and each host is
rebooted, one after the other with pauses. Whatever the hook of the alarms gets is a false alarm.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from docker.errors import DockerException  # type: ignore[import-untyped]

from benchmarks.bench_site import execute
from benchmarks.commands import phoenix
from benchmarks.report import table
from benchmarks.watched import SETTINGS, Watched, start_hook, watching
from lab.progress import say
from lab.settings import LabError
from lab.state import LabState
from lab.up import up
from phoenix.components.watch import files as watch
from phoenix.derived.certificates import certificates
from phoenix.site.ports import WATCH
from phoenix.site.secret_names import DASHBOARD_PASSWORD, ISSUANCE_KEY

INTERVAL = 60
"""Seconds between two rounds, as a site has it that says nothing."""
OF_A_CORE = 0.01
"""So much of one core the watching may cost on a host."""
IDLE = 1 / 6
"""In this part of the time nothing is done: what goes over a card then is the watch's at most."""
COUNTED = 1 / 2
"""So long the cost is counted."""
_POLL_SECONDS = 5
_REBOOT_SECONDS = 180
_TABLE = "phoenix_bench"


class Step(NamedTuple):
    """One piece of normal work."""

    name: str
    do: Callable[[], Any]


@dataclass
class Record:
    """What was seen, as lines of JSON in a file from the first moment on, if one is named."""

    file: Path | None
    began: float = field(default_factory=time.time)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Note what happened now; `minute` counts from the beginning."""
        now = time.time()
        minute = round((now - self.began) / 60, 2)
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        line = {"kind": kind, "at": at, "minute": minute, **fields}
        self.lines.append(line)
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(json.dumps(line) + "\n")
        say(json.dumps(line)[:400])
        return line


def steps(lab: LabState, watched: Watched) -> Iterator[Step]:
    """The work, in order: renewals, a backup and syncs first; then rotations and reboots."""

    def typed(*words: str) -> Step:
        run = partial(phoenix, lab, *words, inventory=watched.inventory)
        return Step(f"phoenix {' '.join(words)}", run)

    guests = {watched.names[role]: guest for role, guest in watched.guests.items()}
    for certificate in certificates(watched.site):
        renew = f"phoenix-acme renew {certificate.name}"
        yield Step(
            f"{certificate.host.name}: {renew}",
            partial(execute, guests[certificate.host.name], renew),
        )
    for holder in dict.fromkeys(
        certificate.host.name for certificate in certificates(watched.site)
    ):
        yield typed("certs", "renew", holder)
    yield typed("sync")
    settings = watched.inventory.parent.parent / SETTINGS
    original = settings.read_text()
    yield Step("a setting is changed", partial(settings.write_text, f"{original}{_SETTING}"))
    yield typed("sync")
    yield Step("and changed back", partial(settings.write_text, original))
    yield typed("sync")
    yield typed("certs", "rotate", "intermediate")
    yield typed("certs", "rotate", "root")
    yield typed("secrets", "rotate", DASHBOARD_PASSWORD)
    yield typed("secrets", "rotate", ISSUANCE_KEY)
    for role, guest in watched.guests.items():
        yield Step(f"reboot of {watched.names[role]}", partial(_reboot, guest))


_SETTING = 'nginx_max_body = "63m"\n'


def measure(*, minutes: int, log: Path | None = None) -> dict[str, Any]:
    """Bring the lab up, let it watch itself, work on it, and put the lab back.

    Args:
        minutes: how long in all; 120 is the goal's.
        log: a file for what is seen, as it comes.

    Returns:
        What was seen, ready for JSON.

    Raises:
        LabError: the lab does not converge.
    """
    lab = up()
    with watching(lab, INTERVAL) as watched:
        # A host that was never heard, and a first round while the run was still at work.
        time.sleep(3 * INTERVAL)
        record = Record(log)
        record.add("begin", minutes=minutes, hosts=list(lab.hosts))
        heard = _Heard(watched, record, len(watched.messages()))
        _work(lab, watched, record, heard, minutes * 60)
    result = {"minutes": minutes, "seen": record.lines}
    record.add("end", goals_met=summary(result)[1])
    return {**result, "seen": record.lines}


@dataclass
class _Heard:
    """Notes each message that comes to the hook."""

    watched: Watched
    record: Record
    count: int
    step: str = "nothing yet"

    def listen_until(self, end: float) -> None:
        """Ask for messages until a moment of `time.time`."""
        while True:
            self.look()
            left = end - time.time()
            if left <= 0:
                return
            time.sleep(min(_POLL_SECONDS, left))

    def look(self) -> None:
        """Ask once."""
        try:
            messages = self.watched.messages()
        except (LabError, DockerException, ValueError):  # it boots
            return
        for message in messages[self.count :]:
            self.record.add("alarm", after=self.step, **message)
        self.count = len(messages)


def _work(lab: LabState, watched: Watched, record: Record, heard: _Heard, seconds: float) -> None:
    """Do everything within the time, and count what the watching costs meanwhile."""
    began = record.began
    cost = _Cost(lab, watched)
    cost.begin()
    heard.listen_until(began + seconds * IDLE)
    record.add("idle", **cost.idle())
    work = list(steps(lab, watched))
    pause = seconds * (1 - IDLE) / (len(work) + 1)  # the last one is followed by one as well
    for number, step in enumerate(work, 1):
        heard.listen_until(began + seconds * IDLE + number * pause - pause / 2)
        if not cost.ended and time.time() - began >= seconds * COUNTED:
            record.add("cost", **cost.end())
        heard.step = step.name
        started = time.time()
        failure = ""
        try:
            step.do()
        except (LabError, DockerException) as error:
            failure = str(error)
        record.add("step", name=step.name, seconds=round(time.time() - started), failure=failure)
        if step.name == f"reboot of {watched.names['hypervisor']}":
            heard.look()
            heard.count = 0  # the place of the hook's messages is empty after a boot
            start_hook(watched.guests["hypervisor"])
    heard.listen_until(began + seconds)
    if not cost.ended:
        record.add("cost", **cost.end())
    record.add("causes", at_the_end=watched.causes())


def _reboot(guest: Any) -> None:
    """Stop a guest and start it, as a reboot does; back when its system is up."""
    guest.restart(timeout=60)
    guest.reload()
    end = time.monotonic() + _REBOOT_SECONDS
    while time.monotonic() < end:
        state = guest.exec_run(["systemctl", "is-system-running"]).output.decode().strip()
        if state in ("running", "degraded"):
            if state == "degraded":
                failed = guest.exec_run(["systemctl", "--failed", "--no-legend", "--plain"])
                raise LabError(f"units have failed:\n{failed.output.decode()}")
            return
        time.sleep(1)
    raise LabError(f"{guest.name} was not up within {_REBOOT_SECONDS} s")


class _Cost:
    """What the watching costs, by the kernel's accounts: of its units, reports and cards."""

    def __init__(self, lab: LabState, watched: Watched) -> None:
        self.lab, self.watched = lab, watched
        self.ended = False
        self.at = 0.0
        self.bytes: dict[str, float] = {}
        self.spent: dict[str, float] = {}

    def begin(self) -> None:
        """Have each run of the watch's programs note its CPU time, and count reports."""
        for guest in self.watched.guests.values():
            execute(guest, ACCOUNT)
        hosts = {name: self.lab.hosts[name] for name in self.watched.names.values()}
        rules = "".join(
            f'add rule inet {_TABLE} {chain} counter comment "{name}"\n'
            for name, address in hosts.items()
            for chain in (f"in ip saddr {address} tcp dport {WATCH}",
                          f"out ip daddr {address} tcp sport {WATCH}")
        )  # fmt: skip
        execute(self.watched.guests["hypervisor"], f"nft -f - <<'END'\n{_CHAINS}{rules}END\n")
        self.at = time.time()
        self.bytes, self.spent = self._cards(), self._cpu()

    def idle(self) -> dict[str, Any]:
        """What went over each host's card a second since then, and the watch's part of a core."""
        seconds = time.time() - self.at
        return {
            "seconds": round(seconds),
            "card_bytes_a_second": _rates(self.bytes, self._cards(), seconds),
            "core": _rates(self.spent, self._cpu(), seconds),
        }

    def end(self) -> dict[str, Any]:
        """What the watch's units and reports have cost on each host; nothing is counted on."""
        seconds = time.time() - self.at
        spent = self._cpu()
        listing = execute(self.watched.guests["hypervisor"], f"nft -j list table inet {_TABLE}")
        reports: dict[str, float] = {}
        for item in json.loads(listing)["nftables"]:
            rule = item.get("rule")
            if rule:
                (counter,) = (word["counter"] for word in rule["expr"] if "counter" in word)
                name = rule["comment"]
                reports[name] = reports.get(name, 0) + counter["bytes"]
        self.ended = True
        for guest in self.watched.guests.values():
            execute(guest, STOP_ACCOUNTING)
        execute(self.watched.guests["hypervisor"], f"nft delete table inet {_TABLE}")
        return {
            "seconds": round(seconds),
            "core": _rates(self.spent, spent, seconds),
            "report_bytes_a_second": _rates(dict.fromkeys(reports, 0), reports, seconds),
        }

    def _cpu(self) -> dict[str, float]:
        """Seconds of CPU of each host's runs since the beginning, and of the watcher's server."""
        return self._each(lambda guest: spent(execute(guest, SPENT)))

    def _cards(self) -> dict[str, float]:
        """Bytes that each host's card has received and sent."""
        ask = "cat /sys/class/net/eth0/statistics/rx_bytes /sys/class/net/eth0/statistics/tx_bytes"
        return self._each(lambda guest: sum(map(int, execute(guest, ask).split())))

    def _each(self, ask: Callable[[Any], float]) -> dict[str, float]:
        return {self.watched.names[role]: ask(guest) for role, guest in self.watched.guests.items()}


def _rates(
    before: Mapping[str, float], after: Mapping[str, float], over: float
) -> dict[str, float]:
    return {name: round((after[name] - before[name]) / over, 6) for name in after}


def spent(text: str) -> float:
    """Seconds of CPU, from what `SPENT` prints.

    Args:
        text: lines as bash's `times` has them, "1m2.345s 0m0.100s"; and one with clock ticks.
    """
    total = 0.0
    for line in text.splitlines():
        for word in line.split():
            if word.isdigit():
                total += int(word) / _TICKS
            else:
                minutes, _, seconds = word.removesuffix("s").partition("m")
                total += 60 * int(minutes) + float(seconds)
    return total


_TICKS = 100
"""A second (proc(5), USER_HZ)."""
_RUN, _TIMES = "/run/systemd/system", "/run/phoenix-bench"
_UNITS = " ".join(
    (watch.TIMER.replace(".timer", ".service"), watch.PAGE_TIMER.replace(".timer", ".service"),
     watch.LOOKS)
)  # fmt: skip
ACCOUNT = f"""set -e
mkdir -p {_TIMES}
cat >{_TIMES}.sh <<'END'
unit=$1
shift
"$@"
code=$?
times >>{_TIMES}/$unit
exit $code
END
for unit in {_UNITS}; do
    [ -e /etc/systemd/system/$unit ] || continue
    start=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/$unit)
    mkdir -p {_RUN}/$unit.d
    cat >{_RUN}/$unit.d/bench.conf <<END
[Service]
ExecStart=
ExecStart=/bin/bash {_TIMES}.sh $unit $start
ReadWritePaths={_TIMES}
END
done
systemctl daemon-reload
"""
SPENT = f"""for file in {_TIMES}/*; do [ ! -e "$file" ] || sed -n 'n;p' "$file"; done
process=$(systemctl show -P MainPID {watch.RECEIVER})
[ "$process" = 0 ] || cut -d ' ' -f 14,15 "/proc/$process/stat"
"""
"""The second line of `times` is of the children; of the watcher's server the kernel tells it."""
STOP_ACCOUNTING = f"""for unit in {_UNITS}; do rm -rf {_RUN}/$unit.d; done
systemctl daemon-reload
rm -rf {_TIMES} {_TIMES}.sh
"""
_CHAINS = f"""add table inet {_TABLE}
add chain inet {_TABLE} in {{ type filter hook input priority -310; }}
add chain inet {_TABLE} out {{ type filter hook output priority -310; }}
"""


def summary(result: Mapping[str, Any]) -> tuple[str, bool]:
    """What was seen, in words, and whether alarms and failures are absent and the cost is met."""
    records: list[dict[str, Any]] = result["seen"]

    def of(kind: str) -> list[dict[str, Any]]:
        return [line for line in records if line["kind"] == kind]

    alarms, work = of("alarm"), of("step")
    failed = [job for job in work if job["failure"]]
    done = f"{len(work)} pieces of work in {result['minutes']} minutes"
    lines = [f"{done}, {len(failed)} failed, {len(alarms)} messages"]
    lines += [
        f"minute {alarm['minute']}: after {alarm['after']}: {alarm['title']}" for alarm in alarms
    ]
    lines += [f"failed: {job['name']}: {job['failure'][-300:]}" for job in failed]
    left = [cause for record in of("causes") for cause in record["at_the_end"]]
    lines += [f"wrong at the end: {cause}" for cause in left]
    costs, idle = of("cost"), of("idle")
    if costs and idle:
        rows = [
            (
                host, f"{100 * part:.2f}", f"{100 * idle[0]['core'][host]:.2f}",
                f"{costs[0]['report_bytes_a_second'][host]:.0f}",
                f"{idle[0]['card_bytes_a_second'][host]:.0f}",
            )
            for host, part in costs[0]["core"].items()
        ]  # fmt: skip
        head = (
            "host", "% of a core", "the same, idle", "reports, bytes/s", "whole card idle, bytes/s",
        )  # fmt: skip
        lines += ["", table(head, rows), ""]
    cheap = bool(costs) and max(costs[0]["core"].values()) < OF_A_CORE
    return "\n".join(lines), not alarms and not failed and not left and cheap


def print_report(result: Mapping[str, Any]) -> bool:
    """Print what was seen; whether each goal is met."""
    text, met = summary(result)
    print(f"\n{text}")
    return met
