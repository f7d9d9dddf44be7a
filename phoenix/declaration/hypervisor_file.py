"""The optional third file, `phoenix_hypervisor_config.json`: domain, time zone and networks.

It is the original system's file of the hypervisor. What it and another place both give has one
owner: the other place, `site` of the containers' file or a setting. This file fills in what is
left out there, and a value that differs is an error (the time zone: a warning).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from phoenix.declaration.json_errors import join, read_object, validate
from phoenix.declaration.json_keys import (
    LABEL_PATTERN,
    QUAD,
    Each,
    Interface,
    Port,
    Raw,
    RawNfs,
    RawRule,
    RawSharedVolume,
    RawSite,
    not_a_label,
    schema_key,
    unused,
)
from phoenix.declaration.setting_types import TimeZone
from phoenix.declaration.settings import Settings
from phoenix.declaration.value_types import (
    DomainName,
    EntryName,
    HostName,
    InterfaceName,
    Line,
    Resolver4,
    problem,
    shown_value,
)
from phoenix.site.findings import Finding, Report
from phoenix.site.model import Site
from phoenix.site.names import LABEL

HYPERVISOR_FILE = "phoenix_hypervisor_config.json"

FIXED = ("needs a fixed address", 'write it with prefix length, as "10.0.0.13/24"')
"""Of the hypervisor: the message, and the fix."""
_RawT = TypeVar("_RawT", bound=Raw)
_COMPARED = "Derived from the guests' entries; what differs here is told."
_ACCOUNTS = "Phoenix makes Portainer's accounts and keys by itself"
_CA_NAMES = "the setting step_ca_organisation names the CA"
_LEFT_ALONE = "Phoenix leaves it to Proxmox VE"


def has_hosts(network: IPv4Network) -> bool:
    """Whether hosts of a site can have the addresses of a network (RFC 6890)."""
    return not (
        network.is_loopback
        or network.is_multicast
        or network.is_link_local
        or network.is_reserved
        or network.network_address in _THIS_NETWORK
    )


_THIS_NETWORK = IPv4Network("0.0.0.0/8")
"""RFC 791, section 3.2."""
NO_HOSTS = "holds addresses that no network of hosts has (RFC 6890)"


def _subnet(value: Any) -> Any:
    try:
        if isinstance(value, IPv4Network):
            return value
        subnet = IPv4Network(value) if isinstance(value, str) and "/" in value else None
    except ValueError:
        subnet = None
    if subnet is not None and not has_hosts(subnet):
        raise problem(
            f"{subnet} {NO_HOSTS}",
            'write one of your own, as "172.16.100.0/24"',
        )
    if subnet is not None:
        return subnet
    raise problem(
        f"{shown_value(value)} is not an IPv4 network with its prefix length",
        'write the network itself, as "172.16.100.0/24"',
    )


def _address(value: Any) -> Any:
    try:
        if isinstance(value, str):
            return IPv4Address(value)
    except ValueError:
        pass
    raise problem(f"{shown_value(value)} is not an IPv4 address", 'write it as "10.0.0.1"')


Subnet = Annotated[
    IPv4Network,
    BeforeValidator(_subnet),
    WithJsonSchema({"type": "string", "pattern": rf"^{QUAD}/[0-9]{{1,2}}$"}),
]
Address = Annotated[
    IPv4Address,
    BeforeValidator(_address),
    WithJsonSchema({"type": "string", "pattern": rf"^{QUAD}$"}),
]
VlanTag = Annotated[int, Field(ge=1, le=4094, strict=True)]
"""IEEE 802.1Q: 0 and 4095 are reserved."""


class RawNamedNetwork(Raw):
    """One network of the site. A guest's interface is in it by its address, or by its bridge."""

    subnet: Subnet | None = Field(
        default=None,
        description="Its addresses; left out where a DHCP server of another router alone knows "
        "them.",
        examples=["172.16.100.0/24"],
    )
    bridge: InterfaceName = Field(
        default="vmbr0",
        description="Bridge of the hypervisor; `vmbr0.20` is VLAN 20 of vmbr0.",
        examples=["vmbr100", "vmbr0.20"],
    )
    vlan: VlanTag | None = Field(
        default=None, description="VLAN tag (IEEE 802.1Q) on the bridge.", examples=[20]
    )
    gateway: Address | None = Field(
        default=None,
        description="Default gateway of its guests; left out with `nat`: the hypervisor's "
        "address in it.",
        examples=["172.16.100.1"],
    )
    address: Address | None = Field(
        default=None,
        description="The hypervisor's own address in it, where it answers DNS and forwards. Left "
        "out with `nat`: `gateway`, else the first of the subnet; else it has none.",
        examples=["172.16.100.1"],
    )
    dhcp: bool = Field(
        default=False,
        description="A DHCP server of another router gives addresses; a guest may ask for one "
        'with "ip": "dhcp".',
    )
    nat: bool = Field(
        default=False,
        description="The hypervisor is its router: it forwards, and hides its guests behind its "
        "own address where they go outside the site.",
    )
    managed: bool = Field(
        default=True,
        description="Where the hypervisor is its router, Phoenix makes its bridge, forwarding and "
        "NAT there; false: they stay with you.",
    )
    own_dns: bool = Field(
        default=False,
        description="Its clients ask another name server, which answers for the gateway's names "
        "with an address in it: that of the hypervisor does not know the leases there.",
    )


