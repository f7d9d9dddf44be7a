"""The history of a site, and a checkout that is older than what is deployed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phoenix.derived.components import deploys_components
from phoenix.runs import history
from phoenix.runs.history import End, Entry, Start, behind, missing_revision, parse
from phoenix.runs.revision import NONE, Revision, contains, revision
from tests.unit.test_revision import checkout as checkout
from tests.unit.test_revision import git

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def entry(run: str = "1", *, commit: str | None = None, dirty: bool = False,
          result: history.Result = "ok", deploy: bool = True) -> Entry:  # fmt: skip
    return Entry(
        start=Start(run=run, user="ann", machine="desk", command="phoenix sync all", commit=commit,
                    dirty=dirty, deploys=deploy, began=NOW),
        end=End(result=result, changed=1, hosts=["proxy"], failed=[]),
        ended=NOW,
    )  # fmt: skip


def test_calls_of_one_command_are_one_run_with_the_worst_result() -> None:
    lines = [
        run.model_dump_json()
        for run in (entry("1"), entry("1", result="failed"), entry("2"), entry("1"))
    ]
    first, second = parse(lines)
    assert (first.start.run, first.end.result, first.end.changed) == ("1", "failed", 3)
    assert (second.start.run, second.end.result) == ("2", "ok")


def test_torn_lines_hide_no_others() -> None:
    entry_line = entry().model_dump_json()
    torn = [entry_line[:50], "", "null", "[]", "7", '{"start": {}}', "\x00\x00"]
    assert parse([*torn, entry_line, *torn]) == [entry()]


def test_a_run_without_an_end_is_lost() -> None:
    raw = json.loads(entry().model_dump_json()) | {"end": None}
    (run,) = parse([json.dumps(raw)])
    assert run.end == history.LOST


def test_the_mark_of_a_deployment_is_what_the_model_writes() -> None:
    assert history.DEPLOYS in entry().model_dump_json()
    assert history.DEPLOYS not in entry(deploy=False).model_dump_json()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("phoenix sync all", True),
        ("phoenix sync nginx", True),
        ("phoenix backup", False),
        ("phoenix certs renew proxy", False),
        ("pyinfra inventories/phoenix.py deploys/all.py", True),
        ("pyinfra inventories/phoenix.py deploys/nginx.py --limit nginx", True),
        ("pyinfra inventories/phoenix.py deploys/backup.py", False),
        ("pyinfra inventories/phoenix.py deploys/verify.py", False),
        ("", False),
    ],
)
def test_what_deploys_the_declaration(command: str, *, expected: bool) -> None:
    assert deploys_components(command) is expected


def test_an_older_checkout_is_noticed(checkout: Path) -> None:
    old = git(checkout, "rev-parse", "HEAD")
    (checkout / "file").write_text("two\n")
    git(checkout, "commit", "-qam", "two")
    new = git(checkout, "rev-parse", "HEAD")
    assert behind(checkout, revision(checkout), entry(commit=old)) == ""
    assert behind(checkout, revision(checkout), entry(commit=new)) == ""
    git(checkout, "checkout", "-q", old)
    reason = behind(checkout, revision(checkout), entry(commit=new))
    assert "not part of this checkout" in reason
    assert new[:12] in reason
    assert old[:12] in reason
    assert "ann@desk" in reason


def test_a_revision_that_the_checkout_never_got_is_newer(checkout: Path) -> None:
    """An older clone does not have the newer commit at all."""
    assert contains(checkout, "f" * 40) is None
    reason = behind(checkout, revision(checkout), entry(commit="f" * 40))
    assert "does not know" in reason


def test_without_revisions_nothing_is_refused_and_it_is_said(tmp_path: Path) -> None:
    assert behind(tmp_path, NONE, entry(commit="f" * 40)) == ""
    assert behind(tmp_path, Revision(commit="e" * 40, dirty=False), entry(commit=None)) == ""
    assert behind(tmp_path, Revision(commit="e" * 40, dirty=False), None) == ""
    assert "unknown" in missing_revision(entry(commit=None))
    assert "not committed" in missing_revision(entry(commit="f" * 40, dirty=True))
    assert missing_revision(entry(commit="f" * 40)) == missing_revision(None) == ""
