"""The application stacks, on the Docker hosts that declare them.

Portainer deploys them where it can; on a host without it the host's own compose does, over SSH.
"""

from pyinfra import host

from deploys.access import portainer as access
from deploys.context import setting_errors, settings, site, site_host
from deploys.site_secrets import secret
from operations import compose_host, portainer
from operations.config_tree import config_tree
from operations.images import images
from operations.isolation import part
from phoenix.components import stack as deployment
from phoenix.components.config_tree.tree import Tree
from phoenix.derived import deployments
from phoenix.derived.components import stack_tree

if site_host() in deployments.stack_hosts(site()):
    by_portainer = deployments.by_portainer(site(), site_host())
    with setting_errors():
        stacks = [
            deployment.prepare(stack, settings().stack_variables.get(stack.name, {}), secret)
            for stack in site_host().docker_stacks
            if stack.project in host.data.get("stacks_only", [stack.project])
        ]
    # Images that come as archives must be there first; what deploys pulls the others itself.
    archived = [
        reference
        for prepared in stacks
        for reference in prepared.images
        if reference in settings().image_archives
    ]
    if archived:
        images(name="Stacks: images", references=archived, archives=settings().image_archives)
    for prepared in stacks:
        if prepared.files:
            with part(prepared.stack.project):
                config_tree(
                    name=f"Stacks: files of {prepared.stack.project}",
                    tree=Tree(
                        component=stack_tree(prepared.stack.project),
                        files=prepared.files,
                    ),
                )
    for prepared in stacks:
        with part(prepared.stack.project):
            if by_portainer:
                portainer.stack(
                    name=f"Stack {prepared.stack.project}",
                    project=prepared.stack.project,
                    endpoint=site_host().portainer_environment,
                    access=access(),
                    content=prepared.compose,
                    env=prepared.variables,
                )
            else:
                compose_host.stack(
                    name=f"Stack {prepared.stack.project}",
                    project=prepared.stack.project,
                    on=host.name,
                    content=prepared.compose,
                    env=prepared.variables,
                )
    for project in () if host.data.get("stacks_only") else settings().stacks_prune:
        with setting_errors():
            deployment.check_prune(project, site_host())
        with part(project):
            if by_portainer:
                portainer.stack(
                    name=f"Stack {project} is gone",
                    project=project,
                    endpoint=site_host().portainer_environment,
                    access=access(),
                    present=False,
                )
            else:
                compose_host.stack(
                    name=f"Stack {project} is gone",
                    project=project,
                    on=host.name,
                    present=False,
                )
