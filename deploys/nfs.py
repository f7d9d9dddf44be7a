"""Folders that guests mount by NFS."""

from deploys.context import site_host
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.nfs.shares import MOUNTS, PROGRAM, UNIT, mounts
from phoenix.files import text
from phoenix.shell import fill

if site_host().mounts:
    packages(name="NFS: packages", names=["nfs-common"])
    config_tree(
        name="NFS: mounted folders",
        tree=Tree(
            component="nfs",
            files={
                MOUNTS: TreeFile(mounts(site_host())),
                PROGRAM: TreeFile(text("components/nfs/phoenix-nfs"), mode="0755"),
                f"/etc/systemd/system/{UNIT}": TreeFile(text("components/nfs/phoenix-nfs.service")),
            },
            unit=UNIT,
            enable=(UNIT,),
            in_force=fill("{{ program }} holds", program=PROGRAM),
            health=fill("{{ program }} holds", program=PROGRAM),
        ),
    )
