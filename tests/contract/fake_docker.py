"""Stands in for the docker CLI's ``compose`` and ``stack``: hands the project to the Docker double.

It goes the CLI's way (DOCKER_HOST, so the signing proxy, TLS and the agent) with the CLI's words.
"""

import json
import os
import re
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

words = sys.argv[1:]

# One statement of an env file: a name and a value in single or double quotes, or none.
STATEMENT = re.compile(
    r"""\s*([\w.]+)=[ \t]*(?:'([^']*)'|"((?:[^"\\]|\\.)*)"|([^\n]*))[^\n]*(?:\n|$)""", re.DOTALL
)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


def option(name: str) -> str:
    return words[words.index(name) + 1] if name in words else ""


def interpolated(text: str, scope: dict[str, str]) -> str:
    """What compose makes of ``$NAME``, ``${NAME}`` and ``$$``."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1] or match[2]
        if name is None:
            sys.stderr.write(f"failed to read stack.env: Invalid template: {text!r}\n")
            sys.exit(1)
        return scope.get(name, "")

    return re.sub(r"\$(?:\$|\{(\w+)\}|(\w+)|)", value, text)


def env_file(text: str) -> dict[str, str]:
    """What compose reads; the environment of the process comes before the file's own lines."""
    values: dict[str, str] = {}
    at = 0
    while text[at:].strip():
        match = STATEMENT.match(text, at)
        if match is None:
            sys.stderr.write("failed to read stack.env: unexpected character\n")
            sys.exit(1)
        at = match.end()
        name, literal, escaped, plain = match.groups()
        scope = {**values, **os.environ}
        if literal is not None:
            values[name] = literal
        elif escaped is not None:
            text_of = re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[0]), escaped)
            values[name] = interpolated(text_of, scope)
        else:
            values[name] = interpolated(plain.partition(" #")[0].strip(), scope)
    return values


if words[0] == "stack":  # stack deploy --compose-file FILE NAME, stack rm NAME
    words += ["-p", words[-1], *(["-f", option("--compose-file")] if "deploy" in words else [])]
file = Path(option("--env-file")).read_text() if option("--env-file") else ""
body = {
    "project": option("-p"),
    "directory": str(Path(option("-f")).parent) if option("-f") else "",
    "content": Path(option("-f")).read_text() if option("-f") else "",
    "env": env_file(file),
    "outer": dict(os.environ),
    "prune": "--remove-orphans" in words or "--prune" in words,
    "recreate": "--force-recreate" in words,
    "pull": "--pull" in words,
    "words": words,
    "config": Path(os.environ["DOCKER_CONFIG"], "config.json").read_text(),
}
action = words[1] if words[0] == "stack" else "up" if "up" in words else "down"
host = urlsplit(os.environ["DOCKER_HOST"])
if host.scheme == "unix":
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(host.path)
else:
    connection = socket.create_connection((host.hostname, host.port), timeout=60)
sent = json.dumps(body).encode()
head = f"POST /double/{action} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n"
connection.sendall(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
with connection.makefile("rb") as answer:  # http.client takes longer to import than all the rest
    status = answer.readline().split()[1]
    length = 0
    while line := answer.readline().strip():
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    text = answer.read(length).decode()
if status != b"200":
    sys.stderr.write(text)
    sys.exit(1)
