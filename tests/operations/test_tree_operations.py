"""Operations whose arguments JSON cannot carry: a Tree, an Artifact, a Site, a Secret."""

from __future__ import annotations

import base64
import io
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from pyinfra.api import Config, FunctionCommand, OperationError
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state
from pyinfra_testing.util import FakeState, create_host

from operations import host_state, trust
from operations.artifact import artifact
from operations.config_tree import config_tree
from operations.packages import packages
from operations.step_ca import database_opens, declared_names_recorded, initialised
from operations.trust import root_trusted
from phoenix.components.artifacts import Artifact
from phoenix.components.config_tree.tree import FileState, Tree, TreeFile, TreeState
from phoenix.components.step_ca.authority import CaState
from phoenix.components.trust import STORED, stale_roots
from tests.unit.site_builder import minimal
from tests.unit.test_step_ca import FILES, sound

OPEN_KEY = FILES | {"secrets/intermediate_ca_key": "644"}
PLANTED = "planted-5ecret"
TREE = Tree(
    component="demo",
    files={"/etc/demo": TreeFile(f"{PLANTED}\n", mode="0600", secret=True)},
)


class Fixed:
    """A host whose facts are given by class name."""

    def __init__(self, facts: dict[str, Any], *, stage: StateStage, diff: bool) -> None:
        self.state = FakeState()
        self.state.config = Config(DIFF=diff)
        self.state.current_stage = stage
        self.host = create_host(self.state)
        self.host.get_fact = lambda cls, **_: facts[cls.__name__]

    def run(self, operation: Any, *args: Any, **kwargs: Any) -> list[Any]:
        with ctx_state.use(self.state), ctx_host.use(self.host):
            return list(operation._inner(*args, **kwargs))


def fixed(stage: StateStage = StateStage.Prepare, *, diff: bool = False, **facts: Any) -> Fixed:
    return Fixed(facts, stage=stage, diff=diff)


def settled(tree: Tree) -> TreeState:
    files = {
        path: FileState(f.mode.lstrip("0"), f.user, f.group, f.sha256, tree.link(path))
        for path, f in tree.files.items()
    }
    return TreeState("g", "g", files, frozenset(files), {})


def test_settled_tree_is_a_noop() -> None:
    here = fixed(ConfigTree=settled(TREE))
    assert here.run(config_tree, TREE) == []
    assert here.host.noop_description == "demo: 1 files in place, loaded"


def test_missing_tree_goes_by_standard_input_in_one_command() -> None:
    (command,) = fixed(ConfigTree=TreeState()).run(config_tree, TREE)
    assert PLANTED not in command.get_raw_value()
    assert command.connector_arguments["_stdin"] == TREE.archive(
        (Path(__file__).parents[2] / "phoenix/components/config_tree/apply.sh").read_text()
    )


def test_unloaded_tree_is_loaded_and_not_sent_again() -> None:
    state = TreeState("g", None, settled(TREE).files, frozenset(TREE.files), {})
    (command,) = fixed(ConfigTree=state).run(config_tree, TREE)
    assert command.get_raw_value().endswith(f" /var/lib/phoenix/trees/demo {TREE.id}")
    sent = base64.b64decode(command.connector_arguments["_stdin"])
    with tarfile.open(fileobj=io.BytesIO(sent)) as tar:
        assert sorted(tar.getnames()) == ["apply", "id", "manifest", "params"]


def test_confirmed_tree_is_proven_by_a_login_before_it_is_kept() -> None:
    tree = Tree(component="demo", files=TREE.files, confirm=9)
    install, probe, confirm = fixed(ConfigTree=TreeState()).run(config_tree, tree)
    assert 'apply" install' in install.get_raw_value()
    assert isinstance(probe, FunctionCommand)
    assert confirm.get_raw_value().endswith(f" /var/lib/phoenix/trees/demo {tree.id} confirm")


