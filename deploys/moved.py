"""The end of a move on the old host: its stopped containers go, its volumes stay.

Call it when the new copy is proven (deploys/verify.py); `phoenix sync --move` does so.
"""

from deploys import stack_parts
from deploys.context import site, site_host
from operations import moves
from operations.isolation import part

if site_host() in site().docker_hosts:
    for project, target in moves.leaving(site()):
        with part(project):
            moves.gone(
                name=f"Stack {project} is on {target}",
                project=project,
                target=target,
                stacks=stack_parts.engine(site_host()),
            )
