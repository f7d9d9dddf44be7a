"""What a compose file says that the site must know: variables, published ports, images, volumes.

Rules: the Compose specification, "ports"; `phoenix.compose` reads YAML and variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Literal, NamedTuple

from phoenix.compose import document, mounts
from phoenix.compose.interpolation import (
    InterpolationError,
    InvalidTemplateError,
    RequiredVariableError,
    interpolate,
    names,
)
from phoenix.compose.scalars import text_of
from phoenix.declaration import image_reference
from phoenix.declaration.json_errors import join, read_text
from phoenix.site.findings import Report
from phoenix.site.model import PublishedPort

_PORTAINER = ("portainer/portainer-ce", "portainer/portainer-ee", "portainer/portainer")
_SHORT_PORT = re.compile(
    r"(?:(?P<address>\d+(?:\.\d+){3}|\[[\da-fA-F:]+\]):(?=.*:))?"
    r"(?:(?P<host>\d+(?:-\d+)?)?:)?(?P<container>\d+(?:-\d+)?)(?:/(?P<proto>tcp|udp|sctp))?\Z",
    re.ASCII | re.IGNORECASE,
)
OF_THE_DEPLOYER = frozenset(
    ("AGENT_SECRET", "DOCKER_CONFIG", "DOCKER_HOST", "HOME", "HOSTNAME", "PATH")
)
"""Variables of the process that deploys stacks: compose takes them from there, before those of a
stack (Compose documentation, "Environment variables precedence"). AGENT_SECRET opens every host."""
OF_COMPOSE = re.compile(
    r"COMPOSE_[A-Z_]+"
    r"|DOCKER_(?:API_VERSION|CERT_PATH|CONTENT_TRUST\w*|CONTEXT|DEFAULT_PLATFORM|TLS\w*)"
)
"""Variables that steer Compose and Docker's client themselves, which read them from a stack's
variables too (Docker's documentation, "Pre-defined environment variables in Docker Compose" and
"docker", "Environment variables")."""
OTHER_NAMES = ("docker-compose.yaml", "compose.yml", "compose.yaml")
"""Names of compose files that Compose finds by itself, and Phoenix does not."""
_ALL_ADDRESSES = IPv4Address("0.0.0.0")  # noqa: S104 - what a file may say, not a socket


_ONE_FILE = "what another compose file says, and a stack has one file"
_MERGE_TAGS = {
    "!reset": (
        (
            f"!reset takes away {_ONE_FILE}: Compose leaves this key out, and keeps what a merge "
            "key (<<) gives"
        ),
        "remove the key; or remove only the tag, if you want its value",
    ),
    "!override": (
        f"!override replaces {_ONE_FILE}: its value counts as without it",
        "remove the tag",
    ),
}


def read(file: Path, label: str, report: Report) -> dict[str, Any] | None:
    """Read a compose file of the shape that `phoenix.compose.document.read` promises.

    Args:
        file: where it is.
        label: what findings call it.
        report: takes each reason why it cannot be used.

    Returns:
        Its content, no variable filled in; None if it cannot be used.
    """
    other = next((name for name in OTHER_NAMES if (file.parent / name).is_file()), None)
    fix = f"call {other} {file.name}" if other else "add the stack's compose file"
    text = read_text(file, label, fix, report)
    for path, tag in document.merge_tags(text) if text is not None else ():
        report.unread(label, path, *_MERGE_TAGS[tag])
    try:
        return None if text is None else document.read(text)
    except document.ComposeFileError as error:
        for problem in error.problems:
            report.error(label, problem.path, problem.message, problem.fix)
    return None


def check_variables(
    compose: Mapping[str, Any], values: Mapping[str, str], label: str, declared: str, report: Report
) -> None:
    """Check every expression of a compose file against the variables that a stack declares.

    Args:
        compose: the file's content.
        values: the declared variables; a secret's has any text that is not empty.
        label: what findings call the file.
        declared: where the variables are declared, for the fix.
        report: takes a warning for each variable without a value, an error for that of an image,
            and an error for each expression that Compose would refuse.
    """

    for path, text in _texts(compose, ""):
        try:
            unset = interpolate(text, values).unset
        except InvalidTemplateError as error:
            report.error(label, path, str(error), "write ${NAME}, or $$ for a literal $")
        except RequiredVariableError as error:
            report.error(label, path, str(error), f"declare it under variables in {declared}")
        else:
            is_image = re.fullmatch(r"services\..*\.image", path)
            for name in dict.fromkeys(unset):
                if name in OF_THE_DEPLOYER:
                    continue  # told below
                (report.error if is_image else report.warn)(
                    label,
                    path,
                    f"variable {name} has no value",
                    f"declare it under variables in {declared}, or give it a default",
                )


def check_deployers_variables(
    compose: Mapping[str, Any], label: str, declared: str, report: Report
) -> None:
    """Refuse a compose file that takes a variable of what deploys it (`OF_THE_DEPLOYER`).

    Args:
        compose: the file's content.
        label: what findings call the file.
        declared: where the stack's variables are declared, for the fix.
        report: takes the errors.
    """
    in_expressions = [(path, name) for path, text in _texts(compose, "") for name in names(text)]
    for path, name in dict.fromkeys((*in_expressions, *passed_on(compose))):
        if name in OF_THE_DEPLOYER:
            report.error(
                label,
                path,
                f"variable {name} is of the server that deploys the stack, and its value would "
                "arrive",
                f"declare a variable of another name in {declared}, or write $${name} for the "
                "container's own",
            )


def passed_on(compose: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Variables that are named without a value, and so are taken from the process, with paths.

    Compose specification, "environment"; "secrets" and "configs", `environment`.
    """
    for service, body in compose["services"].items():
        environment = body.get("environment") or ()
        path = join("services", service) + ".environment"
        if isinstance(environment, Mapping):
            yield from (
                (join(path, name), str(name)) for name, v in environment.items() if v is None
            )
        elif isinstance(environment, list):
            for position, line in enumerate(environment):
                if isinstance(line, str) and "=" not in line:
                    yield join(path, position), str(line)
    for kind in ("secrets", "configs"):
        top = compose.get(kind)
        for name, body in top.items() if isinstance(top, Mapping) else ():
            if isinstance(body, Mapping) and body.get("environment"):
                yield join(join(kind, name), "environment"), str(body["environment"])


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every scalar with a `$`, and its path."""
    if isinstance(value, str):
        if "$" in value:
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, join(path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _texts(item, join(path, position))


def filled(value: object, values: Mapping[str, str]) -> str | None:
    """A scalar with its variables filled in; None where `check_variables` reports it."""
    try:
        text, unset = interpolate(text_of(value), values)
    except InterpolationError:
        return None
    return None if unset else text


def named(compose: Mapping[str, Any]) -> frozenset[str]:
    """The variables that expressions of a compose file name; the file is read once."""
    return frozenset(name for _, text in _texts(compose, "") for name in names(text))


def check_named(
    compose: Mapping[str, Any], names: Sequence[str], label: str, where: str, report: Report
) -> None:
    """Tell of declared variables that a compose file never names: their values reach nothing.

    Args:
        compose: the file's content.
        names: of the declared variables, in order.
        label: what findings call the file that declares them.
        where: the path of the list there.
        report: takes a warning for each.
    """
    reached = named(compose).union(name for _, name in passed_on(compose))
    for position, name in enumerate(names):
        if name not in reached:
            report.warn(
                *(label, f"{where}[{position}]"),
                f"the compose file never names the variable {name}, so its value reaches nothing",
                f"write ${{{name}}} where it belongs, or remove the variable",
            )


def network_without_ports(service: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """The network mode of a service without a network of its own; it cannot publish ports.

    Empty for every other service.
    """
    mode = filled(service.get("network_mode", ""), values) or ""
    return mode if re.match(r"(?:host|none)\Z|(?:service|container):", mode) else ""


def images(compose: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, str]:
    """The image of each service; empty where it names none that is known here."""
    return {
        name: filled(service.get("image", ""), values) or ""
        for name, service in compose["services"].items()
    }


def is_portainer(image: str) -> bool:
    """Whether an image is that of Portainer's server, in any edition and from any registry."""
    parsed = image_reference.parse(image)
    return parsed is not None and "/".join(parsed.repository.split("/")[-2:]) in _PORTAINER


