"""Outputs in parts, read by a parser of their own: what a program would take them for."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import crossplane
import yaml

_DIGEST = re.compile(r"\b[0-9a-f]{12,}\b|\$2[aby]\$\S+")
"""Of content that has the text in it; a password's hash is another one each time."""
_LOW_LEVEL = re.compile(r"\A(lxc\.[a-z0-9_.-]+) *[=:] *")
"""KEY=VALUE of lxc.container.conf(5), which Proxmox VE keeps as "KEY: VALUE"."""


def differences(
    plain: Mapping[str, str], word: str, other: Mapping[str, str], text: str
) -> list[str]:
    """Names of outputs that differ in more than the text that the declaration gave.

    Args:
        plain: the outputs with `word` in the declaration, by name.
        word: harmless.
        other: those with `text` in its place.
        text: hostile, perhaps.
    """
    plain_parts = {_signed(name, word): (name, content) for name, content in plain.items()}
    other_parts = {_signed(name, text): (name, content) for name, content in other.items()}
    return sorted(
        name
        for name in plain_parts.keys() | other_parts.keys()
        if name not in plain_parts
        or name not in other_parts
        or (
            plain_parts[name][1] != other_parts[name][1]
            and _read(*plain_parts[name], word) != _read(*other_parts[name], text)
        )
    )


def _read(name: str, content: str, text: str) -> Any:
    """The parts of an output, the text shown as a sign; of lists the order says nothing here."""
    parser = next((reader for ending, reader in PARSERS.items() if re.search(ending, name)), _lines)
    return _signed(parser(content), text)


def _signed(data: Any, text: str) -> Any:
    if isinstance(data, dict):
        return {_signed(key, text): _signed(value, text) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return sorted((_signed(item, text) for item in data), key=repr)
    if not isinstance(data, str):
        return data
    data = _DIGEST.sub("(digest)", data)
    low_level = _LOW_LEVEL.sub(r"\1: ", text.strip(" "))
    forms = (text, text.strip(" "), low_level, text.lower(), quote(text, safe=""))
    for form in dict.fromkeys(forms):
        if form:
            data = data.replace(form, "(the text)")
    return data


def _lines(content: str) -> list[str]:
    return re.split(r"\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", content)


def _log_ins(content: str) -> Any:
    """The docker CLI's: user and password stand in base64 (cli/config/configfile)."""
    auths = json.loads(content)["auths"]
    return {
        name: base64.b64decode(entry["auth"]).decode().split(":") for name, entry in auths.items()
    }


def _yaml(content: str) -> Any:
    return yaml.safe_load(content)


def _nginx(content: str) -> Any:
    """Directives with their arguments, by the parser of nginx' own company."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "nginx.conf"
        file.write_text(content)
        payload = crossplane.parse(str(file), single=True)
    assert payload["status"] == "ok", payload["errors"]
    return _directives(payload["config"][0]["parsed"])


def _directives(block: list[dict[str, Any]]) -> list[Any]:
    return [(item["directive"], item["args"], _directives(item.get("block", []))) for item in block]


def _dnsmasq(content: str) -> list[Any]:
    """Option and values of each line (dnsmasq's option.c, read_file: # begins a comment)."""
    options = []
    for line in _lines(content):
        word = re.sub(r"(?:^|\s)#.*", "", line).strip()
        if word:
            assert not re.search(r"[\"\\]", word), word  # quotes and escapes: none is meant
            option, _, value = word.partition("=")
            options.append((option, value.split(",")))
    return options


def _unit(content: str) -> list[Any]:
    """Sections and keys (systemd.syntax(7)): a backslash joins lines, % begins a specifier."""
    entries: list[Any] = []
    for line in re.sub(r"\\\n", " ", content).split("\n"):
        line = line.strip()
        if line and line[0] not in "#;":
            key, equals, value = line.partition("=")
            entries.append((key, bool(equals), re.split(r"(%.)", value)))
    return entries


def _assignments(content: str) -> list[Any]:
    """NAME=VALUE of each line, as phoenix-acme reads them."""
    assignments = []
    for line in _lines(content):
        name, equals, value = line.partition("=")
        assert not line or re.fullmatch(r"[A-Z_]+", name), line
        assignments.append((name, equals, value.split(" ")))
    return assignments


def _ini(content: str) -> list[Any]:
    """stunnel's sections and options (stunnel(8))."""
    return [tuple(part.strip() for part in line.partition("=")) for line in _lines(content)]


def _properties(content: str) -> list[Any]:
    """A property string of Proxmox VE, or another of its values (pct.conf(5))."""
    return [[part.partition("=") for part in line.split(",")] for line in _lines(content)]


def _by_root(content: str) -> list[Any]:
    """The words of a command; a property string has parts, a low-level line has none."""
    words = shlex.split(content)
    return [word if word.startswith("lxc.") else _properties(word) for word in words]


def _nft(content: str) -> list[Any]:
    """The words of each rule; a comment is a string without quotes at its end (nft(8))."""
    return [re.sub(r' comment "[^"]*"\Z', "", line).split() for line in _lines(content)]


def _shell(content: str) -> list[Any]:
    """The words of a script, read as sh does; comments left out."""
    return list(shlex.shlex(content, posix=True, punctuation_chars=True))


PARSERS: dict[str, Callable[[str], Any]] = {
    r"/\.docker/config\.json$": _log_ins,
    r"\.yml$| compose$": _yaml, r"\.json$": json.loads, r"nginx\.conf$": _nginx,
    r"dnsmasq\.conf$": _dnsmasq, r"\.(?:service|timer)$": _unit, r"^tunnel": _ini,
    r"^PVE \d+ by root": _by_root,
    r"^PVE \d+ (?!words|description)": _properties, r"^agent": _yaml,
    r" (?:host|gateway|traefik)\.conf$": _assignments,
    r"\.sh$": _shell, r"\.nft$": _nft,
}  # fmt: skip
