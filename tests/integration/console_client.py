"""Runs on the lab's client: a console of Portainer over wss, typed into; prints what comes back.

console_client.py NAME ROOT_FILE PATH_FILE COMMAND EXPECTED

PATH_FILE holds path and token of the WebSocket (RFC 6455).
"""

import base64
import os
import socket
import ssl
import sys
from pathlib import Path


def main(name: str, root: str, path_file: str, command: str, expected: str) -> None:
    """Exit with what went wrong, or print what the console says until it has said `expected`."""
    context = ssl.create_default_context(cafile=root)
    plain = socket.create_connection((name, 443), timeout=20)
    with context.wrap_socket(plain, server_hostname=name) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET {Path(path_file).read_text()} HTTP/1.1\r\nHost: {name}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "\r\n".encode()
        )
        stream = connection.makefile("rb")
        status = stream.readline()
        if b" 101 " not in status:
            sys.exit(f"no upgrade: {status!r} {stream.read1(500)!r}")
        while stream.readline().strip():
            pass
        payload, mask = f"{command}\n".encode(), os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        connection.sendall(bytes([0x81, 0x80 | len(payload)]) + mask + masked)
        output = ""
        while expected not in output:
            head = stream.read(2)
            if len(head) < 2 or head[0] & 0x0F == 8:
                sys.exit(f"the console has closed after {output!r}")
            size = head[1] & 0x7F
            if size == 126:
                size = int.from_bytes(stream.read(2), "big")
            output += stream.read(size).decode(errors="replace")
        sys.stdout.write(output)


main(*sys.argv[1:])
