"""Start pyinfra on an inventory, follow its events, keep its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from phoenix.runs.logs import Log
from phoenix.runs.reporter import CHANNEL
from phoenix.runs.results import Course, last_words

Listener = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Request:
    """One call of pyinfra. Paths of deploys are relative to `root`, the folder with the deploys.

    `site`: the folder of the inventory where it is another one. The inventory imports from it, and
    its group_data takes the place of that of `root`, which is of another site.
    `limit`: host and group names; empty is every host. `data` overrides settings. `dry`: plan
    only, with differences. `environment` is added to this process's own.
    """

    root: Path
    inventory: Path
    deploys: tuple[str, ...]
    limit: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    dry: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    site: Path | None = None

    def words(self) -> list[str]:
        """The command, for the child that also sends events."""
        command_line = [
            sys.executable,
            "-m",
            "phoenix.runs.child",
            str(self.inventory),
            *self.deploys,
        ]
        for name in self.limit:
            command_line += ["--limit", name]
        for key, setting in self.data.items():
            text = setting if isinstance(setting, str) else json.dumps(setting)
            command_line += ["--data", f"{key}={text}"]
        if self.site is not None:
            command_line += ["--group-data", str(self.site / "group_data")]
        command_line += ["--dry", "--diff"] if self.dry else ["-y"]
        return [*command_line, "--json"]

    def variables(self) -> dict[str, str]:
        """The environment of the process."""
        variables = {**os.environ, **self.environment}
        if self.site is not None:
            path = [str(self.site), *filter(None, [variables.get("PYTHONPATH")])]
            variables["PYTHONPATH"] = os.pathsep.join(path)
        return variables


@dataclass(frozen=True)
class Finished:
    """A run that has ended. `results` is pyinfra's own JSON, None where it ended before any."""

    returncode: int
    course: Course
    results: Mapping[str, Any] | None
    last_lines: tuple[str, ...]


class StoppedError(KeyboardInterrupt):
    """An interrupt ended a run; `finished` is how far it came."""

    def __init__(self, finished: Finished) -> None:
        """Keep what was done."""
        self.finished = finished
        super().__init__()


def run(
    request: Request,
    *,
    listen: Listener | None = None,
    log: Log | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Finished:
    """Run pyinfra to its end.

    Args:
        listen: called with each event as it comes, in a thread of its own.
        log: where pyinfra's own words go, line by line.
        stdin: a file descriptor that becomes its standard input.

    Raises:
        StoppedError: an interrupt (Ctrl-C). It reaches pyinfra as well, and its end is waited for.
    """
    course = Course()
    lines: list[str] = []
    read_end, write_end = os.pipe()
    environment = request.variables() | {CHANNEL: str(write_end)}
    output: list[str] = []

    def events() -> None:
        with os.fdopen(read_end, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                event = json.loads(line)
                course.add(event)
                if listen is not None:
                    listen(event)

    def errors(stream: IO[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))
            if log is not None:
                log.write(line)

    with _Interrupts() as interrupts:
        process = subprocess.Popen(
            request.words(),
            cwd=request.root,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=(write_end,),
        )
        os.close(write_end)
        interrupts.go_to(process)
        assert process.stdout  # noqa: S101  # both are pipes
        assert process.stderr  # noqa: S101
        workers = [
            threading.Thread(target=events, daemon=True),
            threading.Thread(target=errors, args=(process.stderr,), daemon=True),
            threading.Thread(target=lambda: output.append(process.stdout.read()), daemon=True),  # type: ignore[union-attr]
        ]
        for worker in workers:
            worker.start()
        process.wait()
        for worker in workers:
            worker.join()
    finished = Finished(
        process.returncode, course, _results("".join(output)), tuple(last_words(lines))
    )
    if interrupts.count:
        raise StoppedError(finished)
    return finished


class _Interrupts:
    """Ctrl-C while pyinfra runs, from before its start to after its end: handed on to it.

    No KeyboardInterrupt is raised meanwhile, which would come between any two lines and leave
    pyinfra without anybody who waits for it. A second Ctrl-C kills it.
    """

    def __init__(self) -> None:
        self.count = 0
        self._process: subprocess.Popen[str] | None = None
        self._before: Any = None

    def __enter__(self) -> Self:
        # Other threads get no signals; a shell's background job ignores this one, and goes on to.
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        ):
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def go_to(self, process: subprocess.Popen[str]) -> None:
        """From now on; with those that came before."""
        self._process = process
        if self.count:
            self._send()

    def _hear(self, *_: object) -> None:
        self.count += 1
        self._send()

    def _send(self) -> None:
        if self._process is None:
            return
        # A terminal sends it to pyinfra itself as well; twice does no harm.
        self._process.send_signal(signal.SIGKILL if self.count > 1 else signal.SIGINT)


def _results(text: str) -> Mapping[str, Any] | None:
    try:
        results = json.loads(text)
    except ValueError:
        return None
    return results if isinstance(results, dict) else None
