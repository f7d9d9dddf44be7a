"""A fault in one place hides none in another; the same finding is told once, with its places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix.components.nginx.nginx_conf import hash_bucket
from phoenix.components.traefik.traefik_yml import dynamic_config
from phoenix.declaration.load import load_site
from phoenix.proxmox import hostkeys
from phoenix.secrets.errors import SecretError
from phoenix.secrets.store import SecretStore
from phoenix.site.findings import ConfigError, Finding
from tests.unit.project_copy import changed, phoenix
from tests.unit.project_copy import project as project
from tests.unit.site_builder import LXC, VM, minimal, problem, stack

INVENTORY = "inventories/phoenix.py"
COMPOSE = "stacks/shop/docker-compose.yml"


def places(findings: tuple[Finding, ...]) -> set[tuple[str, str]]:
    return {(finding.file, finding.path) for finding in findings}


@pytest.mark.parametrize(
    ("site", "path"),
    [
        ({"domain": "no domain"}, "site.domain"),
        ({"hypervisor": {"ip": "dhcp"}}, "site.hypervisor.ip"),
        ({"hypervisor": 5}, "site.hypervisor"),
        ("text", "site"),
    ],
)
def test_faulty_site_hides_no_faulty_entry(tmp_path: Path, site: Any, path: str) -> None:
    declared = minimal()
    declared.lxc["site"] = site
    declared.lxc["lxc_configs"]["101"]["network_config"]["bridge"] = "vmbr0; id"
    declared.vm["vms"][0]["cores"] = 0
    declared.vm["vm_defaults"] = {"memory_mb": -1}
    declared.stacks["shop"][1]["services"]["web"]["ports"] = 6333
    assert places(declared.refused(tmp_path)) >= {
        (LXC, path), (LXC, "lxc_configs.101.network_config.bridge"), (VM, "vms[0].cores"),
        (VM, "vm_defaults.memory_mb"), (COMPOSE, "services.web.ports"),
    }  # fmt: skip


def test_file_that_is_no_json_hides_no_faulty_entry_of_the_other(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"][0]["cores"] = 0
    declared.refused(tmp_path)
    (tmp_path / LXC).write_text("{")
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    assert places(caught.value.findings) == {(LXC, "line 1, column 2"), (VM, "vms[0].cores")}


def test_faulty_entry_hides_no_fault_between_others_and_brings_no_false_one(tmp_path: Path) -> None:
    """The gateway's entry is faulty, and nobody says that the site lacks a gateway."""
    declared = minimal()
    declared.lxc["lxc_configs"]["101"]["cores"] = "many"
    declared.vm["vms"][0]["network_config"]["ip"] = "10.0.0.24/24"
    assert places(declared.refused(tmp_path)) == {
        (LXC, "lxc_configs.101.cores"), (VM, "vms[1].network_config.ip"),
    }  # fmt: skip


def test_misspelt_key_is_told_beside_the_one_that_is_missing(tmp_path: Path) -> None:
    declared = minimal()
    entry = declared.lxc["lxc_configs"]["101"]
    entry["nmae"] = entry.pop("name")
    with pytest.raises(ConfigError) as caught:
        declared.load(tmp_path)
    assert [finding.path for finding in caught.value.findings] == ["lxc_configs.101.name"]
    warning = problem(caught.value.warnings, LXC, "lxc_configs.101.nmae")
    assert warning.fix == "did you mean 'name'? else remove it"


def test_stack_and_environment_that_nobody_deploys_are_checked(tmp_path: Path) -> None:
    declared = minimal()
    declared.stacks["idle"] = stack("idle", 8100)
    declared.stacks["idle"][1]["services"]["web"]["ports"] = ["x"]
    declared.stacks["shop"][0]["environments"]["testing"] = {"variables": [{"name": "A"}]}
    assert places(declared.refused(tmp_path)) == {
        ("stacks/idle/docker-compose.yml", "services.web.ports[0]"),
        ("stacks/idle/phoenix.json",
         "environments.production.services.web.traefik_service.port"),
        ("stacks/shop/phoenix.json", "environments.testing.variables[0]"),
    }  # fmt: skip


def test_faulty_compose_file_hides_no_fault_of_the_manifest(tmp_path: Path) -> None:
    declared = minimal()
    declared.stacks["shop"][0]["environments"]["production"]["variables"] = [{"name": "A"}]
    declared.stacks["shop"][1]["services"] = {}
    assert places(declared.refused(tmp_path)) == {
        (COMPOSE, "services"), ("stacks/shop/phoenix.json", "environments.production.variables[0]"),
    }  # fmt: skip


def test_faulty_declaration_hides_no_faulty_setting(project: Path) -> None:
    changed(project / "inventories" / LXC, lambda data: data.update({"site": 5}))
    (project / "group_data/all.py").write_text('timezone = "Nowhere"\nportainer_image = "a"\n')
    (project / "group_data/lxc.py").write_text("raise SystemExit\n")
    result = phoenix("validate", "--json", "-i", project / INVENTORY)
    assert result.exit_code == 1, result.output
    findings = {
        (finding["file"], finding["path"]) for finding in json.loads(result.stdout)["findings"]
    }
    assert findings >= {
        (LXC, "site"), ("group_data/all.py", "timezone"),
        ("group_data/all.py", "portainer_image"), ("group_data/lxc.py", ""),
    }  # fmt: skip


