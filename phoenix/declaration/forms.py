"""Forms of text: what a field takes, and what a value of another form is told.

Text of a declaration ends in files, command lines and property strings that separate by line
breaks, tabs, commas and quotes. So each field has a form, and a value of another form is refused
before anything is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, StrictStr
from pydantic_core import PydanticCustomError, core_schema

_SHOWN = 80


def told(value: object) -> str:
    """A value for a message: as Python writes it, cut to a length that a person reads."""
    text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def problem(message: str, fix: str) -> PydanticCustomError:
    """What a validator raises, so that the finding has a fix of its own."""
    return PydanticCustomError("phoenix", "{text}", {"text": message, "fix": fix})


class Form:
    """Text of one form: what a value that has another form is told, and the fix.

    Args:
        pattern: a regular expression that Python and ECMAScript read alike, for the whole text;
            it also stands in the JSON Schema.
        message: follows the value.
        fix: what to write instead.
        longest: the most characters that are taken.
        general: a field's own pattern stands in the JSON Schema instead of this one.
        words: those of the values that are words, to tell which of them was perhaps meant.
    """

    def __init__(
        self, pattern: str, message: str, fix: str, *, longest: int = 4096, general: bool = False,
        words: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Keep it, compiled."""
        self.words = tuple(words)
        self.pattern, self.message, self.fix = f"^(?:{pattern})$", message, fix
        self.longest, self.general = longest, general
        self._form = re.compile(rf"(?:{pattern})\Z")

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """For pydantic: the text, then the check."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """For the JSON Schema: the pattern."""
        made, own = handler(schema), {"pattern": self.pattern}
        return own | made if self.general else made | own

    def _check(self, value: str) -> str:
        if len(value) > self.longest:
            fix = f"write at most {self.longest} characters"
            raise problem(f"{told(value)} has {len(value)} characters", fix)
        if not self._form.match(value):
            near = get_close_matches(value.lower(), self.words, n=1)
            hint = f"did you mean {near[0]!r}? else " if near else ""
            raise problem(f"{told(value)} {self.message}", f"{hint}{self.fix}")
        return value


# Control characters (Unicode category Cc), separators of lines and paragraphs, and the marks that
# turn the direction of text, by which a line can show something else than it says
# (CVE-2021-42574).
_LINE = r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*"
LINE = Form(
    _LINE,
    "has a line break or another control character",
    "write it on one line, without tabs and control characters",
    longest=1000,
    general=True,
)
Line = Annotated[str, LINE]
StrictLine = Annotated[StrictStr, LINE]
InterfaceName = Annotated[
    str,
    Form(
        r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}",  # Linux: IFNAMSIZ; Proxmox VE: pve-bridge-id
        "is not the name of a network interface",
        "use up to 15 letters, digits, dots, underscores and hyphens, as vmbr0",
    ),
]
StorageName = Annotated[
    str,
    Form(
        r"[A-Za-z][A-Za-z0-9_.-]{0,98}[A-Za-z0-9]",  # Proxmox VE: pve-storage-id
        "is not the name of a storage in Proxmox VE",
        "use letters, digits, dots, underscores and hyphens, as local-lvm",
    ),
]
SnapshotName = Annotated[
    str,
    Form(
        r"[A-Za-z][A-Za-z0-9_-]{1,39}",  # Proxmox VE: pve-configid
        "is not the name of a snapshot in Proxmox VE",
        "use up to 40 letters, digits, underscores and hyphens, with a letter in front",
    ),
]
ImageFile = Annotated[
    str,
    Form(
        r"(?:[A-Za-z0-9_/][A-Za-z0-9_@%+=:./-]*/|/)?[A-Za-z0-9_][A-Za-z0-9_@%+=:.-]*",
        "is not a file name or path of an image",
        "use letters, digits and . _ - + @ : =, without blanks and commas",
        longest=255,
    ),
]
UserName = Annotated[
    str,
    Form(
        r"[a-z_][a-z0-9_-]{0,31}",  # useradd(8)
        "is not the name of a Linux user",
        "use up to 32 lower-case letters, digits, underscores and hyphens",
    ),
]
EndpointName = Annotated[
    str,
    Form(
        r"[A-Za-z0-9](?:[A-Za-z0-9_.() -]{0,98}[A-Za-z0-9_.)-])?",
        "is not the name of an environment in Portainer",
        "use up to 100 letters, digits, inner blanks and . _ - ( )",
    ),
]
UrlPath = Annotated[
    str,
    Form(
        # RFC 3986, sections 3.3 and 3.4: brackets and braces are not in it, and curl expands them
        r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*",
        "is not a path of a URL",
        "begin it with /, and write other characters percent-encoded (RFC 3986), as %5B for [",
        longest=1000,
    ),
]
ContainerPath = Annotated[
    str,
    Form(
        r"/(?:[A-Za-z0-9_@%+=,.-]+/)*[A-Za-z0-9_@%+=,.-]+",
        "is not an absolute path of a file in the container",
        "write the whole path, beginning with /, of letters, digits and _ @ % + = , . -",
        longest=1000,
    ),
]
