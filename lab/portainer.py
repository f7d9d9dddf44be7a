"""Images of the Portainer emulator: one for the server, one for the agent, used like the real ones.

Built on the lab's runtime image, no registry involved; tagged by a hash of everything that goes in.
`lab.stacks.images` makes them into an archive that a guest's own Docker loads.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from docker import DockerClient  # type: ignore[import-untyped]

from lab import image
from lab.image import exists, pack
from lab.progress import timed
from lab.settings import ROOT

_EMULATOR = ROOT / "portainer_emulator"

# Flags follow the entry point as with the real images: `docker run IMAGE --sslcert ...`. The
# deployment model is EMULATOR_MODE (sync or async), AGENT_SECRET as with the real ones.
_DOCKERFILE = """\
ARG ROOTFS
FROM $ROOTFS AS common
WORKDIR /opt/phoenix
COPY portainer_emulator portainer_emulator
ENV PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM
FROM common AS agent
EXPOSE 9001
ENTRYPOINT ["python3", "-m", "portainer_emulator", "agent"]
FROM common AS server
EXPOSE 9443
VOLUME /data
ENTRYPOINT ["python3", "-m", "portainer_emulator", "server"]
"""


@dataclass(frozen=True)
class PortainerImages:
    """Tags of both images."""

    server: str
    agent: str


def build_context() -> bytes:
    """Dockerfile and emulator as a tar archive; equal input gives equal bytes."""
    members = {"Dockerfile": (_DOCKERFILE.encode(), 0o644)}
    for path in sorted(_EMULATOR.glob("*.py")):
        members[f"{_EMULATOR.name}/{path.name}"] = (path.read_bytes(), 0o644)
    return pack(members)


def build(client: DockerClient, base_tag: str) -> PortainerImages:
    """Returns the images, building only what is absent.

    Args:
        client: a connected Docker client.
        base_tag: the lab's image with what containers run, ``phoenix-lab-runtime:...``.

    Raises:
        LabError: the build failed; with its last lines.
    """
    context = build_context()
    digest = hashlib.sha256(base_tag.encode() + b"\0" + context).hexdigest()[:16]
    images = PortainerImages(
        f"phoenix-lab-portainer:{digest}",
        f"phoenix-lab-portainer-agent:{digest}",
    )
    for tag, target in ((images.server, "server"), (images.agent, "agent")):
        if not exists(client, tag):
            with timed(f"image {tag}"):
                image.build(client, context, tag, target, base_tag)
    return images
