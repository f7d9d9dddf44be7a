"""Debian packages: apt only when something is missing."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.operations import apt

from facts.command import script
from facts.packages import Packages
from operations.explain import log_reasons
from operations.failure import refuse
from operations.host_state import question, read
from operations.operation import operation
from phoenix.declaration.inventory import site_of
from phoenix.shell import Script

# A person's or the system's own apt run is waited for, never killed.
_OPTIONS = "-o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold"

# apt-get refuses to work behind a dpkg that was killed. A person's own apt run looks the same until
# it ends, but holds dpkg's lock: it is waited for.
_FINISH = Script(
    "finish-dpkg",
    """
end=$(($(date +%s) + 300))
interrupted() {
    if find "$1/updates" -name '[0-9]*' 2>/dev/null | grep -q .; then return; fi
    dpkg-query -W -f '${db:Status-Status}\n' |
        grep -qE '^(unpacked|half-configured|triggers-awaited|triggers-pending)$'
}
while interrupted "$1"; do
    said=$(DEBIAN_FRONTEND=noninteractive dpkg --force-confold --configure -a 2>&1 </dev/null) && {
        echo "phoenix: an interrupted dpkg was finished"
        exit 0
    }
    case "$said" in *lock*) [ "$(date +%s)" -ge "$end" ] || { sleep 2; continue; } ;; esac
    printf '%s\n' "$said" "phoenix: an interrupted dpkg cannot be finished: the cause is above" >&2
    exit 1
done
""",
)
_DPKG = "/var/lib/dpkg"

# Hosts whose index this run has already fetched: it is the dearest part of an installation.
_indexed: set[str] = set()


@operation(reads=lambda *_, **__: [question(Packages)])
def packages(
    names: Sequence[str | tuple[str, ...]],
    *,
    new_source: bool = False,
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Install the missing packages of `names`; a tuple is satisfied by any of its members.

    The first of a tuple's members is the one installed when none is there. Versions are left
    to the distribution and to unattended security updates. An interrupted dpkg is finished first.
    Where the declaration leaves packages alone, a missing one is named, and the run refused.

    Args:
        names: of the host's distribution; `phoenix.site.systems` has those that differ.
        new_source: a source may have been added in this run, so fetch the index again.
    """
    missing = _missing(names)
    if not missing:
        host.noop(f"{len(names)} packages are installed")
        return
    if _are_left_alone():
        yield from refuse(
            f"{host.name}: packages are left alone, and {' '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; fix: apt-get install there, or take "
            '"packages" out of leave_alone'
        )
        return
    log_reasons(f"installs {' '.join(missing)}")
    yield script(_FINISH, _DPKG)
    if new_source or host.name not in _indexed:
        yield from apt.update._inner()
        if host.state.is_executing:  # the command before this line has succeeded
            _indexed.add(host.name)
    yield from apt.packages._inner(
        packages=missing, no_recommends=True, extra_install_args=_OPTIONS
    )


def _missing(names: Sequence[str | tuple[str, ...]]) -> list[str]:
    installed = read(question(Packages))
    choices = [(name,) if isinstance(name, str) else name for name in names]
    return [choice[0] for choice in choices if not installed.intersection(choice)]


def _are_left_alone() -> bool:
    if not host.data.get("site_inventories"):
        return False
    declared = site_of(host.data.dict()).hosts_by_key.get(host.name)  # type: ignore[no-untyped-call]
    return declared is not None and "packages" in declared.left_alone
