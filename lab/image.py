"""The images: Debian 13 from a registry where one answers, else from Debian's archive.

Debian 12 too, for hosts that PHOENIX_LAB_DEBIAN_12 names. All are tagged by a hash of their
recipe, so that a second `up` builds nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests
from docker import DockerClient, from_env  # type: ignore[import-untyped]
from docker.errors import APIError, DockerException, ImageNotFound  # type: ignore[import-untyped]

from lab import apt
from lab.progress import say, timed
from lab.settings import LabError

RELEASE, OLDER = "trixie", "bookworm"
PUBLIC_IMAGE = f"debian:{RELEASE}"
GUEST = Path(__file__).resolve().parent / "guest"
# Seconds of silence from a registry after which the lab builds its own root file system.
PULL_TIMEOUT = 20


@dataclass(frozen=True)
class Images:
    """Image tags: `base` boots a guest, `client` only waits for commands, `runtime` is for stacks.

    `older` boots a guest of Debian 12; empty where nobody asked for it.
    """

    base: str
    client: str
    runtime: str
    older: str = ""


def ensure(client: DockerClient, *, older: bool = False) -> Images:
    """Return the images, building absent ones.

    Args:
        client: a connected Docker client.
        older: that of Debian 12 as well.

    Raises:
        LabError: with the build's last lines.
    """
    context = build_context(apt.files())
    digest = hashlib.sha256(context).hexdigest()[:16]
    targets = ("base", "client", "runtime")
    images = Images(*(f"phoenix-lab-{target}:{digest}" for target in targets))
    for tag, target in zip((images.base, images.client, images.runtime), targets, strict=True):
        if not exists(client, tag):
            source = rootfs(client)
            with timed(f"image {tag}"):
                build(client, context, tag, target, source)
    return replace(images, older=_older(client)) if older else images


def _older(client: DockerClient) -> str:
    context = build_context(apt.files(OLDER))
    tag = f"phoenix-lab-{OLDER}:{hashlib.sha256(context).hexdigest()[:16]}"
    if not exists(client, tag):
        source = rootfs(client, OLDER)
        with timed(f"image {tag}"):
            build(client, context, tag, "base", source)
    return tag


def exists(client: DockerClient, tag: str) -> bool:
    """Whether the engine holds an image of that tag."""
    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


def build_context(apt_files: dict[str, bytes]) -> bytes:
    """The Docker build context as a tar archive: equal input gives equal bytes, so it hashes.

    Args:
        apt_files: absolute path in the image -> content.
    """
    members = {"Dockerfile": ((GUEST / "Dockerfile").read_bytes(), 0o644)}
    for path in sorted((GUEST / "files").rglob("*")):
        if path.is_file():
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            members[str(path.relative_to(GUEST))] = (path.read_bytes(), mode)
    # COPY refuses an empty source, and most machines need no apt file.
    members["apt/etc/apt/apt.conf.d/80phoenix-lab"] = (b"// Settings of the lab's machine\n", 0o644)
    for name, content in apt_files.items():
        members[f"apt{name}"] = (content, 0o644)
    return pack(members)


def pack(members: dict[str, tuple[bytes, int]]) -> bytes:
    """A tar archive of path -> (content, mode), owned by root, without times.

    A mode of stat.S_IFLNK makes a symbolic link, whose target the content is.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (content, mode) in sorted(members.items()):
            entry = tarfile.TarInfo(name.lstrip("/"))
            if stat.S_ISLNK(mode):
                entry.type, entry.linkname = tarfile.SYMTYPE, content.decode()
                content = b""
            entry.size, entry.mode = len(content), stat.S_IMODE(mode)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def rootfs(client: DockerClient, release: str = RELEASE) -> str:
    """A plain Debian image: the public one, pulled or present, else one built by mmdebstrap."""
    public, own = f"debian:{release}", f"phoenix-lab-rootfs:{release}"
    for tag in (public, own):
        if exists(client, tag):
            return tag
    if os.environ.get("PHOENIX_LAB_PULL") != "0" and _pull(release):
        return public
    with timed(f"root file system of Debian {release} from its archive (mmdebstrap)"):
        _bootstrap(client, own, release)
    return own


def _pull(release: str) -> bool:
    say(f"pulling debian:{release} (PHOENIX_LAB_PULL=0 skips this)")
    client = from_env(timeout=PULL_TIMEOUT)
    try:
        for event in client.api.pull("debian", tag=release, stream=True, decode=True):
            if "error" in event:
                raise DockerException(event["error"])
    except (DockerException, requests.RequestException) as error:
        say(f"no registry answers, so the image is built here: {str(error)[:160]}")
        return False
    finally:
        client.close()
    return True


def _bootstrap(client: DockerClient, tag: str, release: str) -> None:
    with tempfile.TemporaryDirectory(prefix="phoenix-lab-") as directory:
        archive = Path(directory) / "rootfs.tar"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", release, str(archive)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise LabError(
                f"mmdebstrap could not make a Debian {release}; its last lines:\n"
                + "\n".join(result.stderr.splitlines()[-8:])
                + "\nCheck that `apt-get update` works on this machine."
            )
        name, _, version = tag.partition(":")
        client.api.import_image_from_file(str(archive), repository=name, tag=version)


def build(client: DockerClient, context: bytes, tag: str, target: str, source: str) -> None:
    """Build one stage of a context as `tag`, on the image `source`.

    Raises:
        LabError: with the build's last lines.
    """
    lines: list[str] = []
    arguments = {"ROOTFS": source} | apt.proxy_variables()
    events: Any = client.api.build(
        fileobj=io.BytesIO(context),
        custom_context=True,
        tag=tag,
        target=target,
        buildargs=arguments,
        rm=True,
        forcerm=True,
        decode=True,
    )
    try:
        for event in events:
            lines += event.get("stream", "").splitlines()
            if "error" in event:
                raise LabError(
                    f"building {tag} failed: {event['error']}\n" + "\n".join(lines[-15:])
                )
    except APIError as error:
        raise LabError(f"building {tag} failed: {error.explanation}") from None
