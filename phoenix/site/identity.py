"""Which of a site's hosts a machine is, as the machine itself remembers it.

An address leads to whatever machine has it. Where two hosts' addresses are exchanged, in the
declaration or in Proxmox VE, each leads to the other, whose host key is known and right: nothing
else would keep the one's services from being deployed on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from phoenix.site.findings import SettingError, visible
from phoenix.site.model import Host, Site

FILE = "/var/lib/phoenix/host"
"""On each host: `Identity.line`."""


@dataclass(frozen=True)
class Identity:
    """A host of a site: the site's domain, the guest's id (empty: the hypervisor), and its name."""

    domain: str
    vmid: str
    name: str

    @property
    def line(self) -> str:
        """As it is kept: words with tabs between."""
        return "\t".join((self.domain, self.vmid or "-", self.name))


def identity_of(site: Site, host: Host) -> Identity:
    """Which host of a site this is."""
    return Identity(site.domain, str(host.vmid or ""), host.name)


def parse(line: str) -> Identity | None:
    """What a machine remembers; None where it remembers nothing that can be read."""
    fields = line.split("\t")
    if len(fields) != 3 or not all(fields):
        return None
    domain, vmid, name = fields
    return Identity(domain, vmid.removeprefix("-") if vmid == "-" else vmid, name)


def check(site: Site, host: Host, line: str) -> None:
    """Refuse a machine that is another host of this site, or of another one.

    The same machine may get another name, another id, or another domain, but not name and id at
    once: that is another guest at its address. A copy of the guest that it is cloned from is its
    own.

    Args:
        site: as it is declared.
        host: which host the address is to lead to.
        line: what the machine there remembers; empty for nothing.

    Raises:
        SettingError: it is another host; names both, and the fix.
    """
    known, own = parse(line), identity_of(site, host)
    if known is None or known == own:
        return
    same_id, same_name = known.vmid == own.vmid, known.name == own.name
    if known.domain != site.domain:
        is_it = same_id and same_name
    elif same_id:
        is_it = True
    else:
        other = next((host for host in site.hosts if str(host.vmid or "") == known.vmid), None)
        known = identity_of(site, other) if other is not None else known
        is_it = other is None and (same_name or known.vmid == str(host.clone_from))
    if is_it:
        return
    elsewhere = f" of the site {visible(known.domain)}" if known.domain != site.domain else ""
    raise SettingError(
        f"the machine at {host.address} is {_words(known)}{elsewhere}, and {host.source.file}: "
        f"{host.source.path} says that it is {_words(own)}: nothing was touched. fix: give each "
        "its own address, in the declaration and in Proxmox VE; where this machine is a copy of "
        f"the other, or became it on purpose: phoenix exec {host.name} -- rm {FILE}"
    )


def _words(known: Identity) -> str:
    return visible(f"guest {known.vmid} ({known.name})" if known.vmid else known.name)
