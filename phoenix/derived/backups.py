"""What a site backs up by a timer, and where: the one answer to that question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from phoenix.site.model import Deployment, Host, Site

CA, PORTAINER, SECRETS, STACK = "ca", "portainer", "secrets", "stack:"
"""Names of parts; that of a stack's is STACK and its project."""


@dataclass(frozen=True)
class Part:
    """Something that is backed up and restored as a whole.

    Attributes:
        name: as snapshots are tagged and operators ask for it.
        what: in a few words.
        host: where it is.
        stack: the deployment whose volumes and dumps it is; None of the others.
    """

    name: str
    what: str
    host: Host
    stack: Deployment | None = None


def parts(site: Site) -> tuple[Part, ...]:
    """Every part, in the order in which a site is restored; none without `site.backups`."""
    if site.backups is None:
        return ()
    listed = []
    if site.ca is not None:
        listed.append(Part(CA, "the CA", site.ca))
        if site.backups.secrets_for:
            listed.append(Part(SECRETS, "the generated secrets", site.ca))
    if site.portainer is not None:
        listed.append(Part(PORTAINER, "Portainer's data", site.portainer))
    listed += [
        Part(f"{STACK}{stack.project}", f"stack {stack.project}", host, stack)
        for host in site.docker_hosts
        for stack in host.docker_stacks
        if stack.backup is not None and (stack.backup.volumes or stack.backup.dumps)
    ]
    return tuple(listed)


def of_host(site: Site, host: Host) -> tuple[Part, ...]:
    """The parts of one host."""
    return tuple(part for part in parts(site) if part.host == host)


def hosts(site: Site) -> tuple[Host, ...]:
    """The hosts that back something up, in the site's order."""
    having = {part.host.name for part in parts(site)}
    return tuple(host for host in site.hosts if host.name in having)


def mount_point(host: Host, folder: str) -> str:
    """The mount of a host that a folder is on, as declared; empty where it is on none."""
    points = [
        *(mount.mount_point for mount in host.mounts),
        *(mount.path for mount in host.container.bind_mounts),
        *(volume.path for volume in host.container.volumes),
    ]
    place = PurePosixPath(folder)
    on = [point for point in points if place.is_relative_to(point)]
    return max(on, key=len, default="")
