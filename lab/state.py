"""The state of a lab, for inventories, tests and benchmarks: `.lab/NAME/lab.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypedDict

from lab.settings import LabError, Settings, from_environment

FILE = "lab.json"


class Artifact(TypedDict):
    """A program that the lab offers its hosts; `sha256` is the file's, in hex."""

    version: str
    url: str
    sha256: str


@dataclass(frozen=True)
class LabState:
    """A lab that `lab up` has brought up. Addresses are IPv4, as text."""

    name: str
    subnet: IPv4Network
    hosts: dict[str, str]
    client: str
    client_address: str
    ssh_key: Path
    known_hosts: Path
    artifacts: dict[str, Artifact]
    images: dict[str, str]
    image_archives: dict[str, dict[str, str]]

    def container(self, host: str) -> str:
        """The name of a host's container."""
        return f"phoenix-{self.name}-{host}"


def load(settings: Settings | None = None) -> LabState | None:
    """Read the state of the lab that the environment names; None where it was never brought up.

    Raises:
        LabError: the file is there but damaged.
    """
    settings = settings or from_environment()
    path = settings.directory / FILE
    try:
        raw = json.loads(path.read_text())
        return LabState(
            name=raw["name"],
            subnet=IPv4Network(raw["subnet"]),
            hosts=dict(raw["hosts"]),
            client=raw["client"],
            client_address=raw["client_address"],
            ssh_key=settings.directory / raw["ssh_key"],
            known_hosts=settings.directory / raw["known_hosts"],
            artifacts=dict(raw["artifacts"]),
            images=dict(raw["images"]),
            image_archives=dict(raw["image_archives"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path} is damaged ({error!r}); run `python3 lab up` again.") from None


def save(state: LabState, settings: Settings) -> None:
    """Write the state; a reader sees the old file or the new one, never half of either."""
    path = settings.directory / FILE
    temporary = path.with_suffix(".new")
    content = {
        "name": state.name,
        "subnet": str(state.subnet),
        "hosts": state.hosts,
        "client": state.client,
        "client_address": state.client_address,
        "ssh_key": state.ssh_key.name,
        "known_hosts": state.known_hosts.name,
        "artifacts": state.artifacts,
        "images": state.images,
        "image_archives": state.image_archives,
    }
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)