def check_habits(
    compose: Mapping[str, Any], values: Mapping[str, str], label: str, report: Report
) -> None:
    """Check images' references; warn of unpinned ones, and of volumes that must exist already."""
    for name, image in images(compose, values).items():
        parsed = image_reference.parse(image)
        fault = image_reference.fault(image) if image else None
        if fault is not None:
            report.error(label, f"services.{name}.image", *fault)
        elif image and not (parsed and parsed.is_pinned):
            report.warn(
                label,
                f"services.{name}.image",
                f"image {image!r} is not pinned: each pull may bring another one",
                "name a version, or a digest (@sha256:...)",
            )
    for name, volume in (compose.get("volumes") or {}).items():
        if isinstance(volume, dict) and volume.get("external"):
            report.warn(
                label,
                f"volumes.{name}",
                "is external: it must exist before the stack is deployed",
                "let compose own a named volume: remove `external`",
            )


class DockerName(NamedTuple):
    """A name in Docker that a compose file gives a container, a network or a volume."""

    kind: Literal["container", "network", "volume"]
    name: str
    path: str


def docker_names(
    compose: Mapping[str, Any], values: Mapping[str, str], project: str
) -> Iterator[DockerName]:
    """What the containers, volumes and networks of a compose file are called in Docker.

    (The Compose specification: `container_name`; `name` and `external` of volumes and networks.)
    A network that is another's, and says so by `external`, is left out.

    Args:
        compose: the file's content.
        values: the declared variables.
        project: the stack's name in Docker, in front of names that the file does not give.
    """
    for service, body in compose["services"].items():
        if name := filled(body.get("container_name") or "", values):
            yield DockerName("container", name, f"services.{service}.container_name")
        elif document.is_started(body, values):
            yield DockerName("container", f"{project}-{service}-1", f"services.{service}")
    for kind in ("volume", "network"):
        for key, body in (compose.get(f"{kind}s") or {}).items():
            if name := _docker_name(key, body, values, project, kind):
                yield DockerName(kind, name, f"{kind}s.{key}")


