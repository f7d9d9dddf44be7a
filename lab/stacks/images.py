"""Images for the lab's nested Docker, as archives that a guest loads: real ones where they can be
pulled, else Portainer's emulator and small stand-ins for the stacks."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import requests
from docker import DockerClient  # type: ignore[import-untyped]
from docker.errors import APIError  # type: ignore[import-untyped]

from lab import portainer as emulator
from lab.artifacts import MOUNT, link_or_copy, sha256
from lab.image import PUBLIC_IMAGE, Images, build, exists, pack
from lab.progress import say, timed
from lab.settings import LabError, Settings, cache_directory

_DIRECTORY = Path(__file__).resolve().parent
_DOCKERFILE = """\
ARG ROOTFS
FROM $ROOTFS AS app
WORKDIR /opt/phoenix
COPY lab lab
ENV PYTHONUNBUFFERED=1
VOLUME /app/data
CMD ["sh", "-c", "exec python3 -m lab.standin app=$API_PORT"]
FROM app AS qdrant
VOLUME /qdrant/storage
EXPOSE 6333
CMD ["python3", "-m", "lab.stacks.qdrant"]
"""


@dataclass(frozen=True)
class Published:
    """What the lab offers in place of a registry.

    `references`: role (portainer, portainer-agent, qdrant, app) -> image reference.
    `archives`: reference -> URL as a guest sees it, and sha256, of the archive that holds it.
    `real`: the roles that are upstream's own images.
    """

    references: dict[str, str]
    archives: dict[str, dict[str, str]]
    real: tuple[str, ...]


def ensure(
    client: DockerClient, settings: Settings, images: Images, upstream: dict[str, str]
) -> Published:
    """Build and publish absent images.

    Args:
        upstream: role -> upstream's pinned reference, for the roles that have one.

    Raises:
        LabError: an image cannot be built or saved.
    """
    references: dict[str, str] = {}
    real = []
    # Where Debian's own image could not be pulled, no registry answers: do not ask it again.
    if exists(client, PUBLIC_IMAGE) and os.environ.get("PHOENIX_LAB_PULL") != "0":
        for role, reference in upstream.items():
            if _pulled(client, reference):
                references[role] = reference
                real.append(role)
    if "portainer" not in references or "portainer-agent" not in references:
        built = emulator.build(client, images.runtime)
        references |= {"portainer": built.server, "portainer-agent": built.agent}
        real = [role for role in real if not role.startswith("portainer")]
    context = _context()
    digest = hashlib.sha256(images.runtime.encode() + b"\0" + context).hexdigest()[:16]
    for role in ("app", "qdrant"):
        if role not in references:
            references[role] = f"phoenix-lab-{role}:{digest}"
            if not exists(client, references[role]):
                with timed(f"image {references[role]}"):
                    build(client, context, references[role], role, images.runtime)
    say(f"Portainer: {'upstream' if 'portainer' in real else 'the emulator, no registry answers'}")
    return Published(references, _publish(client, settings, references), tuple(real))


def _context() -> bytes:
    names = ("__init__.py", "standin.py", "stacks/__init__.py", "stacks/qdrant.py")
    files = {f"lab/{name}": ((_DIRECTORY.parent / name).read_bytes(), 0o644) for name in names}
    return pack({"Dockerfile": (_DOCKERFILE.encode(), 0o644), **files})


def _pulled(client: DockerClient, reference: str) -> bool:
    if exists(client, reference):
        return True
    try:
        with timed(f"pulling {reference}"):
            client.images.pull(reference)
    except APIError as error:
        say(f"{reference} cannot be pulled: {str(error)[:120]}")
        return False
    return True


def _publish(
    client: DockerClient, settings: Settings, references: dict[str, str]
) -> dict[str, dict[str, str]]:
    """One archive for each host's share of the images: layers in common are in it once."""
    shares = {
        "server": [references["portainer"]],
        "docker": [references[role] for role in ("portainer-agent", "qdrant", "app")],
    }
    archives: dict[str, dict[str, str]] = {}
    for share, share_references in shares.items():
        ids = [client.images.get(reference).id for reference in share_references]
        digest = hashlib.sha256("\n".join([*share_references, *ids]).encode()).hexdigest()[:16]
        archive = cache_directory() / f"images-{share}-{digest}.tar"
        if not archive.exists():
            with timed(f"archive {archive.name}"):
                _save(client, share_references, archive)
            for outdated in archive.parent.glob(f"images-{share}-*.tar"):
                if outdated != archive:
                    outdated.unlink()
        target = settings.directory / "artifacts" / archive.name
        link_or_copy(archive, target)
        entry = {"url": f"file://{MOUNT}/{archive.name}", "sha256": sha256(target)}
        archives |= dict.fromkeys(share_references, entry)
    return archives


def _save(client: DockerClient, references: list[str], archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    fresh = archive.with_suffix(f".{os.getpid()}")
    try:
        with fresh.open("wb") as out:
            # The SDK's own call saves one image; the API takes several, with common layers once.
            url = client.api._url("/images/get")
            with client.api.get(url, params={"names": references}, stream=True) as answer:
                answer.raise_for_status()
                for piece in answer.iter_content(1 << 20):
                    out.write(piece)
        fresh.replace(archive)
    except (requests.RequestException, OSError) as error:
        raise LabError(f"{archive} cannot be written: {error}") from None
    finally:
        fresh.unlink(missing_ok=True)
