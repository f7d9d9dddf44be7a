"""The watcher takes each host's own report, by its certificate, and nobody else's."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from phoenix.secrets.errors import SecretError
from phoenix.secrets.watch_certificates import Pair, of_host, of_watcher
from phoenix.watch.receiver import Receiver, context
from phoenix.watch.report import LONGEST, ReportError, Room, parse

KEY = SecretStr("a key of the watch, of this test alone")
WATCHER = of_watcher(KEY, "watcher.host.lab.example")
A, B = of_host(KEY, "a.host.lab.example"), of_host(KEY, "b.host.lab.example")
REPORT = "phoenix-watch 1\nhost\t{}\nplan\tp\ncheck\t0\t\ntook\t2\n"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("watcher")
    (folder / "own.pem").write_text(WATCHER.pem.get_secret_value())
    (folder / "hosts.pem").write_text(A.certificate + B.certificate)
    (folder / "watcher.crt").write_text(WATCHER.certificate)
    reports = folder / "reports"
    reports.mkdir()
    tls = context(str(folder / "own.pem"), str(folder / "hosts.pem"))
    names = {A.fingerprint: "a", B.fingerprint: "b"}
    with Receiver(("127.0.0.1", 0), tls, names, reports) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client(receiver: Receiver, tmp_path: Path, pair: Pair | None) -> http.client.HTTPSConnection:
    tls = ssl.create_default_context(cafile=str(receiver.folder.parent / "watcher.crt"))
    tls.check_hostname = False
    if pair is not None:
        (tmp_path / "pair.pem").write_text(pair.pem.get_secret_value())
        tls.load_cert_chain(tmp_path / "pair.pem")
    return http.client.HTTPSConnection("127.0.0.1", receiver.server_address[1], context=tls)


def posted(
    receiver: Receiver, tmp_path: Path, pair: Pair | None, text: str, path: str = "/report"
) -> int:
    link = client(receiver, tmp_path, pair)
    try:
        link.request("POST", path, text.encode())
        return link.getresponse().status
    finally:
        link.close()


def test_a_host_puts_its_own_report(receiver: Receiver, tmp_path: Path) -> None:
    assert posted(receiver, tmp_path, A, REPORT.format("a")) == 204
    assert posted(receiver, tmp_path, B, REPORT.format("b")) == 204
    assert (receiver.folder / "a").read_text() == REPORT.format("a")
    assert sorted(path.name for path in receiver.folder.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "path", "status"),
    [
        (REPORT.format("b"), "/report", 403),
        (REPORT.format("../a"), "/report", 403),
        (REPORT.format("a"), "/report/b", 404),
        (REPORT.format("a"), "/../b", 404),
        ("nonsense", "/report", 400),
        ("phoenix-watch 1\n", "/report", 400),
    ],
    ids=["as another", "a path", "a place", "a way out", "nonsense", "nobody"],
)
def test_nothing_else_is_taken(
    receiver: Receiver, tmp_path: Path, text: str, path: str, status: int
) -> None:
    posted(receiver, tmp_path, A, REPORT.format("a"))
    (receiver.folder / "b").unlink(missing_ok=True)
    assert posted(receiver, tmp_path, A, text, path) == status
    assert [path.name for path in receiver.folder.iterdir()] == ["a"]
    assert (receiver.folder / "a").read_text() == REPORT.format("a")


@pytest.mark.parametrize("length", [str(LONGEST + 1), "-1", "many", ""])
def test_what_is_too_long_is_refused_before_it_is_read(
    receiver: Receiver, tmp_path: Path, length: str
) -> None:
    link = client(receiver, tmp_path, A)
    link.putrequest("POST", "/report")
    link.putheader("content-length", length)
    link.endheaders()
    assert link.getresponse().status == 413
    link.close()


@pytest.mark.parametrize("who", ["nobody", "another site's host", "the watcher's own name"])
def test_a_stranger_gets_no_connection(receiver: Receiver, tmp_path: Path, who: str) -> None:
    pair = {
        "nobody": None,
        "another site's host": of_host(SecretStr("x" * 40), "a.host.lab.example"),
        "the watcher's own name": WATCHER,
    }[who]
    before = sorted(path.name for path in receiver.folder.iterdir())
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        posted(receiver, tmp_path, pair, REPORT.format("a"))
    assert sorted(path.name for path in receiver.folder.iterdir()) == before


def test_an_older_tls_gets_no_connection(receiver: Receiver, tmp_path: Path) -> None:
    """All hosts speak TLS 1.3; an older one sends a client's certificate in clear."""
    (tmp_path / "pair.pem").write_text(A.pem.get_secret_value())
    tls = ssl.create_default_context(cafile=str(receiver.folder.parent / "watcher.crt"))
    tls.check_hostname = False
    tls.load_cert_chain(tmp_path / "pair.pem")

    def spoken() -> str | None:
        place = ("127.0.0.1", receiver.server_address[1])
        with socket.create_connection(place) as plain, tls.wrap_socket(plain) as link:
            return link.version()

    assert spoken() == "TLSv1.3"
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        spoken()


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_without_a_certificate_not_even_a_refusal_is_said(
    receiver: Receiver, tmp_path: Path, verb: str
) -> None:
    """The handshake fails: what an HTTP server does with a request is out of reach."""
    link = client(receiver, tmp_path, None)

    def answer() -> int:
        link.request(verb, "/report")
        return link.getresponse().status

    with pytest.raises((ssl.SSLError, ConnectionError)):
        answer()
    link.close()


