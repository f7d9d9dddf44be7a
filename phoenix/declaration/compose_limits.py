"""What `docker compose` on one host refuses, or leaves undone without a word.

By the Compose specification and what Docker Compose does with it: each of these would be found by
the deployment alone, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, NamedTuple

from phoenix.compose import document, mounts
from phoenix.compose.scalars import flag
from phoenix.declaration import (
    compose_addresses,
    compose_entries,
    compose_ignored_keys,
    compose_schema,
    compose_values,
)
from phoenix.declaration.compose import docker_names, filled, passed_on, published
from phoenix.declaration.json_errors import join
from phoenix.site import suggestions
from phoenix.site.findings import Report

_Problem = tuple[str, str, str]
"""Path, message and fix."""

_FEW = 50
"""So many names are compared with one that was perhaps misspelt."""


def check(
    compose: Mapping[str, Any],
    values: Mapping[str, str],
    project: str,
    label: str,
    declared: str,
    report: Report,
    *,
    swarm: bool = False,
) -> None:
    """Refuse what the deployment would refuse, and tell what it would ignore.

    Args:
        compose: the file's content.
        values: the declared variables; a secret's has any text that is not empty.
        project: the stack's name in Docker.
        label: what findings call the file.
        declared: where the stack's variables are declared, for the fix.
        report: takes the findings.
        swarm: whether it is deployed to a swarm, which has several hosts, secrets and configs.
    """
    for fault in (
        *(() if swarm else _copies(compose, values)),
        *_containers(compose, values, project),
        *compose_schema.check(compose, values),
        *compose_values.check(compose, values),
        *compose_entries.check(compose, values),
        *compose_addresses.check(compose, values),
        *_undefined(compose, values),
        *_circles(compose),
        *_not_given(compose, values, declared, swarm=swarm),
    ):
        report.error(label, *fault)
    for fault in compose_ignored_keys.check(compose, values, project, swarm=swarm):
        report.unread(label, *fault)
    for fault in _not_passed_on(compose, values, declared):
        report.warn(label, *fault)


class Outside(NamedTuple):
    """A network or volume in Docker that a compose file calls external: another's.

    `is_used`: a service that is started uses it. Compose looks for no other.
    """

    kind: Literal["network", "volume"]
    name: str
    is_used: bool


def outside(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[Outside]:
    """External networks and volumes of which the name is known here.

    https://docs.docker.com/reference/compose-file/networks/#external

    Args:
        compose: the file's content.
        values: the declared variables.
    """
    started = [body for body in compose["services"].values() if document.is_started(body, values)]
    networks = {name for body in started for name in _networks_of(body)}
    volumes = {_volume_of(mount, values) for b in started for mount in b.get("volumes") or ()}
    kinds: tuple[tuple[Literal["network", "volume"], set[str]], ...] = (
        ("network", networks),
        ("volume", volumes),
    )
    for kind, names in kinds:
        for key, body in _items(compose.get(f"{kind}s")):
            external = body.get("external") if isinstance(body, Mapping) else None
            if external:
                external_name = external.get("name") if isinstance(external, Mapping) else None
                if name := filled(body.get("name") or external_name or key, values):
                    yield Outside(kind, name, key in names)


def _networks_of(service: Mapping[str, Any]) -> set[str]:
    """The networks that a service is in, as the file calls them."""
    if service.get("network_mode"):
        return set()
    named = {name for _, name in _named(service.get("networks"), "")}
    return named or {"default"}


def _copies(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Services of which several containers would need what there is once."""
    fixed = {port.service for port in published(compose, values, {}, "", Report())}
    for name, service in compose["services"].items():
        deploy = service.get("deploy") or {}
        key = "deploy.replicas" if "replicas" in deploy else "scale"
        count = filled(deploy.get("replicas", service.get("scale", "")), values) or ""
        if not (count.isdecimal() and len(count) < 10 and int(count) > 1):
            continue
        for is_fixed, resource, fix in (
            (name in fixed, "host port", "publish no port of it, or run one container"),
            (service.get("container_name"), "name", "remove container_name, or run one container"),
        ):
            if is_fixed:
                message = f"{count} containers cannot all have the {resource} that is written here"
                yield f"services.{name}.{key}", message, fix


def _containers(
    compose: Mapping[str, Any], values: Mapping[str, str], project: str
) -> Iterator[_Problem]:
    """Two containers of one name in one file."""
    first: dict[str, str] = {}
    for kind, name, path in docker_names(compose, values, project):
        if kind == "container" and (other := first.setdefault(name, path)) != path:
            message = f"container {name} is declared at {other} too: Docker has one of a name"
            yield path, message, "give one of the two another name, or leave it to Compose"


