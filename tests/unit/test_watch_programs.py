"""What the watch puts on hosts: it needs the standard library alone, and tells no secret."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Literal
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from phoenix.components.watch import files as watch
from phoenix.files import render
from phoenix.health.checks import checks, made_on
from phoenix.health.watch_plan import lines, plan
from phoenix.runs.history import End, Entry, Result, started
from phoenix.runs.lock import Owner
from phoenix.runs.revision import NONE, Revision
from phoenix.secrets import catalog
from phoenix.secrets.errors import SecretError
from phoenix.secrets.rules import check_alarm_urls
from phoenix.secrets.watch_certificates import of_host
from phoenix.site.model import Site
from phoenix.site.ports import WATCH
from phoenix.site.secret_names import ALARM_URLS, WATCH_KEY
from phoenix.watch import delivery
from phoenix.watch.__main__ import PORT, look, looks, try_alarms
from phoenix.watch.issued import Asked, Issued
from phoenix.watch.judge import Message
from phoenix.watch.plan import from_json
from phoenix.watch.report import Run, Validity, parse
from tests.unit.site_builder import LXC, lxc, minimal, problem, stack

ROOT = Path(__file__).parents[2]
URL_A, URL_B = "json://user:planted-a@127.0.0.1:1/x", "ntfys://planted-b/topic"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    declared = minimal()
    declared.lxc.setdefault("site", {})["watcher"] = "hypervisor"
    return declared.load(tmp_path / "declared")


def test_the_watchers_modules_import_the_standard_library_and_each_other_alone() -> None:
    modules = {f"watch/{path.name}" for path in (ROOT / "phoenix/watch").glob("*.py")}
    assert {"__init__.py", *modules} == set(watch.MODULES)
    for name in watch.MODULES:
        for node in ast.walk(ast.parse((ROOT / "phoenix" / name).read_text())):
            named = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [f"{node.module}"] if isinstance(node, ast.ImportFrom) else []
            )  # fmt: skip
            for module in named:
                top = module.partition(".")[0]
                is_own = module == "phoenix.watch" or module.startswith("phoenix.watch.")
                assert is_own or top in sys.stdlib_module_names, f"{name} imports {module}"
    assert PORT == WATCH


def test_what_python_compiled_is_of_one_version_of_the_modules_alone() -> None:
    """Two versions may have the same times and sizes, as two generations of the same files do."""
    places = [
        watch.compiled({"a.py": b"1", "b.py": b"2"}),
        watch.compiled({"a.py": b"1", "b.py": b"3"}),
        watch.compiled({"a.py": b"12", "b.py": b""}),
        watch.compiled({"a.py": b"1", "b.pyc": b"2"}),
    ]
    assert len(set(places)) == len(places)
    assert places[0] == watch.compiled({"b.py": b"2", "a.py": b"1"})
    unit = render(f"components/watch/{watch.LOOKS}.j2", compiled=places[0], seconds=15)
    assert f"\nEnvironment=PYTHONPYCACHEPREFIX={places[0]}\n" in unit
    folder = f"/run/{re.findall('^RuntimeDirectory=(.*)$', unit, re.MULTILINE)[0]}/"
    assert places[0].startswith(folder), "the unit may write there"


@pytest.mark.parametrize(
    ("seconds", "took", "moments"),
    [
        (15, 0.1, [0, 15, 30, 45]),
        (10, 0.1, [0, 10, 20, 30, 40, 50]),
        (15, 20, [0, 30]),  # it sends an alarm to a place that does not answer
        (15, 100, [0]),
    ],
)
def test_one_start_of_the_judge_looks_for_a_minute(
    seconds: int, took: float, moments: list[int]
) -> None:
    now, begun = [1000.0], []

    def once() -> int:
        begun.append(round(now[0] - 1000))
        now[0] += took
        return len(begun)

    def sleep(for_seconds: float) -> None:
        now[0] += for_seconds

    assert looks(seconds, once, lambda: True, lambda: now[0], sleep) == len(moments)
    assert begun == moments


def test_the_judge_ends_quietly_where_the_watcher_was_taken_away() -> None:
    is_there = iter([True, True, False])
    codes = iter([7, 8, 9])
    assert looks(15, lambda: next(codes), lambda: next(is_there), lambda: 0.0, lambda _: None) == 8
    assert list(codes) == [9], "it has looked twice"


def test_the_installed_modules_run_alone(tmp_path: Path, site: Site) -> None:
    """As the watcher runs them: its own folder, no site-packages, no checkout."""
    for name in watch.MODULES:
        place = tmp_path / "lib/phoenix" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((ROOT / "phoenix" / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-m", "phoenix.watch"],
        env={"PYTHONPATH": str(tmp_path / "lib")}, cwd="/", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")


def test_the_plan_has_every_check_that_a_host_makes_and_their_order(site: Site) -> None:
    known = from_json(plan(site, 60, {}).to_json())
    assert known.hosts == tuple(host.name for host in site.hosts)
    for host in site.watched:
        own = made_on(site, host)
        assert [check.title for check in known.made_on(host.name)] == [check.title for check in own]
        assert [check.function for check in known.made_on(host.name)] == [
            check.function for check in own
        ]
        assert known.lists[host.name] == watch.digest(lines(site, host))
        assert f"reach on {host.name}: its own checks" in known.fixes
    assert all(check.title in known.fixes for check in known.checks)
    on_paths = {check for path in known.paths for check in path.checks}
    assert on_paths == set(known.checks)


def test_a_host_that_is_left_alone_is_not_watched(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc.setdefault("site", {})["watcher"] = "101"
    declared.lxc["lxc_configs"]["102"]["leave_alone"] = ["watch"]
    site = declared.load(tmp_path)
    left = site.host("102").name
    assert site.watcher == site.host(101)
    assert left not in {host.name for host in site.watched}
    known = plan(site, 60, {})
    assert left not in known.hosts
    assert not [check for check in known.checks if check.host == left]
    assert all(hop.checks for path in known.paths for hop in path.hops)
    units = {(check.host, check.unit) for check in checks(site) if "watch" in check.unit}
    assert (left, watch.TIMER) not in units
    assert (site.watched_by, watch.RECEIVER) in units


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(10, r"\*:\*:\d/10"), (60, r"\*:0/1:[1-5]?\d"), (300, r"\*:[0-4]/5:[1-5]?\d")],
)
def test_each_host_has_its_moment(interval: int, expected: str) -> None:
    calendars = {watch.calendar(interval, f"host-{number}") for number in range(30)}
    assert all(re.fullmatch(expected, calendar) for calendar in calendars), calendars
    assert len(calendars) > 5


# -- phoenix-watch, the program of each host -------------------------------------------------------


def etc_of(folder: Path, *, lock: Path, url: str = "https://w.example:8470/report") -> None:
    values = {"HOST": "a", "PLAN": "p", "URL": url, "ENTRANCE": "w.example:8470:127.0.0.1:9",
              "ROOM": "15 5", "LOCK": str(lock), "HISTORY": str(lock.with_name("history")),
              "BACKUP_DAYS": "7"}  # fmt: skip
    folder.mkdir()
    (folder / "watch.conf").write_text("".join(f"{k}='{v}'\n" for k, v in values.items()))
    (folder / "watch.checks").write_text("has_room\t/\t/tmp\nunit_runs\tx\n")
    (folder / "watch.pem").write_text("")
    (folder / "watcher.crt").write_text("")


def reported(tmp_path: Path, script: str) -> tuple[str, list[str]]:
    """What the program sends with these checks, and the words of its curl."""
    (tmp_path / "lib").mkdir(exist_ok=True)
    (tmp_path / "lib/checks").write_text(script)
    (tmp_path / "bin").mkdir(exist_ok=True)
    curl = tmp_path / "bin/curl"
    curl.write_text(
        f'#!/bin/sh\ncat >{tmp_path}/sent\nprintf "%s\\n" "$@" >{tmp_path}/words\nexit 0\n'
    )
    curl.chmod(0o755)
    subprocess.run(
        ["sh", ROOT / "phoenix/components/watch/phoenix-watch"],
        env={
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "PHOENIX_WATCH_ETC": str(tmp_path / "etc"),
            "PHOENIX_WATCH_LIB": str(tmp_path / "lib"),
            "PHOENIX_WATCH_RUN": str(tmp_path),
            "PHOENIX_ACME_VAR": str(tmp_path / "acme"),
        },
        check=True, timeout=60,
    )  # fmt: skip
    return (tmp_path / "sent").read_text(), (tmp_path / "words").read_text().splitlines()


ECHO = r"""
shift
n=0
for one; do
    printf '%s\t%s\n' "$n" "$(printf %s "$one" | tr '\t' ' ')"
    n=$((n + 1))
