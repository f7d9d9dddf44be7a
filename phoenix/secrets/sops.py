"""A file of secrets that a team shares through git, encrypted by SOPS (https://getsops.io).

The `sops` program does it. Plain text reaches it by standard input and comes back by standard
output, and never stands in a command line.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from phoenix import bounded
from phoenix.secrets.errors import SecretError, flat_strings

CONFIG = ".sops.yaml"
"""SOPS' own file, beside the secrets: who can decrypt them."""
_FORMS = (".json", ".yaml", ".yml")
_SECONDS = 60
_UNCHANGED = 200
"""Exit code of `sops edit` where the editor changed nothing."""
_MEMORY = Path("/dev/shm")  # noqa: S108 - sops makes a directory of its own there, mode 0700
INSTALL = (
    "install SOPS 3.9 or newer (https://getsops.io, the program `sops`), so that it is on PATH"
)


def decrypt(file: Path) -> dict[str, str]:
    """What a SOPS file holds.

    Args:
        file: one flat object of strings, encrypted; JSON, YAML or another form of SOPS.

    Raises:
        SecretError: sops is not installed, or cannot decrypt it; says why.
    """
    return flat_strings(_run(file, "--decrypt", "--output-type", "json", str(file)), str(file))


def names(file: Path) -> frozenset[str]:
    """The names in a SOPS file, which stand there in clear; empty where its form has no names.

    Args:
        file: one flat object, encrypted; JSON or YAML.
    """
    try:
        top = yaml.safe_load(bounded.read(file))  # JSON is YAML
    except (OSError, yaml.YAMLError):
        return frozenset()
    return frozenset(top) - {"sops"} if isinstance(top, dict) else frozenset()


def create(file: Path, values: Mapping[str, str], recipient: str) -> None:
    """Make a SOPS file, and beside it the rule that says who can decrypt it.

    Args:
        file: the file to make. A rule that is there already in `.sops.yaml` counts.
        values: the secrets by name.
        recipient: an age public key (`age1...`), for the rule.

    Raises:
        SecretError: the file is there already, sops is not installed, or refuses.
    """
    if file.exists():
        raise SecretError(f"{file} is there already")
    rules = file.with_name(CONFIG)
    new_rules = not rules.exists()
    if new_rules:
        rules.write_text(_rules(file.name, recipient))
    try:
        encrypted = _run(
            file, "--config", str(rules), "--encrypt", "--filename-override", str(file),
            "--input-type", "json", "--output-type", _form(file), "/dev/stdin",
            text=_plain(values),
        )  # fmt: skip
    except SecretError:
        if new_rules:
            rules.unlink()
        raise
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(encrypted)
    temporary.replace(file)


def rewrite(file: Path, values: Mapping[str, str]) -> None:
    """Give a SOPS file another content; who can decrypt it stays as it is.

    Args:
        file: an encrypted file.
        values: all secrets that it is to hold, by name.

    Raises:
        SecretError: sops is not installed, or cannot decrypt or write it; or it is neither JSON nor
            YAML by its name.
    """
    if file.suffix not in _FORMS:  # of which JSON is one, or a part
        raise SecretError(f"{file} cannot be written: its name must end with .json or .yaml")
    _run(
        file, str(file),
        text=_plain(values),
        # The editor that takes what it is given: sops hands it our standard input.
        environment={"SOPS_EDITOR": "tee", "EDITOR": "tee"} | _in_memory(),
        fine=(0, _UNCHANGED),
    )  # fmt: skip
    if decrypt(file) != dict(values):
        raise SecretError(f"sops did not write {file}: it holds what it held before")


def _form(file: Path) -> str:
    return "json" if file.suffix == ".json" else "yaml"


def _in_memory() -> dict[str, str]:
    return {"TMPDIR": str(_MEMORY)} if os.access(_MEMORY, os.W_OK) else {}


def _plain(values: Mapping[str, str]) -> str:
    return json.dumps(dict(values), indent=2, sort_keys=True)


def _rules(name: str, recipient: str) -> str:
    escaped = name.replace(".", r"\.")
    return (
        "# Who can decrypt the secrets. After a change here: sops updatekeys " + name + "\n"
        "creation_rules:\n"
        f"  - path_regex: (^|/){escaped}$\n"
        "    age: >-\n"
        f"      {recipient}\n"
    )


def _run(
    file: Path,
    *arguments: str,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    fine: tuple[int, ...] = (0,),
) -> str:
    try:
        process = subprocess.run(
            ["sops", *arguments],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True, text=True, check=False, timeout=_SECONDS,
            env=os.environ | dict(environment or {}),
        )  # fmt: skip
    except FileNotFoundError:
        raise SecretError(f"{file}: sops is not installed here: {INSTALL}") from None
    except subprocess.TimeoutExpired:
        raise SecretError(f"sops gave no answer on {file} within {_SECONDS} s") from None
    if process.returncode not in fine:
        verb = "decrypt" if "--decrypt" in arguments else "write"
        reason = process.stderr.strip() or f"exit code {process.returncode}"
        raise SecretError(f"sops cannot {verb} {file}: {reason}")
    return process.stdout
