"""step_ca_rotate.sh run for real on a CA that step_ca_init.sh made, with a stub of systemctl."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from facts.step_ca import CertificateAuthority
from operations.step_ca import shipped
from phoenix.components.step_ca.authority import CaState, faults
from phoenix.components.x509 import permitted
from tests.unit.test_ca_init_script import initialise, openssl, put_in_store

HURRYING_CLOCK = """#!/bin/sh
[ "$*" = +%s ] || exec /bin/date "$@"
n=$(cat "$CALLS.clock" 2>/dev/null || echo 0)
echo $((n + 20)) | tee "$CALLS.clock"
"""
CALLED = '#!/bin/sh\nprintf \'%s %s\\n\' "${0##*/}" "$*" >>"$CALLS"\n'


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("initialised")
    result = initialise(top, "the password\n")
    assert result.returncode == 0, result
    for name in ("systemctl", "journalctl"):
        (top / "bin" / name).write_text(CALLED)
        (top / "bin" / name).chmod(0o755)
    return top


@pytest.fixture
def ca(initialised: Path, tmp_path: Path) -> Path:
    shutil.copytree(initialised, tmp_path / "host")
    return tmp_path / "host/step-ca"


def run(ca: Path, command: str, *words: str, stdin: str = "\n") -> subprocess.CompletedProcess[str]:
    top = ca.parent
    text = shipped("rotate.sh").text.replace("/run/lock/phoenix-step-ca", f"{top}/lock")
    return subprocess.run(
        ["sh", "-c", text, "step-ca-rotate", command, str(ca), *words],
        input=stdin, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PATH": f"{top / 'bin'}:{os.environ['PATH']}",
             "CALLS": str(top / "calls"), "PHOENIX_MEMORY": str(top)},
    )  # fmt: skip


def prepare(ca: Path, kind: str, stdin: str = "\n") -> subprocess.CompletedProcess[str]:
    return run(ca, "prepare", kind, "Example", "Example Internal Root CA 2",
               "Example Internal Intermediate CA 2", "internal.example.org",
               "10.0.0.0/255.255.255.0", "10", stdin=stdin)  # fmt: skip


def switch(ca: Path, *, stop: str = "true", health: str = "true") -> int:
    result = run(ca, "switch", "step-ca.service", stop, health)
    return result.returncode


def state(ca: Path) -> CaState:
    command = CertificateAuthority().command(str(ca)).get_raw_value()
    process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    return CertificateAuthority().process(process.stdout.splitlines())


def test_root_is_replaced_step_by_step(ca: Path) -> None:
    before = state(ca)
    assert prepare(ca, "root").returncode == 0
    prepared = state(ca)
    assert (prepared.rotation, prepared.phase) == ("root", "prepared")
    assert prepared.roots == (before.root, prepared.later)
    assert (prepared.intermediate, faults(prepared)) == (before.intermediate, [])
    assert prepare(ca, "root").returncode == 0
    assert state(ca) == prepared, "a second preparation changes nothing"
    assert switch(ca) == 0
    switched = state(ca)
    assert switched.phase == "switched"
    assert switched.roots == prepared.roots
    assert switched.root == prepared.later
    assert switched.intermediate != before.intermediate
    assert faults(switched) == []
    assert run(ca, "finish").returncode == 0
    after = state(ca)
    assert (after.roots, after.rotation, after.phase) == ((prepared.later,), "", "")
    assert run(ca, "finish").returncode == 0
    verified = openssl("verify", "-x509_strict", "-CAfile", ca / "certs/root_ca.crt",
                       ca / "certs/intermediate_ca.crt")  # fmt: skip
    assert verified.returncode == 0, verified
    subject = openssl("x509", "-in", ca / "certs/root_ca.crt", "-noout", "-subject").stdout
    assert "CN = Example Internal Root CA 2" in subject, subject
    retired = sorted(str(path.relative_to(ca / "retired")).partition("/")[2]
                  for path in (ca / "retired").rglob("*") if path.is_file())  # fmt: skip
    assert retired == ["certs/intermediate_ca.crt", "certs/root_ca.crt",
                    "secrets/intermediate_ca_key", "secrets/root_ca_key"]  # fmt: skip
    for key in ca.rglob("*_key"):
        assert key.stat().st_mode & 0o777 == 0o600, key
        assert key.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----"), key
    assert not list(ca.glob("retired/*/secrets/password"))


def test_intermediate_is_replaced_under_the_same_root(ca: Path) -> None:
    before = state(ca)
    assert prepare(ca, "intermediate").returncode == 0
    assert switch(ca) == 0
    after = state(ca)
    assert after.roots == (before.root,)
    assert after.intermediate != before.intermediate
    assert faults(after) == []
    text = openssl("x509", "-in", ca / "certs/intermediate_ca.crt", "-noout", "-text").stdout
    for expected in (
        "CA:TRUE, pathlen:0",
        "Name Constraints: critical",
        "DNS:internal.example.org",
        "IP:10.0.0.0/255.255.255.0",
        "CN = Example Internal Intermediate CA 2",
    ):
        assert expected in text, text


def test_an_intermediate_of_another_root_does_not_chain_though_the_system_trusts_that(
    ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where files of two backups are mixed: the former root is still in the store."""
    store = put_in_store(ca / "certs/root_ca.crt", tmp_path / "store")
    monkeypatch.setenv("SSL_CERT_DIR", store)
    assert state(ca).chains
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", tmp_path / "key", "-out", ca / "certs/root_ca.crt", "-subj", "/CN=Other",
            "-days", "9")  # fmt: skip
    assert not state(ca).chains
    assert any("is not signed by certs/root_ca.crt" in fault for fault in faults(state(ca)))