done
"""


def test_a_report_holds_what_each_check_said(tmp_path: Path) -> None:
    etc_of(tmp_path / "etc", lock=tmp_path / "lock")
    sent, words = reported(tmp_path, ECHO)
    read = parse(sent)
    assert read.outcomes == ("has_room / /tmp", "unit_runs x"), "each line is one check"
    assert (read.host, read.plan, read.locked) == ("a", "p", False)
    assert read.took is not None
    assert "/" in read.disks
    assert words[-1] == "https://w.example:8470/report"


def test_checks_that_die_leave_a_report_that_tells_it(tmp_path: Path) -> None:
    etc_of(tmp_path / "etc", lock=tmp_path / "lock")
    sent, _ = reported(tmp_path, 'printf "0\\t\\n"; kill -9 $$\n')
    assert parse(sent).outcomes == ("",), "one of two: the watcher says so"


def test_a_run_that_holds_the_sites_lock_is_in_the_report(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    etc_of(tmp_path / "etc", lock=lock)
    with lock.open("w") as file:
        assert not parse(reported(tmp_path, ECHO)[0]).locked, "the file alone is no lock"
        fcntl.flock(file, fcntl.LOCK_SH)  # as operations.site_lock holds it
        assert parse(reported(tmp_path, ECHO)[0]).locked
    assert not parse(reported(tmp_path, ECHO)[0]).locked


@pytest.mark.parametrize(
    ("command", "result", "days", "expected"),
    [
        ("phoenix backup --to /x", "ok", 1, None),
        ("phoenix backup --to /x", "ok", 9, "the newest backup is of "),
        ("phoenix backup --to /x", "failed", 1, "the site remembers no backup"),
        ("phoenix sync", "ok", 1, "the site remembers no backup"),
    ],
)
def test_a_backup_that_is_too_old_is_in_the_report(
    tmp_path: Path, command: str, result: Literal["ok", "failed"], days: int, expected: str | None
) -> None:
    """The history is written by the script that holds the site's lock; this is its form."""
    owner = Owner(user="u", machine="m", pid=1, since=datetime.now(UTC), command=command)
    start = started(owner, NONE, deploys=False)
    end = End(result=result, changed=0, hosts=[], failed=[])
    ended = datetime.now(UTC) - timedelta(days=days)
    line = (
        f'{{"start":{start.model_dump_json()},"end":{end.model_dump_json()},'
        f'"ended":"{ended:%Y-%m-%dT%H:%M:%SZ}"}}\n'
    )
    assert Entry.model_validate_json(line).end.result == result
    etc_of(tmp_path / "etc", lock=tmp_path / "lock")
    assert parse(reported(tmp_path, ECHO)[0]).warnings == {}, "there is no history here"
    (tmp_path / "history").write_text(line)
    warnings = parse(reported(tmp_path, ECHO)[0]).warnings
    assert set(warnings) == ({"backups"} if expected else set())
    assert warnings.get("backups", "").startswith(expected or "")


