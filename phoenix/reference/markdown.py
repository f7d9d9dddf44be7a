"""docs/reference.md: every key, setting and secret, from the models that check them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from phoenix.declaration import hypervisor_file, settings
from phoenix.declaration import json_keys as shapes
from phoenix.reference import json_schema
from phoenix.secrets import catalog

FILE = Path("docs/reference.md")
_LONGEST_DEFAULT = 60
_INTRO = """\
# Reference

Every key of a site's JSON files, every setting and every secret. This page is made from the models
that check them, by `phoenix schema --markdown`: change a description there. `phoenix validate`
finds what is wrong, with file, line and fix. An editor completes and checks the JSON files by the
schemas in `inventories/schema/`, which the shipped files name by `$schema`.

A key that is not named here is ignored with a warning; in `traefik_service` and in firewall rules
it is an error.
"""


class Section(NamedTuple):
    """One object of a file. `but` is a model whose keys are told elsewhere."""

    title: str
    model: type[BaseModel]
    but: type[BaseModel] | None = None
    level: int = 3


SECTIONS = (
    Section("phoenix_lxc_configs.json", shapes.RawLxcFile, level=2),
    Section("`site`", shapes.RawSite),
    Section("`site.hypervisor`", shapes.RawHypervisor),
    Section("`site.portainer`", shapes.RawPortainer),
    Section("`site.swarm_networks.NAME`", shapes.RawSwarmNetwork),
    Section("`site.backups`", shapes.RawBackups),
    Section("`site.backups.keep`", shapes.RawKeep),
    Section("phoenix_vm_configs.json", shapes.RawVmFile, level=2),
    Section("`vm_defaults`", shapes.RawVmDefaults),
    Section(hypervisor_file.HYPERVISOR_FILE, hypervisor_file.RawHypervisorFile, level=2),
    Section("`networks.NAME`", hypervisor_file.RawNamedNetwork),
    Section("`network`", hypervisor_file.RawNetworkPart),
    Section("`network.interfaces`", hypervisor_file.RawUplink),
    Section("`network.internal_bridge`", hypervisor_file.RawInternalBridge),
    Section("`firewall` of phoenix_hypervisor_config.json", hypervisor_file.RawClusterFirewall),
    Section("`dns_server`", hypervisor_file.RawDnsServer),
    Section("`portainer_api`", hypervisor_file.RawPortainerApi),
    Section("`step_ca`", hypervisor_file.RawStepCa),
    Section("A guest: an entry of `lxc_configs` or `vms`", shapes.RawGuest, level=2),
    Section("A container has also", shapes.RawLxc, shapes.RawGuest),
    Section("A VM has also", shapes.RawVm, shapes.RawGuest),
    Section("`network_config`", shapes.RawNetwork),
    Section("A service, declared in `traefik_service` and elsewhere", shapes.RawOptions),
    Section("`traefik_service` has also", shapes.RawService, shapes.RawOptions),
    Section("`external_services[]` has also", shapes.RawExternal, shapes.RawOptions),
    Section("`basic_auth[]`", shapes.RawLogin),
    Section("`forward_auth`", shapes.RawForwardAuth),
    Section("`docker_stacks[]`", shapes.RawStackRef),
    Section("`firewall`", shapes.RawFirewall),
    Section("`site.hypervisor.firewall`", shapes.RawHostFirewall),
    Section("`firewall.rules[]` and a stack's `firewall_rules[]`", shapes.RawRule),
    Section("`dns_records[]`", shapes.RawDnsRecord),
    Section("`volumes[]`", shapes.RawVolume),
    Section("`mount_points[]`", shapes.RawMountPoint),
    Section("`zfs_volumes[]`", shapes.RawZfsVolume),
    Section("`id_maps[]`", shapes.RawIdMap),
    Section("`login`, of the site, `site.hypervisor` or a guest", shapes.RawLoginBy),
    Section("`user_config`", shapes.RawUser),
    Section("`nfs` of phoenix_hypervisor_config.json", shapes.RawNfs),
    Section("`nfs.exports[]`", shapes.RawExport),
    Section("`shared_volumes.NAME`", shapes.RawSharedVolume),
    Section("certificate-manifest.json, an entry", shapes.RawCertificate),
    Section("stacks/NAME/phoenix.json", shapes.RawStack, level=2),
    Section("`environments.NAME`", shapes.RawEnvironment),
    Section("`variables[]`", shapes.RawVariable),
    Section("`files[]`", shapes.RawFile),
    Section("`services.NAME`", shapes.RawStackService),
    Section("`tls`", shapes.RawTls),
    Section("`backup` of a stack", shapes.RawStackBackup),
    Section("`backup.dumps[]`", shapes.RawDump),
    Section("phoenix_stacks_config.json", shapes.RawStacksFile, level=2),
    Section("`docker_stacks.NAME` has also", shapes.RawListedStack, shapes.RawStack),
    Section("`nginx_proxy`", shapes.RawNginxProxy),
)

_TITLES = {json_schema.plain_name(section.model.__name__): section.title for section in SECTIONS}
_ABOUT_SETTINGS = """\
Python names in `group_data/all.py` (all hosts), `group_data/GROUP.py` (the hosts of a group) or an
inventory's data. Of several the nearest to the host counts: inventory data, the file named after
the inventory, the files of its groups, `all.py`. In Python `true` is `True`. A misspelt one, and
one in a file whose hosts do not read it, is found by `phoenix validate` and told by each run.

