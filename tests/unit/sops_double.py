"""The part of `sops` 3.9 that Phoenix calls, in SOPS' own file format, for machines without it.

JSON files with age recipients alone: `--decrypt`, `--encrypt` by the rules of `.sops.yaml`, and an
edit by the program that SOPS_EDITOR names. Values are AES-256-GCM with the value's path as
additional data; the MAC is SHA-512 over all values (https://getsops.io/docs/#encryption-protocol).
tests/unit/test_sops.py holds it to the real program where that is installed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage  # type: ignore[import-untyped]
import yaml
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyrage import x25519

_VALUE = re.compile(r"ENC\[AES256_GCM,data:(.*),iv:(.+),tag:(.+),type:str\]\Z")
UNCHANGED = 200


def main(words: list[str]) -> int:
    options = {w: words[i + 1] for i, w in enumerate(words[:-1]) if w.startswith("--")}
    flags = {word for word in words if word.startswith("--")}
    file = Path(words[-1])
    if "--decrypt" in flags:
        print(json.dumps(_decrypt(json.loads(file.read_text()))[0], indent="\t"))  # noqa: T201
        return 0
    if "--encrypt" in flags:
        rules = yaml.safe_load(Path(options["--config"]).read_text())["creation_rules"]
        name = options["--filename-override"]
        matching = [rule for rule in rules if re.search(rule.get("path_regex", ""), name)]
        if not matching:
            return _fail("error loading config: no matching creation rules found")
        recipients = [recipient.strip() for recipient in matching[0]["age"].split(",")]
        print(_encrypt(json.loads(sys.stdin.read()), os.urandom(32), recipients))  # noqa: T201
        return 0
    return _edit(file)


def _edit(file: Path) -> int:
    encrypted = json.loads(file.read_text())
    values, key = _decrypt(encrypted)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / file.name
        plain.touch(0o600)
        plain.write_text(json.dumps(values))
        subprocess.run([os.environ["SOPS_EDITOR"], str(plain)], check=True)
        after = json.loads(plain.read_text())
    if after == values:
        return _fail("File has not changed, exiting.", UNCHANGED)
    recipients = [entry["recipient"] for entry in encrypted["sops"]["age"]]
    file.write_text(_encrypt(after, key, recipients))
    return 0


def _encrypt(values: dict[str, str], key: bytes, recipients: list[str]) -> str:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    digest = hashlib.sha512("".join(values.values()).encode()).hexdigest().upper()
    keys = [
        {
            "recipient": recipient,
            "enc": pyrage.encrypt(
                key, [x25519.Recipient.from_str(recipient)], armored=True
            ).decode(),
        }
        for recipient in recipients
    ]
    about = {"age": keys, "lastmodified": now, "mac": _seal(digest, key, now),
             "unencrypted_suffix": "_unencrypted", "version": "3.9.4"}  # fmt: skip
    sealed: dict[str, Any] = {name: _seal(v, key, f"{name}:") for name, v in values.items()}
    return json.dumps(sealed | {"sops": about}, indent="\t")


def _decrypt(encrypted: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    about = encrypted["sops"]
    key = _data_key(about["age"])
    values = {
        name: _open(value, key, f"{name}:") for name, value in encrypted.items() if name != "sops"
    }
    digest = hashlib.sha512("".join(values.values()).encode()).hexdigest().upper()
    if _open(about["mac"], key, about["lastmodified"]) != digest:
        raise SystemExit(_fail("MAC mismatch"))
    return values, key


def _data_key(recipients: list[dict[str, str]]) -> bytes:
    path = Path(os.environ.get("SOPS_AGE_KEY_FILE", "~/.config/sops/age/keys.txt")).expanduser()
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if line.startswith("AGE-SECRET")]
        held = [x25519.Identity.from_str(line) for line in lines]
        for recipient in recipients:
            try:
                return bytes(pyrage.decrypt(recipient["enc"].encode(), held))
            except pyrage.DecryptError:
                continue
    raise SystemExit(_fail("Failed to get the data key required to decrypt the SOPS file.", 128))


def _seal(text: str, key: bytes, about: str) -> str:
    nonce = os.urandom(32)
    sealed = AESGCM(key).encrypt(nonce, text.encode(), about.encode())
    data, iv, tag = (base64.b64encode(p).decode() for p in (sealed[:-16], nonce, sealed[-16:]))
    return f"ENC[AES256_GCM,data:{data},iv:{iv},tag:{tag},type:str]"


def _open(value: str, key: bytes, about: str) -> str:
    match = _VALUE.match(value)
    if match is None:
        raise SystemExit(_fail(f"{about} is not encrypted"))
    data, iv, tag = (base64.b64decode(part) for part in match.groups())
    try:
        return AESGCM(key).decrypt(iv, data + tag, about.encode()).decode()
    except InvalidTag:
        raise SystemExit(_fail(f"{about} was changed")) from None


def _fail(reason: str, code: int = 1) -> int:
    print(reason, file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
