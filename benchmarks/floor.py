"""The floor of a run: one plain `ssh` per host, all at once, that reads the same state.

Nothing that looks at these hosts over SSH can be quicker than one login, one command, its output.
"""

from __future__ import annotations

import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.counted_pyinfra import Counts, Traffic
from lab.settings import LabError
from lab.state import LabState

# The state that the deploys compare: mode, owner and digest of each managed file, the units'
# states, the packages. The managed files are those of the manifests that the deploys leave.
READ_STATE = r"""
cut -f 6 /var/lib/phoenix/trees/*/current/manifest | while read -r path; do
 stat -Lc '%a %U %G' "$path"; sha256sum "$path"; done
systemctl list-units --all --plain --no-legend
systemctl list-unit-files --no-legend
dpkg -l
"""

_TRANSFERRED = re.compile(r"^Transferred: sent (\d+), received (\d+) bytes", re.MULTILINE)


def transferred(log: str) -> tuple[int, int]:
    """Bytes sent and received, from the last words of `ssh -v`.

    OpenSSH counts the packets as they are on the wire, without the two version lines.

    Raises:
        ValueError: the log has no such line.
    """
    match = _TRANSFERRED.search(log)
    if match is None:
        raise ValueError(f"ssh -v did not say what it transferred:\n{log[-500:]}")
    return int(match[1]), int(match[2])


def measure(lab: LabState) -> tuple[float, Counts]:
    """Read every host's state; return the wall time in seconds and the traffic by address.

    Raises:
        LabError: a host cannot be read.
    """
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=len(lab.hosts)) as pool:
        counts = dict(pool.map(lambda address: _read(lab, address), lab.hosts.values()))
    return time.monotonic() - began, counts


def _read(lab: LabState, address: str) -> tuple[str, Traffic]:
    result = subprocess.run(
        [
            *("ssh", "-v", "-F", "none", "-i", str(lab.ssh_key), "-o", "IdentitiesOnly=yes"),
            *("-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={lab.known_hosts}"),
            *("-o", "StrictHostKeyChecking=yes", f"root@{address}", READ_STATE),
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if result.returncode or not result.stdout.strip():
        raise LabError(f"{address} could not be read by plain ssh:\n{result.stderr[-800:]}")
    sent, received = transferred(result.stderr)
    return address, Traffic(logins=1, commands=1, sent=sent, received=received)
