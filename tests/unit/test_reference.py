"""JSON Schema and docs/reference.md say what the models check; the shipped files keep to them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter

from phoenix.declaration import json_keys as shapes
from phoenix.declaration import settings
from phoenix.declaration.json_errors import validate
from phoenix.reference import json_schema, markdown
from phoenix.secrets import catalog
from phoenix.site.findings import Report
from tests.unit.project_copy import ROOT, phoenix
from tests.unit.site_builder import minimal

SHIPPED = {
    "inventories/phoenix_lxc_configs.json": "lxc",
    "inventories/phoenix_vm_configs.json": "vm",
    **{str(file.relative_to(ROOT)): "stack" for file in ROOT.glob("stacks/*/phoenix.json")},
}
MODELS = {"lxc": shapes.RawLxcFile, "vm": shapes.RawVmFile, "stack": shapes.RawStack}


@cache
def validator(kind: str) -> Draft202012Validator:
    schema = json_schema.SCHEMAS[kind]()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def faults(kind: str, data: Any) -> list[tuple[str, str]]:
    """JSON path and message of what an editor marks."""
    return [(e.json_path, e.message) for e in validator(kind).iter_errors(data)]


@pytest.mark.parametrize("kind", json_schema.SCHEMAS)
def test_shipped_schema_is_what_the_models_give(kind: str) -> None:
    """If this fails: phoenix schema --out inventories/schema."""
    file = ROOT / json_schema.FOLDER / json_schema.file_name(kind)
    assert file.read_text() == json_schema.text(json_schema.SCHEMAS[kind]())


def test_shipped_page_is_what_the_models_give() -> None:
    """If this fails: phoenix schema --markdown > docs/reference.md."""
    assert (ROOT / markdown.FILE).read_text() == markdown.page()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_file_names_its_schema_and_keeps_to_it(name: str) -> None:
    data = json.loads((ROOT / name).read_text())
    schema_file = (ROOT / name).parent / data["$schema"]
    expected = ROOT / json_schema.FOLDER / json_schema.file_name(SHIPPED[name])
    assert schema_file.resolve() == expected
    assert faults(SHIPPED[name], data) == []


def test_declarations_of_the_tests_keep_to_the_schemas(tmp_path: Path) -> None:
    declaration = minimal()
    assert declaration.load(tmp_path).warnings == ()
    assert faults("lxc", declaration.lxc) == []
    assert faults("vm", declaration.vm) == []
    assert faults("stack", declaration.stacks["shop"][0]) == []


def site_files() -> dict[str, Any]:
    stack = ROOT / "stacks/qdrant_service/phoenix.json"
    return {
        "lxc": json.loads((ROOT / "inventories/phoenix_lxc_configs.json").read_text()),
        "vm": json.loads((ROOT / "inventories/phoenix_vm_configs.json").read_text()),
        "stack": json.loads(stack.read_text()),
    }


GUEST = "lxc_configs.101"
ROUTE = "environments.production.services.qdrant.traefik_service"
WRONG: list[tuple[str, str, Any]] = [
    ("lxc", "lxc_config", {}),
    ("lxc", "site.domian", "x.test"),
    ("lxc", "lxc_configs.web", {"name": "web", "network_config": {"ip": "10.0.0.9/24"}}),
    ("lxc", f"{GUEST}.memroy_mb", 4096),
    ("lxc", f"{GUEST}.memory_mb", "much"),
    ("lxc", f"{GUEST}.memory_mb", 1),
    ("lxc", f"{GUEST}.start_at_boot", "yes"),
    ("lxc", f"{GUEST}.role", "ngnix"),
    ("lxc", f"{GUEST}.features", ["base-setup"]),
    ("lxc", f"{GUEST}.mac_address", "52-54-00-67-89-B3"),
    ("lxc", f"{GUEST}.mac_address", "53:54:00:67:89:B3"),
    ("lxc", f"{GUEST}.network_config.ip", "10.0.0.153"),
    ("lxc", f"{GUEST}.network_config.gw", "gateway"),
    ("lxc", f"{GUEST}.clone_from_ctid", "copy"),
    ("lxc", f"{GUEST}.clone_from_ctid", 99),
    ("lxc", f"{GUEST}.dependencies", "103"),
    ("lxc", f"{GUEST}.firewall.rules", [{"type": "in", "action": "ALLOW"}]),
    ("lxc", f"{GUEST}.firewall.rules", [{"type": "in", "action": "DROP", "port": "http"}]),
    ("lxc", f"{GUEST}.traefik_service", {"name": "My Wiki", "port": 80}),
    ("lxc", f"{GUEST}.traefik_service", {"name": "wiki", "port": 0}),
    ("lxc", f"{GUEST}.traefik_service", {"name": "wiki", "port": 80, "middlewares": ["auth"]}),
    ("lxc", f"{GUEST}.docker_stacks", [{"environment": "production"}]),
    ("vm", "vm_defaults.core", 2),
    ("vm", "vms", {}),
    ("vm", "vms", [{"vmid": 1001, "name": "x"}]),
    ("stack", "environment", {}),
    ("stack", "environments.production.variables", [{"value": "x"}]),
    ("stack", "environments.production.variables", [{"name": "A B", "value": "x"}]),
    ("stack", "environments.production.variables", [{"name": "A", "value": "x\0y"}]),
    ("stack", "environments.production.variables", [{"name": "A", "vlaue": "x"}]),
    ("stack", f"{ROUTE}.basic_auth", "admin:x"),
    ("stack", f"{ROUTE}.scheme", "udp"),
]


@pytest.mark.parametrize(("kind", "path", "value"), WRONG, ids=[f"{w[1]}={w[2]}" for w in WRONG])
def test_editor_marks_unknown_keys_and_wrong_values_where_they_stand(
    kind: str, path: str, value: Any
) -> None:
    data = site_files()[kind]
    assert faults(kind, data) == []
    *way, last = path.split(".")
    inner = data
    for step in way:
        inner = inner[step]
    inner[last] = value
    marked = faults(kind, data)
    assert marked
    parent = "$" + "".join(f"['{step}']" if step.isdigit() else f".{step}" for step in way)
    assert all(place.startswith(parent) for place, _ in marked), marked


def test_what_the_schema_takes_the_loader_takes_as_well() -> None:
    """Numbers as text, ports in every form, a bare stack's name, dhcp, `null`."""
    guest = {
        "name": "Web", "network_config": {"ip": "dhcp", "gw": "10.0.0.1"}, "dependencies": ["101"],
        "clone_from_ctid": "900", "is_template": True, "mac_address": "52:54:00:aa:bb:cc",
        "role": None, "docker_stacks": ["shop", {"name": "shop", "environment": None}],
        "traefik_service": {"name": "web", "port": "8443"},
        "firewall": {"rules": [
            {"type": "in", "action": "DROP", "proto": "tcp", "port": port, "source": "10.0.0.0/24"}
            for port in (443, "443", "80,443", "8000:8010")
        ]},
    }  # fmt: skip
    assert faults("lxc", {"lxc_configs": {"101": guest}}) == []
    report = Report()
    assert validate(shapes.RawLxc, guest, "file", "", report) is not None
    assert report.findings == []


