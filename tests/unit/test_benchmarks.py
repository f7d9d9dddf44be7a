"""The benchmarks' own reading and counting: a wrong number is worse than none."""

import json
import os
import re
from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import bench_site, converge, datapath, declare, floor, start, wrk
from benchmarks.counted_pyinfra import Traffic
from benchmarks.report import sample, table
from lab.settings import ROOT, LabError
from phoenix.declaration.load import load_site
from phoenix.derived.routes import routes

# As Debian 13's wrk 4.1.0 prints it.
WRK = """\
Running 4s test @ https://bench.internal.thinkheads.ai/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     8.13ms    6.71ms  72.67ms   85.06%
    Req/Sec     2.21k   429.21     2.95k    72.50%
  Latency Distribution
     50%    6.25ms
     75%   10.61ms
     90%   16.54ms
     99%   31.32ms
  8790 requests in 4.00s, 2.06MB read
Requests/sec:   2196.31
Transfer/sec:    527.67KB
"""
ERRORS = """\
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 20
"""


def test_wrk_report_is_read() -> None:
    assert wrk.parse(WRK) == wrk.Load(rate=2196.31, p99=31.32, requests=8790, errors=0)


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("950.00us", 0.95), ("1.02s ", 1020), ("2.00m ", 120_000)]
)
def test_wrk_units(text: str, milliseconds: float) -> None:
    assert wrk.parse(WRK.replace("31.32ms", text)).p99 == pytest.approx(milliseconds)


def test_wrk_errors_of_every_kind_are_summed() -> None:
    broken = WRK.replace("Requests/sec", f"{ERRORS}Requests/sec")
    assert wrk.parse(broken).errors == 30


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        wrk.parse("unable to connect to bench:443 Connection refused\n")


def test_wrk_command() -> None:
    words = wrk.command("https://t/", connections=8, seconds=3, keep_alive=False)
    assert words[-1] == "https://t/", words
    assert words[words.index("-H") + 1] == "Connection: close"
    assert {"-c8", "-d3s", "--latency"} <= set(words), words
    assert "-H" not in wrk.command("https://t/", connections=8, seconds=3)


def test_ssh_says_what_it_transferred() -> None:
    log = (
        "debug1: client_input_channel_req: channel 0 rtype exit-status reply 0\r\n"
        "Transferred: sent 3308, received 59420 bytes, in 0.4 seconds\r\n"
        "Bytes per second: sent 8270.0, received 148550.0\r\n"
    )
    assert floor.transferred(log) == (3308, 59420)
    with pytest.raises(ValueError, match="Permission denied"):
        floor.transferred("Permission denied (publickey).")


GRAND_TOTAL = (
    "    deploys/dns.py | DNS: packages   1       1         -       -           \n"
    "    \x1b[1mGrand total                      63      {}         {}       14          \x1b[0m\n"
)


def test_changes_are_read_from_the_grand_total() -> None:
    assert converge.changed_operations(GRAND_TOTAL.format(49, "-")) == 49
    assert converge.changed_operations(GRAND_TOTAL.format("-", "-")) == 0
    with pytest.raises(ValueError, match="3 operations failed"):
        converge.changed_operations(GRAND_TOTAL.format(46, 3))
    with pytest.raises(ValueError, match="no grand total"):
        converge.changed_operations("--> Disconnecting from hosts...")


def test_the_reason_of_a_failure_is_shown() -> None:
    output = (
        "[a] No changes\n\n[b] Error: tcp: 10.0.0.1 port 8000 does not answer\n\n--> Results:\n"
    )
    why = converge.last_words(output + GRAND_TOTAL.format(1, 1))
    assert why == "[b] Error: tcp: 10.0.0.1 port 8000 does not answer", why


