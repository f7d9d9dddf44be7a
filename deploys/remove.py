"""Remove what is not declared any more: what `phoenix remove` found and asked about.

The setting `remove` is a `phoenix.health.removal.Removal` as JSON.
"""

from pyinfra import host

from deploys.access import portainer, proxmox
from deploys.context import secrets, setting_errors, settings, site
from facts.containers import ComposeProjects
from facts.leftovers import PlacedByPhoenix
from operations import identity, removal, swarm
from operations import proxmox as guests
from operations.host_state import question, read_or
from phoenix.components.docker.projects import ComposeProject
from phoenix.health.removal import Removal, leaving_trees, stacks_on
from phoenix.health.undeclared import Placed
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.firewall import OWN, scopes
from phoenix.proxmox.removal import scopes_to_clear

with setting_errors():
    asked = Removal.of_setting(host.data.get("remove"))
    asked.check(site())
item = asked.item
on_it = host.name == asked.target

# Containers first: what Portainer still has of them is then taken out of its database.
if on_it and item.kind in ("stack", "volumes"):
    removal.compose_project(
        name=f"Remove: containers of {item.name}",
        project=item.name,
        volumes=asked.volumes,
        keeps=dict(asked.keeps),
    )
if on_it and item.kind == "host":
    present: list[ComposeProject] = read_or(question(ComposeProjects), [])
    for project in stacks_on(present, asked.projects):
        removal.compose_project(
            name=f"Remove: containers of {project}", project=project, volumes=asked.volumes
        )
# pyinfra keeps the order of one host's steps alone: each phase waits for the one before it.
removal.wait_for_all_hosts(name="Remove: containers are gone")
server = site().portainer
# A Portainer elsewhere is asked from here, once, about declared hosts' environments alone.
elsewhere = site().external_portainer is not None and bool(asked.environment or item.endpoints)
if host.name == (site().hypervisor.name if elsewhere else server.name if server else ""):
    if item.kind == "stack":
        removal.portainer_stack(
            name=f"Remove: stack {item.name} in Portainer",
            access=portainer(),
            project=item.name,
            environment=asked.environment or None,
        )
    if item.endpoints:
        removal.environments(
            name=f"Remove: endpoint {', '.join(item.endpoints)}",
            access=portainer(),
            names=item.endpoints,
            projects=asked.projects,
            down=item.kind == "host",
        )
removal.wait_for_all_hosts(name="Remove: Portainer is done")
if on_it:
    placed = read_or(question(PlacedByPhoenix), Placed())
    for tree in leaving_trees(item, placed):
        removal.component(name=f"Remove: {tree}", tree=tree, volumes=asked.volumes)
if on_it and item.kind == "host":
    identity.forgotten(name="Remove: which host this was")
if on_it and item.kind == "node":
    swarm.removed(name=f"Remove: node {item.name} of the swarm", site=site(), node=item.name)
if on_it and item.kind == "overlay":
    swarm.network_removed(name=f"Remove: network {item.name}", site=site(), network=item.name)
removal.wait_for_all_hosts(name="Remove: components are gone")
if host.name == site().hypervisor.name:
    if item.vmid is not None:
        config = settings().proxmox
        if config.api == "off":
            guests.refused(
                name=f"Remove: guest {item.vmid}",
                reason=f'guest {item.vmid} is left alone, since proxmox_api is "off": stop or '
                "destroy it in Proxmox VE",
            )
        else:
            try:
                guests.removed(
                    name=f"Remove: guest {item.vmid}",
                    access=proxmox(config),
                    vmid=item.vmid,
                    destroy=asked.destroy,
                )
            except ProxmoxError as error:
                guests.refused(name=f"Remove: guest {item.vmid}", reason=str(error))
    if item.kind == "firewall":
        config = settings().proxmox
        if config.api == "off":
            guests.refused(
                name="Remove: rules of the firewall",
                reason='rules of the firewall are left alone, since proxmox_api is "off": remove '
                f"those whose comment begins with {OWN.strip()} in Proxmox VE",
            )
        else:
            try:
                guests.rules_removed(
                    name="Remove: rules of the firewall",
                    access=proxmox(config),
                    scopes=scopes_to_clear(scopes(site(), config), firewall=config.firewall),
                )
            except ProxmoxError as error:
                guests.refused(name="Remove: rules of the firewall", reason=str(error))
    if item.kind == "secret":
        removal.secret(name=f"Remove: secret {item.name}", secret=item.name, store=secrets())
    if asked.lines:
        removal.registered(name="Remove: the register", lines=asked.lines)
