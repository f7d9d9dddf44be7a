"""One stack as it is deployed: compose file, variables, images and files on its host."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml
from pydantic import SecretStr

from phoenix.components.config_tree.tree import TreeFile
from phoenix.compose import document
from phoenix.compose.document import ComposeFileError
from phoenix.compose.interpolation import InterpolationError, interpolate
from phoenix.declaration import compose, compose_limits, image_reference, stack_isolation
from phoenix.declaration.value_types import value_fault
from phoenix.derived.certificates import STACKS
from phoenix.portainer_api.swarm import SwarmFile
from phoenix.site.findings import SettingError
from phoenix.site.model import Deployment, Host, Variable
from phoenix.site.names import normalise_name

FILES = STACKS
"""FILES/PROJECT/N is the N-th file of a stack on its host."""
_SECRET_BYTES, _CONFIG_BYTES = 500_000, 1_000_000
"""What Docker takes (swarmkit, manager/controlapi: MaxSecretSize, MaxConfigSize)."""
_PROJECT_PART = 40  # of a project's name: that of a secret or config has 64 characters at most
_ROUNDS = 100_000
_WIDTH = 1_000_000  # no line is folded
FILES_LABEL = "ai.thinkheads.phoenix.files"
"""The label with the digest of a stack's files."""

SecretOf = Callable[[str], SecretStr]


class _Dumper(yaml.SafeDumper):
    """Writes what an anchor shares where it is used."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


class DeploymentError(SettingError):
    """A stack that cannot be deployed as declared; names the place and the fix."""


@dataclass(frozen=True)
class Prepared:
    """A stack with everything filled in: what Portainer and its host are to be given."""

    stack: Deployment
    variables: Mapping[str, str | SecretStr]
    files: Mapping[str, TreeFile]
    compose: str
    images: tuple[str, ...]
    swarm_files: tuple[SwarmFile, ...] | None = None
    """Of a Swarm stack its files as the swarm keeps them; None: it is one of compose."""


def prepare(stack: Deployment, overrides: Mapping[str, str], secret_of: SecretOf) -> Prepared:
    """Fill in one stack.

    Args:
        overrides: variables that replace declared ones (setting `stack_variables`).
        secret_of: tells a secret by its name.

    Raises:
        DeploymentError: see `variables` and `images`; or it reaches what is not its own.
    """
    filled = variables(stack, overrides, secret_of)
    _check_reach(stack, filled)
    placed = files(stack, secret_of)
    if stack.type == "swarm":
        placed_files = swarm_files(stack, placed)
        text = swarm_file(stack, placed_files)
        return Prepared(stack, filled, {}, text, images(stack, filled), placed_files)
    return Prepared(stack, filled, placed, compose_file(stack, placed), images(stack, filled))


@dataclass(frozen=True)
class Names:
    """Networks and volumes in Docker: pairs of kind and name that a stack makes, and takes."""

    makes: frozenset[tuple[str, str]]
    takes: frozenset[tuple[str, str]]


def names(stack: Deployment, overrides: Mapping[str, str]) -> Names:
    """What a stack makes in its host's Docker, and what it takes there and does not make.

    Args:
        stack: the stack.
        overrides: variables that replace declared ones (setting `stack_variables`).

    Raises:
        DeploymentError: the setting or the compose file cannot be used.
    """
    filled = _plain(variables(stack, overrides, lambda _: SecretStr("secret")))
    try:
        content = document.read(stack.compose_file.read_text(encoding="utf-8"))
    except ComposeFileError as error:
        raise DeploymentError(f"{stack.compose_file}: {error}") from None
    others = list(compose_limits.outside(content, filled))
    own = {
        (kind, name)
        for kind, name, _ in compose.docker_names(content, filled, stack.project)
        if kind != "container"
    }
    return Names(
        makes=frozenset(own - {(other.kind, other.name) for other in others}),
        takes=frozenset((other.kind, other.name) for other in others if other.is_used),
    )


def named_in(stack: Deployment) -> frozenset[tuple[str, str]]:
    """Kind and name of each network and volume that a stack makes or takes, by its declaration.

    Nothing where its compose file cannot be used, which is told elsewhere.
    """
    try:
        known = names(stack, {})
    except (SettingError, OSError, UnicodeError):
        return frozenset()
    return known.makes | known.takes


def in_order(known: Mapping[str, Names], givers: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """Projects in the order in which they are deployed: who makes a network before who takes it.

    Args:
        known: the names of each project, in the order declared, which holds where nothing else
            decides; it holds for those that take from each other as well.
        givers: those that must give up a port before a project can take it.
    """
    result: list[str] = []

    def add(project: str, on_the_way: tuple[str, ...]) -> None:
        if project in result or project in on_the_way:
            return
        for other, other_names in known.items():
            makes = other_names.makes & known[project].takes
            if other != project and (makes or other in givers.get(project, ())):
                add(other, (*on_the_way, project))
        result.append(project)

    for project in known:
        add(project, ())
    return tuple(result)


def services(stack: Deployment) -> frozenset[str]:
    """The services of a stack's compose file; empty where it cannot be read, which is reported."""
    try:
        content = document.read(stack.compose_file.read_text(encoding="utf-8"))
    except (ComposeFileError, OSError, UnicodeError):
        return frozenset()
    return frozenset(content["services"])


