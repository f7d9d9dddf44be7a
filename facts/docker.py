"""What configures dockerd on a host, where its data are, and how it is started."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.docker.daemon_json import DAEMON, DATA_ROOT, KEPT, DaemonState
from phoenix.components.docker.remote_api import DROP_IN, ApiError, DaemonStart
from phoenix.components.docker.remote_api import parse as parse_start
from phoenix.files import text
from phoenix.shell import Script

# dockerd makes its directories when it starts for the first time, so it is asked what is in them.
_SCRIPT = Script(
    "docker-daemon",
    r"""d=$1 k=$2 root=$3 b=$4; t=$(printf '\t')
if [ -f "$d" ]; then
 sed 's/^/present /' "$d"; echo
 case $(readlink "$d") in "$b"/*) ;; *)
  grep -qsxF -e "L$t$d" "$b/paths" || echo 'foreign yes' ;; esac
 r=$(tr -d '\n' <"$d" | sed -n 's/.*"data-root"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p')
 root=${r:-$root}
fi
[ ! -f "$k" ] || { sed 's/^/kept /' "$k"; echo; }
echo "data-root $root"
set -- "$root/containers" "$root/volumes" "$root"/image/*/imagedb/content/sha256
found=$(find "$@" -mindepth 1 -maxdepth 1 ! -name metadata.db ! -name backingFsBlockDev 2>/dev/null)
[ -z "$found" ] || echo 'used yes'
# Docker Engine keeps there that it is in a swarm, and empties it when it leaves.
[ ! -s "$root/swarm/docker-state.json" ] || echo 'swarm yes'
:""",
)


class DockerDaemon(HostFact[DaemonState]):
    """The daemon.json of a host, what is kept of an earlier one, and where dockerd has its data."""

    @override
    def command(self, base: str) -> StringCommand:
        return marked(script(_SCRIPT, DAEMON, KEPT, DATA_ROOT, base))

    @override
    def parse(self, lines: list[str]) -> DaemonState:
        """What the script says; a line of a file follows the word for the file."""
        texts: dict[str, list[str]] = {}
        for line in lines:
            if line:
                word, _, text = line.partition(" ")
                texts.setdefault(word, []).append(text)
        return DaemonState(
            present="\n".join(texts.get("present", ())),
            foreign="foreign" in texts,
            former="\n".join(texts.get("kept", ())),
            data_root="".join(texts.get("data-root", (DATA_ROOT,))),
            used="used" in texts,
            in_swarm="swarm" in texts,
        )


_START = Script("docker-api", text("components/docker/api.sh"))


class DockerStart(HostFact[DaemonStart]):
    """The command line of dockerd, and the TCP ports that systemd opens for it."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_START, DROP_IN))

    @override
    def parse(self, lines: list[str]) -> DaemonStart:
        try:
            return parse_start(lines)
        except ApiError as error:
            raise FactProcessError(str(error)) from error