class RawUplink(Raw):
    """The hypervisor's own interface, which is a bridge."""

    name: InterfaceName = Field(
        default="vmbr0", description="The bridge's name.", examples=["vmbr0"]
    )
    address: Interface | None = Field(
        default=None,
        description="Its address with prefix length; the same as `site.hypervisor.ip`.",
        examples=["10.0.0.13/24"],
    )
    gateway: Address | None = Field(
        default=None,
        description="The network's router; the same as `site.hypervisor.gateway`.",
        examples=["10.0.0.1"],
    )
    dns_nameservers: Any = unused(
        "the hypervisor asks its own name server, which asks the resolvers of the setting "
        "dns_upstreams"
    )


class RawInternalBridge(Raw):
    """A bridge without a port: its guests reach others through the hypervisor alone."""

    name: InterfaceName = Field(description="The bridge's name.", examples=["vmbr100"])
    subnet: Subnet = Field(description="Its addresses.", examples=["172.16.100.0/24"])


class RawNetworkPart(Raw):
    """The networks in the original system's form; better write `networks`."""

    interfaces: RawUplink | None = Field(
        default=None, description="The hypervisor's own interface: the network `lan`."
    )
    default_subnet: Subnet | None = Field(
        default=None,
        description="The network of `interfaces.address` once more; it must be the same.",
        examples=["10.0.0.0/24"],
    )
    public_bridge: InterfaceName | None = Field(
        default=None,
        description="Bridge of the network `public`, which has DHCP; left out: that of "
        "`interfaces`.",
        examples=["vmbr0"],
    )
    public_vlan_tag: VlanTag | None = Field(
        default=None,
        description="VLAN tag of the network `public`; there is none without it.",
        examples=[20],
    )
    internal_bridge: RawInternalBridge | None = Field(
        default=None,
        description="The network `internal`: the hypervisor is its router, has its first address, "
        "and hides its guests behind its own (`nat`).",
    )
    external_registry_url: Any = unused(
        "images are named whole in the compose files; log-ins are the setting registries"
    )
    portainer_server_ip: Address | None = Field(
        default=None, description=f"Address of Portainer's guest. {_COMPARED}"
    )
    portainer_server_port: Port | None = Field(
        default=None, description=f"Portainer's port. {_COMPARED}"
    )
    portainer_agent_port: Port | None = Field(
        default=None, description=f"Port of Portainer's agents. {_COMPARED}"
    )
    nfs_server: Address | None = Field(
        default=None,
        description="Server of `volumes` that name none; left out: the hypervisor.",
        examples=["10.0.0.13"],
    )
    fallback_dns: Any = unused(
        "a public resolver beside ours answers that internal names do not exist",
        "write it as resolver_fallback in group_data, if that is wanted; or remove it",
    )
    macvlan_vlan_tag: Any = unused(
        "Phoenix makes no macvlan interfaces",
        "give a guest an interface in a network with that `vlan`, or remove it",
    )


