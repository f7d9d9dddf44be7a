"""What a TLS server proves is told by what openssl says of it, and never by silence."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from phoenix import files
from phoenix.shell import Script
from tests.openssl_server import proving
from tests.unit.test_check_script import fault

PROVES = Script("proves", files.text("components/proves.sh") + 'proves "$@"\n')
NAME = "shop.stack.test"


def proves(port: str, name: str, roots: Path) -> bool:
    done = subprocess.run(
        PROVES.argv("127.0.0.1", port, name, str(roots)), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    return done.returncode == 0


@contextmanager
def without_tls() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield str(server.server_port)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("options", [(), ("-Verify", "1"), ("-Verify", "1", "-tls1_2")])
def test_a_server_that_asks_for_a_client_s_certificate_proves_its_name_all_the_same(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """openssl ends with 1 there, or with 0, by who closes first: a busy host was taken back."""
    with proving(NAME, tmp_path, *options) as (_, port):
        assert proves(port, NAME, tmp_path / "crt")
        assert not proves(port, "other.test", tmp_path / "crt")


def test_a_server_of_another_root_proves_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with proving(NAME, tmp_path) as (_, port), proving(NAME, other):
        assert proves(port, NAME, tmp_path / "crt")
        assert not proves(port, NAME, other / "crt")


def test_a_server_without_tls_proves_nothing(tmp_path: Path) -> None:
    """openssl says of it: Verify return code: 0 (ok)."""
    with proving(NAME, tmp_path), without_tls() as port:
        assert not proves(port, NAME, tmp_path / "crt")


@pytest.mark.parametrize("check", ["tls_verifies", "external_proves"])
def test_no_check_takes_a_server_without_tls_for_a_verified_one(tmp_path: Path, check: str) -> None:
    end = ("127.0.0.1",)
    with proving(NAME, tmp_path) as (_, tls), without_tls() as plain:
        more = (
            (str(tmp_path / "crt"),) if check == "tls_verifies" else ("ca", str(tmp_path / "crt"))
        )
        assert fault(tmp_path, check, *end, tls, NAME, *more) == ""
        message = fault(tmp_path, check, *end, plain, NAME, *more)
    assert "no TLS session" in message, message


def test_a_check_trusts_the_root_that_it_is_given_and_not_the_system_s(tmp_path: Path) -> None:
    """A certificate for an internal name by any public CA is a fault, and no hop that is proven."""
    other, store = tmp_path / "other", tmp_path / "store"
    other.mkdir()
    store.mkdir()
    with proving(NAME, tmp_path) as (_, port), proving(NAME, other):
        (store / "server.pem").write_bytes((tmp_path / "crt").read_bytes())
        subprocess.run(["openssl", "rehash", store], check=True)
        end, system = ("127.0.0.1", port, NAME), {"SSL_CERT_DIR": str(store)}
        root, foreign = str(tmp_path / "crt"), str(other / "crt")
        assert fault(tmp_path, "external_proves", *end, "public", "-", **system) == ""
        for question in (("tls_verifies", *end), ("external_proves", *end, "ca")):
            assert fault(tmp_path, *question, root, **system) == ""
            message = fault(tmp_path, *question, foreign, **system)
            assert f"does not prove to be {NAME}" in message, question
