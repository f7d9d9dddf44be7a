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
from typing import IO, Any

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
        words = [sys.executable, "-m", "phoenix.runs.child", str(self.inventory), *self.deploys]
        for name in self.limit:
            words += ["--limit", name]
        for key, setting in self.data.items():
            text = setting if isinstance(setting, str) else json.dumps(setting)
            words += ["--data", f"{key}={text}"]
        if self.site is not None:
            words += ["--group-data", str(self.site / "group_data")]
        words += ["--dry", "--diff"] if self.dry else ["-y"]
        return [*words, "--json"]

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
    assert process.stdout  # noqa: S101  # both are pipes
    assert process.stderr  # noqa: S101
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

    workers = [
        threading.Thread(target=events, daemon=True),
        threading.Thread(target=errors, args=(process.stderr,), daemon=True),
        threading.Thread(target=lambda: output.append(process.stdout.read()), daemon=True),  # type: ignore[union-attr]
    ]
    for worker in workers:
        worker.start()
    interrupted = _wait(process)
    for worker in workers:
        worker.join()
    finished = Finished(
        process.returncode, course, _results("".join(output)), tuple(last_words(lines))
    )
    if interrupted:
        raise StoppedError(finished)
    return finished


def _wait(process: subprocess.Popen[str]) -> bool:
    """Wait for the end; and tell whether an interrupt asked for it; a second one kills."""
    interrupted = False
    while True:
        try:
            process.wait()
        except KeyboardInterrupt:
            if interrupted:
                process.kill()
            elif process.poll() is None:
                process.send_signal(signal.SIGINT)  # a terminal sends it itself; twice does no harm
            interrupted = True
        else:
            return interrupted


def _results(text: str) -> Mapping[str, Any] | None:
    try:
        results = json.loads(text)
    except ValueError:
        return None
    return results if isinstance(results, dict) else None