def history(*runs: tuple[str, Result | None, int, bool]) -> str:
    """A history of runs: command, result (None: it was lost), when it ended, whether it deploys."""
    lines = []
    for command, result, ended, deploys in runs:
        since = datetime.fromtimestamp(ended - 9, UTC)
        owner = Owner(user="u", machine="m", pid=1, since=since, command=command)
        start = started(owner, Revision(commit="ab" * 20, dirty=False), deploys=deploys)
        end = "null"
        if result:
            end = End(result=result, changed=0, hosts=[], failed=[]).model_dump_json()
        at = datetime.fromtimestamp(ended, UTC)
        lines.append(
            f'{{"start":{start.model_dump_json()},"end":{end},"ended":"{at:%Y-%m-%dT%H:%M:%SZ}"}}\n'
        )
    return "".join(lines)


def test_the_last_runs_are_in_the_report(tmp_path: Path) -> None:
    etc_of(tmp_path / "etc", lock=tmp_path / "lock")
    assert parse(reported(tmp_path, ECHO)[0]).runs == {}
    (tmp_path / "history").write_text(
        history(
            ("phoenix sync", "ok", 1_000_000, True),
            ("phoenix sync", "failed", 1_000_500, True),
            ("phoenix status", "ok", 1_000_900, False),
        )
    )
    assert parse(reported(tmp_path, ECHO)[0]).runs == {
        "deploy": Run("failed", 1_000_500, "u@m", "ab" * 20, 1_000_000),
    }
    (tmp_path / "history").write_text(
        history(
            ("phoenix sync", None, 1_000_000, True), ("phoenix backup --to /x", "ok", 77, False)
        )
    )
    assert parse(reported(tmp_path, ECHO)[0]).runs == {
        "deploy": Run("lost", 1_000_000, "u@m", "ab" * 20, 0),
        "backup": Run("ok", 77, "u@m", "ab" * 20, 77),
    }


