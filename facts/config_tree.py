"""The state of one component's configuration tree on a host."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.config_tree.tree import TreeError, TreeState, parse_state
from phoenix.files import text
from phoenix.shell import Script

# A run that died may still be at work on the guest: wait for it, else its half is read.
_SCRIPT = Script(
    "config-tree",
    text("components/config_tree/brought.sh")
    + r"""
b=$1; units=$2; others=$3; force=$4; links=$5; shift 5; t=$(printf '\t')
stopped() { # PID: by a signal, it or a process of its own
 kids=; read -r kids <"/proc/$1/task/$1/children"
 for p in "$1" $kids; do
  while read -r k v rest; do
   case $k$v in State:[Tt]) return 0;; State:*) break;; esac
  done <"/proc/$p/status"
 done; return 1
} 2>/dev/null
if [ -e "$b/lock" ]; then exec 9<"$b/lock"
 flock -s -w 120 9 || { echo "busy$t$b/lock"; exit 0; }
fi
if c=$(readlink "$b/current"); then echo "current$t${c##*/}"; fi
if [ -s "$b/loaded" ]; then echo "loaded$t$(cat "$b/loaded")"; fi
for p; do
 shift
 if [ -f "$p" ]; then set -- "$@" "$p"
 elif [ -d "$p" ]; then echo "directory$t$p$t$(stat -Lc "%a$t%U$t%G" "$p")"
 fi
done
# All files by one call of each program: one for each file is most of what this costs a host.
own=$b/paths; [ -e "$own" ] || own=/dev/null
[ $# = 0 ] || {
 find "$@" -maxdepth 0 -printf 'at\t%p\t%l\n'
 stat -Lc "of$t%n$t%a$t%U$t%G" "$@"; exec sha256sum "$@"
} 2>/dev/null | awk -F "$t" -v OFS="$t" -v base="$b/" -v links=" $links " '
 FILENAME != "-" { if ($1 == "L" || $1 == "C") ours[$2]; next }
 $1 == "at" { order[++count] = $2; link[$2] = $3; next }
 $1 == "of" { owner[$2] = $3 OFS $4 OFS $5; next }
 { hash[substr($0, 67)] = substr($0, 1, 64) }
 END { for (i = 1; i <= count; i++) { p = order[i]
  print "file", p, link[p], owner[p], hash[p]
  if (index(link[p], base) != 1 && !(p in ours) && !index(links, " " p " ")) print "?", p } }
' "$own" - | while IFS= read -r line; do
 case $line in
 "?$t"*) p=${line#*"$t"}; brought "$p" || echo "foreign$t$p";;
 *) printf '%s\n' "$line";;
 esac
done
if [ -n "$force" ] && [ -e "$b/current" ]; then
 s=$(timeout -k 5 20 sh -c "$force" 2>&1) ||
  printf 'not in force\t%s\n' "$(printf %s "$s" | tr '\n\t' '  ' | cut -c 1-300)"
fi
if [ ! -e "$b/current" ]; then for p in $others; do
 if [ -f "$p" ]; then brought "$p" || echo "superseded$t$p"; fi
done; fi
if [ -e "$b/paths" ]; then while read -r k p; do echo "occupied$t$p"; done <"$b/paths"; fi
# It answers of each in turn, an empty line between two.
p="-p ActiveState -p UnitFileState -p NeedDaemonReload -p MainPID"
[ -z "$units" ] || systemctl show $units $p | {
 for u in $units; do
  a= e= n= m=0; while IFS='=' read -r k v && [ -n "$k" ]; do
   case $k in ActiveState) a=$v;; UnitFileState) e=$v;; NeedDaemonReload) n=$v;;
    MainPID) m=$v;; esac
  done; if [ "$m" -gt 0 ] && stopped "$m"; then a=hanging; fi; echo "unit$t$u$t$a$t$e$t$n"
 done; }
:""",
)


class ConfigTree(HostFact[TreeState]):
    """State of the tree of `component`: its generation, the files at `paths`, its `units`.

    Of `paths` it tells which Phoenix did not write, `links` left out, which lead to what is the
    system's; and of the patterns `supersedes`, before the first generation, which files exist.
    Files that are as their Debian package brought them are left out of both. A directory of `paths`
    is told with its owner and mode; a unit whose process is stopped by a signal is `hanging`.
    `in_force` is the tree's own question whether what was loaded still holds.

    One round trip whatever the number of files. A FactProcessError means output that is
    not of the expected form and when another run has held the component for two minutes.
    """

    @override
    def command(
        self,
        base: str,
        units: Iterable[str],
        paths: Iterable[str],
        supersedes: Iterable[str] = (),
        in_force: str = "",
        links: Iterable[str] = (),
    ) -> StringCommand:
        return marked(
            script(
                _SCRIPT,
                base,
                " ".join(units),
                " ".join(supersedes),
                in_force,
                " ".join(links),
                *paths,
            ),
            seconds=180,
        )

    @override
    def parse(self, lines: list[str]) -> TreeState:
        try:
            return parse_state(lines)
        except TreeError as error:
            raise FactProcessError(str(error)) from error
