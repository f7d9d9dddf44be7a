"""A host for `config_tree_apply.sh`: real files below a temporary directory, a fake systemd.

The fake service reads its file (`config`) whenever it is started or reloaded and keeps what it
read in `served`; programs named in `kill_at` are shims that kill the whole run with SIGKILL.
"""

from __future__ import annotations

import base64
import grp
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from facts.config_tree import ConfigTree
from facts.host_fact import answers, complete_lines
from operations.config_tree import load, tree_state
from phoenix.components.config_tree import tree as config_tree
from phoenix.components.config_tree.tree import Tree, TreeFile, TreeState, compare

SCRIPT = Path(__file__).parents[2] / "phoenix/components/config_tree/apply.sh"
USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name

SYSTEMCTL = """#!/bin/sh
printf 'systemctl %s\\n' "$*" >>"$FAKE/log"
verb=$1; shift
while [ $# -gt 0 ]; do case $1 in -q|--|--now|--runtime) shift ;; *) break ;; esac; done
unit=${1:-}
case $verb in
    show) first=1
        for unit; do
            case $unit in -p) shift; break ;; esac
            [ -n "$first" ] || echo
            first= a=inactive e=disabled n=no
            [ ! -e "$FAKE/active.$unit" ] || a=active
            [ ! -e "$FAKE/enabled.$unit" ] || e=enabled
            [ ! -e "$FAKE/masked.$unit" ] || e=masked
            [ ! -e "$FAKE/unit" ] || cmp -s "$FAKE/unit.read" "$FAKE/unit" || n=yes
            [ ! -e "$FAKE/pid" ] || printf 'MainPID=%s\\n' "$(cat "$FAKE/pid")"
            printf 'ActiveState=%s\\nUnitFileState=%s\\nNeedDaemonReload=%s\\n' $a $e $n
        done ;;
    is-active) [ -e "$FAKE/active.$unit" ] ;;
    cat) [ -e "$FAKE/unit" ] ;;
    daemon-reload) cp "$FAKE/unit" "$FAKE/unit.read" 2>/dev/null || rm -f "$FAKE/unit.read" ;;
    unmask) rm -f "$FAKE/masked.$unit" ;;
    enable) [ ! -e "$FAKE/masked.$unit" ] || exit 1; : >"$FAKE/enabled.$unit" ;;
    disable) rm -f "$FAKE/enabled.$unit" ;;
    stop) rm -f "$FAKE/active.$unit" ;;
    reload|reload-or-restart)
        if [ -e "$FAKE/reload.fails" ] || grep -q crash "$FAKE/config" 2>/dev/null; then
            echo "Job for $unit failed" >&2; exit 1
        fi
        if [ -e "$FAKE/reload.ignored" ]; then exit 0; fi
        cat "$FAKE/config" >"$FAKE/served" 2>/dev/null || rm -f "$FAKE/served" ;;
    start|restart)
        if grep -q crash "$FAKE/config" 2>/dev/null; then
            rm -f "$FAKE/active.$unit"; echo "Job for $unit failed" >&2; exit 1
        fi
        [ ! -e "$FAKE/masked.$unit" ] || exit 1
        : >"$FAKE/active.$unit"
        [ $verb != restart ] || rm -f "$FAKE/pid"
        cat "$FAKE/config" >"$FAKE/served" 2>/dev/null || rm -f "$FAKE/served" ;;
esac
"""
LOGGED = '#!/bin/sh\nprintf \'%s %s\\n\' "${0##*/}" "$*" >>"$FAKE/log"\n'
SHIM = """#!/bin/sh
n=$(($(cat "$FAKE/count") + 1)); echo $n >"$FAKE/count"
[ $n -ne "$KILL_AT" ] || kill -KILL 0
exec %s "$@"
"""
SHIMMED = ("mv", "ln", "cp", "rm", "mkdir", "systemctl")
"""What changes the host outside a stage."""


@dataclass
class Done:
    """How one run of the script ended."""

    code: int
    stderr: str


