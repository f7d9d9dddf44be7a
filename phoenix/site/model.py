"""The site as the deploys see it: frozen, typed, checked. `phoenix.declaration.load` makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from phoenix.site.findings import Finding
from phoenix.site.names import normalise_name
from phoenix.site.ports import SSH

_Item = TypeVar("_Item")
Kind = Literal["hypervisor", "lxc", "vm"]
LeftAlone = Literal[
    "time", "resolver", "updates", "ssh", "trust", "packages", "guard", "guest_agent", "docker",
    "start_page", "dashboard", "watch", "proxmox",
]  # fmt: skip
"""What every host gets by default, and keeps as it is where `leave_alone` says so."""


class Frozen(BaseModel):
    """Base of all site types: immutable, hashable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @override
    def __copy__(self) -> Self:
        """Copy the fields; what `cached_property` derived from them is derived anew."""
        copied = super().__copy__()
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class Named(Frozen):
    """Something told apart by its name, so that comparing is cheap where the names differ."""

    name: str

    @override
    def __eq__(self, other: object) -> bool:
        """Whether both are the same object, or of the same type and equal in all fields."""
        if self is other:
            return True
        if isinstance(other, Named) and self.name != other.name:
            return False
        return super().__eq__(other)

    @override
    def __hash__(self) -> int:
        """By the name alone."""
        return hash(self.name)


class Source(Frozen):
    """Where something is declared: file and JSON path."""

    file: str
    path: str


class FirewallRule(Frozen):
    """A declared rule. `ports` is "443", "80,443" or "8000:8010"; None peers mean anyone.

    `source_of` is where it stands; None: among its host's, or its stack's, own.
    """

    direction: Literal["in", "out"]
    action: Literal["ACCEPT", "DROP", "REJECT"]
    proto: Literal["tcp", "udp", "icmp"] | None
    ports: str | None
    source: IPv4Network | None
    destination: IPv4Network | None
    comment: str
    source_of: Source | None = None


class ExtraRecord(Frozen):
    """An address record declared in a guest's `dns_records`, fully qualified."""

    name: str
    address: IPv4Address


class Variable(Frozen):
    """A variable of a stack. `value` is None where `secret` names the secret to take it from."""

    name: str
    value: str | None
    secret: str | None


class StackFile(Frozen):
    """A file that a stack's services read at `destination`.

    `source` is beside the manifest; where it is None, `secret` names the secret that is the
    content.
    """

    source: str | None
    secret: str | None
    destination: str


class PublishedPort(Frozen):
    """A port of a stack's service that its host publishes.

    `address` is the one address that it is published on; None: every IPv4 address of the host.
    """

    service: str
    host_port: int
    container_port: int
    proto: str
    address: IPv4Address | IPv6Address | None = None

    def answers_at(self, address: IPv4Address | None) -> bool:
        """Whether TCP connections to the host's `address` reach it.

        Where that is None the host is unknown, and may have any IPv4 address but the loopback.
        """
        if self.proto != "tcp" or self.address is None:
            return self.proto == "tcp"
        if address is None:
            return self.address.version == 4 and not self.address.is_loopback
        return self.address == address


class StackTls(Frozen):
    """Who may read the private key of a stack's own certificate, on its host and in containers.

    `mode` is in octal, as `0400`. The group counts where `mode` lets it read.
    """

    uid: int = 0
    gid: int = 0
    mode: str = "0600"


class Dump(Frozen):
    """A command in a service's container that gives out what is to be backed up.

    `load` takes it in again, on its standard input; empty where nothing does.
    """

    service: str
    command: tuple[str, ...]
    load: tuple[str, ...] = ()


class BackedUpVolume(Frozen):
    """A volume of a stack's compose file, and its name in Docker; `external` is nobody's own."""

    key: str
    name: str
    external: bool = False


class StackBackup(Frozen):
    """What of a stack is backed up."""

    volumes: tuple[BackedUpVolume, ...]
    dumps: tuple[Dump, ...]


