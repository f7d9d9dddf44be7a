"""What the watcher is to know of a site, from the checks and paths of every verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from phoenix.components.watch.files import digest
from phoenix.derived import home
from phoenix.health import page
from phoenix.health.advice import likely_fix, own_words
from phoenix.health.checks import checks, made_on
from phoenix.health.issued import owners
from phoenix.health.page_html import version
from phoenix.health.paths import paths, request_paths
from phoenix.site.model import Host, Site
from phoenix.watch.causes import Check, CheckedPath, Hop, no_answer
from phoenix.watch.judge import ISSUED
from phoenix.watch.plan import Fix, Plan, own_fix


def lines(site: Site, host: Host) -> tuple[str, ...]:
    """The checks of a host as its `phoenix-watch` makes them: a line each, tabs between words."""
    return tuple("\t".join(check.command) for check in made_on(site, host))


def plan(
    site: Site, interval: int, fingerprints: Mapping[str, str], *, tells: str = "everything",
    scraper: str = "",
) -> Plan:  # fmt: skip
    """The plan of the watcher.

    Only checks of hosts that report are in it.

    Args:
        site: the site.
        interval: seconds between two reports of a host.
        fingerprints: SHA-256 of each watched host's certificate, by its name.
        tells: what the start page tells whoever reaches it (the setting `home_tells`).
        scraper: SHA-256 of the certificate of whoever reads the metrics; empty: nobody.

    Raises:
        phoenix.site.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    requests = request_paths(site)
    own = {check for host in site.watched for check in made_on(site, host)}
    own_checks = tuple(check for check in checks(site) if check in own)
    return Plan(
        domain=site.domain,
        interval=interval,
        lists={host.name: digest(lines(site, host)) for host in site.watched},
        fingerprints=dict(fingerprints),
        checks=own_checks,
        paths=tuple(
            watched_path for path in paths(site) if (watched_path := _of_watched(path, own)).hops
        ),
        fixes={
            **{check.title: _fix(site, check) for check in own_checks},
            **{
                own_fix(check.title, words): _fix(site, check, words)
                for check in own_checks
                for words in own_words(check)
            },
            **{
                (check := no_answer(host.name, "").check).title: _fix(site, check)
                for host in site.watched
            },
            **{
                Check(host.name, "service", ISSUED, ()).title: Fix(
                    "if that was none of you, the names are in others' hands until then, or until "
                    "a new root",
                    ("phoenix certs rotate root",),
                )
                for host in site.watched
                if host == site.ca
            },
        },
        owners=owners(site),
        environment=site.environment,
        tells=tells,
        services=tuple(
            {**page.declared(service), "path": requests[service.name].name}
            for service in page.shown(site)
        ),
        machines=tuple(page.machine(host) for host in site.watched),
        page_hosts=tuple(host.name for host in home.watched_by(site)),
        style=version(),
        scraper=scraper,
    )


def _of_watched(path: CheckedPath, own: set[Check]) -> CheckedPath:
    hops = (
        Hop(hop.source, hop.target, hop.what, tuple(check for check in hop.checks if check in own))
        for hop in path.hops
    )
    return CheckedPath(path.kind, path.name, tuple(hop for hop in hops if hop.checks))


def _fix(site: Site, check: Check, fault: str = "") -> Fix:
    likely = likely_fix(site, check, fault)
    return Fix(likely.advice, likely.commands)
