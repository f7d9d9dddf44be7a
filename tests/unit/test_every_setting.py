"""Every setting counts, whichever way it is given; no way takes it for something else.

Four ways: group_data/all.py, group_data/GROUP.py, a host's data in the inventory, and pyinfra's
`--data NAME=VALUE`, which is text. A value of a wrong type and a misspelt name are told by each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import DeployError
from pyinfra.context import ctx_host, ctx_state
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import parse_cli_arg

from deploys import context
from phoenix.cli import project as cli_project
from phoenix.declaration import group_data, settings
from phoenix.declaration.settings import Settings
from phoenix.site.findings import ConfigError
from tests.unit.project_copy import phoenix
from tests.unit.project_copy import project as project

INVENTORY = "inventories/phoenix.py"
HOST, GROUP = "drphoenix", "docker"
"""The host whose settings are looked at, and one of its groups."""
DIGEST = "0123456789abcdef" * 4
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me"

VALUES: dict[str, Any] = {
    "dns_upstreams": ["1.1.1.1"],
    "dns_stop_rebind": False,
    "resolver_fallback": ["10.0.0.1", "10.0.0.2"],
    "timezone": "Europe/Berlin",
    "step_ca_lifetime_minimum": "6m",
    "step_ca_lifetime_maximum": "48h",
    "step_ca_lifetime_default": "1h30m",
    "step_ca_organisation": "1984",
    "step_ca_years": 3,
    "nginx_hsts_seconds": 0,
    "nginx_max_body": "0",
    "nginx_read_timeout": "77",
    "traefik_dashboard_user": "1000",
    "traefik_metrics": True,
    "ssh_confirm_seconds": 9,
    "serial": "5",
    "room_warning_percent": 21,
    "room_least_percent": 0,
    "home_old_hours": 12,
    "home_tells": "services",
    "watch_interval": 30,
    "watch_backup_days": 0,
    "artifacts": {"traefik": {"any": {"version": "1", "url": "file:///t", "sha256": DIGEST}}},
    "docker_packages": "docker",
    "docker_apt_url": "https://mirror.example/docker",
    "docker_apt_key_sha256": DIGEST,
    "docker_log_size": "1048576",
    "docker_log_files": 2,
    "docker_log_driver": "journald",
    "docker_log_options": {"compress": "true"},
    "docker_data_root": "/srv/docker",
    "docker_address_pools": [{"base": "172.30.0.0/16", "size": 24}],
    "swarm_address_pools": ["10.77.0.0/16"],
    "docker_registry_mirrors": ["https://mirror.example"],
    "docker_insecure_registries": ["registry.example:5000", "10.0.0.0/24"],
    "docker_runtimes": {"crun": {"path": "/usr/bin/crun"}},
    "portainer_image": "example/portainer:1.0",
    "portainer_agent_image": "example/agent:1.0",
    "portainer_url": "https://portainer.example",
    "image_archives": {"example/a:1": {"url": "file:///a.tar", "sha256": DIGEST}},
    "registries": {"registry.example": {"username": "ci", "secret": "registry_password"}},
    "stack_variables": {"qdrant_service": {"QDRANT_LOG_LEVEL": "DEBUG"}},
    "stacks_prune": ["old_app-production"],
    "backup_recipients": ["age1a", "age1b"],
    "taking_over": {"resolver": "keep"},
    "proxmox_api": "ssh",
    "proxmox_other_apis": ["https://pve2.example:8006"],
    "proxmox_fingerprint": "AB:" * 31 + "AB",
    "proxmox_ca_file": "~/pve-root-ca.pem",
    "proxmox_node": "2",
    "proxmox_template_storage": "tank",
    "proxmox_image_storage": "tank",
    "proxmox_images": {"a.img": {"url": "https://a.example/a.img", "sha256": DIGEST}},
    "proxmox_adopt": [101, 102],
    "proxmox_vm_user": "debian",
    "proxmox_ssh_keys": [KEY],
    "proxmox_lxc_features": {"fuse": "1"},
    "proxmox_vm_cpu": "host",
    "proxmox_guest_agent": False,
    "proxmox_guests": {1002: {"vlan": 7}},
    "proxmox_firewall": False,
    "proxmox_firewall_out": "DROP",
    "proxmox_operator_networks": ["192.168.7.0/24", "fd00:7::/64"],
    "proxmox_ipfilter": False,
    "proxmox_node_flows": [{"port": "2049", "source": "10.0.0.0/24"}],
    "proxmox_node_closed": ["tcp/111", "udp/111"],
    "proxmox_node_listeners": {"pve2": ["tcp/22"]},
    "proxmox_ha_group": "spread",
    "proxmox_ha_nodes": ["pve1:2", "pve2:1"],
    "proxmox_apart": {"dns": [103, 105]},
    "proxmox_replication_schedule": "*/30",
    "proxmox_snapshot_before_change": True,
    "proxmox_lifecycle_snapshots": True,
    "proxmox_task_seconds": 60,
    "proxmox_lock_seconds": 0,
    "proxmox_request_seconds": 5,
    "proxmox_ssh_seconds": 7,
}
"""A value of each setting that is not its default; of texts one that a shell's words take for a
number, where that is a value."""


def as_text(value: Any) -> str:
    """A value as a person writes it behind `--data NAME=`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, str | int) for part in value):
        return ",".join(map(str, value))
    return json.dumps(value)


