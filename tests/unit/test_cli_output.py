"""What a pipe gets: whole words in 100 columns, and numbers with the right noun."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from phoenix.cli import converge, output
from phoenix.cli import secrets as secrets_verbs
from phoenix.cli.reports import plan, secrets
from phoenix.runs.process import Finished
from phoenix.runs.results import PROVEN, Course, Failure, TakenOver
from tests.unit.project_copy import phoenix
from tests.unit.project_copy import project as project

STEPS = [f"deploys/nginx.py | Nginx: a step with a long name, number {number}" for number in (1, 2)]
SECRET = "a_secret_whose_name_is_long_since_it_is_a_stacks_own"


def piped(print_text: Callable[[Console], None], monkeypatch: pytest.MonkeyPatch) -> str:
    """What is printed where standard output is a pipe, which has no width."""
    monkeypatch.delenv("COLUMNS", raising=False)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        output.emit(False, {}, print_text)
    return out.getvalue()


def summary(*changed: str) -> converge.Summary:
    return converge.Summary(
        site="site", command="phoenix sync nginx", ok=True, verified=False, seconds=1.0,
        hosts=[converge.HostSummary(host="a-guest-with-a-long-name.example", outcome="changed",
                                    steps=12, changed=list(changed))],
        failures=[], first_cause=None, notes=[], taken_over=[], log="/log",
    )  # fmt: skip


def test_a_summary_is_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    text = piped(lambda console: converge.print_summary(console, summary(*STEPS)), monkeypatch)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= output.WIDTH
    assert "a-guest-with-a-long-name.example" in text
    on_one_line = " ".join(text.split())
    assert "Nginx: a step with a long name, number 1, " in on_one_line, text
    assert on_one_line.count("a step with a long name") == 2


def test_a_host_that_a_rotation_did_not_reach_is_told() -> None:
    silent = converge.HostSummary(host="worker", outcome="failed", steps=0, changed=[])
    begun = converge.HostSummary(host="proxy", outcome="failed", steps=3, changed=[])
    done = summary("Traefik: renewal")
    done = done.model_copy(update={"hosts": [*done.hosts, silent, begun]})
    (line,) = secrets_verbs.not_reached(done, ["one", "two"])
    assert line.startswith("worker was not reached: what it had of one, two is as before. `phoenix")


def test_a_fingerprint_is_written_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person compares it, and Rich would write a picture of a disc for `:CD:`."""
    text = "the certificate is AB:CD:EF, declared :key:"

    def show(console: Console) -> None:
        console.print(text, markup=False)
        table = Table("state")
        table.add_row(text)
        console.print(table)

    assert piped(show, monkeypatch).count(text) == 2
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        output.notes().print(text, markup=False)
    assert err.getvalue().strip() == text


