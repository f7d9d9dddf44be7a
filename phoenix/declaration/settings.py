"""Every setting of a site: name, type, default, unit, and what it is for.

This model owns the defaults. A site's `group_data/*.py` and inventory data hold only what it
changes (`phoenix.declaration.group_data`). `docs/reference.md` and the JSON Schema are made from
it. Rules that need the site, or more than one setting, are in `phoenix.validation.setting_values`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from ipaddress import ip_network
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from phoenix.declaration import pins
from phoenix.declaration.json_errors import KINDS, bound_fix, in_words, join
from phoenix.declaration.pins import Pin
from phoenix.declaration.setting_types import (
    Architecture,
    BatchSize,
    CalendarEvent,
    CpuType,
    FileMode,
    Fingerprint,
    GoDuration,
    HaRule,
    HostPath,
    HttpsUrl,
    Identifier,
    IdRange,
    ImageReference,
    ImageUrl,
    ListeningPort,
    LocalPath,
    LogDriver,
    LoginName,
    MirrorUrl,
    MountPath,
    NginxSize,
    NginxTime,
    Node,
    NodePriority,
    Organisation,
    OtherApi,
    PortainerUrl,
    PortSpan,
    Property,
    ProxmoxApi,
    PublicKey,
    Recipient,
    RegistryHost,
    Size,
    StackProject,
    Tag,
    TimeZone,
    VariableName,
    VariableValue,
    registry_name,
    secret_name,
)
from phoenix.declaration.value_types import (
    FetchUrl,
    ImageFile,
    Network,
    Peer,
    Resolver,
    Resolver4,
    Sha256,
    SnapshotName,
    StorageName,
    StrictLine,
    UserName,
    problem,
    shown_value,
)
from phoenix.site import suggestions
from phoenix.site.findings import Finding

FOLDER = "group_data"
PROXMOX = "proxmox_"
"""Settings of this prefix are the fields of `ProxmoxSettings`."""


def _listed(value: Any) -> Any:
    """A list may be text with commas; a key from its file ends with a line break."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        return value
    return tuple(
        part.rstrip("\r\n").strip(" ") if isinstance(part, str) else part for part in parts
    )


def _as_text(value: Any) -> Any:
    """Digits may be a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_ID = re.compile(r"[0-9]{1,9}")


def _by_id(value: Any) -> Any:
    return (
        {int(key) if _ID.fullmatch(str(key)) else key: item for key, item in value.items()}
        if isinstance(value, dict)
        else value
    )


GuestNumber = Annotated[StrictInt, Field(ge=100, le=999_999_999)]
"""A guest's id, within Proxmox VE's own limits."""
MANY = 99_999_999
"""More GiB are a slip of the pen."""


class ImageArchive(TypedDict, total=False):
    """A container image as an archive (docker save). Both are needed."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    url: Annotated[FetchUrl, Field(description="https:// or file:/// URL of the archive.")]
    sha256: Annotated[Sha256, Field(description="SHA-256 of the archive.")]


