"""The console's WebSocket frames (RFC 6455)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from portainer_emulator.console import _Frames, accept_key, encode_frame

BINARY, CLOSE, PING = 2, 8, 9


def masked(data: bytes, opcode: int = BINARY) -> bytes:
    """A client's frame."""
    mask = os.urandom(4)
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    if len(data) < 126:
        size = bytes([0x80 | len(data)])
    elif len(data) < 65536:
        size = struct.pack("!BH", 0x80 | 126, len(data))
    else:
        size = struct.pack("!BQ", 0x80 | 127, len(data))
    return bytes([0x80 | opcode]) + size + mask + body


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    server, client = socket.socketpair()
    with server, client:
        yield server, client


def test_accept_key_is_the_example_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_of_every_length_form(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    data = os.urandom(size)
    assert _Frames(pair[0]).feed(masked(data)) == data
    form, extended = {125: (125, 0), 126: (126, 2), 65536: (127, 8)}.get(
        size, (size if size < 126 else 126, 0 if size < 126 else 2)
    )
    frame = encode_frame(data)
    assert (frame[0], frame[1]) == (0x82, form)
    assert frame[2 + extended :] == data


def test_frames_come_in_pieces_and_together(pair: tuple[socket.socket, socket.socket]) -> None:
    frames = _Frames(pair[0])
    first, second = masked(b"hello "), masked(b"world")
    assert [frames.feed(bytes([byte])) for byte in first[:-1]] == [b""] * (len(first) - 1)
    assert frames.feed(first[-1:] + second) == b"hello world"


def test_ping_is_answered_with_its_own_body(pair: tuple[socket.socket, socket.socket]) -> None:
    assert _Frames(pair[0]).feed(masked(b"are you there", PING) + masked(b"x")) == b"x"
    assert pair[1].recv(100) == encode_frame(b"are you there", 10)


def test_close_and_an_unmasked_frame_end_the_session(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    assert _Frames(pair[0]).feed(masked(b"\x03\xe8", CLOSE)) is None
    assert _Frames(pair[0]).feed(encode_frame(b"no mask")) is None
