"""Runs on the CA's guest: what the CA has issued, from its database.

`python3 -c PROGRAM DIRECTORY [all]`: a line of JSON for each certificate that is still valid, or
for all of them, oldest first; `phoenix.health.issued` reads it. It needs the standard library
alone and writes nothing: the CA runs on meanwhile.

step-ca's badger keeps each value in a value log, DIRECTORY/NUMBER.vlog, which it only appends to
(badger v2, value.go and structs.go): behind a head of 20 bytes come entries of meta (1 byte), user
meta (1 byte), length of key, length of value, expiry (each a varint), key, value, and CRC-32C
(4 bytes). In the key stand, each behind its length of 2 bytes, the name of the table and the key in
it, and at its end the version (8 bytes). The table `x509_certs` has the certificates, as DER.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

TABLE = b"x509_certs"
NAMES = "../certs/declared_names"
"""Of `declared_names.py`; from DIRECTORY, which is the database's."""
_HEAD, _VERSION, _CRC = 20, 8, 4
_SAN = bytes.fromhex("551d11")
_DNS, _IP = 0x82, 0x87


def main(directory: str, which: str = "") -> None:
    """Print what is valid now, or all."""
    now = time.time()
    declared = declared_until(Path(directory, NAMES))
    issued: dict[str, dict[str, object]] = {}
    starts: dict[str, int] = {}
    for log in sorted(Path(directory).glob("*.vlog")):
        for der in certificates(log.read_bytes()):
            serial, names, start, end, key = describe(der)
            if which == "all" or end > now:
                starts[serial] = start
                issued[serial] = {
                    "serial": serial, "names": names, "not_before": start, "not_after": end,
                    "key": key,
                    "was_declared": all(start <= declared.get(name, 0) for name in names),
                }  # fmt: skip
    for serial in sorted(issued, key=lambda serial: starts[serial]):
        sys.stdout.write(json.dumps(issued[serial]) + "\n")


def declared_until(file: Path) -> dict[str, float]:
    """The last second in which the site declared each name; infinite for a name still declared.

    A line that is damaged tells nothing: the next sync writes the file anew.
    """
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    return {
        name: float(until) if until else float("inf")
        for name, _, until in (line.partition(" ") for line in lines)
        if not until or until.isdecimal()
    }


def certificates(log: bytes) -> Iterator[bytes]:
    """The values of `TABLE` in a value log, whose end may be cut off, or filled with zeros."""
    at = _HEAD
    table = len(TABLE).to_bytes(2, "little") + TABLE
    try:
        while True:
            key_length, at = _varint(log, at + 2)
            value_length, at = _varint(log, at)
            _, at = _varint(log, at)
            end = at + key_length + value_length
            if key_length <= _VERSION or end + _CRC > len(log):
                return
            key, value = log[at : at + key_length], log[at + key_length : end]
            if key.startswith(table) and value:  # the table's own entry is empty
                yield value
            at = end + _CRC
    except IndexError:
        return


def describe(der: bytes) -> tuple[str, list[str], int, int, str]:
    """Serial number in hex, names, first and last second of validity, SHA-256 of the public key.

    RFC 5280, section 4.1: TBSCertificate is version [0], serialNumber, signature, issuer, validity,
    subject, subjectPublicKeyInfo, extensions [3].
    """
    ((_, certificate),) = _parts(der)
    (_, inner), *_ = _parts(certificate)
    fields = [field for field in _parts(inner) if field[0] != 0xA0]
    serial, validity, key = fields[0][1], fields[3][1], fields[5][1]
    start, end = (_seconds(content.decode()) for _, content in _parts(validity))
    names = [name for tag, content in fields[6:] if tag == 0xA3 for name in _names(content)]
    digest = hashlib.sha256(_wrapped(0x30, key)).hexdigest()
    return format(int.from_bytes(serial, "big"), "x"), names, start, end, digest


def _names(extensions: bytes) -> Iterator[str]:
    ((_, every),) = _parts(extensions)
    for _, extension in _parts(every):
        (_, kind), *_, (_, value) = _parts(extension)
        if kind == _SAN:
            ((_, names),) = _parts(value)
            for tag, name in _parts(names):
                if tag == _DNS:
                    yield name.decode()
                elif tag == _IP:
                    yield str(ip_address(name))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number of seven bits a byte, the lowest first; and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element of DER (X.690)."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length >= 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        yield tag, data[at : at + length]
        at += length


def _wrapped(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def _seconds(text: str) -> int:
    """UTCTime or GeneralizedTime as seconds since 1970 (RFC 5280, section 4.1.2.5)."""
    if len(text) == len("YYMMDDHHMMSSZ"):
        text = ("19" if text >= "5" else "20") + text
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp())


if __name__ == "__main__":
    main(*sys.argv[1:])
