"""The certificate authority: its configuration, and what its files on the guest must be.

Configuration: https://smallstep.com/docs/step-ca/configuration/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from phoenix.components.answers import unexpected
from phoenix.components.artifacts import version_tuple
from phoenix.components.step_ca.issuance import TEMPLATE
from phoenix.declaration.settings import Settings
from phoenix.derived.certificates import beyond_policy
from phoenix.derived.control_plane import ca
from phoenix.site import duration, unit_names
from phoenix.site.addressing import static_addresses
from phoenix.site.findings import SettingError
from phoenix.site.model import Site
from phoenix.site.names import policy

ACME = "acme"
"""Name of the ACME provisioner; part of the directory's URL."""
UNIT = unit_names.STEP_CA
COPIES = "phoenix-ca-copy.timer"
"""When its database is copied."""
DIRECTORY = "/etc/step-ca"
DATABASE = "components/step_ca/database.sh"
"""Shell functions that tell whether the CA opens its database; a path for `phoenix.files`."""
OLDEST = (0, 20)
"""Older versions read authority.policy and ignore it: any name would be issued (measured)."""
PASSWORD = "secrets/password"  # noqa: S105 - a path
"""The password of the keys, below `DIRECTORY`: root's; systemd hands it to the service."""
ROOT_KEY = "secrets/root_ca_key"
"""The root's key, below `DIRECTORY`; it may have been taken offline."""
FILES = {
    "certs/root_ca.crt": "the root certificate",
    "certs/intermediate_ca.crt": "the intermediate certificate",
    "secrets/intermediate_ca_key": "the intermediate key",
    PASSWORD: "the password of the keys",
}
"""Files below `DIRECTORY` that the CA needs, and what each is."""
MEMBERS = ("certs", "secrets", "db")
"""The parts of `DIRECTORY` that a backup holds; each run renders its configuration."""


Rotation = Literal["", "root", "intermediate"]
"""What is being replaced: nothing, the whole chain, or the intermediate under the same root."""
Phase = Literal["", "prepared", "switching", "switched"]
"""How far: the next keys stand ready; the files are being exchanged; the CA signs with the new."""


class StepCaError(SettingError):
    """Settings or files that the CA cannot work with."""


def directory_url(site: Site) -> str:
    """URL of the ACME directory (RFC 8555, section 7.1.1)."""
    service = ca(site)
    return f"https://{service.fqdn}:{service.port}/acme/{ACME}/directory"


def check_version(version: str) -> None:
    """Refuse a step-ca that does not enforce the policy.

    Raises:
        StepCaError: the version is older than 0.20 or not a version.
    """
    if version_tuple(version) < OLDEST:
        raise StepCaError(
            f"step-ca {version} ignores authority.policy and would sign any name: "
            "pin 0.20 or newer in the setting artifacts['step-ca']"
        )


@dataclass(frozen=True)
class Claims:
    """Lifetimes of leaf certificates, as Go durations."""

    minimum: str
    maximum: str
    default: str

    def __post_init__(self) -> None:
        """Check what step-ca itself checks only when it starts.

        Raises:
            StepCaError: names the setting and the fix.
        """
        values = {}
        for name in ("minimum", "maximum", "default"):
            try:
                values[name] = duration.parse(getattr(self, name))
            except ValueError as error:
                raise StepCaError(f"setting step_ca_lifetime_{name}: {error}") from error
        if not values["minimum"] <= values["default"] <= values["maximum"]:
            raise StepCaError(
                "settings step_ca_lifetime_minimum <= _default <= _maximum do not hold: "
                f"{self.minimum}, {self.default}, {self.maximum}"
            )


def claims(settings: Settings) -> Claims:
    """The lifetimes that the settings give.

    Raises:
        StepCaError: they contradict each other.
    """
    return Claims(
        minimum=settings.step_ca_lifetime_minimum,
        maximum=settings.step_ca_lifetime_maximum,
        default=settings.step_ca_lifetime_default,
    )


