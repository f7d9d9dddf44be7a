"""What a compose file says that the site must know: variables, published ports, images, volumes.

Rules: the Compose specification, "Interpolation" and "ports".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from phoenix.declaration.json_source import join
from phoenix.site.findings import Report
from phoenix.site.model import PublishedPort

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)"
    r"|\{(?P<name>[A-Za-z_]\w*)(?::?(?P<operator>[-?+])(?P<word>[^}]*))?\})"
)
_SHORT_PORT = re.compile(
    r"(?:(?P<address>\d+(?:\.\d+){3}|\[[\da-fA-F:]+\]):)?"
    r"(?:(?P<host>\d+(?:-\d+)?):)?(?P<container>\d+(?:-\d+)?)(?:/(?P<proto>\w+))?\Z"
)


def read(file: Path, label: str, report: Report) -> dict[str, Any] | None:
    """Read a compose file that has `services`; None, with the reason in `report`, if it has not."""
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        report.error(label, "", f"there is no such file: {file}", "add the stack's compose file")
        return None
    except (OSError, UnicodeDecodeError) as error:
        report.error(label, "", f"cannot be read: {error}", "make it a readable UTF-8 file")
        return None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        path = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        report.error(
            label, path, f"is not valid YAML: {getattr(error, 'problem', error)}", "correct it"
        )
        return None
    services = data.get("services") if isinstance(data, dict) else None
    if not isinstance(services, dict) or not all(isinstance(s, dict) for s in services.values()):
        report.error(label, "services", "declares no services", "write services: {NAME: {...}}")
        return None
    return dict(data)


def interpolate(text: str, values: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Fill in variables; returns the text and the names that have neither value nor default."""
    missing: list[str] = []

    def fill(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["bare"] or match["name"]
        if match["operator"] == "+":
            return match["word"] if name in values else ""
        if name in values:
            return values[name]
        if match["operator"] == "-":
            return match["word"]
        missing.append(name)
        return match[0]

    return _VARIABLE.sub(fill, text), tuple(missing)


def check_variables(
    compose: Mapping[str, Any], names: Mapping[str, str], label: str, fix_file: str, report: Report
) -> None:
    """Warn of each variable that the compose file uses and no environment declares."""

    def walk(value: Any, path: str) -> None:
        if isinstance(value, str):
            for name in interpolate(value, names)[1]:
                report.warn(
                    label,
                    path,
                    f"variable {name} has no value",
                    f"declare it under variables in {fix_file}, or give it a default",
                )
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(item, join(path, str(key)))
        elif isinstance(value, list):
            for position, item in enumerate(value):
                walk(item, join(path, position))

    walk(dict(compose), "")


def is_pinned(image: str) -> bool:
    """Whether an image reference names a version or a digest, so that each pull brings the same."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return "@sha256:" in image or tag not in ("", "latest")


def check_habits(
    compose: Mapping[str, Any], values: Mapping[str, str], label: str, report: Report
) -> None:
    """Warn of images that are not pinned and of volumes that something else must have made."""
    for name, service in compose["services"].items():
        image, missing = interpolate(str(service.get("image", "")), values)
        if image and not missing and not is_pinned(image):
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


def published(
    compose: Mapping[str, Any], values: Mapping[str, str], label: str, report: Report
) -> tuple[PublishedPort, ...]:
    """All ports that the host publishes; a port without a fixed host side is left out."""
    found: list[PublishedPort] = []
    for name, service in compose["services"].items():
        for position, entry in enumerate(service.get("ports") or ()):
            path = f"services.{name}.ports[{position}]"
            found += _entry(name, entry, values, label, path, report)
    return tuple(found)


def _entry(
    service: str, entry: Any, values: Mapping[str, str], label: str, path: str, report: Report
) -> list[PublishedPort]:
    if isinstance(entry, dict):
        address = str(entry.get("host_ip") or "")
        host, container = str(entry.get("published") or ""), str(entry.get("target") or "")
        proto = str(entry.get("protocol") or "tcp")
        text = ":".join(part for part in (address, host, container) if part) + f"/{proto}"
    else:
        text = str(entry)
    text, missing = interpolate(text, values)
    if missing:
        return []  # reported by check_variables
    match = _SHORT_PORT.match(text)
    if not match:
        report.error(label, path, f"{text!r} is no port mapping", 'write "HOST:CONTAINER"')
        return []
    if match["host"] is None:
        return []
    host_ports, container_ports = _span(match["host"]), _span(match["container"])
    if len(container_ports) != len(host_ports) or max(*host_ports, *container_ports) > 65535:
        report.error(
            label,
            path,
            f"{text!r} maps ports that do not fit",
            "use ranges of one length, <= 65535",
        )
        return []
    loopback = (match["address"] or "").startswith("127.") or match["address"] == "[::1]"
    return [
        PublishedPort(
            service=service,
            host_port=host,
            container_port=container,
            proto=match["proto"] or "tcp",
            loopback=loopback,
        )
        for host, container in zip(host_ports, container_ports, strict=True)
    ]


def _span(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
