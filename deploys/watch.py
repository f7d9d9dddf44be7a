"""Each host's own checks by a timer, and the watcher that takes their reports and raises alarms."""

from deploys.context import secrets, setting_errors, settings, site, site_host
from deploys.site_secrets import secret
from operations.config_tree import config_tree
from operations.packages import packages
from operations.site_lock import FILE as LOCK
from phoenix import files
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.restart import restart_always
from phoenix.components.step_ca.authority import DATABASE, DIRECTORY
from phoenix.components.watch import files as watch
from phoenix.derived import home
from phoenix.derived.components import WATCHED, WATCHER
from phoenix.files import render
from phoenix.health.watch_plan import lines, plan
from phoenix.runs.history import FILE as HISTORY
from phoenix.secrets.rules import check_alarm_urls
from phoenix.secrets.watch_certificates import Pair, of_host, of_scraper, of_watcher
from phoenix.shell import fill
from phoenix.site.model import Host
from phoenix.site.ports import LOOPBACK, WATCH
from phoenix.site.secret_names import ALARM_URLS, WATCH_KEY

FOLDER = "components/watch"
UNITS = "/etc/systemd/system"


def page() -> dict[str, TreeFile]:
    """What gets the start page from the watcher."""
    unit = watch.PAGE_TIMER.removesuffix(".timer")
    return {
        watch.PAGE_PROGRAM: TreeFile(files.text(f"{FOLDER}/{unit}"), mode="0755"),
        f"{UNITS}/{unit}.service": TreeFile(files.text(f"{FOLDER}/{unit}.service")),
        f"{UNITS}/{watch.PAGE_TIMER}": TreeFile(
            render(
                f"{FOLDER}/{watch.PAGE_TIMER}.j2",
                calendar=watch.page_calendar(settings().watch_interval),
            )
        ),
    }


def reporting(watcher: Host) -> Tree:
    """What makes this host's checks and reports them, and gets the start page where it is."""
    has_page = site_host() in home.watched_by(site())
    key, checks = secret(WATCH_KEY), lines(site(), site_host())
    room = (settings().room_warning_percent, settings().room_least_percent)
    return Tree(
        component=WATCHED,
        files={
            watch.PROGRAM: TreeFile(files.text(f"{FOLDER}/phoenix-watch"), mode="0755"),
            watch.CHECKS_PROGRAM: TreeFile(files.text(DATABASE, "health/checks.sh")),
            watch.CONFIG: TreeFile(
                watch.config(
                    site_host(),
                    watcher,
                    plan=watch.digest(checks),
                    room=room,
                    lock=LOCK if site_host() == site().hypervisor else "",
                    history=HISTORY if site_host() == site().hypervisor else "",
                    # Where timers make them, each host's own checks tell of old ones.
                    backup_days=0 if site().backups else settings().watch_backup_days,
                    issued=f"{DIRECTORY}/db" if site_host() == site().ca else "",
                )
            ),
            watch.CHECKS: TreeFile("".join(f"{line}\n" for line in checks), mode="0600"),
            watch.PAIR: TreeFile(
                of_host(key, site_host().fqdn).pem.get_secret_value(), mode="0600", secret=True
            ),
            watch.CERTIFICATE_OF_THE_WATCHER: TreeFile(of_watcher(key, watcher.fqdn).certificate),
            f"{UNITS}/phoenix-watch.service": TreeFile(
                files.text(f"{FOLDER}/phoenix-watch.service")
            ),
            f"{UNITS}/{watch.TIMER}": TreeFile(
                render(
                    f"{FOLDER}/phoenix-watch.timer.j2",
                    calendar=watch.calendar(settings().watch_interval, site_host().name),
                )
            ),
            **(page() if has_page else {}),
            **(
                {watch.ISSUED_PROGRAM: TreeFile(files.text("components/step_ca/issued.py"))}
                if site_host() == site().ca
                else {}
            ),
        },
        enable=(watch.TIMER, *([watch.PAGE_TIMER] if has_page else [])),
        validate=fill(
            'sh -n "$ROOT"{{ program }} && sh -n "$ROOT"{{ checks }}',
            program=watch.PROGRAM,
            checks=watch.CHECKS_PROGRAM,
        ),
    )


