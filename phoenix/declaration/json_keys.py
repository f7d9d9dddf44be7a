"""The shape of the JSON files, as written: what each key may hold, before anything is derived.

Accepts the original system's files unchanged. A key marked `unused` is known and ignored. The
descriptions are what editors show (`phoenix schema`) and what docs/reference.md says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv4Network, ip_interface
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import core_schema

from phoenix.declaration import misplaced_keys
from phoenix.declaration.setting_types import MountPath, PortainerUrl, Recipient
from phoenix.declaration.value_types import (
    HOST_PORT,
    VALUE_PATTERN,
    VARIABLE,
    Addresses,
    BodySize,
    ContainerPath,
    DockerNetworkName,
    EndpointName,
    EntryName,
    ExportOption,
    FarHost,
    Fingerprint,
    HeaderName,
    HeaderValue,
    HostName,
    IconText,
    ImageFile,
    InterfaceName,
    Line,
    LoginUser,
    NodeLabel,
    PathPrefix,
    SecretText,
    ServiceName,
    ShortText,
    SiteFile,
    SnapshotName,
    StorageName,
    TextType,
    UrlPath,
    UserName,
    Wait,
    WebUrl,
    problem,
    shown_value,
)
from phoenix.site.model import Kind, LeftAlone
from phoenix.site.names import LABEL
from phoenix.site.roles import ROLES, Role

OF_EVERY_HOST = ("base_setup", "trusted_ca", "step_cli")
"""Features of the original that Phoenix gives every host."""
FEATURES = (*ROLES, *OF_EVERY_HOST)
# Features of the original that only its GPU guests have; Phoenix leaves those guests' software be.
FOREIGN_FEATURES = (
    "nvidia", "vllm", "ollama", "dns_server", "nat_gateway", "python_api_service", "docker_proxy",
)  # fmt: skip
PVE_FEATURES = ("nesting", "keyctl", "fuse", "mknod", "force_rw_sys", "mount")
"""Features of a container in Proxmox VE (pct.conf(5)), as `nesting=1`; a bare name means 1."""
PVE_FEATURE_PATTERN = (
    rf"^(?:(?:{'|'.join(PVE_FEATURES[:-1])})(?:=[01])?|mount=[a-z0-9_]+(?:;[a-z0-9_]+)*)$"
)

SITE = "site"
"""The peer of a firewall rule that is the site's own network, whichever that is."""

_MAC = re.compile(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}\Z")
_PORTS_PATTERN = r"[0-9]{1,5}(?::[0-9]{1,5})?(?:,[0-9]{1,5}(?::[0-9]{1,5})?)*"
_PORTS = re.compile(rf"{_PORTS_PATTERN}\Z")
_DIGITS = re.compile(r"[0-9]{1,12}\Z")
_MANY = 99_999_999  # more of anything is a slip: MiB, GiB, seconds, places in an order
_OWNED_BY_GUEST = "Phoenix leaves the guest's own settings to Proxmox"
_GPU_DRIVER = "the GPU's driver on the hypervisor stays with you"
_SCRIPT = "a guest's software comes from its role; this script stays with you"


_NOT_CARRIED_OUT = (
    "Phoenix does not carry this key out: a route without what it asks for may be open to everyone"
)
_WHO_ENTERS = "the service itself must ask who may enter"


def _interface(value: Any) -> Any:
    if value == "dhcp":
        return None
    try:
        if isinstance(value, str) and "/" in value:
            return IPv4Interface(value)
    except ValueError:
        pass
    fix = 'write it as "10.0.0.5/24"'
    try:
        if isinstance(value, str):
            address = ip_interface(value).ip
            fix = f'write it with the prefix length of its network, as "{address}/24"'
            if address.version == 6:
                fix = 'write its IPv4 address, as "10.0.0.5/24": Phoenix routes by IPv4 alone'
    except ValueError:
        pass
    raise problem(f"{shown_value(value)} is not an IPv4 address with prefix length", fix)


def _mac(value: Any) -> Any:
    if isinstance(value, str) and _MAC.match(value.upper()):
        number = int(value.replace(":", ""), 16)
        if number in (0, 0xFFFFFFFFFFFF):
            whose = "every card of a network" if number else "no card"
            raise problem(
                f"{shown_value(value)} is the address of {whose}",
                'leave it out, and Proxmox VE makes one; or write one, as "52:54:00:12:34:56"',
            )
        if number >> 40 & 1:
            raise problem(
                f"{shown_value(value)} is a multicast address", "clear the lowest bit of byte one"
            )
        return value.upper()
    raise problem(
        f"{shown_value(value)} is not a MAC address", 'write six bytes as "52:54:00:12:34:56"'
    )


def _network(value: Any, more: str = "") -> Any:
    try:
        if isinstance(value, str):  # a number would be taken for the address of that value
            return IPv4Network(value, strict=False)
    except ValueError:
        pass
    raise problem(
        f"{shown_value(value)} is not an IPv4 address or network",
        f'write "10.0.0.5" or "10.0.0.0/24"{more}',
    )


def _peer(value: Any) -> Any:
    return value if value == SITE else _network(value, f', or "{SITE}" for the site\'s network')


def _client(value: Any) -> Any:
    """A peer of which all is meant: `10.0.0.5/24` could be one address or 256."""
    peer = _peer(value)
    if isinstance(peer, IPv4Network) and str(value) not in (str(peer), str(peer.network_address)):
        alone = str(value).partition("/")[0]
        raise problem(
            f"{shown_value(value)} is an address within the network {peer}",
            f'write "{alone}" for that address alone, or "{peer}"',
        )
    return peer


def _ports(value: Any) -> Any:
    text = str(value)
    parts = text.split(",") if _PORTS.match(text) else ["0"]
    spans = [[int(number) for number in part.split(":")] for part in parts]
    if not all(1 <= span[0] <= span[-1] <= 65535 for span in spans):
        raise problem(f"{shown_value(value)} names no port", 'write "443", "80,443" or "8000:8010"')
    if sum(map(len, spans)) > _MAX_PORTS:
        raise problem(
            f"{shown_value(value)} names more than {_MAX_PORTS} ports, where a range counts as "
            "two: Proxmox VE takes no such rule",
            "write several rules, or a range",
        )
    return text


_MAX_PORTS = 15
"""Of one rule of Proxmox VE's firewall (iptables-extensions(8), "multiport")."""


def _label(value: Any) -> Any:
    if isinstance(value, str) and LABEL.match(value):
        return value
    raise problem(*not_a_label(value))


def not_a_label(value: object) -> tuple[str, str]:
    """What is wrong with a value that is no label, and the fix."""
    return (
        f"{shown_value(value)} is not a host name label (RFC 1123)",
        "use 1 to 63 lower-case letters, digits and inner hyphens",
    )


LABEL_PATTERN = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
QUAD = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"


