"""What a compose file says about the containers to expect. Reading only: compose itself deploys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from .errors import InvalidInputError

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)"
    r"|\{(?P<name>[A-Za-z_]\w*)(?:(?P<op>:?-)(?P<default>[^{}$]*))?\})"
)


@dataclass(frozen=True)
class ServiceSpec:
    """One service.

    Attributes:
        name: its key in the file.
        image: the interpolated reference; None when built, or not decidable here.
        completes: another service waits for it with ``service_completed_successfully``, so its
            container is meant to end with code 0.
    """

    name: str
    image: str | None
    completes: bool


def read_services(content: str, env: Mapping[str, str]) -> tuple[ServiceSpec, ...]:
    """The services that ``compose up`` would start.

    Services behind a profile and services scaled to zero are left out.

    Raises:
        InvalidInputError: not YAML, or no mapping of services.
    """
    try:
        found = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"compose file: not YAML: {error}") from None
    services = found.get("services") if isinstance(found, dict) else None
    if not isinstance(services, dict) or not services:
        raise InvalidInputError("compose file: services: give at least one service")
    completing: set[str] = set()
    for name, body in services.items():
        if not isinstance(body, dict):
            raise InvalidInputError(f"compose file: services.{name}: must be a mapping")
        waits = body.get("depends_on")
        if isinstance(waits, dict):
            completing |= {
                other
                for other, rule in waits.items()
                if isinstance(rule, dict)
                and rule.get("condition") == "service_completed_successfully"
            }
    return tuple(
        ServiceSpec(str(name), _image(body, env), name in completing)
        for name, body in services.items()
        if not body.get("profiles") and _replicas(body) != 0
    )


def _replicas(body: Mapping[str, Any]) -> Any:
    deploy = body.get("deploy")
    in_deploy = deploy.get("replicas") if isinstance(deploy, dict) else None
    return body.get("scale") if in_deploy is None else in_deploy


def _image(body: Mapping[str, Any], env: Mapping[str, str]) -> str | None:
    """The image a deployment would have to pull; None where this can't be told for certain."""
    image = body.get("image")
    if not isinstance(image, str) or "build" in body or body.get("pull_policy") == "never":
        return None
    unknown = False

    def fill(found: re.Match[str]) -> str:
        nonlocal unknown
        if found["escaped"]:
            return "$"
        value = env.get(found["bare"] or found["name"])
        if found["op"] and (value is None or (found["op"] == ":-" and not value)):
            return str(found["default"])
        unknown = unknown or value is None
        return value or ""

    filled = _VARIABLE.sub(fill, image)
    if unknown or "$" in filled or not filled:
        return None
    return filled
