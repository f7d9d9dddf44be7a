"""What `phoenix status` and `phoenix certs list` show: the site at a glance, in tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from phoenix.cli import output, project, tables
from phoenix.cli.observe_hosts import observe
from phoenix.cli.reports.doctor import print_cause, print_warnings
from phoenix.cli.reports.plan import changes_of
from phoenix.cli.undeclared import of_observed, print_undeclared, remember, summary_line
from phoenix.health import observation, paths
from phoenix.health.diagnosis import diagnose
from phoenix.health.status import CertificateStatus, Drift, RootStatus, Status, build
from phoenix.health.undeclared import NOTHING
from phoenix.runs.process import Finished
from phoenix.site import duration
from phoenix.watch.causes import Findings


def status_of(site: project.Project, kinds: Sequence[str], *, drift: bool, quiet: bool) -> Status:
    """Ask every host for these `kinds` of facts, and what a run would change."""
    planned = ("deploys/all.py",) if drift else ()
    observed, finished = observe(site, kinds, (), *planned, quiet=quiet)
    left = NOTHING
    if set(observation.LEFT) <= set(kinds):
        left = of_observed(site, observed)
        remember(site, left)
    hosts = {host.name for host in site.site.hosts}
    outcomes, silent = observation.outcomes(site.site, observed, hosts)
    diagnosis = diagnose(site.site, paths.paths(site.site), Findings(outcomes, silent))
    return build(
        site.site,
        site.name,
        observation.Observed(observed.values, silent),
        outcomes,
        diagnosis,
        _drift(finished) if drift else Drift(),
        datetime.now(UTC),
        left,
    )


def _drift(finished: Finished) -> Drift:
    """Per host what a run would change; unknown where the plan did not finish."""
    if finished.results is None or (finished.returncode != 0 and not finished.course.unreachable):
        return Drift(unknown="\n".join(finished.last_lines) or "the plan failed", looked=True)
    steps: dict[str, tuple[str, ...]] = {}
    failing: dict[str, tuple[str, ...]] = {}
    not_seen: dict[str, dict[str, str]] = {}
    for change in changes_of(finished):
        if change.unknown:
            not_seen.setdefault(change.host, {})[change.step] = change.unknown
        elif change.fails:
            failing[change.host] = (*failing.get(change.host, ()), change.step)
        else:
            steps[change.host] = (*steps.get(change.host, ()), change.step)
    return Drift(steps, looked=True, not_seen=not_seen, failing=failing)


def print_status(console: Console, result: Status) -> None:
    """Tables for a person, the first cause at the end, where the eye is."""
    tables.show(
        console,
        "guests",
        ["name", "id", "address", "state", "drift", ""],
        [
            (
                *(guest.name, str(guest.id or ""), guest.address),
                tables.state(guest.state if guest.answers else "silent"),
                _drift_words(guest.drift, guest.failing),
                tables.brief(guest.fault),
            )
            for guest in result.guests
        ],
    )
    tables.show(
        console,
        "services",
        ["URL", "guest", "state", "first cause"],
        [
            (
                *(service.url, service.owner, tables.state(service.state)),
                service.fault.brief if service.fault else "",
            )
            for service in result.services
        ],
    )
    print_certificates(console, result)
    if result.root is not None:
        console.print(Text(root_words(result.root)), soft_wrap=True)
        if unfinished := rotation_words(result.root):
            console.print(Text(unfinished, style="yellow"), soft_wrap=True)
        console.print()
    if result.endpoints:
        tables.show(
            console,
            "Portainer's endpoints",
            ["name", "URL", "state", ""],
            [
                (end.name, end.url, tables.state(end.state), tables.brief(end.fault))
                for end in result.endpoints
            ],
        )
    _stacks(console, result)
    for line in watch_lines(result):
        console.print(Text(line), soft_wrap=True)
    print_undeclared(console, result.undeclared, with_kept=True)
    if result.drift_unknown:
        console.print(Text("drift is not known: " + result.drift_unknown, style="yellow"))
    print_warnings(console, result.warnings)
    if result.first_cause is not None:
        print_cause(console, result.first_cause, first=True)
    console.print(_summary(result), markup=False)


def root_words(root: RootStatus) -> str:
    """The CA's root in a sentence: what it may vouch for, and where its key is."""
    limits = (
        f"vouches for {' and '.join(root.limits)} alone"
        if root.limits
        else "has no name constraints (the next one, by `phoenix certs rotate root`, will)"
    )
    key = f"on {root.key_on}" if root.key_on else "offline"
    return f"{root.name}, until {root.not_after:%Y-%m-%d}, {limits}; its key is {key}"


