"""Errors as a script sees them: exit codes that tell usage from changes, and JSON on stdout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phoenix.cli import exits
from phoenix.cli.app import main
from tests.unit.project_copy import project as project


def run(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str, str]:
    """Exit code, standard output and standard error of the command itself."""
    monkeypatch.setattr("sys.argv", ["phoenix", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    return ended.value.code, output.out, output.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["plan", "ngnix"], exits.ERROR, "Did you mean 'nginx'?"),
        (["doctor", "ngnix"], exits.ERROR, "Did you mean 'nginx'?"),
        (["doctor", "900"], exits.ERROR, "nothing to check"),
        (["plan", "-i", "/nowhere.py"], exits.ERROR, "there is no inventory /nowhere.py"),
        (["secrets", "rotate", "nothing"], exits.ERROR, "nothing"),
        (["plan", "--no-such"], exits.USAGE, "No such option"),
        (["certs", "renew"], exits.USAGE, "Missing argument"),
        (["stauts"], exits.USAGE, "Did you mean 'status'?"),
        (["graph", "-f", "png"], exits.USAGE, "png"),
        (["graph", "-f", "sgv"], exits.USAGE, "Did you mean 'svg'?"),
        (["graph", "--format", "Mermiad"], exits.USAGE, "Did you mean 'mermaid'?"),
    ],
)
def test_an_error_is_json_on_standard_output(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(project)
    ended, out, err = run([*words, "--json"], monkeypatch, capsys)
    data = json.loads(out)
    assert ended == code == data["exit_code"]
    assert message in data["error"]
    assert err, "a person who looks is told as well"
    ended, out, err = run(words, monkeypatch, capsys)
    assert (ended, out) == (code, "")
    assert message.split("'")[0].strip() in " ".join(err.split())


@pytest.mark.parametrize("out", ["/proc/nowhere", "/dev/null/schema"])
def test_a_folder_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    ended, _, err = run(["schema", "--out", out], monkeypatch, capsys)
    assert ended == exits.ERROR
    assert err.startswith(f"phoenix: {out}")


def test_wrong_usage_is_no_change() -> None:
    assert exits.USAGE not in (exits.OK, exits.ERROR, exits.CHANGES, exits.INTERRUPTED)


def test_the_lone_command_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, _ = run([], monkeypatch, capsys)
    assert code == exits.USAGE
