"""Types of text in the declaration: the pattern of each, and the error for a value that fails it.

Text of a declaration ends in files, command lines and property strings that separate by line
breaks, tabs, commas and quotes. So each field has a form, and a value of another form is refused
before anything is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StrictStr,
)
from pydantic_core import PydanticCustomError, core_schema

from phoenix.site import suggestions

_SHOWN = 80


def shown_value(value: object) -> str:
    """A value for a message: as Python writes it, cut to a length that a person reads."""
    try:
        text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    except ValueError:  # a number of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def problem(message: str, fix: str) -> PydanticCustomError:
    """What a validator raises, so that the finding has a fix of its own."""
    return PydanticCustomError("phoenix", "{text}", {"text": message, "fix": fix})


class TextType:
    """A type of text: the pattern that a value must match, and the message and fix if it does not.

    Args:
        pattern: a regular expression that Python and ECMAScript read alike, for the whole text;
            it also stands in the JSON Schema.
        message: follows the value in the error.
        fix: what to write instead.
        longest: the most characters that are taken.
        general: a field's own pattern stands in the JSON Schema instead of this one.
        words: the values that are words; similar ones are suggested.
    """

    def __init__(
        self, pattern: str, message: str, fix: str, *, longest: int = 4096, general: bool = False,
        words: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Compile the pattern only when it is first used."""
        self.words = tuple(words)
        self.pattern, self.message, self.fix = f"^(?:{pattern})$", message, fix
        self.longest, self.general = longest, general
        self._pattern = pattern

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """The schema for pydantic: the text, then the check."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The JSON Schema: the pattern."""
        schema_of_type, own = handler(schema), {"pattern": self.pattern}
        return own | schema_of_type if self.general else schema_of_type | own

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(rf"(?:{self._pattern})\Z")

    def takes(self, text: str) -> bool:
        """Whether text matches the pattern and is not too long."""
        return len(text) <= self.longest and bool(self._compiled.match(text))

    def _check(self, value: str) -> str:
        if len(value) > self.longest:
            fix = f"write at most {self.longest} characters"
            raise problem(f"{shown_value(value)} has {len(value)} characters", fix)
        if not self.takes(value):
            near, lower = suggestions.similar(value, self.words), value.lower()
            fix = suggestions.fix_of(near, self.fix)
            if not near and self.takes(lower):
                fix = f'write it in lower case: "{lower}"'
            raise problem(f"{shown_value(value)} {self.message}", fix)
        return value


_HALVES = r"\ud800-\udfff"
"""Halves of surrogate pairs: JSON can write one alone, and UTF-8 has none (RFC 3629, section 3)."""
# Excluded: control characters (Unicode category Cc), separators of lines and paragraphs, byte order
# marks, and marks that turn the direction of text: these can make a line look like another
# (CVE-2021-42574).
_LINE = (
    r"[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    rf"{_HALVES}]*"
)
LINE = TextType(
    _LINE,
    "has a line break or another control character",
    "write it on one line, without tabs and control characters",
    longest=1000,
    general=True,
)
Line = Annotated[str, LINE]
StrictLine = Annotated[StrictStr, LINE]
ShortText = Annotated[
    str,
    TextType(
        _LINE.replace("*", "{1,200}"),
        "is empty, or has a line break or another control character",
        "write one short line",
        longest=200,
    ),
]
"""What a service is, for its users."""
IconText = Annotated[
    str,
    TextType(
        _LINE.replace("*", "{1,8}"),
        "is not an icon",
        "write one emoji, or one or two letters",
        longest=8,
    ),
]
"""Several code points make one emoji: https://unicode.org/reports/tr51/."""
VALUE_PATTERN = rf"^[^\u0000{_HALVES}]*$"
"""Of what an environment variable can hold: line breaks, too (environ(7))."""
_LONGEST_VALUE = 100_000  # execve(2): MAX_ARG_STRLEN is 131072 bytes with the name


def value_fault(value: str) -> tuple[str, str] | None:
    """Why no environment variable can have this value, and the fix; None where one can.

    Every text that one can have, line breaks included, reaches a container as it is
    (`phoenix.compose.dotenv`).
    """
    as_file = "ship it as a file of the stack (`files` in its phoenix.json)"
    if "\0" in value:
        return "has a null character, which no environment variable can hold", as_file
    if len(value) > _LONGEST_VALUE:
        return f"has {len(value)} characters, more than an environment variable holds", as_file
    if re.search(f"[{_HALVES}]", value):
        return "has half of a surrogate pair, which UTF-8 cannot hold", "write the whole character"
    return None


