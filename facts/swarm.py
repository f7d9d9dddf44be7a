"""The Docker Swarm that a host is in, as it tells it."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.components.swarm.cluster import Swarm, SwarmError, read
from phoenix.shell import Script

# A node is pending from the start of its Docker until it has met a manager (moby's LocalNodeState):
# a few seconds, or for good where none is there.
# A manager without enough others says so as an error, and lists no nodes.
_SCRIPT = Script(
    "swarm",
    """command -v docker >/dev/null || { echo absent; exit 0; }
for look in $(seq 20); do
 info=$(timeout 60 docker info --format '{{json .Swarm}}' 2>&1) ||
  { printf 'silent %s\\n' "$(printf '%s' "$info" | tail -n 1)"; exit 0; }
 case $info in *'"LocalNodeState":"pending"'*) sleep 1 ;; *) break ;; esac
done
printf 'info %s\\n' "$(printf '%s' "$info" | grep '^{')"
case $info in *'"ControlAvailable":true'*'"Error":""'*) ;; *) exit 0 ;; esac
ids=$(timeout 20 docker node ls --quiet 2>/dev/null) && [ -n "$ids" ] || exit 0
timeout 20 docker node inspect --format '{{json .}}' $ids 2>/dev/null | sed 's/^/node /'
# What goes between the list and the look is asked for again; a Docker that fails says nothing.
for look in 1 2 3; do
 ids=$(timeout 20 docker network ls --quiet --no-trunc --filter driver=overlay 2>/dev/null) ||
  continue
 [ -n "$ids" ] || exit 0
 all=$(timeout 20 docker network inspect --format '{{json .}}' $ids 2>/dev/null) || continue
 printf '%s\\n' "$all" | sed 's/^/network /'
 exit 0
done
echo "Docker does not tell the swarm's networks"; exit 1
""",
)


class SwarmNode(HostFact[Swarm]):
    """What a host tells of its swarm; of a manager, all nodes and overlay networks."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT))

    @override
    def parse(self, lines: list[str]) -> Swarm:
        """What the script says.

        Raises:
            FactProcessError: it is of another form.
        """
        names = [line for line in lines if line]
        if names in ([], ["absent"]):
            return Swarm()
        word, _, rest = names[0].partition(" ")
        if word == "silent":
            return Swarm(state="silent", error=rest)
        rows: dict[str, list[str]] = {"node": [], "network": []}
        for line in names[1:]:
            kind, _, data = line.partition(" ")
            if word != "info" or kind not in rows:
                raise unexpected(line)
            rows[kind].append(data)
        if word != "info":
            raise unexpected(names[0])
        try:
            return read(rest, rows["node"], rows["network"])
        except SwarmError as error:
            raise FactProcessError(str(error)) from None