@dataclass
class TreeHost:
    """Everything below `top`; `served` is what the fake service runs with."""

    top: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        return self.top / "trees/demo"

    @property
    def config(self) -> Path:
        """A linked file, the one that the service reads."""
        return self.top / "etc/demo/config"

    @property
    def other(self) -> Path:
        return self.top / "etc/demo/other"

    @property
    def unit(self) -> Path:
        """A copied file."""
        return self.top / "etc/systemd/system/demo.service"

    @property
    def served(self) -> str | None:
        path = self.top / "fake/served"
        return path.read_text() if path.exists() else None

    @property
    def log(self) -> list[str]:
        path = self.top / "fake/log"
        return path.read_text().splitlines() if path.exists() else []

    def forget_log(self) -> None:
        (self.top / "fake/log").write_text("")

    @property
    def current(self) -> str:
        return (self.base / "current").readlink().name

    @property
    def generations(self) -> set[str]:
        return {path.name for path in (self.base / "gen").iterdir()}

    def tree(self, text: str, *, files: Mapping[Path, str] | None = None, **more: object) -> Tree:
        """Linked config and `other`, a copied unit; unhealthy when the service runs "bad"."""
        usual = {
            self.config: f"config {text}\n",
            self.other: f"other {text}\n",
            self.unit: f"[Unit] {text}\n",
        }
        tree = Tree(
            component="demo",
            files={
                str(path): TreeFile(content, user=USER, group=GROUP)
                for path, content in (usual if files is None else files).items()
            },
            unit="demo.service",
            action="restart",
            validate=f'! grep -q refused "$ROOT{self.config}" || {{ echo "line 1: no"; exit 1; }}',
            health='! grep -q bad "$FAKE/served" || { echo "it runs bad"; exit 1; }',
            deadline=0,
        )
        return replace(tree, **more)  # type: ignore[arg-type]

    def stage(self, tree: Tree) -> Path:
        """What the operation unpacks on the host, by way of the very archive it sends."""
        (self.base / "gen").mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".stage.", dir=self.base / "gen"))
        data = base64.b64decode(tree.archive(SCRIPT.read_text()))
        subprocess.run(["tar", "-xf", "-", "-C", str(stage)], input=data, check=True)
        return stage

    def run(self, script: Path, verb: str, *, kill_at: int = 0, stderr: int | None = None) -> Done:
        """One run of the guest's script; `kill_at`: SIGKILL before that many changing commands."""
        path = [str(self.top / "bin"), os.environ["PATH"]]
        if kill_at:
            (self.top / "fake/count").write_text("0")
            path.insert(0, str(self.top / "shims"))
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.run(
                ["sh", str(script), *verb.split()],
                env={
                    **os.environ, "PATH": ":".join(path), "FAKE": str(self.top / "fake"),
                    "KILL_AT": str(kill_at), **self.environment,
                },
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=output if stderr is None else stderr,
                start_new_session=True, timeout=60, check=False,
            ).returncode  # fmt: skip
            output.seek(0)
            return Done(code, output.read())

    def install(self, tree: Tree, **how: int) -> Done:
        return self.run(self.stage(tree) / "apply", "install", **how)

    def again(self, verb: str, **how: int) -> Done:
        """By the link, as the operation does it."""
        return self.run(self.base / "current/apply", verb, **how)

    def state(self, tree: Tree) -> TreeState:
        """What the fact finds."""
        return self.states([tree])[0]

    def states(self, trees: Sequence[Tree]) -> list[TreeState]:
        """What the fact finds of several trees by one command."""
        parts = ConfigTree.parted(self.asked(trees), len(trees))
        return [ConfigTree().parse(lines) for lines in parts]

    def asked(self, trees: Sequence[Tree]) -> list[str]:
        """What the fact's command says of several trees."""
        command = ConfigTree.joined([tree_state(tree).arguments for tree in trees])
        done = subprocess.run(
            ["sh", "-c", command.get_raw_value().replace("/var/lib/dpkg", f"{self.top}/dpkg")],
            env={
                **os.environ, "FAKE": str(self.top / "fake"),
                "PATH": f"{self.top / 'bin'}:{os.environ['PATH']}",
            },
            capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        return complete_lines(next(answers(done.stdout.splitlines(), 1)))

    def converge(self, tree: Tree) -> Done | None:
        """What a run of the operation does; None where it finds nothing to do."""
        diff = compare(tree, self.state(tree))
        if not diff:
            return None
        return self.install(tree) if diff.files else self.load(tree)

    def load(self, tree: Tree) -> Done:
        """By the very command that the operation sends."""
        command = load(tree)
        done = subprocess.run(
            ["sh", "-c", command.get_raw_value()],
            input=str(command.connector_arguments["_stdin"]),
            env={
                **os.environ, "FAKE": str(self.top / "fake"),
                "PATH": f"{self.top / 'bin'}:{os.environ['PATH']}", **self.environment,
            },
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stderr)

    def contents(self) -> dict[str, str]:
        """Path below etc to what a reader finds there."""
        return {
            str(path.relative_to(self.top)): path.read_text()
            for path in sorted((self.top / "etc").rglob("*"))
            if path.is_file()
        }

    def faults(self) -> list[str]:
        """What is incomplete or damaged in the generation that `current` points to."""
        link = self.base / "current"
        if not link.is_symlink():
            return []
        damages = []
        for line in (link / "manifest").read_text().splitlines():
            mode, _, _, sha256, _, path = line.split("\t")
            file = Path(f"{link}/root{path}")
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
                damages.append(f"{file} is damaged")
            elif file.stat().st_mode & 0o7777 != int(mode, 8):
                damages.append(f"{file} has mode {file.stat().st_mode:o}")
        return damages


def killed(done: Done) -> bool:
    return done.code == -signal.SIGKILL


def make_host(top: Path, monkeypatch: pytest.MonkeyPatch) -> TreeHost:
    for name in ("bin", "shims", "fake", "etc/demo", "etc/systemd/system"):
        (top / name).mkdir(parents=True)
    monkeypatch.setattr(config_tree, "BASE", str(top / "trees"))
    monkeypatch.setattr(config_tree, "_COPIED", (f"{top}/etc/systemd/system/",))
    host = TreeHost(top)
    (top / "fake/config").symlink_to(host.config)
    (top / "fake/unit").symlink_to(host.unit)
    programs = {"systemctl": SYSTEMCTL} | dict.fromkeys(
        ("systemd-tmpfiles", "systemd-sysusers", "systemd-run", "journalctl"), LOGGED
    )
    for name, text in programs.items():
        _program(top / "bin" / name, text)
    for name in SHIMMED:
        real = str(top / "bin/systemctl") if name == "systemctl" else shutil.which(name)
        assert real, f"{name} is not installed here"
        _program(top / "shims" / name, SHIM % real)
    return host


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