@pytest.mark.parametrize(
    ("answers", "takes", "tries", "fault"),
    [
        ([""], 1, 1, ""),
        (["SSH error (No existing session)", ""], 1, 2, ""),
        (["SSH error (timed out)"] * 3, 19, 3, "SSH error (timed out)"),
        (["SSH error (timed out)"] * 2 + [""], 41, 2, "SSH error (timed out)"),
        (["Authentication error (key=x)"], 1, 1, "Authentication error (key=x)"),
    ],
)
def test_a_late_answer_is_no_lock_out_and_a_refusal_is(
    monkeypatch: pytest.MonkeyPatch, answers: list[str], takes: int, tries: int, fault: str
) -> None:
    """A busy host's sshd was late once, and its hardening was taken back.

    On a slow machine three tries took longer than the change had until it went back by itself: the
    last one succeeded then, and the run told of success.
    """
    left, clock = list(answers), [0.0]

    class Connector:
        def __init__(self, *_: object) -> None: ...

        def connect(self) -> None:
            clock[0] += takes
            if answer := left.pop(0):
                raise ConnectError(answer)

        def disconnect(self) -> None: ...

    module = sys.modules["operations.config_tree"]
    monkeypatch.setattr(module, "host", SimpleNamespace(connector=Connector(), state=None))
    monkeypatch.setattr(module, "this_host", lambda: None)
    passing = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda _: None)
    monkeypatch.setattr(module, "time", passing)
    assert str(module._login_fault(60) or "") == fault
    assert len(answers) - len(left) == tries


