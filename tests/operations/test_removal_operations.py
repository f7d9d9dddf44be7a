"""Operations that take away what is not declared any more: what they send, and when nothing."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pyinfra.api import FunctionCommand, OperationError
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state

from facts.issued import _KEYS, KeysAskedFor
from operations import removal
from phoenix.components.docker.projects import Anonymous
from phoenix.components.watch.files import JUDGE, LOOKS, RECEIVER, VAR
from phoenix.derived import register
from phoenix.derived.register import Entry
from phoenix.health.undeclared import Placed
from phoenix.secrets.store import SecretStore
from tests.operations.test_tree_operations import Fixed, fixed
from tests.unit.test_undeclared import project

OTHER = "stack\tother\tspare\t10.0.0.2\t-"
ENTRY = Entry("stack", "blog-production", "spare", "10.0.0.25", 1003)


def words(commands: list[Any]) -> list[str]:
    return [command.get_raw_value() for command in commands]


def on(*projects: object, placed: Placed | None = None, **more: Any) -> Fixed:
    return fixed(ComposeProjects=list(projects), PlacedByPhoenix=placed or Placed(), **more)


def test_a_project_goes_with_or_without_its_data() -> None:
    here = on(project("blog", volumes=1))
    (call,) = words(here.run(removal.compose_project, project="blog", volumes=False))
    assert call.endswith(" project blog '' /etc/phoenix/compose/ /var/lib/phoenix/moves ''")
    (gone,) = words(here.run(removal.compose_project, project="blog", volumes=True))
    assert gone.endswith(" project blog volumes /etc/phoenix/compose/ /var/lib/phoenix/moves ''")
    keeps = {"blog_v0": "wiki"}
    (mixed,) = words(here.run(removal.compose_project, project="blog", volumes=True, keeps=keeps))
    assert mixed.endswith(" /var/lib/phoenix/moves blog_v0")


def test_a_volume_that_a_declared_stack_has_stays_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reasons: list[str] = []
    monkeypatch.setattr(removal, "log_reasons", lambda *lines: reasons.extend(lines))
    here = on(project("blog", volumes=2))
    keeps = {"blog_v0": "wiki-production"}
    here.run(removal.compose_project, project="blog", volumes=True, keeps=keeps)
    assert "volume blog_v0 stays: wiki-production, which is declared, has it" in reasons
    assert "volume blog_v1 goes, with its data" in reasons
    assert not any("blog_v0 goes" in line for line in reasons)


@pytest.mark.parametrize("volumes", [False, True])
def test_what_no_name_leads_to_is_told(monkeypatch: pytest.MonkeyPatch, volumes: bool) -> None:
    """Once its container is gone, no removal finds such a volume again."""
    unnamed = Anonymous("ab" * 32, "blog-web-1", "/cache")
    reasons: list[str] = []
    monkeypatch.setattr(removal, "log_reasons", lambda *lines: reasons.extend(lines))
    here = on(replace(project("blog", volumes=1), anonymous=(unnamed,)))
    here.run(removal.compose_project, project="blog", volumes=volumes)
    (line,) = [line for line in reasons if "anonymous volume abababababab (/cache of blog" in line]
    assert line.endswith("goes, with its data" if volumes else f"docker volume rm {'ab' * 32}")


def test_what_is_gone_is_left_alone() -> None:
    listed = project("blog", None, containers=0, volumes=1)
    for here in (on(), on(listed)):
        assert here.run(removal.compose_project, project="blog", volumes=False) == []
    assert len(on(listed).run(removal.compose_project, project="blog", volumes=True)) == 1
    unfinished = on(placed=Placed(stacks=("blog",)))
    assert len(unfinished.run(removal.compose_project, project="blog", volumes=False)) == 1
    assert on().run(removal.component, tree="portainer-agent", volumes=False) == []


def test_what_a_person_started_by_hand_is_refused() -> None:
    with pytest.raises(OperationError, match="blog was started by hand from /data/compose/1"):
        on(project("blog", "hand")).run(removal.compose_project, project="blog", volumes=True)


def test_an_agent_goes_with_its_container_and_guard_and_its_tree_last() -> None:
    here = on(placed=Placed(("portainer-agent",)))
    commands = words(here.run(removal.component, tree="portainer-agent", volumes=False))
    assert [line.rpartition("' ")[2] for line in commands] == [
        "unit phoenix-portainer-agent.service",
        "/etc/phoenix/compose/ /var/lib/phoenix/moves ''".rpartition("' ")[2],
        "guard",
        "config-tree /var/lib/phoenix/trees/portainer-agent ''".rpartition("' ")[2],
    ]
    assert "phoenix-agent" in commands[2]
    assert 'apply" remove' in commands[3]


def test_a_certificate_goes_with_its_key_also_without_its_tree() -> None:
    here = on(placed=Placed(("acme-host",), ("host", "gateway")))
    rm, tree = words(here.run(removal.component, tree="acme-host", volumes=False))
    assert "rm -rf" in rm
    assert rm.endswith(
        " phoenix-acme@ host /etc/phoenix/tls /etc/phoenix/stacks /var/lib/phoenix-acme"
    )
    assert "remove" in tree
    (rm,) = words(here.run(removal.component, tree="acme-gateway", volumes=False))
    assert rm.endswith(" gateway /etc/phoenix/tls /etc/phoenix/stacks /var/lib/phoenix-acme")


def test_what_a_certificate_had_asked_for_is_remembered(tmp_path: Path) -> None:
    """What the CA issued for it is good for a day, and was told as a stranger's."""
    state, keys = tmp_path / "acme", "1764000000 ab\n"
    for name in ("stack-a", "stack-b"):
        (state / name).mkdir(parents=True)
        (state / name / "keys").write_text(keys)
        subprocess.run(
            removal._CERTIFICATE.argv("x@", name, tmp_path / "tls", tmp_path / "stacks", state),
            check=True,
        )
    assert [path.name for path in state.iterdir()] == ["removed-keys"]
    assert (state / "removed-keys").read_text() == keys * 2
    answer = ["certificate host", keys.strip(), "removed", *keys.splitlines()]
    assert [noted.certificate for noted in KeysAskedFor().parse(answer)] == ["host", ""]


