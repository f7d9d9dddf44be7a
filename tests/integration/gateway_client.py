"""Runs on the lab's client: requests that no browser sends; each answer's status lines, as JSON.

`gateway_client.py NAME ROOT`: reads a JSON list of [server name, request], and prints for each the
status of every answer on its connection, or why there was none.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys


def answers(host: str, root: str, server_name: str, request: str) -> list[str]:
    """Status lines of what came back; the error where the handshake failed."""
    context = ssl.create_default_context(cafile=root)
    context.check_hostname = False  # another server name, or none, is what is tried
    try:
        with (
            socket.create_connection((host, 443), 10) as plain,
            context.wrap_socket(plain, server_hostname=server_name or None) as connection,
        ):
            connection.sendall(request.encode())
            connection.settimeout(3)
            got = b""
            try:
                while piece := connection.recv(65536):
                    got += piece
            except TimeoutError:
                pass  # it waits for the next request
    except OSError as error:
        return [str(error)]
    return re.findall(r"^HTTP/1\.1 (\d+)", got.decode("latin-1"), re.MULTILINE)


def main(host: str, root: str) -> None:
    """Try each of standard input."""
    sys.stdout.write(
        json.dumps([answers(host, root, *arguments) for arguments in json.load(sys.stdin)])
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
