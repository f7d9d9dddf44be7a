"""Places, names and times of the watch, on every host and on the watcher. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from zlib import crc32

from phoenix.components import programs
from phoenix.shell import quote
from phoenix.site.addressing import static_addresses, target_address
from phoenix.site.model import Host, Site
from phoenix.site.ports import WATCH
from phoenix.watch import folders

TIMER = "phoenix-watch.timer"
"""On each host: makes its checks, and reports them."""
RECEIVER = "phoenix-watcher.service"
"""On the watcher: takes the reports."""
JUDGE, LOOKS = "phoenix-watch-judge.timer", "phoenix-watch-judge.service"
"""On the watcher: looks at the reports. Each minute it begins anew, and looks for a minute: a start
of Python costs four times as much as a look."""

PAGE_TIMER = "phoenix-watch-page.timer"
"""On the host that serves the start page: gets it from the watcher."""

PAGE_PROGRAM = "/usr/local/sbin/phoenix-watch-page"
PROGRAM = "/usr/local/sbin/phoenix-watch"
CHECKS_PROGRAM = f"{programs.LIBRARY}/checks"
ISSUED_PROGRAM = f"{programs.LIBRARY}/issued"
"""On the CA's guest: tells what the CA has issued."""
CONFIG, CHECKS = "/etc/phoenix/watch.conf", "/etc/phoenix/watch.checks"
PAIR, CERTIFICATE_OF_THE_WATCHER = "/etc/phoenix/watch.pem", "/etc/phoenix/watcher.crt"

VAR = str(folders.VAR)
RUN = (str(folders.RUN), str(folders.SHOWN))
LOOKED = f"{RUN[1]}/metrics"
"""Each look writes it, and with it when that was."""
LIBRARY = f"{programs.LIBRARY}/watcher"
"""The watcher's programs: modules of Python."""
PLAN = f"{folders.ETC}/{folders.PLAN}"
PAIR_OF_THE_WATCHER = "/etc/phoenix/watcher.pem"
CERTIFICATES_OF_HOSTS = "/etc/phoenix/watcher.hosts.pem"
ALARMS = "/etc/phoenix/watcher.alarms"

METRICS = "/etc/phoenix/metrics"
"""On the watcher: what Prometheus needs to read its metrics, and alert rules."""
RULES = "phoenix.rules.yml"

MODULES = (
    "__init__.py",
    "watch/__init__.py",
    "watch/__main__.py",
    "watch/atomic_file.py",
    "watch/causes.py",
    "watch/delivery.py",
    "watch/disks.py",
    "watch/folders.py",
    "watch/history.py",
    "watch/issued.py",
    "watch/judge.py",
    "watch/live.py",
    "watch/metrics.py",
    "watch/page_html.py",
    "watch/plan.py",
    "watch/receiver.py",
    "watch/report.py",
)
"""What the watcher runs, below `phoenix/`."""
_JUDGE_SECONDS = 15
"""The longest time between two looks at the reports."""


def compiled(modules: Mapping[str, bytes]) -> str:
    """Where Python keeps what it has compiled of the watcher's modules: until the next boot.

    Each version of them has a folder of its own: Python tells a module that has changed by its time
    and size, and the files of a generation all have one time.

    Args:
        modules: contents by name.
    """
    checksum = hashlib.sha256()
    for name in sorted(modules):
        checksum.update(hashlib.sha256(name.encode()).digest())
        checksum.update(hashlib.sha256(modules[name]).digest())
    return f"{RUN[1]}/compiled-{checksum.hexdigest()[:16]}"


def digest(lines: Iterable[str]) -> str:
    """What tells one list of checks from another, as a report names the list that was made."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def calendar(interval: int, name: str) -> str:
    """When a host's timer fires: each `interval` seconds, at a moment of its own (systemd.time(7)).

    Args:
        interval: seconds; a divisor of a minute, or whole minutes that divide an hour.
        name: the host's.
    """
    offset = crc32(name.encode()) % interval
    if interval < 60:
        return f"*:*:{offset}/{interval}"
    return f"*:{offset // 60}/{interval // 60}:{offset % 60}"


def look_seconds(interval: int) -> int:
    """The time between two looks of the watcher at the reports."""
    return min(interval, _JUDGE_SECONDS)


def page_calendar(interval: int) -> str:
    """When the start page is fetched from the watcher: as often as it looks."""
    return f"*:*:0/{look_seconds(interval)}"


def metrics_address(site: Site, watcher: Host) -> IPv4Address:
    """Where the declared scraper reaches the watcher."""
    at = {own: host for host in site.hosts for own in static_addresses(host)}
    scraper = at.get(IPv4Address(site.scraped_from))
    return target_address(scraper, watcher) if scraper is not None else watcher.address


def config(
    host: Host, watcher: Host, *, plan: str, room: tuple[int, int], lock: str, history: str,
    backup_days: int, issued: str = "",
) -> str:  # fmt: skip
    """The configuration of a host's `phoenix-watch`: KEY=VALUE, as a shell reads it.

    The watcher is reached by its address, so that a name server that fails silences nobody.

    Args:
        host: the one that reports.
        watcher: to whom.
        plan: `digest` of its checks.
        room: percent of a file system with less of which free comes a warning, then a fault.
        lock: the file that a run of the site locks; empty where it is on another host.
        history: the file with the site's runs; empty where it is on another host.
        issued: the CA's database; empty where it is on another host.
        backup_days: after so many days without a backup comes a warning; 0: never.
    """
    values = {
        "HOST": host.name,
        "PLAN": plan,
        "URL": f"https://{watcher.fqdn}:{WATCH}/report",
        "ENTRANCE": f"{watcher.fqdn}:{WATCH}:{target_address(host, watcher)}:{WATCH}",
        "ROOM": f"{room[0]} {room[1]}",
        "LOCK": lock,
        "HISTORY": history,
        "BACKUP_DAYS": str(backup_days),
        "ISSUED": issued,
    }
    return "".join(f"{key}={quote(value)}\n" for key, value in values.items())
