"""Pinned downloads: what is fetched, from where, and the digest that proves it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from phoenix.declaration.pins import ARTIFACTS, VERSION
from phoenix.declaration.settings import ImageArchive
from phoenix.declaration.value_types import FETCH_URL, SHA256
from phoenix.site.findings import SettingError

Pins = Mapping[str, Mapping[str, Mapping[str, object]]]
"""The setting `artifacts`: name -> arch (or "any") -> `phoenix.declaration.settings.Pin`."""


class ArtifactError(SettingError):
    """A pin that cannot be used."""


@dataclass(frozen=True)
class Artifact:
    """One program from an upstream release.

    `url` is fetched by the guest (https, or file for something that is already there);
    `member` is the program's path in a tar archive, empty when the URL is the program itself.
    `sha256` proves the download before it is unpacked, `binary_sha256` the program taken out of it
    before it is installed; one must be given.
    """

    name: str
    version: str
    url: str
    sha256: str = ""
    binary_sha256: str = ""
    member: str = ""

    @property
    def directory(self) -> str:
        """Where this very artifact is unpacked on a guest."""
        return f"/opt/phoenix/{self.name}/{self.version}-{(self.sha256 or self.binary_sha256)[:12]}"

    @property
    def program(self) -> str:
        """The path under which the program is run."""
        return f"/usr/local/bin/{self.name}"


def pinned(name: str, pins: Pins, arch: str) -> Artifact:
    """The artifact `name` for `arch` ("amd64" or "arm64") out of the setting `artifacts`.

    Args:
        pins: name -> arch (or "any") -> version, url, sha256, binary_sha256, member.

    Raises:
        ArtifactError: the pin is absent or incomplete; says which key and how to fix it.
    """
    where = f"setting artifacts[{name!r}]"
    if name not in pins:
        raise ArtifactError(f"{where} is missing: add its version, url and sha256")
    by_arch = pins[name]
    pin = by_arch.get(arch) or by_arch.get("any")
    if pin is None:
        raise ArtifactError(f"{where}[{arch!r}] is missing: there are pins for {sorted(by_arch)}")
    where = f"{where}[{arch!r}]"
    try:
        artifact = Artifact(name, **{key: str(value) for key, value in pin.items()})
    except TypeError as error:
        raise ArtifactError(f"{where}: {error}") from error
    if not VERSION.takes(artifact.version):
        raise ArtifactError(f"{where}: version {artifact.version!r} is not a version number")
    if not FETCH_URL.takes(artifact.url):
        raise ArtifactError(f"{where}: url {artifact.url!r} must start with https:// or file:///")
    digests = [d for d in (artifact.sha256, artifact.binary_sha256) if d]
    if not digests or not all(map(SHA256.takes, digests)):
        raise ArtifactError(f"{where}: give sha256 (of the download) as 64 hex digits")
    for other in (*by_arch.values(), *ARTIFACTS.get(name, {}).values()):
        version = str(other.get("version", ""))
        for key in ("sha256", "binary_sha256"):
            if other.get(key) in digests and version != artifact.version:
                raise ArtifactError(
                    f"{where}: its {key} is that of version {version}, so {artifact.version} could "
                    f"not be installed: write the digest of {artifact.version}"
                )
    return artifact


def check_archive(reference: str, archive: ImageArchive) -> None:
    """Refuse an entry of the setting `image_archives` that proves nothing.

    Raises:
        ArtifactError: it has no url or no sha256, or its reference has a digest: what `docker load`
            brings has none, so Docker would not find it by that.
    """
    if "@" in reference:
        raise ArtifactError(
            f"setting image_archives[{reference!r}]: an image out of an archive has no digest of a "
            f"registry: name it {reference.partition('@')[0]!r} here and where it is used; the "
            "archive's sha256 is its proof"
        )
    if not (archive.get("url") and archive.get("sha256")):
        raise ArtifactError(
            f"setting image_archives[{reference!r}]: give url and sha256 of the archive"
        )


def version_tuple(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison: "0.30.2-rc1" gives (0, 30, 2)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
