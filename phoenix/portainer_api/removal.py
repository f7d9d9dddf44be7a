"""Taking stacks and environments out of Portainer that nobody declares any more."""

from __future__ import annotations

from collections.abc import Callable, Collection

from phoenix.site.names import normalise_name

from .client import PortainerClient
from .errors import PortainerError
from .models import Endpoint, Stack, StackType

Log = Callable[[str], None]


def stacks_left(client: PortainerClient, project: str, environment: str | None) -> list[Stack]:
    """The stacks of a name that Portainer has, of either type.

    Args:
        client: a client that is logged in.
        project: the name, in any case.
        environment: the name of their environment; None: of those whose environment is gone.
    """
    names = {endpoint.id: endpoint.name for endpoint in client.endpoints()}
    return [
        stack
        for stack in client.stacks()
        if stack.type in (StackType.COMPOSE, StackType.SWARM)
        and normalise_name(stack.name) == normalise_name(project)
        and names.get(stack.endpoint_id) == environment
    ]


def remove_stacks(client: PortainerClient, project: str, environment: str | None, log: Log) -> None:
    """Remove the stacks of a name from an environment, or those that have none; volumes stay.

    Raises:
        PortainerError: the server refuses, or has nothing to remove an orphan by.
    """
    for stack in stacks_left(client, project, environment):
        if environment is None:
            _remove_orphan(client, stack)
        else:
            client.delete_stack(stack)
        log(f"stack {stack.name}: gone from Portainer")


def remove_environment(
    client: PortainerClient, name: str, projects: Collection[str], log: Log, *, down: bool
) -> None:
    """Take an environment out of Portainer, with those of its stacks that are ours.

    Stacks of others stay as they are, and Portainer shows them as orphans.

    Args:
        client: a client that is logged in.
        name: the environment's name; one that is not there is gone already.
        projects: names of the stacks that are ours, as Portainer has them.
        log: told of each step.
        down: take our stacks down, where its Docker still answers. Else another environment has the
            same Docker now, and its containers are that one's.

    Raises:
        PortainerError: the server refuses.
    """
    endpoint = client.endpoint_named(name)
    if endpoint is None:
        return
    stacks = [stack for stack in client.stacks() if stack.endpoint_id == endpoint.id]
    own_stacks = [stack for stack in stacks if normalise_name(stack.name) in projects]
    if own_stacks and down and _answers(client, endpoint):
        for stack in own_stacks:
            client.delete_stack(stack)
            log(f"stack {stack.name}: gone from Portainer")
        own_stacks = []
    client.delete_endpoint(endpoint.id)
    log(f"endpoint {name}: gone from Portainer")
    for stack in own_stacks:
        try:
            _remove_orphan(client, stack)
            log(f"stack {stack.name}: gone from Portainer; its host was not asked")
        except PortainerError as error:
            log(str(error))


def _answers(client: PortainerClient, endpoint: Endpoint) -> bool:
    try:
        return client.docker_ping(endpoint.id)
    except PortainerError:
        return False


def _remove_orphan(client: PortainerClient, stack: Stack) -> None:
    """Remove a stack whose environment is gone, by one where no container has its name."""
    for endpoint in client.endpoints():
        if _answers(client, endpoint) and not client.containers(endpoint.id, stack.name):
            client.delete_stack(stack, endpoint.id)
            return
    raise PortainerError(
        f"Portainer shows stack {stack.name} as an orphan, and has no environment that answers and "
        "has no containers of that name to remove it by: remove it in Portainer"
    )
