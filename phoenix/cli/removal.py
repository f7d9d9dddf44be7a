"""The removal of one thing that is not declared: what it does is shown, asked about, and done."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from rich.console import Console

from phoenix.cli import exits, output, project
from phoenix.cli.converge import converge, finish
from phoenix.cli.exits import CommandError
from phoenix.cli.observe_hosts import observe
from phoenix.cli.reports.plan import Change, cause_of, changes_of, print_changes
from phoenix.cli.targets import Work
from phoenix.cli.undeclared import of_observed, remember, sightings_of, word
from phoenix.declaration.inventory import LEFT as LEFT_HOST
from phoenix.derived.find import Stack, choose, find, kind_of
from phoenix.health.observation import LEFT
from phoenix.health.removal import Removal, hosts, removal
from phoenix.health.undeclared import Item, Undeclared, select
from phoenix.runs.process import Finished, run
from phoenix.site.findings import NameLookupError, visible
from phoenix.site.model import Host, Service, Site

DEPLOY = "deploys/remove.py"


def remove_one(
    site: project.Project, name: str, *, volumes: bool, destroy: bool, yes: bool, as_json: bool
) -> None:
    """Find what `name` means of what is not declared, and remove it.

    Raises:
        CommandError: it is still declared, several things have the name, a host cannot be looked
            at, or nobody can be asked.
        typer.Exit: with the verb's exit code.
    """
    observed, _ = observe(site, LEFT, (), quiet=as_json)
    undeclared = of_observed(site, observed)
    remember(site, undeclared)
    item = _chosen(site.site, undeclared, name)
    if item is None or (item.kind == "volumes" and not volumes):
        _nothing(undeclared, name, item, as_json=as_json)
        return
    if item.kind == "guest" and not destroy and item.kept:
        _nothing(undeclared, name, item, as_json=as_json)
        return
    requested = removal(
        site.site, sightings_of(site, observed), item, volumes=volumes, destroy=destroy
    )
    work = _work(site.site, requested, reachable=True)
    planned = _plan(site, work)
    silent = planned.course.unreachable.get(requested.target, "") if item.kind == "host" else ""
    if silent:
        work = _work(site.site, requested, reachable=False)
        planned = _plan(site, work)
    if cause := cause_of([planned]):
        raise CommandError(
            "nothing was changed:\n" + "\n".join(f"  {line}" for line in cause.reason)
        )
    changes = changes_of(planned)
    if not as_json:
        _show(output.console(), item, changes, silent, requested)
    if not yes:
        _ask()
    arguments = [name, *(["--volumes"] if volumes else []), *(["--destroy"] if destroy else [])]
    finish(
        converge(site, [work], f"remove {' '.join(arguments)}", quiet=as_json, notes=True), as_json
    )


def _chosen(site: Site, undeclared: Undeclared, name: str) -> Item | None:
    items = select(undeclared, name, site.domain)
    declared = _declared(site, name)
    if declared and not any(word(item) == name for item in items):
        left = "".join(f"\n  what is left elsewhere: {item.command}" for item in items)
        name = name.partition("@")[0]
        raise CommandError(
            f"{name} is still declared, at {declared}. Take it out of there first (`phoenix remove "
            f"{name} --undeclare`), then `phoenix sync` and `phoenix remove {name}`.{left}"
        )
    if len(items) > 1:
        ways = "\n".join(
            f"  {item.kind} on {item.host or 'no host'}: {item.command}" for item in items
        )
        raise CommandError(f"{name} means several things:\n{ways}")
    if not items and undeclared.unknown:
        where = "\n".join(f"  {line}" for line in undeclared.unknown)
        raise CommandError(
            f"the hosts that answered have nothing undeclared that is called {visible(name)}; "
            f"these did not answer:\n{where}"
        )
    return items[0] if items else None


def _declared(site: Site, name: str) -> str:
    """Where something of this name is declared; empty where nothing is."""
    name, at, place = name.partition("@")
    if not find(site, name):
        return ""
    try:
        meaning = choose(site, name, first=("stack", "guest", "service"))
    except NameLookupError:
        return "several places"
    if at:  # of what is declared a stack alone has several places
        deployments = meaning.deployed if isinstance(meaning, Stack) else ()
        on_the_host = [pair for pair in deployments if pair[0].name == place.lower()]
        return ", ".join(
            f"{deployment.entry.file}: {deployment.entry.path}" for _, deployment in on_the_host
        )
    match meaning:
        case Stack() as stack:
            return ", ".join(
                f"{deployed.entry.file}: {deployed.entry.path}" for _, deployed in stack.deployed
            )
        case Host() | Service():
            return f"{meaning.source.file}: {meaning.source.path}"
    return f"this site, as a {kind_of(meaning)}"


def _nothing(undeclared: Undeclared, name: str, item: Item | None, *, as_json: bool) -> None:
    if item is not None and item.kind == "volumes":
        text = f"{', '.join(item.holds)} of {item.name} on {item.host} stay: {item.command}"
    elif item is not None:
        text = f"guest {item.name} is stopped and keeps its disks: {item.command}"
    else:
        names = ", ".join(word(other) for other in undeclared.items)
        text = f"nothing undeclared is called {visible(name)}; " + (
            f"there {'is' if len(undeclared.items) == 1 else 'are'}: {names}"
            if names
            else "there is nothing"
        )
    output.emit(
        as_json,
        {"removed": False, "reason": text},
        lambda console: console.print(f"nothing was removed: {text}", markup=False),
    )


def _work(site: Site, requested: Removal, *, reachable: bool) -> Work:
    """The call of pyinfra, with the host that left the declaration where that answers."""
    limit = tuple(name for name in hosts(site, requested) if reachable or name != requested.target)
    left = requested.item.kind == "host" and reachable
    return Work(
        (DEPLOY,),
        limit,
        {"remove": requested.model_dump(mode="json")},
        {LEFT_HOST: f"{requested.target} {requested.item.address}"} if left else {},
    )


def _plan(site: project.Project, work: Work) -> Finished:
    return run(
        site.request(
            *work.deploys,
            limit=work.limit,
            data=work.data,
            environment=work.environment,
            dry=True,
        )
    )


def _show(
    console: Console, item: Item, changes: Sequence[Change], silent: str, requested: Removal
) -> None:
    console.print(f"{item.kind} {item.name}: {'; '.join(item.holds)}", markup=False)
    print_changes(console, changes)
    if silent:
        console.print(
            f"{item.name} does not answer at {item.address} ({silent}): what runs on it is not "
            "removed, and Phoenix forgets it",
            markup=False,
        )
    elif item.kind == "host":
        console.print("It keeps its SSH hardening, its resolver and the trusted root.")
    if not requested.volumes and any(word.startswith("volume ") for word in item.holds):
        console.print(f"Volumes stay; later: phoenix remove {item.name} --volumes", markup=False)
    if item.vmid is not None and not requested.destroy:
        console.print(f"Guest {item.vmid} keeps its disks; --destroy deletes it with them.")


def _ask() -> None:
    """Ask a person.

    Raises:
        CommandError: there is nobody to ask.
        typer.Exit: the answer is no.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("nothing was changed: without a terminal to ask in, give -y")
    if not typer.confirm("Remove it?", default=False):
        typer.echo("Nothing was changed.")
        raise typer.Exit(exits.CHANGES)
