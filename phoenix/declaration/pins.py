"""Versions and digests of what Phoenix installs beside Debian's packages: the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from phoenix.declaration.value_types import FetchUrl, Sha256, StrictLine, TextType

VERSION = TextType(
    r"[0-9][0-9A-Za-z.+~-]*",
    "is not a version number",
    "write it as the release is called, without v in front",
    longest=100,
)
MEMBER = TextType(
    r"(?!(?:.*/)?\.{1,2}(?:/|$))(?:[A-Za-z0-9_@%+=:.][A-Za-z0-9_@%+=:.-]*"
    r"(?:/[A-Za-z0-9_@%+=:.-]+)*)?",
    "is not a path in an archive",
    "write what tar -t shows, without . and .. in it",
    longest=255,
)


class Pin(TypedDict, total=False):
    """A program of a release. One of the two digests must be given."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    version: Annotated[
        StrictLine, VERSION, Field(description="The program's version.", examples=["3.7.15"])
    ]
    url: Annotated[
        FetchUrl,
        Field(description="What each guest downloads: https://, or file:/// for what it has."),
    ]
    sha256: Annotated[
        Sha256,
        Field(description="SHA-256 of the download, 64 hex digits: proven before it is unpacked."),
    ]
    binary_sha256: Annotated[
        Sha256,
        Field(description="SHA-256 of the program in it: proven before it is installed."),
    ]
    member: Annotated[
        StrictLine,
        MEMBER,
        Field(description="Path of the program in a tar archive; leave it out for a bare program."),
    ]


_STEP_CA: Final = "https://github.com/smallstep/certificates/releases/download/v0.30.2"
_TRAEFIK: Final = "https://github.com/traefik/traefik/releases/download/v3.7.15"

ARTIFACTS: Final[Mapping[str, Mapping[str, Pin]]] = {
    "step-ca": {
        "amd64": {
            "version": "0.30.2",
            "url": f"{_STEP_CA}/step-ca_linux_0.30.2_amd64.tar.gz",
            "sha256": "126615795bafe3f2d3f890e2d628fa6e2857315fb48d0671d34b23047cc37d73",
            "member": "step-ca_0.30.2/step-ca",
        },
        "arm64": {
            "version": "0.30.2",
            "url": f"{_STEP_CA}/step-ca_linux_0.30.2_arm64.tar.gz",
            "sha256": "43f79d1b0b8cab9895dbadd46b0a014006f682a6b1341e1fadf0be31d4b9f4b4",
            "member": "step-ca_0.30.2/step-ca",
        },
    },
    "traefik": {
        "amd64": {
            "version": "3.7.15",
            "url": f"{_TRAEFIK}/traefik_v3.7.15_linux_amd64.tar.gz",
            "binary_sha256": "34bfdfa88e321ad496d829910c6145a0743eae09cdf290e3e114b137eb948e30",
            "member": "traefik",
        },
        "arm64": {
            "version": "3.7.15",
            "url": f"{_TRAEFIK}/traefik_v3.7.15_linux_arm64.tar.gz",
            "binary_sha256": "f5bfb83924e9645f74f4f89a3a186520ef5265d6d5422c011569dde93cd8c749",
            "member": "traefik",
        },
    },
}
PORTAINER_IMAGE: Final = "portainer/portainer-ce:2.39.9"
PORTAINER_AGENT_IMAGE: Final = "portainer/agent:2.39.9"
DOCKER_APT_KEY_SHA256: Final = "1500c1f56fa9e26b9b8f42452a553675796ade0807cdce11975eb98170b3a570"
