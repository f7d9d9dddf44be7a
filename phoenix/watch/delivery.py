"""Delivery of alarms by Apprise: a message is kept until each place has accepted it.

URLs hold passwords and tokens: they are read from a file that root alone reads, and stand in no
argument, log or message.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from phoenix.watch.judge import Message

_KEPT = 100
"""So many messages wait, the newest; the journal has all."""

Send = Callable[[str, Message], bool]
"""Sends a message to a URL; whether that was taken."""


@dataclass
class Waiting:
    """A message, and the places that have it already (`place_id`)."""

    message: Message
    sent_to: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Waiting:
        """What `to_json` wrote."""
        return cls(Message(**data["message"]), list(data["sent_to"]))


def urls_in(text: str) -> list[str]:
    """The URLs of a secret, one a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def place_id(url: str) -> str:
    """An identifier of the URL's place that holds nothing of the URL."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def redacted(url: str) -> str:
    """The URL without its secrets: the scheme alone."""
    return f"{url.partition('://')[0]}://..."


def deliver(waiting: Sequence[Waiting], urls: Sequence[str], send: Send) -> list[Waiting]:
    """What still waits after each message was sent to each place that lacks it.

    The first that a place does not take ends this try for the place, so that order is kept.
    Without a place nothing waits: the journal has it.
    """
    refused: set[str] = set()
    left: list[Waiting] = []
    for message in waiting:
        for url in urls:
            name = place_id(url)
            if name in message.sent_to or name in refused:
                continue
            if send(url, message.message):
                message.sent_to.append(name)
            else:
                refused.add(name)
        if {place_id(url) for url in urls} - set(message.sent_to):
            left.append(message)
    return left[-_KEPT:]


def by_apprise(url: str, message: Message) -> bool:
    """Send by Apprise (Debian's package apprise)."""
    try:
        apprise: Any = importlib.import_module("apprise")
        sender = apprise.Apprise()
        if not sender.add(url):
            return False
        return bool(sender.notify(title=message.title, body=message.body, notify_type=message.kind))
    except Exception as error:  # noqa: BLE001 - of any service of Apprise's; its text may hold the URL
        print(f"{redacted(url)}: {type(error).__name__}", flush=True)  # noqa: T201 - the journal
        return False
