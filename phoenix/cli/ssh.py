"""ssh(1) for verbs that hand over to it: its streams and its exit code are the verb's."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from phoenix.cli import exits, project
from phoenix.cli.exits import CommandError
from phoenix.net.ssh_command import ssh_command

_printing = threading.Lock()


def ssh_words(
    site: project.Project, host: str, command: Sequence[str], *, terminal: bool = False
) -> list[str]:
    """The words of ssh(1) for a host of the site's inventory."""
    return ssh_command(host, site.given.hosts[host], command, terminal=terminal)


def run_each(commands: Mapping[str, Sequence[str]]) -> int:
    """Run one command for each host, all at the same time; of several each line has its host.

    Returns:
        The exit code of the command, of several the first that is not 0.

    Raises:
        CommandError: there is no program of that name on this machine.
    """
    try:
        if len(commands) == 1:
            (words,) = commands.values()
            return subprocess.run(list(words), check=False).returncode
        started = {
            host: subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            for host, words in commands.items()
        }
    except FileNotFoundError as error:
        raise CommandError(f"{error.filename} is not installed on this machine") from None
    width = max(map(len, started))
    readers = [
        threading.Thread(target=_print_lines, args=(f"{host:{width}}  ", process))
        for host, process in started.items()
    ]
    try:
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    except KeyboardInterrupt:
        for process in started.values():
            process.terminate()
        raise
    codes = [process.wait() for process in started.values()]
    return next((code for code in codes if code), exits.OK)


def _print_lines(prefix: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout  # noqa: S101  # it is a pipe
    for line in process.stdout:
        with _printing:
            sys.stdout.write(f"{prefix}{line.rstrip(chr(10))}\n")
            sys.stdout.flush()
