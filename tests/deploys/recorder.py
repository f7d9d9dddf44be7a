"""Whole deploys with no target: pyinfra's fake connector, which answers as it is told."""

from __future__ import annotations

import base64
import io
import re
import runpy
import shlex
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyinfra
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from phoenix.declaration import inventory as inventories
from tests.questions import printed

ROOT = Path(__file__).parents[2]
USUAL: dict[str | re.Pattern[str], Any] = {
    re.compile(r"uname -m"): lambda _: ["x86_64", "ID=debian", 'VERSION_ID="13"'],
    "dpkg-query": "installed dpkg",
    "/certs/declared_names": "1700000000",
}


@dataclass
class Sent:
    """One command as it goes over the wire, and what follows on its standard input."""

    host: str
    command: str
    stdin: str

    def files(self) -> dict[str, str]:
        """Path to content of the tree that a config_tree command carries; empty for others."""
        if "base64 -d | tar" not in self.command:
            return {}
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(self.stdin))) as tar:
            files = {}
            for info in tar:
                content = tar.extractfile(info)
                assert content is not None, info.name
                files[info.name.removeprefix("root")] = content.read().decode()
            return files


@dataclass
class Run:
    """What a run sent, in order; `operations` are names in order, `failed` the failed hosts."""

    sent: list[Sent] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def files(self, host: str) -> dict[str, str]:
        return {
            path: content
            for sent in self.sent
            if sent.host == host
            for path, content in sent.files().items()
            if path.startswith("/")
        }


def run(
    deploy: str,
    secrets: Path,
    *,
    responses: dict[str | re.Pattern[str], Any] | None = None,
    execute: bool = True,
    noise: dict[str, str] | None = None,
    of_host: dict[str, dict[str | re.Pattern[str], Any]] | None = None,
    failing: dict[str, str] | None = None,
    **data: object,
) -> Run:
    """Prepare and run `deploys/DEPLOY.py` for all hosts of a site, the repository's own by default.

    `site_inventories` and `site_stacks` among `data` name another one. What one host answers, as in
    `responses`, stands in `of_host`.
    """
    folders = [
        Path(str(data.get(f"site_{name}", ROOT / name))) for name in ("inventories", "stacks")
    ]
    site = inventories.load(*folders, environment="production")
    settings = runpy.run_path(str(ROOT / "group_data/all.py"))
    settings = {key: value for key, value in settings.items() if not key.startswith("__")}
    settings |= {
        "site_inventories": str(ROOT / "inventories"),
        "site_stacks": str(ROOT / "stacks"),
        "site_environment": "production",
        "site_secrets": str(secrets),
        "fake_delay": 0,
        "fake_delay_jitter": 0,
        **data,
    }
    recorded = Run()

    class Recorder(FakeConnector):
        def run_shell_command(self, command: Any, *rest: Any, **arguments: Any) -> Any:
            raw = command if isinstance(command, str) else command.get_raw_value()
            stdin = str(arguments.get("_stdin") or "")
            if raw == "sh":  # its program comes by standard input
                raw, stdin = stdin, ""
            recorded.sent.append(Sent(self.host.name, raw, stdin))
            own = (of_host or {}).get(self.host.name, {})
            lines = printed(raw, lambda question: answers_to(question, own))
            if lines is None:
                lines = answer(raw, own)
            lines = [*filter(None, [(noise or {}).get(self.host.name)]), *lines]
            well = (failing or {}).get(self.host.name, raw + "\n") not in raw
            return well, CommandOutput([OutputLine("stdout", line) for line in lines])

    def answers_to(question: str, own: dict[str | re.Pattern[str], Any]) -> list[str]:
        """An answer; of trees that are asked together each has its own, with its number."""
        trees = trees_of(question)
        lines = [[*answer(f"config-tree {tree}", own), "end"] for tree in trees]
        numbered = [f"{number}\t{line}" for number, tree in enumerate(lines) for line in tree]
        return numbered if trees else answer(question, own)

    def answer(raw: str, own: dict[str | re.Pattern[str], Any]) -> list[str]:
        for matcher, response in (own | USUAL | (responses or {})).items():
            if matcher in raw if isinstance(matcher, str) else matcher.search(raw):
                return list(response(raw)) if callable(response) else [response]
        return []

    with (
        patch("pyinfra.api.inventory.get_execution_connectors", lambda: {"ssh": Recorder}),
        patch.object(pyinfra, "is_cli", True),
    ):
        groups = inventories.groups(site, {})
        inventory = Inventory(
            ([host.name for host in site.hosts], settings),
            **{name: ([host for host, _ in hosts], {}) for name, hosts in groups.items()},
        )
        state = State(inventory, Config())
        state.cwd = str(ROOT)
        with ctx_state.use(state), ctx_inventory.use(inventory):
            state.set_stage(StateStage.Connect)
            connect_all(state)
            state.set_stage(StateStage.Prepare)
            _load(state, ROOT / "deploys" / f"{deploy}.py")
            for op_hash in state.get_op_order():
                names = state.get_op_meta(op_hash).names
                files = {name.rpartition(" | ")[0] for name in names}
                assert len(files) == 1, f"pyinfra takes steps of different files for one: {names}"
                name = next(iter(names))
                recorded.operations.append(name)
                recorded.changed[name] = [
                    host.name
                    for host in state.inventory
                    if op_hash in state.ops[host]
                    and state.ops[host][op_hash].operation_meta.will_change
                ]
            if execute:
                recorded.sent.clear()
                state.set_stage(StateStage.Execute)
                run_ops(state)
            recorded.failed = {host.name for host in state.failed_hosts}
    return recorded


def trees_of(question: str) -> list[str]:
    """The words of each tree that a host is asked about (`facts.config_tree`)."""
    trees: list[str] = []
    _, mark, rest = question.partition(" config-tree ")
    words = shlex.split(rest.partition("; }")[0]) if mark else []
    while words:
        count = 6 + int(words[5])
        trees.append(shlex.join(words[:count]))
        words = words[count:]
    return trees


def _load(state: State, file: Path) -> None:
    """Prepare a deploy file for each host, as pyinfra's command line does.

    Not by pyinfra_cli itself: its import makes greenlets of all threads of this process, for good.
    """
    state.current_deploy_filename = str(file)
    code = compile(file.read_text(), str(file), "exec")
    for host in state.inventory.get_active_hosts():
        with ctx_config.use(state.config.copy()), ctx_host.use(host):
            exec(code, {"__file__": str(file)})  # noqa: S102


def assert_restarts_without_an_end(done: Run, host: str) -> None:
    """Every service of the trees that `host` was sent has the one drop-in, and no other rule."""
    sent = [request.files() for request in done.sent if request.host == host and request.files()]
    matches = [re.search(r"^unit='?([^'\n]+\.service)", files["params"], re.M) for files in sent]
    units = {match[1] for match in matches if match}
    assert units, "no tree has a service"
    files = done.files(host)
    for unit in units:
        lines = files[f"/etc/systemd/system/{unit}.d/restart.conf"].splitlines()
        assert {"Restart=always", "StartLimitIntervalSec=0"} <= set(lines), (unit, lines)
        own = files.get(f"/etc/systemd/system/{unit}", "")
        assert not re.search(r"^(Restart|StartLimit)", own, re.M), own