class Deployment(Named):
    """One stack in one environment on one guest.

    `source` is where the environment is declared, and `entry` where its guest names it.
    `compose_file` is on the control machine, and
    `compose_label` what findings call it. `directory` is what its files' sources are relative to.
    """

    environment: str
    description: str
    source: Source
    entry: Source
    directory: Path
    compose_file: Path
    compose_label: str
    variables: tuple[Variable, ...]
    files: tuple[StackFile, ...]
    ports: tuple[PublishedPort, ...]
    firewall_rules: tuple[FirewallRule, ...]
    images: tuple[str, ...] = ()
    """References of its images, as far as they are known without secrets and settings."""
    completing: tuple[str, ...] = ()
    """Services whose container may have ended with code 0: it is then done, and not down."""
    tls: StackTls | None = None
    """As declared; None where the stack says nothing, and has a certificate for HTTPS alone."""
    host_access: bool = False
    """Whether its containers may reach everything on their host."""
    type: Literal["compose", "swarm"] = "compose"
    """Whether it is containers of its host, or services of the swarm that its host manages."""
    placement: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Of a Swarm stack the placement constraints of each service that has some."""
    networks: tuple[str, ...] = ()
    """Networks that it takes and does not make."""
    backup: StackBackup | None = None
    """What a site with `backups` backs up of it; None: nothing."""
    volumes: tuple[str, ...] = ()
    """Its volumes, by their keys in the compose file."""

    @cached_property
    def project(self) -> str:
        """Name of the deployed stack, unique on its guest: `NAME-ENVIRONMENT` as Docker has it."""
        return normalise_name(f"{self.name}-{self.environment}")


class BindMount(Frozen):
    """A folder of the hypervisor inside a container."""

    path: str
    host_path: str
    read_only: bool


class GuestVolume(Frozen):
    """A volume of its own in a container, of `size_gb` GiB on a storage of the hypervisor."""

    path: str
    storage: str
    size_gb: int


class ContainerSettings(Frozen):
    """What a container's entry says of it to Proxmox VE alone.

    `features` are pairs of name and value (pct.conf(5)); `devices` are nodes of the hypervisor;
    `idmap` is whole, as in lxc.container.conf(5); `low_level` are key and value of further lines of
    that form.
    """

    features: tuple[tuple[str, str], ...] = ()
    volumes: tuple[GuestVolume, ...] = ()
    bind_mounts: tuple[BindMount, ...] = ()
    devices: tuple[str, ...] = ()
    idmap: tuple[str, ...] = ()
    low_level: tuple[tuple[str, str], ...] = ()


class Network(Named):
    """A network of the site. `path` is where the hypervisor's file declares it.

    `subnet` is None where only a DHCP server elsewhere knows the addresses. `address` is the
    hypervisor's own, None where it has none. With `nat` the hypervisor is its router, and hides its
    guests behind its own address where they go outside the site. `managed`: where the hypervisor
    is its router, Phoenix makes the bridge, forwarding and NAT. `own_dns`: its clients ask another
    name server.
    """

    subnet: IPv4Network | None
    bridge: str
    vlan: int | None
    gateway: IPv4Address | None
    address: IPv4Address | None
    dhcp: bool
    nat: bool
    path: str
    managed: bool = True
    own_dns: bool = False

    @property
    def place(self) -> str:
        """Its bridge, and its VLAN where it has a tag, as Linux calls the interface: vmbr0.20."""
        return self.bridge if self.vlan is None else f"{self.bridge}.{self.vlan}"


class Interface(Named):
    """A network card of a machine. `address` is None where it asks DHCP.

    `network` is the name of its network; empty where no declared one is meant, as of a template.
    """

    network: str
    bridge: str
    vlan: int | None
    address: IPv4Address | None
    prefixlen: int | None
    gateway: IPv4Address | None
    mac: str | None


class SshLogin(Frozen):
    """How a host is logged in to. None: as the inventory says.

    `name` is one of ~/.ssh/config; `jump` hosts lie between, with commas. Commands run by sudo
    where `sudo` is true; `sudo_password` names the secret that it asks for.
    """

    name: str | None = None
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    jump: str | None = None
    sudo: bool = False
    sudo_password: str | None = None


class NfsMount(Frozen):
    """A folder of an NFS server that a guest mounts; `source` is where it is declared."""

    server: IPv4Address
    path: str
    mount_point: str
    source: Source


class NfsExport(Frozen):
    """A folder that a host shares by NFS with `clients`; options are those of exports(5)."""

    path: str
    clients: tuple[IPv4Network, ...]
    options: tuple[str, ...]
    source: Source


class SwarmNode(Frozen):
    """What a guest is in the site's Docker Swarm.

    `labels` are pairs of name and value, in the order of names. `availability` is Docker's: a node
    that is `active` is given tasks, with `pause` it keeps those that it has, `drain` moves them.
    """

    role: Literal["manager", "worker"]
    labels: tuple[tuple[str, str], ...] = ()
    availability: Literal["active", "pause", "drain"] = "active"


class SwarmNetwork(Named):
    """An overlay network of the site's Docker Swarm.

    `encrypted`: between nodes, by IPsec. `attachable`: also to containers that are no service's.
    `subnet`: None for the next free one of the swarm's ranges.
    """

    encrypted: bool = True
    attachable: bool = False
    subnet: IPv4Network | None = None


class Machine(Named):
    """What a host and a template have in common. Sizes are MiB (memory) and GiB (disk).

    `interfaces` are its network cards in order; there is at least one.
    """

    vmid: int | None
    kind: Kind
    interfaces: tuple[Interface, ...]
    nameservers: tuple[IPv4Address, ...]
    memory_mb: int | None
    swap_mb: int | None
    cores: int | None
    disk_gb: int | None
    storage_pool: str | None
    features: tuple[str, ...]
    unprivileged: bool
    start_at_boot: bool
    boot_order: int
    boot_delay: int
    image: str | None
    clone_from: int | None
    snapshot_name: str | None
    username: str | None
    source: Source
    container: ContainerSettings = ContainerSettings()
    first_snapshot: bool | None = None
    """Whether it gets a snapshot once it is made; None: as the settings say."""

    @property
    def managed(self) -> Interface:
        """The card with the address that the site knows it by: the first static one."""
        static = (interface for interface in self.interfaces if interface.address is not None)
        return next(static, self.interfaces[0])

    @property
    def bridge(self) -> str:
        """The bridge of the managed card."""
        return self.managed.bridge

    @property
    def mac(self) -> str | None:
        """The hardware address of the managed card, where one is declared."""
        return self.managed.mac


class Template(Machine):
    """A guest that is only cloned from."""


class Host(Machine):
    """A machine that Phoenix converges: the hypervisor or a running guest.

    `address` is the one that the site knows it by, its first static one. `phoenix.site.addressing`
    says which one another host connects to. `guarded`: its nftables let in what the site's flows
    say, and nothing else. `left_alone`: what of it stays as it is, in the order declared.
    """

    address: IPv4Address
    prefixlen: int
    roles: frozenset[str]
    groups: tuple[str, ...]
    fqdn: str
    dependencies: tuple[int, ...]
    portainer_role: Literal["server", "agent"] | None
    portainer_environment: str
    dns_records: tuple[ExtraRecord, ...]
    firewall_enabled: bool
    guarded: bool
    left_alone: tuple[LeftAlone, ...] = ()
    login: SshLogin = SshLogin()
    firewall_rules: tuple[FirewallRule, ...]
    docker_stacks: tuple[Deployment, ...]
    mounts: tuple[NfsMount, ...] = ()
    exports: tuple[NfsExport, ...] = ()
    swarm: SwarmNode | None = None

    @property
    def gateway(self) -> IPv4Address | None:
        """Its declared default gateway; None where a lease alone brings one."""
        return next(
            (interface.gateway for interface in self.interfaces if interface.gateway is not None),
            None,
        )

    @property
    def is_manager(self) -> bool:
        """Whether it is a manager of the site's Docker Swarm."""
        return self.swarm is not None and self.swarm.role == "manager"

    @property
    def ssh_port(self) -> int:
        """TCP port of its sshd."""
        return self.login.port or SSH

    @cached_property
    def alone(self) -> IPv4Network:
        """The network of its one address, as firewall rules name a peer."""
        return IPv4Network(self.address)

    @cached_property
    def stacks_by_file(self) -> Mapping[str, tuple[Deployment, ...]]:
        """Its deployments by the file that declares them; of one stack there may be several."""
        return _grouped((stack.source.file, stack) for stack in self.docker_stacks)


