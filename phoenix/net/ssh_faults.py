"""Why an SSH connection could not be made: each cause with its own words and its own fix. Pure.

Exceptions are those of Python's socket and of paramiko. pyinfra wraps them in its ConnectError,
whose `__context__` is the exception and whose text repeats the exception's; so both are judged, the
type first. https://docs.paramiko.org/en/stable/api/ssh_exception.html
"""

from __future__ import annotations

import errno
import re
import socket
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Literal

Cause = Literal[
    "unknown_host_key",
    "changed_host_key",
    "locked_key",
    "no_key",
    "unusable_key",
    "refused_login",
    "refused",
    "no_route",
    "timeout",
    "no_name",
    "no_ssh",
    "closed",
    "hangs",
    "other",
]


@dataclass(frozen=True)
class Fault:
    """A cause. `says` begins every text about it; `fix` has the placeholders of `fix_of`.

    `commands` are what to try, with the placeholders of `phoenix.health.advice` as well; empty
    where the machine itself is the place to look.
    """

    says: str
    fix: str
    commands: tuple[str, ...] = ()


FAULTS: Mapping[Cause, Fault] = {
    "unknown_host_key": Fault(
        "its host key is unknown on this machine",
        "compare the key's fingerprint over a way that you trust (on the host: ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub), then add the key to known_hosts",
        ("ssh-keyscan -t ed25519 $address | ssh-keygen -lf -", "ssh root@$address"),
    ),
    "changed_host_key": Fault(
        "its host key is another one than known_hosts has",
        "if the host was installed anew, remove the old key and accept the new one after you have "
        "compared it; if it was not, somebody else answers at its address: do not log in",
        ("ssh-keygen -F $address", "ssh-keygen -R $address"),
    ),
    "locked_key": Fault(
        "the SSH key has a passphrase, and no agent holds it",
        "add the key to an SSH agent, once for each login session",
        ("ssh-add", "ssh-add -l"),
    ),
    "no_key": Fault(
        "there is no SSH key to log in with",
        "name a key by the inventory's ssh_key, or add one to an SSH agent",
        ("ls -l ~/.ssh", "ssh-add -l"),
    ),
    "unusable_key": Fault(
        "the file of the SSH key cannot be used",
        "see that ssh_key names a private key in OpenSSH's format, and that you may read it",
        ("ls -l ~/.ssh", "ssh-keygen -yf KEYFILE"),
    ),
    "refused_login": Fault(
        "it refuses the login: the user is another one, or its authorized_keys does not have your "
        "key",
        "check the user (ssh_user) and the key that is offered; the host's own log names both",
        ("ssh -v root@$address true",),
    ),
    "refused": Fault(
        "it refuses the connection: it is up, and nothing listens at its SSH port",
        "start sshd from the host's console (systemctl restart ssh), or correct ssh_port",
        ("ssh -v root@$address true", "$ssh_hypervisor $power status $vmid"),
    ),
    "no_route": Fault(
        "there is no route to it",
        "where other hosts of its network answer, it is down: look at it from the hypervisor; else "
        "check your network or VPN",
        (
            "ip route get $address",
            "$ssh_hypervisor $power status $vmid",
            "$ssh_hypervisor $power start $vmid",
        ),
    ),
    "timeout": Fault(
        "it does not answer in time",
        "the host is down, or a firewall drops the packets: look at it from the hypervisor",
    ),
    "no_name": Fault(
        "its name cannot be resolved",
        "correct the name in the inventory (ssh_hostname), or use the address",
        ("getent hosts $address",),
    ),
    "no_ssh": Fault(
        "what answers there does not speak SSH, or is overloaded",
        "check the port (ssh_port), and the load of the host",
        ("ssh -v root@$address true",),
    ),
    "closed": Fault(
        "it closed the connection before the login",
        "sshd limits logins (MaxStartups), has blocked this address, or is being restarted",
        ("ssh -v root@$address true",),
    ),
    "hangs": Fault(
        "it accepts the connection and then says nothing",
        "it hangs, or has no memory: look at it from the hypervisor; or packets of full size do "
        "not reach it (the MTU of a VPN: ping fails with -s 1472 alone); sshd also cuts a "
        "login that offers too many keys of an agent (then name one by ssh_key)",
        (
            "ssh -v root@$address true",
            "ping -c 3 -M do -s 1472 $address",
            "$ssh_hypervisor $power status $vmid",
        ),
    ),
    "other": Fault("it cannot be reached by SSH", "look at the host from the hypervisor"),
}  # fmt: skip

