"""Each host lets in what the site's flows say, and nothing else: one table of nftables.

A change of its rules that keeps a new SSH login out is undone (`ssh_confirm_seconds`).
"""

from deploys import guard_tree
from deploys.context import setting_errors, settings, site, site_host
from operations import guard, removal
from operations.packages import packages
from phoenix.derived.components import GUARD

is_node = site_host() == site().hypervisor
if site_host().guarded:
    with setting_errors():
        tree, flows = guard_tree.tree(), guard_tree.flows()
    packages(name="Guard: packages", names=["nftables"])
    guard.guard(
        name="Guard: what the host lets in",
        tree=tree,
        flows=flows,
        refuses=is_node,
        closed=settings().proxmox.node_closed if is_node else (),
    )
else:
    removal.component(name="Guard: taken away", tree=GUARD, volumes=False)