class Login(Frozen):
    """A user whom Traefik asks for a password; `secret` is that secret's name, in lower case."""

    user: str
    secret: str


class ForwardAuth(Frozen):
    """A server that is asked about each request; `headers` of its answer reach the service."""

    url: str
    headers: tuple[str, ...]


class Redirect(Frozen):
    """Where a service without a backend sends its clients.

    `keeps_path`: the path and query that the client asked for follow the URL.
    """

    url: str
    permanent: bool
    keeps_path: bool


class External(Frozen):
    """The other end of a service that Phoenix does not manage, and how it proves who it is.

    `host` is an IPv4 address or a name. `ca` is PEM and `fingerprint` the SHA-256 of its
    certificate in lower-case hex; where both are empty, Traefik's guest trusts the CA of it, or it
    has no TLS.
    """

    host: str
    ca: str = ""
    fingerprint: str = ""


class Options(Frozen):
    """What the proxies do for a service beside handing its requests on; empty: as for all.

    `max_body` and the time-outs are as Nginx writes them, of which Traefik takes the same. Headers
    are pairs of name and value, in the order of names; an empty value removes one.
    """

    allowed_networks: tuple[IPv4Network, ...] = ()
    basic_auth: tuple[Login, ...] = ()
    forward_auth: ForwardAuth | None = None
    request_headers: tuple[tuple[str, str], ...] = ()
    response_headers: tuple[tuple[str, str], ...] = ()
    max_body: str = ""
    connect_timeout: str = ""
    read_timeout: str = ""


