"""Keys of a compose file that have no effect: Compose and Docker accept them silently.

By the Compose specification and the source of Docker Compose v2, named with each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phoenix.compose import mounts
from phoenix.declaration import compose_values
from phoenix.declaration.compose import filled
from phoenix.declaration.json_errors import join
from phoenix.derived.certificates import RENEWAL_LABEL
from phoenix.site import suggestions

_Problem = tuple[str, str, str]
"""Path, message and fix."""

_SWARM = ("endpoint_mode", "labels", "placement", "rollback_config", "update_config")
"""Keys of `deploy` that only Docker Swarm carries out (Compose Deploy Specification)."""
_RESERVED = ("cpus", "generic_resources", "pids")
"""Reservations that only Docker Swarm keeps (docker/compose, pkg/compose/create.go)."""
_WINDOWS = ("cpu_count", "cpu_percent", "credential_spec", "isolation")
"""Keys of a service that Docker reads on Windows alone."""
_OWN_LABELS = "ai.thinkheads.phoenix."
_COMPOSES_LABELS = "com.docker.compose."
_MOUNT_WORDS = frozenset(
    ("cached", "consistent", "delegated", "nocopy", "private", "ro", "rprivate", "rshared",
     "rslave", "rw", "shared", "slave", "volume-nocopy", "z", "Z")
)  # fmt: skip
"""Options of a mount's short form (compose-go, format/volume.go); it passes over any other."""
_REMOVE = "remove it"


def check(
    compose: Mapping[str, Any], values: Mapping[str, str], project: str, *, swarm: bool
) -> Iterator[_Problem]:
    """Path, message and fix of each thing that nobody carries out.

    Args:
        compose: the file's content, of the shape that `phoenix.compose.document.read` promises.
        values: the declared variables; a secret's has any text that is not empty.
        project: the stack's name in Docker.
        swarm: whether it is deployed to a swarm.
    """
    if "name" in compose:
        yield "name", f"is not read: the stack is called {project}", _REMOVE
    for name, service in compose["services"].items():
        place = join("services", name)
        for path, message, fix in _of_service(service, values, compose, swarm=swarm):
            yield f"{place}.{path}", message, fix
    yield from _of_the_whole(compose, swarm=swarm)
    yield from _beside_external(compose)
    yield from _unused(compose, values)


def _of_service(
    service: Mapping[str, Any],
    values: Mapping[str, str],
    compose: Mapping[str, Any],
    *,
    swarm: bool,
) -> Iterator[_Problem]:
    for key in _WINDOWS:
        if key in service:
            yield key, "is of containers on Windows: Docker on Linux does without it", _REMOVE
    if "develop" in service:
        yield "develop", "is read by `docker compose watch` alone", _REMOVE
    if not swarm:
        yield from _of_swarm(service)
        yield from _owners(service, compose)
        yield from _ports_of_nobody(service, values)
        yield from _of_internal_networks(service, compose)
    yield from compose_values.left_out(service, values)
    yield from _twice(service)
    yield from _labels(service)
    for position, mount in enumerate(service.get("volumes") or ()):
        read_mount = mounts.read(mount, values)
        for word in read_mount.options if read_mount else ():
            if word and word not in _MOUNT_WORDS and not word.startswith("subpath="):
                fix = suggestions.fix(word, _MOUNT_WORDS)
                fix = "write ro" if word.startswith("read") else fix
                message = f"{word[:80]!r} is not an option of a mount: Compose passes over it"
                yield f"volumes[{position}]", message, fix


def _of_swarm(service: Mapping[str, Any]) -> Iterator[_Problem]:
    """Keys of `deploy` that Compose does without."""
    deploy = service.get("deploy") or {}
    message = "is Docker Swarm's: Compose does without it"
    for key in deploy:
        if key in _SWARM or (key == "mode" and deploy[key] != "replicated"):
            yield f"deploy.{key}", message, _REMOVE
    resources = deploy.get("resources")
    reserved = resources.get("reservations") if isinstance(resources, Mapping) else None
    for key in reserved if isinstance(reserved, Mapping) else ():
        if key in _RESERVED:
            yield f"deploy.resources.reservations.{key}", message, _REMOVE
    policy = deploy.get("restart_policy")
    if isinstance(policy, Mapping) and service.get("restart") is not None:
        ignored = "is not read beside `restart` of the service"
        yield "deploy.restart_policy", ignored, "keep one of the two"
    elif isinstance(policy, Mapping):
        for key in ("delay", "window"):
            if key in policy:
                yield f"deploy.restart_policy.{key}", message, _REMOVE


def _owners(service: Mapping[str, Any], compose: Mapping[str, Any]) -> Iterator[_Problem]:
    """Owner and mode of what is mounted as it is on the host (Compose specification, "secrets")."""
    for kind in ("configs", "secrets"):
        known = compose.get(kind)
        for position, entry in enumerate(service.get(kind) or ()):
            source = entry.get("source") if isinstance(entry, Mapping) else None
            body = None
            if isinstance(known, Mapping) and isinstance(source, str):
                body = known.get(source)
            if isinstance(body, Mapping) and "file" in body:
                for key in ("uid", "gid", "mode"):
                    if key in entry:
                        message = "is not read: Compose mounts the file with its own owner and mode"
                        fix = "remove it, and set owner and mode of the file on the host"
                        yield f"{kind}[{position}].{key}", message, fix


