"""Every place of the site's files and settings where text may stand, found in the JSON Schemas.

The schemas are made from the models, so a new field is a new place by itself.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from phoenix.reference import json_schema
from tests.fuzz.cases import HYPERVISOR, LXC, SETTINGS, STACK, STACKS, VM, site_files

KEY = "{}"
"""The last step of a place that is the name of an entry, and not its value."""
FILES = {
    "lxc": LXC,
    "vm": VM,
    "hypervisor": HYPERVISOR,
    "stack": f"{STACK}/phoenix.json",
    "stacks": STACKS,
}


class Place(NamedTuple):
    """Where text may stand: `kind` is that of the schema, `steps` are keys and positions."""

    kind: str
    steps: tuple[str | int, ...]
    schemas: tuple[Mapping[str, Any], ...]
    """Of each holder on the way and, last, of the place itself."""

    def __str__(self) -> str:
        return f"{self.kind}: {'.'.join(map(str, self.steps))}"


def places() -> list[Place]:
    """All of them, in the order of the schemas.

    The shipped site has stacks on VMs alone; a container's are of the same model.
    """
    listed = []
    for kind, schema_of in json_schema.SCHEMAS.items():
        schema = schema_of()
        base = SETTINGS if kind == "settings" else site_files()[FILES[kind]]
        listed += [place for place in _walk(kind, schema, schema, base, (), ()) if place]
    listed = [
        place for place in listed if place.kind != "lxc" or "docker_stacks" not in place.steps
    ]
    return list({(place.kind, place.steps): place for place in listed}.values())


def _walk(
    kind: str, whole: Mapping[str, Any], schema: Mapping[str, Any], base: Any,
    steps: tuple[str | int, ...], above: tuple[Mapping[str, Any], ...],
) -> Iterator[Place]:  # fmt: skip
    """`base` is the data of the shipped site at this place, None where it has none."""
    for option in _options(schema, whole):
        schemas = (*above, option)
        if base is None and _examples(option):
            base = _examples(option)[0]
        if option.get("deprecated") or "$schema" in steps:
            continue
        if option.get("type") == "string" and not {"enum", "const"} & option.keys():
            yield Place(kind, steps, schemas)
        for name, inner in option.get("properties", {}).items():
            yield from _walk(kind, whole, inner, _at(base, name), (*steps, name), schemas)
        items = option.get("items")
        if items is not None:
            last = len(base) - 1 if isinstance(base, list | tuple) and base else 0
            yield from _walk(kind, whole, items, _at(base, last), (*steps, last), schemas)
        others = _entries(option)
        if others is not None:
            name = max(base, key=lambda key: len(str(base[key]))) if base else "a"
            yield Place(kind, (*steps, name, KEY), schemas)
            inner = list(_walk(kind, whole, others, _at(base, name), (*steps, name), schemas))
            own = len(steps) + 1
            for second in base if kind == "settings" and base else ():
                # Of another guest, say: what it has, and the first cannot have.
                more = (
                    base[second].keys() - base[name].keys()
                    if second != name and isinstance(base[second], Mapping)
                    else set()
                )
                inner = (
                    [place for place in inner if place.steps[own] not in more] if more else inner
                )
                inner += (
                    [
                        place
                        for place in _walk(
                            kind, whole, others, base[second], (*steps, second), schemas
                        )
                        if len(place.steps) > own and place.steps[own] in more
                    ]
                    if more
                    else []
                )
            yield from inner


def _entries(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the entries of an object are, whose names are free; None for every other schema."""
    others = schema.get("additionalProperties")
    if isinstance(others, Mapping):
        return others
    return next(iter(schema.get("patternProperties", {}).values()), None)


def _at(base: Any, step: str | int) -> Any:
    try:
        return base[step]
    except (KeyError, IndexError, TypeError):
        return None


