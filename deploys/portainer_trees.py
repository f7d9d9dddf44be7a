"""Files and units of Portainer's server and agent, for the deploys that put them on their hosts."""

from __future__ import annotations

from deploys.context import settings, site, site_host
from deploys.given_secrets import given_secret
from deploys.site_secrets import secret
from operations import moves
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.portainer.compose_files import (
    AGENT_ENVIRONMENT,
    AGENT_UNIT,
    DIRECTORY,
    PASSWORD_FILE,
    SERVER_UNIT,
    SOCKET_SCRIPT,
    agent_compose,
    server_compose,
)
from phoenix.components.portainer.database import Database
from phoenix.components.portainer.tunnel import (
    CONFIG,
    UNIT,
    at_the_agent,
    at_the_server,
)
from phoenix.components.restart import restart_always
from phoenix.derived import control_plane, deployments
from phoenix.derived.components import SERVER
from phoenix.files import render, text
from phoenix.secrets.rules import check_portainer_password
from phoenix.shell import fill, in_turn
from phoenix.site.ports import LOOPBACK
from phoenix.site.roles import guest_with
from phoenix.site.secret_names import ADMIN_PASSWORD, AGENT_SECRET

# The proposed file, reading the proposed environment.
CHECK = fill(
    'd={{ directory }}; sed "s#$d/#$ROOT&#" "$ROOT$d/compose.yml"'
    " | docker compose --file - config --quiet",
    directory=DIRECTORY,
)


def shared_secret() -> TreeFile:
    """The secret of server and agent: without it the first caller owns the agent.

    That of a Portainer elsewhere is given: it knows no other.
    """
    known = given_secret(AGENT_SECRET) if site().external_portainer else secret(AGENT_SECRET)
    value = known.get_secret_value()
    return TreeFile(f"AGENT_SECRET={value}\n", mode="0600", secret=True)


def deploys_here() -> bool:
    """Whether the server deploys stacks on its own guest, or has one that a move has stopped there.

    It needs its Docker's socket to forget that one. The end of the move takes the socket away.
    """
    return guest_with(site(), "portainer") in deployments.environments(site()) or moves.moved_away()


def server(*, at_the_end_of_a_move: bool = False) -> Tree:
    """The server on its own guest.

    Args:
        at_the_end_of_a_move: what moves have left on the guest is gone when this is applied.

    Raises:
        SecretError: Portainer would not take the administrator's password.
    """
    password = secret(ADMIN_PASSWORD).get_secret_value()
    check_portainer_password(password)
    image = settings().portainer_image
    where, port = guest_with(site(), "portainer"), control_plane.portainer_port(site())
    database = Database(SERVER, f"{where.fqdn}:{port}", str(where.address))
    stays = where in deployments.environments(site())
    socket = stays if at_the_end_of_a_move else deploys_here()
    return Tree(
        component=SERVER,
        files={
            f"{DIRECTORY}/compose.yml": TreeFile(server_compose(image, port, deploys_here=socket)),
            SOCKET_SCRIPT: TreeFile(text("components/portainer/socket.sh")),
            AGENT_ENVIRONMENT: shared_secret(),
            PASSWORD_FILE: TreeFile(password, mode="0600", secret=True),
            f"/etc/systemd/system/{SERVER_UNIT}": TreeFile(
                render(
                    "components/portainer/compose.service.j2",
                    what="Portainer server",
                    image=image,
                    directory=DIRECTORY,
                    socket_script=SOCKET_SCRIPT,
                )
            ),
            **restart_always(SERVER_UNIT),
        },
        unit=SERVER_UNIT,
        action="restart",
        validate=in_turn(CHECK, database.fits),
        before=database.keep,
        revert=database.put_back,
        health=database.answers,
        deadline=120,
    )


def agent() -> Tree:
    """The agent on this Docker host."""
    image = settings().portainer_agent_image
    service = control_plane.agent(site(), site_host())
    end = LOOPBACK if site().portainer else service.owner.address
    return Tree(
        component="portainer-agent",
        files={
            f"{DIRECTORY}/compose.yml": TreeFile(agent_compose(image, service.port, end)),
            SOCKET_SCRIPT: TreeFile(text("components/portainer/socket.sh")),
            AGENT_ENVIRONMENT: shared_secret(),
            f"/etc/systemd/system/{AGENT_UNIT}": TreeFile(
                render(
                    "components/portainer/compose.service.j2",
                    what="Portainer agent",
                    image=image,
                    directory=DIRECTORY,
                    socket_script=SOCKET_SCRIPT,
                )
            ),
            **restart_always(AGENT_UNIT),
        },
        unit=AGENT_UNIT,
        action="restart",
        validate=CHECK,
        # Rules by which earlier releases guarded the agent's published port
        before="iptables -S DOCKER-USER 2>/dev/null | grep -- '--comment phoenix-agent ' | "
        "while read -r _ rule; do iptables -D $rule; done",
        # The agent's certificate is its own and changes with each start; its ping needs no
        # secret, and the server proves itself to it with one.
        health=fill(
            "curl -fsSk --max-time 3 https://{{ end }}/ping",
            end=f"{end}:{service.port}",
        ),
        deadline=120,
    )


def tunnel() -> Tree | None:
    """The tunnel's end on this host: Portainer's guest or an agent's; None where it has none."""
    agents = [control_plane.agent(site(), host) for host in site().agents]
    server = guest_with(site(), "portainer")
    if site_host() in site().agents:
        config = at_the_agent(control_plane.agent(site(), site_host()), server)
    elif site_host() == server and agents:
        config = at_the_server(agents, server)
    else:
        return None
    return Tree(
        component="portainer-tunnel",
        files={
            CONFIG: TreeFile(config),
            f"/etc/systemd/system/{UNIT}": TreeFile(text("components/portainer/tunnel.service")),
            **restart_always(UNIT),
        },
        unit=UNIT,
        action="restart",
        health=fill("systemctl is-active --quiet {{ unit }}", unit=UNIT),
    )
