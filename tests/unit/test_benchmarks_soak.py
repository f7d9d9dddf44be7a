"""The soak's client against a server of TLS that answers, hangs up and refuses; its verdict."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from benchmarks import soak
from phoenix.cli.app import app
from phoenix.declaration.load import load_site
from phoenix.site.model import Site
from phoenix.site.secret_names import AGENT_SECRET

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "benchmarks/soak_client.py"
NAME = "shop.example.org"


class Handler(BaseHTTPRequestHandler):
    """/ok answers; /closes answers and hangs up without a word; /fails is a 502; /dies is cut."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/dies":
            self.close_connection = True
            return
        self.send_response(502 if self.path == "/fails" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
        if self.path == "/closes":
            self.close_connection = True

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    top = tmp_path_factory.mktemp("soak")
    pair = (str(top / "cert.pem"), str(top / "key.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=x", "-addext", f"subjectAltName=DNS:{NAME}", "-out", pair[0],
         "-keyout", pair[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[0], pair[1])
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield Path(pair[0]), listener.server_address[1]
    listener.shutdown()
    listener.server_close()


def run(server: tuple[Path, int], tmp_path: Path, *streams: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the client until each stream has asked some times: on a busy machine, anew for longer."""
    file = tmp_path / "streams.json"
    file.write_text(json.dumps([{"host": NAME, "headers": {}, **stream} for stream in streams]))
    words = [sys.executable, "-I", str(PROGRAM), str(server[0]), f"127.0.0.1:{server[1]}"]
    counts: list[dict[str, Any]] = []
    for seconds in (0.5, 2, 8, 30):
        with subprocess.Popen(
            [*words, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            with suppress(subprocess.TimeoutExpired):
                client.wait(seconds)
            output, _ = client.communicate(timeout=60)
        counts = json.loads(output)
        if all(stream["requests"] > 1 for stream in counts):
            return counts
    raise AssertionError(f"a stream has hardly asked: {counts}")


def test_requests_are_counted_and_connections_kept_where_asked(
    server: tuple[Path, int], tmp_path: Path
) -> None:
    alive, new, closed = run(
        server, tmp_path,
        {"name": "kept", "path": "/ok", "keep": True},
        {"name": "new", "path": "/ok", "keep": False},
        {"name": "closed", "path": "/closes", "keep": True},
    )  # fmt: skip
    assert alive["connections"] == 1
    assert new["connections"] == new["requests"]
    assert closed["connections"] == closed["requests"], "it is opened anew, and no request is lost"
    assert [stream["failures"] for stream in (alive, new, closed)] == [[], [], []]
    assert 0 < alive["gap"] < 60


def test_what_is_lost_is_told(server: tuple[Path, int], tmp_path: Path) -> None:
    fails, dies, other = run(
        server, tmp_path,
        {"name": "fails", "path": "/fails", "keep": True},
        {"name": "dies", "path": "/dies", "keep": False},
        {"name": "other", "path": "/ok", "keep": False, "host": "other.example.org"},
    )  # fmt: skip
    for stream, words in ((fails, "status 502"), (dies, "RemoteDisconnected"),
                       (other, "CERTIFICATE_VERIFY_FAILED")):  # fmt: skip
        assert len(stream["failures"]) == stream["requests"], stream
        assert words in stream["failures"][0][1], stream


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(ROOT / "inventories", ROOT / "stacks", subnet=IPv4Network("198.19.1.0/24"))


def test_every_step_is_a_command_that_there_is(site: Site) -> None:
    steps = list(soak.steps(site))
    assert len({name for name, _ in steps}) == len(steps)
    for _, words in steps:
        command: Any = get_command(app)
        for word in words[:2]:
            command = command.commands[word]
    every = [words for _, words in steps]
    trusted = every.index(())
    assert every[trusted - 1] == ("certs", "rotate", "root", "--prepare")
    assert every[trusted + 1] == ("certs", "rotate", "continue")


def test_every_service_and_the_tunnel_is_asked_in_both_ways(site: Site) -> None:
    asked = soak.streams(site, 7, "X-API-Key: word\n")
    assert len(asked) == len({question["name"] for question in asked})
    (kept_alive, new) = [question for question in asked if question["name"].startswith(soak.TUNNEL)]
    assert (kept_alive["keep"], new["keep"]) == (True, False)
    assert kept_alive["path"] == "/api/endpoints/7/docker/_ping"
    assert kept_alive["headers"] == {"X-API-Key": "word"}
    assert all(
        not question["headers"]
        for question in asked
        if not question["name"].startswith(soak.TUNNEL)
    )


@pytest.mark.parametrize(
    ("stream", "when", "counts"),
    [("app, new connections", 15.0, True), ("portainer, new connections", 15.0, False),
     (f"{soak.TUNNEL}, kept connections", 15.0, False), ("portainer, new connections", 5.0, True)],
)  # fmt: skip
def test_verdict_on_a_soak(
    stream: str, when: float, counts: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = [{"name": "root replaced", "start": 1.0, "end": 9.0},
              {"name": f"secret {AGENT_SECRET}", "start": 10.0, "end": 20.0}]  # fmt: skip
    row = {
        "name": stream,
        "requests": 1000,
        "connections": 9,
        "failures": [[when, "x"]],
        "gap": 0.1,
    }
    well = {**row, "failures": []}
    assert soak.print_report({"phases": phases, "streams": [well]})
    assert soak.print_report({"phases": phases, "streams": [row]}) is not counts
    printed = capsys.readouterr().out
    assert ("lost: " in printed) is counts, printed
    assert "1,000" in printed, printed
