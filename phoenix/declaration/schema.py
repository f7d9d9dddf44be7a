"""The shape of the JSON files, as written: what each key may hold, before anything is derived.

Accepts the original system's files unchanged. A key marked `unused` is known and ignored.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from phoenix.site.names import LABEL
from phoenix.site.roles import ROLES, Role

FEATURES = (*ROLES, "base_setup", "trusted_ca", "step_cli")
# Features of the original that only its GPU guests have; Phoenix leaves those guests' software be.
FOREIGN_FEATURES = ("nvidia", "vllm", "ollama", "dns_server", "nat_gateway", "python_api_service")

_MAC = re.compile(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}\Z")
_PORTS = re.compile(r"\d{1,5}(?::\d{1,5})?(?:,\d{1,5}(?::\d{1,5})?)*\Z")
_OWNED_BY_GUEST = "Phoenix leaves the guest's own settings to Proxmox"


def _problem(message: str, fix: str) -> PydanticCustomError:
    return PydanticCustomError("phoenix", "{text}", {"text": message, "fix": fix})


def _interface(value: Any) -> Any:
    if value == "dhcp":
        return None
    try:
        if "/" in value:
            return IPv4Interface(value)
    except (TypeError, ValueError):
        pass
    raise _problem(f"{value!r} is no IPv4 address with prefix length", 'write it as "10.0.0.5/24"')


def _mac(value: Any) -> Any:
    if isinstance(value, str) and _MAC.match(value.upper()):
        if int(value[:2], 16) & 1:
            raise _problem(f"{value!r} is a multicast address", "clear the lowest bit of byte one")
        return value.upper()
    raise _problem(f"{value!r} is no MAC address", 'write six bytes as "52:54:00:12:34:56"')


def _network(value: Any) -> Any:
    try:
        return IPv4Network(value, strict=False)
    except (TypeError, ValueError) as error:
        raise _problem(
            f"{value!r} is no IPv4 address or network", 'write "10.0.0.5" or "10.0.0.0/24"'
        ) from error


def _ports(value: Any) -> Any:
    text = str(value)
    numbers = [int(n) for n in re.split("[,:]", text)] if _PORTS.match(text) else [0]
    if not all(1 <= n <= 65535 for n in numbers):
        raise _problem(f"{value!r} names no port", 'write "443", "80,443" or "8000:8010"')
    return text


def _label(value: Any) -> Any:
    if isinstance(value, str) and LABEL.match(value):
        return value
    raise _problem(
        f"{value!r} is no host name label (RFC 1123)",
        "use 1 to 63 lower-case letters, digits and inner hyphens",
    )


Interface = Annotated[IPv4Interface | None, BeforeValidator(_interface)]
Mac = Annotated[str, BeforeValidator(_mac)]
NetworkText = Annotated[IPv4Network, BeforeValidator(_network)]
Ports = Annotated[str, BeforeValidator(_ports)]
Label = Annotated[str, BeforeValidator(_label)]
Port = Annotated[int, Field(ge=1, le=65535)]
GuestId = Annotated[int, Field(ge=100, le=999_999_999)]  # Proxmox VE's own limits


def unused(reason: str) -> Any:
    """Declare a key that is known and ignored, with the reason."""
    return Field(default=None, json_schema_extra={"unused": reason})


class Raw(BaseModel):
    """Base of all shapes: frozen; unknown keys are kept so that they can be warned of."""

    model_config = ConfigDict(frozen=True, extra="allow")


class RawRule(Raw):
    """One firewall rule, as Proxmox VE's `pve-firewall` knows it."""

    type: Literal["in", "out"]
    action: Literal["ACCEPT", "DROP", "REJECT"]
    proto: Literal["tcp", "udp", "icmp"] | None = None
    port: Ports | None = None
    source: NetworkText | None = None
    dest: NetworkText | None = None
    comment: str = ""


class RawFirewall(Raw):
    """A guest's firewall block."""

    enabled: bool = True
    rules: tuple[RawRule, ...] = ()


class RawService(Raw):
    """`traefik_service`: one HTTP service. Without `name` or `port` it has no backend."""

    name: Label
    port: Port | None = None
    scheme: Literal["http", "https"] | None = None
    exposure: Literal["gateway", "direct"] = "gateway"
    server_name: str | None = None
    health_path: str = Field(default="/", pattern=r"^/\S*$")


class RawNetwork(Raw):
    """A guest's one network interface. `nameservers` (LXC) and `nameserver` (VM) mean the same."""

    name: str = "eth0"
    bridge: str | None = None
    ip: Interface
    gw: NetworkText | None = None
    nameservers: str | None = None
    nameserver: str | None = None


class RawStackRef(Raw):
    """One deployed stack; a bare string is its name, in the site's environment."""

    name: str
    environment: str | None = None


