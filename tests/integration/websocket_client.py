"""Runs on the lab's client: sends one text frame over wss and prints what comes back.

websocket_client.py NAME ROOT_FILE TEXT     (RFC 6455; the standard library has no client)
"""

import base64
import os
import socket
import ssl
import sys


def main(name: str, root: str, text: str) -> None:
    """Exit with what went wrong, or print the echo."""
    context = ssl.create_default_context(cafile=root)
    plain = socket.create_connection((name, 443), timeout=15)
    with context.wrap_socket(plain, server_hostname=name) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET /socket HTTP/1.1\r\nHost: {name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        stream = connection.makefile("rb")
        status = stream.readline()
        if b" 101 " not in status:
            sys.exit(f"no upgrade: {status!r} {stream.read(500)!r}")
        while stream.readline().strip():
            pass
        payload, mask = text.encode(), os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        connection.sendall(bytes([0x81, 0x80 | len(payload)]) + mask + masked)
        first, size = stream.read(2)
        if first != 0x81:
            sys.exit(f"no text frame: {first:#x}")
        sys.stdout.write(stream.read(size).decode())


main(*sys.argv[1:])