def test_what_a_host_had_asked_for_counts_though_it_is_declared_there_no_more(
    tmp_path: Path,
) -> None:
    """As of a second gateway that has left: the first has the same names, and other keys."""
    for name, key in (("host", "aa"), ("gateway", "bb")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys").write_text(f"1764000000 {key}\n")
    (tmp_path / "removed-keys").write_text("1764000000 cc\n")
    script = _KEYS.text.replace("/var/lib/phoenix-acme", str(tmp_path))

    def asked(*names: str) -> dict[str, frozenset[str]]:
        words = ["/bin/sh", "-c", script, "asked-keys", *names]
        output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        return {
            noted.certificate: noted.keys for noted in KeysAskedFor().parse(output.splitlines())
        }

    assert asked("host") == {"host": {"aa"}, "": {"bb", "cc"}}
    assert asked("host", "gateway") == {"host": {"aa"}, "gateway": {"bb"}, "": {"cc"}}
    assert asked() == {"": {"aa", "bb", "cc"}}


@pytest.mark.parametrize("volumes", [False, True])
def test_what_the_watcher_remembers_goes_with_the_data_of_others(
    monkeypatch: pytest.MonkeyPatch, volumes: bool
) -> None:
    reasons: list[str] = []
    monkeypatch.setattr(removal, "log_reasons", lambda *lines: reasons.extend(lines))
    here = on(placed=Placed(("watcher",)))
    *stops, folders, tree = words(here.run(removal.component, tree="watcher", volumes=volumes))
    assert [stop.rpartition(" ")[2] for stop in stops] == [JUDGE, LOOKS, RECEIVER]
    assert ("/run/phoenix-watch" in folders, VAR in folders) == (True, volumes)
    assert any(f"{VAR} stays" in line for line in reasons) != volumes
    assert "apply" in tree
    assert on().run(removal.component, tree="watcher", volumes=volumes) == []


def test_docker_itself_runs_on_without_its_configuration() -> None:
    (tree,) = words(on(placed=Placed(("docker",))).run(removal.component, tree="docker",
                                                      volumes=False))  # fmt: skip
    assert tree.endswith(" /var/lib/phoenix/trees/docker running")


def test_the_register_forgets_what_was_removed_and_nothing_else() -> None:
    here = fixed(Register=(ENTRY,))
    (command,) = here.run(removal.registered, lines=[ENTRY.line, OTHER])
    assert command.connector_arguments["_stdin"] == f"{ENTRY.line}\n"
    assert here.run(removal.registered, lines=[OTHER]) == []


def test_the_register_keeps_what_could_not_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "read", lambda _: (ENTRY,))
    here = Fixed({}, stage=StateStage.Execute, diff=False)
    here.state.is_executing = True
    here.state.failed_hosts = {here.host}
    with ctx_state.use(here.state), ctx_host.use(here.host):
        (command,) = removal.dropped([ENTRY.line])
    assert isinstance(command, FunctionCommand)
    assert "stays in the register" in command.args[0]


