"""Keys that are known and well formed, and without effect where they stand.

What an entry says for a part that its host does not have is perhaps meant for another entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from phoenix.declaration.guests import Entry
from phoenix.declaration.json_keys import RawHypervisor, RawVm
from phoenix.site.findings import Report
from phoenix.site.model import Host, Site

_Problem = tuple[str, str, str]
"""Path below the entry, message and fix."""


def check(
    site: Site, entries: Iterable[tuple[Host, Entry]],
    hypervisor: RawHypervisor, file: str, report: Report,
) -> None:  # fmt: skip
    """Tell of keys of hosts that nothing carries out.

    Args:
        site: the site.
        entries: its guests, each with its entry as written.
        hypervisor: the hypervisor's entry as written.
        file: where that stands.
        report: takes the warnings.
    """
    for host, entry in entries:
        words = entry.raw.leave_alone or ()
        for path, message, fix in (*_of_entry(entry), *_left_alone(site, host, words)):
            report.unread(*entry.at(path), message, fix)
    for path, message, fix in _left_alone(site, site.hypervisor, hypervisor.leave_alone or ()):
        report.unread(file, f"site.hypervisor.{path}", message, fix)


def _of_entry(entry: Entry) -> Iterator[_Problem]:
    raw = entry.raw
    if raw.boot_delay and not raw.start_at_boot:
        yield (
            "boot_delay",
            "Proxmox VE waits only after guests that it starts with the hypervisor",
            'write "start_at_boot": true as well, or remove it',
        )
    if isinstance(raw, RawVm) and raw.network_bridge and raw.network_config.bridge:
        yield (
            "network_bridge",
            f"is not read beside network_config.bridge, which is {raw.network_config.bridge}",
            "keep one of the two",
        )


def _left_alone(site: Site, host: Host, words: Sequence[str]) -> Iterator[_Problem]:
    """Words of a host's own list for parts that it does not have."""
    applies: Mapping[str, bool] = {
        "docker": "docker" in host.roles,
        "start_page": host in site.traefiks,
        "dashboard": host in site.traefiks,
        "guest_agent": host.kind == "vm",
        "watch": bool(site.watched_by),
        "proxmox": host.kind != "hypervisor",
    }
    for position, word in enumerate(words):
        if not applies.get(word, True):
            message = f"{host.name} has nothing of {word!r} that Phoenix would change"
            yield f"leave_alone[{position}]", message, "remove the word, or write it elsewhere"
