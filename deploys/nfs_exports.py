"""Folders that the hypervisor shares by NFS."""

from deploys.context import site_host
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.nfs.shares import EXPORTS, SERVER_UNIT, exports
from phoenix.files import render

if site_host().exports:
    shared = [f"{share.path}={client}" for share in site_host().exports for client in share.clients]
    packages(name="NFS: server", names=["nfs-kernel-server"])
    config_tree(
        name="NFS: shared folders",
        tree=Tree(
            component="nfs-exports",
            files={EXPORTS: TreeFile(exports(site_host()))},
            unit=SERVER_UNIT,
            validate=render(
                "components/nfs/validate.sh.j2",
                folders=" ".join(share.path for share in site_host().exports),
            ),
            health=render("components/nfs/health.sh.j2", shares=" ".join(shared)),
        ),
    )
