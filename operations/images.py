"""Container images on a Docker host: pulled, or loaded from an archive without a registry."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import OperationValueError
from typing_extensions import override

from facts.command import command, script
from facts.host_fact import JoinedFact, marked
from operations.explain import log_reasons
from operations.host_state import Question, question, read
from operations.operation import operation
from phoenix.components.artifacts import ArtifactError, check_archive
from phoenix.declaration.settings import ImageArchive
from phoenix.shell import Script

_STATE = Script(
    "images",
    # Most often all are there: Docker is asked for each alone where it is not so.
    """if docker image inspect -f ok -- "$@" >/dev/null 2>&1; then printf '%s\\n' "$@"; exit; fi
for i; do docker image inspect -f ok -- "$i" >/dev/null 2>&1 && echo "$i"; done
:""",
)

_LOAD = Script(
    "load",
    """set -eu
url=$1 sha=$2 image=$3
t=$(mktemp); trap 'rm -f "$t"' EXIT
curl -fsSL --retry 3 --connect-timeout 15 --max-time 900 -o "$t" "$url"
echo "$sha  $t" | sha256sum --status -c - || {
 echo "phoenix: $url is not what was pinned: $(sha256sum <"$t")" >&2; exit 3; }
docker load -q -i "$t"
docker image inspect -- "$image" >/dev/null || {
 echo "phoenix: $url does not hold the image $image" >&2; exit 3; }
""",
)


class ImagesPresent(JoinedFact[set[str]]):
    """Which of the image references `images` this host's Docker has, and perhaps of others."""

    @override
    def command(self, images: Iterable[str]) -> StringCommand:
        return marked(script(_STATE, *images), seconds=30)  # a Docker that hangs holds up its host

    @staticmethod
    @override
    def joined(questions: Sequence[Mapping[str, Any]]) -> StringCommand:
        every = dict.fromkeys(image for asked in questions for image in asked["images"])
        return ImagesPresent().command(every)

    @staticmethod
    @override
    def parted(lines: Sequence[str], count: int) -> list[list[str]]:
        return [list(lines)] * count

    @override
    def parse(self, lines: list[str]) -> set[str]:
        return set(lines)


def _state(references: Iterable[str]) -> Question[set[str]]:
    return question(ImagesPresent, images=tuple(dict.fromkeys(references)))


@operation(reads=lambda references, **_: [_state(references)])
def images(
    references: Iterable[str], archives: Mapping[str, ImageArchive]
) -> Generator[StringCommand, None, None]:
    """Have every image of `references`: an archive's where one is named, else the registry's.

    Args:
        references: as in a compose file, with a tag or digest.
        archives: reference -> {"url": https:// or file:///, "sha256": of the archive}, for sites
            without a registry; made by `docker save`.

    Raises:
        OperationValueError: an archive without url or sha256.
    """
    distinct = tuple(dict.fromkeys(references))
    for reference in distinct:
        archive = archives.get(reference)
        if archive is not None:
            try:
                check_archive(reference, archive)
            except ArtifactError as error:
                raise OperationValueError(str(error)) from error
    present = read(_state(references))
    missing = [reference for reference in distinct if reference not in present]
    if not missing:
        host.noop(f"{len(distinct)} images are there")
        return
    log_reasons(*(f"fetches {reference}" for reference in missing))
    for reference in missing:
        if archive := archives.get(reference):
            arguments = (archive["url"], archive["sha256"], reference)
            yield script(_LOAD, *arguments)
        else:
            yield command("docker", "pull", "--quiet", "--", reference)