pyinfra's `--data NAME=VALUE` goes before all of them, for one run and all of its hosts. There a
list may be text with commas, a dictionary is JSON, and `None` is None where a setting may be that.
"""
_ABOUT_SECRETS = """\
A secret NAME is taken from the first of these that has it: `PHOENIX_SECRET_NAME` in the
environment, the file that `PHOENIX_SECRET_NAME_FILE` names, the SOPS file that `PHOENIX_SOPS_FILE`
or the inventory's `site_sops` names, the inventory's `site_secrets`. "Generated": by the first
sync, and only where the site does not hold it yet.
"""
_ABOUT_SITE_DATA = """\
Where the deploys find the site; an inventory of your own has them as `inventories/phoenix.py` does.
`ssh_...` are [pyinfra's](https://docs.pyinfra.com/en/3.x/connectors/ssh.html).
"""
_ABOUT_ARGUMENTS = """\
What the command `phoenix` gives single deploys; by hand `--data NAME=VALUE`.
"""
_OF_STACKS = (
    "a stack's own",
    'each variable or file with `"secret": "NAME"` in its `phoenix.json`, in lower case',
    "generated",
    "`phoenix secrets rotate NAME`; what keeps a copy, as a database, is told by you",
)


def page() -> str:
    """The whole page."""
    parts = [_INTRO]
    parts += [_section(section) for section in SECTIONS]
    parts += [_settings(), _site_data_and_arguments(), _secrets()]
    return "\n".join(parts)


def _section(section: Section) -> str:
    schema = json_schema.of_model(section.model)
    skipped = section.but.model_fields if section.but else {}
    left_out = {info.alias or name for name, info in skipped.items()}
    required = schema.get("required", ())
    rows: list[tuple[str, ...]] = []
    ignored: list[tuple[str, ...]] = []
    long: list[str] = []
    for key, value in schema["properties"].items():
        if key in left_out:
            continue
        if value.get("deprecated"):
            ignored.append((f"`{key}`", value["description"].removeprefix("Not used: ")))
            continue
        rows.append(_row(key, value, required, schema, long))
    text = [f"{'#' * section.level} {section.title}\n", f"{schema['description']}\n"]
    text += [_table(("key", "what it may be", "default", "meaning"), rows), *long]
    if ignored:
        text += ["Known from the original system, and not used:\n", _table(("key", "why"), ignored)]
    return "\n".join(text)


def _row(
    key: str, value: Mapping[str, Any], required: Iterable[str], whole: Mapping[str, Any],
    long: list[str],
) -> tuple[str, str, str, str]:  # fmt: skip
    default = ""
    of_object = "properties" in _resolved(value, whole)
    if key in required:
        default = "**required**"
    elif value.get("default") not in (None, [], {}, "") and not of_object:
        default = _code(value["default"])
        if len(default) > _LONGEST_DEFAULT:
            whole_default = json.dumps(value["default"], indent=2, ensure_ascii=False)
            long.append(f"The default of `{key}`:\n\n```json\n{whole_default}\n```\n")
            default = "see below"
    meaning = str(value.get("description") or _resolved(value, whole).get("description", ""))
    if examples := [_code(example) for example in value.get("examples", ())]:
        meaning += f" For example {', '.join(examples)}."
    return f"`{key}`", type_text(value, whole), default, meaning


def _code(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def type_text(value: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """What a value may be, for a person.

    Args:
        value: its JSON Schema.
        whole: the schema that it is in, which has the definitions it refers to.
    """
    if title := _TITLES.get(str(value.get("$ref", "")).rpartition("/")[2]):
        return f"object, see {title}"
    value = _resolved(value, whole)
    if "anyOf" in value:
        kinds = [
            type_text(option, whole) for option in value["anyOf"] if option.get("type") != "null"
        ]
        return " or ".join(dict.fromkeys(kinds))
    if "const" in value or "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value.get("enum", [value.get("const")]))
    kind = value.get("type")
    if kind == "array":
        return f"list of {type_text(value['items'], whole)}"
    if kind == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"object: name to {type_text(value['additionalProperties'], whole)}"
    if kind == "integer":
        return "whole number" + _limits(value)
    return {"string": "text", "boolean": "true or false", "object": "object"}.get(str(kind), "any")


def _limits(value: Mapping[str, Any]) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    if low is None:
        return ""
    return f" from {low} up" if high is None else f" ({low} to {high})"


def _resolved(value: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in value:
        return value
    definition = whole["$defs"][str(value["$ref"]).rpartition("/")[2]]
    return {**definition, **{k: v for k, v in value.items() if k != "$ref"}}


def _settings() -> str:
    whole = json_schema.settings()
    long: list[str] = []
    rows = [_row(key, value, (), whole, long) for key, value in whole["properties"].items()]
    text = [
        "## Settings\n",
        _ABOUT_SETTINGS,
        _table(("setting", "what it may be", "default", "meaning"), rows),
        *long,
    ]
    for title, name in (
        ("A pin: `artifacts.NAME.ARCHITECTURE`", "Pin"),
        ("`image_archives.REFERENCE`", "ImageArchive"),
        ("`registries.NAME`", "Registry"),
        ("`taking_over`", "TakingOver"),
        ("`proxmox_images.FILE`", "Image"),
        ("`proxmox_guests.ID`", "GuestSettings"),
        ("`proxmox_guests.ID.mount_points[]`", "MountPoint"),
    ):
        inner = whole["$defs"][name]
        required = inner.get("required", ())
        inner_rows = [
            _row(key, value, required, whole, long) for key, value in inner["properties"].items()
        ]
        text += [
            f"### {title}\n",
            f"{inner['description']}\n",
            _table(("key", "what it may be", "default", "meaning"), inner_rows),
        ]
    return "\n".join(text)


def _site_data_and_arguments() -> str:
    text: list[str] = []
    for title, intro, model in (
        ("Given by an inventory", _ABOUT_SITE_DATA, settings.SiteData),
        ("Given to one run", _ABOUT_ARGUMENTS, settings.RunArguments),
    ):
        rows = [(f"`{key}`", str(info.description)) for key, info in model.model_fields.items()]
        text += [f"## {title}\n", intro, _table(("name", "meaning"), rows)]
    return "\n".join(text)


def _secrets() -> str:
    rows = [
        (
            f"`{use.name}`",
            use.what,
            "generated" if use.generated else "not generated here",
            f"by hand: {use.by_hand}" if use.by_hand else f"`phoenix secrets rotate {use.name}`",
        )
        for use in catalog.PLATFORM
    ]
    head = ("secret", "what for", "where none is given", "to change it")
    return "\n".join(["## Secrets\n", _ABOUT_SECRETS, _table(head, [*rows, _OF_STACKS])])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(_lines(head, rows)) + "\n"


def _lines(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