Scheme = Literal["http", "https", "h2c", "grpc", "grpcs", "tcp", "tls"]
"""How Traefik speaks to a service: h2c is HTTP/2 without TLS, grpcs is gRPC by TLS. What is tcp or
tls, the gateway hands on by itself, byte by byte."""


class Service(Named):
    """One HTTP service. `server_name` is verified on the hop to the owner.

    Its `name` is that of the label, and of one with a `path` the label with the path: `wiki/api`.
    The `owner` of one that is external is Traefik's guest, which connects to it.
    `aliases` are further names that clients ask for, fully qualified as `fqdn`. `health_status` is
    what it gives at `health_path`, which is what it gets itself; it is not asked where `checked` is
    false. One of the kind `tcp` is called after the gateway's port as well, as `git:2222`.
    """

    fqdn: str
    owner: Host
    port: int
    scheme: Scheme
    exposure: Literal["gateway", "direct"]
    server_name: str
    health_path: str
    kind: Literal["backend", "dashboard", "home", "ca", "agent", "redirect", "external", "tcp"]
    source: Source
    aliases: tuple[str, ...] = ()
    path: str = ""
    strip_path: bool = False
    options: Options = Options()
    redirect: Redirect | None = None
    external: External | None = None
    gateway_port: int = 0
    health_status: int = 200
    checked: bool = True
    nodes: tuple[Host, ...] = ()
    """Of a Swarm stack the nodes that may run it; empty where its owner alone does."""
    description: str = ""
    """What it is, for its users."""
    icon: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that clients ask for, the service's own first."""
        return (self.fqdn, *self.aliases)

    @property
    def label(self) -> str:
        """Its name below the site's domain, without the path."""
        return self.name.removesuffix(self.path).partition(":")[0]

    @property
    def key(self) -> str:
        """Its name with ~ for /, for places where a slash is not allowed: paths have no tilde."""
        return self.name.replace("/", "~")

    @property
    def has_tls(self) -> bool:
        """Whether it is reached by TLS."""
        return self.scheme in ("https", "grpcs", "tls")

    @property
    def is_grpc(self) -> bool:
        """Whether it speaks gRPC, and so HTTP/2 all the way."""
        return self.scheme in ("grpc", "grpcs")

    @property
    def asked_path(self) -> str:
        """What a client asks the gateway for so that the service gets `health_path`."""
        return f"{self.path}{self.health_path}" if self.strip_path else self.health_path

    def backend_url(self, address: IPv4Address) -> str:
        """The owner's end of the last hop, by one of its addresses: no DNS on the data path."""
        scheme = {"grpc": "h2c", "grpcs": "https"}.get(self.scheme, self.scheme)
        host = self.external.host if self.external else address
        return f"{scheme}://{host}:{self.port}"

    @property
    def is_the_guest_s(self) -> bool:
        """Whether it is the one `traefik_service` of the owner's own entry."""
        return self.of_guest and self.source.path == f"{self.owner.source.path}.traefik_service"

    @property
    def of_guest(self) -> bool:
        """Whether it follows from the owner's own entry, and not from one of its stacks."""
        return self.source.file == self.owner.source.file

    @property
    def deployment(self) -> Deployment | None:
        """The owner's deployment that declares it; None where a guest's entry does."""
        for stack in self.owner.stacks_by_file.get(self.source.file, ()):
            if self.source.path.startswith(f"{stack.source.path}.services."):
                return stack
        return None

    @property
    def compose_service(self) -> str:
        """The service of the deployment's compose file that is routed; empty for a guest's."""
        stack = self.deployment
        if stack is None:
            return ""
        inside = self.source.path.removeprefix(f"{stack.source.path}.services.")
        return inside.rpartition(".")[0]  # the last word is how it is declared