def environment_value(value: str) -> str:
    """The value, checked for pydantic: an environment variable must be able to hold it."""
    if fault := value_fault(value):
        raise problem(*fault)
    return value


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HostName = Annotated[
    str,
    TextType(  # RFC 1123, section 2.1; empty is as if it were left out
        rf"(?:{_LABEL}(?:\.{_LABEL})*)?",
        "is not a host name",
        "write a lower-case DNS name, or leave it out",
        longest=253,
    ),
]
DomainName = Annotated[
    str,
    TextType(
        rf"{_LABEL}(?:\.{_LABEL})+",
        "is not a domain name",
        "write a lower-case DNS name with a dot, as internal.example.com",
        longest=180,  # with a label of 63 in front and two dots, a name has 253 at most
    ),
]
_EXPORT_WORDS = (
    "rw", "ro", "sync", "async", "wdelay", "no_wdelay", "hide", "nohide", "crossmnt",
    "subtree_check", "no_subtree_check", "secure", "insecure", "secure_locks", "insecure_locks",
    "auth_nlm", "no_auth_nlm", "acl", "no_acl", "mountpoint", "mp", "pnfs", "no_pnfs",
    "security_label", "root_squash", "no_root_squash", "all_squash", "no_all_squash", "rdirplus",
    "nordirplus",
)  # fmt: skip
_EXPORT_VALUES = ("mountpoint", "mp", "fsid", "anonuid", "anongid", "sec", "refer", "replicas",
                  "xprtsec", "reexport")  # fmt: skip
ExportOption = Annotated[
    str,
    TextType(  # exports(5): options stand in parentheses, with commas between
        rf"(?:{'|'.join(_EXPORT_WORDS)})"
        rf"|(?:{'|'.join(_EXPORT_VALUES)})=[A-Za-z0-9_.:/@+-]{{1,100}}",
        "is not an option of exports(5)",
        "write an option, as rw or fsid=0",
        words=_EXPORT_WORDS,
    ),
]
ServiceName = Annotated[
    str,
    TextType(  # RFC 1123, section 2.1
        rf"{_LABEL}(?:\.{_LABEL})*",
        "is not a label or dotted name (RFC 1123)",
        "use labels of 1 to 63 lower-case letters, digits and inner hyphens, with dots between",
        longest=180,
    ),
]
PathPrefix = Annotated[
    str,
    TextType(  # No percent-encoding: Nginx and Traefik would each decode it in their own way.
        r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+",
        "is not the beginning of a path",
        "begin it with /, end it without, and use letters, digits and . _ - between",
        longest=200,
    ),
]
HeaderName = Annotated[
    str,
    TextType(  # RFC 9110, section 5.1, without underscores: Nginx drops such headers
        r"[A-Za-z][A-Za-z0-9-]{0,98}[A-Za-z0-9]",
        "is not the name of a header",
        "use letters, digits and inner hyphens, as X-Robots-Tag",
    ),
]
# RFC 9110, section 5.5. Traefik reads its files as Go templates, so no two braces stand together.
_VALUE = r"(?![^\n]*[{]{2})(?:[!-~](?:[ -~]*[!-~])?)?"
HeaderValue = Annotated[
    str,
    TextType(
        _VALUE,
        "is not the value of a header",
        "write visible ASCII with inner blanks, without {{; an empty value removes the header",
        longest=2000,
    ),
]
SiteFile = Annotated[
    str,
    TextType(
        r"(?!(?:.*/)?\.\.(?:/|$))[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*",
        "is not a file below the site's folder",
        "write its path from there, of letters, digits and . _ -, as certificates/nas.pem",
        longest=255,
    ),
]
Fingerprint = Annotated[
    str,
    TextType(
        r"[0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31}",
        "is not a SHA-256 fingerprint",
        "write what openssl x509 -noout -fingerprint -sha256 prints after the =",
        longest=95,
    ),
]
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
FarHost = Annotated[
    str,
    TextType(
        # RFC 1123, section 2.1: what has digits and dots alone is an address.
        rf"{_OCTET}(?:\.{_OCTET}){{3}}|(?![0-9.]+$){_LABEL}(?:\.{_LABEL})*",
        "is not an IPv4 address or host name",
        "write an address or a name, as 192.168.1.20 or nas.example.com",
        longest=253,
    ),
]
LoginUser = Annotated[
    str,
    TextType(  # RFC 7617, section 2: no colon
        r"[A-Za-z0-9](?:[A-Za-z0-9_.@-]{0,98}[A-Za-z0-9])?",
        "is not the name of a user",
        "use letters, digits and inner . _ - @",
    ),
]
NodeLabel = Annotated[
    str,
    TextType(  # what placement constraints name (node.labels.NAME)
        r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9])?=[A-Za-z0-9_.:/@+-]{0,100}",
        "is not a label of a node",
        "write NAME=VALUE, of letters, digits and . _ -, as gpu=false",
    ),
]
DockerNetworkName = Annotated[
    str,
    TextType(  # RestrictedNamePattern of Docker Engine, without what is Docker's own
        r"(?!(?:ingress|docker_gwbridge|bridge|host|none|default)\Z)[A-Za-z0-9][A-Za-z0-9_.-]{1,62}",
        "is not a name of a network of yours in Docker",
        "use two or more letters, digits, dots, underscores and hyphens; ingress, docker_gwbridge, "
        "bridge, host, none and default are Docker's own",
    ),
]
SecretText = Annotated[
    str,
    TextType(
        r"[A-Za-z][A-Za-z0-9_]{0,99}",
        "is not the name of a secret",
        "use up to 100 letters, digits and underscores, with a letter in front",
    ),
]
Wait = Annotated[
    str,
    TextType(
        r"[1-9][0-9]{0,5}[sm]|[1-9][0-9]{0,2}h",
        "is not a time to wait",
        "write for example 30s, 10m or 2h",
    ),
]
BodySize = Annotated[
    str,
    TextType(
        r"0|[1-9][0-9]{0,5}[kmgKMG]",
        "is not a size",
        "write for example 10m or 4g, or 0 for no limit",
    ),
]


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


