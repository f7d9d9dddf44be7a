"""A real Chromium as a client of the lab: names by its DNS, trust in the site's root alone."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

# As root there is no sandbox; the rest keeps the browser from talking on its own account.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@dataclass
class Heard:
    """What a page did while it was open: every request, and all that it complained of."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        """Note everything from now on."""

        def console(message: ConsoleMessage) -> None:
            self.complaints.append(f"console: {message.type}: {message.text}")

        def failed(request: Request) -> None:
            self.complaints.append(f"request: {request.url}: {request.failure}")

        def asked(request: Request) -> None:
            self.requests.append(request.url)

        page.on("console", console)
        page.on("requestfailed", failed)
        page.on("request", asked)
        page.on("pageerror", lambda error: self.complaints.append(f"page: {error}"))


def needed() -> None:
    """Skip the test where there is no Chromium; fail it in CI."""
    for program in ("chromium", "certutil"):
        if shutil.which(program) is None:
            if os.environ.get("CI"):
                pytest.fail(f"CI must run this test, and there is no {program}")
            pytest.skip(f"no {program}: python3 lab test installs it")


@contextmanager
def chromium(
    playwright: Playwright, directory: Path, name_server: str, root: str | None
) -> Iterator[Browser]:
    """A browser with a home of its own in `directory`; `root` is the PEM that it trusts.

    It sees a resolv.conf of its own (a mount namespace, so this needs root), and so asks
    `name_server` for every name. Certificate errors are never ignored.
    """
    directory.mkdir()
    if root is not None:
        (directory / "root.pem").write_text(root)
        database = directory / ".pki/nssdb"
        database.mkdir(parents=True)
        for words in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "site", "-i",
                      str(directory / "root.pem")]):  # fmt: skip
            subprocess.run(["certutil", "-d", f"sql:{database}", *words], check=True)
    (directory / "resolv.conf").write_text(f"nameserver {name_server}\n")
    (directory / "nsswitch.conf").write_text("hosts: files dns\n")
    mounts = [
        f"mount --bind {shlex.quote(str(directory / name))} /etc/{name}"
        for name in ("resolv.conf", "nsswitch.conf")
    ]
    inside = shlex.quote(" && ".join([*mounts, 'exec chromium "$@"']))
    program = directory / "chromium"
    program.write_text(f'#!/bin/sh\nexec unshare --mount sh -c {inside} chromium "$@"\n')
    program.chmod(0o755)
    environment: dict[str, Any] = {"HOME": str(directory), "PATH": os.environ["PATH"]}
    browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS), env=environment)
    try:
        yield browser
    finally:
        browser.close()