def _stack_ref(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


StackRef = Annotated[RawStackRef, BeforeValidator(_stack_ref)]


class RawDnsRecord(Raw):
    """One more address record that a guest brings."""

    hostname: str
    ip: NetworkText


class RawVolume(Raw):
    """A volume that a VM mounts."""

    type: str
    name: str
    path: str
    mount_point: str
    server: str | None = None


class RawUser(Raw):
    """The login user of a VM."""

    username: str


class RawGuest(Raw):
    """What LXC and VM entries have in common."""

    name: str
    role: Role | None = None
    features: tuple[str, ...] = ()
    portainer_role: Literal["primary", "server", "agent", "infrastructure", "none"] = "none"
    portainer_environment_name: str | None = None
    portainer_agent_hostname: str | None = None
    dependencies: tuple[int, ...] = ()
    start_at_boot: bool = False
    boot_order: int = Field(default=0, ge=0)
    boot_delay: int = Field(default=0, ge=0)
    is_template: bool = False
    template_snapshot_name: str | None = None
    memory_mb: int | None = Field(default=None, ge=16)
    cores: int | None = Field(default=None, ge=1)
    storage_pool: str | None = None
    mac_address: Mac | None = None
    network_config: RawNetwork
    traefik_service: RawService | None = None
    docker_stacks: tuple[StackRef, ...] = ()
    dns_records: tuple[RawDnsRecord, ...] = ()
    volumes: tuple[RawVolume, ...] = ()
    user_config: RawUser | None = None
    firewall: RawFirewall = RawFirewall()
    trigger_sync_on_completion: bool | None = unused("every run converges all components")
    tests: Any = unused("checks are derived from the services")
    health_check: Any = unused("checks are derived from the services")


class RawLxc(RawGuest):
    """One entry of `lxc_configs`; its id is the key."""

    template: str | None = None
    clone_from_ctid: GuestId | None = None
    swap_mb: int = Field(default=512, ge=0)
    storage_size_gb: int | None = Field(default=None, ge=1)
    unprivileged: bool = True
    gpu_assignment: str | None = unused("Phoenix passes no GPU through")
    application_script: Any = unused("a guest's software comes from its role")
    apparmor_profile: Any = unused(_OWNED_BY_GUEST)
    apparmor_manages_nesting: Any = unused(_OWNED_BY_GUEST)
    enable_lifecycle_snapshots: Any = unused(_OWNED_BY_GUEST)
    lxc_options: Any = unused(_OWNED_BY_GUEST)
    pct_options: Any = unused(_OWNED_BY_GUEST)
    id_maps: Any = unused("the default id map of an unprivileged container is kept")
    ports: Any = unused("a container has its own address; nothing is mapped")
    zfs_volumes: Any = unused("Phoenix makes no ZFS volumes")
    mount_points: Any = unused("each guest keeps its own files; nothing is shared through the host")
    bootstrap_ca_url: Any = unused("the CA's address is derived from the guest with role step_ca")
    vllm_engine_config: Any = unused("Phoenix runs no vLLM")


class RawVm(RawGuest):
    """One entry of `vms`."""

    vmid: GuestId
    template_image: str | None = None
    clone_from_vmid: GuestId | None = None
    disk_size_gb: int | None = Field(default=None, ge=1)
    network_bridge: str | None = None
    snapshots: Any = unused(_OWNED_BY_GUEST)
    qm_options: Any = unused(_OWNED_BY_GUEST)
    count: Any = unused("each VM has its own entry")


class RawHypervisor(Raw):
    """`site.hypervisor`: the Proxmox VE node."""

    name: Label = "phoenix"
    ip: Interface = IPv4Interface("10.0.0.13/24")
    gateway: NetworkText = IPv4Network("10.0.0.1/32")


class RawVariable(Raw):
    """A stack's variable: a plain `value`, or the name of the `secret` that holds it."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    value: str | None = None
    secret: str | None = None


class RawFile(Raw):
    """A file that a stack's services read: `source` beside the manifest, or a `secret`'s value."""

    source: str | None = None
    secret: str | None = None
    destination_in_container: str


class RawStackService(Raw):
    """A compose service that has a route: ours, or by the original's Traefik labels."""

    traefik_service: RawService | None = None
    traefik_labels: tuple[str, ...] = ()


class RawEnvironment(Raw):
    """One environment of a stack."""

    variables: tuple[RawVariable, ...] = ()
    files: tuple[RawFile, ...] = ()
    services: dict[str, RawStackService] = {}
    firewall_rules: tuple[RawRule, ...] = ()


class RawStack(Raw):
    """`stacks/NAME/phoenix.json`; the environments are validated when used."""

    description: str = ""
    environments: dict[str, Any]


class RawSite(Raw):
    """`site`: what holds for all guests. The defaults are the original system's values."""

    domain: str = "internal.thinkheads.ai"
    environment: str | None = None
    hypervisor: RawHypervisor = RawHypervisor()


class RawLxcFile(Raw):
    """The top of phoenix_lxc_configs.json; the entries are validated one by one."""

    schema_: Any = Field(default=None, alias="$schema")
    site: RawSite = RawSite()
    lxc_configs: dict[str, Any] = {}
    nvidia_driver_version: Any = unused("Phoenix installs no GPU driver")
    nvidia_repo_url: Any = unused("Phoenix installs no GPU driver")
    nvidia_runfile_url: Any = unused("Phoenix installs no GPU driver")


class RawVmDefaults(Raw):
    """`vm_defaults`: what a VM has where its entry is silent."""

    cores: int = 2
    memory_mb: int = 4096
    disk_size_gb: int = 50
    storage_pool: str | None = None
    network_bridge: str = "vmbr0"
    template: Any = unused("each VM names the template it is cloned from")


class RawVmFile(Raw):
    """The top of phoenix_vm_configs.json; the entries are validated one by one."""

    schema_: Any = Field(default=None, alias="$schema")
    vm_defaults: RawVmDefaults = RawVmDefaults()
    vms: tuple[Any, ...] = ()
