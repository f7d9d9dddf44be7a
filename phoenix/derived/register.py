"""The register of what Phoenix was ever told to deploy on a site: how ours is told from a person's.

The hypervisor keeps it, a line for each host, stack and endpoint that a run deployed. Each run that
deploys adds its declaration's lines before its first step (`operations.site_lock`); `phoenix
remove` takes away those of what it removed. What runs on the site, is in the register and is not
declared any more was Phoenix' doing. What was never in it is a person's, and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from pydantic import TypeAdapter

from phoenix.derived.deployments import environments
from phoenix.shell import Script
from phoenix.site.model import Host, Site

FILE = "/var/lib/phoenix/register"
"""On the hypervisor, mode 0600; lines of words with tabs between."""

ADD = Script(
    "register",
    """umask 077; mkdir -p -m 755 "${1%/*}" && exec 7>>"$1.lock" && flock 7 || exit 1
cat >"$1.add" && touch "$1" || exit 1
awk -F '\\t' 'FNR == NR { if ($1 == "host") { a[$4]; if ($5 != "-") v[$5] } print; next }
 !($1 == "host" && ($4 in a || $5 in v))' "$1.add" "$1" >"$1.new" &&
sort -u -o "$1.new" "$1.new" && sync "$1.new" && mv "$1.new" "$1" && rm "$1.add"
""",
)
"""Word: the file. Its input: lines to add. A machine, by its address or id, has its last name."""
DROP = Script(
    "register",
    """[ -e "$1" ] || exit 0
umask 077; exec 7>>"$1.lock" && flock 7 || exit 1
grep -vxFf - "$1" >"$1.new"; [ $? -le 1 ] && mv "$1.new" "$1"
""",
)
"""Word: the file. Its input: lines to take away, whole ones."""


class RegisterError(ValueError):
    """A line of the register is of another form."""


EntryKind = Literal["host", "stack", "endpoint", "secret"]
_KINDS = TypeAdapter(EntryKind)


@dataclass(frozen=True)
class Entry:
    """One thing that was deployed.

    Attributes:
        kind: what it is.
        name: of a host its name, of a stack its project, of an endpoint its name in Portainer, of a
            secret the name by which a stack asks for it; never its value.
        host: the name of the host that it is on; of a host its own.
        address: the host's, IPv4.
        vmid: the host's id on Proxmox VE; None for one that has none.
    """

    kind: EntryKind
    name: str
    host: str
    address: str
    vmid: int | None

    @property
    def line(self) -> str:
        """The entry as a line of the register."""
        vmid = "-" if self.vmid is None else str(self.vmid)
        return "\t".join((self.kind, self.name, self.host, self.address, vmid))


def entries(site: Site) -> tuple[Entry, ...]:
    """What a site declares, as the register keeps it: its guests, and what is of each."""
    return tuple(
        Entry(kind, name, host.name, str(host.address), host.vmid)
        for host in site.guests
        for kind, name in _of_host(site, host)
    )


def is_complete(lines: Iterable[str], site: Site) -> bool:
    """Whether `ADD` would change nothing in a register of these lines."""
    known, declared = {*lines}, entries(site)
    missing = {entry.line for entry in declared} - known
    machines = [entry for entry in declared if entry.kind == "host"]
    addresses = {machine.address for machine in machines}
    ids = {str(machine.vmid) for machine in machines if machine.vmid is not None}
    names = {machine.line for machine in machines}
    former = (line.split("\t") for line in known - names if line.startswith("host\t"))
    return not missing and not any(
        addresses & {*words[3:4]} or ids & {*words[4:5]} for words in former
    )


def removed_hosts(known: Iterable[Entry], site: Site) -> dict[str, tuple[str, ...]]:
    """Hosts that the site no longer has, by the stacks that were deployed on them.

    One whose address another host has was renamed, or has made room.
    """
    names = {host.name for host in site.hosts}
    addresses = {str(host.address) for host in site.hosts}
    hosts_by_stack: dict[str, tuple[str, ...]] = {}
    for entry in known:
        if entry.kind == "stack" and entry.host not in names and entry.address not in addresses:
            hosts_by_stack[entry.name] = (*hosts_by_stack.get(entry.name, ()), entry.host)
    return hosts_by_stack


def _of_host(site: Site, host: Host) -> Iterator[tuple[EntryKind, str]]:
    yield "host", host.name
    if host in environments(site):
        yield "endpoint", host.portainer_environment
    for stack in host.docker_stacks:
        yield "stack", stack.project
        secrets = [item.secret for item in stack.variables] + [item.secret for item in stack.files]
        for name in filter(None, secrets):
            yield "secret", name.lower()


def parse(lines: Iterable[str]) -> tuple[Entry, ...]:
    """The entries of a register.

    Raises:
        RegisterError: a line is of another form; names it and the fix.
    """
    return tuple(_entry(line) for line in lines if line)


def _entry(line: str) -> Entry:
    try:
        kind, name, host, address, vmid = line.split("\t")
        number = None if vmid == "-" else int(vmid)
        return Entry(_KINDS.validate_python(kind), name, host, str(IPv4Address(address)), number)
    except ValueError:
        raise RegisterError(
            f"{FILE} on the hypervisor has the line {line!r}, which is of another form: remove it"
        ) from None
