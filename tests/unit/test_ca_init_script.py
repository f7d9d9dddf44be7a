"""step_ca_init.sh run for real into a temporary directory; what it made is asked of openssl."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from facts.step_ca import CertificateAuthority
from operations.step_ca import shipped
from phoenix.components.step_ca.authority import faults

SCRIPT = shipped("init.sh").text
PASSWORD = "planted-secret with blank"
# Nothing of this machine is changed: there is a user `step`, and owners are only noted.
STUB = '#!/bin/sh\nprintf \'%s %s\\n\' "${0##*/}" "$*" >>"$CALLS"\n'


def initialise(top: Path, stdin: str) -> subprocess.CompletedProcess[str]:
    (top / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("id", "useradd", "chown"):
        (top / "bin" / name).write_text(STUB)
        (top / "bin" / name).chmod(0o755)
    # Every openssl call passes by here, so that its arguments can be looked at.
    real = subprocess.check_output(["sh", "-c", "command -v openssl"], text=True).strip()
    (top / "bin/openssl").write_text(f'{STUB}exec {real} "$@"\n')
    (top / "bin/openssl").chmod(0o755)
    return subprocess.run(
        ["sh", "-c", SCRIPT, "step-ca-init", str(top / "step-ca"), "Example",
         "internal.example.org", "10.0.0.0/255.255.255.0", "10"],
        input=stdin, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PATH": f"{top / 'bin'}:{os.environ['PATH']}",
             "CALLS": str(top / "calls")},
    )  # fmt: skip


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("ca")
    result = initialise(top, f"{PASSWORD}\n")
    assert result.returncode == 0, result
    return top / "step-ca"


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )


def put_in_store(root: Path, store: Path) -> str:
    """Make a store that openssl reads by itself (SSL_CERT_DIR), as each host has one."""
    store.mkdir()
    name = openssl("x509", "-in", root, "-noout", "-hash").stdout.strip()
    (store / f"{name}.0").write_bytes(root.read_bytes())
    return str(store)


def test_files_and_modes(ca: Path) -> None:
    modes = {str(path.relative_to(ca)): oct(path.stat().st_mode & 0o777) for path in ca.rglob("*")}
    assert modes == {
        "certs": "0o755",
        "certs/root_ca.crt": "0o644",
        "certs/intermediate_ca.crt": "0o644",
        "db": "0o700",
        "secrets": "0o700",
        "secrets/password": "0o600",
        "secrets/root_ca_key": "0o600",
        "secrets/intermediate_ca_key": "0o600",
    }
    calls = (ca.parent / "calls").read_text()
    assert "chown -R step:step secrets db" in calls, calls
    assert "chown root:root secrets/root_ca_key secrets/password" in calls, "not the service's"
    assert "useradd" not in calls, "there was a user step"


def test_chain_and_extensions(ca: Path) -> None:
    root, intermediate = ca / "certs/root_ca.crt", ca / "certs/intermediate_ca.crt"
    verified = openssl("verify", "-x509_strict", "-CAfile", root, intermediate)
    assert verified.returncode == 0, verified
    text = openssl("x509", "-in", root, "-noout", "-text").stdout
    for expected in ("CA:TRUE, pathlen:1", "Certificate Sign, CRL Sign", "prime256v1",
                     "X509v3 Name Constraints: critical", "DNS:internal.example.org",
                     "DNS:localhost", "IP:10.0.0.0/255.255.255.0",
                 "Subject: O = Example, CN = Example Internal Root CA"):  # fmt: skip
        assert expected in text, text
    text = openssl("x509", "-in", intermediate, "-noout", "-text").stdout
    for expected in ("CA:TRUE, pathlen:0", "X509v3 Name Constraints: critical",
                 "DNS:internal.example.org", "DNS:localhost", "IP:10.0.0.0/255.255.255.0",
                 "CN = Example Internal Intermediate CA"):  # fmt: skip
        assert expected in text, text


@pytest.mark.parametrize(
    ("san", "accepted"),
    [
        ("DNS:portainer.internal.example.org", True),
        ("DNS:gateway.host.internal.example.org", True),
        ("IP:10.0.0.22", True),
        ("DNS:www.example.org", False),
        ("DNS:internal.example.org.evil.test", False),
        ("IP:10.0.1.22", False),
    ],
)
def test_intermediate_can_pass_for_names_of_this_network_alone(
    ca: Path, tmp_path: Path, san: str, accepted: bool
) -> None:
    (tmp_path / "ext").write_text(f"subjectAltName={san}\n")
    csr = openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                   "-subj", "/", "-keyout", tmp_path / "key", "-out", tmp_path / "csr")  # fmt: skip
    assert csr.returncode == 0, csr
    signed = openssl("x509", "-req", "-in", tmp_path / "csr", "-days", "1", "-set_serial", "1",
                     "-CA", ca / "certs/intermediate_ca.crt", "-extfile", tmp_path / "ext",
                     "-CAkey", ca / "secrets/intermediate_ca_key",
                     "-passin", f"file:{ca / 'secrets/password'}",
                     "-out", tmp_path / "crt")  # fmt: skip
    assert signed.returncode == 0, signed
    verified = openssl("verify", "-CAfile", ca / "certs/root_ca.crt",
                       "-untrusted", ca / "certs/intermediate_ca.crt",
                       tmp_path / "crt")  # fmt: skip
    assert (verified.returncode == 0) == accepted, verified
    assert accepted or "permitted subtree violation" in verified.stderr, verified.stderr


def test_whoever_has_the_root_s_key_cannot_pass_for_other_names_either(
    ca: Path, tmp_path: Path
) -> None:
    """An intermediate without limits, made with the root's key: clients go by the root's."""
    password = ("-passin", f"file:{ca / 'secrets/password'}")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout")
    (tmp_path / "ca.ext").write_text("basicConstraints=critical,CA:TRUE,pathlen:0\n")
    (tmp_path / "leaf.ext").write_text("subjectAltName=DNS:www.example.org\n")
    issuer: tuple[str | Path, ...] = (
        "-CA", ca / "certs/root_ca.crt", "-CAkey", ca / "secrets/root_ca_key", *password,
    )  # fmt: skip
    for name in ("ca", "leaf"):
        result = openssl("req", "-new", *key, tmp_path / f"{name}.key", "-subj", f"/CN={name}",
                       "-out", tmp_path / f"{name}.csr")  # fmt: skip
        assert result.returncode == 0, result
        signed = openssl("x509", "-req", "-in", tmp_path / f"{name}.csr", "-days", "1",
                         "-set_serial", "7", "-extfile", tmp_path / f"{name}.ext", *issuer,
                         "-out", tmp_path / f"{name}.crt")  # fmt: skip
        assert signed.returncode == 0, signed
        issuer = ("-CA", tmp_path / "ca.crt", "-CAkey", tmp_path / "ca.key")
    verified = openssl("verify", "-CAfile", ca / "certs/root_ca.crt", "-untrusted",
                       tmp_path / "ca.crt", tmp_path / "leaf.crt")  # fmt: skip
    assert "permitted subtree violation" in verified.stderr, verified


def test_keys_are_encrypted_with_the_given_password_which_is_in_no_argument(ca: Path) -> None:
    assert (ca / "secrets/password").read_text() == f"{PASSWORD}\n"
    for name in ("root_ca_key", "intermediate_ca_key"):
        key = ca / "secrets" / name
        assert key.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----"), name
        assert openssl("pkey", "-in", key, "-passin", f"pass:{PASSWORD}", "-noout").returncode == 0
        assert openssl("pkey", "-in", key, "-passin", "pass:wrong", "-noout").returncode != 0
    calls = (ca.parent / "calls").read_text()
    assert calls.count("openssl genpkey") >= 2, calls
    assert "planted" not in calls, calls


def test_empty_line_makes_a_password(tmp_path: Path) -> None:
    result = initialise(tmp_path, "\n")
    assert result.returncode == 0, result
    password = (tmp_path / "step-ca/secrets/password").read_text()
    assert len(bytes.fromhex(password)) == 32, password
    assert password.strip() not in result.stdout + result.stderr + (tmp_path / "calls").read_text()


def test_existing_directory_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "step-ca").mkdir()
    (tmp_path / "step-ca/kept").write_text("mine")
    result = initialise(tmp_path, "\n")
    assert result.returncode == 3, result
    assert "exists already; nothing was changed" in result.stderr, result.stderr
    assert [path.name for path in (tmp_path / "step-ca").iterdir()] == ["kept"]
    assert not (tmp_path / "calls").exists(), (tmp_path / "calls").read_text()


def test_failure_half_way_leaves_nothing_and_the_next_run_succeeds(tmp_path: Path) -> None:
    initialise(tmp_path / "stubs", "\n")
    broken = tmp_path / "host/bin"
    broken.mkdir(parents=True)
    (tmp_path / "host/step-ca.new.dead").mkdir()  # of a run that was killed
    process = subprocess.run(
        ["sh", "-c", SCRIPT, "step-ca-init", str(tmp_path / "host/step-ca"), "Example",
         "not a domain\n[oops", "10.0.0.0/999.0.0.0", "10"],
        input="\n", capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PATH": f"{tmp_path / 'stubs/bin'}:{os.environ['PATH']}",
             "CALLS": str(tmp_path / "calls")},
    )  # fmt: skip
    assert process.returncode != 0, process
    assert [path.name for path in (tmp_path / "host").iterdir()] == ["bin"], process
    process = initialise(tmp_path / "host", "\n")
    assert process.returncode == 0, process


def state_of(directory: Path) -> list[str]:
    """What the fact and its judgement say of a CA directory."""
    command = CertificateAuthority().command(str(directory)).get_raw_value()
    process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    return faults(CertificateAuthority().process(process.stdout.splitlines()))


def test_fact_finds_the_new_ca_sound_and_its_faults_when_it_is_not(
    ca: Path, tmp_path: Path
) -> None:
    assert state_of(ca) == []
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(ca), str(copy)], check=True)
    (copy / "secrets/password").write_text("wrong\n")
    assert "does not open" in "; ".join(state_of(copy)), state_of(copy)
    (copy / "secrets/password").unlink()
    assert "half initialised: the password of the keys missing" in state_of(copy)[0]
    subprocess.run(["cp", "-a", str(ca / "secrets/password"), str(copy / "secrets")], check=True)
    (copy / "secrets/intermediate_ca_key").chmod(0o640)
    assert "has mode 640" in "; ".join(state_of(copy)), state_of(copy)
    (copy / "secrets/intermediate_ca_key").chmod(0o600)
    (copy / "secrets/intermediate_ca_key").write_bytes((ca / "secrets/root_ca_key").read_bytes())
    assert "is not the key of the certificate" in "; ".join(state_of(copy)), state_of(copy)
    initialise(tmp_path / "other", "\n")
    other = tmp_path / "other/step-ca/certs/root_ca.crt"
    (copy / "certs/root_ca.crt").write_bytes(other.read_bytes())
    assert "is not signed by" in "; ".join(state_of(copy)), state_of(copy)
