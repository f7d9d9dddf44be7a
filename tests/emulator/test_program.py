"""The emulator as the image starts it: ``python3 -m portainer_emulator``."""

from __future__ import annotations

import ast
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import portainer_emulator
from phoenix.portainer_api.transport import session
from portainer_emulator.agent import INTERNAL_PORT
from tests.contract.docker_double import DockerDouble
from tests.contract.harness import make_certificate

PACKAGE = Path(portainer_emulator.__file__).parent


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize(("model", "version"), [("sync", "2.39.1"), ("async", "2.45.0")])
def test_server_starts_by_the_real_flags_and_ends_by_sigterm(
    tmp_path: Path, model: str, version: str
) -> None:
    certificate, key = make_certificate(tmp_path)
    password = tmp_path / "password"
    password.write_text("a long enough password\n")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "portainer_emulator", "--mode", model, "server",
         "--bind-https", f"127.0.0.1:{port}", "--sslcert", str(certificate),
         "--sslkey", str(key), "--data", str(tmp_path / "data"),
         "--admin-password-file", str(password), "--http-disabled"],
        cwd=PACKAGE.parent, env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "listens on" in line:
                break
        else:
            pytest.fail(f"it ended with status {process.wait()} and listens nowhere")
        http = session(certificate.read_text())
        base = f"https://localhost:{port}/api"
        status = http.get(f"{base}/system/status", timeout=30).json()
        assert status["Version"] == version, status
        credentials = {"username": "admin", "password": "a long enough password"}
        assert http.post(f"{base}/auth", json=credentials, timeout=30).status_code == 200
        http.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    copies = [(tmp_path / "data/certs" / name).read_bytes() for name in ("cert.pem", "key.pem")]
    assert copies == [certificate.read_bytes(), key.read_bytes()], "the data hold the TLS key"
    older = subprocess.run(
        [sys.executable, "-m", "portainer_emulator", "--mode", model, "--version", "2.33.1",
         "server", "--bind-https", f"127.0.0.1:{port}", "--sslcert", str(certificate),
         "--sslkey", str(key), "--data", str(tmp_path / "data")],
        cwd=PACKAGE.parent, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert older.returncode == 1, older
    assert "The database schema version does not align" in older.stdout, older


def test_the_agent_has_a_second_port_on_the_loopback(tmp_path: Path) -> None:
    double, port = DockerDouble(tmp_path / "docker.sock"), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "portainer_emulator", "agent",
         "--docker-socket", str(tmp_path / "docker.sock")],
        cwd=PACKAGE.parent, stdout=subprocess.PIPE, text=True,
        env={"PATH": "/usr/bin:/bin", "AGENT_HOST": "127.0.0.1", "AGENT_PORT": str(port)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        for listening in (port, INTERNAL_PORT):
            socket.create_connection(("127.0.0.1", listening), timeout=10).close()
    finally:
        process.kill()
        process.communicate()
        double.stop()


def test_it_needs_the_standard_library_and_cryptography_alone() -> None:
    """Its image has no other package, and no other code of this project."""
    foreign = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            foreign |= {name.split(".")[0] for name in names}
    assert foreign - sys.stdlib_module_names == {"cryptography"}