class Each:
    """A value that is kept as written and checked later against `model`, entry by entry.

    So that one wrong entry hides no other. For the JSON Schema it is that model.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        """Keep the model."""
        self.model = model

    def __get_pydantic_json_schema__(
        self, _schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """For the JSON Schema: that of the model."""
        return handler(self.model.__pydantic_core_schema__)


def _number(value: Any) -> Any:
    """Refuse true and false, which Python takes for 1 and 0, and text that is not all digits."""
    if isinstance(value, bool) or (isinstance(value, str) and not _DIGITS.match(value)):
        raise problem(f"{shown_value(value)} is not a whole number", "write digits alone")
    return value


def _text_or_number(minimum: int, maximum: int) -> WithJsonSchema:
    """The original system writes some numbers as text."""
    number = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": r"^[0-9]+$"}]})


Interface = Annotated[
    IPv4Interface | None,
    BeforeValidator(_interface),
    WithJsonSchema(
        {"anyOf": [{"const": "dhcp"}, {"type": "string", "pattern": rf"^{QUAD}/[0-9]{{1,2}}$"}]}
    ),
]
Mac = Annotated[
    str,
    BeforeValidator(_mac),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(?!00(:00){5}$)[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$",
        }
    ),
]
NetworkText = Annotated[
    IPv4Network,
    BeforeValidator(lambda value: _network(value)),
    WithJsonSchema({"type": "string", "pattern": rf"^{QUAD}(/[0-9]{{1,2}})?$"}),
]
PeerText = Annotated[
    IPv4Network | Literal["site"],
    BeforeValidator(_peer),
    WithJsonSchema(
        {"anyOf": [{"const": "site"}, {"type": "string", "pattern": rf"^{QUAD}(/[0-9]{{1,2}})?$"}]}
    ),
]
ClientText = Annotated[
    IPv4Network | Literal["site"],
    BeforeValidator(_client),
    WithJsonSchema(
        {"anyOf": [{"const": "site"}, {"type": "string", "pattern": rf"^{QUAD}(/[0-9]{{1,2}})?$"}]}
    ),
]
Ports = Annotated[
    str,
    BeforeValidator(_ports),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": f"^{_PORTS_PATTERN}$"},
            ]
        }
    ),
]
Label = Annotated[
    str,
    BeforeValidator(_label),
    WithJsonSchema({"type": "string", "pattern": LABEL_PATTERN}),
]
Amount = Annotated[int, Field(ge=0, le=_MANY), BeforeValidator(_number)]
Cores = Annotated[int, Field(ge=1, le=8192), BeforeValidator(_number)]
UserId = Annotated[int, Field(ge=0, le=4_294_967_294), BeforeValidator(_number)]
"""A user or group: 32 bits, and the last number means none (chown(2))."""
Gibibytes = Annotated[int, Field(ge=1, le=_MANY), BeforeValidator(_number)]
Mebibytes = Annotated[int, Field(ge=16, le=_MANY), BeforeValidator(_number)]
Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(_number), _text_or_number(1, 65535)]
GuestId = Annotated[  # Proxmox VE's own limits
    int,
    Field(ge=100, le=999_999_999),
    BeforeValidator(_number),
    _text_or_number(100, 999_999_999),
]
SshWord = Annotated[
    str,
    TextType(
        r"[A-Za-z0-9_][A-Za-z0-9_.@:,\[\]-]{0,252}",
        "is not a host as ssh(1) takes it",
        "write [USER@]HOST[:PORT], as me@bastion.example.com:2222",
    ),
]
Feature = Annotated[Line, WithJsonSchema({"type": "string", "enum": sorted(FEATURES)})]
ContainerFeature = Annotated[
    Line,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": sorted(FEATURES)},
                {"type": "string", "pattern": PVE_FEATURE_PATTERN},
            ]
        }
    ),
]


VariableName = Annotated[
    str,
    VARIABLE,
]


def _words(value: Any) -> Any:
    """A list that may be written as one text, with commas between."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def unused(reason: str, fix: str = "remove it") -> Any:
    """Declare a key that is known and ignored, with the reason and what to do about it."""
    return Field(
        default=None,
        description=f"Not used: {reason}.",
        json_schema_extra={"unused": reason, "fix": fix, "deprecated": True},
    )


def schema_key() -> Any:
    """Declare the key by which an editor finds the file's schema."""
    return Field(
        default=None,
        alias="$schema",
        description="Path of the JSON Schema by which an editor completes and checks this file.",
    )


class Raw(BaseModel):
    """Base of all shapes: frozen; unknown keys are kept so that they can be warned of."""

    # A validator is made when it is first asked: most are parts of others, and never are.
    model_config = ConfigDict(defer_build=True, frozen=True, extra="allow")

    place: ClassVar[str] = ""
    """What a person calls the place where these keys stand; empty where no key is moved there."""
    refuse_unknown: ClassVar[str] = ""
    """Why an unknown key is an error; empty where it is ignored with a warning."""
    unknown_fix: ClassVar[str] = ""
    """What to do beside removing a key that `refuse_unknown` refuses."""
    refuse_misspelt: ClassVar[str] = ""
    """Why a key that is like a known one is an error; empty where it is ignored with a warning."""
    of_others: ClassVar[tuple[str, Mapping[str, str]]] = ("", {})
    """What has these keys instead, and for each key what to do."""

    @staticmethod
    def elsewhere(key: str) -> str:
        """The fix for a key that belongs in another place; empty where none is known."""
        return misplaced_keys.of_key(Raw, key)


class _TextOrList:
    """In JSON one text with commas will do as well."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


def _gpus(value: Any) -> Any:
    """The numbers of GPUs that a text names."""
    text = "" if value in (None, "none") else str(value)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(value, bool) or not all(re.fullmatch(r"[0-9]{1,2}", part) for part in parts):
        raise problem(f"{shown_value(value)} names no GPUs", 'write "0", "0,1" or "none"')
    return tuple(dict.fromkeys(int(part) for part in parts))


ProfileName = Annotated[
    str,
    TextType(
        r"[A-Za-z0-9_/][A-Za-z0-9_./@+-]{0,199}",
        "is not the name of an AppArmor profile",
        'write one of `aa-status`, or "unconfined"',
    ),
]
GpuNumbers = Annotated[
    tuple[Annotated[int, Field(ge=0, le=99), BeforeValidator(_number)], ...],
    BeforeValidator(_gpus),
    WithJsonSchema(
        {"anyOf": [{"const": "none"}, {"type": "string", "pattern": "^[0-9, ]+$"},
                   {"type": "integer", "minimum": 0, "maximum": 99}]}
    ),
]  # fmt: skip


class RawRule(Raw):
    """One firewall rule, as Proxmox VE's `pve-firewall` knows it.

    A key that is not named here is an error: a rule without what it says may match more.
    """

    refuse_unknown: ClassVar[str] = (
        "Phoenix does not carry this key out: a rule without what it says may match more than meant"
    )
    unknown_fix: ClassVar[str] = (
        "say it by these keys: of a macro its proto and port, of an alias or an IP set its "
        "addresses, one rule each"
    )

    type: Literal["in", "out"] = Field(description="Direction, seen from the guest.")
    action: Literal["ACCEPT", "DROP", "REJECT"] = Field(description="What happens to a match.")
    proto: Literal["tcp", "udp", "icmp"] | None = Field(
        default=None, description="Protocol; every one where it is left out."
    )
    port: Ports | None = Field(
        default=None,
        description="Destination ports, lists and ranges; needs `proto` tcp or udp.",
        examples=["443", "80,443", "8000:8010"],
    )
    source: PeerText | None = Field(
        default=None,
        description="Of type `in`: address or network that connections come from, `site` for the "
        "site's own network; any where it is left out.",
        examples=["site", "10.0.0.0/24"],
    )
    dest: PeerText | None = Field(
        default=None,
        description="Of type `out`: address or network that connections go to, `site` for the "
        "site's own network; any where it is left out.",
        examples=["site", "10.0.0.13"],
    )
    comment: Line = Field(default="", description="Shown beside the rule in Proxmox VE.")


class RawHostFirewall(Raw):
    """The firewall of the hypervisor itself. What the site's own flows need is added by itself."""

    place: ClassVar[str] = 'a guest\'s "firewall"'
    guard: bool = Field(
        default=True,
        description="Whether the host itself lets in what the flows say, and nothing else "
        "(nftables, the table `inet phoenix`).",
    )
    rules: tuple[RawRule, ...] = Field(
        default=(), description="Rules beside those that follow from the site's services."
    )


class RawFirewall(RawHostFirewall):
    """A guest's firewall. What the site's own flows need is added by itself."""

    enabled: bool = Field(
        default=True,
        description="Whether the guest's firewall is on: that of Proxmox VE, and its own guard.",
    )


class RawLogin(Raw):
    """One user of a service that a proxy asks for a password (RFC 7617)."""

    refuse_unknown: ClassVar[str] = _NOT_CARRIED_OUT
    unknown_fix: ClassVar[str] = _WHO_ENTERS

    user: LoginUser = Field(description="The user's name.", examples=["anna"])
    secret: SecretText = Field(
        description="Name of the secret that is the password. Phoenix makes one where none is "
        "given.",
        examples=["WIKI_ANNA_PASSWORD"],
    )


