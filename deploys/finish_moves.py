"""The end of a move on the old host: its stopped containers go, its volumes stay.

Call it when the new copy is proven (deploys/verify.py); `phoenix sync --move` does so.
"""

from deploys import portainer_trees, stack_parts
from deploys.context import site, site_host
from operations import moves, removal
from operations.config_tree import config_tree
from operations.isolation import part
from phoenix.derived.certificates import stack_certificate
from phoenix.derived.components import CERTIFICATE

if site_host() in site().docker_hosts:
    left = moves.leaving(site())
    for project, target in left:
        with part(project):
            moves.old_copy_removed(
                name=f"Stack {project} is on {target}",
                project=project,
                target=target,
                stacks=stack_parts.engine(site_host()),
            )
            removal.component(
                name=f"Stack {project}: its certificate goes",
                tree=f"{CERTIFICATE}{stack_certificate(project)}",
                volumes=False,
            )
    if left and site_host() == site().portainer:
        config_tree(
            name="Portainer: server", tree=portainer_trees.server(at_the_end_of_a_move=True)
        )