def rotation_words(root: RootStatus) -> str:
    """The unfinished rotation of the CA's keys, and how to finish it; empty if there is none."""
    if not root.replacing:
        return ""
    command = "`phoenix certs rotate continue` ends it"
    if root.switched:
        return f"the {root.replacing} is replaced, and not yet on every host: {command}"
    return (
        f"a new {root.replacing} was begun, and nothing uses it yet: {command}, "
        "`phoenix certs rotate abandon` drops it"
    )


def watch_lines(result: Status) -> list[str]:
    """What the watcher last saw, and whether alarms go anywhere; nothing where nobody watches."""
    watched = result.watched
    if watched is None:
        return []
    ago = duration.to_text(result.at - watched.at) if watched.at < result.at else "0 s"
    lines = [
        f"watched: the last look was {ago} ago"
        + (", while a run was at work" if watched.working else "")
    ]
    reports = [
        f"{host.name} {duration.to_text(result.at - host.seen)} ago"
        if host.seen is not None and host.seen < result.at
        else f"{host.name} {'now' if host.seen else 'never'}"
        for host in watched.hosts
    ]
    lines.append(f"  last reports: {', '.join(reports)}")
    lines += [
        f"  {cause.severity} since {cause.since:%Y-%m-%d %H:%M} UTC: {cause.host}: "
        f"{cause.hop}: {cause.text}"
        for cause in watched.causes
    ]
    if not watched.places:
        lines.append("  alarms go nowhere: give the secret alarm_urls (docs/watch.md)")
    elif watched.waiting:
        lines.append(
            f"  {output.count(watched.waiting, 'message')} not delivered yet: phoenix alert test"
        )
    return [*lines, ""]


def print_certificates(console: Console, result: Status) -> None:
    """The table of certificates."""
    issuers = {certificate.issuer for certificate in result.certificates if certificate.issuer}
    single = issuers.pop() if len(issuers) == 1 else ""
    tables.show(
        console,
        f"certificates, all by {single}" if single else "certificates",
        ["holder", "port", "for", "ends", "next renewal", "issuer", "state"],
        [
            (
                certificate.holder,
                str(certificate.port),
                _names(certificate, result.domain),
                _until(certificate.not_after, result.at),
                _renewal(certificate, result.at),
                "" if single else certificate.issuer,
                tables.state(certificate.state)
                + (f": {certificate.fault}" if certificate.fault else ""),
            )
            for certificate in result.certificates
        ],
    )


def _names(certificate: CertificateStatus, domain: str) -> str:
    more = f" and {len(certificate.other_names)} more" if certificate.other_names else ""
    return certificate.server_name.removesuffix(f".{domain}") + more


def _stacks(console: Console, result: Status) -> None:
    rows = [
        (
            *(stack.name, stack.guest),
            "by compose" if stack.way == "compose" else stack.status or "not known",
            f"{stack.healthy} of {stack.containers} well",
            tables.state(stack.state),
            _drift_words(None if stack.drift is None else int(stack.drift), int(stack.fails)),
            tables.brief(stack.fault),
        )
        for stack in result.stacks
    ]
    if rows:
        columns = ["name", "guest", "Portainer", "containers", "state", "drift", ""]
        tables.show(console, "stacks", columns, rows)


def _until(time: datetime | None, now: datetime) -> str:
    if time is None:
        return ""
    if time <= now:
        return f"{duration.to_text(now - time)} ago"
    return f"in {duration.to_text(time - now)}"


def _renewal(certificate: CertificateStatus, now: datetime) -> str:
    if certificate.next_renewal is None:
        return (
            "nobody asks"
            if certificate.renewed_by.endswith(".timer") and certificate.not_after
            else ""
        )
    return "is due" if certificate.next_renewal <= now else _until(certificate.next_renewal, now)


def _drift_words(count: int | None, failing: int = 0) -> Text:
    """Empty where nobody looked, so that the column is left out."""
    changes = [Text(output.count(count, "step"), style="yellow")] if count else []
    if failing:
        changes.append(Text(f"{output.count(failing, 'step')} would fail", style="red"))
    if changes:
        return Text(", ").join(changes)
    return Text() if count is None else Text("none")


def _sync_words(result: Status) -> str:
    changed = sum(guest.drift or 0 for guest in result.guests)
    failing = sum(guest.failing for guest in result.guests)
    parts = [f"change {output.count(changed, 'step')}"] if changed else []
    parts += [f"fail in {output.count(failing, 'step')}"] if failing else []
    return " and ".join(parts)


def _summary(result: Status) -> str:
    if result.broken:
        return "something is broken: `phoenix doctor` shows every hop"
    left = summary_line(result.undeclared)
    if result.drifted:
        return f"all is up; a sync would {_sync_words(result)}: see `phoenix plan`" + (
            f"; and there {left}" if left else ""
        )
    if result.drift_unknown:
        unknown = "all is up; whether a sync would change something is not known"
        return unknown + (f"; and there {left}" if left else "")
    if left:
        return f"all that is declared is well; there {left}"
    return "all is well"