class ExternalPortainer(Frozen):
    """A Portainer that is none of the site's guests, whose API deploys the site's stacks.

    `ca` is PEM and `fingerprint` the SHA-256 of its certificate in lower-case hex; where both are
    empty, the control machine trusts the CA of it. `connects_from` are the addresses from which it
    comes to the agents.
    """

    url: str
    connects_from: tuple[IPv4Network, ...] = ()
    ca: str = ""
    fingerprint: str = ""


class BackupTarget(Frozen):
    """Where backups go. `place` is restic's repository, below which each host has its own.

    `host` and `port` are those that are connected to; empty and 0 of a folder. `user` logs in to an
    SFTP server, which must have `host_key`, as known_hosts has it behind the name (sshd(8)).
    """

    kind: Literal["folder", "sftp", "s3"]
    place: str
    user: str = ""
    host: str = ""
    port: int = 0
    host_key: str = ""


class Backups(Frozen):
    """Backups by a timer.

    `at` and `prove_at` are times of the day, HH:MM. So many daily, weekly and monthly snapshots of
    each part are kept. `warn_days`: a newest one that is older is told. `secrets_for`: the age
    recipients or SSH public keys that may open the generated secrets in it; empty: they are not in.
    """

    target: BackupTarget
    at: str
    prove_at: str
    daily: int
    weekly: int
    monthly: int
    warn_days: int
    secrets_for: tuple[str, ...] = ()


