"""Compose projects, as Docker lists their containers and volumes."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import MAX_SECONDS, HostFact, marked
from phoenix.components.docker.projects import ComposeProject, ProjectsError, read
from phoenix.shell import Script

_PROJECT = "com.docker.compose.project"


def _label(name: str) -> str:
    return f'{{{{json (index .Config.Labels "{name}")}}}}'


# One JSON array a line. What a stopped container publishes is in its HostConfig alone.
_CONTAINER = (
    '["container",'
    + ",".join(
        (
            _label(_PROJECT),
            _label("com.docker.compose.service"),
            _label("com.docker.compose.project.working_dir"),
            _label("com.docker.compose.project.config_files"),
            "{{json .Name}}",
            "{{json .State.Status}}",
            '{{if .State.Health}}{{json .State.Health.Status}}{{else}}""{{end}}',
            "{{json .Created}}",
            "{{json .Config.Image}}",
            '[null{{range .Mounts}}{{if eq .Type "volume"}},{{json .}}{{end}}{{end}}]',
            "{{json .HostConfig.PortBindings}}",
            "{{json .State.ExitCode}}",
            '[null{{range .Mounts}}{{if eq .Type "bind"}},{{json .Source}}{{end}}{{end}}]',
        )
    )
    + "]"
)
_VOLUME = (
    f'["volume",{{{{json (.Label "{_PROJECT}")}}}},{{{{json .Name}}}},{{{{json .Mountpoint}}}},'
)

# What goes between the list and the look is asked for again. Without Docker there are no projects;
# a Docker that does not answer is an error.
_SCRIPT = Script(
    "containers",
    r"""
label=$1; container=$2; volume=$3; sizes=$4
command -v docker >/dev/null || exit 0
for look in 1 2 3; do
 out=; c=$(docker ps --all --quiet --filter "label=$label" 2>&1) || { echo "$c"; exit 1; }
 [ -z "$c" ] || out=$(docker inspect --format "$container" $c 2>&1) || continue
 vs=$(docker volume ls --filter "label=$label" --format "$volume" 2>&1) || { echo "$vs"; exit 1; }
 [ -z "$out" ] || printf '%s\n' "$out"
 [ -z "$vs" ] || printf '%s\n' "$vs" | while IFS= read -r line; do
  size=null
  if [ -n "$sizes" ]; then
   d=${line%\",}; d=${d##*\"}
   size=$(du -sk -- "$d" 2>/dev/null | cut -f1); : "${size:=null}"
  fi
  printf '%s%s]\n' "$line" "$size"
 done
 exit 0
done
echo "its containers change faster than they can be listed: $out"; exit 1
""",
)


class ComposeProjects(HostFact[list[ComposeProject]]):
    """Every compose project of a host, whoever deployed it; none where Docker is not installed.

    Args:
        sizes: measure the volumes that Compose made as well, which reads their directories.
    """

    @override
    def command(self, sizes: bool = False) -> StringCommand:
        arguments = (_PROJECT, _CONTAINER, _VOLUME, "sizes" if sizes else "")
        # Docker may hang; large volumes take their time.
        return marked(script(_SCRIPT, *arguments), seconds=MAX_SECONDS if sizes else 30)

    @override
    def parse(self, lines: list[str]) -> list[ComposeProject]:
        try:
            return read(lines)
        except ProjectsError as error:
            raise FactProcessError(str(error)) from None
