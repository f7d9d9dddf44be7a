"""What a TLS handshake costs by the number of names in the server's certificate.

Client and server are OpenSSL in one process (Python's ssl), without a network between them, so that
CPU time and bytes are those of TLS alone. Certificates are made by openssl(1): a root, an
intermediate and a leaf with keys of P-256, as the site's CA has them.
"""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
NAMES = (1, 50, 100, 200, 400, 1000)
WINDOW = 10 * 1460
"""Bytes that a server may send before the client's first acknowledgement (RFC 6928)."""


class Handshake(NamedTuple):
    """Of one certificate. `server`, `client`: CPU microseconds; `sent`: bytes of the server."""

    names: int
    certificate: int
    sent: int
    server: float
    client: float


def name(number: int) -> str:
    """A name of the length that services have."""
    return f"service-{number:04}.apps.internal.example.com"


def measure(
    folder: Path, names: Sequence[int] = NAMES, *, repeat: int = 200, rounds: int = 5
) -> list[Handshake]:
    """Handshakes with certificates of so many names, in turns; the median of the rounds counts."""
    authority(folder)
    pairs = {number: _contexts(folder, number) for number in names}
    costs: dict[int, list[tuple[float, float, int]]] = {number: [] for number in names}
    for _ in range(rounds):
        for number, (server, client) in pairs.items():
            costs[number].append(_handshakes(server, client, name(number - 1), repeat))
    return [
        Handshake(
            number,
            len(_leaf(folder / f"{number}.pem")),
            measured[0][2],
            median(cost[0] for cost in measured),
            median(cost[1] for cost in measured),
        )
        for number, measured in costs.items()
    ]


def _leaf(file: Path) -> bytes:
    """The first certificate of a file, as DER."""
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(file.read_text().partition(end)[0] + end)


def _handshakes(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, host: str, repeat: int
) -> tuple[float, float, int]:
    spent = {"server": 0.0, "client": 0.0}
    sent = 0
    for _ in range(repeat):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = {
            "client": client_context.wrap_bio(to_client, to_server, server_hostname=host),
            "server": server_context.wrap_bio(to_server, to_client, server_side=True),
        }
        done: set[str] = set()
        sent = 0
        while len(done) < 2:
            for end, connection in ends.items():
                before, waiting = time.process_time_ns(), to_client.pending
                with suppress(ssl.SSLWantReadError):
                    connection.do_handshake()
                    done.add(end)
                spent[end] += time.process_time_ns() - before
                if end == "server":
                    sent += to_client.pending - waiting
    return spent["server"] / repeat / 1e3, spent["client"] / repeat / 1e3, sent


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def authority(folder: Path) -> None:
    """Make a root (`root.pem`) and an intermediate in a folder."""
    ca = folder / "ca.ext"
    ca.write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n")
    _openssl("req", "-x509", *_KEY, "-subj", "/CN=Example Root CA", "-days", "2",
             "-keyout", folder / "root.key", "-out", folder / "root.pem")  # fmt: skip
    _openssl("req", *_KEY, "-subj", "/CN=Example Internal Intermediate CA",
             "-keyout", folder / "inter.key", "-out", folder / "inter.csr")  # fmt: skip
    _openssl("x509", "-req", "-in", folder / "inter.csr", "-CA", folder / "root.pem",
             "-CAkey", folder / "root.key", "-days", "2", "-extfile", ca,
             "-out", folder / "inter.pem")  # fmt: skip


def issue(folder: Path, label: str, names: Sequence[str]) -> tuple[Path, Path]:
    """The files of a certificate with its chain, for these DNS names, and of its key."""
    extensions = folder / f"{label}.ext"
    every = ",".join(f"DNS:{each}" for each in names)
    extensions.write_text(f"subjectAltName={every}\nextendedKeyUsage=serverAuth,clientAuth\n")
    leaf, key = folder / f"{label}.pem", folder / f"{label}.key"
    _openssl("req", *_KEY, "-subj", "/CN=x", "-keyout", key, "-out", folder / "leaf.csr")
    _openssl("x509", "-req", "-in", folder / "leaf.csr", "-CA", folder / "inter.pem", "-CAkey",
             folder / "inter.key", "-days", "1", "-extfile", extensions, "-out", leaf)  # fmt: skip
    leaf.write_text(leaf.read_text() + (folder / "inter.pem").read_text())
    return leaf, key


def _contexts(folder: Path, number: int) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    leaf, key = issue(folder, f"{number}", [name(index) for index in range(number)])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(leaf, key)
    server.num_tickets = 0
    client = ssl.create_default_context(cafile=str(folder / "root.pem"))
    return server, client