class Site(Frozen):
    """Everything declared, checked and put in order.

    `networks`: first that of the hypervisor's own address, whose subnet is `network`.
    """

    domain: str
    environment: str
    network: IPv4Network
    networks: tuple[Network, ...]
    hypervisor: Host
    guests: tuple[Host, ...]
    templates: tuple[Template, ...]
    services: tuple[Service, ...]
    warnings: tuple[Finding, ...]
    external_portainer: ExternalPortainer | None = None
    timezone: str | None = None
    """Time zone that the hypervisor's file gives; the setting `timezone` goes before it."""
    upstreams: tuple[str, ...] = ()
    """Resolvers that the same file gives; the setting `dns_upstreams` goes before them."""
    watched_by: str = ""
    """Name of the host that watches the site; empty where none does."""
    scraped_from: str = ""
    """IPv4 address of whoever reads the watcher's metrics; empty where nobody does."""
    swarm_networks: tuple[SwarmNetwork, ...] = ()
    """Overlay networks of its Docker Swarm, in the order of names."""
    backups: Backups | None = None
    """Backups by a timer; None where there are none."""
    virtual_addresses: tuple[IPv4Address, ...] = ()
    """Addresses that one gateway at a time holds, one in each network of theirs."""

    @override
    def __hash__(self) -> int:
        """Cheap: sites are keys of caches."""
        return hash((self.domain, self.environment, self.network, len(self.services)))

    @cached_property
    def subnets(self) -> tuple[IPv4Network, ...]:
        """The known addresses of all its networks, those of `network` first."""
        return tuple(network.subnet for network in self.networks if network.subnet is not None)

    @property
    def proxmox_guests(self) -> tuple[Host, ...]:
        """The guests that Phoenix makes and changes in Proxmox VE, where its API is declared."""
        return tuple(host for host in self.guests if "proxmox" not in host.left_alone)

    @cached_property
    def hosts(self) -> tuple[Host, ...]:
        """The hypervisor, then all guests, each after those it depends on."""
        return (self.hypervisor, *self.guests)

    @property
    def ca(self) -> Host | None:
        """The guest with role step_ca."""
        return self._role("step_ca")

    @property
    def traefiks(self) -> tuple[Host, ...]:
        """The guests with role traefik: each routes all of the site's services."""
        return self.with_role.get("traefik", ())

    @property
    def traefik(self) -> Host | None:
        """The first of `traefiks`, for what is the same on all of them."""
        return self._role("traefik")

    @property
    def gateways(self) -> tuple[Host, ...]:
        """The guests with role nginx: each answers to all of the site's names."""
        return self.with_role.get("nginx", ())

    @property
    def gateway(self) -> Host | None:
        """The first of `gateways`, for what is the same on all of them."""
        return self._role("nginx")

    @cached_property
    def name_servers(self) -> tuple[Host, ...]:
        """The hosts that answer for the site's zone: the hypervisor, guests with role name_server.

        The first is changed ahead of the others.
        """
        return (self.hypervisor, *(host for host in self.guests if "name_server" in host.roles))

    @property
    def portainer(self) -> Host | None:
        """The guest with role portainer."""
        return self._role("portainer")

    @property
    def has_portainer(self) -> bool:
        """Whether a Portainer deploys stacks: that of a guest, or one elsewhere."""
        return self.portainer is not None or self.external_portainer is not None

    @property
    def watcher(self) -> Host | None:
        """The host to which the others report what their checks find."""
        return self.hosts_by_key[self.watched_by] if self.watched_by else None

    @cached_property
    def watched(self) -> tuple[Host, ...]:
        """The hosts that report to the watcher."""
        if not self.watched_by:
            return ()
        return tuple(host for host in self.hosts if "watch" not in host.left_alone)

    @cached_property
    def docker_hosts(self) -> tuple[Host, ...]:
        """Guests that run Docker Engine, Portainer's own among them."""
        return tuple(host for host in self.guests if "docker" in host.roles)

    @cached_property
    def swarm_nodes(self) -> tuple[Host, ...]:
        """Guests that are nodes of the site's Docker Swarm, managers first."""
        nodes = (host for host in self.guests if host.swarm is not None)
        return tuple(sorted(nodes, key=lambda host: not host.is_manager))

    @cached_property
    def agents(self) -> tuple[Host, ...]:
        """Guests that run the Portainer agent."""
        return tuple(host for host in self.guests if host.portainer_role == "agent")

    @cached_property
    def hosts_by_key(self) -> Mapping[str, Host]:
        """Every host by its name, and by its id as text."""
        keys: dict[str, Host] = {}
        for host in self.hosts:
            keys.setdefault(host.name, host)
            if host.vmid is not None:
                keys.setdefault(str(host.vmid), host)
        return keys

    @cached_property
    def services_by_name(self) -> Mapping[str, Service]:
        """Every service by its label."""
        return {service.name: service for service in reversed(self.services)}

    @cached_property
    def services_by_owner(self) -> Mapping[str, tuple[Service, ...]]:
        """Services by the name of the host that serves them, each in the order of `services`."""
        return _grouped((service.owner.name, service) for service in self.services)

    @cached_property
    def with_role(self) -> Mapping[str, tuple[Host, ...]]:
        """The guests of each role that any guest has, in their order."""
        return _grouped((role, host) for host in self.guests for role in host.roles)

    def host(self, name_or_id: str | int) -> Host:
        """Find a host.

        Args:
            name_or_id: its name, its id, or its id as text.

        Raises:
            KeyError: there is none.
        """
        host = self.hosts_by_key.get(str(name_or_id))
        if host is None:
            known = ", ".join(host.name for host in self.hosts)
            raise KeyError(f"no host {name_or_id!r}; there are {known}")
        return host

    def service(self, name: str) -> Service:
        """Find a service by its label.

        Raises:
            KeyError: there is none.
        """
        service = self.services_by_name.get(name)
        if service is None:
            known = ", ".join(service.name for service in self.services)
            raise KeyError(f"no service {name!r}; there are {known}")
        return service

    def services_of(self, host: Host) -> tuple[Service, ...]:
        """The services that `host` serves, in the order of `services`."""
        return self.services_by_owner.get(host.name, ())

    def _role(self, role: str) -> Host | None:
        return next(iter(self.with_role.get(role, ())), None)


def _grouped(pairs: Iterable[tuple[str, _Item]]) -> dict[str, tuple[_Item, ...]]:
    groups: dict[str, list[_Item]] = {}
    for key, item in pairs:
        groups.setdefault(key, []).append(item)
    return {key: tuple(items) for key, items in groups.items()}
