"""Files and units of Portainer's server and agent, for the deploys that put them on their hosts."""

from __future__ import annotations

from pyinfra import host

from deploys.context import me, secrets, site
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.portainer.config import (
    AGENT_PORT,
    AGENT_UNIT,
    DIRECTORY,
    SERVER_PORT,
    SERVER_UNIT,
    agent_compose,
    check_password,
    server_compose,
)
from phoenix.components.trust import ROOTS
from phoenix.files import render
from phoenix.shell import fill, join
from phoenix.site.roles import guest_with

# The proposed file, reading the proposed environment.
CHECK = fill(
    'd={{ directory }}; sed "s#$d/#$ROOT&#" "$ROOT$d/compose.yml"'
    " | docker compose --file - config --quiet",
    directory=DIRECTORY,
)


def shared_secret() -> TreeFile:
    """What server and agent know and nobody else: without it the first caller owns the agent."""
    value = secrets().get("portainer_agent_secret").get_secret_value()
    return TreeFile(f"AGENT_SECRET={value}\n", mode="0600", secret=True)


def server() -> Tree:
    """The server on its own guest.

    Raises:
        PortainerSettingError: Portainer would not take the administrator's password.
    """
    password = secrets().get("portainer_admin_password").get_secret_value()
    check_password(password)
    image = host.data.portainer_image
    where = guest_with(site(), "portainer")
    return Tree(
        component="portainer",
        files={
            f"{DIRECTORY}/compose.yml": TreeFile(server_compose(image)),
            f"{DIRECTORY}/agent.env": shared_secret(),
            f"{DIRECTORY}/admin_password": TreeFile(password, mode="0600", secret=True),
            f"/etc/systemd/system/{SERVER_UNIT}": TreeFile(
                render(
                    "components/portainer/compose.service.j2",
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
        health=fill(
            "curl -fsS --max-time 3 --cacert {{ root }} --resolve {{ end }}:{{ address }}"
            " https://{{ end }}/api/system/status | grep -q Version",
            root=ROOTS,
            end=f"{where.fqdn}:{SERVER_PORT}",
            address=where.address,
        ),
        deadline=120,
    )


def agent() -> Tree:
    """The agent on this Docker host."""
    image = host.data.portainer_agent_image
    # Docker's published ports bypass the INPUT chain; this one is in front of them.
    rule = fill(
        "DOCKER-USER -p tcp -m conntrack --ctorigdst {{ agent }} --ctorigdstport {{ port }} "
        "! --ctorigsrc {{ server }} -m comment --comment phoenix-agent -j DROP",
        agent=me().address,
        port=AGENT_PORT,
        server=guest_with(site(), "portainer").address,
    )
    guard = f"iptables -C {rule} 2>/dev/null || iptables -I {rule}"
    return Tree(
        component="portainer-agent",
        files={
            f"{DIRECTORY}/compose.yml": TreeFile(agent_compose(image, me())),
            f"{DIRECTORY}/agent.env": shared_secret(),
            f"/etc/systemd/system/{AGENT_UNIT}": TreeFile(
                render(
                    "components/portainer/compose.service.j2",
                    what="Portainer agent",
                    image=image,
                    directory=DIRECTORY,
                    before=[join("/bin/sh", "-c", guard)],
                )
            ),
        },
        unit=AGENT_UNIT,
        action="restart",
        validate=CHECK,
        # The agent's certificate is its own and changes with each start; its ping needs no
        # secret, and the server proves itself to it with one.
        health=fill(
            "curl -fsSk --max-time 3 https://{{ end }}/ping", end=f"{me().address}:{AGENT_PORT}"
        ),
        deadline=120,
    )
