"""The state of one component's configuration tree on a host."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.config_tree.tree import TreeError, TreeState, parse_state
from phoenix.shell import Script

# A run that died may still be at work on the guest: wait for it, else its half is read.
_SCRIPT = Script(
    "config-tree",
    r"""
b=$1; units=$2; shift 2; t=$(printf '\t')
if [ -e "$b/lock" ]; then exec 9<"$b/lock"
 flock -s -w 120 9 || { echo "busy$t$b/lock"; exit 0; }
fi
if c=$(readlink "$b/current"); then echo "current$t${c##*/}"; fi
if [ -s "$b/loaded" ]; then echo "loaded$t$(cat "$b/loaded")"; fi
for p; do
 if [ -f "$p" ]; then
  s=$(sha256sum <"$p"); o=$(stat -Lc "%a$t%U$t%G" "$p")
  echo "file$t$p$t$(readlink "$p")$t$o$t${s%% *}"
 fi
done
if [ -e "$b/paths" ]; then while read -r k p; do echo "occupied$t$p"; done <"$b/paths"; fi
for u in $units; do
 systemctl show "$u" -p ActiveState -p UnitFileState -p NeedDaemonReload | {
  a= e= n=; while IFS='=' read -r k v; do
   case $k in ActiveState) a=$v;; UnitFileState) e=$v;; NeedDaemonReload) n=$v;; esac
  done; echo "unit$t$u$t$a$t$e$t$n"; }
done
:""",
)


class ConfigTree(HostFact[TreeState]):
    """State of the tree of `component`: its generation, the files at `paths`, its `units`.

    One round trip whatever the number of files. A FactProcessError means output that is
    not of the expected form and when another run has held the component for two minutes.
    """

    @override
    def command(self, base: str, units: Iterable[str], paths: Iterable[str]) -> StringCommand:
        return marked(script(_SCRIPT, base, " ".join(units), *paths))

    @override
    def parse(self, lines: list[str]) -> TreeState:
        try:
            return parse_state(lines)
        except TreeError as error:
            raise FactProcessError(str(error)) from error