class RawForwardAuth(Raw):
    """A server that Traefik asks about each request before the service gets it."""

    refuse_unknown: ClassVar[str] = _NOT_CARRIED_OUT
    unknown_fix: ClassVar[str] = _WHO_ENTERS

    url: WebUrl = Field(
        description="Where it is asked. An answer of 2xx lets the request in; any other one is "
        "given to the client.",
        examples=["https://auth.example.com/api/authz/forward-auth"],
    )
    headers: tuple[HeaderName, ...] = Field(
        default=(),
        description="Headers of its answer that the service gets. A client's own of these names "
        "are removed.",
        examples=[["Remote-User", "Remote-Groups"]],
    )


class RawOptions(Raw):
    """The names of a service, and what the proxies do for it beside handing its requests on."""

    refuse_unknown: ClassVar[str] = _NOT_CARRIED_OUT
    unknown_fix: ClassVar[str] = _WHO_ENTERS

    name: ServiceName = Field(
        description="Label of its name: https://NAME.DOMAIN. It may have dots.",
        examples=["wiki", "portainer"],
    )
    aliases: tuple[ServiceName, ...] = Field(
        default=(),
        description="Further names that it has, beside `name`, each as `name` is written.",
        examples=[["docs"]],
    )
    description: ShortText | None = Field(
        default=None,
        description="What it is, in a few words: shown on the start page.",
        examples=["Notes and how-tos of the family"],
    )
    icon: IconText | None = Field(
        default=None,
        description="An emoji, or one or two letters, shown beside it on the start page; left out: "
        "the first letter of its name.",
        examples=["📚"],
    )
    path: PathPrefix | None = Field(
        default=None,
        description="It has only requests for this path and for what lies below it; another "
        "service may have the rest of the name.",
        examples=["/api"],
    )
    strip_path: bool = Field(
        default=False, description="Take `path` from the request before the service gets it."
    )
    allowed_networks: tuple[ClientText, ...] = Field(
        default=(),
        description="Networks and addresses of the clients that may ask it, `site` for all of the "
        "site's own; left out: all. What counts is the address of the connection to the gateway.",
        examples=[["site", "192.168.7.0/24"]],
    )
    basic_auth: tuple[RawLogin, ...] = Field(
        default=(),
        description="Users that Traefik asks for their password; the service does not get it.",
        examples=[[{"user": "anna", "secret": "WIKI_ANNA_PASSWORD"}]],
    )
    forward_auth: RawForwardAuth | None = Field(
        default=None,
        description="A server that is asked whether a request may enter.",
        examples=[{"url": "https://auth.example.com/verify", "headers": ["Remote-User"]}],
    )
    request_headers: dict[HeaderName, HeaderValue] = Field(
        default={},
        description="Headers that the service gets with each request; an empty value removes one.",
        examples=[{"X-Tenant": "home"}],
    )
    response_headers: dict[HeaderName, HeaderValue] = Field(
        default={},
        description="Headers that the client gets with each answer; an empty value removes one.",
        examples=[{"X-Robots-Tag": "noindex"}],
    )
    max_body: BodySize | None = Field(
        default=None,
        description="Largest request body, `0`: of any size; left out: the setting nginx_max_body.",
        examples=["4g"],
    )
    connect_timeout: Wait | None = Field(
        default=None,
        description="How long a connection to it may take to open; left out: 5s.",
        examples=["10s"],
    )
    read_timeout: Wait | None = Field(
        default=None,
        description="How long it may be silent within an answer, a WebSocket or an event stream; "
        "left out: the setting nginx_read_timeout.",
        examples=["1h"],
    )
    health_path: UrlPath = Field(
        default="/",
        description="Path that the checks ask for, at the backend and through the gateway; left "
        "out: `path`, else /, and of gRPC its health service. With `strip_path` it is the path "
        "that the service gets.",
        examples=["/healthz"],
    )
    health_status: Annotated[int, Field(ge=100, le=599), BeforeValidator(_number)] = Field(
        default=200, description="Status (RFC 9110) that it must give there.", examples=[401]
    )
    check: Literal["full", "none"] = Field(
        default="full",
        description="`none`: neither the service nor the way to it is checked, so it may be off; "
        "its name, the gateway and its route are.",
    )


class RawService(RawOptions):
    """One service. DNS, route, certificate, firewall and checks follow from it.

    Without a port it has no backend. A key that is not named here is an error: a route without
    what it asks for may be open to everyone.
    """

    place: ClassVar[str] = '"traefik_service"'
    refuse_unknown: ClassVar[str] = _NOT_CARRIED_OUT
    unknown_fix: ClassVar[str] = _WHO_ENTERS

    port: Port | None = Field(
        default=None,
        description="TCP port on which the guest serves it. It has no backend without one.",
        examples=[8443],
    )
    scheme: Literal["http", "https", "h2c", "grpc", "grpcs", "tcp", "tls"] | None = Field(
        default=None,
        description="How Traefik speaks to it. Left out: https for a VM and a stack, http for a "
        "container. http, h2c (HTTP/2 without TLS) and grpc cross between two guests in plain "
        "text; grpcs is gRPC by TLS. tcp is any other protocol, and tls one that begins with TLS: "
        "the gateway hands them on as they are, without Traefik.",
    )
    gateway_port: Port | None = Field(
        default=None,
        description="Of tcp and tls: the gateway's port for it; left out: `port`. Several services "
        "by tls may share one, and are told apart by the name that the client asks for.",
        examples=[5432],
    )
    exposure: Literal["gateway", "direct"] = Field(
        default="gateway",
        description="`gateway`: through Nginx and Traefik. `direct`: its name leads to the guest "
        "itself.",
    )
    server_name: HostName | None = Field(
        default=None,
        description="Name that its certificate has; left out: the guest's host name, of a stack's "
        "service SERVICE.stack.DOMAIN.",
        examples=["drphoenix.host.internal.thinkheads.ai"],
    )
    redirect_to: WebUrl | None = Field(
        default=None,
        description="Answer each request with a redirect to this URL, instead of a backend.",
        examples=["https://wiki.example.com"],
    )
    redirect_keep_path: bool = Field(
        default=False,
        description="Put the path and query that the client asked for behind that URL.",
    )
    redirect_permanent: bool = Field(
        default=False,
        description="The redirect is for good (301, or 308 for what is not GET): browsers keep it. "
        "Else it is 302, or 307.",
    )


class RawExternal(RawOptions):
    """A service that Phoenix does not manage: it runs elsewhere, and is routed as the others are.

    With https it is proven by `ca_file` or `fingerprint`; without either, by the CAs that Traefik's
    guest trusts: the public ones, and the site's.
    """

    refuse_unknown: ClassVar[str] = _NOT_CARRIED_OUT
    unknown_fix: ClassVar[str] = _WHO_ENTERS

    address: FarHost = Field(
        description="IPv4 address or DNS name, as Traefik's guest reaches it.",
        examples=["192.168.1.20", "nas.example.com"],
    )
    port: Port = Field(description="Its TCP port.", examples=[5001])
    scheme: Literal["http", "https", "h2c", "grpc", "grpcs"] = Field(
        default="https",
        description="How Traefik speaks to it. http, h2c and grpc cross the network in plain text.",
    )
    server_name: HostName | None = Field(
        default=None,
        description="Name that its certificate proves; left out: `address`, and with `fingerprint` "
        "a name that its certificate has.",
        examples=["nas.example.com"],
    )
    ca_file: SiteFile | None = Field(
        default=None,
        description="PEM file in this file's folder, with the CA of its certificate.",
        examples=["nas-ca.pem"],
    )
    fingerprint: Fingerprint | None = Field(
        default=None,
        description="SHA-256 of its certificate: it is trusted, and no other.",
        examples=["ab" * 32],
    )


