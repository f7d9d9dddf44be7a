"""What the watcher knows of the site: its checks, the paths that rest on them, likely fixes. Pure.

The control machine writes it (`phoenix.health.watch_plan`) with each sync; the watcher reads no
other declaration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phoenix.watch.causes import Check, CheckedPath, Hop

VERSION = 3
_AS_IT_IS = ("environment", "tells", "services", "machines", "page_hosts", "style", "scraper")
"""Fields that JSON has as they are."""


@dataclass(frozen=True)
class Fix:
    """What is likely to help: advice, and commands in the order to try."""

    advice: str
    commands: tuple[str, ...]


def own_fix(title: str, words: str) -> str:
    """The key of the fix of a check's faults that begin with these words."""
    return f"{title}: {words}"


@dataclass(frozen=True)
class Plan:
    """The site, as far as the watcher needs it.

    Attributes:
        domain: of the site, for messages.
        interval: seconds between two reports of a host.
        lists: `phoenix.components.watch.files.digest` of each watched host's checks, by its name.
        fingerprints: whose certificate has which SHA-256, in lower-case hex.
        checks: all checks that the watched hosts make, in the order of the site's.
        paths: what is diagnosed.
        fixes: by the title of a check, and by `own_fix` those of single faults of it.
        environment: of the site, as the start page names it.
        tells: what the start page tells whoever reaches it: `everything`, or `services` alone.
        services: those of the start page, in the form of its data; `path` is the name of the path
            that a request takes.
        machines: hosts, in the form of the start page's data.
        page_hosts: names of the hosts that serve the start page; empty where none does.
        style: version of the page's style.
        owners: by name, each host whose certificate has it, and that certificate.
        scraper: SHA-256 of the certificate of whoever may read the metrics; empty: nobody.
    """

    domain: str
    interval: int
    lists: Mapping[str, str]
    fingerprints: Mapping[str, str]
    checks: tuple[Check, ...]
    paths: tuple[CheckedPath, ...]
    fixes: Mapping[str, Fix]
    environment: str = ""
    tells: str = "everything"
    services: tuple[Mapping[str, Any], ...] = ()
    machines: tuple[Mapping[str, Any], ...] = ()
    page_hosts: tuple[str, ...] = ()
    style: str = ""
    scraper: str = ""
    owners: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that report."""
        return tuple(self.lists)

    def made_on(self, host: str) -> tuple[Check, ...]:
        """The checks of one host, in the order in which it reports them."""
        return tuple(check for check in self.checks if check.host == host)

    def fix(self, title: str, fault: str) -> Fix | None:
        """What is likely to help against a fault of a check; None where nobody knows."""
        said = own_fix(title, fault)
        own = (key for key in self.fixes if len(key) > len(title) + 2 and said.startswith(key))
        return self.fixes.get(next(own, title))

    def to_json(self) -> str:
        """As `from_json` reads it."""
        numbers = {check: number for number, check in enumerate(self.checks)}
        kinds = list(dict.fromkeys(self.fixes.values()))
        data = {
            "version": VERSION,
            "domain": self.domain,
            "interval": self.interval,
            "lists": dict(self.lists),
            "fingerprints": dict(self.fingerprints),
            "checks": [
                [check.host, check.layer, check.hop, check.function, check.target, check.question]
                for check in self.checks
            ],
            "paths": [
                [
                    path.kind,
                    path.name,
                    [
                        [hop.source, hop.target, hop.what, [numbers[check] for check in hop.checks]]
                        for hop in path.hops
                    ],
                ]
                for path in self.paths
            ],
            "advice": [[fix.advice, list(fix.commands)] for fix in kinds],
            "fixes": {title: kinds.index(fix) for title, fix in self.fixes.items()},
            "owners": {name: list(map(list, held)) for name, held in self.owners.items()},
            **{name: getattr(self, name) for name in _AS_IT_IS},
        }
        return json.dumps(data, indent=1) + "\n"


def from_json(text: str) -> Plan:
    """The plan that `Plan.to_json` wrote.

    Raises:
        ValueError: it is of another version, or no plan.
    """
    data: Any = json.loads(text)
    if data.get("version") != VERSION:
        raise ValueError(f"the plan is of version {data.get('version')}, not {VERSION}")
    checks = tuple(
        Check(
            *(host, layer, hop, (function,) if function else ()), target=target, question=question
        )
        for host, layer, hop, function, target, question in data["checks"]
    )
    advice = [Fix(text, tuple(commands)) for text, commands in data["advice"]]
    return Plan(
        domain=data["domain"],
        interval=data["interval"],
        lists=data["lists"],
        fingerprints=data["fingerprints"],
        checks=checks,
        paths=tuple(
            CheckedPath(kind, name, _hops(hops, checks)) for kind, name, hops in data["paths"]
        ),
        fixes={title: advice[number] for title, number in data["fixes"].items()},
        environment=data["environment"],
        tells=data["tells"],
        services=tuple(data["services"]),
        machines=tuple(data["machines"]),
        page_hosts=tuple(data["page_hosts"]),
        style=data["style"],
        scraper=data["scraper"],
        owners={
            name: tuple((host, own) for host, own in held) for name, held in data["owners"].items()
        },
    )


def _hops(hops: Sequence[Any], checks: Sequence[Check]) -> tuple[Hop, ...]:
    return tuple(
        Hop(source, target, subject, tuple(checks[number] for number in numbers))
        for source, target, subject, numbers in hops
    )