class _OrList:
    """In JSON a list of such texts will do as well."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        text = handler(schema)
        return {"anyOf": [text, {"type": "array", "items": text}]}


Addresses = Annotated[
    str,
    TextType(
        r"[0-9., ]*",
        "is not a list of IPv4 addresses",
        'write addresses with blanks or commas between, as "10.0.0.13"',
        longest=200,
    ),
    BeforeValidator(lambda value: ",".join(value) if _is_texts(value) else value),
    _OrList(),
]
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""A name that a person gives, as that of a stack or of its environment."""
NAME_FIX = "use letters, digits, dots, underscores and inner hyphens"
VARIABLE = TextType(
    r"[A-Za-z_][A-Za-z0-9_]{0,254}",
    "is not the name of a variable",
    "use letters, digits and underscores, with no digit in front",
)
PVE_NAME = r"[A-Za-z][A-Za-z0-9_-]{1,39}"
"""Proxmox VE's pve-configid, in src/PVE/JSONSchema.pm of pve-common."""
EntryName = Annotated[
    str,
    TextType(
        NAME,
        "is not a name",
        NAME_FIX,
        longest=100,
    ),
]
InterfaceName = Annotated[
    str,
    TextType(
        r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}",  # Linux: IFNAMSIZ; Proxmox VE: pve-bridge-id
        "is not the name of a network interface",
        "use up to 15 letters, digits, dots, underscores and hyphens, as vmbr0",
    ),
]
StorageName = Annotated[
    str,
    TextType(
        r"[A-Za-z][A-Za-z0-9_.-]{0,98}[A-Za-z0-9]",  # Proxmox VE: pve-storage-id
        "is not the name of a storage in Proxmox VE",
        "use letters, digits, dots, underscores and hyphens, as local-lvm",
    ),
]
SnapshotName = Annotated[
    str,
    TextType(
        PVE_NAME,
        "is not the name of a snapshot in Proxmox VE",
        "use up to 40 letters, digits, underscores and hyphens, with a letter in front",
    ),
]
ImageFile = Annotated[
    str,
    TextType(
        r"(?!(?:.*/)?\.\.(?:/|$))"
        r"(?:[A-Za-z0-9_/][A-Za-z0-9_@%+=:./-]*/|/)?[A-Za-z0-9_][A-Za-z0-9_@%+=:.-]*",
        "is not a file name or path of an image",
        "use letters, digits and . _ - + @ : =, without blanks, commas and ..",
        longest=255,
    ),
]
UserName = Annotated[
    str,
    TextType(
        r"[a-z_][a-z0-9_-]{0,31}",  # useradd(8)
        "is not the name of a Linux user",
        "use up to 32 lower-case letters, digits, underscores and hyphens",
    ),
]
EndpointName = Annotated[
    str,
    TextType(
        r"[A-Za-z0-9](?:[A-Za-z0-9_.() -]{0,98}[A-Za-z0-9_.)-])?",
        "is not the name of an environment in Portainer",
        "use up to 100 letters, digits, inner blanks and . _ - ( )",
    ),
]
UrlPath = Annotated[
    str,
    TextType(
        # RFC 3986, sections 3.3 and 3.4: brackets and braces are not in it, and curl expands them
        # Parts that are . or .. are gone before anybody reads a path (section 5.2.4).
        r"(?!(?:[^?]*/)?\.{1,2}(?:[/?]|$))/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*",
        "is not a path of a URL",
        "begin it with /, write other characters percent-encoded (RFC 3986), as %5B for [, and no "
        "part that is . or ..",
        longest=1000,
    ),
]
ContainerPath = Annotated[
    str,
    TextType(
        r"(?!.*/\.{1,2}(?:/|$))/(?:[A-Za-z0-9_@%+=,.-]+/)*[A-Za-z0-9_@%+=,.-]+",
        "is not an absolute path of a file in the container",
        "write the whole path, beginning with /, of letters, digits and _ @ % + = , . -, without "
        "parts that are . or ..",
        longest=1000,
    ),
]

PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
"""A TCP port, 1 to 65535."""
_HOST = (
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*|\[[0-9A-Fa-f:.]{2,45}\])"
)
"""A host name, or an address; IPv6 in brackets (RFC 3986, section 3.2.2)."""
# RFC 3986, section 3.3, without ': curl expands brackets and braces, and they are not in it.
_URL_PATH = r"/[A-Za-z0-9._~!$&()*+,;=:@%/-]*"
HOST_PORT = rf"{_HOST}(?::{PORT})?"
"""A pattern: a host, and its port where one is written."""


def url(*schemes: str, path: str = _URL_PATH, query: bool = True) -> str:
    """A pattern of URLs with scheme, host, a valid port, path and query alone.

    Args:
        schemes: "https" and so on.
        path: pattern of the path, which may be left out.
        query: whether a query may follow.
    """
    scheme = schemes[0] if len(schemes) == 1 else f"(?:{'|'.join(schemes)})"
    asked = r"(?:\?[A-Za-z0-9._~!$&()*+,;=:@%/?-]*)?" if query else ""
    return rf"{scheme}://{HOST_PORT}(?:{path})?{asked}"


_URL_FIX = ", with a port from 1 to 65535 or none, and other characters percent-encoded (RFC 3986)"
FETCH_URL = TextType(
    rf"{url('https')}|file://{_URL_PATH}",
    "is not an https:// or file:/// URL",
    f"write one of these{_URL_FIX}",
)
FetchUrl = Annotated[StrictLine, FETCH_URL]
SHA256 = TextType(
    r"[0-9a-f]{64}", "is not 64 hexadecimal digits", "write what sha256sum prints", longest=64
)
Sha256 = Annotated[StrictLine, SHA256]


# RFC 3986 without $: in a redirect Traefik puts parts of the request in its place.
_PLAIN_PATH = r"/[A-Za-z0-9._~!&()*+,;=:@%/-]*"
WebUrl = Annotated[
    str,
    TextType(
        rf"{url('http', 'https', path=_PLAIN_PATH, query=False)}"
        r"(?:\?[A-Za-z0-9._~!&()*+,;=:@%/?-]*)?",
        "is not an http:// or https:// URL",
        f"write a URL without user and fragment{_URL_FIX}",
        longest=1000,
    ),
]


def https_url(fix: str) -> TextType:
    """The form of an https:// URL.

    Args:
        fix: what to write instead of another one.
    """
    return TextType(url("https"), "is not an https:// URL", f"{fix}{_URL_FIX}")


def _read_by(read: Callable[[str], object], message: str, fix: str) -> AfterValidator:
    """Text that `read` takes; ValueError is its word for no."""

    def check(value: str) -> str:
        try:
            # Of an IPv6 address it takes any text as the zone (RFC 4007, section 11).
            if re.search(r"%(?![A-Za-z0-9_.-]{1,15}\Z)", value):
                raise ValueError(value)
            read(value)
        except ValueError:
            raise problem(f"{shown_value(value)} {message}", fix) from None
        return value

    return AfterValidator(check)


def _resolver(text: str) -> object:
    address = ip_address(text)
    if address.is_unspecified or address.is_multicast or text == "255.255.255.255":
        raise ValueError(text)
    return address


def _resolver4(text: str) -> object:
    return IPv4Address(str(_resolver(text)))


Resolver = Annotated[
    StrictLine,
    _read_by(_resolver, "is not the address of a name server", 'write one as "10.0.0.1"'),
]
Resolver4 = Annotated[
    StrictLine,
    _read_by(_resolver4, "is not the IPv4 address of a name server", 'write one as "9.9.9.9"'),
]
Peer = Annotated[
    StrictLine,
    _read_by(
        lambda text: ip_network(text, strict=False),
        "is not an address or network",
        'write one as "10.0.0.5", "192.168.7.0/24" or "fd00:7::/64"',
    ),
]
Network = Annotated[
    StrictLine,
    _read_by(ip_network, "is not a network", 'write one as "172.30.0.0/16", no address within it'),
]
