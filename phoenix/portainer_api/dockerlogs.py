"""Docker's multiplexed log stream."""

from __future__ import annotations

_HEADER = 8


def demultiplex(stream: bytes) -> list[str]:
    """The lines of a ``/containers/{id}/logs`` answer, both streams in order.

    Without a terminal each frame starts with ``[stream, 0, 0, 0, size (uint32, big endian)]``
    (Docker Engine API, "Attach to a container"); with one the bytes are raw. The answer
    leaves open which it is, so a stream that cannot be parsed as frames counts as raw.
    """
    out, at = bytearray(), 0
    while at < len(stream):
        head = stream[at : at + _HEADER]
        if len(head) < _HEADER or head[0] > 2 or head[1:4] != b"\0\0\0":
            out = bytearray(stream)
            break
        size = int.from_bytes(head[4:], "big")
        out += stream[at + _HEADER : at + _HEADER + size]
        at += _HEADER + size
    return out.decode("utf-8", "replace").splitlines()
