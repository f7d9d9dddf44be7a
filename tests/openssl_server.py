"""`openssl s_server` on loopback, whose certificate has the name that a test wants."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def proving(name: str, folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server and its port; its self-signed certificate for `name` is `folder`/crt.

    Args:
        name: what it proves to be.
        folder: where its files are made.
        options: more words for s_server.
    """
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", folder / "key", "-out", folder / "crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", folder / "crt", "-key",
         folder / "key", *options],
        stdout=subprocess.PIPE, text=True, stdin=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        accepting = next(line for line in server.stdout if line.startswith("ACCEPT"))
        yield server, accepting.rpartition(":")[2].strip()
    finally:
        server.kill()
        server.wait()