def _options(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a value may be: references followed, choices one by one."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        yield from _options({**whole["$defs"][name], **rest}, whole)
    elif "anyOf" in schema:
        rest = {key: schema[key] for key in ("examples", "deprecated", "default") if key in schema}
        for option in schema["anyOf"]:
            yield from _options({**option, **rest}, whole)
    else:
        yield schema


CONTEXT: dict[str, Callable[[dict[str, Any]], object]] = {
    r"\.dest$": lambda rule: rule.update(type="out", source=None),
    r"files\.\d+\.source$": lambda file: file.pop("secret", None),
    r"rules\.\d+\.source$": lambda rule: rule.update(type="in", dest=None),
    r"\.port$": lambda rule: rule.update(proto="tcp") if "type" in rule else None,
    r"variables\.\d+\.secret$": lambda variable: variable.pop("value", None),
    r"variables\.\d+\.value$": lambda variable: variable.pop("secret", None),
    r"\.runtimeType$": lambda runtime: runtime.pop("path", None),
    r"docker_stacks\.\d+\.environment$": lambda stack: stack.update(name="thinkheads_ai_app"),
    r"traefik_services?\.(?:\d+\.)?path$": lambda service: service.pop("health_path", None),
    r"traefik_services\.\d+\.health_path$": lambda service: service.update(strip_path=True),
    r"secondary_network_config\.": lambda card: [
        card.update(ip="10.9.0.99/24"),
        card.pop("hwaddr", None),
    ],
    r"\.gateway_port$": lambda service: [
        service.update(scheme="tcp"),
        *(service.pop(key, None) for key in ("health_path", "path", "server_name")),
    ],
    r"site\.portainer\.(url|ca_file|fingerprint)$": lambda portainer: portainer.update(
        connects_from=["192.0.2.10"]
    ),
    r"^lxc: site\.scraper$": lambda site: site.update(watcher="hypervisor"),
    r"site\.backups\.sftp_host_key$": lambda backups: backups.update(
        target="sftp://phoenix@nas.example.com/srv/backups"
    ),
    r"\.redirect_to$": lambda service: [
        service.pop(key, None) for key in ("port", "scheme", "health_path", "server_name")
    ],
}
"""What else an entry has where a key of it is given: there are keys that exclude each other."""
WHOLE: dict[str, Callable[[dict[str, Any]], object]] = {
    r"^lxc: .*secondary_network_config\.gw$": lambda data: data["lxc_configs"]["101"].update(
        network_config={
            key: value
            for key, value in data["lxc_configs"]["101"]["network_config"].items()
            if key != "gw"
        }
    ),
    r"^lxc: .*\.network_config\.hwaddr$": lambda data: data["lxc_configs"]["101"].pop(
        "mac_address", None
    ),
    r"^lxc: site\.login\.name$": lambda data: data.update(
        lxc_configs={
            vmid: {**guest, "login": {"name": f"apart{vmid}"}}
            for vmid, guest in data["lxc_configs"].items()
        }
    ),
    r"^lxc: site\.virtual_address": lambda data: data.update(
        lxc_configs={**data["lxc_configs"], "198": _second(data["lxc_configs"])}
    ),
    r"^vm: .*secondary_network_config\.nameservers?\.\d+$": lambda data: data["vms"][2][
        "secondary_network_config"
    ].update(ip="10.9.0.99/24"),
    r"^lxc: .*secondary_network_config\.nameservers?\.\d+$": lambda data: data["lxc_configs"][
        "101"
    ]["secondary_network_config"].update(ip="10.9.0.99/24"),
    r"^stack: environments\..*\.backup\.dumps\.\d+\.(command|load)\.": lambda data: _dumped(
        data["environments"]["production"]
    ),
    r"^stacks: .*\.backup\.dumps\.\d+\.(command|load)\.": lambda data: _dumped(
        data["docker_stacks"]["vectors"]["environments"]["production"]
    ),
    # Its one service has no TLS any more, and its compose file mounts a certificate.
    r"^stack: environments\.production\..*\.traefik_service\.(redirect_to|gateway_port)$": (
        lambda data: data["environments"]["production"].update(tls={})
    ),
}
"""The same for the whole file."""


def _second(guests: dict[str, Any]) -> dict[str, Any]:
    """A gateway beside the one that the site has."""
    first = next(guest for guest in guests.values() if guest.get("role") == "nginx")
    card = {"network_config": {"ip": "10.0.0.198/24"}, "mac_address": "52:54:00:00:00:98"}
    keys = ("role", "dependencies", "boot_order", "clone_from_ctid")
    return {**{key: first[key] for key in keys if key in first}, **card, "name": "second"}


def _dumped(environment: dict[str, Any]) -> None:
    """The dump is of the service that the stack has."""
    dump = copy.copy(environment["backup"]["dumps"][0]) | {"service": "qdrant"}
    environment["backup"] = environment["backup"] | {"dumps": [dump]}


def _without_portainer(data: dict[str, Any]) -> None:
    """Its guest is a Docker host as every other."""
    for guest in data["vms"]:
        if guest.get("role") == "portainer" or guest.get("portainer_role") == "server":
            guest["role"] = "docker"
            guest.pop("portainer_role", None)
            guest.pop("traefik_service", None)


def _log_in_apart(guests: Iterable[dict[str, Any]]) -> None:
    """Each by a name of its own: who has none has the site's, which means one machine."""
    for number, guest in enumerate(guests):
        guest["login"] = {"name": f"apart{number}"}


BESIDE: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    r"^lxc: site\.swarm_networks\.": (
        VM,
        lambda data: data["vms"][2].update(swarm_role="manager"),
    ),
    r"^lxc: site\.portainer\.": (VM, _without_portainer),
    r"^lxc: site\.login\.name$": (VM, lambda data: _log_in_apart(data["vms"])),
    r"^lxc: site\.logins\.vm\.name$": (VM, lambda data: _log_in_apart(data["vms"][:-1])),
}
"""The same for another file of the site."""


