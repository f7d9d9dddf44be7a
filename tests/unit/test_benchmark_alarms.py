"""The benchmark of the alarms: its faults can be made, and what it takes for good is good."""

from __future__ import annotations

import re
import subprocess
from ipaddress import IPv4Network
from typing import Any

import pytest

from benchmarks import alarms, watched
from benchmarks.faults import FAULTS, Fault
from lab.settings import ROOT
from phoenix.declaration.load import load_site
from phoenix.watch.judge import State

SITE = load_site(
    ROOT / "inventories", ROOT / "stacks", environment="production",
    subnet=IPv4Network("198.19.7.0/24"),
)  # fmt: skip


def test_there_are_forty_kinds_and_each_is_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({(fault.role, fault.make) for fault in FAULTS}) == len(FAULTS) >= 40


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_can_be_made_and_repaired(fault: Fault) -> None:
    """Its commands are shell; its hosts are the shipped site's."""
    hosts = watched.roles(SITE)
    assert fault.role in hosts
    assert (fault.blamed or fault.role) in hosts
    addresses = {role: str(SITE.host(name).address) for role, name in hosts.items()}
    for command in (fault.make.format_map(addresses), fault.repair):
        assert command
        done = subprocess.run(
            ["sh", "-n"], input=command, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not re.search(r"\{[a-z]+\}", command), command
    re.compile(fault.cause)


def test_what_the_watcher_forgets_is_what_it_remembers_of_faults() -> None:
    done = subprocess.run(
        ["sh", "-n"], input=watched.FORGET, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {"known", "past"} <= set(State().to_json())


def row(**other: Any) -> dict[str, Any]:
    title = "gw: Nginx (nginx.service)"
    return {
        "name": "Nginx is stopped", "host": "gw", "cause": r"is inactive",
        "alarms": [f"[x] fault: {title}"], "ends": [f"[x] over: {title}"],
        "text": "Nginx (nginx.service) on gw: nginx.service is inactive", "quiet": True,
        "alarm_seconds": 21.0, "end_seconds": 15.0, **other,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "as_wanted"),
    [
        ({}, True),
        ({"alarms": []}, False),
        ({"ends": []}, False),
        ({"alarms": ["[x] fault: gw: a", "[x] fault: ca: b"]}, False),
        ({"ends": ["[x] over: gw: a", "[x] over: gw: b"]}, False),
        ({"host": "ca"}, False),
        ({"cause": r"is masked"}, False),
        ({"quiet": False}, False),
    ],
)
def test_one_alarm_of_the_true_cause_and_one_end_is_good(
    other: dict[str, Any], *, as_wanted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"faults": [row(**other)]}
    assert alarms.print_report(result) is as_wanted
    assert f"{int(as_wanted)} of 1 faults" in capsys.readouterr().out
