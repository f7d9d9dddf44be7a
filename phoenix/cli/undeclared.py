"""What `plan`, `status`, `sync` and `doctor` tell of things that run and are declared nowhere."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from phoenix.cli import output, project
from phoenix.health import observation
from phoenix.health.undeclared import KINDS, Item, Sightings, Undeclared, undeclared
from phoenix.runs.process import Finished
from phoenix.secrets import catalog
from phoenix.secrets.errors import SecretError

_WORDS = "undeclared"
"""File in the state of a site on this machine."""


def of_run(site: project.Project, finished: Finished) -> Undeclared:
    """What a run's hosts told of things that are not declared; they were asked for `LEFT`."""
    observed = observation.Observed(finished.course.values, finished.course.unreachable)
    return of_observed(site, observed)


def of_observed(site: project.Project, observed: observation.Observed) -> Undeclared:
    """What hosts told of things that are not declared; they were asked for `LEFT`."""
    return undeclared(site.site, sightings_of(site, observed))


def sightings_of(site: project.Project, observed: observation.Observed) -> Sightings:
    """What hosts told, and the names of the secrets that are kept here."""
    used = frozenset(use.name for use in catalog.uses(site.site, site.settings.registries))
    config = site.settings.proxmox
    firewall = config.firewall and config.api != "off"
    try:
        stored = site.secrets.kept_names()
        return observation.sightings(site.site, observed, stored, used, firewall=firewall)
    except SecretError as error:
        sightings = observation.sightings(site.site, observed, frozenset(), used, firewall=firewall)
        return replace(sightings, unknown=(*sightings.unknown, f"kept secrets: {error}"))


def remember(site: project.Project, leftovers: Undeclared) -> None:
    """Keep the words for what was found, so that a shell can complete them without asking."""
    path = site.state / _WORDS
    with suppress(OSError):  # a shell that completes less is no reason to fail
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text("".join(f"{word(item)}\n" for item in leftovers.items))


def remembered(site: project.Project) -> list[str]:
    """The words for what was found the last time."""
    with suppress(OSError):
        return (site.state / _WORDS).read_text().splitlines()
    return []


def word(item: Item) -> str:
    """What `phoenix remove` is given for a thing."""
    return item.command.removeprefix("phoenix remove ").partition(" ")[0]


def asked_in_run(finished: Finished) -> bool:
    """Whether a run asked its hosts for what may not be declared."""
    return observation.PLACED in finished.course.values


def print_undeclared(console: Console, leftovers: Undeclared, *, with_kept: bool = False) -> None:
    """The things by kind, each with the command that removes it; nothing where there are none.

    Args:
        with_kept: also what an earlier removal left on purpose.
    """
    items = leftovers.items if with_kept else leftovers.running
    if items:
        console.print(Text("running or left here, and declared nowhere", style="bold"))
    for item in (item for kind in KINDS for item in items if item.kind == kind):
        console.print(Text(f"  {_sentence(item)}", style="" if item.kept else "yellow"))
        console.print(Text(f"      {item.command}", style="cyan"))  # whole: it is to be copied
    for line in leftovers.unlisted:
        console.print(Text(line, style="dim"))
    for line in leftovers.unknown:
        console.print(Text(f"not looked at for what is undeclared: {line}", style="yellow"))


def _sentence(item: Item) -> str:
    where = f" on {item.host}" if item.host else ""
    since = f", since {item.since:%Y-%m-%d %H:%M} UTC" if item.since else ""
    holds = f": {'; '.join(item.holds)}" if item.holds else ""
    return f"{item.kind} {item.name}{where}{since}{holds}"


def summary_line(leftovers: Undeclared) -> str:
    """How many things there are, in a line; empty where there are none."""
    if not leftovers.running:
        return ""
    verb = "is" if len(leftovers.running) == 1 else "are"
    return f"{verb} {output.count(len(leftovers.running), 'thing')} that {verb} declared nowhere"
