"""The state of one component's configuration tree on a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import JoinedFact, marked, unexpected
from phoenix.components.config_tree.tree import TreeError, TreeState, parse_state
from phoenix.files import text
from phoenix.shell import Script

# Words of each tree: BASE UNITS OTHERS FORCE LINKS COUNT PATH... Its number begins its lines.
_SCRIPT = Script(
    "config-tree",
    text("components/config_tree/package_file.sh")
    + r"""
t=$(printf '\t') busy= l='
'
stopped() { # PID: by a signal, it or a process of its own
 kids=; read -r kids <"/proc/$1/task/$1/children"
 for p in "$1" $kids; do
  while read -r k v rest; do
   case $k$v in State:[Tt]) return 0;; State:*) break;; esac
  done <"/proc/$p/status"
 done; return 1
} 2>/dev/null
# A run that died may still be at work on the guest: wait for it, else its half is read.
locked() { # BASES WORDS...: look, with the lock of each base held by a shell of its own
 bases=$1; shift
 [ -n "$bases" ] || { look "$@"; return; }
 b=${bases%%"$l"*} bases=${bases#*"$l"}
 if [ -e "$b/lock" ]; then (
  exec 9<"$b/lock"
  flock -s -w 120 9 || busy=$busy$b$l
  locked "$bases" "$@"
 ) else locked "$bases" "$@"; fi
}
# All files and units by one call of each program: one for each is most of what this costs a host.
look() { # WORDS...: what is there; `say` begins what is printed as it is
 n=-1 words=$# all= of=
 while [ "$words" -gt 0 ]; do
  n=$((n + 1)) b=$1 units=$2 others=$3 force=$4 links=$5 count=$6; shift 6
  words=$((words - 6 - count)); echo "tree$t$n$t$b$t$links"
  case $l$busy in *"$l$b$l"*) echo "say$t$n${t}busy$t$b/lock"; shift "$count"; continue;; esac
  echo "own$t$n"
  while [ "$count" -gt 0 ]; do
   p=$1 count=$((count - 1)); shift
   if [ -f "$p" ]; then echo "file$t$n$t$p"
   elif [ -d "$p" ]; then echo "directory$t$n$t$p"
   else continue; fi
   set -- "$@" "$p"
  done
  set -- "$@" "$b/current"
  if [ -s "$b/loaded" ]; then
   read -r g <"$b/loaded"; echo "say$t$n${t}loaded$t$g"
  fi
  if [ -n "$force" ] && [ -e "$b/current" ]; then
   s=$(timeout -k 5 20 sh -c "$force" 2>&1) ||
    printf 'say\t%s\tnot in force\t%s\n' "$n" "$(printf %s "$s" | tr '\n\t' '  ' | cut -c 1-300)"
  fi
  if [ ! -e "$b/current" ]; then for p in $others; do
   if [ -f "$p" ]; then is_package_file "$p" || echo "say$t$n${t}superseded$t$p"; fi
  done; fi
  for u in $units; do all="$all $u" of="$of$n "; done
 done
 {
  find "$@" -maxdepth 0 -printf 'at\t%p\t%l\n'
  stat -Lc "of$t%n$t%a$t%U$t%G" "$@"; sha256sum "$@"
 } 2>/dev/null
 # It answers of each in turn, an empty line between two.
 p="-p ActiveState -p UnitFileState -p NeedDaemonReload -p MainPID"
 [ -z "$all" ] || systemctl show $all $p | {
  for u in $all; do
   a= e= g= m=0; while IFS='=' read -r k v && [ -n "$k" ]; do
    case $k in ActiveState) a=$v;; UnitFileState) e=$v;; NeedDaemonReload) g=$v;;
     MainPID) m=$v;; esac
   done; if [ "$m" -gt 0 ] && stopped "$m"; then a=hanging; fi
   echo "say$t${of%% *}${t}unit$t$u$t$a$t$e$t$g"; of=${of#* }
  done; }
}
every= skip=0 at=1
for w; do
 if [ "$skip" -gt 0 ]; then skip=$((skip - 1)); continue; fi
 case $at in 1) every=$every$w$l;; 6) skip=$w at=0;; esac
 at=$((at + 1))
