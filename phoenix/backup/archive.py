"""A backup before it is encrypted: a tar of parts, and a manifest with their digests."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from ipaddress import IPv4Network
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from phoenix.site.findings import SettingError
from phoenix.site.model import Site

PARTS = {
    "ca": "the CA's keys, certificates and database",
    "portainer": "Portainer's data",
    "secrets": "the generated secrets",
}
"""The parts of a backup, each with its title."""
ISSUED: Literal["issued"] = "issued"
_TITLES = PARTS | {ISSUED: "what the CA has issued, to be read: nothing to restore"}
_MANIFEST = "manifest.json"


class BackupError(SettingError):
    """A backup cannot be created, read or used; the message holds no secret."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartEntry(_Model):
    """One part as the manifest has it; `size` in bytes, `program` with its version."""

    name: Literal["ca", "portainer", "secrets", "issued"]
    what: str
    host: str
    program: str
    sha256: str
    size: int


class Manifest(_Model):
    """The description of a backup. `revision` is the project's git commit, empty if unknown."""

    format: Literal[1]
    domain: str
    network: IPv4Network
    created: AwareDatetime
    phoenix: str
    revision: str
    parts: tuple[PartEntry, ...]

    def entry(self, name: str) -> PartEntry | None:
        """The entry of one part, if the backup has it."""
        return next((part for part in self.parts if part.name == name), None)


@dataclass(frozen=True)
class Part:
    """One part to be put into a backup: its name, where it is from, and the data themselves."""

    name: Literal["ca", "portainer", "secrets", "issued"]
    host: str
    program: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Backup:
    """A manifest and the parts that it describes."""

    manifest: Manifest
    parts: Mapping[str, bytes] = field(repr=False)


def make(site: Site, parts: Iterable[Part], *, created: datetime, revision: str = "") -> Backup:
    """Put parts together and describe them."""
    all_parts = tuple(parts)
    try:
        release = version("phoenix")
    except PackageNotFoundError:  # run from a checkout that is not installed
        release = "unknown"
    entries = tuple(
        PartEntry(
            name=part.name,
            what=_TITLES[part.name],
            host=part.host,
            program=part.program,
            sha256=hashlib.sha256(part.data).hexdigest(),
            size=len(part.data),
        )
        for part in all_parts
    )
    manifest = Manifest(
        format=1,
        domain=site.domain,
        network=site.network,
        created=created.replace(microsecond=0),
        phoenix=release,
        revision=revision,
        parts=entries,
    )
    return Backup(manifest, {part.name: part.data for part in all_parts})


def pack(backup: Backup) -> bytes:
    """The backup as an uncompressed tar archive (its parts are compressed), manifest first."""
    buffer = io.BytesIO()
    members = {_MANIFEST: backup.manifest.model_dump_json(indent=2).encode()}
    members |= {f"parts/{name}": data for name, data in backup.parts.items()}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            info.mtime = int(backup.manifest.created.timestamp())
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(data: bytes) -> Backup:
    """Read what `pack` wrote; every part must be what the manifest says.

    Raises:
        BackupError: not a backup, of a newer format, incomplete or damaged.
    """
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for info in tar:
                content = tar.extractfile(info) if info.isreg() else None
                if content is None or info.name in members:
                    raise BackupError(f"the backup is damaged: unexpected entry {info.name!r}")
                members[info.name] = content.read()
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"this is not a backup of Phoenix: {error}") from None
    try:
        manifest = Manifest.model_validate_json(members.pop(_MANIFEST, b""))
    except ValidationError as error:
        faults = ", ".join(
            ".".join(map(str, error_at["loc"])) or "manifest" for error_at in error.errors()
        )
        raise BackupError(
            f"the backup's manifest cannot be used ({faults}): it is not of this format; "
            "restore it with the version of Phoenix that made it"
        ) from None
    parts = {name.removeprefix("parts/"): content for name, content in members.items()}
    if set(parts) != {entry.name for entry in manifest.parts}:
        raise BackupError("the backup is damaged: its parts are not those of its manifest")
    for entry in manifest.parts:
        if hashlib.sha256(parts[entry.name]).hexdigest() != entry.sha256:
            raise BackupError(f"the backup is damaged: part {entry.name} has another sha256")
    return Backup(manifest, parts)