class RawNetwork(Raw):
    """One network interface of a guest. Its address tells its network."""

    place: ClassVar[str] = '"network_config"'
    name: InterfaceName = Field(
        default="eth0", description="Name of the interface inside the guest."
    )
    bridge: InterfaceName | None = Field(
        default=None,
        description="Bridge of the hypervisor, `vmbr0.20` for VLAN 20 of vmbr0; left out: that of "
        "the address's network; in the hypervisor's own network `network_bridge`, else vmbr0.",
        examples=["vmbr0"],
    )
    ip: Interface = Field(
        description="Its IPv4 address with prefix length; `dhcp` for templates, and for a guest "
        "whose other interface has an address.",
        examples=["10.0.0.153/24"],
    )
    gw: NetworkText | None = Field(
        default=None,
        description="Default gateway, of one interface alone; left out: that of its network.",
        examples=["10.0.0.1"],
    )
    hwaddr: Mac | None = Field(
        default=None,
        description="Hardware address; of the first interface the same as `mac_address`.",
        examples=["52:54:00:67:89:B3"],
    )
    nameservers: Addresses | None = Field(
        default=None,
        description="Name servers with blanks or commas between (containers); left out: the "
        "hypervisor. The same as `nameserver`.",
        examples=["10.0.0.13"],
    )
    nameserver: Addresses | None = Field(
        default=None,
        description="Name servers with blanks or commas between (VMs); left out: the hypervisor. "
        "The same as `nameservers`.",
        examples=["10.0.0.13"],
    )


class RawStackRef(Raw):
    """One deployed stack; a bare string is its name, in the site's environment."""

    name: EntryName = Field(
        description="The stack's folder in stacks/.", examples=["qdrant_service"]
    )
    environment: EntryName | None = Field(
        default=None,
        description="Which of its environments; left out: the site's.",
        examples=["production"],
    )