done
locked "$every" "$@" | awk -F "$t" -v OFS="$t" '
 $1 == "say" { print substr($0, 5); next }
 $1 == "tree" { base[$2] = $3; links[$2] = " " $4 " "; trees++; next }
 $1 == "own" { paths = base[$2] "/paths"; looked[$2]
  while ((getline line < paths) > 0) { split(line, part); ours[$2, part[2]]
   print $2, "occupied", part[2] }
  close(paths); next }
 $1 == "file" || $1 == "directory" { kind[++count] = $1; tree[count] = $2; path[count] = $3; next }
 $1 == "at" { is_there[$2]; link[$2] = $3; next }
 $1 == "of" { owner[$2] = $3 OFS $4 OFS $5; next }
 { hash[substr($0, 67)] = substr($0, 1, 64) }
 END { for (i = 1; i <= count; i++) { p = path[i]; n = tree[i]
   if (kind[i] == "directory") { print n, "directory", p, owner[p]; continue }
   print n, "file", p, link[p], owner[p], hash[p]
   if (index(link[p], base[n] "/") != 1 && !((n, p) in ours) && !index(links[n], " " p " "))
    print n, "?", p }
  for (n = 0; n < trees; n++) { p = base[n] "/current"
   if (n in looked && p in is_there && link[p] != "") {
    sub(/.*\//, "", link[p]); print n, "current", link[p] }
   print n, "end" } }
' | while IFS= read -r line; do
 case $line in
 *"$t?$t"*) p=${line#*"$t?$t"}; is_package_file "$p" || echo "${line%%"$t"*}${t}foreign$t$p";;
 *) printf '%s\n' "$line";;
 esac
done
:""",
)


class ConfigTree(JoinedFact[TreeState]):
    """State of the tree of `component`: its generation, the files at `paths`, its `units`.

    It reports which of `paths` Phoenix did not write, without `links`, which lead to files of the
    system. Before the first generation it reports files that match the patterns
    `supersedes`. Files as their Debian package brought them are left out of both. A directory of
    `paths` has owner and mode; a unit whose process is stopped by a signal is `hanging`. `in_force`
    is the tree's own question whether what was loaded still holds.

    One round trip whatever the number of files and trees. A FactProcessError means output that is
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
        return self.joined(
            [
                {
                    "base": base,
                    "units": units,
                    "paths": paths,
                    "supersedes": supersedes,
                    "in_force": in_force,
                    "links": links,
                }
            ]
        )

    @staticmethod
    @override
    def joined(questions: Sequence[Mapping[str, Any]]) -> StringCommand:
        arguments: list[str] = []
        for tree in questions:
            paths = list(tree["paths"])
            arguments += (
                tree["base"],
                " ".join(tree["units"]),
                " ".join(tree.get("supersedes", ())),
                tree.get("in_force", ""),
                " ".join(tree.get("links", ())),
                str(len(paths)),
                *paths,
            )
        return marked(script(_SCRIPT, *arguments), seconds=180)

    @staticmethod
    @override
    def parted(lines: Sequence[str], count: int) -> list[list[str]]:
        trees: list[list[str]] = [[] for _ in range(count)]
        for line in lines:
            number, _, rest = line.partition("\t")
            if not number.isdecimal() or int(number) >= count:
                raise unexpected(line)
            trees[int(number)].append(f"0\t{rest}")
        return trees

    @override
    def parse(self, lines: list[str]) -> TreeState:
        (numbered,) = self.parted(lines, 1)
        *own, last = [line.partition("\t")[2] for line in numbered] or [""]
        if last != "end":
            raise FactProcessError("the host's answer ends in the middle")
        try:
            return parse_state(own)
        except TreeError as error:
            raise FactProcessError(str(error)) from error