def test_traffic_is_named_and_strangers_are_reported() -> None:
    hosts = {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert converge.by_name({"10.0.0.2": Traffic(commands=3)}, hosts) == {
        "a": Traffic(),
        "b": Traffic(commands=3),
    }
    with pytest.raises(LabError, match=r"10\.0\.0\.9"):
        converge.by_name({"10.0.0.9": Traffic()}, hosts)


def _runs(commands: int, changed: int = 0, seconds: float = 2.0) -> list[dict[str, object]]:
    run = converge.Run(seconds, {"a": Traffic(1, commands, 1, 100, 900)}, changed)
    return [asdict(run) | {"total": asdict(run.total)}]


@pytest.mark.parametrize(
    ("commands", "changed", "seconds", "met"),
    [
        (converge.COMMANDS_LIMIT - 1, 0, 3.5, True),
        (converge.COMMANDS_LIMIT, 0, 3.5, False),
        (converge.COMMANDS_LIMIT - 1, 1, 3.5, False),
        (converge.COMMANDS_LIMIT - 1, 0, 3.7, False),
    ],
)
def test_verdict_on_a_no_change_run(
    commands: int, changed: int, seconds: float, met: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file transfer counts as a command: one less than the limit, and one, are allowed."""
    result = {
        "no change": _runs(commands, changed, seconds),
        "of that, verify": _runs(1),
        "floor": _runs(0),
    }
    assert converge.print_report(result) is met, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert "1,000" in printed, printed
    assert re.search(rf"no-change run, seconds +11\.00 +{seconds}0 +-\n", printed), printed
    assert re.search(r"no-change run by floor +4\.07 +1\.[78]. +at most 1\.80", printed), printed
    assert printed.count("MISSED") == (not met), printed


@pytest.mark.parametrize(
    ("full", "former_cost", "met"),
    [(8600.0, 160.0, True), (8400.0, 160.0, False), (8600.0, 159.0, False)],
)
def test_verdict_on_the_data_path(
    full: float, former_cost: float, met: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    loads = {
        name: [{"rate": rate, "p99": 5.0, "cpu": dict.fromkeys(bench_site.SPENDERS, cost)}]
        for name, rate, cost in (
            (datapath.FULL, full, 120.0),
            (datapath.PROXY, 10_000.0, 100.0),
            (datapath.FORMER, 7_000.0, former_cost),
        )
    }
    result = {
        "settings": {"connections": 16, "repeat": 1, "seconds": 4},
        "loads": {"keep-alive": loads},
    }
    assert datapath.print_report(result) is met, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert re.search(rf"whole path, requests/s +2,400 +{full:,.0f} +-\n", printed), printed
    assert re.search(r"Traefik, us of CPU a request +430 +100 +-\n", printed), printed
    assert printed.count("MISSED") == (not met), printed


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_a_sample_lies_within_its_range(values: list[float]) -> None:
    actual = sample(values)
    assert actual.low <= actual.median <= actual.high, actual
    assert {actual.low, actual.high} <= set(values), actual


@given(st.lists(st.lists(st.text("abc 1", max_size=9), min_size=3, max_size=3), max_size=5))
def test_a_table_is_straight(rows: list[list[str]]) -> None:
    text = table(("path", "rate", "ratio of all"), rows)
    lines = text.split("\n")
    assert len(lines) == len(rows) + 2, text
    assert max(map(len, lines)) == len(lines[1]), text
    with pytest.raises(ValueError, match="columns of the head"):
        table(("one",), [("one", "two")])


def test_the_declaration_makes_a_route_and_leaves_the_project_alone(tmp_path: Path) -> None:
    before = (ROOT / bench_site.GUEST_FILE).read_bytes()
    original = load_site(ROOT / "inventories", ROOT / "stacks", subnet=IPv4Network("198.19.1.0/24"))
    owner = bench_site.backend_guest(original)
    port = bench_site.free_port(original, owner)
    inventory = bench_site.declare(tmp_path, port, owner)
    assert inventory.is_file(), inventory
    site = load_site(tmp_path / "inventories", tmp_path / "stacks")
    added = {route.fqdn for route in routes(site)} - {route.fqdn for route in routes(original)}
    assert added == {f"{bench_site.SERVICE}.{site.domain}"}, added
    route = next(route for route in routes(site) if route.fqdn in added)
    assert (route.service.port, route.service.scheme) == (port, "https"), route
    assert route.server_name == site.host(owner).fqdn, route
    assert (ROOT / bench_site.GUEST_FILE).read_bytes() == before


def test_a_guest_with_a_service_of_its_own_is_refused(tmp_path: Path) -> None:
    data = json.loads((ROOT / bench_site.GUEST_FILE).read_text())
    guest_name = next(guest["name"] for guest in data["vms"] if "traefik_service" in guest)
    with pytest.raises(LabError, match=guest_name):
        bench_site.declare(tmp_path, 18443, guest_name)


def test_cpu_time_of_processes_and_their_children() -> None:
    """The name of a process may hold blanks and parentheses."""
    lines = (
        "1 (systemd) S 0 1 1 0 -1 4194560 9 9 9 9 100 50 30 20 20 0 1 0 5 1 1\n"
        "42 (nginx: a) b) S 1 1 1 0 -1 4194560 9 9 9 9 7 3 0 0 20 0 1 0 5 1 1\n"
    )
    seconds = datapath.cpu_seconds(lines)
    assert seconds == pytest.approx(210 / os.sysconf("SC_CLK_TCK")), seconds


def test_start_counts_the_process_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert start.cpu_seconds(start.Case(("--version",))) > 0
    with pytest.raises(LabError, match="phoenix --no-such ended with 64"):
        start.cpu_seconds(start.Case(("--no-such",)))
    quick = {"cpu_seconds": {case.name: [0.1, 0.2, 0.9] for case in start.CASES}}
    assert start.print_report(quick)
    slow = {"cpu_seconds": {case.name: [0.1, 0.3, 0.4] for case in start.CASES}}
    assert not start.print_report(slow)
    printed = capsys.readouterr().out
    assert printed.count("MISSED") == sum(case.goal for case in start.CASES)
    assert re.search(r"phoenix --help, CPU seconds +1\.30 +0\.30 +at most 0\.25", printed), printed


def test_verdict_on_a_growing_declaration(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"10": {"load": 0.02}, "100": {"load": 0.2}, "1000": {"load": 2.9}}
    assert declare.print_report({"sizes": sizes})
    printed = capsys.readouterr().out
    assert re.search(r"1,000 services, CPU seconds +21\.40 +2\.90 +at most 3\.00 +met", printed)
    assert not declare.print_report({"sizes": {**sizes, "1000": {"load": 3.1}}})
    assert capsys.readouterr().out.count("MISSED") == 2
