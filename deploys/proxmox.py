"""The hypervisor: templates, guests, firewall, boot order; then each guest answers by SSH."""

from dataclasses import replace
from pathlib import Path

from pyinfra import host

from deploys import existing_services
from deploys.access import proxmox as proxmox_access
from deploys.context import settings, site
from facts.proxmox import AbsentFolders, Listeners, RootShell, SshClientAddress
from operations import guest_ssh, moves, proxmox
from operations.host_state import question, read_or
from phoenix.proxmox import hostkeys
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.plan import plan
from phoenix.site.findings import ConfigError


def converge() -> None:
    """The operations in their order; each needs the results of those above it."""
    moves.refuse_before_run(site(), needs_target=True)
    config = settings().proxmox
    desired = plan(
        site(),
        config,
        ssh_key=host.data.get("ssh_key"),
        home=Path.home(),
        client_address=read_or(question(SshClientAddress), None),
    )
    access = proxmox_access(config)
    waiting = proxmox.waiting(access, desired)
    for guest in desired.guests:
        if guest.vmid in waiting:
            proxmox.skip_with_reason(name=f"Proxmox: {guest.label}", reason=waiting[guest.vmid])
    within_reach = tuple(guest for guest in desired.guests if guest.vmid not in waiting)
    desired = replace(desired, guests=within_reach)
    own_node = config.node or site().hypervisor.name
    folders = [
        mount.host_path
        for guest in desired.guests
        if guest.node == own_node
        for mount in guest.root.bind_mounts
    ]
    proxmox.prefetch_api(access, desired)
    asked = question(AbsentFolders, folders=list(dict.fromkeys(folders)))
    proxmox.ready(
        name="Proxmox: nothing stands in the way",
        access=access,
        desired=desired,
        root_shell=read_or(question(RootShell), False),
        absent_folders=read_or(asked, ()) if folders else (),
        listening=read_or(question(Listeners), {}) if desired.scopes else None,
    )
    for guest in desired.guests:
        proxmox.guest(name=f"Proxmox: {guest.label}", access=access, desired=guest, settings=config)
        if guest.kind == "lxc" and not guest.template:
            title = f"Proxmox: {guest.label}, by root"
            proxmox.root_settings(name=title, access=access, desired=guest, node=own_node)
    if desired.scopes:  # before a new guest runs for the first time
        proxmox.firewall(name="Proxmox: firewall", access=access, scopes=desired.scopes)
    for guest in desired.guests:
        if not guest.template:
            proxmox.running(name=f"Proxmox: {guest.label} runs", access=access, vmid=guest.vmid)
    if config.ha_group or config.apart or any(guest.replicate_to for guest in desired.guests):
        proxmox.cluster(
            name="Proxmox: high availability and replication",
            access=access,
            desired=desired.guests,
            settings=config,
        )
    guest_ssh.reachable(
        name="Proxmox: every guest answers by SSH",
        guests=hostkeys.guests(g for g in site().proxmox_guests if g.vmid not in waiting),
        known_hosts=host.data.get("ssh_known_hosts_file") or "~/.ssh/known_hosts",
        seconds=config.ssh_seconds,
    )


if "hypervisor" in host.groups:
    existing_services.find_existing()
    if settings().proxmox.api == "off":
        reason = 'guests and firewall are left alone: proxmox_api is "off"'
        proxmox.skip_with_reason(name="Proxmox: guests and firewall", reason=reason)
    else:
        try:
            converge()
        except (ConfigError, ProxmoxError) as error:
            proxmox.refused(name="Proxmox: guests and firewall", reason=str(error))
