"""A private copy of the project that a test may change, and pyinfra run in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lab import pace
from lab.settings import ROOT

RUN_SECONDS = 300
"""How long one run of pyinfra may take, and how long it may be silent, on a quiet machine."""
COMMAND_SECONDS = 600
deadline_factor = cache(pace.deadline_factor)
"""What every deadline is multiplied by, measured once in each process."""
COPIED = ("config.py", "deploys", "facts", "group_data", "inventories", "operations", "phoenix",
          "stacks")  # fmt: skip


class DeadlineError(AssertionError):
    """Something had no end in time. The summary at the end of the tests names each."""


def missed(what: str, seconds: float, output: str = "") -> DeadlineError:
    """The error for `what`; the text tells how the deadline came about."""
    return DeadlineError(
        f"{what} had no end in {seconds:.0f} s ({deadline_factor():g} times a quiet machine's; "
        f"{pace.VARIABLE} sets another factor)\n{output}"
    )


@dataclass(frozen=True)
class Run:
    """One finished pyinfra run. `output` is all that it wrote; `results` its JSON, None if none."""

    returncode: int
    output: str
    results: dict[str, Any] | None

    def pairs(self, outcome: str) -> list[tuple[str, str]]:
        """(operation, host) of one outcome: "success" (it changed), "no_change" or "error"."""
        operations = self.results["operations"] if self.results else []
        return [(step["name"], host) for step in operations for host in step[outcome]]

    @property
    def changes(self) -> list[tuple[str, str]]:
        """What changed where."""
        return self.pairs("success")

    @property
    def other_changes(self) -> list[tuple[str, str]]:
        """What changed but the start page, which tells of certificates renewed since."""
        return [change for change in self.changes if not change[0].endswith("Verify: start page")]

    def explain(self, lines: int = 60) -> str:
        """What a failing test prints."""
        tail = "\n".join(self.output.splitlines()[-lines:])
        return f"exit code {self.returncode}, changed {self.changes}\n{tail}"


@dataclass(frozen=True)
class Project:
    """A project directory, and the environment in which its lab is found."""

    path: Path
    environment: Mapping[str, str] = field(repr=False)

    def variant(self, name: str) -> Project:
        """Another private copy of this one, beside it."""
        target = self.path.parent / name
        shutil.copytree(self.path, target, symlinks=True)
        return Project(target, self.environment)

    def replace(self, file: str, old: str, new: str) -> None:
        """Put `new` for the one `old` in a file; fails where the file no longer has it."""
        path = self.path / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times, not once"
        path.write_text(text.replace(old, new))

    def write(self, file: str, text: str) -> None:
        """Add a file."""
        (self.path / file).write_text(text)

    def json(self, file: str) -> Any:
        """A JSON file's content."""
        return json.loads((self.path / file).read_text())

    def write_json(self, file: str, content: object) -> None:
        """Replace a JSON file's content."""
        (self.path / file).write_text(json.dumps(content, indent=4))

    def phoenix(
        self, *words: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The command `phoenix` on the lab's inventory; logs and locks of its own."""
        seconds = COMMAND_SECONDS * deadline_factor()
        try:
            return subprocess.run(
                [sys.executable, "-m", "phoenix", *words],
                cwd=self.path,
                env=self.command_environment | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise missed(f"phoenix {' '.join(words)}", seconds) from None

    def looks(self, *commands: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
        """What `phoenix` says to each of these, side by side: they change nothing, and wait."""
        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda words: self.phoenix(*words), commands))

    @property
    def command_environment(self) -> dict[str, str]:
        """What the command `phoenix` runs in."""
        return {
            **self.environment,
            "PYTHONPATH": str(self.path),
            "PHOENIX_INVENTORY": "inventories/lab.py",
            "XDG_STATE_HOME": str(self.path.parent / "state"),
            "XDG_CACHE_HOME": str(self.cache),
        }

    @property
    def cache(self) -> Path:
        """Where runs of this project keep what can be made again."""
        return self.path.parent / "cache"

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Started:
        """Start pyinfra, in a process group of its own, with its output in files."""
        log = self.path / "run.log"
        out = self.path / "run.json"
        with log.open("wb") as errors, out.open("wb") as output:
            process = subprocess.Popen(
                [str(Path(sys.prefix) / "bin" / "pyinfra"), *arguments],
                cwd=self.path,
                # The installed project would be found first otherwise.
                env={
                    **self.environment,
                    "PYTHONPATH": str(self.path),
                    "XDG_CACHE_HOME": str(self.cache),
                    **(environment or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        return Started(process, out, log, f"pyinfra {' '.join(arguments[:2])}")

    def run(
        self,
        deploy: str,
        *options: str,
        data: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Run:
        """Converge with one deploy file; `data` overrides settings as `--data` does."""
        overrides = [word for key, value in (data or {}).items()
                     for word in ("--data", f"{key}={value}")]  # fmt: skip
        started = self.start(
            "inventories/lab.py", deploy, "-y", "--json", *overrides, *options,
            environment=environment,
        )  # fmt: skip
        return started.finish()


@dataclass(frozen=True)
class Started:
    """A pyinfra that runs."""

    process: subprocess.Popen[bytes]
    out: Path
    log: Path
    what: str = "pyinfra"

    def finish(self) -> Run:
        """Wait for its end: for as long as it goes on telling of steps, and then a while.

        Raises:
            DeadlineError: it told nothing for RUN_SECONDS, or had no end in four times that.
        """
        seconds = RUN_SECONDS * deadline_factor()
        started, last_told, size = time.monotonic(), time.monotonic(), -1
        while not self.ends_within(1):
            now = time.monotonic()
            if (grown := self.log.stat().st_size) != size:
                last_told, size = now, grown
            if now - last_told > seconds or now - started > 4 * seconds:
                self.kill()
                late = 4 * seconds if now - last_told <= seconds else seconds
                raise missed(self.what, late, self._text())
        return Run(self.process.returncode, self._text(), self._results())

    def ends_within(self, seconds: float) -> bool:
        """Wait that long; whether it has ended by then."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL to the whole process group, unless it has ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _text(self) -> str:
        return self.out.read_text(errors="replace") + self.log.read_text(errors="replace")

    def _results(self) -> dict[str, Any] | None:
        try:
            results: dict[str, Any] | None = json.loads(self.out.read_text())["results"]
        except ValueError:  # every host failed, or it was killed
            return None
        return results


def copy(target: Path, environment: Mapping[str, str]) -> Project:
    """The project as it is now in `target`: what others edit meanwhile does not disturb a run."""
    target.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy(source, target / name)
    (target / "lab").symlink_to(ROOT / "lab")  # it finds its state beside its own real path
    return Project(target, environment)