def take_offline(ca: Path) -> str:
    """The root's key, as it is taken offline, and no longer there."""
    key = openssl("pkey", "-in", ca / "secrets/root_ca_key",
                  "-passin", f"file:{ca / 'secrets/password'}").stdout  # fmt: skip
    assert key.startswith("-----BEGIN PRIVATE KEY-----"), key
    (ca / "secrets/root_ca_key").unlink()
    return key


def test_offline_key_signs_the_next_intermediate_and_leaves_nothing_behind(ca: Path) -> None:
    before = state(ca)
    result = prepare(ca, "intermediate", take_offline(ca))
    assert result.returncode == 0, result
    assert switch(ca) == 0
    after = state(ca)
    assert (after.roots, faults(after)) == ((before.root,), [])
    assert after.intermediate != before.intermediate
    assert not list(ca.parent.glob("phoenix-root-key.*"))
    assert not list(ca.rglob("root_ca_key"))


@pytest.mark.parametrize("stdin", ["\n", "other"])
def test_without_the_offline_key_nothing_begins(ca: Path, stdin: str) -> None:
    take_offline(ca)
    before = state(ca)
    if stdin == "other":
        stdin = openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
                        "ec_paramgen_curve:P-256").stdout  # fmt: skip
    result = prepare(ca, "intermediate", stdin)
    assert result.returncode == 3, result
    assert "is it this root's key?" in result.stderr, result
    assert state(ca) == before
    assert not list(ca.parent.glob("phoenix-root-key.*"))


def test_root_key_of_another_root_is_refused_and_nothing_begins(ca: Path) -> None:
    other = ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out")
    openssl(*other, ca / "secrets/root_ca_key")
    before = state(ca)
    result = prepare(ca, "intermediate")
    assert result.returncode == 3, result
    assert "is it this root's key?" in result.stderr, result
    assert state(ca) == before


def test_ca_that_does_not_run_with_the_next_keys_goes_on_with_the_present_ones(ca: Path) -> None:
    before = state(ca)
    assert prepare(ca, "root").returncode == 0
    # Well with the present root alone.
    health = f"openssl x509 -in {ca}/certs/root_ca.crt -noout -subject | grep -v 'CA 2'"
    (ca.parent / "bin/sleep").write_text("#!/bin/sh\n")
    (ca.parent / "bin/sleep").chmod(0o755)
    (ca.parent / "bin/date").write_text(HURRYING_CLOCK)
    (ca.parent / "bin/date").chmod(0o755)
    assert switch(ca, health=health) == 5
    state_now = state(ca)
    assert (state_now.root, state_now.intermediate) == (before.root, before.intermediate)
    assert (state_now.phase, faults(state_now)) == ("prepared", [])