class RawClusterFirewall(Raw):
    """Rules for the hypervisor and for guests, beside those that follow from the services."""

    enabled: bool = Field(
        default=True,
        description="Whether Proxmox VE filters; the setting proxmox_firewall turns it off.",
    )
    default_input_policy: Literal["ACCEPT", "DROP", "REJECT"] = Field(
        default="DROP",
        description="What becomes of connections that no rule lets in: Phoenix drops them.",
    )
    default_output_policy: Literal["ACCEPT", "DROP", "REJECT"] = Field(
        default="ACCEPT",
        description="What becomes of connections that hosts open and that no rule lets out; the "
        "setting proxmox_firewall_out says it.",
    )
    global_firewall_rules: tuple[RawRule, ...] = Field(
        default=(),
        description="Each holds on the hosts that `dest` names, of type `out` those that `source` "
        "names: by address, network or `site`. Without it a rule is the hypervisor's.",
        examples=[[{"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "9001",
                    "source": "10.0.0.23", "dest": "10.0.0.24"}]],
    )  # fmt: skip


class RawDnsServer(Raw):
    """The internal name server, which runs on the hypervisor."""

    enabled: bool = Field(
        default=True,
        description="It always runs: every name of the site is answered by it. A resolver of your "
        "own may keep its place ([docs/networks.md](networks.md#a-resolver-of-your-own)).",
    )
    upstream_servers: tuple[Resolver4, ...] = Field(
        default=(),
        description="Resolvers for everything outside the domain, where no setting `dns_upstreams` "
        "is written.",
        examples=[["9.9.9.9"]],
    )
    authoritative_zones: Any = unused("the one zone is that of the domain")


class RawPortainerApi(Raw):
    """Portainer's accounts in the original system's form."""

    portainer_hostname: HostName | None = Field(
        default=None, description=f"Name of Portainer's service. {_COMPARED}"
    )
    admin_user: Any = unused(_ACCOUNTS)
    admin_password: Any = unused(
        _ACCOUNTS, "remove it, and change the password where it is used: it stands in plain text"
    )
    api_key: Any = unused(
        _ACCOUNTS, "remove it, and revoke the key where it is used: it stands in plain text"
    )


class RawStepCa(Raw):
    """The CA in the original system's form."""

    dns_name: HostName | None = Field(default=None, description=f"The CA's name. {_COMPARED}")
    root_ca_name: Any = unused(_CA_NAMES)
    intermediate_ca_name: Any = unused(_CA_NAMES)
    provisioner_name: Any = unused(_CA_NAMES)


class RawHypervisorFile(Raw):
    """What the original system knows of the hypervisor. The file may be left out."""

    place: ClassVar[str] = "the top of phoenix_hypervisor_config.json"
    schema_: Any = schema_key()
    version: Line = Field(default="", description="Of the file, for people.")
    author: Line = Field(default="", description="Who wrote it, for people.")
    domain_name: DomainName | None = Field(
        default=None,
        description="The internal domain, where `site.domain` is left out; both must be the same.",
        examples=["internal.example.com"],
    )
    timezone: TimeZone | None = Field(
        default=None,
        description="Time zone of every host, where no setting `timezone` is written.",
        examples=["Europe/Berlin"],
    )
    network: RawNetworkPart = Field(
        default=RawNetworkPart(), description="The networks in the original system's form."
    )
    networks: dict[str, Annotated[Any, Each(RawNamedNetwork)]] = Field(
        default={},
        json_schema_extra={"propertyNames": {"pattern": LABEL_PATTERN}},
        description="The site's networks, by name. The one that the hypervisor's own address is "
        "in need not be here: without a name it is `lan`.",
        examples=[{"internal": {"subnet": "172.16.100.0/24", "bridge": "vmbr100", "nat": True}}],
    )
    users: Any = unused(
        "accounts of the hypervisor stay with you; VMs have the user of the setting proxmox_vm_user"
    )
    core_paths: Any = unused("they are places of the original system's programs")
    docker: Any = unused("the settings portainer_image and portainer_agent_image pin the images")
    nfs: RawNfs = Field(default=RawNfs(), description="Folders that it shares by NFS.")
    samba: Any = unused(
        "Samba shares stay with you",
        "keep them in /etc/samba, with a rule for 445/tcp in site.hypervisor.firewall; or remove "
        "it",
    )
    zfs: Any = unused(
        "pools and datasets stay with you; guests name the storages on them",
        "keep them as `zpool` and `pvesm` have them, or remove it",
    )
    proxmox_storage_ids: Any = unused("each guest names its storage in storage_pool")
    mount_point_base: Any = unused(_LEFT_ALONE)
    proxmox_defaults: Any = unused("each container has its own entry")
    tests: Any = unused("checks are derived from the services")
    nvidia_driver: Any = unused("the GPU's driver stays with you")
    behavior: Any = unused("a run stops at its first error and says what to do")
    shared_volumes: dict[EntryName, RawSharedVolume] = Field(
        default={},
        description="Folders of the hypervisor in several containers, by a name for people; each "
        "is like one of a container's `mount_points`.",
    )
    firewall: RawClusterFirewall = Field(
        default=RawClusterFirewall(), description="Firewall rules for several hosts."
    )
    portainer_api: RawPortainerApi = Field(
        default=RawPortainerApi(), description="Portainer's name."
    )
    vm_defaults: Any = unused("`vm_defaults` of phoenix_vm_configs.json says it")
    dns_server: RawDnsServer = Field(
        default=RawDnsServer(), description="The internal name server."
    )
    step_ca: RawStepCa = Field(default=RawStepCa(), description="The CA's name.")