class _Strict(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")


class Registry(_Strict):
    """The log-in to a private registry."""

    username: LoginName = Field(description="Who logs in.")
    secret: Annotated[StrictStr, AfterValidator(secret_name)] = Field(
        description="Name of the secret that is the password or token. It is given, never made."
    )


class MountPoint(_Strict):
    """A volume of its own in a container: made when absent, never removed or shrunk."""

    path: MountPath = Field(description="Where it is mounted.", examples=["/srv"])
    storage: StorageName = Field(description="Storage that holds it.", examples=["local-lvm"])
    size_gb: StrictInt = Field(ge=1, le=MANY, description="Size in GiB.", examples=[32])
    backup: StrictBool = Field(default=True, description="Whether Proxmox's backups include it.")


class BindMount(_Strict):
    """A folder of the hypervisor inside a container; only root@pam may set it."""

    path: MountPath = Field(description="Where it is mounted.", examples=["/media"])
    host_path: MountPath = Field(description="Folder of the hypervisor.", examples=["/tank/media"])
    read_only: StrictBool = Field(default=False, description="Mount it read-only.")


class Device(_Strict):
    """A device of the hypervisor inside a container, as a GPU's; only root@pam may set it."""

    path: MountPath = Field(description="Device node.", examples=["/dev/dri/renderD128"])
    gid: StrictInt | None = Field(
        default=None, ge=0, le=65535, description="Group inside the container.", examples=[104]
    )
    mode: FileMode | None = Field(default=None, description="File mode.", examples=["0660"])


class NodeFlow(_Strict):
    """Connections to a service of another node of the cluster that the firewall lets in."""

    proto: Literal["tcp", "udp"] = Field(default="tcp", description="Protocol.")
    port: PortSpan = Field(description="Port, or a range of ports.", examples=["2049"])
    source: Peer | None = Field(
        default=None, description="Who connects; None: anyone.", examples=["10.0.0.0/24"]
    )
    node: Node | None = Field(default=None, description="The node; None: every other node.")
    comment: StrictLine = Field(default="declared", description="What it is.", examples=["NFS"])

    @model_validator(mode="after")
    def _ascends(self) -> NodeFlow:
        first, _, last = self.port.partition(":")
        if last and int(first) >= int(last):
            raise problem(
                f"port {self.port} is not a range", "write its lowest port first, 6800:7300"
            )
        return self


class AddressPool(_Strict):
    """A range of addresses that Docker takes its networks from."""

    base: Network = Field(description="The range.", examples=["172.30.0.0/16"])
    size: StrictInt = Field(
        ge=1, le=128, description="Prefix length of each network.", examples=[24]
    )

    @model_validator(mode="after")
    def _fits(self) -> AddressPool:
        base = ip_network(self.base)
        if not base.prefixlen <= self.size <= base.max_prefixlen:
            raise problem(
                f"size {self.size} is not a part of {base}",
                f"write a prefix length from {base.prefixlen} to {base.max_prefixlen}",
            )
        return self


class ContainerRuntime(_Strict):
    """An OCI runtime that containers may ask for: by its program, or by its shim."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", populate_by_name=True)

    path: HostPath | None = Field(default=None, description="Program.", examples=["/usr/bin/crun"])
    runtime_args: tuple[StrictLine, ...] | None = Field(
        default=None, alias="runtimeArgs", description="Its arguments."
    )
    runtime_type: Identifier | None = Field(
        default=None,
        alias="runtimeType",
        description="Shim of containerd.",
        examples=["io.containerd.runsc.v1"],
    )
    options: Mapping[Identifier, Any] | None = Field(
        default=None, description="The shim's options."
    )

    @model_validator(mode="after")
    def _by_path_or_type(self) -> ContainerRuntime:
        if (self.path is None) == (self.runtime_type is None):
            raise problem("needs path or runtimeType, and not both", "write one of them")
        return self


class Image(_Strict):
    """Where the hypervisor itself can download an image, and the digest that it must have."""

    url: ImageUrl = Field(description="Where it is downloaded.")
    sha256: Sha256 = Field(description="SHA-256 of the image.")


class GuestSettings(_Strict):
    """What one guest has beside its entry in the JSON files."""

    node: Node | None = Field(default=None, description="Node where it is; it moves there.")
    vlan: StrictInt | None = Field(default=None, ge=1, le=4094, description="VLAN tag.")
    features: Mapping[Identifier, Property] = Field(
        default={}, description="Container features beside `proxmox_lxc_features`."
    )
    mount_points: tuple[MountPoint, ...] = Field(default=(), description="Its further volumes.")
    tags: tuple[Tag, ...] = Field(default=(), description="Tags in Proxmox VE.")
    protection: StrictBool | None = Field(default=None, description="Protect it from removal.")
    cpu: CpuType | None = Field(default=None, description="A VM's CPU type.", examples=["host"])
    bind_mounts: tuple[BindMount, ...] = Field(
        default=(), description="Folders of the hypervisor inside a container."
    )
    devices: tuple[Device, ...] = Field(
        default=(), description="Devices of the hypervisor inside a container."
    )
    idmap: tuple[IdRange, ...] = Field(
        default=(),
        description="Id map of an unprivileged container, whole (lxc.container.conf(5)).",
        examples=[["u 0 100000 65536", "g 0 100000 65536"]],
    )
    addresses: tuple[Peer, ...] = Field(
        default=(),
        description="Addresses beside its own that it may send from, past the IP filter.",
        examples=[["10.0.0.50"]],
    )
    replicate_to: tuple[Node, ...] = Field(
        default=(), description="Nodes that its volumes are copied to."
    )


class TakingOver(_Strict):
    """What becomes of a person's software in a place that Phoenix takes, by kind."""

    resolver: Literal["keep", "replace"] | None = Field(
        default=None,
        description="Who listens on port 53 of the hypervisor. `keep`: it stays, forwards the "
        "site's zone to Phoenix's name server on 127.0.0.1, and answers the guests.",
    )
    ca: Literal["adopt", "keep", "replace"] | None = Field(
        default=None,
        description="A CA of step-ca's in another folder of the CA's guest, or who listens on its "
        "port. `adopt`: Phoenix's goes on with its root and intermediate, so that nobody has to "
        "trust anew.",
    )
    traefik: Literal["keep", "replace"] | None = Field(
        default=None,
        description="Who listens on port 80 or 443 of Traefik's guest, and a Traefik of a person's "
        "there. `keep`: Phoenix's Traefik goes on with its routers, on entry points of their own.",
    )
    nginx: Literal["keep", "replace"] | None = Field(
        default=None,
        description="Who listens on port 80 or 443 of the gateway, and a person's sites in its "
        "Nginx (`conf.d`, `sites-enabled`). `keep`: Nginx goes on to serve those.",
    )
    docker: Literal["keep", "replace"] | None = Field(
        default=None,
        description="Docker's API that a person has opened on a TCP port of a Docker host (2375, "
        "2376). `keep`: it stays open to whom the host's firewall lets in.",
    )
    portainer: Literal["adopt"] | None = Field(
        default=None,
        description="A Portainer set up by hand on Portainer's guest. `adopt`: Phoenix's goes on "
        "with its data.",
    )
    agent: Literal["replace"] | None = Field(
        default=None, description="An agent set up by hand, or who else has the agent's port."
    )

    def of(self, kind: str) -> str | None:
        """What was said of a kind; None where nothing was."""
        choice: str | None = getattr(self, kind)
        return choice


class ProxmoxSettings(_Strict):
    """The settings named `proxmox_`, without that prefix (deploys/proxmox.py)."""

    api: ProxmoxApi = Field(
        default="off",
        description='`"off"`: guests and firewall are left alone. `"ssh"`: the hypervisor\'s API '
        "through our SSH connection to it. Else its URL. On, it needs the secret "
        "`proxmox_api_token`.",
        examples=["ssh", "https://phoenix.example:8006"],
    )
    other_apis: Annotated[tuple[OtherApi, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="Addresses of the API at other nodes of the cluster. They are tried in order "
        "where that of `proxmox_api` does not answer. Verified by `proxmox_ca_file`, else by the "
        "nodes' certificates as the hypervisor has them.",
        examples=[["https://pve2.example:8006", "https://pve3.example:8006"]],
    )
    fingerprint: Fingerprint | None = Field(
        default=None,
        description="SHA-256 fingerprint by which the API's certificate is verified. Where "
        "this and `proxmox_ca_file` are None, it is read on the hypervisor by SSH.",
    )
    ca_file: LocalPath | None = Field(
        default=None,
        description="File with the CA by which the API's certificate is verified.",
        examples=["~/pve-root-ca.pem"],
    )
    node: Node | None = Field(
        default=None,
        description="Node where new guests are made; None: the one named as the hypervisor.",
        examples=["pve2"],
    )
    template_storage: StorageName = Field(
        default="local", description="Storage of container templates (vztmpl)."
    )
    image_storage: StorageName = Field(
        default="local", description="Storage of disk images (import)."
    )
    images: Mapping[ImageFile, Image] = Field(
        default={},
        description="Images that the hypervisor may download when they are absent, by the file "
        "name in the JSON files.",
        examples=[{"noble-server-cloudimg-amd64.img": {"url": "https://...", "sha256": "..."}}],
    )
    adopt: tuple[GuestNumber, ...] = Field(
        default=(),
        description="Ids of guests made by hand that Phoenix may change into what is declared. "
        "Others that differ are refused, with the difference shown; none is ever rebuilt.",
        examples=[[101, 102]],
    )
    vm_user: UserName | None = Field(
        default="root",
        description="Login user that cloud-init makes in new VMs: root, since the inventory logs "
        "in as root. None: the one that each VM's entry names.",
    )
    ssh_keys: Annotated[tuple[PublicKey, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="Public keys that VMs accept by cloud-init, and new containers; a team's. "
        "Empty: a new guest accepts the one beside the key that pyinfra uses.",
        examples=[["ssh-ed25519 AAAA... me@desk"]],
    )
    lxc_features: Mapping[Identifier, Property] = Field(
        default={"nesting": "1"},
        description="Features of every container. systemd of Debian 12 and Ubuntu 24.04 needs "
        "nesting.",
    )
    vm_cpu: CpuType | None = Field(
        default=None,
        description="CPU type of VMs. None: x86-64-v2-AES for a VM that has none; Proxmox VE's own "
        "default, kvm64, lacks what many images need.",
        examples=["x86-64-v2-AES", "host"],
    )
    guest_agent: StrictBool = Field(
        default=True,
        description="Install qemu-guest-agent on each VM, and switch it on in Proxmox VE: clean "
        "shutdowns, whole file systems in backups, host keys that the hypervisor vouches for. "
        "False: both are left alone.",
    )
    guests: Annotated[Mapping[GuestNumber, GuestSettings], BeforeValidator(_by_id)] = Field(
        default={},
        description="What a guest has beside its entry in the JSON files, by id.",
        examples=[{1002: {"mount_points": [
            {"path": "/srv", "storage": "local-lvm", "size_gb": 32}
        ]}}],
    )  # fmt: skip
    firewall: StrictBool = Field(
        default=True,
        description="Write the firewall of cluster, node and guests from the site's flows. Rules "
        "of others stay.",
    )
    firewall_out: Literal["ACCEPT", "DROP"] = Field(
        default="ACCEPT",
        description="What happens to connections that guests open. `DROP` lets them out only where "
        "a flow says so: not to Debian's mirrors, either.",
    )
    operator_networks: tuple[Peer, ...] = Field(
        default=(),
        description="Networks, of IPv4 or IPv6, from which SSH and the API stay open, beside the "
        "site's own and the address we come from.",
        examples=[["192.168.7.0/24", "fd00:7::/64"]],
    )
    ipfilter: StrictBool = Field(
        default=True,
        description="Guests send from their own address alone, beside their own MAC address. "
        "`proxmox_guests` has further addresses.",
    )
    node_flows: tuple[NodeFlow, ...] = Field(
        default=(),
        description="What the cluster's other nodes serve beside Proxmox VE, and to whom: storage, "
        "backups, exporters. The hypervisor's own are `site.hypervisor.firewall.rules`.",
        examples=[[{"port": "2049", "source": "10.0.0.0/24", "comment": "NFS"}]],
    )
    node_closed: tuple[ListeningPort, ...] = Field(
        default=(),
        description="Ports that something listens on at the nodes and that the firewall may close.",
        examples=[["tcp/111", "udp/111"]],
    )
    node_listeners: Mapping[Node, tuple[ListeningPort, ...]] = Field(
        default={},
        description="What a node listens on, where Phoenix cannot read it by SSH.",
        examples=[{"pve2": ["tcp/22", "tcp/8006"]}],
    )
    ha_group: SnapshotName | None = Field(
        default=None,
        description="Group of high availability (Proxmox VE 8), or node affinity rule (9).",
    )
    ha_nodes: tuple[NodePriority, ...] = Field(
        default=(),
        description="Its nodes with their priorities, by which it is made where it is absent.",
        examples=[["pve1:2", "pve2:1"]],
    )
    apart: Mapping[HaRule, Annotated[tuple[GuestNumber, ...], Field(min_length=2)]] = Field(
        default={},
        description="Guests that high availability keeps on different nodes, by the name of their "
        "rule: a negative resource affinity rule of Proxmox VE 9; in 8 each prefers its own node "
        "by a group of its own.",
        examples=[{"dns": [103, 105]}],
    )
    replication_schedule: CalendarEvent = Field(
        default="*/15", description="How often volumes are replicated (a calendar event)."
    )
    snapshot_before_change: StrictBool = Field(
        default=False,
        description="Take a snapshot around each change of an existing guest, and go back to it "
        "when the change fails.",
    )
    lifecycle_snapshots: StrictBool = Field(
        default=False,
        description='Take the original system\'s snapshot "pre-configured" of each new guest.',
    )
    task_seconds: StrictInt = Field(
        default=900,
        ge=1,
        le=86400,
        description="How long one task of Proxmox VE may take, in seconds.",
    )
    lock_seconds: StrictInt = Field(
        default=120,
        ge=0,
        le=86400,
        description="How long a guest's lock is waited for, in seconds.",
    )
    request_seconds: StrictInt = Field(
        default=30,
        ge=1,
        le=3600,
        description="How long one request to the API may take, in seconds.",
    )
    ssh_seconds: StrictInt = Field(
        default=300,
        ge=1,
        le=86400,
        description="How long all guests' SSH is waited for, in seconds.",
    )

    def guest(self, vmid: int | None) -> GuestSettings:
        """The settings of one guest; all defaults where none are given."""
        return self.guests.get(vmid or 0, GuestSettings())


class Settings(_Strict):
    """All settings of one host. Those named `proxmox_X` are `proxmox.X`."""

    dns_upstreams: tuple[Resolver4, ...] = Field(
        default=("9.9.9.9", "149.112.112.112"),
        description="Resolvers that the internal name server asks for everything outside the "
        "site's own domain: IPv4 addresses, at least one.",
    )
    dns_stop_rebind: StrictBool = Field(
        default=True,
        description="Drop private addresses in their answers (DNS rebinding). Turn it off only "
        "where such answers are meant, as behind an upstream with internal zones of its own.",
    )
    resolver_fallback: tuple[Resolver, ...] = Field(
        default=(),
        max_length=2,  # resolv.conf(5): MAXNS is 3, and ours is the first
        description="Further name servers in every host's resolv.conf, asked when ours is silent. "
        'A public resolver answers "no such name" for internal names, and learns what they are.',
        examples=[["10.0.0.1"]],
    )
    timezone: TimeZone = Field(
        default="Etc/UTC",
        description="Time zone of every host, as in /usr/share/zoneinfo.",
        examples=["Europe/Berlin"],
    )
    step_ca_lifetime_minimum: GoDuration = Field(
        default="5m", description="Shortest lifetime of a leaf certificate that the CA signs."
    )
    step_ca_lifetime_maximum: GoDuration = Field(
        default="24h", description="Longest lifetime of a leaf certificate that the CA signs."
    )
    step_ca_lifetime_default: GoDuration = Field(
        default="24h",
        description="Lifetime of leaf certificates. Each holder renews with a third left.",
        examples=["24h", "1h30m"],
    )
    step_ca_organisation: Organisation = Field(
        default="Phoenix",
        description="O and the start of CN of root and intermediate. Read when they are made.",
        examples=["ThinkHeads"],
    )
    step_ca_years: StrictInt = Field(
        default=10,
        ge=1,
        le=100,
        description="Lifetime of root and intermediate in years. Read when they are made.",
    )
    nginx_hsts_seconds: StrictInt = Field(
        default=31536000,
        ge=0,
        le=315360000,
        description="How long browsers insist on HTTPS (HSTS), in seconds; 0: no longer, also "
        "those that were told so before.",
    )
    nginx_max_body: NginxSize = Field(
        default="512m",
        description="Largest request body that the gateway takes; `0`: of any size.",
    )
    nginx_read_timeout: NginxTime = Field(
        default="300s", description="How long the gateway waits for a backend between two reads."
    )
    traefik_dashboard_user: LoginName = Field(
        default="admin",
        description="Login name of Traefik's dashboard; its password is a secret.",
    )
    traefik_metrics: StrictBool = Field(
        default=False,
        description="Prometheus metrics of Traefik's entry points at http://127.0.0.1:8081/metrics "
        "on its guest. They cost CPU time with each request.",
    )
    ssh_confirm_seconds: StrictInt = Field(
        default=120,
        ge=1,
        le=3600,
        description="Seconds in which a new SSH login must succeed after a change to sshd, the "
        "guard or the hypervisor's networks, else the change is undone.",
    )
    serial: Annotated[BatchSize, BeforeValidator(_as_text)] = Field(
        default="1",
        description="Docker hosts in a batch, as a number or a part of them (`20%`): the hosts of "
        "a batch install or restart Docker and their agent one after the other, and one that fails "
        "stops those after it in its batch. Batches go side by side, so with `1` all hosts do.",
        examples=["20%"],
    )
    room_warning_percent: StrictInt = Field(
        default=15,
        ge=0,
        le=100,
        description="With less of a file system free, in bytes or in files, the checks warn of it.",
    )
    room_least_percent: StrictInt = Field(
        default=5,
        ge=0,
        le=100,
        description="With less of a file system free the checks fail.",
    )
    home_old_hours: StrictInt = Field(
        default=24,
        ge=1,
        le=8760,
        description="Hours after which the start page says that what it shows is old. A complete "
        "run that finds the same writes it anew when half of them have passed.",
    )
    home_tells: Literal["everything", "services"] = Field(
        default="everything",
        description="What the start page and its `home.json` tell whoever reaches them. With "
        "`services` they name no host, address, certificate, operator or revision.",
    )
    watch_interval: Literal[10, 15, 20, 30, 60, 120, 300, 600] = Field(
        default=60,
        description="Seconds between two rounds of a host's own checks, where `site.watcher` "
        "names a host that watches.",
    )
    watch_backup_days: StrictInt = Field(
        default=7,
        ge=0,
        le=3650,
        description="Days after which the watcher warns that the newest `phoenix backup` is too "
        "old; 0: never. A site with `site.backups` has its own `warn_days`, and not this.",
    )
    artifacts: Mapping[Identifier, Mapping[Architecture, Pin]] = Field(
        default=pins.ARTIFACTS,
        description="Programs that are no Debian packages: name, architecture (`amd64`, `arm64`, "
        "or `any`), pin. Any URL that the guests can reach will do: the digests decide.",
    )
    docker_packages: Literal["distribution", "docker"] = Field(
        default="distribution",
        description="Docker Engine's packages: Debian's or Ubuntu's (`distribution`), or Docker's "
        "own (`docker`).",
    )
    docker_apt_url: HttpsUrl = Field(
        default="https://download.docker.com/linux",
        description="Package source where `docker_packages` is `docker`.",
    )
    docker_apt_key_sha256: Sha256 = Field(
        default=pins.DOCKER_APT_KEY_SHA256,
        description="SHA-256 of the key that signs that package source.",
    )
    docker_log_size: Size = Field(
        default="10m", description="Size at which a container's log begins another file."
    )
    docker_log_files: StrictInt = Field(
        default=5, ge=1, le=1000, description="Number of log files that are kept of a container."
    )
    docker_log_driver: LogDriver | None = Field(
        default=None,
        description="Log driver of containers; None: the one in the daemon.json that was there "
        "before Phoenix, else `local`.",
        examples=["journald"],
    )
    docker_log_options: Mapping[Identifier, StrictLine] = Field(
        default={},
        description="Further options of the log driver (log-opts).",
        examples=[{"compress": "true"}],
    )
    docker_data_root: HostPath | None = Field(
        default=None,
        description="Directory of images, containers and volumes (data-root); None: the one in the "
        "daemon.json that was there before Phoenix, else /var/lib/docker. Data are never moved: "
        "another directory is refused while dockerd has any in the present one.",
        examples=["/srv/docker"],
    )
    docker_address_pools: tuple[AddressPool, ...] = Field(
        default=(),
        description="Where Docker takes the addresses of its networks (default-address-pools). "
        "Empty, as the settings below: what the daemon.json before Phoenix had.",
        examples=[[{"base": "172.30.0.0/16", "size": 24}]],
    )
    swarm_address_pools: tuple[Network, ...] = Field(
        default=(),
        description="Where a new swarm takes the addresses of its overlay networks, each a /24. "
        "Empty: the first of 10.200.0.0/16, 10.201.0.0/16 and so on that overlaps no network of "
        "the site and no bridge of Docker.",
        examples=[["10.77.0.0/16"]],
    )
    docker_registry_mirrors: Annotated[tuple[MirrorUrl, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="Mirrors of Docker Hub (registry-mirrors), as URLs.",
        examples=[["https://mirror.example"]],
    )
    docker_insecure_registries: Annotated[tuple[RegistryHost, ...], BeforeValidator(_listed)] = (
        Field(
            default=(),
            description="Registries without TLS, or with a certificate of an unknown CA "
            "(insecure-registries): HOST[:PORT] or a network.",
            examples=[["registry.example:5000"]],
        )
    )
    docker_runtimes: Mapping[Identifier, ContainerRuntime] = Field(
        default={},
        description="OCI runtimes that containers may ask for (runtimes), by name.",
        examples=[{"crun": {"path": "/usr/bin/crun"}}],
    )
    portainer_image: ImageReference = Field(
        default=pins.PORTAINER_IMAGE,
        description="Image of Portainer's server: NAME:TAG, or NAME:TAG@sha256:DIGEST.",
    )
    portainer_agent_image: ImageReference = Field(
        default=pins.PORTAINER_AGENT_IMAGE,
        description="Image of Portainer's agent, likewise.",
    )
    portainer_url: PortainerUrl | None = Field(
        default=None,
        description="URL at which this machine reaches Portainer's API itself; None: through SSH "
        "to Portainer's guest.",
        examples=["https://portainer.internal.example.com"],
    )
    image_archives: Mapping[ImageReference, ImageArchive] = Field(
        default={},
        description="Archives (docker save) for sites without a registry, by image reference.",
        examples=[{"example/app:1.0": {"url": "file:///srv/app.tar", "sha256": "..."}}],
    )
    registries: Mapping[Annotated[StrictStr, AfterValidator(registry_name)], Registry] = Field(
        default={},
        description="Private registries that stacks' images come from, by the name that image "
        "references have (`docker.io` for Docker Hub): who logs in, and the secret to do it with.",
        examples=[{"registry.example.com": {"username": "ci", "secret": "registry_password"}}],
    )
    stack_variables: Mapping[Identifier, Mapping[VariableName, VariableValue]] = Field(
        default={},
        description="Values that replace those of stacks/NAME/phoenix.json: stack, variable, "
        "value.",
        examples=[{"qdrant_service": {"QDRANT_LOG_LEVEL": "DEBUG"}}],
    )
    stacks_prune: tuple[StackProject, ...] = Field(
        default=(),
        description="Stacks (NAME-ENVIRONMENT) to remove from Portainer; their volumes stay. A "
        "stack that merely left the configuration goes on running.",
        examples=[["old_app-production"]],
    )
    backup_recipients: Annotated[tuple[Recipient, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="To whom backups are encrypted: age recipients or SSH public keys of type "
        "ed25519. Empty: with the passphrase in the secret `backup_passphrase`.",
        examples=[["age1..."]],
    )
    taking_over: TakingOver = Field(
        default=TakingOver(),
        description="What becomes of what a host had in the place that Phoenix takes: `keep` it, "
        "`adopt` it with its data, or `replace` it. Without a word a run refuses that host and "
        "names what it found (docs/taking-over.md).",
        examples=[{"resolver": "keep", "agent": "replace"}],
    )
    proxmox: ProxmoxSettings = Field(default=ProxmoxSettings(), description="See `proxmox_`.")

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        gathered = {k: v for k, v in data.items() if not k.startswith(PROXMOX)}
        own = {k.removeprefix(PROXMOX): v for k, v in data.items() if k.startswith(PROXMOX)}
        return gathered | ({"proxmox": own} if own else {})


class SiteData(_Strict):
    """What an inventory gives each host so that the deploys find the site; no setting."""

    site_inventories: StrictLine = Field(description="Directory of the two JSON files.")
    site_stacks: StrictLine = Field(description="Directory of the stacks.")
    site_environment: StrictLine = Field(description="Environment of stacks without their own.")
    site_subnet: StrictLine | None = Field(
        default=None, description="Network that the whole site is moved into (the lab)."
    )
    site_secrets: StrictLine = Field(description="File where generated secrets are kept.")
    site_sops: StrictLine | None = Field(
        default=None,
        description="SOPS file with the site's secrets, used where it is there: a team shares it "
        "through git. PHOENIX_SOPS_FILE names another one.",
    )
    site_sudo: StrictBool | None = Field(
        default=None, description="Whether commands run by sudo; from `login` in the JSON files."
    )
    site_sudo_secret: StrictLine | None = Field(
        default=None, description="Name of the secret that sudo asks for; likewise."
    )


class RunArguments(_Strict):
    """What single deploys are told by `--data NAME=VALUE`; the command `phoenix` gives these."""

    certs_rotate: Any = Field(
        default=None,
        description="deploys/certs_rotate.py: `root`, `intermediate`, `continue` or `abandon`.",
    )
    certs_permit: Any = Field(
        default=None,
        description="deploys/certs_rotate.py: domains and networks, with commas, that the next "
        "intermediate vouches for as well.",
    )
    certs_root_key: Any = Field(
        default=None,
        description="deploys/certs_rotate.py: the file with the root's key that deploys/"
        "certs_root.py made; a new intermediate needs it when the key is offline.",
    )
    certs_root_identity: Any = Field(
        default=None,
        description="deploys/certs_rotate.py: the age or SSH private key for certs_root_key.",
    )
    certs_root_to: Any = Field(
        default=None,
        description="deploys/certs_root.py: the directory on this machine for the root's key.",
    )
    certs_root_recipients: Any = Field(
        default=None,
        description="deploys/certs_root.py: age or SSH public keys, with commas, that the file is "
        "encrypted for; else the setting backup_recipients, or the secret backup_passphrase.",
    )
    certs_rotate_prepare: Any = Field(
        default=None,
        description="deploys/certs_rotate.py: `true` ends it when all hosts trust both roots.",
    )
    certs_renew: Any = Field(default=None, description="deploys/certs_renew.py: the guest.")
    secrets_rotate: Any = Field(
        default=None, description="deploys/secrets_rotate.py: names with commas."
    )
    secrets_lost: Any = Field(
        default=None,
        description="deploys/secrets_rotate.py: `true` makes secrets that nobody has any more.",
    )
    backup_to: Any = Field(default=None, description="deploys/backup.py: directory here.")
    backup_parts: Any = Field(
        default=None, description="deploys/backup.py: of `ca,portainer,secrets`; all by default."
    )
    restore_from: Any = Field(default=None, description="deploys/restore.py: the backup's file.")
    restore_identity: Any = Field(
        default=None, description="deploys/restore.py: file with the private key that opens it."
    )
    restore_parts: Any = Field(
        default=None, description="deploys/restore.py: of `ca,portainer,secrets`; all by default."
    )
    restore_replace: Any = Field(
        default=None, description="deploys/restore.py: `true` moves others' data aside."
    )
    restore_at: Any = Field(
        default=None, description="deploys/restore_at.py: the moment, as 2026-11-25T14:00+00:00."
    )
    restore_at_parts: Any = Field(
        default=None,
        description="deploys/restore_at.py: of `ca,portainer,secrets,stack:NAME-ENVIRONMENT`.",
    )
    backup_now: Any = Field(
        default=None, description="deploys/backup_now.py: `run` makes backups, `prove` proves them."
    )
    stacks_only: Any = Field(
        default=None, description="deploys/stacks.py: the stacks (NAME-ENVIRONMENT) to look at."
    )
    verify_only: Any = Field(
        default=None,
        description="deploys/verify.py: what to prove, as `stack:NAME`; every hop by default.",
    )
    remove: Any = Field(
        default=None, description="deploys/remove.py: what `phoenix remove` found, as JSON."
    )
    observe: Any = Field(default=None, description="deploys/observe.py: kinds of observations.")


def fields() -> dict[str, FieldInfo]:
    """Every setting by the name that group_data gives it, in the order of the reference."""
    own = {name: info for name, info in Settings.model_fields.items() if name != "proxmox"}
    return own | {f"{PROXMOX}{name}": i for name, i in ProxmoxSettings.model_fields.items()}


def is_setting(name: str) -> bool:
    """Whether a name in a host's data is taken for a setting, also for a misspelt one."""
    return name.startswith(PROXMOX) or name in _names()


@cache
def _names() -> frozenset[str]:
    return frozenset(fields())


COMMAND_LINE = "--data"
"""pyinfra's option that gives a setting, and what findings call that place."""


def written(words: Sequence[str]) -> dict[str, str]:
    """The texts behind `--data NAME=` in the words of pyinfra's command line, by name."""
    given = [value for option, value in pairwise(words) if option == COMMAND_LINE]
    option = f"{COMMAND_LINE}="
    given += [word.removeprefix(option) for word in words if word.startswith(option)]
    return {name: text for name, _, text in (word.partition("=") for word in given)}


def from_command_line(
    data: Mapping[str, Any], texts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What `--data NAME=VALUE` gives, as it is meant by the settings' types.

    pyinfra knows no types: it takes `true` and `false`, what Python reads as a whole number, or
    JSON for such, and all else for text (pyinfra_cli.util.parse_cli_arg). So the user `007` would
    be `7`, and `1e3` a number.

    Args:
        data: as pyinfra has read it. What is no setting stays as it is.
        texts: as it was written (`written`); of a name that is not there, what JSON writes for it.
    """
    known, own = fields(), texts or {}
    return {
        name: _meant(as_written(name, value, own), known[name].annotation)
        if name in known
        else value
        for name, value in data.items()
    }


def as_written(name: str, value: Any, texts: Mapping[str, str]) -> str:
    """The text behind `--data NAME=`.

    Args:
        name: of the setting, or of the argument of a run.
        value: as pyinfra has read it.
        texts: as they were written (`written`); of a name that is not there, what JSON writes for
            the value.
    """
    return texts.get(name, value if isinstance(value, str) else json.dumps(value, default=list))


def _meant(text: str, kind: Any) -> Any:
    """A text of the command line, for a type of the model; one that is no such value stays."""
    members = [kind]
    while any(get_origin(member) in (Annotated, Union, UnionType) for member in members):
        members = [part for member in members for part in _parts(member)]
    choices = {type(word) for m in members if get_origin(m) is Literal for word in get_args(m)}
    plain = text.strip()
    if plain in ("None", "null") and NoneType in members:
        return None
    if plain.startswith(("[", "{", '"')):
        with suppress(ValueError):
            return json.loads(plain, object_pairs_hook=_each_once)
        return text
    if str in members or str in choices:
        return text
    if bool in members and plain.lower() in ("true", "false"):
        return plain.lower() == "true"
    if (int in members or int in choices) and _WHOLE.fullmatch(plain):
        return int(plain)
    lists = [member for member in members if get_origin(member) is tuple]
    if lists:
        return [_meant(part, get_args(lists[0])[0]) for part in (_listed(text) if text else ())]
    return text


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that is there twice nobody knows which is meant."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key is there twice")
    return result


def _parts(member: Any) -> Sequence[Any]:
    """What a type is made of: the members of a union, the type without what is noted of it."""
    if get_origin(member) is Annotated:
        return get_args(member)[:1]
    return get_args(member) if get_origin(member) in (Union, UnionType) else (member,)


_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17}|[1-9][0-9]{0,2}(?:_[0-9]{3}){1,5})")
"""As group_data writes them in decimal: with a zero in front it could be octal, and is refused."""

_FORMS = {
    "write a list": "write a list: texts with commas between, or JSON",
    "write a dictionary": "write a dictionary, as JSON with each key once",
    "write True or False": "write true or false",
    "write a whole number": "write a whole number in decimal digits, with no zero in front",
}


def on_command_line(finding: Finding) -> Finding:
    """The finding, with the form that its value has on the command line."""
    if finding.file == COMMAND_LINE:
        return replace(finding, fix=_FORMS.get(finding.fix, finding.fix))
    return finding


def data_names() -> frozenset[str]:
    """Every name in a host's data that Phoenix reads: settings, site data, run arguments."""
    return frozenset({*fields(), *SiteData.model_fields, *RunArguments.model_fields})


UNREAD = "no code reads this setting"
"""What is wrong with a name that no setting has."""


def unknown(
    names: Iterable[str],
    others: Iterable[str] = (),
    elsewhere: Callable[[str], str] = lambda _: "",
) -> list[tuple[str, str]]:
    """Names of settings that nothing reads, each with the fix.

    Args:
        names: as group_data and inventories give them. Those with a leading underscore are
            pyinfra's global arguments or private.
        others: what pyinfra itself reads.
        elsewhere: the fix for a name that belongs in another file; empty where it does not.
    """
    all_known = {*data_names(), *others}
    return [
        (name, _fix_unknown(name, all_known, elsewhere))
        for name in names
        if name not in all_known and not name.startswith("_")
    ]


def _fix_unknown(name: str, known: Iterable[str], elsewhere: Callable[[str], str]) -> str:
    """The fix for a setting that nothing reads."""
    if _is_secret(name):
        return _SECRETS
    near = suggestions.similar(name, known)
    return (not near and elsewhere(name)) or suggestions.fix_of(near)


_SECRETS = (
    "remove it, and change the secret if this file was ever shared: secrets belong in the SOPS "
    "file of `phoenix secrets init`, or in PHOENIX_SECRET_NAME in the environment (docs/secrets.md)"
)
_SECRET = re.compile(r"(?:^|_)(?:password|passphrase|passwd|secret|token|api_?key)$")


def _is_secret(name: str) -> bool:
    """Whether the name is one of a secret: the platform's own, or what people call theirs."""
    lower = name.lower()
    return lower.startswith("phoenix_secret_") or bool(_SECRET.search(lower))


def read(data: Mapping[str, Any]) -> tuple[Settings, tuple[Finding, ...]]:
    """The settings in a host's data, and what is wrong with them.

    Args:
        data: of which the settings are taken; a wrong one counts as its default in the result.

    Returns:
        Findings have `group_data` as their file; the one in which a setting stands is named by
        `phoenix.declaration.group_data.HostSettings.place`.
    """
    own = {name: value for name, value in data.items() if is_setting(name)}
    try:
        return Settings.model_validate(own), ()
    except ValidationError as error:
        findings = tuple(_finding(item) for item in error.errors(include_url=False))
    faulty = {name_of(finding.path) for finding in findings}
    return Settings.model_validate({k: v for k, v in own.items() if k not in faulty}), findings


def name_of(path: str) -> str:
    """The setting that a finding's path begins with: `artifacts` of `artifacts.traefik.url`."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]


_FIXES = {
    "bool_type": "write True or False",
    "dict_type": "write a dictionary",
    "int_type": "write a whole number",
    "mapping_type": "write a dictionary",
    "missing": "add it",
    "model_type": "write a dictionary",
    "string_type": "write text",
    "string_unicode": "write text that UTF-8 can hold",
    "tuple_type": "write a list",
}


def _fix(error: ErrorDetails, setting: str) -> str:
    """What to write instead."""
    if fix := bound_fix(error) or _FIXES.get(error["type"]):
        return fix
    info = fields().get(setting)
    shown = info.examples[0] if info and info.examples else info and info.get_default()
    return f"write it as {shown!r}"


def _finding(error: ErrorDetails) -> Finding:
    location: Sequence[str | int] = error["loc"]
    if location and location[0] == "proxmox":
        location = (f"{PROXMOX}{location[1]}", *location[2:]) if location[1:] else location
    steps = [step for step in location if step != "[key]"]
    if steps[0] == f"{PROXMOX}guests":  # ids are keys, no positions
        steps[1:2] = map(str, steps[1:2])
    path = join("", *steps)
    context = error.get("ctx", {})
    if error["type"] == "phoenix":
        return Finding(FOLDER, path, error["msg"], str(context["fix"]))
    if error["type"] == "extra_forbidden":
        known = fields() if len(location) == 1 else ()
        fix = suggestions.fix(str(location[-1]), known)
        return Finding(FOLDER, path, UNREAD, fix)
    value = shown_value(error["input"])
    fix = _fix(error, name_of(path))
    joined = ", which " if error["type"] in KINDS else ": "
    return Finding(FOLDER, path, f"is {value}{joined}{in_words(error)}", fix)
