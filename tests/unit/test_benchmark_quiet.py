"""The benchmark of quiet: what it takes for well is well, and its commands are shell."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import quiet
from benchmarks.quiet import Record, print_report


def result_of(*more: dict[str, Any], core: float = 0.005) -> dict[str, Any]:
    lines: list[dict[str, Any]] = [
        {"kind": "idle", "core": {"gw": 0.004}, "card_bytes_a_second": {"gw": 90.0}},
        {"kind": "step", "name": "phoenix sync", "failure": ""},
        {"kind": "cost", "core": {"gw": core}, "report_bytes_a_second": {"gw": 40.0}},
        {"kind": "causes", "at_the_end": []},
        *more,
    ]
    return {"minutes": 120, "seen": [{"minute": 1.0, **line} for line in lines]}


ALARM = {"kind": "alarm", "after": "phoenix sync", "title": "[x] fault: gw: Nginx", "message": ""}


@pytest.mark.parametrize(
    ("result", "met"),
    [
        (result_of(), True),
        (result_of(ALARM), False),
        (result_of({"kind": "step", "name": "phoenix sync", "failure": "no"}), False),
        (result_of({"kind": "causes", "at_the_end": ["gw: Nginx"]}), False),
        (result_of(core=0.02), False),
        ({"minutes": 120, "seen": []}, False),
    ],
)
def test_quiet_and_cheap_is_good(
    result: dict[str, Any], *, met: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_report(result) is met
    assert ("Nginx" in capsys.readouterr().out) == ("Nginx" in json.dumps(result))


def test_what_is_seen_is_in_the_file_at_once(tmp_path: Path) -> None:
    record = Record(tmp_path / "log")
    record.add("alarm", title="a")
    record.add("end", goals_met=True)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["alarm", "end"]
    assert lines == record.lines


def test_what_was_spent_is_the_sum_of_runs_and_of_the_server() -> None:
    assert quiet.spent("0m0.250s 1m0.500s\n0m1.000s 0m0.000s\n120 30\n") == pytest.approx(63.25)
    assert quiet.spent("") == 0


@pytest.mark.parametrize("script", [quiet.ACCOUNT, quiet.SPENT, quiet.STOP_ACCOUNTING])
def test_the_accounting_is_shell(script: str) -> None:
    done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "phoenix" in script