class NamedNetwork(NamedTuple):
    """A network as declared, and where: `path` is the place in the file."""

    name: str
    raw: RawNamedNetwork
    path: str


class HypervisorFile(NamedTuple):
    """What the file says; `networks` in the order in which it declares them."""

    raw: RawHypervisorFile
    networks: tuple[NamedNetwork, ...]

    def moved(self, move: Callable[[Any], Any]) -> HypervisorFile:
        """The same with addresses moved, as `phoenix.declaration.json_errors.readdress` does."""
        data = (
            (network, network.raw.model_dump(mode="json", exclude_unset=True))
            for network in self.networks
        )
        return self._replace(
            networks=tuple(
                network._replace(raw=RawNamedNetwork.model_validate(move(raw)))
                for network, raw in data
            )
        )


def read(inventories: Path, report: Report) -> HypervisorFile:
    """The file's content, of either form; an absent file says nothing.

    Args:
        inventories: the directory of the JSON files.
        report: takes what is wrong in it, and each key that nothing reads.
    """
    file = inventories / HYPERVISOR_FILE
    data = read_object(file, HYPERVISOR_FILE, report) if file.exists() else None
    raw = validate(RawHypervisorFile, data, HYPERVISOR_FILE, "", report) if data else None
    if raw is None:
        declared = data.get("networks") if data else None
        _named(declared if isinstance(declared, dict) else {}, report)
        return HypervisorFile(RawHypervisorFile(), ())
    _check_default_subnet(raw.network, report)
    named = _named(raw.networks, report)
    for other in _of_the_original(raw.network):
        if other.name in raw.networks:
            report.error(
                HYPERVISOR_FILE,
                join("networks", other.name),
                f"the network {other.name} is declared by {other.path} as well",
                "keep one of the two",
            )
        else:
            named.append(other)
    return HypervisorFile(raw, tuple(named))


def _named(declared: Mapping[str, Any], report: Report) -> list[NamedNetwork]:
    """The usable networks by name; what is wrong with each other one is reported."""
    named = []
    for name, value in declared.items():
        path = join("networks", name)
        if not LABEL.match(name):
            report.error(HYPERVISOR_FILE, path, *not_a_label(name))
        network = validate(RawNamedNetwork, value, HYPERVISOR_FILE, path, report)
        if network is not None:
            named.append(NamedNetwork(name, network, path))
    return named


