"""The watcher's programs: `receive` takes reports, `judge` looks at them, `test` sends an alarm.

`judge` does it each so many seconds, for a minute.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phoenix.watch import delivery, judge, live, metrics, page_html, plan, report
from phoenix.watch.atomic_file import write
from phoenix.watch.causes import walk
from phoenix.watch.folders import ETC, PLAN, RUN, SHOWN, STATUS, VAR
from phoenix.watch.history import History

PORT = 8470
_HISTORY_SECONDS = 60
"""A look counts in the history when so much time has passed, or an interval."""
USAGE = 2
_MINUTE = 60
_STATE = "state.json"


def main(
    arguments: list[str], etc: Path = ETC, run: Path = RUN, var: Path = VAR, shown: Path = SHOWN
) -> int:
    """Run one of the programs; the exit code."""
    if arguments == ["receive"]:
        return receive(etc, run, shown)
    if (
        arguments[:1] == ["judge"]
        and len(arguments) == 2
        and arguments[1].isdigit()
        and int(arguments[1])
    ):
        return looks(int(arguments[1]), lambda: look(etc, run, var, shown), (etc / PLAN).exists)
    if arguments == ["test"]:
        return try_alarms(etc)
    print("usage: python3 -m phoenix.watch receive|judge SECONDS|test", file=sys.stderr)  # noqa: T201
    return USAGE


def receive(etc: Path, run: Path, shown: Path, address: tuple[str, int] = ("0.0.0.0", PORT)) -> int:  # noqa: S104 - the guard says who reaches it
    """Take reports, and give what the last look found, until the process is ended."""
    from phoenix.watch import receiver  # a server's modules cost more than a whole look

    site = plan.from_json((etc / PLAN).read_text())
    folder = run / "reports"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    hosts = {fingerprint: host for host, fingerprint in site.fingerprints.items()}
    of_page = frozenset(site.fingerprints[host] for host in site.page_hosts)
    of_metrics = frozenset({site.scraper} if site.scraper else ())
    readers = {
        "/page": receiver.Readable(shown / "index.html", of_page, "text/html; charset=utf-8"),
        "/home.json": receiver.Readable(shown / "home.json", of_page, "application/json"),
        "/metrics": receiver.Readable(shown / "metrics", of_metrics, metrics.CONTENT_TYPE),
    }
    tls = receiver.context(str(etc / "watcher.pem"), str(etc / "watcher.hosts.pem"))
    with receiver.Receiver(address, tls, hosts, folder, readers) as server:
        server.serve_forever()
    return 0


def looks(
    seconds: int, once: Callable[[], int], goes_on: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
) -> int:  # fmt: skip
    """Look each `seconds` for a minute, until the next start; what the last look gave.

    A moment that passed while a look was at work (it sends what it has to tell) is left out.

    Args:
        seconds: between two looks.
        once: looks.
        goes_on: whether there is still something to look for: the watcher may be taken away.
        clock: the time.
        sleep: waits.
    """
    began, code = clock(), 0
    for moment in range(0, _MINUTE, seconds):
        left = began + moment - clock()
        if left < 0 < moment:
            continue
        sleep(max(0, left))
        if not goes_on():
            break
        code = once()
    return code


def look(
    etc: Path, run: Path, var: Path, shown: Path, send: delivery.Send = delivery.by_apprise
) -> int:
    """Look at the newest reports once; 1 where a message could not be delivered."""
    site = plan.from_json((etc / PLAN).read_text())
    state, waiting = _remembered(shown / _STATE, var / _STATE)
    now = time.time()
    arrivals = _arrivals(run / "reports")
    observed = judge.observe(site, arrivals, state, now)
    messages = judge.messages_of(site, observed, state, now)
    for message in messages:
        print(f"{message.kind}: {message.title}\n{message.body}", flush=True)  # noqa: T201 - the journal
    urls = _urls(etc)
    waiting += [delivery.Waiting(message) for message in messages]
    _keep(var, shown, state, waiting)  # before what may take long, or fail
    left = delivery.deliver(waiting, urls, send)
    if len(left) != len(waiting) or left:
        _keep(var, shown, state, left)
    _show(site, observed, state, len(left), now, var, shown)
    status = json.dumps(_status(site, state, arrivals, left, urls, now))
    _written("the status", lambda: write(var / STATUS, status))
    if left:
        print(f"{len(left)} messages could not be delivered: tried again", flush=True)  # noqa: T201
    return 1 if left else 0


def _show(
    site: plan.Plan, observed: judge.Observed, state: judge.State, waiting: int, now: float,
    var: Path, shown: Path,
) -> None:  # fmt: skip
    """Write the start page and the metrics, when people have their messages."""
    walked = walk(site.paths, observed.findings)
    states = live.service_states(site, walked)
    working = state.locked_since is not None
    history = History(var / "history")
    patience, least = judge.silence_limit(site.interval), min(_HISTORY_SECONDS, site.interval)
    _written("the services' history", lambda: history.add(states, now, patience, least))
    page = live.page(site, observed, walked=walked, history=history, working=working, now=now)
    reported = {
        "home.json": json.dumps(page) + "\n",
        "index.html": page_html.html(page, site.style),
        "metrics": metrics.text(
            site, observed, states=states, known=state.known.values(), working=working,
            waiting=waiting, now=now,
        ),
    }  # fmt: skip

    def write_all() -> None:
        shown.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in reported.items():
            write(shown / name, text)

    _written("the page and the metrics", write_all)


def _written(subject: str, put: Callable[[], object]) -> None:
    """Write what a look can do without, as on a full disk."""
    try:
        put()
    except OSError as error:
        print(f"{subject} could not be written: {error}", flush=True)  # noqa: T201 - the journal


def try_alarms(etc: Path, send: delivery.Send = delivery.by_apprise) -> int:
    """Send an alarm that says that it is a test, to each place; 1 where one did not take it."""
    site = plan.from_json((etc / PLAN).read_text())
    urls = _urls(etc)
    message = judge.Message(
        "info",
        f"[{site.domain}] a test of the alarms",
        "Somebody has run `phoenix alert test`. Nothing is wrong.",
    )
    sent = [(url, send(url, message)) for url in urls]
    for number, (url, well) in enumerate(sent, 1):
        outcome = "has taken the message" if well else "has not taken the message"
        print(f"place {number} ({delivery.redacted(url)}) {outcome}", flush=True)  # noqa: T201
    if not sent:
        print("no place is given: the secret alarm_urls is empty", flush=True)  # noqa: T201
    return 0 if sent and all(well for _, well in sent) else 1


def _urls(etc: Path) -> list[str]:
    path = etc / "watcher.alarms"
    return delivery.urls_in(path.read_text()) if path.exists() else []


def _arrivals(folder: Path) -> dict[str, judge.Arrival]:
    reports = {}
    for path in folder.glob("[!.]*") if folder.is_dir() else ():
        try:
            parsed = report.parse(path.read_text(encoding="utf-8"))
        except (report.ReportError, OSError) as error:
            print(f"{path.name}: {error}", flush=True)  # noqa: T201
            continue
        reports[parsed.host] = judge.Arrival(parsed, path.stat().st_mtime)
    return reports


def _remembered(*paths: Path) -> tuple[judge.State, list[delivery.Waiting]]:
    """What the first of the files has that can be read."""
    for path in paths:
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8"))
            waiting = [delivery.Waiting.from_json(entry) for entry in data["waiting"]]
            return judge.State.from_json(data["state"]), waiting
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            print(f"{path} cannot be read, and begins anew: {error}", flush=True)  # noqa: T201
    return judge.State(), []


def _keep(var: Path, shown: Path, state: judge.State, waiting: list[delivery.Waiting]) -> None:
    """Remember; in memory while the disk takes nothing, since of that people are to be told too."""
    text = json.dumps(
        {"state": state.to_json(), "waiting": [entry.to_json() for entry in waiting]}
    )  # fmt: skip
    try:
        write(var / _STATE, text)
    except OSError as error:
        print(f"the state is kept in memory: {error}", flush=True)  # noqa: T201 - the journal
        shown.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(shown / _STATE, text)
    else:
        (shown / _STATE).unlink(missing_ok=True)


def _status(
    site: plan.Plan, state: judge.State, arrivals: dict[str, judge.Arrival],
    waiting: list[delivery.Waiting], urls: list[str], now: float,
) -> dict[str, Any]:  # fmt: skip
    """What `phoenix status` shows; times are UTC."""
    raised = [alarm for alarm in state.known.values() if alarm.told]
    return {
        "at": live.utc(now),
        "working": state.locked_since is not None,
        "hosts": [
            {"name": host, "seen": live.utc(arrivals[host].at) if host in arrivals else None}
            for host in site.hosts
        ],
        "causes": [
            {
                "severity": alarm.severity, "host": alarm.host, "hop": alarm.hop,
                "text": alarm.text, "since": live.utc(alarm.begins[-1]),
            }
            for alarm in raised
        ],
        "places": len(urls),
        "waiting": len(waiting),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