def test_a_backup_by_hand_tells_nothing_where_timers_make_them(tmp_path: Path) -> None:
    etc_of(tmp_path / "etc", lock=tmp_path / "lock")
    (tmp_path / "history").write_text(history(("phoenix backup --to /x", "ok", 77, False)))
    with (tmp_path / "etc/watch.conf").open("a") as file:
        file.write("BACKUP_DAYS=0\n")
    read = parse(reported(tmp_path, ECHO)[0])
    assert (read.runs, read.warnings) == ({}, {})


def test_certificates_that_a_check_looks_at_are_in_the_report(tmp_path: Path) -> None:
    etc_of(tmp_path / "etc", lock=tmp_path / "lock")
    pair = tmp_path / "pair"
    pair.mkdir()
    (pair / "fullchain.pem").write_text(of_host(SecretStr("x" * 40), "a.example").certificate)
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "fullchain.pem").write_text("torn")
    (tmp_path / "etc/watch.checks").write_text(
        f"unit_runs\tx\npair_fits\t{pair}\tgateway\ta.example\n"
        f"pair_fits\t{torn}\tother\tb.example\npair_fits\t{tmp_path}/none\tnone\tc.example\n"
    )
    assert parse(reported(tmp_path, ECHO)[0]).certificates == {
        "gateway": Validity(946_684_800, 253_402_300_799),
    }


def test_keys_that_were_asked_for_and_what_the_ca_issued_are_in_the_report(tmp_path: Path) -> None:
    etc_of(tmp_path / "etc", lock=tmp_path / "lock")
    assert parse(reported(tmp_path, ECHO)[0]).asked == {}
    now = int(datetime.now(UTC).timestamp())
    (tmp_path / "acme/gateway").mkdir(parents=True)
    (tmp_path / "acme/idle").mkdir()
    (tmp_path / "acme/gateway/keys").write_text(
        f"1000 {'aa' * 32}\n{now - 60} {'bb' * 32}\n{now} {'cc' * 32}\n"
    )
    (tmp_path / "acme/removed-keys").write_text(f"{now} {'dd' * 32}\n")
    database = tmp_path / "db"
    database.mkdir()
    (tmp_path / "lib/issued").write_text(
        'import json, sys\nprint(json.dumps({"serial": "a1", "names": ["x.example", "10.0.0.1"], '
        '"not_before": 5, "not_after": 9, "key": "ee" * 32}))\n'
    )
    with (tmp_path / "etc/watch.conf").open("a") as file:
        file.write(f"ISSUED={database}\n")
    read = parse(reported(tmp_path, ECHO)[0])
    begun = datetime.fromtimestamp(1000, UTC)
    assert read.asked == {
        "gateway": Asked(begun, frozenset({"bb" * 8, "cc" * 8})),
        "": Asked(datetime.fromtimestamp(now, UTC), frozenset({"dd" * 8})),
    }
    first, last = (datetime.fromtimestamp(seconds, UTC) for seconds in (5, 9))
    assert read.issued == (Issued("a1", ("x.example", "10.0.0.1"), first, last, "ee" * 8),)
    (tmp_path / "lib/issued").write_text("raise SystemExit(1)\n")
    again = parse(reported(tmp_path, ECHO)[0])
    assert again.issued == read.issued, "looked at each ten minutes"
    assert again.warnings == {}
    os.utime(tmp_path / "phoenix-watch.issued", (0, 0))
    failed = parse(reported(tmp_path, ECHO)[0])
    assert failed.issued == read.issued, "or an alarm about it would end"
    assert (
        "could not be read: python3 ended with 1" in failed.warnings["list of issued certificates"]
    )