def _ports_of_nobody(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Ports for which Docker chooses the host's port: rules and routes cannot know it."""
    if service.get("network_mode"):
        return
    for position, entry in enumerate(service.get("ports") or ()):
        if isinstance(entry, Mapping):
            chosen = str(entry.get("published") or "0") if "target" in entry else ""
        else:
            text = filled(entry, values)
            if text is None:
                continue  # told where every expression is
            host, colon, _ = text.rpartition(":")
            chosen = (host.rpartition(":")[2] if colon else "") or "0"
        if chosen == "0":
            yield (
                f"ports[{position}]",
                (
                    "names no port of the host: Docker picks a random one, which the host's guard "
                    "blocks"
                ),
                'write "HOST:CONTAINER"; for other containers of its stack remove the entry',
            )


def _of_internal_networks(
    service: Mapping[str, Any], compose: Mapping[str, Any]
) -> Iterator[_Problem]:
    """Ports of a container that is in internal networks alone: Docker publishes none of them.

    https://docs.docker.com/reference/compose-file/networks/#internal
    """
    networks = dict(_bodies(compose, "networks"))
    named = tuple(map(str, service.get("networks") or ("default",)))
    if service.get("network_mode") or not all(
        networks.get(n, {}).get("internal") is True for n in named
    ):
        return
    if service.get("ports"):
        message = f"nobody outside can reach them: {', '.join(named)[:80]} is internal"
        yield "ports", message, "put the service into another network as well, or remove the ports"


def _twice(service: Mapping[str, Any]) -> Iterator[_Problem]:
    """Names with several lines: only the last line counts."""
    for key in ("environment", "labels"):
        first: set[str] = set()
        lines = service.get(key)
        for position, line in enumerate(lines if isinstance(lines, list) else ()):
            name = str(line).partition("=")[0]
            if name in first:
                message = f"{name[:80]!r} is there already, and the last one counts"
                yield f"{key}[{position}]", message, "keep one of the two"
            first.add(name)


def _labels(service: Mapping[str, Any]) -> Iterator[_Problem]:
    """Labels in Phoenix's name that it does not know, and Compose's own, which it writes."""
    labels = service.get("labels") or ()
    named = (
        [(join("labels", key), str(key)) for key in labels]
        if isinstance(labels, Mapping)
        else [(f"labels[{n}]", str(label).partition("=")[0]) for n, label in enumerate(labels)]
    )
    for path, label in named:
        if label.startswith(_OWN_LABELS) and label != RENEWAL_LABEL:
            yield (
                path,
                "is not a label that Phoenix reads",
                suggestions.fix(label, (RENEWAL_LABEL,)),
            )
        elif label.startswith(_COMPOSES_LABELS):
            yield path, "is a label that Compose writes itself", "call it otherwise, or remove it"


def _of_the_whole(compose: Mapping[str, Any], *, swarm: bool) -> Iterator[_Problem]:
    """Keys of what services share."""
    if "models" in compose or any("models" in body for body in compose["services"].values()):
        yield "models", "needs Docker Model Runner, which Phoenix does not install", _REMOVE
    if swarm:
        return
    for kind in ("configs", "secrets"):
        for name, body in _bodies(compose, kind):
            for key in ("driver", "driver_opts", "template_driver"):
                if key in body:
                    message = "is Docker Swarm's: Compose does without it"
                    yield f"{join(kind, name)}.{key}", message, _REMOVE
    for name, body in _bodies(compose, "networks"):
        if body.get("attachable"):
            message = "is of overlay networks: others are open to every container of the host"
            yield f"{join('networks', name)}.attachable", message, _REMOVE


def _beside_external(compose: Mapping[str, Any]) -> Iterator[_Problem]:
    """Keys of what another made."""
    for kind in ("configs", "networks", "secrets", "volumes"):
        for name, body in _bodies(compose, kind):
            others = [key for key in body if key not in ("external", "name") and key[:2] != "x-"]
            if body.get("external") and others:
                message = "is ignored or refused beside `external`: its maker decides it"
                yield f"{join(kind, name)}.{others[0]}", message, "remove it, or remove external"


def _unused(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """What the file declares and no service uses: Compose ignores it."""
    for kind in ("configs", "networks", "secrets", "volumes"):
        used = {name for body in compose["services"].values() for name in _used(kind, body, values)}
        top = compose.get(kind)
        for name in top if isinstance(top, Mapping) else ():
            if name not in used and name != "default" and not str(name).startswith("x-"):
                message = "no service names it, so Compose makes nothing of it"
                yield join(kind, str(name)), message, "name it in a service, or remove it"


def _used(kind: str, service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[str]:
    """The names of a kind that a service has."""
    held = service.get(kind) or ()
    for entry in held:
        if kind == "volumes":
            read_mount = mounts.read(entry, values)
            yield read_mount.source if read_mount else ""
        elif isinstance(held, list) and isinstance(entry, Mapping):
            yield filled(entry.get("source") or "", values) or ""
        elif isinstance(held, list):
            yield filled(entry, values) or ""
        else:
            yield str(entry)  # a key, which Compose takes as it is


def _bodies(compose: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    top = compose.get(kind)
    for name, body in top.items() if isinstance(top, Mapping) else ():
        if isinstance(body, Mapping):
            yield str(name), body