def test_the_same_finding_is_told_once_with_all_its_places(project: Path) -> None:
    def misspell(data: Any) -> None:
        for number in range(44):
            data["vms"][0][f"zzz{number}"] = 1

    changed(project / "inventories" / VM, misspell)
    text = phoenix("validate", "-i", project / INVENTORY).stdout
    assert text.count("unknown key: nothing reads it") == 1, text
    assert "  warning  in 44 places\n" in text
    assert all(f", vms[0].zzz{number}" in " ".join(text.split()) for number in range(44)), text
    report = json.loads(phoenix("validate", "--json", "-i", project / INVENTORY).stdout)
    assert len(report["findings"]) == report["warnings"] == 44


FILES: list[tuple[dict[str, Any], str, str]] = [
    ({"env_file": ".env"}, "services.web.env_file", "under variables"),
    ({"env_file": [{"path": "a", "required": False}]}, "services.web.env_file", "under variables"),
    ({"volumes": ["./config:/etc/app:ro"]}, "services.web.volumes[0]", "under files"),
    ({"volumes": ["/srv/a:/a", "~/b:/b"]}, "services.web.volumes[1]", "under files"),
    ({"volumes": [{"type": "bind", "source": "c", "target": "/c"}]}, "services.web.volumes[0]",
     "under files"),
    ({"build": "."}, "services.web.build", "`image`"),
    ({"extends": {"file": "a.yml", "service": "a"}}, "services.web.extends.file", "extends"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "path", "fix"), FILES, ids=[path for _, path, _ in FILES])
def test_file_beside_the_compose_file_does_not_reach_the_host(
    tmp_path: Path, more: dict[str, Any], path: str, fix: str
) -> None:
    declared = minimal()
    declared.stacks["shop"][1]["services"]["web"] |= more
    assert fix in problem(declared.refused(tmp_path), COMPOSE, path).fix


def test_mounts_of_volumes_and_of_the_host_are_kept(tmp_path: Path) -> None:
    declared = minimal()
    content = declared.stacks["shop"][1]
    content["services"]["web"]["volumes"] = [
        "data:/data", "/srv/a:/a", "/anonymous", {"type": "bind", "source": "/b", "target": "/b"},
        {"type": "volume", "source": "data", "target": "/c"},
    ]  # fmt: skip
    content["services"]["web"]["configs"] = ["a"]
    content |= {"volumes": {"data": {}}, "x-own": 1, "configs": {"a": {"file": "/etc/a"}}}
    assert declared.load(tmp_path).warnings == ()


def test_key_that_compose_refuses_is_told(tmp_path: Path) -> None:
    declared = minimal()
    content = declared.stacks["shop"][1]
    content["services"]["web"] |= {"enviroment": {}, "healthcheck": {"tests": []}}
    content["volume"] = {}
    fixes = {warning.path: warning.fix for warning in declared.load(tmp_path).warnings}
    assert fixes == {
        "volume": "did you mean 'volumes'? else remove it",
        "services.web.enviroment": "did you mean 'environment'? else remove it",
        "services.web.healthcheck.tests": "did you mean 'test'? else remove it",
    }


@pytest.mark.parametrize(
    ("length", "bytes_"), [(1, 64), (46, 64), (47, 128), (110, 128), (111, 256), (253, 512)]
)
def test_bucket_holds_the_longest_name(length: int, bytes_: int) -> None:
    """nginx: a pointer, two bytes and the name in whole pointers, and a pointer at the end."""
    assert hash_bucket(["a" * length, "b"]) == bytes_


def test_service_called_like_traefik_s_router_has_one_of_its_own(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"][0]["traefik_service"]["name"] = "local-api"
    routers = yaml.safe_load(dynamic_config(declared.load(tmp_path))[0])["http"]["routers"]
    assert routers["local-api"]["service"] == "local-api"
    assert [name for name, router in routers.items() if router["entryPoints"] == ["local"]] == [
        "local_api"
    ]


def test_known_hosts_with_bytes_that_are_no_text_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_bytes(b"# caf\xe9\n10.0.0.5 ssh-rsa \xff\n10.0.0.6,b ssh-ed25519 AAAA\n")
    assert hostkeys.known_keys(file, "10.0.0.5") == frozenset()
    hostkeys.remember(file, "10.0.0.7", ["ssh-ed25519 AAAA"])
    assert file.read_bytes().startswith(b"# caf\xe9\n10.0.0.5 ssh-rsa \xff\n")


def test_secrets_that_are_no_text_are_refused_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_bytes(b'{"a": "hush\xff"}')
    file.chmod(0o600)
    with pytest.raises(SecretError, match="not UTF-8 text") as caught:
        SecretStore(file, environment={}).find("a")
    assert "hush" not in str(caught.value)


def test_control_characters_of_a_file_do_not_reach_the_terminal() -> None:
    finding = Finding("a\x1b[2J", "b\nc", "d\x07\u202e", "e" * 5000)
    lines = str(finding).splitlines()
    assert lines[0] == r"a\x1b[2J: b\nc: d\x07\u202e"
    assert len(lines) == 2
    assert len(lines[1]) < 600


def test_the_last_line_counts_what_is_told_once(project: Path) -> None:
    def misspell(data: Any) -> None:
        data["vms"][0] |= {"zzz1": 1, "zzz2": 1}

    changed(project / "inventories" / VM, misspell)
    last = phoenix("validate", "-i", project / INVENTORY).stdout.splitlines()[-1]
    assert last == "0 errors, 2 warnings; 1 different one"
