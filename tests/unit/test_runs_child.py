"""pyinfra as the command line starts it: each step is named after its component's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.cli.reports.plan import changes_of
from phoenix.runs.process import Request, run
from phoenix.runs.results import component_of, title_of

STEP = """from pyinfra.operations import server

server.shell(name="{name}: a step", commands=["true"])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two components, and a file that includes one of them."""
    (folder := tmp_path / "deploys").mkdir()
    for name in ("dns", "nginx"):
        (folder / f"{name}.py").write_text(STEP.format(name=name))
    (folder / "all.py").write_text(
        'from pyinfra import local\n\nlocal.include("deploys/dns.py")\n'
        'local.include("deploys/nginx.py")\n'
    )
    (tmp_path / "inventory.py").write_text('hosts = [("@local", {})]\n')
    return tmp_path


@pytest.mark.parametrize(
    "deploys",
    [("deploys/all.py",), ("deploys/dns.py", "deploys/nginx.py")],
    ids=["included", "called"],
)
def test_steps_have_their_component(project: Path, deploys: tuple[str, ...]) -> None:
    finished = run(Request(project, Path("inventory.py"), deploys, dry=True))
    assert finished.results is not None, finished.last_lines
    names = [step["name"] for step in finished.results["plan"]]
    assert [component_of(name) for name in names] == ["dns", "nginx"]
    assert [title_of(name) for name in names] == ["dns: a step", "nginx: a step"]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    ("limit", "hosts"),
    [
        (("@fake/phoenix",), ["@fake/phoenix"]),
        (("@fake/docker",), ["@fake/docker"]),
        (("@fake/docker", "@fake/phoenix"), ["@fake/docker", "@fake/phoenix"]),
        (("pair",), ["@fake/docker", "@fake/worker"]),
    ],
)
def test_a_host_that_is_called_like_a_group_is_limited_to_alone(
    project: Path, limit: tuple[str, ...], hosts: list[str]
) -> None:
    everybody = ["@fake/phoenix", "@fake/docker", "@fake/worker"]
    (project / "site.py").write_text(
        f"everybody = {everybody}\npair = {everybody[1:]}\n"
        f"globals().update({{'@fake/phoenix': everybody, '@fake/docker': pair}})\n"
    )
    finished = run(Request(project, Path("site.py"), ("deploys/dns.py",), limit=limit, dry=True))
    assert finished.results is not None, finished.last_lines
    (step,) = finished.results["plan"]
    assert sorted(step["hosts_with_change"]) == hosts
    assert sorted(finished.course.connected) == hosts


LOOP = """from pyinfra import host, logger
from operations.operation import operation
from operations.explain import log_reasons

@operation()
def deploy(stack):
    logger.info("%s%s", host.print_prefix, f"{stack} is new")
    yield "true"

for stack in host.data.stacks:
    deploy(name=f"Stack {stack}", stack=stack)
"""


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("dry", [True, False])
def test_stacks_of_two_hosts_in_one_loop_keep_their_names(tmp_path: Path, dry: bool) -> None:
    """pyinfra has one operation with two names, and its first name was told of both hosts."""
    (tmp_path / "deploys").mkdir()
    (tmp_path / "deploys/stacks.py").write_text(LOOP)
    stacks = {"@fake/one": ["a", "b"], "@fake/two": ["c"], "@fake/three": ["a"]}
    lines = [f"({host!r}, {{'stacks': {names}}})" for host, names in stacks.items()]
    (tmp_path / "site.py").write_text(f"hosts = [{', '.join(lines)}]\n")
    (tmp_path / "operations").symlink_to(Path(__file__).parents[2] / "operations")
    (tmp_path / "facts").symlink_to(Path(__file__).parents[2] / "facts")
    finished = run(Request(tmp_path, Path("site.py"), ("deploys/stacks.py",), dry=dry))
    assert finished.results is not None, finished.last_lines
    if dry:
        changes = [(change.host, change.step) for change in changes_of(finished)]
        assert all(
            change.details == [f"{change.step[6:]} is new"] for change in changes_of(finished)
        )
    else:
        changes = [(host, title_of(step)) for step, host in finished.course.changed]
    assert sorted(changes) == sorted(
        (host, f"Stack {name}") for host, names in stacks.items() for name in names
    )


READS = """from pyinfra import host, logger
from pyinfra.api import StringCommand
from facts.command import command
from facts.host_fact import HostFact, marked
from operations.host_state import question, read
from operations.operation import operation


