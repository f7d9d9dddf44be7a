"""The application stacks, deployed by Portainer on the Docker hosts that declare them."""

from pydantic import SecretStr
from pyinfra import host

from deploys.access import portainer as access
from deploys.context import me, secrets, site
from operations import portainer
from operations.config_tree import config_tree
from operations.images import images
from phoenix import deployment
from phoenix.config_tree import Tree


def secret_of(name: str) -> SecretStr:
    """A stack's secret; made at first use where none was given."""
    return SecretStr(secrets().get(name).reveal())


if me() in site().agents:
    stacks = {
        declared.project: (
            declared,
            deployment.variables(
                declared, host.data.stack_variables.get(declared.name, {}), secret_of
            ),
            deployment.files(declared, secret_of),
        )
        for declared in me().docker_stacks
    }
    # Images that come as archives must be there first; Portainer pulls the others itself.
    from_archives = [
        reference
        for declared, variables, _ in stacks.values()
        for reference in deployment.images(declared, variables)
        if reference in host.data.image_archives
    ]
    if from_archives:
        images(name="Stacks: images", references=from_archives, archives=host.data.image_archives)
    for project, (_, _, placed) in stacks.items():
        if placed:
            config_tree(
                name=f"Stacks: files of {project}",
                tree=Tree(component=f"stack-{project.replace('_', '-')}", files=placed),
            )
    for project, (declared, variables, placed) in stacks.items():
        portainer.stack(
            name=f"Stack {project}",
            project=project,
            endpoint=me().portainer_environment,
            access=access(),
            content=deployment.compose_file(declared, placed),
            env=variables,
        )
