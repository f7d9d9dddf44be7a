"""Install a pinned program: fetched by the guest, verified by digest, switched by one link."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from operations.explain import log_reasons
from operations.host_state import Question, question, read
from operations.operation import operation
from phoenix.components.artifacts import Artifact
from phoenix.shell import Script

# A digest of 180 MB takes as long as all other questions to a host together. So a proof is noted
# with the file's state: each write changes its ctime, which programs cannot set. The note is kept
# in memory, for a day: decay of the disk leaves the times as they are, and a disk that another
# machine wrote to is read after a boot. Root could forge the note, but the digest beside the
# program too. A file that changed within the last two seconds is not noted: a later change may have
# the same time.
_STATE = Script(
    "artifact",
    """
[ "$(readlink "$2")" = "$1/program" ] && cd "$1" && read -r sum <SHA256SUMS &&
 file=$(stat -c '%d %i %s %y %z' program) || exit 0
is="$sum $file $1" notes=${PHOENIX_PROVEN:-/run/phoenix-proven} up= at= was=
read -r up _ </proc/uptime; up=${up%%.*} note=$notes/${2##*/}
[ ! -e "$note" ] || read -r at was <"$note"
if [ "$was" = "$is" ] && [ "$at" -le "$up" ] && [ $((up - at)) -lt 86400 ]; then
 echo installed; exit 0
fi
sha256sum --status -c SHA256SUMS || exit 0
echo installed
[ -z "$(find program -newerct '2 seconds ago')" ] && mkdir -p -m 700 "$notes" &&
 printf '%s %s\\n' "$up" "$is" >"$note.$$" && mv -f "$note.$$" "$note"
:""",
)

_INSTALL = Script(
    "artifact",
    """set -eu
umask 022; dir=$1 link=$2 url=$3 sha=$4 member=$5 binary=$6 name=${2##*/}
mkdir -p "${dir%/*}"; t=$(mktemp -d "$dir.XXXXXX"); trap 'rm -rf "$t"' EXIT
curl -fsSL --retry 3 --connect-timeout 15 --max-time 900 -o "$t/download" "$url"
prove() { echo "$1  $2" | sha256sum --status -c - && return
 echo "phoenix: $name: $url is not what was pinned: sha256 $(sha256sum <"$2" | cut -d' ' -f1)," \
  "expected $1" >&2; exit 3; }
if [ -n "$sha" ]; then prove "$sha" "$t/download"; fi
# One member is extracted as a stream, so nothing else of the archive is written. The user `nobody`
# reads an archive that is not proven yet: it can neither write here nor become root.
if [ -n "$member" ]; then
 nobody=; [ -n "$sha" ] || [ "$(id -u)" != 0 ] ||
  nobody="setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs"
 $nobody tar -xOf /dev/stdin -- "$member" <"$t/download" >"$t/program"; rm -f "$t/download"
else mv -T "$t/download" "$t/program"; fi
if [ -n "$binary" ]; then prove "$binary" "$t/program"; fi
chmod 755 "$t" "$t/program"; cd "$t"; sha256sum program >SHA256SUMS; cd /
rm -rf "$dir"; mv -T "$t" "$dir"; ln -sfn "$dir/program" "$link.phoenix-new"
mv -fT "$link.phoenix-new" "$link"
ls -dt "${dir%/*}"/*/ | tail -n +3 | while read -r old; do rm -rf "$old"; done
""",
)


class ArtifactInstalled(HostFact[bool]):
    """Whether `link` runs the program in `directory` and its digest is still the recorded one.

    What was proven within a day, since the host booted, and has not changed is not read again.
    """

    @override
    def command(self, directory: str, link: str) -> StringCommand:
        return marked(script(_STATE, directory, link))

    @override
    def parse(self, lines: list[str]) -> bool:
        return "installed" in lines


def _state(item: Artifact) -> Question[bool]:
    return question(ArtifactInstalled, directory=item.directory, link=item.program)


@operation(reads=lambda item: [_state(item)])
def artifact(item: Artifact) -> Generator[StringCommand, None, None]:
    """Make `item.program` the pinned version. The old program stays until the new one is verified.

    A running service keeps its old program; the component's tree names the version in its
    unit, so that a new version leads to a restart.
    """
    if read(_state(item)):
        host.noop(f"{item.name} {item.version} is installed")
        return
    log_reasons(f"installs {item.name} {item.version} from {item.url}")
    arguments = (item.url, item.sha256, item.member, item.binary_sha256)
    yield script(_INSTALL, item.directory, item.program, *arguments)
