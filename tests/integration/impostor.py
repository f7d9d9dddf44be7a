"""Runs inside a guest: a TLS server on port 443 that writes down what it is sent.

`impostor.py FOLDER`: serves FOLDER's fullchain.pem and privkey.pem, and writes FOLDER/log: one line
for each connection, and one for each first line of a request.
"""

from __future__ import annotations

import socket
import ssl
import sys
from pathlib import Path

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nimpostor"


def main(folder: Path) -> None:
    """Serve one connection after the other until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
    with (folder / "log").open("w", buffering=1) as log, socket.create_server(("", 443)) as server:
        log.write("listening\n")
        while True:
            plain, _ = server.accept()
            plain.settimeout(10)
            log.write("connected\n")
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    data = connection.recv(65536)
                    if data:
                        log.write(f"received {data.decode('latin-1')}\n")
                        connection.sendall(ANSWER)
            except OSError as error:  # of which ssl.SSLError is one
                log.write(f"ended {error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
