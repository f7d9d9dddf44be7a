"""What a person had, in whole deploys: refused without a word, kept, or given way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.deploys.recorder import Run, run

HYPERVISOR = "phoenix"
CONFIG = "/etc/phoenix/dnsmasq.conf"
LOOKED = "Taking over: what was here before Phoenix"
RESOLVER = re.compile(r"residents /var/lib/phoenix/trees resolver:dns:53")
DNSMASQ = "listener\tresolver\tudp\t0.0.0.0:53\tdnsmasq\tdnsmasq.service\t\t\t"
STANDING: dict[Any, Any] = {RESOLVER: DNSMASQ}


def files_to(done: Run, host: str) -> dict[str, str]:
    (files,) = (sent.files() for sent in done.sent if sent.host == host and sent.files())
    return files


def test_without_a_word_nothing_of_that_host_is_touched_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = run("base", tmp_path / "s.json", responses=STANDING)
    assert done.failed == {HYPERVISOR}
    told = caplog.text
    assert "dnsmasq.service on port 53: the name server of the site needs its place" in told
    assert "taking_over = {'resolver': 'keep'}" in told
    assert "taking_over = {'resolver': 'replace'}" in told
    changing = ("base64", " install ", "systemctl", "config-tree")
    to_it = [sent.command for sent in done.sent if sent.host == HYPERVISOR]
    assert all(command.startswith("echo phoenix-answer-begins") for command in to_it), to_it
    others = {sent.host for sent in done.sent if any(one in sent.command for one in changing)}
    assert len(others - {HYPERVISOR}) >= 5


def test_a_plan_shows_it_as_the_step_that_would_not_be_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plan = run("dns", tmp_path / "s.json", responses=STANDING, execute=False)
    assert plan.changed[LOOKED] == [HYPERVISOR]
    assert not plan.failed
    assert "taking_over = {'resolver': 'keep'}" in caplog.text


def test_a_resolver_that_is_replaced_gives_way_just_before_ours_and_else_comes_back(
    tmp_path: Path,
) -> None:
    choice = {"resolver": "replace"}
    done = run("dns", tmp_path / "s.json", responses=STANDING, taking_over=choice)
    assert not done.failed
    (noted,) = (sent for sent in done.sent if "taking-over " in sent.command)
    assert noted.stdin.strip() == "unit dnsmasq.service"
    params = files_to(done, HYPERVISOR)["params"]
    before, otherwise = (
        re.search(rf"^{one}='(.*)", params, re.M) for one in ("before", "otherwise")
    )
    assert before
    assert otherwise
    for verb in ("stop", "back"):
        assert f"give-way {verb} /var/lib/phoenix/taken_over resolver" in params
    assert params.index("give-way stop") < params.index("give-way back")


def test_a_resolver_that_stays_has_ours_behind_it_and_must_forward_the_zone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    choice = {"resolver": "keep"}
    step = "DNS: the resolver that stays forwards the zone"
    asked = re.compile("zone-answer ")
    silent = run("dns", tmp_path / "s.json", responses=STANDING, taking_over=choice)
    assert silent.operations[-1] == step
    assert silent.failed == {HYPERVISOR}
    assert "does not forward the site's zone yet" in caplog.text
    assert "server=/internal.thinkheads.ai/127.0.0.1#5335" in caplog.text
    files = files_to(silent, HYPERVISOR)
    assert "listen-address=127.0.0.1" in files[CONFIG].splitlines()
    assert "-p 5335 @127.0.0.1" in files["params"]
    assert "give-way" not in files["params"]
    address = re.search(r"host-record=[^,]+,(\S+)", files[CONFIG])
    assert address
    answers = {**STANDING, asked: address[1]}
    caplog.clear()
    done = run("dns", tmp_path / "s.json", responses=answers, taking_over=choice)
    assert not done.failed, caplog.text


def test_where_nobody_stands_nothing_is_said_or_changed(tmp_path: Path) -> None:
    plan = run("base", tmp_path / "s.json", execute=False)
    assert plan.changed[LOOKED] == []
