"""A setting that stands where no host reads it is told, with who reads it and where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.cli import project as cli_project
from phoenix.declaration import settings
from phoenix.site.findings import Finding
from phoenix.validation import setting_readers
from tests.unit.project_copy import changed, phoenix
from tests.unit.project_copy import project as project
from tests.unit.site_builder import LXC

INVENTORY = "inventories/phoenix.py"


def test_every_setting_has_its_readers_and_no_other_name_has() -> None:
    for name in settings.fields():
        setting_readers.read(name)
    assert set(setting_readers._READ) <= set(settings.fields())
    with pytest.raises(KeyError):
        setting_readers.read("proxmox_fierwall")


TOLD = [
    ("docker", "dns_upstreams = ['9.9.9.9']", "dns_upstreams",
     "no host of the group docker reads it; phoenix reads it",
     "move it to group_data/all.py, or to group_data/hypervisor.py"),
    ("docker", "nginx_max_body = '1m'", "nginx_max_body",
     "no host of the group docker reads it; nginx-phoenix reads it",
     "move it to group_data/all.py, or to group_data/nginx.py"),
    ("lxc", "docker_log_files = 3", "docker_log_files",
     "no host of the group lxc reads it; portainer, drphoenix read it",
     "move it to group_data/all.py, or to group_data/docker.py"),
    ("docker", "proxmox_node_closed = ['tcp/111']", "proxmox_node_closed",
     "no host of the group docker reads it; phoenix reads it",
     "move it to group_data/all.py, or to group_data/hypervisor.py"),
    ("docker", "taking_over = {'nginx': 'keep'}", "taking_over.nginx",
     "no host of the group docker reads it; nginx-phoenix, traefik-internal read it",
     "move it to group_data/all.py"),
    ("step_ca", "stack_variables = {'qdrant_service': {'A': 'b'}}", "stack_variables",
     "no host of the group step_ca reads it; drphoenix reads it",
     "move it to group_data/all.py"),
    ("all", "watch_interval = 30", "watch_interval",
     "no host of this site reads it: it is for what this site does not have",
     "remove it, or declare what it is for"),
    ("phoenix", "swarm_address_pools = ['10.77.0.0/16']", "swarm_address_pools",
     "no host of this site reads it: it is for what this site does not have",
     "remove it, or declare what it is for"),
    ("portainer", "proxmox_api = 'ssh'", "proxmox_api",
     "is one value for the whole site, and hosts that read it would differ: phoenix, portainer",
     "move it to group_data/all.py"),
    ("hypervisor", "registries = {'r.example.com': {'username': 'ci', 'secret': 's'}}",
     "registries", "is one value for the whole site, and hosts that read it would differ: phoenix",
     "move it to group_data/all.py"),
]  # fmt: skip


@pytest.mark.parametrize(("group", "line", "path", "message", "fix"), TOLD)
def test_a_setting_that_no_host_of_its_file_reads(
    project: Path, group: str, line: str, path: str, message: str, fix: str
) -> None:
    place = project / "group_data" / f"{group}.py"
    place.write_text(f"{place.read_text() if place.exists() else ''}\n{line}\n")
    (finding,) = findings(project)
    assert (finding.file, finding.path) == (f"group_data/{group}.py", path)
    assert message in finding.message
    assert fix in finding.fix
    assert finding.unread, "an error under --strict"


def findings(project: Path) -> tuple[Finding, ...]:
    loaded = cli_project.load(project / INVENTORY)
    return setting_readers.findings(loaded.site, loaded._settings_files, loaded.given)


SILENT = [
    ("hypervisor", "dns_upstreams = ['9.9.9.9']"),
    ("docker", "docker_log_files = 3"),
    ("vm", "timezone = 'Europe/Berlin'"),
    ("nginx", "taking_over = {'nginx': 'keep'}"),
    ("docker", "taking_over = {'docker': 'keep', 'agent': 'replace'}"),
    ("all", "taking_over = {'nginx': 'keep', 'resolver': 'keep'}"),
    ("all", "proxmox_api = 'ssh'\nregistries = {}"),
    ("phoenix", "step_ca_lifetime_default = '12h'"),
]


@pytest.mark.parametrize(("group", "lines"), SILENT)
def test_a_setting_that_its_hosts_read_is_silent(project: Path, group: str, lines: str) -> None:
    place = project / "group_data" / f"{group}.py"
    place.write_text(f"{place.read_text() if place.exists() else ''}\n{lines}\n")
    assert findings(project) == ()


def test_what_a_host_leaves_alone_it_does_not_read(project: Path) -> None:
    (project / "group_data" / "nginx.py").write_text("timezone = 'Europe/Berlin'\n")
    assert findings(project) == ()

    def leave(data: dict[str, dict[str, dict[str, object]]]) -> None:
        gateway = next(e for e in data["lxc_configs"].values() if e.get("role") == "nginx")
        gateway["leave_alone"] = ["time"]

    changed(project / "inventories" / LXC, leave)
    (finding,) = findings(project)
    assert "no host of the group nginx reads it" in finding.message


def test_data_of_one_host_are_looked_at_as_those_of_a_file(project: Path) -> None:
    """Its name, and that the value is wrong: of the first host alone that was known before."""
    inventory = project / INVENTORY
    own = (
        '\nfor _name, _data in vm[1:]:\n    _data["nginx_max_body"] = "1m"\n'
        '    _data["docker_log_files"] = "many"\n'
    )
    inventory.write_text(inventory.read_text() + own)
    output = phoenix("validate", "--strict", "-i", inventory).stdout
    assert "no host named drphoenix reads it; nginx-phoenix reads it" in output
    assert "is 'many'" in output
    assert "write a whole number" in output


@pytest.mark.parametrize("strict", [False, True])
def test_validate_and_runs_tell_it(
    project: Path, capsys: pytest.CaptureFixture[str], *, strict: bool
) -> None:
    (project / "group_data" / "docker.py").write_text("\ntraefik_metrics = True\n")
    words = ["--strict"] if strict else []
    result = phoenix("validate", *words, "-i", project / INVENTORY)
    assert result.exit_code == (1 if strict else 0)
    assert "line 2, traefik_metrics" in result.stdout
    cli_project.load(project / INVENTORY).print_warnings()
    assert (
        "warning: group_data/docker.py: traefik_metrics: no host of the group docker reads it"
        in capsys.readouterr().err
    )
