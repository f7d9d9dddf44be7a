"""Stacks that change their host, with their data: to call this file is to ask for it.

    pyinfra INVENTORY deploys/moves.py      stop, copy, start on the new host and prove it there
    pyinfra INVENTORY deploys/all.py        routes, and proof of every hop
    pyinfra INVENTORY deploys/finish_moves.py      away with the old containers; volumes stay

`phoenix sync --move` does all three.
"""

from pyinfra import local

from deploys import stack_parts
from deploys.context import site, site_host
from operations import moves
from operations.isolation import part
from phoenix.components.move.decision import Moves, Refused
from phoenix.derived import deployments
from phoenix.health.local_checks import local_checks

if site_host() in deployments.stack_hosts(site()):
    decisions = stack_parts.stack_outlook(stack_parts.desired_stacks()).decisions
    for project, decision in decisions.items():
        if isinstance(decision, Refused):
            with part(project):
                moves.refuse(decision)
    arriving = stack_parts.prepared(
        [
            stack
            for stack in stack_parts.desired_stacks()
            if isinstance(decisions[stack.project], Moves)
        ]
    )
    if arriving:  # what deploys them here is there first: this may be its first stack
        local.include("deploys/docker.py")
        local.include("deploys/portainer.py")
    arriving = stack_parts.others_are_there(arriving)
    stack_parts.images_and_files(arriving)
    for prepared in arriving:
        step = decisions[prepared.stack.project]
        if isinstance(step, Moves):
            with part(step.project):
                moves.moved(
                    name=step.title,
                    step=step,
                    arrival=moves.Arrival(
                        stacks=stack_parts.engine(site_host()),
                        content=prepared.compose,
                        env=prepared.variables,
                        images=prepared.images,
                        checks=tuple(local_checks(site(), site_host(), step.project)),
                    ),
                )
