"""Groups that an operator adds to an inventory: `phoenix` takes them as pyinfra does in a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.context import ctx_state
from pyinfra_cli.inventory import make_inventory

from phoenix.cli import project as cli_project
from phoenix.cli.exits import CommandError
from phoenix.declaration import group_data
from phoenix.site.findings import Report
from phoenix.validation import setting_readers
from tests.unit.project_copy import changed, phoenix
from tests.unit.project_copy import project as project
from tests.unit.site_builder import LXC

INVENTORY = "inventories/phoenix.py"

GROUPS = {
    "a list of names": 'slow = ["nginx-phoenix", "drphoenix"]',
    "names with data": 'slow = [("drphoenix", {"docker_log_files": 8}), "nginx-phoenix"]',
    "hosts and the group's data": 'slow = (["drphoenix"], {"docker_log_files": 8, "serial": "4"})',
    "a tuple of hosts and data": 'slow = (("drphoenix", "portainer"), {"docker_log_files": 8})',
    "data, without a host": 'slow = ([], {"docker_log_files": 8})',
    "no host": "slow = []",
    "not a group: a private name": '_slow = ["drphoenix"]',
    "not a group: numbers": "slow = [1, 2]",
    "before Phoenix's groups": 'docker = docker\nslow = ["drphoenix"]',
    "one of Phoenix's with more": 'vm = [*vm, ("nginx-phoenix", {"serial": "7"})]',
    "the file's own name": 'phoenix = ["drphoenix"]',
    "all hosts, with data": 'all = ([*hypervisor, *lxc, *vm], {"serial": "9"})',
    "a part of the hosts": 'all = [*hypervisor, "drphoenix"]\nslow = ["drphoenix"]',
}
FILES = {
    "all": 'timezone = "all"\nserial = "1"\n',
    "docker": 'timezone = "docker"\nhome_old_hours = 3\n',
    "phoenix": "home_old_hours = 5\n",
    "slow": 'timezone = "slow"\ndocker_log_files = 7\nserial = "2"\n',
    "vm": 'timezone = "vm"\n',
}


def with_group(project: Path, lines: str) -> Path:
    inventory = project / INVENTORY
    inventory.write_text(f"{inventory.read_text()}\n{lines}\n")
    return inventory


@pytest.mark.parametrize("lines", GROUPS.values(), ids=list(GROUPS))
def test_each_host_has_the_values_that_pyinfra_gives_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, lines: str
) -> None:
    for name, text in FILES.items():
        (project / "group_data" / f"{name}.py").write_text(text)
    inventory = with_group(project, lines)
    monkeypatch.chdir(project)
    with ctx_state.use(State(Inventory.empty(), Config())):
        expected = make_inventory(str(inventory), cwd=str(project))
    loaded = cli_project.load(inventory)
    files = group_data.read(project, Report())
    assert list(loaded.given.hosts) == [host.name for host in expected]
    assert {name for name in expected.group_data if expected.groups.get(name)} <= set(
        loaded.given.names
    )
    for host in expected:
        own = loaded.site.host(host.name)
        assert loaded.given.groups_of(own) == tuple(host.groups), host.name
        assert group_data.of_host(files, loaded.given, own).data == host.data.dict(), host.name


def validated(project: Path, *words: str) -> list[dict[str, Any]]:
    result = phoenix("validate", "--json", *words, "-i", project / INVENTORY)
    findings: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return findings


def test_a_group_s_settings_are_known_and_checked(project: Path) -> None:
    with_group(project, 'slow = ["drphoenix"]')
    file = project / "group_data" / "slow.py"
    file.write_text("docker_log_files = 3\n")
    assert validated(project, "--strict") == []
    file.write_text('docker_log_files = "many"\ndocker_log_fils = 3\nnginx_max_body = "1m"\n')
    found = {(f["file"], f["path"]): (f["message"], f["fix"]) for f in validated(project)}
    assert set(found) == {
        ("group_data/slow.py", name)
        for name in ("docker_log_files", "docker_log_fils", "nginx_max_body")
    }
    assert found["group_data/slow.py", "docker_log_files"][1] == "write a whole number"
    assert "no host of the group slow reads it" in found["group_data/slow.py", "nginx_max_body"][0]


def test_a_group_s_data_in_the_inventory_is_checked_there(project: Path) -> None:
    with_group(project, 'slow = (["drphoenix"], {"docker_log_files": "many", "serail": "2"})')
    assert {(f["file"], f["path"], f["severity"]) for f in validated(project)} == {
        (INVENTORY, "docker_log_files", "error"),
        (INVENTORY, "serail", "warning"),
    }


def test_the_group_is_known_where_the_declaration_is_faulty_and_in_another_inventory(
    project: Path,
) -> None:
    inventory = with_group(project, 'slow = ["drphoenix"]')
    (project / "group_data" / "slow.py").write_text("docker_log_files = 3\n")
    other = project / "inventories" / "other.py"
    other.write_text(inventory.read_text())
    inventory.write_text(inventory.read_text().replace("slow =", "_slow ="))
    assert validated(project) == []
    changed(project / "inventories" / LXC, lambda data: data["lxc_configs"].pop("101"))
    assert [f for f in validated(project) if f["file"].startswith("group_data/")] == []
    other.unlink()
    (finding,) = [f for f in validated(project) if f["file"].startswith("group_data/")]
    assert "no group is called 'slow'" in finding["message"]


@pytest.mark.parametrize(
    ("lines", "host", "fix"),
    [
        ('slow = ["drphoenx"]', "drphoenx", "did you mean 'drphoenix'?"),
        ('nets = ["10.0.0.0/24"]', "10.0.0.0/24", "begin the name of a list that is no group"),
        ('own = [("nas", {"ssh_user": "root"})]', "nas", "declare it in the JSON files"),
    ],
)
def test_a_host_that_the_json_files_do_not_have_is_told(
    project: Path, lines: str, host: str, fix: str
) -> None:
    with_group(project, lines)
    (finding,) = validated(project)
    assert (finding["file"], finding["severity"]) == (INVENTORY, "error")
    assert f"{host!r} is a host for pyinfra" in finding["message"]
    assert fix in finding["fix"]


@pytest.mark.parametrize(
    "lines",
    ['slow = ("drphoenix", "portainer")', "slow = ()", 'slow = [("drphoenix",)]',
     'slow = [("drphoenix", "x")]', 'slow = (["drphoenix"], {}, 1)'],
)  # fmt: skip
def test_a_group_on_which_pyinfra_fails_is_told_in_words(project: Path, lines: str) -> None:
    with pytest.raises(CommandError) as caught:
        cli_project.load(with_group(project, lines))
    assert "slow" in str(caught.value)
    assert "fix: write a group as a list of hosts" in str(caught.value)


@pytest.mark.parametrize(
    ("group", "where"),
    [("slow", "as login of each of its hosts in"), ("phoenix", "as site.login in"),
     ("docker", "as site.logins.docker in")],
)  # fmt: skip
def test_a_log_in_for_a_group_is_sent_to_where_it_counts(
    project: Path, group: str, where: str
) -> None:
    with_group(project, 'slow = ["drphoenix"]')
    (project / "group_data" / f"{group}.py").write_text('ssh_user = "admin"\n')
    (finding,) = validated(project)
    assert where in finding["fix"]


def test_hosts_of_one_group_alone_see_another_value(project: Path) -> None:
    """A setting of the whole site is told where it stands in a group's file."""
    with_group(project, 'doors = ["nginx-phoenix"]')
    (project / "group_data" / "doors.py").write_text('step_ca_lifetime_default = "2h"\n')
    loaded = cli_project.load(project / INVENTORY)
    findings = setting_readers.findings(loaded.site, loaded._settings_files, loaded.given)
    assert [(f.file, f.path) for f in findings] == [
        ("group_data/doors.py", "step_ca_lifetime_default")
    ]
