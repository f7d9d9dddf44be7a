"""OpenSSH's own client for a host of the inventory: what an operator would type. Pure.

Terminals, streams and exit codes are then those of ssh(1), and so are the files in ~/.ssh.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

CONNECT_SECONDS = 20
"""For a connection and its key exchange (ssh_config(5), ConnectTimeout): a busy host needs longer
than ten seconds. Without it ssh waits minutes for a host that does not answer, and without an end
for one that takes connections and says nothing."""
_YES_NO = {True: "yes", False: "no"}


def ssh_command(
    name: str, data: Mapping[str, Any], command: Sequence[str], *, terminal: bool = False
) -> list[str]:
    """The words of ssh(1) that run a command on a host, with the way in that pyinfra uses.

    Args:
        name: of the host; its address where `data` has no other.
        data: of the host in the inventory: `ssh_hostname`, `ssh_user`, `ssh_port`, `ssh_key`,
            `ssh_known_hosts_file`, `ssh_strict_host_key_checking`, `ssh_config_file`,
            `site_sudo`.
        command: the words; each arrives as it is.
        terminal: whether the command gets one.
    """
    words = ["ssh", "-t" if terminal else "-T", "-o", "BatchMode=yes"]
    words += ["-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    if config := data.get("ssh_config_file"):
        words += ["-F", str(config)]
    if port := data.get("ssh_port"):
        words += ["-p", str(port)]
    if key := data.get("ssh_key"):
        words += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
    if known := data.get("ssh_known_hosts_file"):
        words += ["-o", f"UserKnownHostsFile={known}"]
    strict = data.get("ssh_strict_host_key_checking")
    if strict is not None:
        words += ["-o", f"StrictHostKeyChecking={_YES_NO.get(strict, strict)}"]
    if user := data.get("ssh_user"):
        words += ["-l", str(user)]
    if data.get("site_sudo"):
        # With a terminal sudo asks for a password that it needs; without one it says so and ends.
        command = ["sudo", *([] if terminal else ["-n"]), "--", *command]
    return [*words, "--", str(data.get("ssh_hostname") or name), shlex.join(command)]
