"""JSON Schema of the files that a site is declared in, and of its settings.

Stricter than the loader, which reads the original system's files too: an unknown key is a fault
here, so that an editor marks it while it is typed (https://json-schema.org/draft/2020-12).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from phoenix.declaration.hypervisor_file import HYPERVISOR_FILE, RawHypervisorFile
from phoenix.declaration.json_keys import RawLxcFile, RawStack, RawStacksFile, RawVmFile
from phoenix.declaration.settings import PROXMOX, Settings

FOLDER = Path("inventories/schema")
"""Where the schemas are in the project; the shipped files name them by `$schema`."""


def lxc() -> dict[str, Any]:
    """Of phoenix_lxc_configs.json."""
    return _schema(RawLxcFile, "phoenix_lxc_configs.json")


def vm() -> dict[str, Any]:
    """Of phoenix_vm_configs.json."""
    return _schema(RawVmFile, "phoenix_vm_configs.json")


def hypervisor() -> dict[str, Any]:
    """Of phoenix_hypervisor_config.json."""
    return _schema(RawHypervisorFile, HYPERVISOR_FILE)


def stack() -> dict[str, Any]:
    """Of stacks/NAME/phoenix.json."""
    return _schema(RawStack, "stacks/NAME/phoenix.json")


def stacks() -> dict[str, Any]:
    """Of phoenix_stacks_config.json."""
    return _schema(RawStacksFile, "phoenix_stacks_config.json")


def settings() -> dict[str, Any]:
    """Of all settings as one object, by the names that group_data gives them."""
    schema = _schema(Settings, "group_data and inventory data")
    proxmox = schema["$defs"].pop("ProxmoxSettings")
    del schema["properties"]["proxmox"]
    schema["properties"] |= {f"{PROXMOX}{k}": v for k, v in proxmox["properties"].items()}
    schema["description"] = "All settings of one host."
    return schema


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "lxc": lxc,
    "vm": vm,
    "hypervisor": hypervisor,
    "stack": stack,
    "stacks": stacks,
    "settings": settings,
}


def file_name(kind: str) -> str:
    """The file that holds the schema of a kind (a key of `SCHEMAS`)."""
    return f"{kind}.schema.json"


def text(schema: dict[str, Any]) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path, kinds: list[str]) -> list[Path]:
    """Write the schemas of `kinds` into `folder`, which is made; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in kinds:
        file = folder / file_name(kind)
        file.write_text(text(SCHEMAS[kind]()), encoding="utf-8")
        paths.append(file)
    return paths


def of_model(model: type[BaseModel]) -> dict[str, Any]:
    """Of one model by itself."""
    return _schema(model, model.__name__)


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    plain = {plain_name(name): _tidy(definition) for name, definition in definitions.items()}
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": title,
        **{key: value for key, value in _tidy(schema).items() if key != "title"},
        "$defs": dict(sorted(plain.items())),
    }


def plain_name(name: str) -> str:
    """A model's name as definitions have it: `Service` of `RawService`."""
    return name.removeprefix("Raw")


def _tidy(value: Any) -> Any:
    """Without titles that repeat the key, and with unknown keys refused."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _tidy(item) for key, item in value.items() if not _is_noise(key, item)}
    if "properties" in result:
        # Keys of `properties` are names, of which one may be "title".
        result["properties"] = {key: _tidy(item) for key, item in value["properties"].items()}
        result["additionalProperties"] = False
    if isinstance(result.get("$ref"), str):
        head, _, name = result["$ref"].rpartition("/")
        result["$ref"] = f"{head}/{plain_name(name)}"
    if isinstance(result.get("default"), dict):
        result["default"] = {
            key: item for key, item in result["default"].items() if item is not None
        }
    if result.pop("unused", None) is not None:
        result.pop("fix", None)
    return result


def _is_noise(key: str, item: Any) -> bool:
    """A title that repeats the key, a default that says "left out"."""
    return (key == "title" and isinstance(item, str)) or (key == "default" and item is None)
