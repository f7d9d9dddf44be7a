"""What a light host can be given without systemd and Docker: packages, and files as trees."""

from pyinfra import host

from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile

ROUND = str(host.data.get("light_round"))

packages(name="Light: packages", names=["ca-certificates", "curl", "openssl"])
for number in range(3):
    config_tree(
        name=f"Light: files {number}",
        tree=Tree(
            component=f"light-{number}",
            files={
                f"/etc/phoenix-light/{number}-{each}.conf": TreeFile(f"{each} {ROUND}\n" * 100)
                for each in range(4)
            },
            validate='[ -d "$ROOT"/etc/phoenix-light ]',
        ),
    )
