"""The lab's commands, once the project's packages are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from docker.errors import DockerException  # type: ignore[import-untyped]

from lab import inside, pace, preflight, request, state
from lab.progress import say, timed
from lab.settings import ROOT, LabError, from_environment
from lab.up import down, status, up
from phoenix.site.findings import ConfigError

TEST_SECONDS = 600
"""How long one test and its fixtures may take on a quiet machine. They have deadlines of their own;
this one is for what waits without any."""


def main(arguments: Sequence[str], usage: str) -> int:
    """Run one command; returns the exit status.

    Raises:
        LabError: says what is wrong.
    """
    command, *options = arguments
    without_arguments: dict[str, Callable[[], int]] = {
        "up": bring_up,
        "down": take_down,
        "status": tell_status,
        "run": run,
    }
    try:
        if command in without_arguments and not options:
            return without_arguments[command]()
        if command == "status" and options == ["--json"]:
            return tell_status(as_json=True)
        if command == "shell" and len(options) == 1:
            return shell(options[0])
        if command == "test":
            return test(options)
    except ConfigError as error:
        raise LabError(f"the site's declaration cannot be used:\n{error}") from None
    except DockerException as error:
        raise LabError(f"the Docker Engine says: {error}") from None
    print(usage, file=sys.stderr)
    return 2


def bring_up() -> int:
    """The command `up`."""
    up()
    return 0


def take_down() -> int:
    """The command `down`."""
    down()
    return 0


def tell_status(*, as_json: bool = False) -> int:
    """The command `status`: a line per host; 0 if all of them are up and healthy."""
    hosts = status()
    if as_json:
        print(json.dumps(hosts, indent=2))
    elif not hosts:
        say(f"lab {from_environment().name!r} is not up: python3 lab up")
    else:
        for host in hosts:
            print("{host:<18} {address:<15} {container:<32} {condition}".format(**host))
    return 0 if hosts and all(host["condition"] == "running" for host in hosts) else 1


def shell(host: str) -> int:
    """Open a root shell on a host or on the client; returns the shell's exit status."""
    lab = state.load()
    if lab is None:
        raise LabError("The lab is not up: python3 lab up")
    names = [*lab.hosts, "client"]
    if host not in names:
        raise LabError(f"There is no host {host!r}. There are: {', '.join(names)}")
    if host == "client":
        container = preflight.connect().containers.get(lab.client)
        if container.status != "running":
            raise LabError("The client is not running: python3 lab up")
        return _run(inside.words(container, "bash", "-l"))
    return _run(
        [
            *("ssh", "-i", str(lab.ssh_key), "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={lab.known_hosts}", "-o", "StrictHostKeyChecking=yes"),
            f"root@{lab.hosts[host]}",
        ]
    )


def run() -> int:
    """The first README command: lab, whole deploy, and a request that proves it."""
    lab = up()
    with timed("pyinfra inventories/lab.py deploys/all.py"):
        # A lab is deployed from whatever branch is at hand, one after the other.
        words = [_tool("pyinfra"), "inventories/lab.py", "deploys/all.py", "-y"]
        status_code = _run(words, PHOENIX_OLDER="1")
    if status_code != 0:
        say(f"the deploy failed with status {status_code}: see what is before its first `Error`")
        return status_code
    return request.request(lab, from_environment())


def test(arguments: Sequence[str]) -> int:
    """The second README command. Returns the status of the first checker that fails."""
    ruff = _tool("ruff")
    failed = 0
    for command in ([ruff, "check", "."], [ruff, "format", "--check", "."]):
        say(f"ruff {' '.join(command[1:])}")
        failed = failed or _run(command)
    fast, arguments = "--fast" in arguments, [word for word in arguments if word != "--fast"]
    if fast:
        few = ["--ignore", "tests/integration", "-m", "not lab and not long"]
        arguments = [*few, "--hypothesis-profile", "fast", *arguments]
    os.environ[pace.VARIABLE] = str(pace.deadline_factor())
    say(f"deadlines: {os.environ[pace.VARIABLE]} times a quiet machine's")
    seconds = TEST_SECONDS * float(os.environ[pace.VARIABLE])
    # Labs wait more than they compute: of three workers one has the other tests first. Tests
    # without a lab wait as well, for processes that they started.
    workers = "4" if fast else "3"
    pytest = [sys.executable, "-m", "pytest", "-n", workers, "--dist", "loadfile"]
    pytest += ["--no-loadscope-reorder"]  # tests/scheduling.py has the order
    pytest += ["-o", "console_output_style=classic"]  # tests/progress.py tells how far it is
    # A test that never ends ends its worker, which first prints where it stood.
    pytest += ["-o", f"faulthandler_timeout={seconds:.0f}", "-o", "faulthandler_exit_on_timeout=1"]
    say("mypy, beside the tests")
    with tempfile.TemporaryFile("w+") as output:
        types = subprocess.Popen([_tool("mypy")], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            result = _run([*pytest, *arguments])
            status = types.wait()
        finally:
            types.kill()
            types.wait()
        output.seek(0)
        say(f"mypy: {output.read().strip()}")
    return failed or status or result


def _tool(name: str) -> str:
    return str(Path(sys.prefix) / "bin" / name)


def _run(command: Sequence[str], **variables: str) -> int:
    sys.stdout.flush()
    # The tools call each other by name (pyinfra, traefik): they are the environment's own.
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path} | variables
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
