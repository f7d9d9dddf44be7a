"""What `phoenix outdated` shows: a site's pins beside the newest releases that are known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from pydantic import BaseModel, SecretStr
from rich.console import Console
from rich.text import Text

from phoenix.cli import exits, output, tables
from phoenix.cli.offline import Declared
from phoenix.components import releases
from phoenix.components import stack as deployment
from phoenix.components.releases import Pin
from phoenix.declaration import group_data
from phoenix.declaration.settings import Settings
from phoenix.site.findings import Report
from phoenix.site.model import Site

_STYLES = {"outdated": "yellow", "current": "green", "unknown": ""}


class Outdated(BaseModel):
    """Every pin; `checked` is the day on which the list was compared with upstream's releases."""

    inventory: str
    checked: date
    outdated: int
    without_digest: int
    pins: list[Pin]

    @property
    def exit_code(self) -> int:
        """2 where a newer release is known, else 0."""
        return exits.CHANGES if self.outdated else exits.OK


def report(declared: Declared) -> Outdated:
    """The pins of a declaration and of its settings.

    Raises:
        CommandError: the declaration is faulty.
        ConfigError: a file of settings is.
        SettingError: a stack cannot be deployed as declared.
    """
    site = declared.sound()
    chosen = settings(declared, site)
    programs: dict[str, dict[str, dict[str, object]]] = {}
    images: list[tuple[str, str]] = []
    archives: set[str] = set()
    for group in chosen:
        for name, by_arch in group.artifacts.items():
            for arch, pin in by_arch.items():
                programs.setdefault(name, {})[arch] = dict(pin)
        images += [
            (group.portainer_image, "portainer_image"),
            (group.portainer_agent_image, "portainer_agent_image"),
        ]
        images += _of_stacks(site, group)
        archives |= set(group.image_archives)
    pins = releases.pins(programs, images, archives)
    return Outdated(
        inventory=declared.name,
        checked=releases.release_list().checked,
        outdated=sum(pin.state == "outdated" for pin in pins),
        without_digest=sum(pin.proof == "tag alone" for pin in pins),
        pins=list(pins),
    )


def settings(declared: Declared, site: Site) -> list[Settings]:
    """The settings of each group of hosts that has some of its own.

    Raises:
        ConfigError: a file that cannot be read, or a wrong setting.
    """
    problems = Report()
    files = group_data.read(declared.root, problems)
    problems.raise_errors()
    return [
        group_data.checked(host)
        for host in group_data.of_hosts(files, declared.inventory, site.hosts)
    ]


def _of_stacks(site: Site, chosen: Settings) -> Iterator[tuple[str, str]]:
    for host in site.guests:
        for stack in host.docker_stacks:
            prepared = deployment.prepare(
                stack, chosen.stack_variables.get(stack.name, {}), lambda _: SecretStr("secret")
            )
            for image in prepared.images:
                yield image, f"stacks/{stack.name} ({stack.environment})"


def print_pins(console: Console, answer: Outdated) -> None:
    """The pins for a person, and what to do."""
    rows = [
        (
            pin.name,
            pin.version or "by digest",
            pin.newest,
            Text(pin.state, style=_STYLES[pin.state]),
            pin.proof,
            pin.why,
            ", ".join(pin.places),
        )
        for pin in answer.pins
    ]
    columns = ["pin", "version", "newest", "state", "proven by", "why", "pinned in"]
    tables.show(console, f"pins of {answer.inventory}", columns, rows)
    console.print(
        f"{output.count(answer.outdated, 'pin')} outdated, "
        f"{output.count(answer.without_digest, 'image')} without a digest; "
        f"the list is of {answer.checked:%Y-%m-%d}"
    )
