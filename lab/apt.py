"""What this machine's apt needs to reach Debian, so that apt inside a container works as well.

Detected, never written down: a proxy and a mirror are facts of one machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from urllib.parse import urlsplit

PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")
OFFICIAL_HOSTS = {"deb.debian.org", "security.debian.org", "ftp.debian.org"}


def files(release: str = "trixie") -> dict[str, bytes]:
    """Files for an image of that release of Debian, by absolute path; empty: the defaults do."""
    contents: dict[str, bytes] = {}
    proxies = proxy_settings(_run("apt-config", "dump"))
    if proxies:
        contents["/etc/apt/apt.conf.d/80phoenix-lab"] = "".join(
            f'{key} "{value}";\n' for key, value in proxies.items()
        ).encode()
    sources = mirror_sources(
        _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(COMPONENT)"), release
    )
    if sources:
        contents["/etc/apt/sources.list"] = sources.encode()
        contents["/etc/apt/sources.list.d/debian.sources"] = b""  # a public image's own list
    return contents


def proxy_variables() -> dict[str, str]:
    """The proxy variables of the environment; Docker's builder knows them without an ARG."""
    return {name: os.environ[name] for name in PROXY_VARIABLES if os.environ.get(name)}


def proxy_settings(dump: str) -> dict[str, str]:
    """The proxies in the output of `apt-config dump`, by apt's name for them."""
    pattern = r'^(Acquire::https?::Proxy(?:::[^ ]+)?) "(.+)";$'
    return {match[1]: match[2] for match in re.finditer(pattern, dump, re.MULTILINE)}


def mirror_sources(targets: str, release: str = "trixie") -> str:
    """A sources.list for a release where this machine uses a mirror of its own; else nothing.

    Args:
        targets: lines "URI ORIGIN COMPONENT" of `apt-get indextargets`.
        release: its code name.
    """
    uris = []
    for line in dict.fromkeys(targets.splitlines()):
        uri, _, origin = line.partition(" ")
        if origin != "Debian main" or urlsplit(uri).hostname in OFFICIAL_HOSTS:
            continue
        if urlsplit(uri).scheme in ("http", "https"):
            uris.append(uri.rstrip("/"))
    lines = []
    for uri in uris:
        # The security archive is a repository of its own, named so on every mirror.
        own = [f"{release}-security"]
        suites = own if uri.endswith("-security") else [release, f"{release}-updates"]
        lines += [f"deb {uri} {suite} main\n" for suite in suites]
    return "".join(lines)


def _run(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