def _undefined(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """What a service names and the file does not declare."""
    services = compose["services"]
    for name, service in services.items():
        for key in ("networks", "secrets", "configs"):
            known = _keys(compose.get(key)) | ({"default"} if key == "networks" else set())
            for path, reference in _named(service.get(key), "source"):
                yield from _unknown(f"services.{name}.{key}{path}", key[:-1], reference, known)
        for position, mount in enumerate(service.get("volumes", ())):
            reference = _volume_of(mount, values)
            where = f"services.{name}.volumes[{position}]"
            yield from _unknown(where, "volume", reference, _keys(compose.get("volumes")))
        for path, needed, is_required in _needed(service):
            where = f"services.{name}.{path}"
            yield from _unknown(where, "service", needed, services.keys())
            if is_required and not service.get("profiles") and _is_optional(services, needed):
                message = f"{needed} is behind a profile and not started: Compose refuses it"
                fix = f"remove `profiles` from {needed}; or write required: false under depends_on"
                yield where, message, fix


def _unknown(path: str, kind: str, name: str, known: Collection[str]) -> Iterator[_Problem]:
    if name and "$" not in name and name not in known:
        place = "under services" if kind == "service" else f"under {kind}s, beside services"
        declare = f"declare it {place}"
        fix = suggestions.fix(name, known if len(known) <= _FEW else (), declare)
        yield path, f"the file declares no {kind} {name[:80]!r}: Compose refuses it", fix


def _volume_of(mount: Any, values: Mapping[str, str]) -> str:
    """The named volume of a mount; empty where it is none, or not known."""
    read_mount = mounts.read(mount, values)
    return read_mount.source if read_mount and read_mount.kind == "volume" else ""


def _is_optional(services: Mapping[str, Any], name: str) -> bool:
    return bool((services.get(name) or {}).get("profiles"))


def _needed(service: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Place of each service that one names, its name, and whether it must be started.

    compose-go, loader/normalize.go and validate.go.
    """
    needs = service.get("depends_on") or ()
    if isinstance(needs, Mapping):
        for dependency, how in needs.items():
            required = how.get("required") if isinstance(how, Mapping) else True
            yield join("depends_on", dependency), str(dependency), flag(required) is not False
    else:
        for position, dependency in enumerate(needs):
            yield f"depends_on[{position}]", str(dependency), True
    for position, link in enumerate(service.get("links") or ()):
        yield f"links[{position}]", str(link).partition(":")[0], True
    for key in ("network_mode", "pid", "ipc"):
        kind, _, dependency = str(service.get(key) or "").partition(":")
        if kind == "service":
            yield key, dependency, True
    for position, dependency in enumerate(service.get("volumes_from") or ()):
        if not str(dependency).startswith("container:"):
            yield f"volumes_from[{position}]", str(dependency).partition(":")[0], True


def _circles(compose: Mapping[str, Any]) -> Iterator[_Problem]:
    """Services that wait for each other."""
    services = compose["services"]
    waits = {
        name: {dependency: path for path, dependency, _ in _needed(body)}
        for name, body in services.items()
    }
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        circle = error.args[1]
        message = f"wait for each other: {' <- '.join(map(str, circle))[:200]}"
        last, first = circle[-2:]
        key = re.split(r"[.\[]", waits[first][last])[0]
        yield f"services.{first}.{key}", message, f"remove one of them from {key}"


def _not_given(
    compose: Mapping[str, Any], values: Mapping[str, str], declared: str, *, swarm: bool
) -> Iterator[_Problem]:
    """Secrets and configs of a source that there is not."""
    for kind in ("secrets", "configs"):
        for name, body in _items(compose.get(kind)):
            if isinstance(body, Mapping) and body.get("external") and not swarm:
                path = f"{join(kind, name)}.external"
                message = f"external {kind} are Docker Swarm's: Compose refuses them"
                yield path, message, f"declare the file under files in {declared}"
    for path, name in passed_on(compose):
        if path.startswith(("secrets", "configs")) and name not in values and "$" not in name:
            message = f"variable {name[:80]} has no value: Compose refuses it"
            yield path, message, f"declare it under variables in {declared}"


def _not_passed_on(
    compose: Mapping[str, Any], values: Mapping[str, str], declared: str
) -> Iterator[_Problem]:
    """Variables that a container is to have, and that there are not."""
    for path, name in passed_on(compose):
        if path.startswith("services") and name not in values and "$" not in name:
            message = f"variable {name[:80]} has no value: the container does not get it"
            yield path, message, f"declare it under variables in {declared}, or write its value"


def _keys(value: Any) -> set[str]:
    return {str(name) for name, _ in _items(value)}


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, Mapping) else ()


def _named(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """The names in a list of names or mappings, or of a mapping's keys, with their places."""
    if isinstance(value, Mapping):
        yield from ((f".{name}", str(name)) for name in value)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            name = item.get(key) if isinstance(item, Mapping) else item
            yield f"[{position}]", str(name or "")