def beside(place: Place) -> dict[str, Any]:
    """Other files of the site, changed as what stands at a place needs them."""
    changed = {}
    for pattern, (label, change) in BESIDE.items():
        if re.search(pattern, str(place)):
            changed[label] = copy.deepcopy(site_files()[label])
            change(changed[label])
    return changed


SOUND: dict[str, Any] = {
    r"secondary_network_config\.ip$": "10.9.0.99/24",
    r"secondary_network_config\.gw$": "10.9.0.1",
    r"secondary_network_config\.bridge$": "vmbr1.9",
    r"secondary_network_config\.name$": "eth1",
    r"network_config\.hwaddr$": "52:54:00:0A:0B:0D",
    r"\.nameservers?(?:\.\d+)?$": "10.0.0.13",
    r"\.mac_address$": "52:54:00:0A:0B:0C",
    r"^stack.*server_name$": "vectors.internal.thinkheads.ai",
    r"^vm.*volumes\.\d+\.server$": "10.0.0.9",
    r"^stacks: .*secret$": "VECTORS_KEY",
    r"^stacks: .*files\.\d+\.source$": "stacks/qdrant_service/docker-compose.yml",
    r"docker_stacks\.\d+(?:\.name)?$": "thinkheads_ai_app",
    r"docker_stacks\.\d+\.environment$": "production",
    r"variables\.\d+\.secret$": "QDRANT_SERVICE_KEY",
    r"files\.\d+\.source$": "docker-compose.yml",
    r"exports\.\d+\.options$": "rw,sync",
    r"^lxc: site\.scraper$": "192.0.2.7",
    # A recipient of age's own documentation (https://age-encryption.org).
    r"site\.backups\.secrets_for\.\d+$": (
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    ),
    r"\.backup\.volumes\.\d+$": "qdrant_data",
    r"\.backup\.dumps\.\d+\.service$": "qdrant",
    r"sha256$": "0" * 64,
    r"site\.portainer\.fingerprint$": "ab" * 32,
    r"network\.portainer_server_ip$": "10.0.0.111",
    r"network\.portainer_server_port$": "9443",
    r"network\.portainer_agent_port$": "9001",
    r"dns_server\.upstream_servers\.\d+$": "9.9.9.9",
}
"""Sound values for places that the site leaves empty, where no example fits."""


def put(data: Any, place: Place, value: Any) -> Any:
    """A file's data with a value at a place; holders that are absent are made.

    What a holder needs beside it is made of the schema's examples. Parts beside the way to the
    place are shared with `data`.
    """
    changed = holder = copy.copy(data)
    steps = place.steps[:-2] if place.steps[-1] == KEY else place.steps[:-1]
    for step, schema in zip(steps, place.schemas[1:], strict=False):
        present = _at(holder, step)
        inner = copy.copy(present) if isinstance(present, dict | list) else _example(schema)
        _set(holder, step, inner)
        holder = inner
    for pattern, change in CONTEXT.items():
        if re.search(pattern, str(place)) and isinstance(holder, dict):
            change(holder)
    for pattern, change in WHOLE.items():
        if re.search(pattern, str(place)):
            change(changed)
    if place.steps[-1] == KEY:
        name = place.steps[-2]
        holder[value] = holder.pop(name, _example(_entries(place.schemas[-1]) or {}))
    else:
        _set(holder, place.steps[-1], value)
    return changed


def _set(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(holder, list):
        holder[len(holder) :] = [None] * (int(step) + 1 - len(holder))
        holder[int(step)] = value
    else:
        holder[step] = value


def _examples(schema: Mapping[str, Any]) -> list[Any]:
    """Those of its type: a field that takes a list or text has examples of both."""
    types = {"array": list, "object": dict}.get(schema.get("type", ""), str | int)
    return [example for example in schema.get("examples", ()) if isinstance(example, types)]


def _example(schema: Mapping[str, Any]) -> Any:
    if _examples(schema):
        return json.loads(json.dumps(_examples(schema)[0]))
    if schema.get("default") is not None:
        return json.loads(json.dumps(schema["default"]))
    if schema.get("type") == "array":
        return []
    if "properties" in schema:
        known = schema["properties"]
        return {name: _example(known[name]) for name in schema.get("required", ())}
    if schema.get("type") == "object":
        return {}
    if schema.get("enum"):
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    return schema.get("minimum", "a")


def sound(place: Place) -> str:
    """Text that is taken at a place: that of the shipped site, else of the field's examples."""
    data: Any = SETTINGS if place.kind == "settings" else site_files()[FILES[place.kind]]
    for pattern, value in SOUND.items():
        if re.search(pattern, str(place)):
            return str(value)
    if place.steps[-1] == KEY:
        return str(place.steps[-2])
    for step, schema in zip(place.steps, place.schemas[1:], strict=True):
        data = _at(data, step)
        if data is None:
            data = _example(schema)
    return data if isinstance(data, str) else str(data)
