"""The components of the platform as data: their order, the hosts that each changes, what each does.

A component is one file of deploys/, called like it. `deploys/all.py` runs them in this order; a
test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from phoenix.derived import backups
from phoenix.derived.certificates import certificates, is_passthrough
from phoenix.derived.deployments import deployment_method, stack_hosts
from phoenix.derived.virtual_addresses import of_host
from phoenix.site.addressing import routed_networks
from phoenix.site.model import Host, Service, Site


@dataclass(frozen=True)
class Component:
    """One component.

    Attributes:
        name: as an operator writes it, and as its file in deploys/ is called.
        does: what it does, in a line.
        hosts: the hosts of a site that it changes, in the site's order.
        trees: the configuration trees that it keeps on each of its hosts, by the name of
            `Tree.component`; None: one that is called like the component, with hyphens. Trees that
            only some of its hosts have are told by `trees_of`.
        stage: it may rest on what components of an earlier stage do on other hosts. pyinfra keeps
            the order of operations on each host alone, so a stage needs a call of its own.
    """

    name: str
    does: str
    hosts: Callable[[Site], tuple[Host, ...]]
    stage: int = 2
    trees: tuple[str, ...] | None = None

    @property
    def deploy(self) -> str:
        """The deploy file, relative to the project's directory."""
        return f"deploys/{self.name}.py"


def _all(site: Site) -> tuple[Host, ...]:
    return site.hosts


def _hypervisor(site: Site) -> tuple[Host, ...]:
    return (site.hypervisor,)


def _watching(site: Site) -> tuple[Host, ...]:
    return tuple(host for host in site.hosts if host in site.watched or host == site.watcher)


def _present(*hosts: Host | None) -> tuple[Host, ...]:
    return tuple(host for host in hosts if host is not None)


COMPONENTS: tuple[Component, ...] = (
    Component(
        "networks",
        "bridges, forwarding and NAT of the hypervisor",
        lambda site: (site.hypervisor,) if routed_networks(site) else (),
        0,
    ),
    Component("proxmox", "guests and firewall, by the Proxmox VE API", _hypervisor, 0, ()),
    Component(
        "keepalived",
        "the virtual addresses of two gateways, by VRRP",
        lambda site: tuple(host for host in site.gateways if of_host(site, host)),
        0,
    ),
    Component("dns", "the name server of the internal zone", lambda site: site.name_servers, 0),
    Component(
        "base", "packages, time zone, resolver, SSH, security updates", _all, 1, ("base", "ssh")
    ),
    Component("step_ca", "the certificate authority", lambda site: _present(site.ca), 1),
    Component("trust", "the CA's root certificate, trusted by every host", _all, 1),
    Component(
        "nfs_exports",
        "folders that the hypervisor shares by NFS",
        lambda site: tuple(host for host in site.hosts if host.exports),
        1,
    ),
    Component("guard", "what each host lets in, by nftables on the host itself", _all, 2, ()),
    Component(
        "nfs",
        "folders that guests mount by NFS",
        lambda site: tuple(host for host in site.hosts if host.mounts),
    ),
    Component(
        "certificates",
        "certificates of the guests that serve TLS themselves",
        lambda site: tuple(
            dict.fromkeys(
                certificate.host
                for certificate in certificates(site)
                if certificate.name == "host" or certificate.project
            )
        ),
        trees=(),
    ),
    Component(
        "traefik",
        "the internal proxy and its routes",
        lambda site: site.traefiks,
        trees=("traefik", "traefik-routes"),
    ),
    Component("home", "the start page's server", lambda site: site.traefiks),
    Component(
        "nginx",
        "the gateway",
        lambda site: site.gateways,
        trees=("nginx", "nginx-sandbox"),
    ),
    Component(
        "admission",
        "Traefik lets the gateway alone in, by its certificate",
        lambda site: (*site.traefiks, *site.gateways),
        trees=(),
    ),
    Component(
        "passthrough",
        "certificates of services whose TLS the gateway passes on",
        lambda site: tuple(
            dict.fromkeys(pair.host for pair in certificates(site) if is_passthrough(site, pair))
        ),
        trees=(),
    ),
    Component("docker", "Docker Engine on the Docker hosts", lambda site: site.docker_hosts),
    Component(
        "swarm",
        "the Docker Swarm: its managers and workers, and their labels",
        lambda site: site.swarm_nodes,
        trees=(),
    ),
    Component(
        "portainer",
        "Portainer's server and its agents",
        lambda site: (*_present(site.portainer), *site.agents),
        trees=(),
    ),
    Component("stacks", "the applications on the Docker hosts", stack_hosts, trees=()),
    Component(
        "watch",
        "each host's checks by a timer, and the watcher that raises alarms",
        _watching,
        trees=(),
    ),
    Component("restic", "backups by a timer, each proven by a restore", backups.hosts),
    Component("verify", "proof of every hop, from the host that makes it", _all, trees=()),
)
"""Every component, in the order in which they are deployed."""