def test_no_character_of_a_program_ends_the_line_of_a_report() -> None:
    report_lines = "check\t0\t\x0cis down\x85and out\ncheck\t1\t\u2028too\n"
    read = parse(f"phoenix-watch 1\nhost\ta\n{report_lines}took\t1\n")
    assert read.outcomes == ("\x0cis down\x85and out", "\u2028too"), "no part of it is well"
    assert read.took == 1


# -- messages on their way -------------------------------------------------------------------------


def test_a_message_waits_for_the_place_that_does_not_take_it_and_no_other() -> None:
    first, second = (
        delivery.Waiting(Message("failure", title, "")) for title in ("first", "second")
    )
    sent: list[tuple[str, str]] = []

    def send(url: str, message: Message) -> bool:
        if url == URL_A:
            sent.append((url, message.title))
        return url == URL_A

    left = delivery.deliver([first, second], [URL_A, URL_B], send)
    assert sent == [(URL_A, "first"), (URL_A, "second")]
    read_again = [
        delivery.Waiting.from_json(json.loads(json.dumps(waiting.to_json()))) for waiting in left
    ]

    def later(url: str, message: Message) -> bool:
        sent.append((url, message.title))
        return True

    assert delivery.deliver(read_again, [URL_A, URL_B], later) == []
    assert sent[2:] == [(URL_B, "first"), (URL_B, "second")], "in order, and once to each place"
    assert "planted" not in json.dumps([waiting.to_json() for waiting in left])
    assert delivery.deliver([first], [], later) == [], "without a place nothing waits"


def watcher(tmp_path: Path, site: Site, urls: str = "") -> tuple[Path, Path, Path]:
    places = tmp_path / "etc", tmp_path / "run", tmp_path / "var"
    for place in places:
        place.mkdir(exist_ok=True)
    (places[0] / "watcher.json").write_text(plan(site, 60, {}).to_json())
    if urls:
        (places[0] / "watcher.alarms").write_text(urls)
    return places


