"""The files of NFS: exports(5) of the hypervisor, and the list of a guest's mounts, as fstab(5).

Both ends speak NFSv4 alone, which needs one port (RFC 8881, section 2.9.3).
"""

from __future__ import annotations

from phoenix.site import unit_names
from phoenix.site.model import Host

EXPORTS = "/etc/exports.d/phoenix.exports"
SERVER_UNIT = unit_names.NFS_SERVER
MOUNTS = "/etc/phoenix/nfs.fstab"
PROGRAM = "/usr/local/sbin/phoenix-nfs"
UNIT = unit_names.NFS


def exports(host: Host) -> str:
    """What a host shares, a folder a line (exports(5))."""
    lines = []
    for share in host.exports:
        options = ",".join(share.options)
        clients = " ".join(f"{client}({options})" for client in share.clients)
        lines.append(f"{share.path} {clients}\n")
    return "".join(lines)


def mounts(host: Host) -> str:
    """What a guest mounts, a folder a line (fstab(5))."""
    return "".join(
        f"{mount.server}:{mount.path} {mount.mount_point} nfs4 rw,hard,nosuid,nodev 0 0\n"
        for mount in host.mounts
    )
