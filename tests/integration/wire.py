"""What passes on the lab's network, read from its bridge, as a stranger there would."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address

ALL_FRAMES = 0x0003  # ETH_P_ALL
ADD_MEMBERSHIP, PROMISCUOUS = 1, 1  # PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC: packet(7)
SOL_PACKET = 263
SYN = 0x02
TCP, UDP = 6, 17

Flow = tuple[str, int, str, int]
"""Source address and port, destination address and port."""


@dataclass
class Wire:
    """What was seen: the first bytes that each end of a new connection sent, and every payload."""

    opened: set[Flow] = field(default_factory=set)
    first: dict[Flow, bytes] = field(default_factory=dict)
    payloads: list[bytes] = field(default_factory=list)

    def take(self, frame: bytes) -> None:
        """One Ethernet frame."""
        if len(frame) < 34 or frame[12:14] != b"\x08\x00":
            return
        packet = frame[14:]
        packet = packet[: struct.unpack("!H", packet[2:4])[0]]  # without what fills the frame
        protocol, rest = packet[9], packet[4 * (packet[0] & 15) :]
        if protocol not in (TCP, UDP) or len(rest) < 8:
            return
        source, destination = (str(IPv4Address(packet[i : i + 4])) for i in (12, 16))
        ports = struct.unpack("!HH", rest[:4])
        flow = (source, ports[0], destination, ports[1])
        payload = rest[8:] if protocol == UDP else rest[4 * (rest[12] >> 4) :]
        if protocol == TCP and rest[13] & SYN:
            self.opened.add(flow)
            self.first.pop(flow, None)
        if not payload:
            return
        self.payloads.append(payload)
        if protocol == TCP and flow in self.opened:
            self.first.setdefault(flow, payload)

    def holds(self, text: str) -> bool:
        """Whether any payload has this text in it."""
        return any(text.encode() in payload for payload in self.payloads)

    def in_the_clear(self) -> dict[Flow, bytes]:
        """First words of new TCP connections that are neither TLS records nor SSH's greeting."""
        return {
            flow: payload[:80]
            for flow, payload in self.first.items()
            if not (payload[0] in (0x14, 0x15, 0x16, 0x17) and payload[1:2] == b"\x03")
            and not payload.startswith(b"SSH-2.0-")
        }


@contextmanager
def listening(bridge: str) -> Iterator[Wire]:
    """Every frame of a bridge until the block ends."""
    wire = Wire()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_FRAMES)) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024 * 1024)
        raw.bind((bridge, ALL_FRAMES))
        member = struct.pack("IHH8s", socket.if_nametoindex(bridge), PROMISCUOUS, 0, b"")
        raw.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, member)
        raw.settimeout(0.2)
        ended = threading.Event()

        def take() -> None:
            while not ended.is_set():
                try:
                    wire.take(raw.recv(65535))
                except TimeoutError:
                    continue

        reader = threading.Thread(target=take, daemon=True)
        reader.start()
        try:
            yield wire
            time.sleep(0.5)  # what is on its way
        finally:
            ended.set()
            reader.join()