def test_exchange_that_was_killed_half_way_is_finished(ca: Path) -> None:
    assert prepare(ca, "root").returncode == 0
    prepared = state(ca)
    assert switch(ca, stop="false") == 3, "killed before the service stops"
    assert state(ca).phase == "switching"
    shutil.copy(ca / "rotation/next/certs/root_ca.crt", ca / "certs/root_ca.crt")
    half = state(ca)
    assert half.roots == prepared.roots
    assert "was interrupted" in faults(half)[0]
    assert switch(ca) == 0
    assert (state(ca).phase, faults(state(ca))) == ("switched", [])


@pytest.mark.parametrize("well", [True, False])
def test_a_disk_that_fills_stops_no_exchange(ca: Path, well: bool) -> None:
    """The CA stood still until the next run: it is stopped for the exchange."""
    before = state(ca)
    assert prepare(ca, "root").returncode == 0
    full = ca.parent / "bin/cp"
    full.write_text("""#!/bin/sh
case $* in *.new) echo "cp: No space left on device" >&2; exit 1 ;; esac
exec /bin/cp "$@"
""")
    full.chmod(0o755)
    clock = ca.parent / "bin/date"
    clock.write_text(HURRYING_CLOCK)
    clock.chmod(0o755)
    present = f"openssl x509 -in {ca}/certs/root_ca.crt -noout -subject | grep -v 'CA 2'"
    assert switch(ca, health="true" if well else present) == (0 if well else 5)
    after = state(ca)
    assert (after.intermediate != before.intermediate) == well
    assert faults(after) == []
    assert not list(ca.rglob("*.new"))
    assert {path.stat().st_nlink for path in ca.glob("*/*_key")} == {1}
    calls = (ca.parent / "calls").read_text().splitlines()
    acts = [line for line in calls if line.startswith(("systemctl stop", "systemctl start"))]
    assert acts[-1].startswith("systemctl start"), calls


def test_the_next_intermediate_vouches_for_every_domain_and_network(ca: Path) -> None:
    words = ("intermediate", "Example", "Example Internal Root CA 2", "An Intermediate 2")
    domains = "new.example.net internal.example.org"
    networks = "10.0.0.0/255.255.255.0 10.9.0.0/255.255.0.0"
    assert run(ca, "prepare", *words, domains, networks, "10").returncode == 0
    limits = permitted(state(ca).following)
    assert limits is not None
    assert limits.domains == ("new.example.net", "internal.example.org", "localhost")
    assert [str(network) for network in limits.networks] == [
        "10.0.0.0/24", "10.9.0.0/16", "127.0.0.1/32"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["root", "intermediate"])
def test_a_rotation_is_dropped_before_the_exchange_and_put_back_in_it(ca: Path, kind: str) -> None:
    before = state(ca)
    for begun in ("prepared", "switching"):
        assert prepare(ca, kind).returncode == 0
        if begun == "switching":
            assert switch(ca, stop="false") == 3
            shutil.copy(
                ca / "rotation/next/certs/intermediate_ca.crt", ca / "certs/intermediate_ca.crt"
            )
        assert state(ca).phase == begun
        assert run(ca, "abandon", "step-ca.service", "true").returncode == 0
        after = state(ca)
        assert (after.rotation, after.root, after.intermediate) == (
            "", before.root, before.intermediate
        )  # fmt: skip
        assert faults(after) == []
    assert run(ca, "abandon", "step-ca.service", "true").returncode == 0, "nothing to drop"


def test_a_rotation_whose_keys_sign_is_not_dropped(ca: Path) -> None:
    assert prepare(ca, "intermediate").returncode == 0
    assert switch(ca) == 0
    switched = state(ca)
    done = run(ca, "abandon", "step-ca.service", "true")
    assert done.returncode == 3
    assert "finish the rotation" in done.stderr
    assert state(ca) == switched
