"""Settings: one typed model, found where pyinfra finds them, checked with file, name and fix."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.connectors.ssh import ConnectorData
from pyinfra.context import ctx_state
from pyinfra_cli.inventory import make_inventory

from phoenix.cli import project as cli_project
from phoenix.declaration import group_data, pyinfra_inventory, settings
from phoenix.declaration.settings import RunArguments, Settings, SiteData
from phoenix.site.findings import ConfigError, Report
from tests.unit.project_copy import ROOT, changed, phoenix
from tests.unit.project_copy import project as project
from tests.unit.site_builder import VM

INVENTORY = "inventories/phoenix.py"
FILES = {
    "all": 'timezone = "all"\nnginx_max_body = "1m"\ndns_upstreams = ["9.9.9.9"]\n',
    "lxc": 'timezone = "lxc"\nstep_ca_years = 3\nnginx_max_body = "2m"\n',
    "nginx": 'import os\ntimezone = "nginx"\nstep_ca_years = 4\n__all__ = ["timezone"]\n',
    "docker": 'from os import sep\ntimezone = "docker"\ndocker_log_files = 7\n',
    "phoenix": "ssh_confirm_seconds = 9\nstep_ca_years = 5\n",
}


def test_values_are_those_that_pyinfra_gives_each_host(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in FILES.items():
        (project / "group_data" / f"{name}.py").write_text(text)
    inventory = project / INVENTORY
    inventory.write_text(
        inventory.read_text().replace('"ssh_user"', '"docker_log_files": 1, "ssh_user"')
    )
    monkeypatch.chdir(project)
    with ctx_state.use(State(Inventory.empty(), Config())):
        pyinfra_inventory = make_inventory(INVENTORY, cwd=str(project))
    files = group_data.read(project, Report())
    loaded = cli_project.load(inventory)
    hosts = list(pyinfra_inventory)
    assert len(hosts) == 6
    for host in hosts:
        values = group_data.of_host(files, loaded.given, loaded.site.host(host.name)).data
        assert values == host.data.dict(), host.name
    gateway = pyinfra_inventory.get_host("nginx-phoenix").data
    assert (gateway.timezone, gateway.step_ca_years, gateway.nginx_max_body) == ("nginx", 5, "2m")


def test_a_setting_s_file_is_the_one_whose_value_counts(project: Path) -> None:
    for name in ("all", "nginx", "phoenix"):
        (project / "group_data" / f"{name}.py").write_text("nginx_max_body = 1\n")
    with pytest.raises(ConfigError) as caught:
        of_the_gateway(project)
    (fault,) = caught.value.findings
    assert (fault.file, fault.path, fault.fix) == (
        "group_data/phoenix.py", "nginx_max_body", "write text",
    )  # fmt: skip
    (project / "group_data" / "phoenix.py").write_text("")
    with pytest.raises(ConfigError, match=r"group_data/nginx\.py: nginx_max_body: is 1"):
        of_the_gateway(project)
    inventory = project / INVENTORY
    inventory.write_text(
        inventory.read_text().replace('"ssh_user"', '"nginx_max_body": 2, "ssh_user"')
    )
    with pytest.raises(ConfigError, match=r"inventories/phoenix\.py: nginx_max_body: is 2"):
        of_the_gateway(project)


def of_the_gateway(project: Path) -> Settings:
    loaded = cli_project.load(project / INVENTORY)
    files = group_data.read(project, Report())
    gateway = loaded.site.host("nginx-phoenix")
    return group_data.checked(group_data.of_host(files, loaded.given, gateway))


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("stack_prune", "stacks_prune"),
        ("treafik_user", "traefik_dashboard_user"),
        ("dns_upstream", "dns_upstreams"),
        ("ssh_usr", "ssh_user"),
    ],
)
@pytest.mark.parametrize("file", ["all", "nginx", "phoenix"])
def test_misspelt_setting_is_found_in_every_file(
    project: Path, file: str, name: str, suggestion: str
) -> None:
    place = project / "group_data" / f"{file}.py"
    place.write_text(f"\n{name} = 1\n")
    result = phoenix("validate", "--strict", "-i", project / INVENTORY)
    assert result.exit_code == 1, result.output
    assert f"group_data/{file}.py\n  error  line 2, {name}" in result.stdout
    assert f"did you mean '{suggestion}'?" in result.stdout


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"timezone": 5}, "timezone", "write text"),
    ({"dns_stop_rebind": "no"}, "dns_stop_rebind", "write True or False"),
    ({"dns_stop_rebind": 0}, "dns_stop_rebind", "write True or False"),
    ({"docker_log_files": True}, "docker_log_files", "write a whole number"),
    ({"docker_log_files": "5"}, "docker_log_files", "write a whole number"),
    ({"docker_log_files": 0}, "docker_log_files", "write a number from 1 up"),
    ({"nginx_hsts_seconds": -1}, "nginx_hsts_seconds", "write a number from 0 up"),
    ({"dns_upstreams": "9.9.9.9"}, "dns_upstreams", "write a list"),
    ({"dns_upstreams": ["9.9.9.9", 8]}, "dns_upstreams[1]", "write text"),
    ({"artifacts": []}, "artifacts", "write a dictionary"),
    ({"artifacts": {"traefik": {"amd64": {"sha": "1"}}}}, "artifacts.traefik.amd64.sha", "remove"),
    ({"stack_variables": {"a": {"B": 1}}}, "stack_variables.a.B", "write text"),
    ({"serial": 0}, "serial", 'write a number of hosts, as "5"'),
    ({"serial": "101%"}, "serial", 'write a number of hosts, as "5"'),
    ({"serial": True}, "serial", "write text"),
    ({"docker_packages": "snap"}, "docker_packages", "write 'distribution' or 'docker'"),
    ({"docker_apt_url": "http://x"}, "docker_apt_url", "packages run as root"),
    ({"step_ca_lifetime_default": "1 day"}, "step_ca_lifetime_default", "write for example 24h"),
    ({"proxmox_ssh_seconds": "5"}, "proxmox_ssh_seconds", "write a whole number"),
    ({"proxmox_guests": {101: {"vlan": 5000}}}, "proxmox_guests.101.vlan", "a number up to 4094"),
    (
        {"proxmox_fierwall": True},
        "proxmox_fierwall",
        "did you mean 'proxmox_firewall'? else remove it",
    ),
]


@pytest.mark.parametrize(("data", "path", "fix"), WRONG, ids=[str(case[0]) for case in WRONG])
def test_wrong_value_is_named_with_its_fix_and_counts_as_the_default(
    data: dict[str, Any], path: str, fix: str
) -> None:
    chosen, findings = settings.read({**data, "step_ca_years": 7, "unrelated": object()})
    (fault,) = findings
    assert (fault.path, fault.severity) == (path, "error")
    assert fix in fault.fix
    assert chosen == Settings(step_ca_years=7)


def test_data_gives_a_size_of_a_batch_as_a_number() -> None:
    assert [settings.read({"serial": size})[0].serial for size in (5, "5", "20%")] == [
        "5", "5", "20%",
    ]  # fmt: skip


def test_a_list_may_be_a_tuple_and_data_gives_recipients_with_commas() -> None:
    chosen, findings = settings.read(
        {"dns_upstreams": ("1.1.1.1",), "backup_recipients": "age1a, age1b"}
    )
    assert findings == ()
    assert (chosen.dns_upstreams, chosen.backup_recipients) == (("1.1.1.1",), ("age1a", "age1b"))


def test_all_py_holds_what_the_site_changes_and_nothing_else() -> None:
    report = Report()
    (all_py,) = [
        file for file in group_data.read(ROOT, report) if file.group == pyinfra_inventory.ALL
    ]
    assert report.findings == []
    defaults = Settings()
    repeated = {name for name, value in all_py.values.items() if getattr(defaults, name) == value}
    assert repeated == set()


def test_every_setting_is_explained() -> None:
    unexplained = {name for name, info in settings.fields().items() if not info.description}
    assert unexplained == set()


def attributes(*places: str) -> Iterator[str]:
    for place in places:
        top = ROOT / place
        for file in top.rglob("*.py") if top.is_dir() else [top]:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute):
                    yield node.attr


def test_every_setting_is_read_by_some_code() -> None:
    own = set(Settings.model_fields)
    readers = ("deploys", "phoenix/components", "phoenix/declaration/hypervisor_file.py")
    assert own - set(attributes(*readers)) == set()
    proxmox = set(settings.ProxmoxSettings.model_fields)
    assert proxmox - set(attributes("deploys", "operations", "phoenix/proxmox")) == set()


def host_data() -> Iterator[tuple[str, str]]:
    """Every name that code takes from a host's data by itself, and where."""
    for folder in ("deploys", "operations", "facts"):
        for file in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "host.data.get":
                    if isinstance(node.args[0], ast.Constant):
                        yield file.name, str(node.args[0].value)
                elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "host.data":
                    yield file.name, node.attr