def _stack_ref(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class _StringOr:
    """In JSON a bare string will do as well."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


StackRef = Annotated[RawStackRef, BeforeValidator(_stack_ref), _StringOr()]


class RawDnsRecord(Raw):
    """One more address record that a guest brings."""

    hostname: HostName = Field(
        description="A label, or a whole name in the site's domain.", examples=["printer"]
    )
    ip: NetworkText = Field(description="The address it leads to.", examples=["10.0.0.60"])


class RawVolume(Raw):
    """A folder of an NFS server that a VM mounts."""

    type: Line = Field(
        description="Kind of volume: `nfs`. Others are ignored with a warning.", examples=["nfs"]
    )
    name: Line = Field(default="", description="Its name, for people.")
    path: MountPath = Field(description="Where it is on its server.", examples=["/tank/media"])
    mount_point: MountPath = Field(description="Where it is mounted.", examples=["/mnt/media"])
    server: Line | None = Field(
        default=None,
        description="IPv4 address of its server; left out: the hypervisor.",
        examples=["10.0.0.13"],
    )


class RawMountPoint(Raw):
    """A folder of the hypervisor inside a container; only root@pam may set it."""

    host_path: MountPath = Field(
        description="Folder of the hypervisor, which is there already.", examples=["/tank/media"]
    )
    container_path: MountPath = Field(description="Where it is mounted.", examples=["/media"])
    read_only: bool = Field(default=False, description="Mount it read-only.")
    owner_uid: UserId | None = Field(
        default=None,
        description="User inside the container who is to own it. Owners stay with you; the "
        "finding has the command.",
    )
    owner_gid: UserId | None = Field(default=None, description="Group, likewise.")


class RawZfsVolume(Raw):
    """A volume of a container on a storage of Proxmox VE."""

    name: Line = Field(default="", description="For people: Proxmox VE names its volumes itself.")
    pool: StorageName = Field(
        description="The storage in Proxmox VE.", examples=["fastData-shared-bulk-data"]
    )
    size_gb: Gibibytes = Field(description="Size in GiB; it only ever grows.", examples=[50])
    mount_point: MountPath = Field(description="Where it is mounted.", examples=["/models"])


class RawIdMap(Raw):
    """Ids that are other ones on the hypervisor than Proxmox VE maps them to."""

    type: Literal["uid", "gid"] = Field(description="Users or groups.")
    host_id: UserId = Field(description="First id on the hypervisor.", examples=[33])
    container_id: Annotated[int, Field(ge=0, le=65535), BeforeValidator(_number)] = Field(
        description="First id inside.", examples=[33]
    )
    size: Annotated[int, Field(ge=1, le=65536), BeforeValidator(_number)] = Field(
        default=1, description="How many."
    )


LeaveAlone = tuple[LeftAlone, ...]
LoginGroup = Literal[Kind, Role]
_LEAVE_ALONE_HERE = (
    "What it keeps as it is, in place of `site.leave_alone`; an empty list: nothing."
)


class RawLoginBy(Raw):
    """How Phoenix logs in to a host by SSH. What is left out is as the inventory says."""

    refuse_unknown: ClassVar[str] = "nothing reads this key, and another log-in would be used"

    name: SshWord | None = Field(
        default=None,
        description="Its name in your ~/.ssh/config, instead of its address: user, port, key, "
        "agent and jump hosts are then as that file says.",
        examples=["nas"],
    )
    user: UserName | None = Field(default=None, description="Who logs in.", examples=["admin"])
    port: Port | None = Field(default=None, description="Port of its sshd.", examples=[2222])
    identity_file: Line | None = Field(
        default=None,
        description="Private key on this machine; left out: those of your agent and of ~/.ssh.",
        examples=["~/.ssh/homelab"],
    )
    jump: SshWord | None = Field(
        default=None,
        description="Host in between, [USER@]HOST[:PORT]; several with commas.",
        examples=["me@bastion.example.com:2222"],
    )
    sudo: bool | None = Field(
        default=None, description="Run every command by sudo: the user is not root."
    )
    sudo_password: EntryName | None = Field(
        default=None,
        description="Name of the secret that sudo asks for; left out: it asks for none.",
        examples=["sudo_password"],
    )


class RawExport(Raw):
    """A folder that the hypervisor shares by NFS."""

    path: MountPath = Field(description="The folder.", examples=["/tank/media"])
    clients: tuple[NetworkText, ...] = Field(
        default=(),
        description="Who may mount it: addresses and networks.",
        examples=[["10.0.0.24", "172.16.100.0/24"]],
    )
    options: Annotated[tuple[ExportOption, ...], BeforeValidator(_words), _TextOrList()] = Field(
        default=("rw", "sync", "no_subtree_check"),
        description="Options of exports(5), a list or a text with commas.",
        examples=[["rw", "sync", "no_subtree_check", "no_root_squash"]],
    )


class RawNfs(Raw):
    """What the hypervisor shares by NFS."""

    exports: tuple[RawExport, ...] = Field(default=(), description="The folders.")


class RawSharedVolume(Raw):
    """A folder of the hypervisor that several containers have."""

    host_path: MountPath = Field(description="Folder of the hypervisor.", examples=["/tank/models"])
    mounts: dict[EntryName, MountPath] = Field(
        default={},
        description="Where each container has it, by the container's id.",
        examples=[{"150": "/models"}],
    )


class RawCertificate(Raw):
    """A certificate of the original system's list."""

    common_name: Line = Field(description="Its first name.", examples=["wiki.example.com"])
    sans: tuple[Line, ...] = Field(default=(), description="Its names.")
    guest_id: GuestId | None = Field(default=None, description="The guest that has it.")
    cert_type: Line = Field(default="server", description="`server` or `client`.")
    guest_type: Line = Field(default="", description="`lxc` or `vm`, for people.")
    cert_path: Line = Field(default="", description="For people: Phoenix has places of its own.")
    key_path: Line = Field(default="", description="For people: Phoenix has places of its own.")
    owner: Line = Field(default="", description="For people: who reads a key is derived.")
    include_ca: bool = Field(default=False, description="For people: every host has the root.")
    post_renewal_command: str = Field(
        default="", description="For people: what serves a certificate is told of its renewal."
    )


class RawUser(Raw):
    """The login user of a VM."""

    username: UserName = Field(
        description="Made by cloud-init where the setting proxmox_vm_user is None.",
        examples=["phoenix_user"],
    )


class RawGuest(Raw):
    """What LXC and VM entries have in common."""

    name: Line = Field(
        description="Its name in Proxmox VE; in lower case its host name: "
        "NAME.host.DOMAIN. Letters, digits and inner hyphens.",
        examples=["Nginx-Phoenix"],
    )
    role: Role | None = Field(
        default=None,
        description="What Phoenix makes of it: the CA, the proxy, the gateway, the control plane, "
        "a Docker host; `name_server`: a further name server beside the hypervisor. Several guests "
        "may have `traefik`, `docker` and `name_server`. Left out: a guest that others "
        "may be routed to, without software of ours.",
    )
    features: tuple[Feature, ...] = Field(
        default=(),
        description="Further roles, and the original system's features, which every host has.",
        examples=[["base_setup", "trusted_ca", "docker"]],
    )
    portainer_role: Literal["primary", "server", "agent", "infrastructure", "none"] = Field(
        default="none",
        description="`agent`: Portainer deploys its stacks, through an agent. `primary` and "
        "`server` mean role portainer, `infrastructure` role nginx.",
    )
    portainer_environment_name: EndpointName | None = Field(
        default=None,
        description="Its name in Portainer; left out: its host name. Of guests with an agent, and "
        "of Portainer's own.",
        examples=["drphoenix"],
    )
    portainer_agent_hostname: HostName | None = Field(
        default=None,
        description="The agent's name in DNS; left out: portainer-agent.DOMAIN.",
        examples=["portainer-agent.internal.thinkheads.ai"],
    )
    dependencies: tuple[GuestId, ...] = Field(
        default=(),
        description="Ids of guests that must be made before it.",
        examples=[["102", 103]],
    )
    start_at_boot: bool = Field(
        default=False, description="Whether Proxmox VE starts it with the hypervisor."
    )
    boot_order: Amount = Field(default=0, description="Its place in the order of start.")
    boot_delay: Amount = Field(
        default=0, description="Seconds to wait before the next guest is started."
    )
    is_template: bool = Field(
        default=False, description="It is only there to be cloned, and never runs."
    )
    enable_lifecycle_snapshots: bool | None = Field(
        default=None,
        description='Take the original system\'s snapshot "pre-configured" once it is made; left '
        "out: the setting proxmox_lifecycle_snapshots.",
    )
    template_snapshot_name: SnapshotName | None = Field(
        default=None,
        description="Snapshot from which others are cloned; it marks a template.",
        examples=["final-form"],
    )
    memory_mb: Mebibytes | None = Field(default=None, description="Memory in MiB.", examples=[4096])
    cores: Cores | None = Field(default=None, description="Number of CPU cores.", examples=[4])
    storage_pool: StorageName | None = Field(
        default=None,
        description="Storage of its disk; left out: that of what it is cloned from, or "
        "`vm_defaults`.",
        examples=["quickOS-lxc-disks"],
    )
    mac_address: Mac | None = Field(
        default=None,
        description="Hardware address of its interface; left out: Proxmox VE chooses one.",
        examples=["52:54:00:67:89:B3"],
    )
    network_config: RawNetwork = Field(description="Its first network interface.")
    secondary_network_config: RawNetwork | None = Field(
        default=None,
        description="Its second network interface, in another of the site's networks "
        "([docs/networks.md](networks.md)); without a name it is eth1.",
    )
    traefik_service: RawService | None = Field(
        default=None,
        description="The HTTP service that it serves.",
        examples=[{"name": "wiki", "port": 8443, "scheme": "https"}],
    )
    traefik_services: tuple[RawService, ...] = Field(
        default=(),
        description="Further services that it serves, each like `traefik_service`.",
        examples=[[{"name": "wiki", "path": "/api", "port": 8444, "scheme": "https"}]],
    )
    docker_stacks: tuple[StackRef, ...] = Field(
        default=(),
        description="Stacks that are deployed on it: by Portainer where it has Portainer's agent "
        "or is Portainer's own guest, else by its own compose, over SSH. It needs Docker.",
        examples=[["qdrant_service", {"name": "shop", "environment": "testing"}]],
    )
    dns_records: tuple[RawDnsRecord, ...] = Field(
        default=(), description="Further address records."
    )
    volumes: tuple[RawVolume, ...] = Field(
        default=(),
        description="Folders by NFS that a VM mounts. A container cannot: give it a folder of the "
        "hypervisor by `mount_points`.",
    )
    user_config: RawUser | None = Field(default=None, description="Its login user (VMs).")
    leave_alone: LeaveAlone | None = Field(
        default=None, description=_LEAVE_ALONE_HERE, examples=[["resolver"]]
    )
    firewall: RawFirewall = Field(
        default=RawFirewall(), description="Its firewall, beside what its services need."
    )
    login: RawLoginBy = Field(
        default=RawLoginBy(), description="How it is logged in to, where `site.login` differs."
    )
    trigger_sync_on_completion: bool | None = unused("every run converges all components")
    tests: Any = unused("checks are derived from the services; scripts of your own stay with you")
    health_check: Any = unused(
        "checks are derived from the services; a script of your own stays with you"
    )
    swarm_role: Literal["manager", "worker"] | None = Field(
        default=None,
        description="It is a node of the site's Docker Swarm ([docs/swarm.md](swarm.md)). It needs "
        "Docker, and is a VM.",
    )
    node_labels: tuple[NodeLabel, ...] = Field(
        default=(),
        description="Labels of the node, as `NAME=VALUE`: all that it has.",
        examples=[["gpu=false"]],
    )
    node_availability: Literal["active", "pause", "drain"] | None = Field(
        default=None,
        description="Whether the node takes tasks: `active`, the default; `pause` takes no new "
        "ones, `drain` moves away those that it has.",
    )


class RawLxc(RawGuest):
    """One entry of `lxc_configs`: a container; its id is the key."""

    place: ClassVar[str] = "the container's entry"
    of_others: ClassVar[tuple[str, Mapping[str, str]]] = (
        "VMs",
        {
            "clone_from_vmid": "write clone_from_ctid, with the id of a container",
            "disk_size_gb": "write storage_size_gb",
            "network_bridge": "write bridge in network_config",
            "template_image": "write template, with a container's",
            "vmid": "remove it: the id is the key of the entry",
        },
    )

    template: ImageFile | None = Field(
        default=None,
        description="Container template that it is made from, by file name or path.",
        examples=["ubuntu-24.04-standard_24.04-2_amd64.tar.zst"],
    )
    clone_from_ctid: GuestId | None = Field(
        default=None, description="Id of the container that it is cloned from.", examples=["900"]
    )
    swap_mb: Amount = Field(default=512, description="Swap in MiB.")
    storage_size_gb: Gibibytes | None = Field(
        default=None, examples=[32],
        description="Size of its root disk in GiB; it only ever grows.",
    )  # fmt: skip
    unprivileged: bool = Field(default=True, description="Run it without root of the hypervisor.")
    features: Annotated[
        tuple[ContainerFeature, ...],
        BeforeValidator(_words),
        _TextOrList(),
    ] = Field(
        default=(),
        description="Further roles, the original system's features, which every host has, and "
        "features of Proxmox VE (pct.conf(5)); a list, or one text with commas.",
        examples=[["base_setup", "docker", "nesting=1", "keyctl=1"]],
    )
    gpu_assignment: GpuNumbers = Field(
        default=(),
        description="Numbers of the hypervisor's NVIDIA GPUs that it may use, with commas between; "
        "`none`: of none. Their device nodes are passed in, and the driver stays with you.",
        examples=["0,1"],
    )
    mount_points: tuple[RawMountPoint, ...] = Field(
        default=(), description="Folders of the hypervisor that it has inside."
    )
    zfs_volumes: tuple[RawZfsVolume, ...] = Field(
        default=(), description="Volumes of its own, made where they are absent."
    )
    id_maps: tuple[RawIdMap, ...] = Field(
        default=(),
        description="Users and groups that are the same inside and on the hypervisor; all others "
        "are mapped as Proxmox VE maps them.",
    )
    ports: tuple[Line, ...] = Field(
        default=(),
        description="The original's port mapping, as HOST:CONTAINER. A container has an address "
        "of its own, so nothing is mapped: the second number is the one to ask.",
        examples=[["8000:8000"]],
    )
    template_file: ImageFile | None = Field(
        default=None,
        description="Archive that it is made from where it is not cloned, as `template`.",
        examples=["gateway-v1.tar.gz"],
    )
    application_script: Any = unused(_SCRIPT, "run it yourself, or remove it")
    apparmor_profile: ProfileName | None = Field(
        default=None,
        description="AppArmor profile of the hypervisor that confines it, `unconfined`: none; left "
        "out: the one that Proxmox VE makes for it. A profile of your own has to be there.",
        examples=["unconfined"],
    )
    apparmor_manages_nesting: bool | None = Field(
        default=None,
        description="`lxc.apparmor.allow_nesting`: containers inside it may mount proc and sysfs. "
        "The feature `nesting=1` says the same and more.",
    )
    lxc_options: tuple[Line, ...] = Field(
        default=(),
        description="Low-level settings, KEY=VALUE (lxc.container.conf(5)), of those that Proxmox "
        "VE takes. What another key here says is left out: network cards, name, id map.",
        examples=[["lxc.mount.auto=sys:rw", "lxc.cgroup2.devices.allow=c 10:200 rwm"]],
    )
    pct_options: Any = unused(
        "each option of pct stays with you, where no key here has it",
        "set it by `pct set ID` on the hypervisor, or remove it",
    )
    bootstrap_ca_url: Any = unused("the CA's address is derived from the guest with role step_ca")
    vllm_engine_config: Any = unused(
        "Phoenix runs no vLLM: its settings stay with you", "keep them with vLLM, or remove them"
    )


class RawVm(RawGuest):
    """One entry of `vms`: a virtual machine."""

    place: ClassVar[str] = "the VM's entry"
    of_others: ClassVar[tuple[str, Mapping[str, str]]] = (
        "containers",
        {
            "clone_from_ctid": "write clone_from_vmid, with the id of a VM",
            "gpu_assignment": "give the VM its GPU in Proxmox VE (hostpci), and remove it here",
            "id_maps": "remove it: a VM has ids of its own",
            "lxc_options": "remove it",
            "mount_points": "write volumes: a VM mounts folders by NFS",
            "ports": "remove it: a VM has an address of its own",
            "storage_size_gb": "write disk_size_gb",
            "swap_mb": "make swap inside the VM, and remove it here",
            "template": "write template_image, with a cloud image",
            "unprivileged": "remove it",
            "zfs_volumes": "write disk_size_gb: a VM has one disk",
        },
    )

    vmid: GuestId = Field(description="Its id in Proxmox VE.", examples=[1002])
    template_image: ImageFile | None = Field(
        default=None,
        description="Cloud image that it is made from, by file name or path.",
        examples=["noble-server-cloudimg-amd64.img"],
    )
    clone_from_vmid: GuestId | None = Field(
        default=None, description="Id of the VM that it is cloned from.", examples=[9000]
    )
    disk_size_gb: Gibibytes | None = Field(
        default=None, description="Size of its disk in GiB; it only ever grows.",
        examples=[64],
    )  # fmt: skip
    network_bridge: InterfaceName | None = Field(
        default=None,
        description="Bridge of the hypervisor; left out: that of `vm_defaults`.",
        examples=["vmbr0"],
    )
    snapshots: Any = unused(_OWNED_BY_GUEST)
    qm_options: Any = unused(_OWNED_BY_GUEST)
    count: Any = unused("each VM has its own entry")


class RawHypervisor(Raw):
    """The Proxmox VE node. It carries the internal name server."""

    place: ClassVar[str] = '"site.hypervisor" in phoenix_lxc_configs.json'
    refuse_misspelt: ClassVar[str] = (
        "nothing reads this key, and the default would hold for the whole site"
    )

    name: Label = Field(default="phoenix", description="Its name, in Proxmox VE as well.")
    ip: Interface = Field(
        default=IPv4Interface("10.0.0.13/24"),
        description="Its IPv4 address with prefix length: the site's network.",
    )
    gateway: NetworkText = Field(
        default=IPv4Network("10.0.0.1/32"), description="The network's router."
    )
    firewall: RawHostFirewall = Field(
        default=RawHostFirewall(), description="Its firewall, beside what the site's flows need."
    )
    leave_alone: LeaveAlone | None = Field(
        default=None, description=_LEAVE_ALONE_HERE, examples=[["time", "ssh"]]
    )
    login: RawLoginBy = Field(
        default=RawLoginBy(), description="How it is logged in to, where `site.login` differs."
    )


class RawVariable(Raw):
    """A stack's variable: a plain `value`, or the name of the `secret` that holds it."""

    name: VariableName = Field(
        description="Its name in the compose file.",
        examples=["QDRANT_HTTP_PORT"],
    )
    value: str | None = Field(
        default=None,
        description="Its value, which reaches the container as it is. The setting stack_variables "
        "replaces it.",
        examples=["6333"],
        json_schema_extra={"pattern": VALUE_PATTERN},
    )
    secret: Line | None = Field(
        default=None,
        description="Name of the secret that it is taken from, instead of `value`.",
        examples=["THINKHEADS_AI_APP_DATABASE_PASS"],
    )


class RawFile(Raw):
    """A file that all services of a stack see, read-only."""

    source: Line | None = Field(
        default=None,
        description="A file in the stack's folder.",
        examples=["config/app.toml"],
    )
    secret: Line | None = Field(
        default=None, description="Name of the secret that is its content, instead of `source`."
    )
    destination_in_container: ContainerPath = Field(
        description="Its whole path in the containers.", examples=["/etc/app/app.toml"]
    )


class RawStackService(Raw):
    """A compose service that has a route: ours, or by the original's Traefik labels."""

    traefik_service: RawService | None = Field(
        default=None,
        description="Its route; `port` is the one that the compose file publishes.",
        examples=[{"name": "qdrant", "port": 6333, "scheme": "https", "health_path": "/healthz"}],
    )
    traefik_services: tuple[RawService, ...] = Field(
        default=(),
        description="Further routes to it, each like `traefik_service`.",
        examples=[[{"name": "qdrant", "path": "/metrics", "port": 6333, "scheme": "https"}]],
    )
    traefik_labels: tuple[Line, ...] = Field(
        default=(),
        description="The original's form of a route, as KEY=VALUE. A label that Phoenix does not "
        "carry out is an error; better write `traefik_service`.",
        examples=[["traefik.http.routers.shop.rule=Host(`shop.internal.thinkheads.ai`)"]],
    )


class RawTls(Raw):
    """Who may read the private key of a stack's own certificate."""

    uid: UserId = Field(
        default=0,
        description="User of the containers' process that reads the key, as a number.",
        examples=[1000],
    )
    gid: UserId = Field(default=0, description="Its group, as a number.", examples=[1000])
    mode: Literal["0400", "0440", "0600", "0640"] = Field(
        default="0600", description="Mode of the key's file: 0440 and 0640 let the group read it."
    )


class RawDump(Raw):
    """What a service says itself of its data, as a database by its own program."""

    refuse_misspelt: ClassVar[str] = "nothing reads this key, and less would be backed up"

    service: Line = Field(
        description="The compose file's service in whose container the command runs.",
        examples=["db"],
    )
    command: tuple[Line, ...] = Field(
        min_length=1,
        description="Program and arguments; what it prints is backed up. No shell reads it.",
        examples=[["pg_dump", "-U", "app", "app"]],
    )
    load: tuple[Line, ...] = Field(
        default=(),
        description="Program and arguments that take the same on standard input, when the stack is "
        "restored.",
        examples=[["psql", "-U", "app", "app"]],
    )


class RawStackBackup(Raw):
    """What of a stack is backed up where the site has `backups`."""

    refuse_misspelt: ClassVar[str] = "nothing reads this key, and less would be backed up"

    volumes: tuple[Line, ...] | None = Field(
        default=None,
        description="Volumes, as the compose file's `volumes` names them; left out: all of them. "
        "Containers that use them stop while they are copied.",
        examples=[["data"]],
    )
    dumps: tuple[RawDump, ...] = Field(
        default=(), description="What services give out themselves, one of each."
    )


class RawEnvironment(Raw):
    """One environment of a stack."""

    place: ClassVar[str] = "an environment in stacks/NAME/phoenix.json"
    variables: tuple[RawVariable, ...] = Field(
        default=(), description="Values of the compose file's variables."
    )
    files: tuple[RawFile, ...] = Field(default=(), description="Files that its services read.")
    services: dict[str, RawStackService] = Field(
        default={},
        description="Routes, by the compose file's service. `{}` says that the stack needs none: a "
        "database, a job.",
    )
    firewall_rules: tuple[RawRule, ...] = Field(
        default=(), description="Firewall rules of the guest beside those of its routes."
    )
    tls: RawTls | None = Field(
        default=None,
        description="The stack has a certificate of its own, in the directory that the compose "
        "file's variable PHOENIX_TLS_DIR names. A stack with an HTTPS service has one without this "
        "key, for root alone.",
        examples=[{"uid": 1000, "gid": 1000, "mode": "0400"}],
    )
    backup: RawStackBackup | None = Field(
        default=None,
        description="What of it is backed up where the site has `backups` "
        "([docs/backups.md](backups.md)): `{}` is all its volumes. Left out: nothing.",
        examples=[{}, {"volumes": ["data"]}],
    )
    host_access: bool = Field(
        default=False,
        description="Its containers may reach everything on their Docker host, other stacks' keys "
        "too. Without it, what gives them that is refused or warned of.",
    )


class RawStack(Raw):
    """A stack's manifest beside its docker-compose.yml."""

    schema_: Any = schema_key()
    description: Line = Field(default="", description="What it is, for people.")
    type: Literal["compose", "swarm"] = Field(
        default="compose",
        description="`compose`: containers on the guest that names it. `swarm`: services of the "
        "site's Docker Swarm, deployed through the manager that names it "
        "([docs/swarm.md](swarm.md#stacks-of-type-swarm)).",
    )
    environments: dict[str, Annotated[Any, Each(RawEnvironment)]] = Field(
        description="Each way to deploy it, by name."
    )
    shared_secrets: dict[EntryName, tuple[EntryName, ...]] = Field(
        default={},
        description="Secrets of this stack that other stacks may name, and which stacks.",
        examples=[{"SHOP_API_TOKEN": ["billing"]}],
    )


class RawNginxProxy(Raw):
    """The original's way to say that the gateway leads to a stack."""

    hostname: HostName = Field(
        description="The name that clients ask the gateway for; it must be that of a service of "
        "the stack.",
        examples=["shop.internal.thinkheads.ai"],
    )


class RawListedStack(RawStack):
    """A stack of phoenix_stacks_config.json: its manifest, and where its compose file is."""

    compose_file_path: Line = Field(
        description="Its compose file, relative to the folder of the site's JSON files or to that "
        "of the stacks. Where it is not there, stacks/NAME/docker-compose.yml is read.",
        examples=["stacks/qdrant_service/docker-compose.yml"],
    )
    nginx_proxy: RawNginxProxy | None = Field(
        default=None, description="A name by which the gateway leads to it."
    )


class RawStacksFile(Raw):
    """Stacks without a folder of their own; the original system's file."""

    schema_: Any = schema_key()
    docker_stacks: dict[str, Annotated[Any, Each(RawListedStack)]] = Field(
        default={}, description="Stacks, by name."
    )


class RawPortainer(Raw):
    """A Portainer that is none of the site's guests: its API deploys stacks on the site's hosts."""

    refuse_unknown: ClassVar[str] = _NOT_CARRIED_OUT

    url: PortainerUrl = Field(
        description="URL of its API, as the control machine reaches it. The secret "
        "`portainer_api_key` is a key of one of its administrators.",
        examples=["https://portainer.example.com:9443"],
    )
    ca_file: SiteFile | None = Field(
        default=None,
        description="PEM file in the site's folder with the CA of its certificate. Without it and "
        "without `fingerprint` the control machine's own CAs are trusted.",
        examples=["portainer-ca.pem"],
    )
    fingerprint: Fingerprint | None = Field(
        default=None, description="SHA-256 fingerprint of its certificate, in place of a CA."
    )
    connects_from: tuple[NetworkText, ...] = Field(
        default=(),
        description="Addresses or networks from which it comes to the agents; left out: the "
        "address in `url`.",
        examples=[["192.0.2.10"]],
    )


class RawSwarmNetwork(Raw):
    """One overlay network of the Docker Swarm; `{}` is one with the defaults."""

    refuse_misspelt: ClassVar[str] = "nothing reads this key, and the default would hold"

    encrypted: bool = Field(
        default=True,
        description="Whether what nodes send each other is encrypted (IPsec). It needs ESP in the "
        "kernel of each node.",
    )
    attachable: bool = Field(
        default=False,
        description="Whether containers of compose stacks may join it too, and not services of the "
        "swarm alone.",
    )
    subnet: NetworkText | None = Field(
        default=None,
        description="Its addresses; left out: the next free ones of the swarm's ranges "
        "(`swarm_address_pools`).",
        examples=["10.200.40.0/24"],
    )


_BACKUP_PATH = r"/(?!(?:[^?]*/)?\.{1,2}(?:/|$))(?:[A-Za-z0-9_@%+=.-]+/)*[A-Za-z0-9_@%+=.-]+"
BackupPlace = Annotated[
    str,
    TextType(
        rf"{_BACKUP_PATH}"
        rf"|sftp://[a-z_][a-z0-9_-]{{0,31}}@{HOST_PORT}{_BACKUP_PATH}"
        rf"|s3:https://{HOST_PORT}{_BACKUP_PATH}",
        "is not a place for backups",
        "write a folder of every host as /mnt/backups, or sftp://USER@HOST/FOLDER, or "
        "s3:https://HOST/BUCKET, with a port behind the host where it is another one",
        longest=500,
    ),
]
HostKeyText = Annotated[
    str,
    TextType(  # sshd(8), SSH_KNOWN_HOSTS FILE FORMAT, without the names in front
        r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{20,2000}={0,2}",
        "is not a host key of SSH",
        "write the first two words of /etc/ssh/ssh_host_ed25519_key.pub of the server, as "
        "ssh-ed25519 AAAA...",
        longest=2100,
    ),
]
DayTime = Annotated[
    str,
    TextType(
        r"(?:[01][0-9]|2[0-3]):[0-5][0-9]",
        "is not a time of the day",
        "write hours and minutes, as 02:30",
    ),
]


KeptDays = Annotated[int, Field(ge=0, le=3650), BeforeValidator(_number)]
KeptWeeks = Annotated[int, Field(ge=0, le=520), BeforeValidator(_number)]
KeptMonths = Annotated[int, Field(ge=0, le=1200), BeforeValidator(_number)]
WarnDays = Annotated[int, Field(ge=1, le=365), BeforeValidator(_number)]


class RawKeep(Raw):
    """How many snapshots of each part are kept."""

    refuse_misspelt: ClassVar[str] = "nothing reads this key, and snapshots would be forgotten"

    daily: KeptDays = Field(default=7, description="Days of which the last one stays.")
    weekly: KeptWeeks = Field(default=5, description="Weeks of which the last one stays.")
    monthly: KeptMonths = Field(default=12, description="Months of which the last one stays.")


class RawBackups(Raw):
    """Backups by a timer."""

    refuse_misspelt: ClassVar[str] = "nothing reads this key, and backups would not be as wanted"

    target: BackupPlace = Field(
        description="Where they go: a folder of each host that backs something up, as one that all "
        "of them mount; a folder of an SFTP server; or a bucket of S3. Each host has a repository "
        "of its own below it, called after it.",
        examples=[
            "/mnt/backups",
            "sftp://phoenix@nas.example.com:2222/srv/backups",
            "s3:https://s3.example.com/phoenix",
        ],
    )
    sftp_host_key: HostKeyText | None = Field(
        default=None,
        description="The host key that an SFTP server must have, and without which no host "
        "connects to it: what its /etc/ssh/ssh_host_ed25519_key.pub holds.",
        examples=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExa"],
    )
    at: DayTime = Field(
        default="02:30",
        description="When each host begins, each day, by its clock; each at a minute of its own "
        "within the next quarter of an hour.",
    )
    prove_at: DayTime = Field(
        default="05:30",
        description="When each host restores its newest snapshots into a scratch folder and "
        "compares them, each day.",
    )
    keep: RawKeep = Field(default=RawKeep(), description="What is kept of each part.")
    warn_days: WarnDays = Field(
        default=2,
        description="Days after which a newest snapshot, or a newest proof, is told as too old.",
    )
    secrets_for: tuple[Recipient, ...] = Field(
        default=(),
        description="Who may open the generated secrets in it: age recipients or SSH public keys "
        "of type ed25519. Left out: the secrets are in no backup by a timer.",
        examples=[["age1..."]],
    )


class RawSite(Raw):
    """What holds for all guests. The defaults are the original system's values.

    A misspelt key is an error: its default would hold for the whole site.
    """

    place: ClassVar[str] = '"site" in phoenix_lxc_configs.json'
    refuse_misspelt: ClassVar[str] = (
        "nothing reads this key, and the default would hold for the whole site"
    )
    of_others: ClassVar[tuple[str, Mapping[str, str]]] = (
        "the original system",
        {"network": "remove it: the site's network is that of site.hypervisor.ip"},
    )

    domain: Line = Field(
        default="internal.thinkheads.ai",
        description="Internal domain of all names, in lower case and with a dot.",
    )
    environment: EntryName | None = Field(
        default=None,
        description="Environment of stacks that are deployed without their own; left out: "
        "production.",
        examples=["production"],
    )
    guard: bool = Field(
        default=True,
        description="Whether each host itself lets in what the site's flows say, and nothing else "
        "(nftables). A host's `firewall.guard` turns it off there alone.",
    )
    leave_alone: LeaveAlone = Field(
        default=(),
        description="What every host keeps as it is, of what Phoenix changes by default: `time` "
        "(time zone and clock), `resolver` (/etc/resolv.conf), `updates` (unattended upgrades), "
        "`ssh` (sshd's settings), `trust` (the system's trust store), `packages` (none is "
        "installed: a missing one is named), `guard` (nftables), `guest_agent` "
        "(qemu-guest-agent), `docker` (Docker Engine and its daemon.json on a Docker host), "
        "`start_page` and `dashboard` (on Traefik's guest: none is served), `watch` (its "
        "checks by a timer, where `watcher` is given), `proxmox` (a guest in Proxmox VE, and its "
        "firewall there: for one that you look after yourself, and for a machine that is none). "
        "A host's own list replaces it.",
        examples=[["resolver", "time"]],
    )
    login: RawLoginBy = Field(
        default=RawLoginBy(), description="How every host is logged in to by SSH."
    )
    logins: dict[LoginGroup, RawLoginBy] = Field(
        default={},
        description="How the hosts of a group are logged in to, where it differs: `hypervisor`, "
        "`lxc`, `vm`, or a role. A role's words go before those of `lxc` and `vm`, a host's own "
        "`login` before both.",
        examples=[{"vm": {"user": "debian", "sudo": True}, "docker": {"port": 2222}}],
    )
    hypervisor: RawHypervisor = Field(default=RawHypervisor(), description="The Proxmox VE node.")
    portainer: RawPortainer | None = Field(
        default=None,
        description="A Portainer elsewhere, where no guest has the role portainer. It deploys the "
        'stacks of the hosts with `"portainer_role": "agent"`.',
    )
    watcher: Line | None = Field(
        default=None,
        description="The host that watches the site: `hypervisor`, or the name or id of a guest. "
        "Each host then makes its own checks by a timer and reports to it, and it raises alarms "
        "([docs/watch.md](watch.md)). Left out: nothing is checked between runs.",
        examples=["hypervisor", "108"],
    )
    scraper: Line | None = Field(
        default=None,
        description="Who reads the watcher's metrics: the name or id of a guest, `hypervisor`, or "
        "an IPv4 address. It alone reaches them, and proves itself by a certificate "
        "([docs/watch.md](watch.md#metrics)). Left out: nobody.",
        examples=["108", "192.168.1.30"],
    )
    virtual_address: Addresses = Field(
        default="",
        description="With two gateways (role `nginx`): the address that one of them holds at a "
        "time, and that the names of services lead to; free, and in their network. Where they have "
        "several networks, one in each ([docs/availability.md](availability.md)).",
        examples=["10.0.0.9", ["10.0.0.9"]],
    )
    swarm_networks: dict[DockerNetworkName, RawSwarmNetwork] = Field(
        default={},
        description="Overlay networks of the site's Docker Swarm, by name "
        "([docs/swarm.md](swarm.md)). Stacks join one as an external network.",
        examples=[{"mesh": {}, "monitoring": {"attachable": True}}],
    )
    backups: RawBackups | None = Field(
        default=None,
        description="Backups by a timer: of the CA, of Portainer's data, and of the stacks that "
        "say so in their `backup` ([docs/backups.md](backups.md)). Left out: none are made.",
        examples=[{"target": "/mnt/backups"}],
    )


class RawLxcFile(Raw):
    """The site and its containers."""

    place: ClassVar[str] = "the top of phoenix_lxc_configs.json"
    schema_: Any = schema_key()
    site: Annotated[Any, Each(RawSite)] = Field(
        default={}, description="What holds for all guests."
    )
    lxc_configs: dict[str, Annotated[Any, Each(RawLxc)]] = Field(
        default={},
        description="Containers, by id.",
        json_schema_extra={"propertyNames": {"pattern": "^[1-9][0-9]{2,8}$"}},
    )
    external_services: tuple[Annotated[Any, Each(RawExternal)], ...] = Field(
        default=(),
        description="Services that Phoenix does not manage, routed as the others are.",
        examples=[[{"name": "nas", "address": "192.168.1.20", "port": 5001}]],
    )
    nvidia_driver_version: Any = unused(_GPU_DRIVER)
    nvidia_repo_url: Any = unused(_GPU_DRIVER)
    nvidia_runfile_url: Any = unused(_GPU_DRIVER)


class RawVmDefaults(Raw):
    """What a VM has where its entry is silent."""

    cores: Cores = Field(default=2, description="Number of CPU cores.")
    memory_mb: Mebibytes = Field(default=4096, description="Memory in MiB.")
    disk_size_gb: Gibibytes = Field(default=50, description="Size of the disk in GiB.")
    storage_pool: StorageName | None = Field(
        default=None, description="Storage of the disk.", examples=["quickOS-vm-disks"]
    )
    network_bridge: InterfaceName = Field(default="vmbr0", description="Bridge of the hypervisor.")
    template: Any = unused("each VM names the template it is cloned from")


class RawVmFile(Raw):
    """The site's virtual machines."""

    place: ClassVar[str] = "the top of phoenix_vm_configs.json"
    schema_: Any = schema_key()
    vm_defaults: Annotated[Any, Each(RawVmDefaults)] = Field(
        default={}, description="What a VM has where its entry is silent."
    )
    vms: tuple[Annotated[Any, Each(RawVm)], ...] = Field(
        default=(), description="Virtual machines."
    )
