"""SSH host keys of guests, learned through the hypervisor, never by trusting the first answer.

A container's key is read inside it by `pct exec`. A VM's is read by its guest agent. Without the
agent it is the key that answers at the VM's address, if the hypervisor's own bridge sees that
address behind the VM's port alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey
from paramiko.ssh_exception import SSHException

from phoenix.proxmox.peers import ON_NODE
from phoenix.shell import Script
from phoenix.site import unit_names
from phoenix.site.model import Host
from phoenix.site.ports import SSH

LEARN = Script(
    "host-keys",
    ON_NODE
    + r"""
there() { # command, for the node that has the guest
    if [ -n "$node" ]; then on_node "$node" "$1"; else sh -c "$1"; fi 2>/dev/null </dev/null
}
behind_port() { # vmid: of the addresses that a bridge knows, those behind the VM's port
    grep -E " dev (tap${1}i0|fwpr${1}p0) "
}
learn() { # vmid kind address bridge port
    node=$(node_of "$1")
    if [ "$2" = lxc ]; then
        there "pct exec $1 -- sh -c 'cat /etc/ssh/ssh_host_*_key.pub'"
        return
    fi
    found=$(there "qm guest exec $1 -- sh -c 'cat /etc/ssh/ssh_host_*_key.pub'" |
        perl -MJSON -0777 -ne 'print decode_json($_)->{"out-data"} // ""' 2>/dev/null)
    if [ -n "$found" ]; then
        printf '%s\n' "$found"
        return
    fi
    # ssh-keyscan makes sshd start a process for each key type, so the port is looked for first.
    there "bridge fdb show br $4" | behind_port "$1" >/dev/null || return
    scanned=$(there "ssh-keyscan -T 5 -t rsa,ecdsa,ed25519 -p $5 $3" | sed 's/^[^ ]* //')
    mac=$(there "ip -4 neigh show $3 dev $4" | sed -n 's/.*lladdr \([^ ]*\).*/\1/p')
    [ -n "$mac" ] || return
    there "bridge fdb show br $4" | behind_port "$1" | grep -qi "^$mac " && printf '%s\n' "$scanned"
}
while [ $# -gt 0 ]; do
    echo "== $1"
    learn "$1" "$2" "$3" "$4" "$5"
    shift 5
done
:""",
)
"""For the hypervisor, with `words`: a line `== VMID`, then that guest's public keys.

The words of the commands for a node are ids, addresses, ports and names of bridges: they need no
quoting.
"""

# A clone has its template's host keys: whoever has root on one could pass for the other.
RENEW = Script(
    "renew-host-keys",
    "rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub && ssh-keygen -A >/dev/null && "
    f"{{ systemctl try-restart {unit_names.SSH} || systemctl try-restart {unit_names.SSHD}; }}",
)


@dataclass(frozen=True)
class Guest:
    """What it takes to learn a guest's key."""

    vmid: int
    kind: str
    name: str
    address: str
    bridge: str
    port: int = SSH


def guests(hosts: Iterable[Host]) -> tuple[Guest, ...]:
    """The site's guests as this module needs them."""
    return tuple(
        Guest(host.vmid or 0, host.kind, host.name, str(host.address), host.bridge, host.ssh_port)
        for host in hosts
    )


def words(targets: Sequence[Guest]) -> tuple[str, ...]:
    """The words of `LEARN`: five for each guest."""
    return tuple(
        word
        for guest in targets
        for word in (str(guest.vmid), guest.kind, guest.address, guest.bridge, str(guest.port))
    )


def parse(lines: Iterable[str]) -> dict[int, frozenset[str]]:
    """Public keys, "TYPE BASE64", by guest id; what is no key is left out."""
    keys_by_id: dict[int, set[str]] = {}
    current: set[str] = set()
    for line in lines:
        if line.startswith("== "):
            current = keys_by_id.setdefault(int(line[3:]), set())
        elif _is_key(words := line.split()[:2]):
            current.add(" ".join(words))
    return {vmid: frozenset(keys) for vmid, keys in keys_by_id.items()}


def _is_key(words: Sequence[str]) -> bool:
    """The body repeats the type (RFC 4253, section 6.6)."""
    try:
        body = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error):
        return False
    return body[4 : 4 + int.from_bytes(body[:4], "big")] == words[0].encode()


def shared(keys: dict[int, frozenset[str]]) -> tuple[int, ...]:
    """Guests that have a key of another one, all but the first of each key: clones."""
    earlier: set[str] = set()
    twice = []
    for vmid, own in sorted(keys.items()):
        if own & earlier:
            twice.append(vmid)
        earlier |= own
    return tuple(twice)


def entry_name(hostname: str, port: int) -> str:
    """What a server is called in known_hosts: with its port where that is another one (sshd(8))."""
    return hostname if port == SSH else f"[{hostname}]:{port}"


def known_keys(file: Path, address: str) -> frozenset[str]:
    """The keys that a known_hosts file has for an address, "TYPE BASE64"; hashed names too."""
    return frozenset(
        f"{entry.key.get_name()} {entry.key.get_base64()}"
        for entry in _entries(file)
        if entry.key is not None and _names(entry, address)
    )


def remember(file: Path, address: str, keys: Iterable[str]) -> None:
    """Put an address's keys into a known_hosts file in place of those that it had.

    Raises:
        OSError: the file can't be written.
    """
    file = file.resolve()  # a link of a person's, as to a folder of dotfiles, stays one
    lines = _lines(file)
    others = [other for line in lines if (other := _without(line, address)) is not None]
    others += [f"{address} {key}" for key in sorted(keys)]
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = file.with_name(f"{file.name}.phoenix")
    temporary.write_text("\n".join(others) + "\n", errors="surrogateescape")
    temporary.chmod(0o600)
    temporary.replace(file)


def _lines(file: Path) -> list[str]:
    """The lines; bytes that are no text, in a comment or in what is broken, are kept."""
    return file.read_text(errors="surrogateescape").splitlines() if file.exists() else []


def _entries(file: Path) -> list[HostKeyEntry]:
    lines = _lines(file)
    return [entry for line in lines if (entry := _entry(line)) is not None]


def _entry(line: str) -> HostKeyEntry | None:
    """A line as a host's key; None for a comment, a mark (@revoked), and what is broken."""
    if not line.strip() or line.startswith(("#", "@")):
        return None
    try:
        return HostKeyEntry.from_line(line)
    except (InvalidHostKey, SSHException, ValueError, ArithmeticError):
        return None


def _without(line: str, address: str) -> str | None:
    """The line without one name; None where no other is left."""
    entry = _entry(line)
    if entry is None or not _names(entry, address):
        return line
    other_names = [name for name in entry.hostnames or () if not _is(name, address)]
    return " ".join([",".join(other_names), *line.split()[1:]]) if other_names else None


def _names(entry: HostKeyEntry, address: str) -> bool:
    return any(_is(name, address) for name in entry.hostnames or ())


def _is(name: str, address: str) -> bool:
    if name.startswith("|1|"):
        try:
            return HostKeys.hash_host(address, name) == name
        except (ValueError, IndexError):  # a salt that is none
            return False
    return name == address
