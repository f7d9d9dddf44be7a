"""The containers to expect from a compose file. Reads only: compose itself deploys."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phoenix.compose import document
from phoenix.compose.interpolation import InterpolationError, interpolate
from phoenix.compose.scalars import text_of

from .errors import InvalidInputError


@dataclass(frozen=True)
class ServiceSpec:
    """One service.

    Attributes:
        name: its key in the file.
        image: the interpolated reference; None when built, or not decidable here.
        completes: its container may end with code 0; see `phoenix.compose.document.completing`.
        labels: the labels of its containers, as far as they are known here.
        replicas: how many containers it has; None for one on each node of a swarm, and where the
            number is unknown here.
    """

    name: str
    image: str | None
    completes: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    replicas: int | None = 1


def read_services(content: str, env: Mapping[str, str]) -> tuple[ServiceSpec, ...]:
    """The services that ``compose up`` would start.

    Services behind a profile and services scaled to zero are left out.

    Args:
        content: the compose file.
        env: the variables of the stack.

    Raises:
        InvalidInputError: a file that Compose refuses, with every reason; see
            `phoenix.compose.document.read`.
    """
    services = _services(content)
    completing = document.completing(services, env)
    return tuple(
        ServiceSpec(
            name, _image(body, env), name in completing, _labels(body, env), _replicas(body, env)
        )
        for name, body in services.items()
        if document.is_started(body, env)
    )


def service_names(content: str) -> frozenset[str]:
    """Every service of a compose file, those that ``compose up`` would not start as well.

    Raises:
        InvalidInputError: see `read_services`.
    """
    return frozenset(_services(content))


def _services(content: str) -> dict[str, Any]:
    try:
        services: dict[str, Any] = document.read(content)["services"]
    except document.ComposeFileError as error:
        raise InvalidInputError(f"compose file: {error}") from None
    return services


def _labels(body: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """Labels of either form (Compose specification, "labels"), values filled in."""
    declared = body.get("labels") or {}
    pairs = (
        declared.items()
        if isinstance(declared, Mapping)
        else (str(line).partition("=")[::2] for line in declared)
    )
    labels = {}
    for name, value in pairs:
        with contextlib.suppress(InterpolationError):
            labels[str(name)] = interpolate(text_of(value), env).text
    return labels


def _replicas(body: Mapping[str, Any], env: Mapping[str, str]) -> int | None:
    deploy = body.get("deploy") or {}
    if deploy.get("mode", "replicated") != "replicated":
        return None
    with contextlib.suppress(InterpolationError, ValueError):
        return int(interpolate(str(deploy.get("replicas", body.get("scale", 1))), env).text)
    return None


def _image(body: Mapping[str, Any], env: Mapping[str, str]) -> str | None:
    """The image a deployment would have to pull; None where that is uncertain."""
    image = body.get("image")
    if not isinstance(image, str) or "build" in body or body.get("pull_policy") == "never":
        return None
    try:
        reference, unset = interpolate(image, env)
    except InterpolationError:
        return None
    return None if unset or not reference else reference
