"""One run at a time for one site, from any machine: a lock on the hypervisor.

flock(1) holds it there for as long as the SSH channel is open, so it goes when the run ends,
however it ends: there are no stale locks. Several runs of one owner
share it while they come and go.
"""

from __future__ import annotations

from threading import Lock

import paramiko
from pyinfra import logger
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

from phoenix.runs.lock import LockedError, Owner, parse_owner
from phoenix.shell import Script
from phoenix.site.findings import SettingError

FILE = "/run/phoenix-site.lock"
SCRIPT = Script(
    "lock",
    """exec 8>>"$1.queue" 9<>"$1"
flock 8
if [ "$(cat "$1")" = "$2" ] && flock -n -s 9; then :
elif flock -n 9; then printf '%s' "$2" >"$1"; flock -s 9
else printf held; cat "$1"; exit
fi
exec 8>&-
printf mine; cat >/dev/null
""",
)
"""Words: the file, the owner as JSON. Says `mine`, and holds the lock until its input ends; or says
`held` and the owner. All runs of one owner share the lock, so it is theirs until the last of them
ends. Requests wait in the queue, one at a time. The owner stays in the file after the lock is
released, and then means nothing."""
_channels: list[paramiko.Channel] = []
_asking = Lock()


class SiteLockedError(SettingError):
    """Another run is at work on this site, or the lock cannot be taken."""


def hold(hypervisor: Host, owner: Owner) -> bool:
    """Take the lock once for this process and keep it to its end.

    A hypervisor that does not answer gives a warning only: a site that is down can
    still be fixed.

    Returns:
        Whether it is held.

    Raises:
        SiteLockedError: another run holds it; says who, and since when.
    """
    with _asking:  # all hosts come here at the same time
        if _channels:
            return True
        transport = _transport(hypervisor)
        if transport is None:
            return False
        channel = transport.open_session()
        channel.exec_command(SCRIPT.line(FILE, owner.model_dump_json()))
        state = _read(channel, 4)
        if state == "held":
            raise SiteLockedError(str(LockedError(parse_owner(_read(channel)))))
        if state != "mine":
            raise SiteLockedError(f"the site cannot be locked at {FILE} on {hypervisor.name}")
        _channels.append(channel)
        return True


def _transport(hypervisor: Host) -> paramiko.Transport | None:
    """The SSH connection to the hypervisor; None where there is none."""
    if not hypervisor.connected:
        try:
            hypervisor.connect(reason="to lock the site", raise_exceptions=True)
        except ConnectError as error:
            logger.warning("no lock against runs of other machines: %s", error)
            return None
    client = getattr(hypervisor.connector, "client", None)
    return client.get_transport() if client is not None else None


def _read(channel: paramiko.Channel, most: int = 65536) -> str:
    data = b""
    while len(data) < most and (piece := channel.recv(most - len(data))):
        data += piece
    return data.decode(errors="replace")
