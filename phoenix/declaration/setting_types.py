"""Types of the settings: the pattern of each, and the error for a value that fails it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StrictStr, WithJsonSchema

from phoenix.declaration import image_reference
from phoenix.declaration.value_types import (
    HOST_PORT,
    NAME,
    NAME_FIX,
    PORT,
    PVE_NAME,
    VALUE_PATTERN,
    VARIABLE,
    StrictLine,
    TextType,
    environment_value,
    https_url,
    problem,
    shown_value,
    url,
)
from phoenix.site import duration
from phoenix.site.findings import SettingError
from phoenix.site.secret_names import NEW, PLATFORM, is_secret_name


def _duration(value: str) -> str:
    try:
        duration.parse(value)
    except SettingError as error:
        message, _, fix = str(error).partition(": ")
        raise problem(message, fix) from None
    return value


GoDuration = Annotated[
    StrictLine,
    AfterValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(h|m|s))+$"}),
]
# The largest is far below what nginx and Docker hold, which count bytes in 63 bits.
_SIZE = r"[1-9][0-9]{0,14}|[1-9][0-9]{0,5}[kmgKMG]"
Size = Annotated[StrictLine, TextType(_SIZE, "is not a size", "write for example 10m or 512m")]
NginxSize = Annotated[
    StrictLine,
    TextType(rf"0|{_SIZE}", "is not a size", "write for example 10m or 512m, or 0 for no limit"),
]


def _nginx_time(value: str) -> str:
    parts = re.findall(r"([0-9]+)(ms|[wdhms]?)", value)
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 < seconds <= _LONGEST_WAIT:
        raise problem(
            f"{shown_value(value)} is not a time that nginx can wait",
            f"write more than 0, and at most {_LONGEST_WAIT // 86400}d",
        )
    return value


_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "": 1, "ms": 0.001}
_LONGEST_WAIT = 24 * 86400  # epoll_wait(2) takes milliseconds in 31 bits, which is 24.8 days
NginxTime = Annotated[
    StrictLine,
    # Units from the longest to the shortest (https://nginx.org/en/docs/syntax.html)
    TextType(
        r"[0-9]{1,9}|(?=[0-9])(?:[0-9]{1,9}w)?(?:[0-9]{1,9}d)?(?:[0-9]{1,9}h)?(?:[0-9]{1,9}m)?"
        r"(?:[0-9]{1,9}s)?(?:[0-9]{1,9}ms)?",
        "is not a time",
        "write for example 300s, or 1h30m",
    ),
    AfterValidator(_nginx_time),
]
HttpsUrl = Annotated[StrictLine, https_url("write a URL by HTTPS: packages run as root")]
Node = Annotated[
    StrictLine,
    TextType(
        r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?",
        "is not the name of a node in Proxmox VE",
        "write its host name without the domain, as pve2",
    ),
]
Property = Annotated[
    StrictLine,
    TextType(
        r"[A-Za-z0-9_/][A-Za-z0-9_./:;@+-]*",  # pct.conf(5): properties are separated by commas
        "cannot be in a property string of Proxmox VE",
        "write a value without blanks, commas and =",
    ),
]
NodePriority = Annotated[
    StrictLine,
    TextType(
        r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?::[0-9]{1,4})?",
        "is not a node with its priority",
        "write pve2, or pve2:10 where the highest number is preferred",
    ),
]
PortSpan = Annotated[
    StrictLine,
    TextType(
        rf"{PORT}(?::{PORT})?",
        "is not a port or a range of ports",
        "write 2049, or 6800:7300",
    ),
]
ListeningPort = Annotated[
    StrictLine,
    TextType(
        rf"(?:tcp|udp)/{PORT}",
        "is not a port with its protocol",
        "write tcp/2049 or udp/111",
    ),
]
CpuType = Annotated[
    StrictLine,
    TextType(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
        "is not a CPU type of a VM",
        "write x86-64-v2-AES, x86-64-v3, host, or another name of qm.conf(5)",
    ),
]
IdRange = Annotated[
    StrictLine,  # lxc.container.conf(5), lxc.idmap
    TextType(
        r"[ug] [0-9]{1,10} [0-9]{1,10} [0-9]{1,10}",
        "is not an id map",
        'write kind, first id inside, first id outside and count, as "u 0 100000 65536"',
    ),
]
FileMode = Annotated[
    StrictLine, TextType(r"0[0-7]{3}", "is not a file mode", "write four octal digits, as 0660")
]
ImageReference = Annotated[
    StrictLine,
    TextType(
        image_reference.PATTERN,
        "is not an image reference",
        "write [REGISTRY/]NAME:VERSION, or NAME:VERSION@sha256:DIGEST",
        longest=500,
    ),
]


ProxmoxApi = Annotated[
    StrictLine,
    TextType(
        rf"off|ssh|{url('https', path='/', query=False)}",
        "is no way to the API of Proxmox VE",
        'write "off", "ssh", or its URL as "https://phoenix.example:8006"',
        words=("off", "ssh"),
    ),
]
HaRule = Annotated[
    StrictLine,
    TextType(
        PVE_NAME,
        "is not the name of a rule in Proxmox VE",
        "use 2 to 40 letters, digits, underscores and hyphens, with a letter in front",
    ),
]
OtherApi = Annotated[
    StrictLine,
    TextType(
        url("https", path="/", query=False),
        "is not a URL of the API of Proxmox VE",
        'write it as "https://pve2.example:8006"',
    ),
]
Fingerprint = Annotated[
    StrictLine,
    TextType(
        r"(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}",
        "is not a SHA-256 fingerprint",
        "write the 32 bytes that Proxmox VE shows for its certificate, as AB:CD:...",
    ),
]
LoginName = Annotated[
    StrictLine,  # RFC 7617, section 2: a colon ends the user's name
    TextType(r"[^:\s]+", "is not a login name", "write it without blanks and colons", longest=255),
]
PortainerUrl = Annotated[StrictLine, https_url("write the URL of Portainer itself")]
MirrorUrl = Annotated[
    StrictLine,
    TextType(  # dockerd: registry/config.go, ValidateMirror
        url("http", "https", query=False),
        "is not a URL of a mirror",
        'write it as "https://mirror.example:5000"',
    ),
]
RegistryHost = Annotated[
    StrictLine,
    TextType(
        rf"{HOST_PORT}|[0-9A-Fa-f.:]{{2,45}}/[0-9]{{1,3}}",
        "is not a registry",
        'write it as "registry.example:5000", or a network as "10.0.0.0/24"',
    ),
]
MountPath = Annotated[
    StrictLine,  # pct.conf(5): properties are separated by commas
    TextType(
        r"(?!.*/\.{1,2}(?:/|$))(?:/[A-Za-z0-9_@%+:.-]+)+",
        "is not a path for a volume",
        "write it from / on and without / at its end, of letters, digits and _ @ % + : . -",
        longest=255,
    ),
]
ImageUrl = Annotated[
    StrictLine,
    TextType(url("http", "https"), "is not a URL of an image", "write it with http:// or https://"),
]
LocalPath = Annotated[
    StrictLine, TextType(r"\S(?:.*\S)?", "is not a path of a file", "write the file's path")
]
HostPath = Annotated[
    StrictLine,
    TextType(
        r"(?!.*/\.{1,2}(?:/|$))(?:/[A-Za-z0-9_@%+=:.-]+)+",
        "is not an absolute path",
        "write the whole path, from / on and without one at its end, of letters, digits and "
        "_ @ % + = : . -",
    ),
]
TimeZone = Annotated[
    StrictLine,
    TextType(  # tz database, theory.html, "Timezone identifiers"
        r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*",
        "is not a time zone",
        "write a name as in /usr/share/zoneinfo, such as Europe/Berlin",
        longest=100,
    ),
]
Organisation = Annotated[
    StrictLine,
    TextType(  # RFC 5280, appendix A.1: CN has 64; it ends in " Internal Intermediate CA"
        r"\S(?:.*\S)?",
        "is not a name of an organisation",
        "write its name, without blanks around it",
        longest=39,
    ),
]
Identifier = Annotated[
    StrictLine,
    TextType(
        NAME,
        "is not a name",
        NAME_FIX,
    ),
]
VariableName = Annotated[
    StrictStr,
    VARIABLE,
]
VariableValue = Annotated[
    StrictStr,
    AfterValidator(environment_value),
    WithJsonSchema({"type": "string", "pattern": VALUE_PATTERN}),
]
Architecture = Annotated[
    StrictStr,
    TextType(
        "amd64|arm64|any",
        "is not an architecture",
        "write amd64, arm64 or any",
        words=("amd64", "arm64", "any"),
    ),
]
Tag = Annotated[
    StrictLine,
    TextType(  # Proxmox VE: pve-tag
        r"[a-z0-9_][a-z0-9_+.-]{0,123}",
        "is not a tag in Proxmox VE",
        "use lower-case letters, digits, underscores, hyphens, + and dots, with no dot in front",
    ),
]
CalendarEvent = Annotated[
    StrictLine,
    TextType(  # pve-docs, "Calendar Events"
        r"[A-Za-z0-9*][A-Za-z0-9*/.,: -]*",
        "is not a calendar event of Proxmox VE",
        'write it as "*/15", "mon..fri 22:30" or "hourly"',
        longest=128,
    ),
]
PublicKey = Annotated[
    StrictLine,
    TextType(  # sshd(8), "AUTHORIZED_KEYS FILE FORMAT", without options
        r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com"
        r"|sk-ecdsa-sha2-nistp256@openssh\.com) +[A-Za-z0-9+/]+={0,2}(?: .*)?",
        "is not a public key of SSH",
        "write the one line of your .pub file",
        longest=1000,
    ),
]
Recipient = Annotated[
    StrictLine,
    TextType(
        r"age1[a-z0-9]+|ssh-ed25519 +[A-Za-z0-9+/]+={0,2}(?: .*)?",
        "is not a recipient of age",
        "write the public half that age-keygen shows, age1..., or a line ssh-ed25519 ...",
        longest=4096,
    ),
]
StackProject = Annotated[
    StrictLine,
    TextType(
        r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}",
        "is not a name of a stack in Docker",
        "write NAME-ENVIRONMENT, as old_app-production",
    ),
]


BatchSize = Annotated[
    StrictLine,
    TextType(
        r"[1-9][0-9]{0,3}|(?:[1-9][0-9]?|100)%",
        "is not a size of a batch",
        'write a number of hosts, as "5", or a part of them, as "20%"',
    ),
]
LogDriver = Annotated[
    StrictLine,
    TextType(
        r"[a-z0-9][a-z0-9._/:-]{0,254}",
        "is not a log driver",
        "write its name, as local, json-file or journald",
    ),
]


def secret_name(value: str) -> str:
    """Refuse what can be no secret of a registry; gives the value."""
    if not is_secret_name(value):
        raise problem(
            f"{shown_value(value)} is not the name of a secret",
            "use up to 100 lower-case letters, digits and underscores, as in registry_password",
        )
    if value.removesuffix(NEW) in PLATFORM:
        raise problem(
            f"secret {value} is the platform's: the registry would be told it at each log-in",
            "name a secret of the registry's own, as registry_password",
        )
    return value


def registry_name(value: str) -> str:
    """Refuse what no image reference can begin with; gives the value."""
    if value == "index.docker.io":  # so distribution's reference package reads it in an image
        raise problem(f'{value!r} is Docker Hub, which images name "docker.io"', "write that")
    if not _REGISTRY.fullmatch(value):
        raise problem(
            f"{shown_value(value)} is not a registry",
            'write it as image references do: "registry.example.com:5000", or "docker.io"',
        )
    return value


# A first word without dot and port is a part of an image's path, and no registry.
_REGISTRY = re.compile(rf"(?=localhost(?::|\Z)|[^.]*[.:])(?![^.:]*[A-Z]){HOST_PORT}")
