"""New values for secrets, everywhere at once.

    pyinfra INVENTORY deploys/secrets_rotate.py -y --data secrets_rotate=NAME,NAME

`--data secrets_lost=true` also makes those that this machine lacks, as nobody has them any more.
Portainer's password and the agent secret are proven to work before the old ones are forgotten.
"""

from dataclasses import replace

from pyinfra import local

from deploys import portainer_trees
from deploys.access import portainer as access
from deploys.context import secrets, setting_errors, settings, site, site_host
from deploys.run_arguments import flag, listed
from operations import secret_rotation
from operations.config_tree import config_tree
from phoenix.secrets import catalog
from phoenix.site.secret_names import ADMIN_PASSWORD, AGENT_SECRET, GATEWAY_CERTIFICATE

with setting_errors():
    lost = flag("secrets_lost")
    uses = catalog.rotatable(
        listed("secrets_rotate"),
        site(),
        secrets(),
        lost=lost,
        registries=settings().registries,
    )
    names = [use.name for use in uses]
    catalog.propose(names, secrets())
    server = site().portainer

proven = (ADMIN_PASSWORD, AGENT_SECRET, GATEWAY_CERTIFICATE)
simple = [name for name in names if name not in proven]
if simple:
    secret_rotation.promoted(
        name="Secrets: new values", store=secrets(), names=simple, _run_once=True
    )

if ADMIN_PASSWORD in names and site_host() == server:
    secret_rotation.portainer_password(
        name="Portainer: new password", access=access(), store=secrets()
    )

if AGENT_SECRET in names and (site_host() == server or site_host() in site().agents):
    # An agent takes one secret, and the server proves itself by the one that it started with: so no
    # request may reach an agent between the two restarts. The server ends what it has and stops,
    # and Traefik holds what comes (RETRY_TIMEOUT) until it starts behind the agents.
    with setting_errors():
        tree = portainer_trees.server() if site_host() == server else portainer_trees.agent()
    later = replace(tree, confirm=secret_rotation.CONFIRM_SECONDS, start_later=True)
    config_tree(name="Agent secret: new files at server and agents, to be confirmed", tree=later)
    if site_host() == server:
        secret_rotation.held(name="Agent secret: requests wait for Portainer's server", tree=later)
    if site_host() != server:
        secret_rotation.started(name="Agent secret: agents restart", tree=later)
    if site_host() == server:
        secret_rotation.started(name="Agent secret: Portainer's server starts", tree=later)
    secret_rotation.endpoints_answer(
        name="Agent secret: does the server reach the agents",
        access=access(),
        names=[agent.portainer_environment for agent in site().agents]
        if site_host() == server
        else None,
    )
    secret_rotation.agent_secret_confirmed(
        name="Agent secret: keep or undo", tree=tree, store=secrets()
    )

taking = {deploy for use in uses for deploy in use.deploys}


def take_up(deploy: str) -> None:
    """Have a deploy file give its hosts the new values, where it has some of them."""
    if deploy in taking:
        local.include(deploy)


# Of a loop all includes would have one line. pyinfra knows a step by the lines that lead to it, so
# two files with a step at the same line of theirs would be one step to it.
take_up("deploys/step_ca.py")
take_up("deploys/certificates.py")
take_up("deploys/traefik.py")
take_up("deploys/nginx.py")
take_up("deploys/admission.py")
take_up("deploys/passthrough.py")
take_up("deploys/portainer.py")
take_up("deploys/stacks.py")
take_up("deploys/watch.py")
take_up("deploys/restic.py")