_TEXTS: tuple[tuple[str, Cause], ...] = (
    (r"not found in known_hosts|no host key for .* found", "unknown_host_key"),
    (r"host key for server .* does not match", "changed_host_key"),
    (r"private key file .*is encrypted|key is encrypted", "locked_key"),
    (r"no such private key file|invalid (private )?key|not a valid .* private key", "unusable_key"),
    (r"no authentication methods available", "no_key"),
    (r"authentication failed|bad authentication type|authentication timeout", "refused_login"),
    (r"connection refused", "refused"),
    (r"no route to host|network is unreachable|host is unreachable", "no_route"),
    (r"timed out", "timeout"),
    (r"could not resolve|name or service not known|name resolution", "no_name"),
    (r"protocol banner|indecipherable protocol|not an ssh|incompatible version", "no_ssh"),
    (r"connection (reset|dropped|lost|closed)|eof error", "closed"),
    (r"no existing session", "hangs"),
)  # fmt: skip
_ERRNOS: Mapping[int, Cause] = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no_route",
    errno.ENETUNREACH: "no_route",
    errno.EHOSTDOWN: "no_route",
    errno.ETIMEDOUT: "timeout",
    errno.ECONNRESET: "closed",
    errno.EPIPE: "closed",
}


def cause_of(error: BaseException) -> Cause:
    """The cause of a failed connection.

    Args:
        error: what connecting raised; an exception that it wraps counts first.
    """
    if _waited_for_banner(error):
        return "hangs"
    inner = error.__cause__ or error.__context__
    if inner is not None and (cause := cause_of(inner)) != "other":
        return cause
    return _by_type(error) or cause_in(str(error))


def _waited_for_banner(error: BaseException) -> bool:
    """Whether a server took the connection, and its first line has not come in time.

    paramiko says the same of one that hung up; what it wraps tells (`Transport._check_banner`).
    """
    return "SSH protocol banner" in str(error) and isinstance(error.__context__, TimeoutError)


def _by_type(error: BaseException) -> Cause | None:
    from paramiko import ssh_exception  # slow: verbs that connect to nothing need it not

    match error:
        case ssh_exception.BadHostKeyException():
            return "changed_host_key"
        case ssh_exception.PasswordRequiredException():
            return "locked_key"
        case ssh_exception.AuthenticationException():
            return "refused_login"
        case ssh_exception.NoValidConnectionsError():
            tried = [_by_type(attempt) for attempt in error.errors.values()]
            return next((cause for cause in tried if cause is not None), None)
        case socket.gaierror():
            return "no_name"
        case TimeoutError():
            return "timeout"
        case EOFError():
            # Without a terminal the question for a passphrase finds the end of its input.
            frames = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
            return "locked_key" if frames & {"getpass", "unix_getpass"} else "closed"
        case OSError() if error.errno is not None:
            return _ERRNOS.get(error.errno)
    return None


def said_in(text: str) -> Cause | None:
    """The cause that a text of `sentence` names; None where it holds none."""
    return next((cause for cause, fault in FAULTS.items() if fault.says in text), None)


def cause_in(text: str) -> Cause:
    """The cause that a text names, of `sentence` or of an exception; `other` if none."""
    if name := said_in(text):
        return name
    return next((cause for words, cause in _TEXTS if re.search(words, text, re.I)), "other")


def sentence(error: BaseException) -> str:
    """What is wrong, for a person: the cause in plain words, then the exception's own."""
    own = str(error.args[0]) if error.args and str(error.args[0]) else type(error).__name__
    return f"{FAULTS[cause_of(error)].says} ({own})"


def fix_of(text: str, address: str = "") -> list[str]:
    """The fix of the cause that a sentence names, and the commands that can be run as they are.

    Args:
        text: as `sentence` gives it.
        address: of the host; commands that need it are left out where it is not known.
    """
    fault = FAULTS[cause_in(text)]
    commands = [Template(command).safe_substitute(address=address) for command in fault.commands]
    ready = [command for command, raw in zip(commands, fault.commands, strict=True)
             if "$ssh_" not in raw and (address or "$address" not in raw)]  # fmt: skip
    return [fault.fix, *(f"  {command}" for command in ready)]


def by_cause(reasons: Mapping[str, str]) -> list[tuple[Cause, list[str]]]:
    """Hosts by the cause that their sentence names, in the order of the first of each."""
    groups: dict[Cause, list[str]] = {}
    for host, reason in reasons.items():
        groups.setdefault(cause_in(reason), []).append(host)
    return list(groups.items())


def explained(reasons: Mapping[str, str], addresses: Mapping[str, str]) -> list[str]:
    """Everybody who cannot be reached, a group for each cause with its fix for each of them.

    Args:
        reasons: a sentence by host.
        addresses: an address by host, as far as they are known.
    """
    lines: list[str] = []
    for cause, hosts in by_cause(reasons):
        lines.append(f"{', '.join(hosts)}: {FAULTS[cause].says}")
        own = dict.fromkeys(_own(reasons[host]) for host in hosts)
        lines += [f"  {reason}" for reason in own if reason]
        fixes = (fix_of(FAULTS[cause].says, addresses.get(host, "")) for host in hosts)
        lines += dict.fromkeys(f"  {line}" for fix in fixes for line in fix)
    return lines


def _own(reason: str) -> str:
    """An exception's own words in a sentence."""
    match = re.search(r"\((.*)\)$", reason, re.S)
    return match[1] if match else reason
