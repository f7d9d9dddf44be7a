"""What checks saw of TLS sessions is what the run tells of certificates: nobody asks twice."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError

from facts.certificates import ServedState
from facts.host_fact import FactError
from facts.verification import ChecksWithSessions
from operations import verification
from phoenix.components.trust import ROOTS
from phoenix.watch.causes import Check
from tests.unit.test_check_script import stand_in

TRUST = Path(__file__).parents[1] / "facts/facts.trust.LocalTrust/one_and_something_else.json"
_lines = json.loads(TRUST.read_text())["output"]
LEAF = "\n".join(_lines[_lines.index("-----BEGIN CERTIFICATE-----") :]).partition("\nphoenix-")[0]
ENDS = (("10.0.0.1", 443, "a.test"), ("10.0.0.2", 443, "b.test"))
SESSION = f"""CONNECTED(00000003)
Certificate chain
{LEAF}
    Protocol  : TLSv1.3
    Master-Key: planted-secret
    Verify return code: 0 (ok)
"""


def answer_of(folder: Path, *checks: str) -> list[str]:
    command = ChecksWithSessions().command(checks).get_raw_value()
    stand_in(folder, "sleep", ":")
    result = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    return result.stdout.splitlines()


def test_each_session_is_told_once_and_without_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "session").write_text(SESSION)
    log = tmp_path / "asked"
    stand_in(
        tmp_path, "openssl",
        f'echo >>{log}; case "$*" in *a.test*) cat {tmp_path}/session ;;'
        " *) echo 40:error:8000006F:system library:connect:Connection refused:x; exit 1 ;; esac",
    )  # fmt: skip
    checks = [f"tls_verifies\t{end[0]}\t{end[1]}\t{end[2]}\t{ROOTS}" for end in ENDS]
    lines = answer_of(tmp_path, checks[0], "roots_are_there\t/etc/hosts", checks[1])
    assert "planted-secret" not in "\n".join(lines)
    faults, sessions = ChecksWithSessions().process(lines)
    assert faults[0] == ""
    assert faults[1] == "/etc/hosts holds no certificate"
    assert "does not prove to be b.test" in faults[2]
    assert sessions.keys() == {0, 2}
    assert sessions[0].leaf is not None
    assert (sessions[0].protocol, sessions[0].fault) == ("TLSv1.3", "")
    assert (sessions[2].leaf, sessions[2].fault) == (None, "Connection refused")
    assert log.read_text().count("\n") == 1 + 4, "a fault is seen twice, with the names it serves"


def test_where_no_session_is_made_none_is_told(tmp_path: Path) -> None:
    answer = ChecksWithSessions().process(answer_of(tmp_path, "roots_are_there\t/etc/hosts"))
    assert answer == (["/etc/hosts holds no certificate"], {})


@pytest.mark.parametrize("lines", [["1\t"], ["0\t", "session x"], ["0\t", "junk", "session 0"]])
def test_an_answer_of_another_form_is_refused(lines: list[str]) -> None:
    with pytest.raises(FactProcessError, match="unexpected answer"):
        ChecksWithSessions().parse(lines)


def test_a_session_that_cannot_be_read_hides_no_other() -> None:
    broken = ["-----BEGIN CERTIFICATE-----", "x", "-----END CERTIFICATE-----"]
    faults, sessions = ChecksWithSessions().parse(["0\t", "session 0", *broken])
    assert faults == [""]
    assert "no verify result" in sessions[0].fault


def check(function: str, *words: str) -> Check:
    return Check("host", "tls", "hop", (function, *words))


def test_an_endpoint_that_no_check_verifies_is_asked_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, port, name = ENDS[1]
    own = [
        check("served_is_fresh", ENDS[0][0], "443", ENDS[0][2]),
        check("tls_verifies", address, str(port), name, ROOTS),
        check("tls_verifies", ENDS[0][0], "443", ENDS[0][2], "/other/root.pem"),
    ]
    of_checks = verification._seen_by(own, ENDS)
    assert of_checks == {ENDS[1]: 1}
    session, other = state("session"), state("other")
    monkeypatch.setattr(verification, "host", SimpleNamespace(name="host"))
    served: dict[str, Any] = {}
    unread: dict[str, str] = {}
    monkeypatch.setattr(verification, "_served", served)
    monkeypatch.setattr(verification, "_unread", unread)
    verification._keep_served({ENDS[1]: session}, [ENDS[0]], [other])
    assert served["host"] == {ENDS[0]: other, ENDS[1]: session}
    assert unread == {}
    error = FactError("openssl is missing")
    verification._keep_served({ENDS[1]: session}, [ENDS[0]], error)
    assert (served["host"], unread["host"]) == ({ENDS[1]: session}, str(error))


def state(error: str) -> ServedState:
    return ServedState((), None, "", "", error)
