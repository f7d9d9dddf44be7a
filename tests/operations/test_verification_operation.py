"""The verdict of a verification: who fails, with which words, and what a run is told of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import FunctionCommand
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state
from pyinfra_testing.util import FakeState, create_host

from operations import verification
from phoenix.health.checks import checks_by_host
from phoenix.runs.results import FIRST_CAUSE, PROVEN, Course
from phoenix.site.model import Site
from phoenix.watch.causes import Outcome
from tests.unit.site_builder import minimal
from tests.unit.swarm_cases import declaration

STEP = "deploys/verify.py | Verify: verdict"
TRAEFIK, ROUTER = "Traefik (traefik.service)", "the router for shop.internal.thinkheads.ai"


class Out:
    """A host that has failed in a run."""

    def __init__(self, name: str, state: Any) -> None:
        self.name, self.state = name, state


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


def judged(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    faults: dict[str, str],
    *,
    failed: tuple[str, ...] = (),
) -> tuple[dict[str, str], Course]:
    """Each host's reason to fail where checks of these hops find these faults; and the course."""
    outcomes = {
        host: [Outcome(check, faults.get(check.hop, "")) for check in own_checks]
        for host, own_checks in checks_by_host(site).items()
        if host not in failed
    }
    course, reasons = Course(), {}
    monkeypatch.setattr(verification, "_outcomes", outcomes)
    monkeypatch.setattr(verification, "_issued", {})
    monkeypatch.setattr(verification, "_asked", {})
    monkeypatch.setattr(
        verification, "value",
        lambda name, host, data: course.add(
            {"event": "value", "name": name, "host": host, "data": data}
        ),
    )  # fmt: skip
    for name in outcomes:
        state = FakeState()
        state.current_stage = StateStage.Execute
        state.failed_hosts = [SimpleNamespace(name=other) for other in failed]
        host = create_host(state, name=name)
        with ctx_state.use(state), ctx_host.use(host):
            commands = list(verification.judge._inner(site=site))
        if commands:
            (command,) = commands
            assert isinstance(command, FunctionCommand)
            (reasons[name],) = command.args
            course.add({"event": "line", "step": STEP, "host": name, "text": reasons[name]})
            course.add({"event": "host_failed", "step": STEP, "host": name})
    return reasons, course


def test_nobody_fails_where_all_checks_pass(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons, course = judged(site, monkeypatch, {})
    assert reasons == {}
    assert course.values == {
        PROVEN: {host: len(own_checks) for host, own_checks in checks_by_host(site).items()}
    }


def test_host_of_the_first_cause_is_the_run_s_first_cause(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons, course = judged(
        site, monkeypatch, {"Nginx to Traefik": "no answer", TRAEFIK: "is inactive", ROUTER: "no"}
    )
    assert reasons.keys() == {"gateway", "proxy"}
    assert reasons["proxy"].startswith(
        f"first cause: service: {TRAEFIK}: is inactive\nlikely fix: "
    )
    assert f"(first cause: service on proxy: {TRAEFIK})" in reasons["gateway"]
    assert course.values[FIRST_CAUSE] == {"gateway": "proxy", "proxy": "proxy"}
    assert course.failures[0].host == "gateway", "it comes first in the run"
    assert course.first_cause is not None
    assert course.first_cause.host == "proxy"


def test_host_that_failed_before_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons, _ = judged(site, monkeypatch, {TRAEFIK: "is inactive"}, failed=("worker",))
    assert reasons["proxy"].splitlines()[-1] == (
        "(look first at worker: the run did not finish there)"
    )


def test_who_waits_for_the_checks_is_told_what_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr(verification, "report", lambda _, text, **__: messages.append(text))
    state: Any = SimpleNamespace(activated_hosts=set())
    state.failed_hosts = {Out(name, state) for name in ("worker", "ca", "broken")}
    state.activated_hosts = {out for out in state.failed_hosts if out.name == "broken"}
    monkeypatch.setattr(verification, "host", SimpleNamespace(name="proxy", state=state))
    assert verification._tell_of_silent_hosts()
    state.failed_hosts = state.activated_hosts  # it answers, and a step has failed there
    assert not verification._tell_of_silent_hosts()
    assert messages == ["waiting up to 21 s for what rests on ca, worker: no answer by SSH"]


def test_what_several_hosts_tell_is_told_of_the_first_that_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = declaration(swarm_role="manager")
    declared.vm["vms"][2]["swarm_role"] = "manager"
    swarm = declared.load(tmp_path)
    hop = "second as the swarm's managers have it"
    reasons, _ = judged(swarm, monkeypatch, {hop: "its availability is drain, not active"})
    assert list(reasons) == ["control"], "the others would say the same again"
    reasons, _ = judged(
        swarm, monkeypatch, {hop: "its availability is drain, not active"}, failed=("control",)
    )
    assert list(reasons) == ["worker"]
