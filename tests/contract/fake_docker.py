"""Stands in for the docker CLI's ``compose``: hands the project to the Docker double.

It goes the CLI's way (DOCKER_HOST, so the signing proxy, TLS and the agent) with the CLI's words.
"""

import http.client
import json
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

words = sys.argv[1:]


def option(name: str) -> str:
    return words[words.index(name) + 1] if name in words else ""


env = {}
if option("--env-file"):
    pairs = Path(option("--env-file")).read_text().splitlines()
    env = dict(line.split("=", 1) for line in pairs)
body = {
    "project": option("-p"),
    "directory": str(Path(option("-f")).parent) if option("-f") else "",
    "content": Path(option("-f")).read_text() if option("-f") else "",
    "env": env,
    "prune": "--remove-orphans" in words,
    "recreate": "--force-recreate" in words,
    "pull": "--pull" in words,
    "config": Path(os.environ["DOCKER_CONFIG"], "config.json").read_text(),
}
action = "up" if "up" in words else "down"
host = urlsplit(os.environ["DOCKER_HOST"])
connection = http.client.HTTPConnection(host.hostname or "docker", host.port, timeout=60)
if host.scheme == "unix":
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(host.path)
connection.request("POST", f"/double/{action}", json.dumps(body))
answer = connection.getresponse()
text = answer.read().decode()
if answer.status != 200:
    sys.stderr.write(text)
    sys.exit(1)
