"""`phoenix status`: the site at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from phoenix.cli import exits, output, project, tables
from phoenix.cli.doctor import tell_cause
from phoenix.cli.observing import observe
from phoenix.cli.plan import changes_of
from phoenix.health import observation, paths
from phoenix.health.diagnosis import Findings, diagnose
from phoenix.health.status import CertificateStatus, Drift, Status, build
from phoenix.runs.process import Finished
from phoenix.site import duration

DriftOption = Annotated[
    bool,
    typer.Option("--drift/--no-drift", help="Also look for what a sync would change: slower."),
]


def status(
    drift: DriftOption = True,
    inventory: output.InventoryOption = output.DEFAULT_INVENTORY,
    as_json: output.JsonOption = False,
) -> None:
    """Show guests, services, certificates, endpoints, stacks, and drift. Nothing is changed.

    Examples:
      phoenix status                    everything
      phoenix status --no-drift         a quick look
      phoenix status --json             for a script; times are UTC

    Exit code: 0 all is well, 1 something is down, expired or silent, 2 drift alone.
    """
    found = look(project.load(inventory), observation.ALL, drift=drift, quiet=as_json)
    output.emit(as_json, found, lambda console: tell(console, found))
    if found.broken:
        raise typer.Exit(exits.ERROR)
    if found.drifted:
        raise typer.Exit(exits.ATTENTION)


def look(site: project.Project, asked: Sequence[str], *, drift: bool, quiet: bool) -> Status:
    """Ask every host for what is `asked`, and what a run would change."""
    planned = ("deploys/all.py",) if drift else ()
    observed, done = observe(site, asked, (), *planned, quiet=quiet)
    hosts = {host.name for host in site.site.hosts}
    outcomes, silent = observation.outcomes(site.site, observed, hosts)
    diagnosis = diagnose(site.site, paths.paths(site.site), Findings(outcomes, silent))
    return build(
        site.site,
        site.name,
        observation.Observed(observed.values, silent),
        outcomes,
        diagnosis,
        _drift(done) if drift else Drift(),
        datetime.now(UTC),
    )


def _drift(done: Finished) -> Drift:
    """Per host what a run would change; not known where the plan did not come to its end."""
    if done.results is None or (done.returncode != 0 and not done.story.unreachable):
        return Drift(unknown="\n".join(done.last_lines) or "the plan failed", looked=True)
    steps: dict[str, tuple[str, ...]] = {}
    for change in changes_of(done):
        steps[change.host] = (*steps.get(change.host, ()), change.step)
    return Drift(steps, looked=True)


def tell(console: Console, found: Status) -> None:
    """Tables for a person, the first cause at the end, where the eye is."""
    tables.show(
        console,
        "guests",
        ["name", "id", "address", "state", "drift", ""],
        [
            (
                *(guest.name, str(guest.id or ""), guest.address),
                tables.state(guest.state if guest.answers else "silent"),
                _drift_words(guest.drift),
                tables.brief(guest.fault),
            )
            for guest in found.guests
        ],
    )
    tables.show(
        console,
        "services",
        ["URL", "guest", "state", "first broken hop"],
        [
            (one.url, one.owner, tables.state(one.state), one.fault.brief if one.fault else "")
            for one in found.services
        ],
    )
    tell_certificates(console, found)
    if found.endpoints:
        tables.show(
            console,
            "Portainer's endpoints",
            ["name", "URL", "state", ""],
            [
                (one.name, one.url, tables.state(one.state), tables.brief(one.fault))
                for one in found.endpoints
            ],
        )
    _stacks(console, found)
    if found.drift_unknown:
        console.print(Text("drift is not known: " + found.drift_unknown, style="yellow"))
    if found.first_cause is not None:
        tell_cause(console, found.first_cause, first=True)
    console.print(_summary(found), markup=False)


def tell_certificates(console: Console, found: Status) -> None:
    """The table of certificates."""
    issuers = {one.issuer for one in found.certificates if one.issuer}
    single = issuers.pop() if len(issuers) == 1 else ""
    tables.show(
        console,
        f"certificates, all by {single}" if single else "certificates",
        ["holder", "port", "for", "ends", "next renewal", "issuer", "state"],
        [
            (
                one.holder,
                str(one.port),
                _names(one, found.domain),
                _until(one.not_after, found.at),
                _renewal(one, found.at),
                "" if single else one.issuer,
                tables.state(one.state) + (f": {one.fault}" if one.fault else ""),
            )
            for one in found.certificates
        ],
    )


def _names(one: CertificateStatus, domain: str) -> str:
    more = f" and {len(one.other_names)} more" if one.other_names else ""
    return one.server_name.removesuffix(f".{domain}") + more


def _stacks(console: Console, found: Status) -> None:
    rows = [
        (
            *(stack.name, stack.guest, stack.status or "not known"),
            f"{stack.healthy} of {stack.containers} well",
            tables.state(stack.state),
            _drift_words(None if stack.drift is None else int(stack.drift)),
            tables.brief(stack.fault),
        )
        for stack in found.stacks
    ]
    if rows:
        columns = ["name", "guest", "Portainer", "containers", "state", "drift", ""]
        tables.show(console, "stacks", columns, rows)


def _until(time: datetime | None, now: datetime) -> str:
    if time is None:
        return ""
    if time <= now:
        return f"{duration.words(now - time)} ago"
    return f"in {duration.words(time - now)}"


def _renewal(one: CertificateStatus, now: datetime) -> str:
    if one.next_renewal is None:
        return "nobody asks" if one.renewed_by.endswith(".timer") and one.not_after else ""
    return "is due" if one.next_renewal <= now else _until(one.next_renewal, now)


def _drift_words(count: int | None) -> Text:
    """Empty where nobody looked, so that the column is left out."""
    if count is None:
        return Text()
    return Text("none") if not count else Text(f"{count} step{'s'[: count > 1]}", style="yellow")


def _summary(found: Status) -> str:
    if found.broken:
        return "something is broken: `phoenix doctor` shows every hop"
    if found.drifted:
        steps = _drift_words(sum(guest.drift or 0 for guest in found.guests))
        return f"all is up; a sync would change {steps}: see `phoenix plan`"
    return "all is well"
