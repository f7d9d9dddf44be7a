"""Each host lets in what the site's flows say, and nothing else: one table of nftables.

A change of its rules that keeps a new SSH login out is undone (`ssh_confirm_seconds`).
"""

from deploys import guard_tree
from deploys.context import setting_errors, site_host
from operations import removal
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.derived.components import GUARD

if site_host().guarded:
    with setting_errors():
        tree = guard_tree.tree()
    packages(name="Guard: packages", names=["nftables"])
    config_tree(name="Guard: what the host lets in", tree=tree)
else:
    removal.component(name="Guard: taken away", tree=GUARD, volumes=False)