def test_a_look_keeps_what_it_knows_and_tells_status(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    etc, run, var = watcher(tmp_path, site, f"{URL_A}\n")
    host = site.hypervisor.name
    (run / "reports").mkdir()
    (run / "reports" / host).write_text(f"phoenix-watch 1\nhost\t{host}\nplan\told\ntook\t1\n")
    (run / "reports" / "torn").write_text("torn")
    # Two looks with a report between them: what it says is told, and cannot be delivered.
    assert look(etc, run, var, tmp_path / "shown", lambda *_: False) == 0
    os.utime(run / "reports" / host, (2**31, 2**31))
    assert look(etc, run, var, tmp_path / "shown", lambda *_: False) in (0, 1)
    status = json.loads((var / "status.json").read_text())
    assert [listed["name"] for listed in status["hosts"]] == [listed.name for listed in site.hosts]
    assert {listed["name"]: listed["seen"] is not None for listed in status["hosts"]}[host]
    assert status["places"] == 1
    (var / "state.json").write_text("{torn")
    assert look(etc, run, var, tmp_path / "shown", lambda *_: True) == 0
    out = capsys.readouterr().out
    assert "begins anew" in out
    assert "torn: the first line" in out
    assert "planted" not in out


def test_a_watcher_whose_disk_is_full_tells_that_once(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    etc, run, var = watcher(tmp_path, site, f"{URL_A}\n")
    for name in ("state.json", "status.json", "history"):  # nothing takes their places
        (var / name).mkdir()
    (var / "history").rmdir()
    (var / "history").touch()
    (run / "reports").mkdir()
    for host in (guest.name for guest in site.hosts):
        (run / "reports" / host).write_text(f"phoenix-watch 1\nhost\t{host}\nplan\told\ntook\t1\n")
    sent: list[str] = []

    def send(_: str, message: Message) -> bool:
        sent.append(message.title)
        return True

    for number in range(4):
        later = time.time() + 60 * number
        for host in (guest.name for guest in site.hosts):
            os.utime(run / "reports" / host, (later, later))
        with patch("phoenix.watch.__main__.time.time", lambda later=later: later):
            assert look(etc, run, var, tmp_path / "shown", send) == 0
    assert len(sent) == len(set(sent)) == len(site.hosts)
    out = capsys.readouterr().out
    assert "the services' history could not be written" in out
    assert "the status could not be written" in out
    assert json.loads((tmp_path / "shown/home.json").read_text())["domain"] == site.domain
    for name in ("state.json", "status.json"):
        (var / name).rmdir()
    with patch("phoenix.watch.__main__.time.time", lambda: later):
        assert look(etc, run, var, tmp_path / "shown", send) == 0
    assert len(sent) == len(site.hosts), "what was kept in memory is on the disk"
    assert not (tmp_path / "shown/state.json").exists()


def test_a_place_that_fails_in_its_own_way_keeps_no_message_from_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[str] = []

    class Sender:
        def add(self, url: str) -> bool:
            if url == URL_A:
                raise ValueError(f"no such thing: {url}")
            return True

        def notify(self, *, title: str, **_: str) -> bool:
            sent.append(title)
            return True

    monkeypatch.setitem(sys.modules, "apprise", SimpleNamespace(Apprise=Sender))
    waiting = [delivery.Waiting(Message("failure", "first", ""))]
    left = delivery.deliver(waiting, [URL_A, URL_B], delivery.by_apprise)
    assert sent == ["first"]
    assert len(left) == 1
    assert capsys.readouterr().out == "json://...: ValueError\n"


def test_a_test_of_alarms_names_places_by_their_kind_alone(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    etc, _, _ = watcher(tmp_path, site)
    assert try_alarms(etc, lambda *_: True) == 1
    assert "no place is given" in capsys.readouterr().out
    watcher(tmp_path, site, f"{URL_A}\n\n{URL_B}\n")
    assert try_alarms(etc, lambda *_: True) == 0
    assert try_alarms(etc, lambda url, _: url == URL_B) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[-2:] == [
        "place 1 (json://...) has not taken the message",
        "place 2 (ntfys://...) has taken the message",
    ]
    assert "planted" not in "".join(out)


def test_urls_of_alarms_are_refused_without_telling_them() -> None:
    check_alarm_urls(f"{URL_A}\n{URL_B}\n")
    with pytest.raises(SecretError, match="line 2 is not a URL") as error:
        check_alarm_urls(f"{URL_A}\nplanted-nonsense\n")
    assert "planted" not in str(error.value)
    with pytest.raises(SecretError, match="no line"):
        check_alarm_urls("\n")


# -- what is declared ------------------------------------------------------------------------------


def test_a_watcher_that_could_be_two_hosts_is_refused(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["site"] = {"watcher": "hypervisor"}
    declared.lxc["lxc_configs"]["104"] = lxc("Hypervisor", None, 30)
    assert "a guest" in problem(declared.refused(tmp_path / "two"), LXC, "site.watcher").message
    declared.lxc["site"] = {"watcher": "104"}
    assert declared.load(tmp_path / "id").watched_by == "hypervisor"


def test_a_watcher_that_is_no_host_is_refused_with_the_names_that_are(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc.setdefault("site", {})["watcher"] = "nobody"
    finding = problem(declared.refused(tmp_path), LXC, "site.watcher")
    assert "no host is called 'nobody'" in finding.message
    assert "gateway" in finding.fix


def test_the_watchers_port_is_not_for_a_stack(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc.setdefault("site", {})["watcher"] = "worker"
    declared.stacks["shop"] = stack("shop", 8000, published="8470:8000")
    assert any("the watcher" in finding.message for finding in declared.refused(tmp_path))


def test_secrets_of_the_watch_are_those_of_a_site_that_has_one(site: Site, tmp_path: Path) -> None:
    of_the_watch = {WATCH_KEY, ALARM_URLS}
    assert of_the_watch <= {use.name for use in catalog.uses(site)}
    off = minimal().load(tmp_path / "off")
    assert not of_the_watch & {use.name for use in catalog.uses(off)}