def test_unused_keys_are_struck_out_with_the_reason() -> None:
    key_schema = json_schema.lxc()["properties"]["nvidia_repo_url"]
    assert key_schema == {
        "deprecated": True,
        "description": "Not used: the GPU's driver on the hypervisor stays with you.",
    }


def shape_classes(of: type[shapes.Raw] = shapes.Raw) -> Iterator[type[shapes.Raw]]:
    for subclass in of.__subclasses__():
        yield subclass
        yield from shape_classes(subclass)


def test_every_key_is_explained_and_every_example_is_valid() -> None:
    count = 0
    models: list[type[BaseModel]] = [
        *shape_classes(), settings.Settings, settings.ProxmoxSettings, settings.GuestSettings,
        settings.MountPoint, settings.Image,
    ]  # fmt: skip
    for model in models:
        whole = json_schema.of_model(model)
        for name, info in model.model_fields.items():
            assert info.description, f"{model.__name__}.{name}"
            key = info.alias or name
            if not info.examples:
                continue
            adapter: TypeAdapter[Any] = TypeAdapter(Annotated[info.annotation, info])  # type: ignore[arg-type]
            for example in info.examples:
                if "..." not in json.dumps(example):
                    adapter.validate_python(example)
                    part = {**whole["properties"][key], "$defs": whole["$defs"]}
                    plain = json.loads(json.dumps(example))
                    assert list(Draft202012Validator(part).iter_errors(plain)) == [], (key, example)
                    count += 1
    assert count > 30


def test_page_has_every_key_of_every_shape_every_setting_and_every_secret() -> None:
    page = markdown.page()
    models = {section.model for section in markdown.SECTIONS}
    assert set(shape_classes()) == models
    names = {info.alias or name for model in models for name, info in model.model_fields.items()}
    names |= set(settings.fields()) | {use.name for use in catalog.PLATFORM}
    names |= set(settings.SiteData.model_fields) | set(settings.RunArguments.model_fields)
    assert {name for name in names if f"\n| `{name}` |" not in page} == set()


def test_settings_schema_is_flat_and_has_their_defaults() -> None:
    schema = json_schema.settings()
    assert list(schema["properties"]) == list(settings.fields())
    assert schema["properties"]["proxmox_ssh_seconds"]["default"] == 300
    valid = {"timezone": "Europe/Berlin", "proxmox_api": "ssh", "docker_log_files": 2}
    assert faults("settings", valid) == []
    invalid = {"tiemzone": "x", "timezone": 1, "docker_log_files": "2", "nginx_max_body": "512 MB",
             "proxmox_firewall_out": "ALLOW"}  # fmt: skip
    for name, value in invalid.items():
        assert len(faults("settings", {**valid, name: value})) == 1, name


def test_command_shows_one_and_writes_all(tmp_path: Path) -> None:
    result = phoenix("schema", "vm")
    assert (result.exit_code, result.stdout) == (0, json_schema.text(json_schema.vm()))
    assert set(json.loads(phoenix("schema").stdout)) == set(json_schema.SCHEMAS)
    assert phoenix("schema", "--markdown").stdout == markdown.page()
    result = phoenix("schema", "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    shipped = {file.name: file.read_text() for file in (ROOT / json_schema.FOLDER).iterdir()}
    assert {file.name: file.read_text() for file in (tmp_path / "new").iterdir()} == shipped
    result = phoenix("schema", "lxc", "--out", tmp_path / "one")
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["lxc.schema.json"]
    assert phoenix("schema", "no-such").exit_code != 0


def literal_secrets() -> Iterator[str]:
    """Where code asks a store of secrets for a name that it writes out itself."""
    for folder in ("deploys", "operations", "facts", "phoenix", "lab"):
        for file in (ROOT / folder).rglob("*.py"):
            if file == ROOT / "phoenix/site/secret_names.py":
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and node.value in NAMES:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}: {node.value}"


NAMES = {use.name for use in catalog.PLATFORM}


def test_names_of_secrets_stand_in_one_module_alone() -> None:
    assert list(literal_secrets()) == []