def _of_the_original(part: RawNetworkPart) -> list[NamedNetwork]:
    networks = []
    if part.public_vlan_tag is not None:
        bridge = part.public_bridge or (part.interfaces or RawUplink()).name
        public = RawNamedNetwork(bridge=bridge, vlan=part.public_vlan_tag, dhcp=True)
        networks.append(NamedNetwork("public", public, "network.public_vlan_tag"))
    if part.internal_bridge is not None:
        internal = RawNamedNetwork(
            subnet=part.internal_bridge.subnet, bridge=part.internal_bridge.name, nat=True
        )
        networks.append(NamedNetwork("internal", internal, "network.internal_bridge"))
    return networks


def _check_default_subnet(part: RawNetworkPart, report: Report) -> None:
    interface = part.interfaces and part.interfaces.address
    if part.default_subnet and interface and part.default_subnet != interface.network:
        report.error(
            HYPERVISOR_FILE,
            "network.default_subnet",
            f"{part.default_subnet} is not the network of interfaces.address, {interface}",
            "correct one of the two, or leave default_subnet out",
        )


def completed(site: RawSite, file: HypervisorFile, label: str, report: Report) -> RawSite:
    """The site with what its own file leaves out and this file says.

    Args:
        site: as the containers' file has it.
        file: this file.
        label: what findings call the containers' file.
        report: takes each value that both give and that differs.
    """
    uplink = file.raw.network.interfaces
    interface, gateway = (uplink.address, uplink.gateway) if uplink else (None, None)
    if uplink and "address" in uplink.model_fields_set and interface is None:
        report.error(HYPERVISOR_FILE, "network.interfaces.address", *FIXED)
    hypervisor = _filled(
        site.hypervisor,
        {
            "ip": (interface, "network.interfaces.address"),
            "gateway": (gateway and IPv4Network(gateway), "network.interfaces.gateway"),
        },
        f"{label}: site.hypervisor",
        report,
    )
    domain = {"domain": (file.raw.domain_name, "domain_name")}
    return _filled(site, domain, f"{label}: site", report).model_copy(
        update={"hypervisor": hypervisor}
    )


def _filled(
    raw: _RawT, values: Mapping[str, tuple[object, str]], place: str, report: Report
) -> _RawT:
    """A shape with what it leaves out; `values` has by its key a value and where that stands."""
    left_out = {}
    for key, (value, path) in values.items():
        owner = getattr(raw, key)
        if value is None:
            continue
        if key not in raw.model_fields_set:
            left_out[key] = value
        elif owner != value:
            report.error(
                HYPERVISOR_FILE,
                path,
                f"{_plain(value)} differs from {place}.{key}, which is {_plain(owner)}",
                f"write the right value at {place}.{key}, and leave it out here",
            )
    return raw.model_copy(update=left_out)


def _plain(value: object) -> str:
    return str(value.network_address) if isinstance(value, IPv4Network) else str(value)


def time_zone(site: Site, settings: Settings) -> str:
    """The time zone of a host: the setting's; where none is written, this file's."""
    written = "timezone" in settings.model_fields_set
    return settings.timezone if written else site.timezone or settings.timezone


def upstreams(site: Site, settings: Settings) -> tuple[str, ...]:
    """The name server's resolvers: the setting's; where none is written, this file's."""
    written = "dns_upstreams" in settings.model_fields_set
    return settings.dns_upstreams if written else site.upstreams or settings.dns_upstreams


def upstream_findings(site: Site, settings: Settings) -> tuple[Finding, ...]:
    """A finding if this file's resolvers differ from the setting, which wins."""
    chosen = upstreams(site, settings)
    if not site.upstreams or site.upstreams == chosen:
        return ()
    message = f"not used: the setting dns_upstreams says {', '.join(chosen)}"
    fix = "leave it out here, or leave the setting out of group_data"
    return (Finding(HYPERVISOR_FILE, "dns_server.upstream_servers", message, fix, "warning"),)


def time_zone_findings(site: Site, settings: Settings) -> tuple[Finding, ...]:
    """A finding if this file's time zone differs from the setting, which wins."""
    chosen = time_zone(site, settings)
    if site.timezone in (None, chosen):
        return ()
    message = f"{site.timezone} is not used: the setting timezone says {chosen}"
    fix = "leave it out here, or leave the setting out of group_data"
    return (Finding(HYPERVISOR_FILE, "timezone", message, fix, "warning"),)
