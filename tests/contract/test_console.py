"""The WebSocket console, client to server to agent to Docker, frames by hand (RFC 6455)."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from urllib.parse import urlsplit

import pytest

from portainer_emulator.console import accept_key
from tests.contract.harness import Portainer


def masked(data: bytes, opcode: int = 1) -> bytes:
    mask = os.urandom(4)
    body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    return bytes([0x80 | opcode, 0x80 | len(data)]) + mask + body


def test_exec_session_echoes_and_closes(portainer: Portainer) -> None:
    if portainer.double is None:
        pytest.skip("needs the Docker double")
    double = portainer.double
    name = portainer.name()
    portainer.create(name, portainer.compose())
    container = portainer.containers(name)[0]["Id"]
    endpoint = portainer.endpoint()
    created = portainer.admin(
        "POST", f"/endpoints/{endpoint}/docker/containers/{container}/exec", json={"Cmd": ["sh"]}
    )
    assert created.status_code == 201, created.text
    parts = urlsplit(portainer.url)
    context = ssl.create_default_context(cafile=str(portainer.ca))
    key = base64.b64encode(os.urandom(16)).decode()
    raw = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)
    with context.wrap_socket(raw, server_hostname=parts.hostname) as sock:
        sock.sendall(
            f"GET /api/websocket/exec?endpointId={endpoint}&id={created.json()['Id']}"
            f"&token={portainer.token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        stream = sock.makefile("rb")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            assert line, head
            head += line
        assert b" 101 " in head, head
        assert accept_key(key).encode() in head, head
        for word in (b"hello", b"again"):
            sock.sendall(masked(word))
            assert stream.read(2 + 5 + len(word))[2:] == b"echo:" + word
        sock.sendall(masked(b"\x03\xe8", 8))
        assert stream.read(4) == b"\x88\x02\x03\xe8", "a close frame answers a close frame"
    assert any(observed.endswith("/start") for observed in double.requests)


def test_without_a_token_it_is_401(portainer: Portainer) -> None:
    answer = portainer.call("GET", "/websocket/exec?endpointId=1&id=abc")
    assert answer.status_code == 401, answer.text