Way = Callable[[Path, Mapping[str, Any]], dict[str, Any]]


def in_all(project: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    return in_file(project, "all", values)


def in_group(project: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    return in_file(project, GROUP, values)


def in_file(project: Path, group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    lines = [f"{name} = {value!r}\n" for name, value in values.items()]
    (project / "group_data" / f"{group}.py").write_text("".join(lines))
    return {}


def in_inventory(project: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """In one of the mentions of the host, the last one."""
    with (project / INVENTORY).open("a") as file:
        file.write(f"{GROUP} = [(n, {{**d, **{dict(values)!r}}} if n == {HOST!r} else d)"
                   f" for n, d in {GROUP}]\n")  # fmt: skip
    return {}


def by_data(project: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: parse_cli_arg(as_text(value)) for name, value in values.items()}


WAYS: dict[str, Way] = {
    "group_data/all.py": in_all,
    f"group_data/{GROUP}.py": in_group,
    INVENTORY: in_inventory,
    "--data": by_data,
}
by_each_way = pytest.mark.parametrize(("place", "give"), WAYS.items(), ids=list(WAYS))
FILES = {place: way for place, way in WAYS.items() if place != "--data"}
by_each_file = pytest.mark.parametrize(("place", "give"), FILES.items(), ids=list(FILES))


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    context._warn_unknown.cache_clear()
    yield
    context._settings.cache_clear()


def in_a_deploy(project: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any]) -> Settings:
    """What a deploy on the host gets for its settings, by pyinfra's own inventory."""
    monkeypatch.chdir(project)
    with ctx_state.use(State(Inventory.empty(), Config())):
        inventory = make_inventory(str(project / INVENTORY), override_data=data, cwd=str(project))
        with ctx_host.use(inventory.get_host(HOST)):
            return context.settings()


def by_the_command(project: Path) -> Settings:
    """What `phoenix` takes for the host's settings."""
    loaded = cli_project.load(project / INVENTORY)
    return group_data.checked(
        group_data.of_host(loaded._settings_files, loaded.given, loaded.site.host(HOST))
    )


def value_of(chosen: Settings, name: str) -> Any:
    if name.startswith(settings.PROXMOX):
        return getattr(chosen.proxmox, name.removeprefix(settings.PROXMOX))
    return getattr(chosen, name)


def differing(chosen: Settings, expected: Settings) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (value_of(chosen, name), value_of(expected, name)) for name in VALUES}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


EXPECTED = Settings.model_validate(VALUES)


def test_there_is_a_value_for_every_setting_and_none_is_the_default() -> None:
    assert set(VALUES) == set(settings.fields())
    assert set(differing(EXPECTED, Settings())) == set(VALUES)


@by_each_way
def test_each_way_gives_a_deploy_exactly_this_value(
    project: Path, monkeypatch: pytest.MonkeyPatch, place: str, give: Way
) -> None:
    chosen = in_a_deploy(project, monkeypatch, give(project, VALUES))
    assert differing(chosen, EXPECTED) == {}


@by_each_file
def test_the_command_sees_what_a_deploy_gets(project: Path, place: str, give: Way) -> None:
    give(project, VALUES)
    assert differing(by_the_command(project), EXPECTED) == {}


def test_the_nearer_place_counts_for_each_setting(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyinfra's order: `--data`, the host's data, the files of its groups, all.py."""
    default = {
        name: json.loads(json.dumps(Settings().model_dump(mode="json")[name]))
        for name in VALUES
        if not name.startswith(settings.PROXMOX) and name != "taking_over"
    }
    farther: Way | None = None
    for give in WAYS.values():
        if farther is not None:
            farther(project, default)
        data = give(project, VALUES)
        assert differing(in_a_deploy(project, monkeypatch, data), EXPECTED) == {}, give
        context._settings.cache_clear()
        farther = give


NULLABLE = [name for name, info in settings.fields().items() if info.default is None]


@pytest.mark.parametrize("text", ["None", "null"])
def test_data_takes_away_what_a_file_says(
    project: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    assert len(NULLABLE) > 5
    names = [*NULLABLE, "proxmox_vm_user"]
    in_all(project, {name: VALUES[name] for name in names})
    data = {name: parse_cli_arg(text) for name in names}
    chosen = in_a_deploy(project, monkeypatch, data)
    assert {name: value_of(chosen, name) for name in names} == dict.fromkeys(names)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("dns_stop_rebind", "FALSE", False),
        ("traefik_metrics", "true", True),
        ("dns_upstreams", '["1.1.1.1", "8.8.8.8"]', ("1.1.1.1", "8.8.8.8")),
        ("dns_upstreams", "1.1.1.1, 8.8.8.8", ("1.1.1.1", "8.8.8.8")),
        ("resolver_fallback", "", ()),
        ("resolver_fallback", "[]", ()),
        ("stacks_prune", "7", ("7",)),
        ("proxmox_adopt", "101", (101,)),
        ("proxmox_adopt", "[101]", (101,)),
        ("step_ca_organisation", '"true"', "true"),
        ("step_ca_organisation", "None", "None"),
        ("serial", "20%", "20%"),
        ("docker_log_driver", "local", "local"),
    ],
)
def test_text_of_data_is_taken_as_it_is_meant(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: Any
) -> None:
    chosen = in_a_deploy(project, monkeypatch, {name: parse_cli_arg(text)})
    assert value_of(chosen, name) == value


TAKEN_OR_REFUSED = [
    ("traefik_dashboard_user", "007", "007"),
    ("traefik_dashboard_user", "1e3", "1e3"),
    ("traefik_dashboard_user", "1.50", "1.50"),
    ("traefik_dashboard_user", "1_000", "1_000"),
    ("traefik_dashboard_user", "+5", "+5"),
    ("traefik_dashboard_user", "0x10", "0x10"),
    ("traefik_dashboard_user", "true", "true"),
    ("traefik_dashboard_user", "NaN", "NaN"),
    ("traefik_dashboard_user", "yes", "yes"),
    ("stacks_prune", "007,1_0", ("007", "1_0")),
    ("stacks_prune", "1.5", ("1.5",)),
    ("stacks_prune", "true", ("true",)),
    ("proxmox_node", "0042", "0042"),
    ("step_ca_years", " 5", 5),
    ("step_ca_years", "+5", 5),
    ("nginx_hsts_seconds", "1_000", 1000),
    ("watch_interval", "60", 60),
    ("step_ca_years", "007", "in decimal digits"),
    ("step_ca_years", "1_0", "in decimal digits"),
    ("step_ca_years", "0x10", "in decimal digits"),
    ("step_ca_years", "1e1", "in decimal digits"),
    ("step_ca_years", "\u0663", "in decimal digits"),
    ("step_ca_years", "", "in decimal digits"),
    ("proxmox_adopt", "0101", "in decimal digits"),
    ("traefik_metrics", "yes", "write true or false"),
    ("traefik_metrics", "1", "write true or false"),
    ("traefik_metrics", "", "write true or false"),
    ("serial", "05", 'write a number of hosts, as "5"'),
    ("serial", "+5", 'write a number of hosts, as "5"'),
    ("nginx_max_body", "010", "write for example 10m"),
    ("nginx_max_body", "1e3", "write for example 10m"),
    ("docker_log_options", "a=b", "write a dictionary, as JSON"),
    (
        "docker_log_options",
        '{"a": "1", "a": "2"}',
        "write a dictionary, as JSON with each key once",
    ),
    ("dns_upstreams", "[1.1.1.1]", "write a list: texts with commas between, or JSON"),
]


@pytest.mark.parametrize(("name", "text", "result"), TAKEN_OR_REFUSED)
@pytest.mark.parametrize("joined", [False, True])
def test_a_text_of_the_command_line_is_taken_as_written_or_refused_with_the_fix(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    text: str,
    result: Any,
    joined: bool,
) -> None:
    """pyinfra has made 7 of 007, and 1000.0 of 1e3: what was written is asked for."""
    words = [f"--data={name}={text}"] if joined else ["--data", f"{name}={text}"]
    monkeypatch.setattr("sys.argv", ["pyinfra", "inventory.py", *words, "-y"])
    data = {name: parse_cli_arg(text)}
    if isinstance(result, str) and " " in result:
        with pytest.raises(DeployError) as caught:
            in_a_deploy(project, monkeypatch, data)
        assert f"--data: {name}" in str(caught.value)
        assert result in str(caught.value)
    else:
        assert value_of(in_a_deploy(project, monkeypatch, data), name) == result


def wrong(name: str) -> Any:
    """A value of another type than the setting's, which `--data` can give as well."""
    value = VALUES[name]
    if isinstance(value, bool):
        return "no"
    if isinstance(value, int):
        return "many"
    return 5.5 if isinstance(value, dict) else {"a": 1}


def told(error: BaseException) -> list[str]:
    """The findings of an error, a line each."""
    return [line.removeprefix("- ") for line in str(error).splitlines() if line.startswith("- ")]


@by_each_way
def test_a_wrong_type_is_told_of_each_setting_with_its_place(
    project: Path, monkeypatch: pytest.MonkeyPatch, place: str, give: Way
) -> None:
    data = give(project, {name: wrong(name) for name in VALUES})
    with pytest.raises(DeployError) as caught:
        in_a_deploy(project, monkeypatch, data)
    where = "the inventory" if place == INVENTORY else place
    findings = told(caught.value)
    assert {name for name in VALUES if not any(
        line.startswith(f"{where}: {name}: is ") for line in findings)} == set()  # fmt: skip
    assert len(findings) == len(VALUES)


@by_each_file
def test_the_command_tells_a_wrong_type_with_its_place(
    project: Path, place: str, give: Way
) -> None:
    give(project, {name: wrong(name) for name in VALUES})
    with pytest.raises(ConfigError) as caught:
        by_the_command(project)
    assert {(finding.file, finding.path) for finding in caught.value.findings} == {
        (place, name) for name in VALUES
    }
    result = phoenix("validate", "--json", "-i", project / INVENTORY)
    errors = [f for f in json.loads(result.stdout)["findings"] if f["severity"] == "error"]
    assert {(error["file"], error["path"]) for error in errors} >= {
        (place, name) for name in VALUES
    }


def misspelt(name: str) -> str:
    """The name without its last letter but one."""
    return name[:-2] + name[-1]


@by_each_way
def test_a_misspelt_name_is_told_of_each_setting_with_its_place(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    give: Way,
) -> None:
    data = give(project, {misspelt(name): value for name, value in VALUES.items()})
    with pytest.raises(DeployError) as caught:  # for those that begin with proxmox_
        in_a_deploy(project, monkeypatch, data)
    where = "the inventory" if place == INVENTORY else place
    lines = told(caught.value)
    lines += [line.removeprefix("warning: ") for line in capsys.readouterr().err.splitlines()]
    missing = {
        name
        for name in VALUES
        if not any(
            line.startswith(f"{where}: {misspelt(name)}: {settings.UNREAD}") and f"'{name}'" in line
            for line in (" ".join(pair) for pair in zip(lines, [*lines[1:], ""], strict=True))
        )
    }
    assert missing == set()


@by_each_file
def test_the_command_tells_a_misspelt_name_with_its_place(
    project: Path, place: str, give: Way, capsys: pytest.CaptureFixture[str]
) -> None:
    give(project, {misspelt(name): value for name, value in VALUES.items()})
    result = phoenix("validate", "--strict", "--json", "-i", project / INVENTORY)
    findings = json.loads(result.stdout)["findings"]
    fixes = {(finding["file"], finding["path"]): finding["fix"] for finding in findings}
    assert {name for name in VALUES if f"'{name}'" not in fixes[place, misspelt(name)]} == set()
    cli_project.load(project / INVENTORY).print_warnings()
    warnings = capsys.readouterr().err
    assert {name for name in VALUES if f"{place}: {misspelt(name)}: {settings.UNREAD}"
            not in warnings} == set()  # fmt: skip


@by_each_file
def test_a_setting_for_other_hosts_is_told(project: Path, place: str, give: Way) -> None:
    """No Docker host reads the first ones; of the others all hosts must see the same value."""
    names = ("dns_upstreams", "nginx_max_body", "step_ca_lifetime_default", "portainer_url",
             "proxmox_operator_networks")  # fmt: skip
    give(project, {name: VALUES[name] for name in names})
    result = phoenix("validate", "--strict", "--json", "-i", project / INVENTORY)
    findings = json.loads(result.stdout)["findings"]
    scoped = {
        finding["path"]
        for finding in findings
        if finding["file"] == place
        and re.search("^no host .*; |^is one value for the whole site", finding["message"])
    }
    assert scoped == (set() if give is in_all else set(names))


def test_the_hypervisor_s_own_settings_are_the_command_s(project: Path) -> None:
    """The inventory may begin with another group than the hypervisor's."""
    file = project / INVENTORY
    lines = file.read_text().splitlines(keepends=True)
    first = next(line for line in lines if line.startswith("hypervisor ="))
    lines.remove(first)
    lines += [first, "hypervisor = [(n, {**d, 'proxmox_api': 'ssh'}) for n, d in hypervisor]\n"]
    file.write_text("".join(lines))
    assert cli_project.load(file).settings.proxmox.api == "ssh"