def _docker_name(
    key: str, body: Any, values: Mapping[str, str], project: str, kind: str
) -> str | None:
    """The name in Docker of a volume or network; empty or None where it is not known here."""
    external = body.get("external") if isinstance(body, dict) else None
    if external and kind == "network":
        return None
    external_name = external.get("name") if isinstance(external, dict) else None
    own = body.get("name") if isinstance(body, dict) else None
    return filled(own or external_name or (key if external else f"{project}_{key}"), values)


def check_files(
    compose: Mapping[str, Any], values: Mapping[str, str], label: str, declared: str, report: Report
) -> None:
    """Refuse what a stack reads beside its compose file: only that file goes to Docker's host.

    Docker makes an empty directory where a bind mount's source is absent.

    Args:
        compose: the file's content.
        values: the declared variables.
        label: what findings call the file.
        declared: where the stack's own files are declared, for the fix.
        report: takes the errors.
    """
    ship = f"declare the file under files in {declared}: it is then on the host, and mounted"
    for path, message, fix in (
        *_files_of_the_whole(compose, ship),
        *(
            file_fault
            for name, service in compose["services"].items()
            for file_fault in _files_of_service(service, f"services.{name}", values, declared, ship)
        ),
    ):
        report.error(label, path, message, fix)


_ELSEWHERE = "other files do not reach the host"


def _files_of_the_whole(compose: Mapping[str, Any], ship: str) -> Iterator[tuple[str, str, str]]:
    """Path, message and fix of what is beside the services."""
    if "include" in compose:
        yield "include", _ELSEWHERE, "copy the included file's content into this file"
    for kind in ("configs", "secrets"):
        for name, item in (compose.get(kind) or {}).items():
            file = item.get("file") if isinstance(item, dict) else None
            if file is not None and not str(file).startswith(("/", "$")):
                message = f"the file {str(file)[:80]!r} does not reach the host"
                yield f"{kind}.{name}.file", message, ship


def _files_of_service(
    service: Mapping[str, Any], place: str, values: Mapping[str, str], declared: str, ship: str
) -> Iterator[tuple[str, str, str]]:
    """Path, message and fix of what one service reads."""
    named = f"declare its variables under variables in {declared}, and name them in `environment`"
    for key, fix in (
        ("env_file", named),
        ("label_file", "write the labels under `labels`"),
        ("build", "build the image elsewhere, and name it in `image`"),
    ):
        if service.get(key):
            yield f"{place}.{key}", "the files that it names do not reach the host", fix
    if isinstance(service.get("extends"), dict) and "file" in service["extends"]:
        yield f"{place}.extends.file", _ELSEWHERE, "copy what the service extends into this file"
    for position, mount in enumerate(service.get("volumes", ())):
        read_mount = mounts.read(mount, values)
        source = read_mount.source if read_mount and read_mount.kind == "bind" else ""
        if source and not source.startswith("/"):
            message = f"{source[:80]!r} is not on the host: Docker would mount an empty directory"
            fix = f"{ship}; for data name a volume, for a path of the host begin with /"
            yield f"{place}.volumes[{position}]", message, fix