def config(site: Site, claims: Claims) -> str:
    """The CA's ca.json, sorted and stable."""
    service = ca(site)
    data = {
        "root": f"{DIRECTORY}/certs/root_ca.crt",
        "crt": f"{DIRECTORY}/certs/intermediate_ca.crt",
        "key": f"{DIRECTORY}/secrets/intermediate_ca_key",
        "address": f":{service.port}",
        "dnsNames": [service.fqdn, service.owner.fqdn, "localhost",
                     *map(str, static_addresses(service.owner)), "127.0.0.1"],
        "logger": {"format": "json"},
        "db": {"type": "badgerv2", "dataSource": f"{DIRECTORY}/db"},
        "authority": {
            # The intermediate could sign anything; this list is what the server will sign.
            # A star matches one label, so guests' names need a line of their own.
            "policy": {
                "x509": {
                    "allow": {"dns": [*policy(site.domain), *beyond_policy(site)]},
                    "deny": {"dns": [service.fqdn]},
                    "allowWildcardNames": False,
                }
            },
            "provisioners": [
                {
                    "type": "ACME",
                    "name": ACME,
                    "forceCN": True,
                    # What phoenix-acme uses; 0.30 offers this alone then, 0.20 ignores the key.
                    "challenges": ["http-01"],
                    "options": {"x509": {"templateFile": TEMPLATE}},
                    "claims": {
                        "minTLSCertDuration": claims.minimum,
                        "maxTLSCertDuration": claims.maximum,
                        "defaultTLSCertDuration": claims.default,
                        # Else whoever has stolen a pair renews it for ever, by itself and without
                        # a proof, and for a key of his own (/1.0/renew, /1.0/rekey).
                        "disableRenewal": True,
                    },
                }
            ],
        },
        "tls": {"minVersion": 1.2, "maxVersion": 1.3, "renegotiation": False},
    }  # fmt: skip
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class CaState:
    """What stands on the CA's guest.

    `modes` is path (below `DIRECTORY`) to octal mode of each file that exists; `opens` tells
    whether the password opens the key, `matches` whether the key is the certificate's,
    `chains` whether the intermediate is signed by the root. `root` and `intermediate`, as PEM, are
    those that the CA signs with; `earlier` and `later` are the root before and after it while it
    is being replaced, `following` the intermediate after it. `served` are the names and addresses
    that the CA itself is deployed with, its own name first.
    """

    modes: Mapping[str, str] = field(default_factory=dict)
    opens: bool = False
    matches: bool = False
    chains: bool = False
    root: str = ""
    intermediate: str = ""
    earlier: str = ""
    later: str = ""
    following: str = ""
    served: tuple[str, ...] = ()
    rotation: Rotation = ""
    phase: Phase = ""

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots to be trusted, as PEM, oldest first: one, or two while it is replaced."""
        roots = (self.earlier, self.root, self.later)
        return tuple(dict.fromkeys(pem for pem in roots if pem))

    @property
    def absent(self) -> bool:
        """Whether no CA was ever initialised here."""
        return not self.modes


def faults(state: CaState) -> list[str]:
    """Why an initialised CA cannot be used, each with its fix; empty when it can."""
    fix = (
        f"restore {DIRECTORY} from a backup, or, to start a new CA that every host must trust "
        f"anew, move {DIRECTORY} away"
    )
    if state.phase == "switching":
        fix = "finish it with deploys/certs_rotate.py --data certs_rotate=continue"
        return [f"the exchange of the CA's keys was interrupted: {fix}"]
    missing = [label for path, label in FILES.items() if path not in state.modes]
    if missing:
        return [f"{DIRECTORY} is half initialised: {', '.join(missing)} missing; {fix}"]
    result = []
    for path, mode in sorted(state.modes.items()):
        private = path.startswith("secrets/") or path.endswith("_key")
        if private and int(mode, 8) & 0o077:
            result.append(
                f"{DIRECTORY}/{path} has mode {mode}: it may have been read by others; "
                f"chmod 600 it, and rotate the CA unless you know who could log in"
            )
    if not state.opens:
        result.append(f"secrets/password does not open secrets/intermediate_ca_key; {fix}")
    elif not state.matches:
        result.append(f"secrets/intermediate_ca_key is not the key of the certificate; {fix}")
    if not state.chains:
        result.append(f"certs/intermediate_ca.crt is not signed by certs/root_ca.crt; {fix}")
    return result


def parse_state(lines: list[str]) -> CaState:
    """Read the output of `facts.step_ca.CertificateAuthority`.

    Raises:
        StepCaError: a line is not of that form.
    """
    modes: dict[str, str] = {}
    flags: set[str] = set()
    pems: dict[str, list[str]] = {
        name: [] for name in ("root", "intermediate", "earlier", "later", "next")
    }
    served: list[str] = []
    rotation: Rotation = ""
    phase: Phase = ""
    for line in lines:
        match line.split(" "):
            case ["mode", mode, path]:
                modes[path] = mode
            case ["yes", flag]:
                flags.add(flag)
            case ["rotation", "root" | "intermediate" as rotation]:
                pass
            case ["phase", "prepared" | "switching" | "switched" as phase]:
                pass
            case ["served", name]:
                served.append(name)
            case [("root" | "intermediate" | "earlier" | "later" | "next") as name, *rest]:
                pems[name].append(" ".join(rest))
            case _:
                raise StepCaError(unexpected(line))
    texts = {name: "\n".join(pem) + "\n" if pem else "" for name, pem in pems.items()}
    texts["following"] = texts.pop("next")
    return CaState(
        modes,
        "opens" in flags,
        "matches" in flags,
        "chains" in flags,
        **texts,
        served=tuple(served),
        rotation=rotation,
        phase=phase,
    )
