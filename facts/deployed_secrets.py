"""Whether a guest shows that it was given secrets; no secret is read."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.components.deployed_secrets import Holdings
from phoenix.shell import Script

_LABEL = "com.docker.compose.project"
_HELD = Script(
    "held-secrets",
    """label=$1; shift
for path; do [ ! -e "$path" ] || printf 'path %s\\n' "$path"; done
command -v docker >/dev/null 2>&1 || exit 0
docker ps --all --filter "label=$label" --format "project {{.Label \\"$label\\"}}" || exit
# Of a manager alone, even of one among too few; a secret's name ends with a digest of its content.
is=$(docker info --format '{{.Swarm.ControlAvailable}}') || exit
[ "$is" = true ] || exit 0
docker stack ls --format 'project {{.Name}}' &&
 names=$(docker secret ls --filter label=phoenix.stack --format 'path swarm:{{.Name}}') ||
 { echo "its swarm does not tell its stacks and secrets"; exit 1; }
printf '%s\\n' "$names" | sed 's/-[^-]*$//'""",
)


class DeployedSecrets(HostFact[Holdings]):
    """Which of these files are there, and which stacks run, of compose and of a swarm.

    An engine that is installed and does not answer makes the answer unknown, not empty.
    """

    @override
    def command(self, paths: Sequence[str]) -> StringCommand:
        return marked(script(_HELD, _LABEL, *paths), seconds=30)

    @override
    def parse(self, lines: list[str]) -> Holdings:
        values: dict[str, dict[str, None]] = {"path": {}, "project": {}}
        for line in filter(None, lines):
            kind, _, value = line.partition(" ")
            if kind not in values:
                raise unexpected(line)
            values[kind][value] = None
        return Holdings(tuple(values["path"]), tuple(values["project"]))
