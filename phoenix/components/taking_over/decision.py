"""What becomes of what a person had: their word for it, what that does, or why a run is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from phoenix.components.dnsmasq.dnsmasq_conf import KEPT_PORT
from phoenix.components.taking_over.residents import (
    Container,
    Kind,
    Listener,
    Place,
    Residents,
    clashes,
)
from phoenix.declaration.settings import TakingOver
from phoenix.files import text
from phoenix.shell import Script
from phoenix.site.findings import visible
from phoenix.site.ports import LOOPBACK

DIRECTORY = "/var/lib/phoenix/taken_over"
"""What was found and gave way, a file each kind: `phoenix` never reads it on another host."""
GIVE_WAY = Script("give-way", text("components/taking_over/give_way.sh"))
"""Stops what the record of a kind names, or puts it back: stop|back DIRECTORY KIND."""

_STOPPED = (
    "it is stopped and no longer started at boot; its files stay, and it runs again where "
    "Phoenix's own does not come up. To put it back: docs/taking_over.md"
)
_NEEDED_BY: Mapping[Kind, str] = {
    "resolver": "the name server of the site",
    "ca": "the CA",
    "traefik": "Traefik",
    "nginx": "the gateway",
    "portainer": "Portainer's server",
    "agent": "the tunnel to Portainer's agent",
}
WAYS: Mapping[Kind, Mapping[str, str]] = {
    "resolver": {
        "keep": f"it stays. Phoenix's name server listens on {LOOPBACK}, port {KEPT_PORT}, and a "
        "line in its configuration forwards the site's zone there; a run says which",
        "replace": _STOPPED,
    },
    "ca": {"replace": _STOPPED},
    "traefik": {"replace": _STOPPED},
    "nginx": {"replace": _STOPPED},
    "portainer": {
        "adopt": "its container is stopped and kept as NAME-before-phoenix, and Phoenix's "
        "Portainer goes on with its data, of which a copy is kept. The secret "
        "portainer_admin_password is then the password that its user admin has",
    },
    "agent": {
        "replace": "its container is stopped and kept as NAME-before-phoenix; Phoenix's own agent "
        "takes its place",
    },
}
"""What each kind can be told, and what that does."""


@dataclass(frozen=True)
class Verdict:
    """What a run does about what it found on one host.

    Attributes:
        refused: why the host is not touched, a line each; empty where it may be.
        does: what becomes of it, a line each.
        records: by kind, what gives way: lines for `GIVE_WAY`.
    """

    refused: tuple[str, ...] = ()
    does: tuple[str, ...] = ()
    records: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)


def decide(places: Iterable[Place], found: Residents, choices: TakingOver) -> Verdict:
    """Hold what was found on a host against what its person said of it.

    Args:
        places: those that Phoenix takes there.
        found: who is there.
        choices: the setting `taking_over`.
    """
    refused: list[str] = []
    does: list[str] = []
    records: dict[Kind, tuple[str, ...]] = {}
    for place in places:
        standing = clashes(place, found)
        if not standing:
            continue
        choice = choices.of(place.kind)
        who = list(dict.fromkeys(map(_words, standing)))
        if choice is None:
            refused += _asked(place.kind, who, choices)
        elif choice == "keep":
            does += [f"{one}: {WAYS[place.kind][choice]}" for one in who]
        elif reasons := _impossible(choice, standing, found):
            refused += reasons
        else:
            does += [f"{one}: {WAYS[place.kind][choice]}" for one in who]
            records[place.kind] = _record(standing, found)
    return Verdict(tuple(refused), tuple(does), records)


def _asked(kind: Kind, who: Iterable[str], choices: TakingOver) -> list[str]:
    """The question to the person, with the line to write for each answer."""
    lines = [f"{one}: {_NEEDED_BY[kind]} needs its place" for one in who]
    lines.append(
        "nothing was touched on this host: say what becomes of it, in group_data/all.py, by one of"
    )
    given = choices.model_dump(exclude_none=True)
    for choice, does in WAYS[kind].items():
        lines += [f"    taking_over = {given | {kind: choice}}", f"        {does}"]
    return lines


def _words(one: Listener | Container) -> str:
    """What it is, as an operator finds it."""
    if isinstance(one, Container):
        return f"container {visible(one.name)} ({visible(one.image)}, {visible(one.state)})"
    holder = f"process {visible(one.process)}" if one.process else "a process without a name"
    if one.container:
        holder = f"container {one.container} ({visible(one.image)})"
    elif one.unit:
        holder = one.unit
    return f"{holder} on port {one.port}"


def _impossible(
    choice: str, standing: Sequence[Listener | Container], found: Residents
) -> list[str]:
    """Why what stands there cannot give way as it was told."""
    reasons = [
        f"{_words(one)} belongs to no systemd unit and no container, so Phoenix cannot stop it, "
        "nor put it back: stop it, and run again"
        for one in standing
        if not _stopped(one)
    ]
    if choice != "adopt":
        return reasons
    portainers = {one.name: one.data for one in found.containers if one.image_is_portainer}
    reasons += [
        f"{_words(one)} is no Portainer, so it cannot be adopted: stop it, or give Portainer's "
        "guest another port (traefik_service.port)"
        for one in standing
        if _stopped(one) and _name(one) not in portainers
    ]
    if len(holding := [name for name, data in portainers.items() if data]) > 1:
        reasons.append(
            f"the containers {', '.join(holding)} all have data of Portainer: remove or rename "
            "those that you do not mean, and run again"
        )
    return reasons


def _record(standing: Sequence[Listener | Container], found: Residents) -> tuple[str, ...]:
    """What `GIVE_WAY` stops, and behind it the data that Phoenix's own goes on with."""
    names = {_name(one) for one in standing}
    data = (f"data {one.data}" for one in found.containers if one.name in names and one.data)
    return tuple(dict.fromkeys((*map(_stopped, standing), *data)))


def _name(one: Listener | Container) -> str:
    return one.name if isinstance(one, Container) else one.container


def _stopped(one: Listener | Container) -> str:
    """The line by which `GIVE_WAY` stops it; empty where Phoenix cannot."""
    if name := _name(one):
        return f"container {name}"
    return f"unit {one.unit}" if isinstance(one, Listener) and one.unit else ""