def _plain(filled: Mapping[str, str | SecretStr]) -> dict[str, str]:
    """Values of which the secret ones are any text."""
    return {
        name: "secret" if isinstance(value, SecretStr) else value for name, value in filled.items()
    }


def _check_reach(stack: Deployment, filled: Mapping[str, str | SecretStr]) -> None:
    """Refuse what the setting `stack_variables` would make of mounts, as the declaration's are.

    Raises:
        DeploymentError: a container would have keys or data that are not its stack's.
    """
    plain = _plain(filled)
    try:
        content = document.read(stack.compose_file.read_text(encoding="utf-8"))
    except ComposeFileError as error:
        raise DeploymentError(f"{stack.compose_file}: {error}") from None
    for way in stack_isolation.host_accesses(
        content, plain, stack.project, host_access=stack.host_access
    ):
        if way.refused:
            raise DeploymentError(f"{stack.compose_file}: {way.path}: {way.message}: {way.fix}")


def check_prune(project: str, host: Host) -> None:
    """Refuse to remove a stack that its host declares.

    Raises:
        DeploymentError: the setting `stacks_prune` names such a one.
    """
    if normalise_name(project) in {stack.project for stack in host.docker_stacks}:
        raise DeploymentError(
            f"setting stacks_prune names {project}, which {host.name} declares in its "
            "docker_stacks: remove it from one of the two"
        )


def variables(
    stack: Deployment, overrides: Mapping[str, str], secret_of: SecretOf
) -> dict[str, str | SecretStr]:
    """The stack's variables: declared, replaced by the setting `stack_variables`, or secret.

    Raises:
        DeploymentError: the setting names a variable that the stack does not declare, or a value
            has a null character; the message holds no value.
    """
    declared = [variable.name for variable in stack.variables]
    for name in overrides:
        if name not in declared:
            raise DeploymentError(
                f"setting stack_variables[{stack.name!r}]: the stack has no variable {name}; "
                f"it has {', '.join(declared) or 'none'}"
            )
    values: dict[str, str | SecretStr] = {}
    for variable in stack.variables:
        if variable.name in overrides:
            values[variable.name] = overrides[variable.name]
        elif variable.secret is not None:
            values[variable.name] = secret_of(variable.secret.lower())
        else:
            values[variable.name] = variable.value or ""
        _check_value(stack, variable, values[variable.name])
    return values


def _check_value(stack: Deployment, variable: Variable, value: str | SecretStr) -> None:
    """Refuse a value that no environment variable can hold.

    Raises:
        DeploymentError: it has a null character; the message does not hold it.
    """
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    if fault := value_fault(plain):
        secret = isinstance(value, SecretStr)
        origin = f"secret {(variable.secret or '').lower()}" if secret else "its value"
        message, fix = fault
        raise DeploymentError(
            f"stack {stack.project}, variable {variable.name}: {origin} {message}: {fix}"
        )


def files(stack: Deployment, secret_of: SecretOf) -> dict[str, TreeFile]:
    """The stack's files at their places on the host; secrets readable by root alone."""
    placed = {}
    for number, file in enumerate(stack.files):
        path = f"{FILES}/{stack.project}/{number}"
        if file.source is not None:
            placed[path] = TreeFile((stack.directory / file.source).read_bytes())
        elif file.secret is not None:
            value = secret_of(file.secret.lower()).get_secret_value()
            placed[path] = TreeFile(value, mode="0600", secret=True)
    return placed


def compose_file(stack: Deployment, placed: Mapping[str, TreeFile]) -> str:
    """The compose file as given to Portainer: as written, plus the stack's files as mounts.

    Compose does not notice that a mounted file has other content, so its digest becomes a label,
    which makes Compose replace the container.

    Raises:
        DeploymentError: the compose file cannot be used, or cannot take the mounts.
    """
    text = stack.compose_file.read_text(encoding="utf-8")
    if not placed:
        return text
    digest = hashlib.sha256("".join(file.sha256 for file in placed.values()).encode()).hexdigest()
    try:
        return _mounted(text, _mounts(stack), digest)
    except ComposeFileError as error:
        raise DeploymentError(f"{stack.compose_file}: {error}") from None


