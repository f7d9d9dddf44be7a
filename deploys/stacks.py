"""The application stacks, on the Docker hosts that declare them.

Portainer deploys them where it can; on a host without it the host's own compose does, over SSH. A
stack that has its data on another host is not started: deploys/moves.py moves it.
"""

from collections.abc import Callable
from typing import Any

from pyinfra import host

from deploys import acme, stack_parts
from deploys.access import portainer as access
from deploys.context import secrets, setting_errors, settings, site, site_host
from deploys.run_arguments import listed
from operations import compose_host, moves, portainer
from operations.certificates import host_names_only
from operations.isolation import part
from phoenix.components import stack as deployment
from phoenix.components.acme.phoenix_acme_conf import stack_pairs
from phoenix.components.move.decision import Stays
from phoenix.derived import deployments

if site_host().swarm is not None and site_host() not in deployments.stack_hosts(site()):
    stack_parts.images_and_files([])  # a node without stacks of its own runs tasks all the same
if site_host() in deployments.stack_hosts(site()):
    deploy: Callable[..., object] = compose_host.stack
    where: dict[str, Any] = {"on": host.name}
    with setting_errors():
        if deployments.by_portainer(site(), site_host()):
            deploy = portainer.stack
            where = {"endpoint": site_host().portainer_environment, "access": access()}
        known = tuple(secrets().values())
    outlook = stack_parts.refuse_moves(stack_parts.desired_stacks())
    stacks = stack_parts.prepared(
        [
            stack
            for stack in stack_parts.desired_stacks()
            if outlook.decisions[stack.project] == Stays()
        ]
    )
    for project in sorted(outlook.partial):
        with part(project):
            moves.forget_move(name=f"Stack {project}: a partial copy goes", project=project)
    for project in sorted(outlook.halted):
        with part(project):
            moves.restart_stopped_stack(name=f"Stack {project} stays here", project=project)
    stacks = stack_parts.others_are_there(stacks, outlook.ports)
    stack_parts.images_and_files(stacks)
    for prepared in stacks:
        with part(prepared.stack.project):
            deploy(
                name=f"Stack {prepared.stack.project}",
                project=prepared.stack.project,
                content=prepared.compose,
                env=prepared.variables,
                hidden=known,
                **where,
                **({} if prepared.swarm_files is None else {"swarm_files": prepared.swarm_files}),
            )
            if deploy is portainer.stack:
                compose_host.handed_over(
                    name=f"Stack {prepared.stack.project}: files from before Portainer",
                    project=prepared.stack.project,
                )
    shared = acme.certificate("host")
    if shared is not None and (pairs := stack_pairs(site(), site_host())):
        host_names_only(
            name="Stacks: the host's pair is the host's alone",
            certificate=shared.name,
            pairs=pairs,
        )
    for project in () if listed("stacks_only") else settings().stacks_prune:
        with setting_errors():
            deployment.check_prune(project, site_host())
        with part(project):
            deploy(name=f"Stack {project} is gone", project=project, present=False, **where)