def test_settings_are_read_through_the_model_alone() -> None:
    """What is left is what a run or an inventory tells, all of it declared."""
    declared = {*SiteData.model_fields, *RunArguments.model_fields, *ConnectorData.__annotations__}
    reads = set(host_data())
    assert reads
    assert {read for read in reads if read[1] not in {*declared, "get", "dict"}} == set()


def test_plan_and_sync_tell_what_is_ignored(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "group_data" / "nginx.py").write_text("nginx_max_bdy = '1m'\nssh_port = 22\n")
    changed(project / "inventories" / VM, lambda data: data["vms"][1].update(memroy_mb=5))
    cli_project.load(project / INVENTORY).print_warnings()
    output = capsys.readouterr().err
    assert "warning: group_data/nginx.py: nginx_max_bdy: no code reads this setting" in output
    assert f"warning: {VM}: vms[1].memroy_mb: unknown key: nothing reads it" in output
    assert output.count("warning: ") == 2


@pytest.mark.parametrize("verb", ["plan", "sync"])
def test_a_run_begins_with_the_warnings(
    project: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told before any host is: here no target is known, so the run ends there."""
    warned: list[Path] = []
    monkeypatch.setattr(
        cli_project.Project, "print_warnings", lambda self: warned.append(self.root)
    )
    assert phoenix(verb, "no-such-target", "-i", project / INVENTORY).exit_code == 1
    assert warned == [project]


@pytest.mark.parametrize(
    ("name", "value", "message", "fix"),
    [
        ("proxmox_api", "shh", "'shh' is no way to the API of Proxmox VE",
         ('did you mean \'ssh\'? else write "off", "ssh", or its URL as '
          '"https://phoenix.example:8006"')),
        ("proxmox_api", "http://a:8006", "'http://a:8006' is no way to the API of Proxmox VE",
         'write "off", "ssh", or its URL as "https://phoenix.example:8006"'),
        ("proxmox_fingerprint", "AB:CD", "'AB:CD' is not a SHA-256 fingerprint",
         "write the 32 bytes that Proxmox VE shows for its certificate, as AB:CD:..."),
        ("traefik_dashboard_user", "a:b", "'a:b' is not a login name",
         "write it without blanks and colons"),
        ("portainer_url", "portainer", "'portainer' is not an https:// URL",
         ("write the URL of Portainer itself, with a port from 1 to 65535 or none, and other "
          "characters percent-encoded (RFC 3986)")),
    ],
)  # fmt: skip
def test_a_wrong_form_is_told_in_words(name: str, value: str, message: str, fix: str) -> None:
    """No regular expression, and not "see the reference"."""
    _, (finding,) = settings.read({name: value})
    assert (finding.path, finding.message, finding.fix) == (name, message, fix)


def test_a_setting_in_another_case_is_near() -> None:
    ((name, fix),) = settings.unknown(["TIMEZONE"])
    assert (name, fix) == ("TIMEZONE", "did you mean 'timezone'? else remove it")


@pytest.mark.parametrize(
    "name", ["traefik_dashboard_password", "SHOP_API_TOKEN", "PHOENIX_SECRET_X", "db_secret"]
)
def test_a_secret_among_settings_is_told_where_secrets_belong(name: str) -> None:
    ((_, fix),) = settings.unknown([name])
    assert "phoenix secrets init" in fix
    assert "docs/secrets.md" in fix
    assert "did you mean" not in fix


def test_a_file_that_is_no_python_is_told_its_line_once(project: Path) -> None:
    (project / "group_data" / "nginx.py").write_text("x = 1\ny = (\n")
    result = phoenix("validate", "-i", project / INVENTORY)
    assert result.exit_code == 1
    assert result.output.count("line 2") == 1, result.output
    assert "SyntaxError: '(' was never closed\n" in result.output


@pytest.mark.parametrize("port", ["7300:6800", "22:22", "0", "65536", "22-23"])
def test_a_range_of_ports_ascends(port: str) -> None:
    (finding,) = settings.read({"proxmox_node_flows": [{"port": port}]})[1]
    assert finding.path.startswith("proxmox_node_flows")