def published(
    compose: Mapping[str, Any],
    values: Mapping[str, str],
    routed: Mapping[str, Sequence[int]],
    label: str,
    report: Report,
) -> tuple[PublishedPort, ...]:
    """The ports of the guest that the services take; one without a fixed host side is left out.

    So are those of services that `compose up` does not start: behind a profile, or scaled to zero.

    Args:
        compose: the file's content.
        values: the declared variables.
        routed: the ports to which routes lead, by service: on the host's network they are the
            ports that the service takes, and nothing else tells them.
        label: what findings call the file.
        report: takes entries that are no port mapping.
    """
    ports: list[PublishedPort] = []
    for name, service in compose["services"].items():
        if mode := network_without_ports(service, values):
            if service.get("ports"):
                report.warn(
                    label,
                    f"services.{name}.ports",
                    f"is ignored or refused by Docker: network_mode {mode} publishes nothing",
                    "remove ports, or network_mode",
                )
            if mode == "host":
                ports += [
                    PublishedPort(
                        service=name,
                        host_port=port,
                        container_port=port,
                        proto="tcp",
                    )
                    for port in dict.fromkeys(routed.get(name, ()))
                ]
            continue
        for position, entry in enumerate(service.get("ports", ())):
            path = f"services.{name}.ports[{position}]"
            parsed = _entry(name, entry, values, label, path, report)
            ports += parsed if document.is_started(service, values) else ()
    return tuple(ports)


def _entry(
    service: str, entry: Any, values: Mapping[str, str], label: str, path: str, report: Report
) -> list[PublishedPort]:
    if isinstance(entry, dict):
        if not entry.get("target"):
            report.error(label, path, "has no target: no port of the container is published",
                         "write target: and the container's port")  # fmt: skip
            return []
        keys = ("host_ip", "published", "target", "protocol")
        parts = [filled(entry.get(key), values) for key in keys]
        if None in parts:
            return []  # reported by check_variables
        address, host, container, proto = (part or "" for part in parts)
        if "[" in address or "-" in container:
            message = "Compose takes no brackets around host_ip, and no range as target"
            report.error(label, path, message, "write the address alone, and one port as target")
            return []
        address = f"[{address}]" if ":" in address else address
        text = ":".join(part for part in (address, host, container) if part) + f"/{proto or 'tcp'}"
    else:
        filled_text = filled(entry, values)
        if filled_text is None:
            return []  # reported by check_variables
        text = filled_text
    match = _SHORT_PORT.match(text)
    published_on = _address(match["address"]) if match else None
    if not match or published_on is False:
        report.error(label, path, f"{text[:80]!r} is not a port mapping", 'write "HOST:CONTAINER"')
        return []
    host_ports = _span(match["host"] or match["container"])
    container_ports = _span(match["container"])
    if not host_ports or len(container_ports) != len(host_ports) or 0 in container_ports:
        report.error(
            label,
            path,
            f"{text[:80]!r} maps ports out of range, or ranges of different lengths",
            "use ports from 1 to 65535, and ranges of one length",
        )
        return []
    if match["host"] is None:
        return []
    return [
        PublishedPort(
            service=service,
            host_port=host_port,
            container_port=container_port,
            proto=(match["proto"] or "tcp").lower(),
            address=published_on,
        )
        for host_port, container_port in zip(host_ports, container_ports, strict=True)
        if host_port
    ]


def _address(text: str | None) -> IPv4Address | IPv6Address | Literal[False] | None:
    """The address that a port is published on; None is every IPv4 one, False is no address."""
    try:
        address = ip_address(text.strip("[]")) if text else _ALL_ADDRESSES
    except ValueError:
        return False
    return None if address == _ALL_ADDRESSES else address


def _span(text: str) -> range:
    """The ports of `80` or `8000-8010`; empty if they are no ports or in the wrong order."""
    first, _, last = text.partition("-")
    start, end = (int(part) if len(part) <= 5 else 65_536 for part in (first, last or first))
    return range(start, end + 1) if end <= 65_535 else range(0)
