"""The start page's operation: when it writes, what it writes, and when it leaves the page alone."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state
from pyinfra_testing.util import FakeState, create_host

from facts.certificates import ServedState
from facts.home import HomePage, HomeState
from operations import home as operation
from operations import verification
from phoenix.components.x509 import CertificateInfo
from phoenix.derived.endpoints import Endpoint, endpoints
from phoenix.health.checks import checks
from phoenix.health.page import Page
from phoenix.health.page_html import render
from phoenix.health.served import Served, askers
from phoenix.site.model import Site
from phoenix.watch.causes import Outcome
from tests.unit.site_builder import minimal
from tests.unit.test_virtual_addresses import with_two

START = datetime(2026, 11, 24, tzinfo=UTC)
NOTHING = HomeState()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


@pytest.fixture(autouse=True)
def checked(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Outcome]]:
    """All hosts have made their checks, and all are well."""
    actual = {host.name: [Outcome(c, "") for c in checks(site) if c.host == host.name]
             for host in site.hosts}  # fmt: skip
    monkeypatch.setattr(verification, "_outcomes", actual)
    for known in (
        "_served",
        "_unread",
        "_issued",
        "_asked",
    ):  # what a run of other tests may have learnt
        monkeypatch.setattr(verification, known, {})
    return actual


Seen = dict[str, dict[tuple[str, int, str], ServedState]]


def served(site: Site, serial: str = "ab12") -> Seen:
    """What each host saw that may ask, all endpoints well."""
    end = START + timedelta(days=1)
    leaf = CertificateInfo("x", ("x",), (), "The CA", START, end, serial, "", "", is_ca=False)
    answers: Seen = {}
    for endpoint, names in askers(site).items():
        for asker in names:
            state = ServedState((leaf,), 0, "ok", "TLSv1.3", "")
            answers.setdefault(asker, {})[endpoint.target] = state
    return answers


def run(
    site: Site,
    have: HomeState,
    states: Seen,
    *,
    stage: StateStage = StateStage.Execute,
    failed: tuple[str, ...] = (),
) -> tuple[list[Any], str, list[str]]:
    """Commands, the reason of a noop, and the facts that were asked for."""
    state = FakeState()
    state.current_stage = stage
    state.failed_hosts = [SimpleNamespace(name=name) for name in failed]
    host = create_host(state)
    asked = []

    def fact(cls: type, **_: object) -> object:
        asked.append(cls.__name__)
        return have

    host.get_fact = fact
    verification._served.clear()
    verification._served.update(states)
    with ctx_state.use(state), ctx_host.use(host):
        commands = list(operation.start_page._inner(site=site, old_after=timedelta(days=1)))
    return commands, host.noop_description or "", asked


def written(commands: list[Any]) -> tuple[str, Page]:
    """HTML and data that the one command carries, and that they belong together."""
    (command,) = commands
    html, data = (base64.b64decode(line).decode()
                  for line in command.connector_arguments["_stdin"].splitlines())  # fmt: skip
    page = Page.model_validate_json(data)
    assert html == render(page)
    return html, page


def on_disk(commands: list[Any]) -> HomeState:
    html, page = written(commands)
    return HomeState(hashlib.sha256(html.encode()).hexdigest(), page.model_dump_json())


def test_nothing_is_asked_or_written_while_a_run_is_prepared(site: Site) -> None:
    commands, reason, asked = run(site, NOTHING, {}, stage=StateStage.Prepare)
    assert (commands, asked) == ([], [])
    assert "after the checks" in reason


def test_first_page_is_written_by_standard_input_and_the_second_run_leaves_it(site: Site) -> None:
    first, _, asked = run(site, NOTHING, served(site))
    assert asked == ["HomePage"], "one round trip"
    assert written(first)[1].health.state == "ok"
    again, reason, _ = run(site, on_disk(first), served(site))
    assert (again, reason) == ([], "the page says the same already")


@pytest.mark.parametrize("what", ["certificate", "health", "html", "data", "template"])
def test_page_is_written_when_anything_but_its_stamp_differs(
    site: Site, what: str, checked: dict[str, list[Outcome]], monkeypatch: pytest.MonkeyPatch
) -> None:
    have, states = on_disk(run(site, NOTHING, served(site))[0]), served(site)
    if what == "certificate":
        states = served(site, serial="cd34")
    elif what == "health":
        checked["worker"] = [Outcome(outcome.check, "bad") for outcome in checked["worker"]]
    elif what == "html":
        have = replace(have, sha256="0" * 64)
    elif what == "data":
        have = replace(have, data=have.data[:-9])
    else:
        monkeypatch.setattr(operation, "render", lambda page: render(page) + "<!-- newer -->")
        assert len(run(site, have, states)[0]) == 1
        return
    page = written(run(site, have, states)[0])[1]
    assert (page.health.state == "broken") == (what == "health")


def test_limited_run_leaves_the_page_of_all_hosts(
    site: Site, checked: dict[str, list[Outcome]]
) -> None:
    del checked["worker"]
    commands, reason, asked = run(site, NOTHING, served(site))
    assert (commands, asked) == ([], []), "no round trip either"
    assert reason == "the page stays: this run left out worker"


def test_host_that_failed_in_the_run_is_told_on_the_page(
    site: Site, checked: dict[str, list[Outcome]]
) -> None:
    del checked["worker"]
    html, page = written(run(site, NOTHING, served(site), failed=("worker",))[0])
    assert page.health.state == "unknown"
    assert "First cause, seen from worker: its own checks: were not run." in html
    assert {h.name: h.health.state for h in page.hosts}["worker"] == "unknown"


def test_what_nobody_could_ask_for_is_told_on_the_page(site: Site) -> None:
    """And the rest is shown: each endpoint is asked by a host that may connect to it."""
    states = served(site)
    del states["control"]
    rows = written(run(site, NOTHING, states)[0])[1].certificates
    agent = next(row for row in rows if (row.holder, row.port) == ("worker", 9001))
    assert agent.fault == "not asked by control: the run failed there before"
    others = [row for row in rows if askers(site)[of(site, row)] != ("control",)]
    assert {row.fault for row in others} == {""}


def test_what_one_of_two_gateways_could_not_ask_for_the_other_tells(tmp_path: Path) -> None:
    two = with_two().load(tmp_path)
    states = served(two)
    del states["gateway"]
    run(two, NOTHING, states)
    assert {record.fault for record in verification.served_certificates(two)} == {""}
    del states["gateway-two"]
    run(two, NOTHING, states)
    proxy = next(r for r in verification.served_certificates(two) if r.holder == "proxy")
    assert proxy.fault == "not asked by gateway, gateway-two: the run failed there before"


def of(site: Site, row: Served) -> Endpoint:
    """The endpoint that a row of the page is about."""
    (end,) = (
        endpoint
        for endpoint in endpoints(site)
        if endpoint.target == (row.address, row.port, row.server_name)
    )
    return end


def test_script_writes_both_files_whole(tmp_path: Path) -> None:
    page, data = "a page · é\n" * 3000, '{"a": 1}\n'
    lines = "".join(f"{base64.b64encode(text.encode()).decode()}\n" for text in (page, data))
    for _ in range(2):
        subprocess.run(
            ["sh", "-c", operation._WRITE.text, "home-page", str(tmp_path / "new" / "home")],
            input=lines, text=True, check=True,
        )  # fmt: skip
    actual = {path.name: path.read_text() for path in (tmp_path / "new" / "home").iterdir()}
    assert actual == {"index.html": page, "home.json": data, ".lock": ""}
    broken = subprocess.run(
        ["sh", "-c", operation._WRITE.text, "home-page", str(tmp_path / "new" / "home")],
        input=lines.splitlines()[0] + "\n", text=True, check=False,
    )  # fmt: skip
    assert broken.returncode != 0, "half of it came"
    assert (tmp_path / "new" / "home" / "index.html").read_text() == page


@pytest.mark.parametrize("output", [["junk"], ["endpoint 1"], ["x", "start page"]])
def test_fact_refuses_what_does_not_tell_of_page_and_ports(output: list[str]) -> None:
    fact = HomePage()
    fact.command()
    with pytest.raises(FactProcessError):
        fact.parse(output)