@pytest.mark.parametrize(
    ("current", "verb", "code", "message"),
    [
        ("ours.1", "confirm", 0, "confirm 7"),
        ("former.1", "confirm", 5, "went back by themselves before they were confirmed"),
        ("", "confirm", 5, "went back by themselves before they were confirmed"),
        ("former.1", "undo", 0, ""),
        ("", "undo", 0, ""),
        ("ours.1", "undo", 0, "undo 7"),
    ],
)
def test_what_went_back_by_itself_is_not_confirmed(
    tmp_path: Path, current: str, verb: str, code: int, message: str
) -> None:
    """By the command itself: the run told of success, and the former files were there."""
    for name in ("ours.1", "former.1"):
        (tmp_path / "gen" / name).mkdir(parents=True)
        (tmp_path / "gen" / name / "apply").write_text('echo "$@"\n')
    if current:
        (tmp_path / "current").symlink_to(f"gen/{current}")
    module = sys.modules["operations.config_tree"]
    done = subprocess.run(
        module._VERB.argv(str(tmp_path), "ours", verb, "7"), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done
    assert message in done.stdout + done.stderr
    assert bool(message) == bool(done.stdout + done.stderr)


def test_diff_does_not_show_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    fixed(diff=True, ConfigTree=TreeState()).run(config_tree, TREE)
    assert "a secret: not shown" in caplog.text, caplog.text
    assert PLANTED not in caplog.text


def test_artifact_is_installed_once() -> None:
    item = Artifact("tool", "1.0", "https://example.org/tool", "a" * 64)
    here = fixed(ArtifactInstalled=True)
    assert here.run(artifact, item) == []
    assert here.host.noop_description == "tool 1.0 is installed"
    (command,) = fixed(ArtifactInstalled=False).run(artifact, item)
    words = f"{item.directory} /usr/local/bin/tool {item.url} {'a' * 64} '' ''"
    assert command.get_raw_value().endswith(words), command.get_raw_value()[-200:]


def test_any_of_a_tuple_will_do_and_apt_runs_only_for_what_is_missing() -> None:
    names = ["curl", ("systemd-timesyncd", "chrony")]
    here = fixed(Packages=frozenset({"curl", "chrony"}))
    assert here.run(packages, names) == []
    assert here.host.noop_description == "2 packages are installed"


def finish_dpkg(folder: Path, *, state: str, dpkg: str) -> subprocess.CompletedProcess[str]:
    """The command ahead of apt, run with a dpkg that does `dpkg` and packages in `state`."""
    commands = fixed(Packages=frozenset({"dpkg"}), DebPackages={}).run(packages, ["curl"])
    words = shlex.split(commands[0].get_raw_value())
    assert words[-1] == "/var/lib/dpkg", "it comes before everything of apt"
    (folder / "updates").mkdir(exist_ok=True)
    (folder / "state").write_text(f"{state}\n")
    for name, text in {
        "dpkg": f'echo "$*" >>{folder}/calls; {dpkg}',
        "dpkg-query": f"cat {folder}/state",
        "sleep": f"rm -f {folder}/busy",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return subprocess.run(
        [*words[:-1], str(folder)],
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


@pytest.mark.parametrize("sign", ["unpacked", "half-configured", "updates"])
def test_an_interrupted_dpkg_is_finished_before_apt(tmp_path: Path, sign: str) -> None:
    if sign == "updates":
        (tmp_path / "updates").mkdir()
        (tmp_path / "updates/0001").touch()
    state = "installed" if sign == "updates" else sign
    done = finish_dpkg(tmp_path, state=state, dpkg="exit 0")
    assert done.returncode == 0, done
    assert (tmp_path / "calls").read_text() == "--force-confold --configure -a\n"
    assert "an interrupted dpkg was finished" in done.stdout


def test_a_sound_dpkg_is_left_alone(tmp_path: Path) -> None:
    assert finish_dpkg(tmp_path, state="installed", dpkg="exit 0").returncode == 0
    assert not (tmp_path / "calls").exists()


def test_a_dpkg_that_works_for_somebody_else_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "busy").touch()
    locked = "dpkg: error: dpkg frontend lock was locked by another process with pid 7"
    done = finish_dpkg(
        tmp_path,
        state="unpacked",
        dpkg=f'[ ! -e {tmp_path}/busy ] || {{ echo "{locked}" >&2; exit 2; }}',
    )
    assert done.returncode == 0, done
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


def test_a_dpkg_that_cannot_be_finished_stops_the_host_with_its_words(tmp_path: Path) -> None:
    done = finish_dpkg(tmp_path, state="unpacked", dpkg="echo 'post-installation: no'; exit 1")
    assert done.returncode == 1, done
    assert "post-installation: no" in done.stderr
    assert "cannot be finished" in done.stderr


@pytest.mark.parametrize("password", [None, PLANTED])
def test_ca_is_made_once_with_the_password_on_standard_input(
    tmp_path: Path, password: str | None
) -> None:
    arguments: dict[str, Any] = {
        "organisation": "An Example",
        "years": 10,
        "password": SecretStr(password) if password else None,
    }
    site = minimal().load(tmp_path)
    (command,) = fixed(CertificateAuthority=CaState()).run(initialised, site, **arguments)
    raw = command.get_raw_value()
    assert raw.endswith(
        "/etc/step-ca 'An Example' internal.thinkheads.ai 10.0.0.0/255.255.255.0 10"
    ), raw[-200:]
    assert PLANTED not in raw
    assert command.connector_arguments["_stdin"] == (password or "\n")


def test_half_initialised_ca_is_refused_and_never_overwritten(tmp_path: Path) -> None:
    half = CaState({"certs/root_ca.crt": "644"})
    site = minimal().load(tmp_path)
    with pytest.raises(OperationError, match="is half initialised"):
        fixed(CertificateAuthority=half).run(initialised, site, organisation="X", years=1)
    commands = fixed(StateStage.Execute, CertificateAuthority=half).run(
        initialised, site, organisation="X", years=1
    )
    assert [type(command) for command in commands] == [FunctionCommand], commands
    assert re.search("half initialised", str(commands[0].args))


def test_earlier_roots_of_this_ca_are_stale_and_foreign_ones_stay() -> None:
    def info(name: str, print_: str) -> Any:
        return SimpleNamespace(subject_cn=name, fingerprint=print_)

    folder = "/usr/local/share/ca-certificates"
    actual = {
        f"{folder}/phoenix-root-ca.crt": info("Root", "old"),
        f"{folder}/renamed.crt": info("Root", "old"),
        f"{folder}/copy.crt": info("Root", "new"),
        f"{folder}/thinkheads-ca.crt": info("Other", "old"),
        f"{folder}/company.crt": info("Company Root", "x"),
    }
    assert stale_roots([info("Root", "new")], actual) == [
        f"{folder}/renamed.crt",
        f"{folder}/thinkheads-ca.crt",
    ]
    both = [info("Root", "old"), info("Root 2", "new")]
    assert stale_roots(both, actual) == [], "both are trusted now"
    assert f"{folder}/renamed.crt" in stale_roots([info("Root 2", "newest")], actual)


def test_what_was_taken_over_is_told_after_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "operations.config_tree.taken_over", lambda _, path, kept="": reports.append((path, kept))
    )
    have = FileState("644", "root", "root", "0" * 64)
    state = TreeState(
        files={"/etc/demo": have}, foreign=frozenset({"/etc/demo"}), superseded=("/etc/old",)
    )
    monkeypatch.setattr("operations.config_tree.read", lambda _: state)
    monkeypatch.setattr(host_state, "prefetch_hosts", lambda: None)
    monkeypatch.setattr(host_state, "changes", lambda _: None)
    here = fixed(StateStage.Execute)
    here.state.is_executing = True
    with ctx_state.use(here.state), ctx_host.use(here.host):
        commands = config_tree._inner(TREE)
        next(commands)
        assert reports == [], "the command has yet to run"
        assert list(commands) == []
    copy = "/var/lib/phoenix/trees/demo/replaced/etc/demo"
    assert reports == [("/etc/demo", copy), ("/etc/old", "")]
    reports.clear()
    fixed(ConfigTree=state).run(config_tree, TREE)
    assert reports == [], "a plan takes nothing over"


def test_a_host_keeps_its_root_while_the_ca_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A CA key that others may read stopped the repair of every host."""
    site = minimal().load(tmp_path)
    monkeypatch.setattr(trust, "certificate_authority", lambda _: sound(modes=OPEN_KEY))
    has_root = {STORED[0]: object()}
    for stage in (StateStage.Prepare, StateStage.Execute):
        here = fixed(stage, LocalTrust=has_root)
        assert here.run(root_trusted, site, keep=True) == []
        assert here.host.noop_description == "the root that it trusts is kept"
    assert "keeps the root that it trusts: the CA cannot be used: " in caplog.text
    assert "has mode 644" in caplog.text


@pytest.mark.parametrize(("keep", "has_root"), [(True, False), (False, True)])
def test_a_host_without_a_root_is_refused_and_so_is_each_while_the_root_is_replaced(
    keep: bool, has_root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = minimal().load(tmp_path)
    monkeypatch.setattr(trust, "certificate_authority", lambda _: sound(modes=OPEN_KEY))
    here = fixed(StateStage.Execute, LocalTrust={STORED[0]: object()} if has_root else {})
    (command,) = here.run(root_trusted, site, keep=keep)
    assert "has mode 644" in str(command.args)


def test_a_database_that_opens_is_left_alone_and_a_torn_one_repaired() -> None:
    words = {"unit": "step-ca.service", "port": 9000, "copies": "/var/backups/x"}
    assert fixed(CaDatabase="").run(database_opens, **words) == []
    (command,) = fixed(CaDatabase="truncate required").run(database_opens, **words)
    assert command.get_raw_value().endswith("/etc/step-ca step-ca.service 9000 /var/backups/x")


def test_the_ca_s_guest_remembers_former_names_and_is_left_alone_while_they_stay() -> None:
    """A guest that is gone took its notes with it: `phoenix.health.issued` asks here."""

    def commands(*lines: str) -> list[Any]:
        answers = {"NamesOfCertificates": (5000, lines)}
        site = Fixed(answers, stage=StateStage.Prepare, diff=False)
        return site.run(declared_names_recorded, ["b.test", "a.test"], longest=60.0)

    assert commands("a.test", "b.test", "old.test 4990") == []
    (command,) = commands("a.test", "gone.test", "older.test 4000")
    assert command.connector_arguments["_stdin"] == "a.test\nb.test\ngone.test 5000\n"