def scraped(pair: Pair) -> dict[str, TreeFile]:
    """What Prometheus needs to read the metrics, and the alert rules."""
    watcher = site_host()
    return {
        f"{watch.METRICS}/prometheus.yml": TreeFile(
            render(
                f"{FOLDER}/prometheus.yml.j2",
                target=f"{watch.metrics_address(site(), watcher)}:{WATCH}",
                name=watcher.fqdn,
                rules=watch.RULES,
            )
        ),
        f"{watch.METRICS}/{watch.RULES}": TreeFile(files.text(f"{FOLDER}/{watch.RULES}")),
        f"{watch.METRICS}/watcher.crt": TreeFile(
            of_watcher(secret(WATCH_KEY), watcher.fqdn).certificate
        ),
        f"{watch.METRICS}/scraper.pem": TreeFile(
            pair.pem.get_secret_value(), mode="0600", secret=True
        ),
    }


def watching() -> Tree:
    """What takes the reports, looks at them, and raises alarms."""
    key = secret(WATCH_KEY)
    modules = {name: files.data(name) for name in watch.MODULES}
    pairs = {host.name: of_host(key, host.fqdn) for host in site().watched}
    scraper = of_scraper(key, site().domain) if site().scraped_from else None
    known = plan(
        site(),
        settings().watch_interval,
        {name: pair.fingerprint for name, pair in pairs.items()},
        tells=settings().home_tells,
        scraper=scraper.fingerprint if scraper is not None else "",
    )
    urls = secrets().find(ALARM_URLS)
    alarms = {}
    if urls is not None:
        check_alarm_urls(urls.get_secret_value())
        alarms[watch.ALARMS] = TreeFile(urls.get_secret_value(), mode="0600", secret=True)
    return Tree(
        component=WATCHER,
        files={
            **{
                f"{watch.LIBRARY}/phoenix/{name}": TreeFile(content)
                for name, content in modules.items()
            },
            watch.PLAN: TreeFile(known.to_json(), mode="0600"),
            watch.PAIR_OF_THE_WATCHER: TreeFile(
                of_watcher(key, site_host().fqdn).pem.get_secret_value(), mode="0600", secret=True
            ),
            watch.CERTIFICATES_OF_HOSTS: TreeFile(
                "".join(
                    pair.certificate
                    for pair in (*pairs.values(), *([scraper] if scraper is not None else []))
                )
            ),
            **alarms,
            **(scraped(scraper) if scraper is not None else {}),
            f"{UNITS}/{watch.RECEIVER}": TreeFile(files.text(f"{FOLDER}/{watch.RECEIVER}")),
            **restart_always(watch.RECEIVER),
            f"{UNITS}/{watch.LOOKS}": TreeFile(
                render(
                    f"{FOLDER}/{watch.LOOKS}.j2",
                    compiled=watch.compiled(modules),
                    seconds=watch.look_seconds(settings().watch_interval),
                )
            ),
            f"{UNITS}/{watch.JUDGE}": TreeFile(files.text(f"{FOLDER}/{watch.JUDGE}")),
        },
        unit=watch.RECEIVER,
        enable=(watch.JUDGE,),
        action="restart",
        validate=fill(
            'PYTHONPATH="$ROOT"{{ library }} python3 -B -c '
            '"import sys, phoenix.watch.__main__ as w; w.plan.from_json(open(sys.argv[1]).read())" '
            '"$ROOT"{{ plan }}',
            library=watch.LIBRARY,
            plan=watch.PLAN,
        ),
        health=fill(
            "bash -c {{ connects }}",
            connects=f": </dev/tcp/{LOOPBACK}/{WATCH}",
        ),
    )


watcher = site().watcher
if watcher is not None:
    if site_host() == watcher:
        packages(
            name="Watch: packages",
            names=["python3", *(["apprise"] if secrets().find(ALARM_URLS) is not None else [])],
        )
        with setting_errors():
            tree = watching()
        config_tree(name="Watch: the watcher", tree=tree)
    if site_host() in site().watched:
        with setting_errors():
            tree = reporting(watcher)
        config_tree(name="Watch: this host's checks by a timer", tree=tree)
