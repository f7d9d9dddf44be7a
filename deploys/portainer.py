"""Portainer: the server on its own guest, an agent on every Docker host, the two introduced."""

from pyinfra import host

from deploys.access import portainer as access
from deploys.context import me, render, secrets, settings, site
from operations import portainer
from operations.config_tree import config_tree
from operations.images import images
from operations.packages import packages
from phoenix.config_tree import Tree, TreeFile
from phoenix.portainer import (
    AGENT_PORT,
    AGENT_UNIT,
    DIRECTORY,
    SERVER_PORT,
    SERVER_UNIT,
    agent_compose,
    agent_url,
    check_password,
    server_compose,
)
from phoenix.roles import guest_with
from phoenix.traefik import ROOT_CA

with settings():
    server = guest_with(site(), "portainer")
# The proposed file, reading the proposed environment.
CHECK = (
    f'sed "s#{DIRECTORY}/#$ROOT&#" "$ROOT{DIRECTORY}/compose.yml"'
    " | docker compose --file - config --quiet"
)


def shared_secret() -> TreeFile:
    """What server and agent know and nobody else: without it the first caller owns the agent."""
    value = secrets().get("portainer_agent_secret").get_secret_value()
    return TreeFile(f"AGENT_SECRET={value}\n", mode="0600", secret=True)


if me() == server:
    with settings():
        password = secrets().get("portainer_admin_password")
        check_password(password.get_secret_value())
    image = host.data.portainer_image
    packages(name="Portainer: packages", names=["jq", "curl"])
    images(name="Portainer: image", references=[image], archives=host.data.image_archives)
    config_tree(
        name="Portainer: server",
        tree=Tree(
            component="portainer",
            files={
                f"{DIRECTORY}/compose.yml": TreeFile(server_compose(image)),
                f"{DIRECTORY}/agent.env": shared_secret(),
                f"{DIRECTORY}/admin_password": TreeFile(
                    password.get_secret_value(), mode="0600", secret=True
                ),
                f"/etc/systemd/system/{SERVER_UNIT}": TreeFile(
                    render(
                        "compose.service.j2",
                        what="Portainer server",
                        image=image,
                        directory=DIRECTORY,
                        before=[],
                    )
                ),
            },
            unit=SERVER_UNIT,
            action="restart",
            validate=CHECK,
            health=f"curl -fsS --max-time 3 --cacert {ROOT_CA} --resolve "
            f"{server.fqdn}:{SERVER_PORT}:{server.address} "
            f"https://{server.fqdn}:{SERVER_PORT}/api/system/status | grep -q Version",
            deadline=120,
        ),
    )
    portainer.admin(name="Portainer: administrator and API key", access=access(), password=password)

if me() in site().agents:
    image = host.data.portainer_agent_image
    # Docker's published ports bypass the INPUT chain; this one is in front of them.
    guard = (
        f"DOCKER-USER -p tcp -m conntrack --ctorigdst {me().address} --ctorigdstport {AGENT_PORT} "
        f"! --ctorigsrc {server.address} -m comment --comment phoenix-agent -j DROP"
    )
    images(name="Portainer agent: image", references=[image], archives=host.data.image_archives)
    config_tree(
        name="Portainer agent",
        tree=Tree(
            component="portainer-agent",
            files={
                f"{DIRECTORY}/compose.yml": TreeFile(agent_compose(image, me())),
                f"{DIRECTORY}/agent.env": shared_secret(),
                f"/etc/systemd/system/{AGENT_UNIT}": TreeFile(
                    render(
                        "compose.service.j2",
                        what="Portainer agent",
                        image=image,
                        directory=DIRECTORY,
                        before=[
                            f"/bin/sh -c 'iptables -C {guard} 2>/dev/null || iptables -I {guard}'"
                        ],
                    )
                ),
            },
            unit=AGENT_UNIT,
            action="restart",
            validate=CHECK,
            # The agent's certificate is its own and changes with each start; its ping needs no
            # secret, and the server proves itself to it with one.
            health=f"curl -fsSk --max-time 3 https://{me().address}:{AGENT_PORT}/ping",
            deadline=120,
        ),
    )

if me() == server or me() in site().agents:
    # Made by the agent's host when both are ready: an operation waits for all that take part.
    portainer.endpoint(
        name="Portainer: endpoint",
        agent=me().portainer_environment if me() in site().agents else None,
        url=agent_url(site(), me()) if me() in site().agents else "",
        access=access(),
    )