def test_what_fails_alike_everywhere_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host is blamed for what stops them all."""
    step, other = "deploys/base.py | Base: packages", "deploys/nginx.py | Nginx: files"
    hosts = ["a", "b", "c"]
    failures = [Failure(host=host, step=step, reason=["the mirror is gone"]) for host in hosts]
    failures += [Failure(host=host, step=other, reason=["no room", host]) for host in ("b", "c")]
    done = summary().model_copy(
        update={"ok": False, "failures": failures, "first_cause": failures[0]}
    )
    text = piped(lambda console: converge.print_summary(console, done), monkeypatch)
    assert text.count("the mirror is gone") == 1
    assert "failed as well:\n  b, c: the same\n  b, c: Nginx: files: no room\n" in text


def test_files_of_another_hand_are_told_in_one_line_for_all_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = summary().model_copy(
        update={
            "taken_over": [
                TakenOver(host="a", path="/etc/resolv.conf", kept="/var/kept/etc/resolv.conf"),
                TakenOver(host="b", path="/etc/resolv.conf", kept="/var/kept/etc/resolv.conf"),
                TakenOver(host="b", path="/etc/nginx/sites-enabled/x", kept=""),
            ]
        }
    )
    text = piped(lambda console: converge.print_summary(console, report), monkeypatch)
    on_one_line = " ".join(text.split())
    expected = "/etc/resolv.conf was not of Phoenix: kept as /var/kept/etc/resolv.conf on a, b"
    assert expected in on_one_line, text
    assert "/etc/nginx/sites-enabled/x is no longer read on b" in on_one_line, text


def test_secrets_are_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = secrets.SecretRow(
        name=SECRET, what="what it is for " * 9, origin="absent", changing=True, generated=True
    )
    listing = secrets.Listing(site="site", store="/store", secrets=[listed])
    text = piped(lambda console: secrets.print_listing(console, listing), monkeypatch)
    assert SECRET in text
    assert "…" not in text
    assert text.count("what") == 10, "nine, and the head of the column"


def test_an_explanation_has_100_columns_in_a_pipe(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = phoenix("explain", "qdrant", "-i", project / "inventories/phoenix.py").stdout
    assert 80 < max(map(len, lines.splitlines())) <= output.WIDTH


@pytest.mark.parametrize(("number", "text"), [(0, "0 hosts"), (1, "1 host"), (2, "2 hosts")])
def test_numbers_have_the_right_noun(
    monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    assert output.count(number, "host") == text
    looked_at = [f"host-{n}" for n in range(number)]
    empty_plan = plan.Plan(site="s", targets=[], changes=[], looked_at=looked_at, first_cause=None)
    assert piped(lambda console: plan.print_plan(console, empty_plan), monkeypatch) == (
        f"nothing to do on {text}\n"
    )


def test_a_plan_shows_what_hosts_told(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan.Plan(
        site="s", targets=[], changes=[], looked_at=["a"], first_cause=None,
        notes=["a: vmbr9 has another address"],
    )  # fmt: skip
    text = piped(lambda console: plan.print_plan(console, planned), monkeypatch)
    assert text.splitlines() == ["note: a: vmbr9 has another address", "nothing to do on 1 host"]


def test_a_summary_counts_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    singular = piped(
        lambda console: converge.print_summary(console, summary(STEPS[0])), monkeypatch
    )
    two = piped(lambda console: converge.print_summary(console, summary(*STEPS)), monkeypatch)
    assert "converged in 1 s, 1 change;" in singular
    assert "converged in 1 s, 2 changes;" in two


def test_a_cause_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cause = Failure(host="gateway", step="deploys/nginx.py | Nginx: files", reason=["[red]x[/red]"])
    text = piped(lambda console: converge.print_cause(console, cause), monkeypatch)
    assert text == "first cause: gateway: Nginx: files\n  [red]x[/red]\n"


@pytest.mark.parametrize(
    ("checks", "returncode", "verified"), [(3, 0, True), (0, 0, False), (3, 1, False)]
)
def test_only_a_run_whose_checks_were_made_and_passed_is_verified(
    project: Path, checks: int, returncode: int, verified: bool
) -> None:
    course = Course()
    course.add(
        {"event": "step", "step": "Verify: verdict", "number": 1, "count": 1, "hosts": ["a"]}
    )
    if checks:
        course.add({"event": "value", "name": PROVEN, "host": "a", "data": checks})
    runs = [Finished(0, Course(), None, ()), Finished(returncode, course, None, ())]
    done = converge.summarise("site", "phoenix sync nginx", runs, 0.0, project)
    assert done.verified is verified


def test_a_sync_that_nothing_proves_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    text = piped(lambda console: converge.print_summary(console, summary()), monkeypatch)
    assert (
        "not verified: no check is about this alone; `phoenix doctor` makes all\nconverged" in text
    )
    proven = summary().model_copy(update={"verified": True})
    text = piped(lambda console: converge.print_summary(console, proven), monkeypatch)
    assert "converged and verified in 1 s" in text
    assert "not verified" not in text
