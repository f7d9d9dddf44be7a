"""Commands for another node of the cluster, sent by the hypervisor as Proxmox VE itself does.

The nodes of a cluster trust each other's root, and know each other's host keys by /etc/pve.
Source: `ssh_info_to_command` in src/PVE/SSHInfo.pm of pve-guest-common.
"""

from __future__ import annotations

from phoenix.shell import Script, join

ON_NODE = r"""own=$(uname -n)
own=${own%%.*}
on_node() { # node command
  folder=/etc/pve/nodes/$1
  address=$(tr -d '\n' </etc/pve/.members |
    sed -n "s/.*\"$1\": *{[^}]*\"ip\": *\"\([^\"]*\)\".*/\1/p")
  known=
  [ -s "$folder/ssh_known_hosts" ] &&
    known="-o UserKnownHostsFile=$folder/ssh_known_hosts -o GlobalKnownHostsFile=none"
  ssh -n -e none -o BatchMode=yes -o ConnectTimeout=5 -o HostKeyAlias="$1" $known \
    "root@${address:-$1}" "$2"
}
node_of() { # guest; nothing where it is on this node, or nowhere
  for conf in /etc/pve/nodes/*/lxc/"$1".conf /etc/pve/nodes/*/qemu-server/"$1".conf; do
    [ -e "$conf" ] || continue
    folder=${conf%/*/*}
    [ "${folder##*/}" = "$own" ] || printf '%s\n' "${folder##*/}"
  done
}
"""
"""Shell functions, for scripts that run on the hypervisor."""

_BY_ITS_NODE = Script(
    "on-node",
    f"""{ON_NODE}node=$(node_of "$1")
if [ -n "$node" ]; then on_node "$node" "$2"; else sh -c "$2"; fi
""",
)


def by_its_node(vmid: int, *arguments: object) -> tuple[str, ...]:
    """A command for the hypervisor that has another one run on the node that a guest is on.

    Args:
        vmid: the guest; one that is nowhere is taken to be on the hypervisor itself.
        arguments: the other command.
    """
    return tuple(_BY_ITS_NODE.argv(vmid, join(*arguments)))
