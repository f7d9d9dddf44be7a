"""References of container images: repository, tag and digest.

Reference: https://github.com/distribution/reference (reference.go, the grammar at its beginning).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from phoenix.declaration.value_types import HOST_PORT

_PATH_WORD = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REPOSITORY = rf"(?:{HOST_PORT}/)?{_PATH_WORD}(?:/{_PATH_WORD})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
PATTERN = rf"{_REPOSITORY}(?::{_TAG})?(?:@{_DIGEST})?"
"""The form of a reference, as a regular expression."""
_REFERENCE = re.compile(
    rf"(?P<repository>{_REPOSITORY})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?\Z"
)
_HUB = ("docker.io/", "index.docker.io/")


@dataclass(frozen=True)
class Image:
    """One reference. `tag` and `digest` are empty where it has none.

    With both, Docker fetches by the digest alone; the tag is for people and `phoenix outdated`.
    """

    repository: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """The repository as everybody calls it: without Docker Hub's own names."""
        name = self.repository
        for prefix in _HUB:
            name = name.removeprefix(prefix)
        return name.removeprefix("library/")

    @property
    def is_pinned(self) -> bool:
        """Whether it names a version or a digest, so that each pull brings the same."""
        return bool(self.digest) or self.tag not in ("", "latest")


def parse(reference: str) -> Image | None:
    """A reference in its parts; None where it is none, such as one with half a digest."""
    match = _REFERENCE.match(reference)
    if match is None:
        return None
    return Image(match["repository"], match["tag"] or "", match["digest"] or "")


def fault(reference: str) -> tuple[str, str] | None:
    """Why Docker takes no such reference, and the fix; None where it does."""
    if parse(reference) is not None:
        return None
    if "@" not in reference:
        return (
            f"{reference[:160]!r} is not a name of an image: Docker refuses it",
            "write [REGISTRY/]NAME:VERSION, the name in lower case",
        )
    return (
        f"{reference[:160]!r} has no SHA-256 digest behind its @",
        "write NAME:TAG@sha256:DIGEST as `docker buildx imagetools inspect NAME:TAG` shows it",
    )