def test_a_secret_is_forgotten_once(tmp_path: Path) -> None:
    store = SecretStore(tmp_path / "secrets.json", {})
    store.get("blog_password", lambda: "value")
    store.keep("blog_password")
    (command,) = fixed().run(removal.secret, secret="blog_password", store=store)
    assert command.function(fixed().state, fixed().host) is True
    assert (store.kept_names(), store.find("blog_password")) == (frozenset(), None)
    assert fixed().run(removal.secret, secret="blog_password", store=store) == []
    assert isinstance(store.get("other"), SecretStr)


@pytest.mark.skipif(shutil.which("docker") is None, reason="there is no docker program")
def test_the_script_of_a_project_on_a_docker_that_fails(tmp_path: Path) -> None:
    """Its error ends the removal: nothing is said to be gone."""
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'no daemon' >&2; exit 1\n")
    (tmp_path / "docker").chmod(0o755)
    done = subprocess.run(
        [*removal._PROJECT.argv("blog", "", f"{tmp_path}/compose/", tmp_path)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, "no daemon" in done.stderr) == (1, True)


def test_a_removed_stack_is_no_longer_one_that_a_move_has_stopped(tmp_path: Path) -> None:
    """Portainer's server would keep its Docker's socket for it."""
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "docker").chmod(0o755)
    marks = [tmp_path / f"{name}.left" for name in ("blog", "blog2")]
    for mark in marks:
        mark.touch()
    subprocess.run(
        [*removal._PROJECT.argv("blog", "", f"{tmp_path}/compose/", tmp_path)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True,
    )  # fmt: skip
    assert [mark.exists() for mark in marks] == [False, True]


@pytest.mark.parametrize(("keep", "gone"), [("", "a_x a_y"), ("a_x", "a_y"), ("a_x\na_y", "")])
def test_the_script_of_a_project_keeps_volumes_by_their_whole_name(
    tmp_path: Path, keep: str, gone: str
) -> None:
    (tmp_path / "docker").write_text(
        "#!/bin/sh\ncase $1$2 in\n"
        "volumels) printf 'a_x\\na_y\\n' ;;\n"
        f'volumerm) shift 2; echo "$*" >{tmp_path}/removed ;;\nesac\n'
    )
    (tmp_path / "docker").chmod(0o755)
    argv = removal._PROJECT.argv("a", "volumes", f"{tmp_path}/compose/", tmp_path, keep)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run([*argv], env=environment, check=True)
    removed = tmp_path / "removed"
    assert (removed.read_text().strip() if removed.exists() else "") == gone


def test_entries_are_lines() -> None:
    assert register.parse([ENTRY.line]) == (ENTRY,)