def test_who_only_connects_holds_up_nobody(receiver: Receiver, tmp_path: Path) -> None:
    place = ("127.0.0.1", receiver.server_address[1])
    idle = [socket.create_connection(place) for _ in range(5)]
    try:
        assert posted(receiver, tmp_path, A, REPORT.format("a")) == 204
    finally:
        for connection in idle:
            connection.close()


def test_curl_of_a_host_and_the_watcher_know_each_other(receiver: Receiver, tmp_path: Path) -> None:
    """With the options of phoenix-watch, which finds the watcher by address and proves its name."""
    (tmp_path / "pair.pem").write_text(A.pem.get_secret_value())
    port = receiver.server_address[1]

    def curl(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["curl", "-sS", "--fail", "--noproxy", "*", "--max-time", "20", "--tlsv1.3", "--cert",
             tmp_path / "pair.pem", "--cacert", receiver.folder.parent / "watcher.crt",
             "--connect-to", f"{name}:8470:127.0.0.1:{port}", "--data-binary", "@-",
             f"https://{name}:8470/report"],
            input=REPORT.format("a"), text=True, capture_output=True, check=False,
        )  # fmt: skip

    done = curl("watcher.host.lab.example")
    assert done.returncode == 0, done.stderr
    assert curl("impostor.host.lab.example").returncode == 60, "the watcher proves its own name"


def test_pairs_are_the_same_each_time_and_no_two_hosts_have_one() -> None:
    assert of_host(KEY, "a.host.lab.example").pem == A.pem
    every = [A, B, WATCHER, of_watcher(KEY, "a.host.lab.example")]
    every.append(of_host(SecretStr("x" * 40), "a.host.lab.example"))
    assert len({report.fingerprint for report in every}) == len(every)
    with pytest.raises(SecretError, match="shorter than 32 bytes"):
        of_host(SecretStr("short"), "a")


def test_a_report_is_read_whole() -> None:
    text = (
        "phoenix-watch 1\nhost\ta\nplan\tp\nlocked\ndisk\t/\t10\t20\nfuture\tline\n"
        "check\t0\t\ncheck\t1\t~soon\ncheck\t2\tis inactive\ntook\t4\n"
    )
    read = parse(text)
    assert read.outcomes == ("", "~soon", "is inactive")
    assert (read.host, read.plan, read.took, read.locked) == ("a", "p", 4, True)
    assert read.disks == {"/": Room(10, 20)}
    assert parse(text.replace("took\t4\n", "")).took is None
    for damaged in ("check\t1\t", "check\tx\t", "disk\t/\tmuch\t1", "took\tlong"):
        with pytest.raises(ReportError, match="line 3"):
            parse(f"phoenix-watch 1\nhost\ta\n{damaged}\n")


@given(st.text(alphabet="\t\n0123check hostplandisktook-~", max_size=80))
def test_any_text_is_a_report_or_refused(text: str) -> None:
    with suppress(ReportError):
        assert parse(f"phoenix-watch 1\nhost\ta\n{text}").host