def swarm_name(stack: Deployment, number: int) -> str:
    """What the name of a stack's file begins with in a swarm, whatever its content."""
    return f"{stack.project[:_PROJECT_PART]}-{number}"


def swarm_files(stack: Deployment, placed: Mapping[str, TreeFile]) -> tuple[SwarmFile, ...]:
    """A stack's files as Swarm secrets and configs, named by their content.

    Docker changes none of them: another content is another one, and the old one goes when no
    service has it. A secret's content is not told by its name (PBKDF2, RFC 8018).

    Raises:
        DeploymentError: one is longer than Docker takes.
    """
    named = []
    for number, file in enumerate(placed.values()):
        content = file.content.encode() if isinstance(file.content, str) else file.content
        limit = _SECRET_BYTES if file.secret else _CONFIG_BYTES
        if len(content) > limit:
            raise DeploymentError(
                f"stack {stack.project}, file {stack.files[number].destination}: it has "
                f"{len(content)} bytes, and Docker takes {limit} of a "
                f"{'secret' if file.secret else 'config'}: make it smaller, or put it in the image"
            )
        salt = f"{stack.project}/{number}".encode()
        digest = hashlib.pbkdf2_hmac("sha256", content, salt, _ROUNDS if file.secret else 1).hex()
        name = f"{swarm_name(stack, number)}-{digest[:16]}"
        named.append(SwarmFile(name, content, file.secret))
    return tuple(named)


def swarm_file(stack: Deployment, placed_files: Sequence[SwarmFile]) -> str:
    """The compose file as given to a swarm: with the stack's files as secrets and configs.

    A service that publishes no port and keeps no data is updated with the new task first
    (`order: start-first`), unless it says otherwise.

    Raises:
        DeploymentError: the compose file cannot be used.
    """
    text = stack.compose_file.read_text(encoding="utf-8")
    try:
        data = document.parse(text)
    except ComposeFileError as error:
        raise DeploymentError(f"{stack.compose_file}: {error}") from None
    data["services"] = {
        name: _in_swarm(service, stack, placed_files) for name, service in data["services"].items()
    }
    for file in placed_files:
        others = data.get(file.kind) or {}
        data[file.kind] = {**others, file.name: {"external": True, "name": file.name}}
    rendered: str = yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True
    )
    return rendered


def _in_swarm(
    service: Mapping[str, Any], stack: Deployment, placed_files: Sequence[SwarmFile]
) -> dict[str, Any]:
    written = dict(service)
    for file, declared in zip(placed_files, stack.files, strict=True):
        entry: dict[str, Any] = {"source": file.name, "target": declared.destination}
        if file.secret:
            entry["mode"] = 0o400
        written[file.kind] = [*(written.get(file.kind) or ()), entry]
    if not service.get("ports") and not service.get("volumes"):
        deploy = dict(service.get("deploy") or {})
        deploy["update_config"] = {"order": "start-first", **(deploy.get("update_config") or {})}
        written["deploy"] = deploy
    return written


@lru_cache(maxsize=32)  # a site is checked once for each group of hosts
def _mounted(text: str, mounts: tuple[str, ...], digest: str) -> str:
    from phoenix.compose.rewrite import with_mounts  # ruamel.yaml, for stacks with files alone

    return with_mounts(text, mounts, (FILES_LABEL, digest))


def _mounts(stack: Deployment) -> tuple[str, ...]:
    return tuple(
        f"{FILES}/{stack.project}/{number}:{file.destination}:ro"
        for number, file in enumerate(stack.files)
    )


def images(stack: Deployment, values: Mapping[str, str | SecretStr]) -> tuple[str, ...]:
    """References of the stack's images, variables filled in.

    Raises:
        DeploymentError: a compose file that cannot be used, or an image whose reference has a
            variable without a value.
    """
    plain_values = {
        n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in values.items()
    }
    try:
        services = document.read(stack.compose_file.read_text(encoding="utf-8"))["services"]
    except ComposeFileError as error:
        raise DeploymentError(f"{stack.compose_file}: {error}") from None
    references: dict[str, None] = {}
    for name, service in services.items():
        if "image" not in service:
            continue
        place = f"{stack.compose_file}: services.{name}.image"
        try:
            reference, unset = interpolate(service["image"], plain_values)
        except InterpolationError as error:
            raise DeploymentError(f"{place}: {error}") from None
        if unset:
            raise DeploymentError(f"{place}: no value for {', '.join(unset)}")
        if fault := image_reference.fault(reference):
            raise DeploymentError(f"{place}: {fault[0]}: {fault[1]}")
        references[reference] = None
    return tuple(references)
