"""The watcher's programs: `receive` takes reports, `judge` looks at them, `test` sends an alarm."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phoenix.watch import alarms, judge, plan, report
from phoenix.watch.place import write

PORT = 8470
ETC, RUN, VAR = Path("/etc/phoenix"), Path("/run/phoenix-watch"), Path("/var/lib/phoenix-watch")
USAGE = 2


def main(words: list[str], etc: Path = ETC, run: Path = RUN, var: Path = VAR) -> int:
    """Run one of the programs; the exit code."""
    if words == ["receive"]:
        return receive(etc, run)
    if words == ["judge"]:
        return look(etc, run, var)
    if words == ["test"]:
        return try_alarms(etc)
    print("usage: python3 -m phoenix.watch receive|judge|test", file=sys.stderr)  # noqa: T201
    return USAGE


def receive(etc: Path, run: Path, address: tuple[str, int] = ("0.0.0.0", PORT)) -> int:  # noqa: S104 - the guard says who reaches it
    """Take reports until the process is ended."""
    from phoenix.watch import receiver  # a server's modules cost more than a whole look

    site = plan.from_json((etc / "watcher.json").read_text())
    folder = run / "reports"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    hosts = {fingerprint: host for host, fingerprint in site.fingerprints.items()}
    tls = receiver.context(str(etc / "watcher.pem"), str(etc / "watcher.hosts.pem"))
    with receiver.Receiver(address, tls, hosts, folder) as server:
        server.serve_forever()
    return 0


def look(etc: Path, run: Path, var: Path, send: alarms.Send = alarms.by_apprise) -> int:
    """Look at the newest reports once; 1 where a message could not be delivered."""
    site = plan.from_json((etc / "watcher.json").read_text())
    state, waiting = _remembered(var / "state.json")
    now = time.time()
    arrivals = _arrivals(run / "reports")
    messages = judge.look(site, arrivals, state, now)
    for one in messages:
        print(f"{one.kind}: {one.title}\n{one.body}", flush=True)  # noqa: T201 - the journal
    urls = _urls(etc)
    waiting += [alarms.Waiting(one) for one in messages]
    _keep(var, state, waiting)  # before what may take long, or fail
    left = alarms.deliver(waiting, urls, send)
    if len(left) != len(waiting) or left:
        _keep(var, state, left)
    write(var / "status.json", json.dumps(_status(site, state, arrivals, left, urls, now)))
    if left:
        print(f"{len(left)} messages could not be delivered: tried again", flush=True)  # noqa: T201
    return 1 if left else 0


def try_alarms(etc: Path, send: alarms.Send = alarms.by_apprise) -> int:
    """Send an alarm that says that it is a test, to each place; 1 where one did not take it."""
    site = plan.from_json((etc / "watcher.json").read_text())
    urls = _urls(etc)
    message = judge.Message(
        "info",
        f"[{site.domain}] a test of the alarms",
        "Somebody has run `phoenix alert test`. Nothing is wrong.",
    )
    taken = [(url, send(url, message)) for url in urls]
    for number, (url, well) in enumerate(taken, 1):
        said = "has taken the message" if well else "has not taken the message"
        print(f"place {number} ({alarms.shown(url)}) {said}", flush=True)  # noqa: T201
    if not taken:
        print("no place is given: the secret alarm_urls is empty", flush=True)  # noqa: T201
    return 0 if taken and all(well for _, well in taken) else 1


def _urls(etc: Path) -> list[str]:
    path = etc / "watcher.alarms"
    return alarms.urls_in(path.read_text()) if path.exists() else []


def _arrivals(folder: Path) -> dict[str, judge.Arrival]:
    found = {}
    for path in folder.glob("[!.]*") if folder.is_dir() else ():
        try:
            told = report.parse(path.read_text(encoding="utf-8"))
        except (report.ReportError, OSError) as error:
            print(f"{path.name}: {error}", flush=True)  # noqa: T201
            continue
        found[told.host] = judge.Arrival(told, path.stat().st_mtime)
    return found


def _remembered(path: Path) -> tuple[judge.State, list[alarms.Waiting]]:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        waiting = [alarms.Waiting.from_json(one) for one in data["waiting"]]
        return judge.State.from_json(data["state"]), waiting
    except FileNotFoundError:
        pass
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        print(f"{path} cannot be read, and begins anew: {error}", flush=True)  # noqa: T201
    return judge.State(), []


def _keep(var: Path, state: judge.State, waiting: list[alarms.Waiting]) -> None:
    kept = {"state": state.to_json(), "waiting": [one.to_json() for one in waiting]}
    write(var / "state.json", json.dumps(kept))


def _status(
    site: plan.Plan, state: judge.State, arrivals: dict[str, judge.Arrival],
    waiting: list[alarms.Waiting], urls: list[str], now: float,
) -> dict[str, Any]:  # fmt: skip
    """What `phoenix status` shows; times are UTC."""
    told = [one for one in state.known.values() if one.told]
    return {
        "at": _utc(now),
        "working": state.locked_since is not None,
        "hosts": [
            {"name": host, "seen": _utc(arrivals[host].at) if host in arrivals else None}
            for host in site.hosts
        ],
        "causes": [
            {
                "severity": one.severity, "host": one.host, "hop": one.hop, "text": one.text,
                "since": _utc(one.begins[-1]),
            }
            for one in told
        ],
        "places": len(urls),
        "waiting": len(waiting),
    }  # fmt: skip


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