class Word(HostFact):
    def command(self, word):
        return marked(command("echo", word))

    def parse(self, lines):
        return lines[0]


@operation(reads=lambda word, **_: [question(Word, word=word)])
def step(word, wanted):
    if read(question(Word, word=word)) == wanted:
        host.noop("as it is to be")
        return
    logger.info("%s%s is not %s", host.print_prefix, word, wanted)
    yield "true"

for word in ("one", "two", "three"):
    step(name=f"Word {word}", word=word, wanted=host.data.wanted)
"""


def test_a_plan_asks_each_host_once_and_knows_what_would_change(tmp_path: Path) -> None:
    (tmp_path / "deploys").mkdir()
    (tmp_path / "deploys/words.py").write_text(READS)
    (tmp_path / "site.py").write_text(f"hosts = [('@local', {{'wanted': 'two'}})]\n{COUNTED}")
    for name in ("operations", "facts"):
        (tmp_path / name).symlink_to(Path(__file__).parents[2] / name)
    finished = run(Request(tmp_path, Path("site.py"), ("deploys/words.py",), dry=True))
    assert finished.results is not None, finished.last_lines
    changed = {
        title_of(step["name"]): step["hosts_with_change"] for step in finished.results["plan"]
    }
    assert changed == {"Word one": ["@local"], "Word two": [], "Word three": ["@local"]}
    assert [change.details for change in changes_of(finished)] == [
        ["one is not two"], ["three is not two"]
    ]  # fmt: skip
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked == "3"


COUNTED = """
from pathlib import Path
from pyinfra.connectors.local import LocalConnector

_run = LocalConnector.run_shell_command

def run(self, command, *rest, **options):
    with Path("asked").open("a") as file:
        file.write(f"{str(options.get('_stdin')).count('answer-begins')}\\n")
    return _run(self, command, *rest, **options)

LocalConnector.run_shell_command = run
"""


def test_a_plan_ends_with_what_a_step_raises(tmp_path: Path) -> None:
    (tmp_path / "deploys").mkdir()
    refused = READS.replace('yield "true"', 'raise OperationError(f"{word} stands in the way")')
    refused = refused.replace("from pyinfra.api import", "from pyinfra.api import OperationError,")
    (tmp_path / "deploys/words.py").write_text(refused)
    (tmp_path / "site.py").write_text("hosts = [('@local', {'wanted': 'two'})]\n")
    for name in ("operations", "facts"):
        (tmp_path / name).symlink_to(Path(__file__).parents[2] / name)
    finished = run(Request(tmp_path, Path("site.py"), ("deploys/words.py",), dry=True))
    assert finished.returncode != 0
    assert any("one stands in the way" in line for line in finished.last_lines)


@pytest.mark.parametrize("own_folder", [False, True])
def test_a_run_takes_settings_from_the_site_s_folder_alone(
    project: Path, tmp_path: Path, own_folder: bool
) -> None:
    """pyinfra itself also reads the group_data beside the inventory, which `validate` does not."""
    site = project / "own" if own_folder else project
    (site / "inventories").mkdir(parents=True)
    (inventory := site / "inventories" / "site.py").write_text('hosts = [("@local", {})]\n')
    for folder in {project, site, site / "inventories"}:
        (folder / "group_data").mkdir()
        place = "site" if folder == site else "elsewhere"
        (folder / "group_data" / "all.py").write_text(f'place = "{place}"\n{place}_alone = 1\n')
    (project / "deploys" / "dns.py").write_text(
        "from pathlib import Path\nfrom pyinfra import host\n\n"
        f"Path({str(tmp_path / 'seen')!r}).write_text("
        "f'{host.data.place} {host.data.get(\"elsewhere_alone\")}')\n"
    )
    finished = run(Request(project, inventory, ("deploys/dns.py",), dry=True,
                           site=site if own_folder else None))  # fmt: skip
    assert finished.returncode == 0, finished.last_lines
    assert (tmp_path / "seen").read_text() == "site None"
