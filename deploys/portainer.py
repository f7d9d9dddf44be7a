"""Portainer: the server on its own guest, an agent on every Docker host, the two introduced.

A server elsewhere (`site.portainer`) is introduced to the agents, and left as it is else.
"""

from deploys import existing_services, portainer_trees
from deploys.access import portainer as access
from deploys.context import secrets, setting_errors, settings, site, site_host
from deploys.site_secrets import secret
from operations import portainer, secret_rotation, serial
from operations.config_tree import config_tree
from operations.images import images
from operations.packages import packages
from phoenix.components import registries
from phoenix.components.portainer.compose_files import LOCAL_URL
from phoenix.components.portainer.tunnel import agent_url
from phoenix.derived import control_plane, deployments
from phoenix.site.secret_names import ADMIN_PASSWORD

server = site().portainer
tunnel = portainer_trees.tunnel() if server else None


def open_tunnel(whose: str) -> None:
    """This host's end of the tunnel between server and agents."""
    if tunnel is not None:
        packages(name=f"{whose}: packages of the tunnel", names=["stunnel4"])
        config_tree(name=f"{whose}: tunnel", tree=tunnel)


if site_host() == server or site_host() in site().agents:
    existing_services.find_existing()

if site_host() == server:
    portainer.prefetch_api(
        access(),
        [
            machine.portainer_environment
            for machine in deployments.stack_hosts(site())
            if deployments.by_portainer(site(), machine)
        ],
    )
    with setting_errors():
        if unfinished := secrets().is_changing(ADMIN_PASSWORD):
            secrets().propose(ADMIN_PASSWORD)
        tree = existing_services.replacing_existing("portainer", portainer_trees.server())
        password = secret(ADMIN_PASSWORD)
    packages(name="Portainer: packages", names=["jq", "curl"])
    open_tunnel("Portainer")
    images(
        name="Portainer: image",
        references=[settings().portainer_image],
        archives=settings().image_archives,
    )
    config_tree(name="Portainer: server", tree=tree)
    if unfinished:
        secret_rotation.portainer_password(
            name="Portainer: password, a change that was begun", access=access(), store=secrets()
        )
    portainer.admin(name="Portainer: administrator and API key", access=access(), password=password)
    with setting_errors():
        logins = registries.logins(settings().registries, secrets().find)
    portainer.registries(name="Portainer: registries", access=access(), logins=logins)

if site_host() in site().agents:
    with setting_errors():
        agent_tree = existing_services.replacing_existing("agent", portainer_trees.agent())
    with serial.component("Portainer agent", settings().serial):
        images(
            name="Portainer agent: image",
            references=[settings().portainer_agent_image],
            archives=settings().image_archives,
        )
        config_tree(name="Portainer agent", tree=agent_tree)
        # After it: an earlier release's agent has the port on which the tunnel ends now.
        open_tunnel("Portainer agent")

if site_host() == server or site_host() in site().agents:
    with setting_errors():
        how = access()
    if site_host() != server:
        agent = control_plane.agent(site(), site_host())
        url = agent_url(agent) if server else f"tcp://{agent.owner.address}:{agent.port}"
    else:
        url = LOCAL_URL if portainer_trees.deploys_here() else ""
    # Made by the agent's host when both are ready: an operation waits for all that take part.
    portainer.endpoint(
        name="Portainer: endpoint",
        agent=site_host().portainer_environment if url else None,
        url=url,
        access=how,
        projects=[stack.project for stack in site_host().docker_stacks],
    )