CERTIFICATE, STACK = "acme-", "stack-"
"""What the trees of certificates and of stacks' files begin with."""
SERVER, AGENT, ADMISSION = "portainer", "portainer-agent", "traefik-admission"
TUNNEL, GUARD = "portainer-tunnel", "guard"
"""The trees of Portainer's server and agent."""
WATCHED, WATCHER = "watch", "watcher"
"""The trees of a host that makes its checks by a timer, and of the one that they report to."""


def stack_tree(project: str) -> str:
    """The name of the tree with a stack's files."""
    return f"{STACK}{project.replace('_', '-')}"


def trees_of(site: Site, host: Host) -> frozenset[str]:
    """The configuration trees that a host may have: of its components, certificates and stacks."""
    names = {
        tree
        for component_ in COMPONENTS
        if host in component_.hosts(site)
        for tree in (
            (component_.name.replace("_", "-"),) if component_.trees is None else component_.trees
        )
    }
    names |= {
        f"{CERTIFICATE}{certificate.name}"
        for certificate in certificates(site)
        if certificate.host == host
    }
    if host in site.docker_hosts:
        names.add("docker-apt")  # with the setting docker_packages
        if deployment_method(site, host) == "compose":
            names.add("registries")
    if host in site.traefiks and site.gateways:
        names.add(ADMISSION)
    if site.portainer and site.agents and host in (site.portainer, *site.agents):
        names.add(TUNNEL)
    if host.guarded:
        names.add(GUARD)
    if host in site.watched:
        names.add(WATCHED)
    if host == site.watcher:
        names.add(WATCHER)
    if host == site.portainer:
        names.add(SERVER)
    if host in site.agents:
        names.add(AGENT)
    return frozenset(names | {stack_tree(stack.project) for stack in host.docker_stacks})


def component(name: str) -> Component | None:
    """The component of this name, None if there is none."""
    return next((component_ for component_ in COMPONENTS if component_.name == name), None)


def in_order(names: Iterable[str]) -> tuple[Component, ...]:
    """The components of these names, each once, in the order in which they are deployed."""
    chosen = set(names)
    return tuple(component for component in COMPONENTS if component.name in chosen)


_BY_KIND: Mapping[str, tuple[str, ...]] = {
    "backend": (),
    "dashboard": ("traefik",),
    "home": ("home",),
    "ca": ("step_ca",),
    "agent": ("portainer",),
    "redirect": ("traefik",),
    "external": ("traefik",),
    "tcp": (),
}
"""The component that runs a service of each kind; a backend's is found by its owner."""


def components_of(site: Site, service: Service) -> tuple[Component, ...]:
    """The components whose files, containers or certificates depend on a service, in order.

    The last one is `verify`: it proves what the others did.
    """
    # Firewall of the hypervisor and of the host itself, record, proof
    names = {"proxmox", "guard", "dns", "verify", *_BY_KIND[service.kind]}
    if service.kind == "tcp":
        names.add("nginx")
    elif service.exposure == "gateway":
        names |= {"traefik", "nginx"}  # the route; the gateway's names and their certificate
    for name in ("certificates", "passthrough"):
        if service.owner in component_hosts(name, site):
            names.add(name)
    if service.deployment is not None:
        names.add("stacks")
    elif service.kind == "backend" and service.owner == site.portainer:
        names.add("portainer")
    return in_order(names)


def hosts_of(site: Site, service: Service) -> tuple[Host, ...]:
    """The hosts that `components_of` a service change for its sake, in the site's order."""
    taking_part = {service.owner.name, *(host.name for host in site.name_servers)}
    if service.exposure == "gateway":
        taking_part |= {host.name for host in (*site.gateways, *site.traefiks)}
    if service.kind == "agent":
        taking_part |= {host.name for host in _present(site.portainer)}
    return tuple(host for host in site.hosts if host.name in taking_part)


def component_hosts(name: str, site: Site) -> tuple[Host, ...]:
    """The hosts that the component of this name changes; none where there is no such component."""
    part = component(name)
    return part.hosts(site) if part else ()


def deploys_components(command: str) -> bool:
    """Whether a command deploys the declaration or a part of it.

    Args:
        command: as an operator typed it: `phoenix sync ...`, or `pyinfra` with deploy files.
    """
    words = command.split()
    if words[:1] == ["phoenix"]:
        return words[1:2] == ["sync"]
    files = [known.deploy for known in COMPONENTS if known.name != "verify"]
    return any(word.endswith((*files, "deploys/all.py", "deploys/moves.py")) for word in words)
