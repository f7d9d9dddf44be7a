"""The API's refusals, and the ends of tasks, as our errors: each with its cause and a way out.

The texts are those of Proxmox VE's own sources (pve-guest-common, pve-container, qemu-server,
pve-cluster, pve-storage), since its API tells most causes by text alone.
"""

from __future__ import annotations

import re

from proxmoxer import ResourceException  # type: ignore[import-untyped]

from phoenix.proxmox.errors import (
    AlreadyError,
    ChangedError,
    LockedError,
    LoginError,
    LostAnswerError,
    ProxmoxError,
    QuorumError,
    TaskFailedError,
    UnreachableError,
)

# A guest's lock, its configuration's lock file, or a lock of the whole cluster (pmxcfs). A start or
# a QMP command that "got timeout" is no lock.
_LOCKED = re.compile(
    r"can't lock file|\bis locked\b|unable to acquire lock"
    r"|cfs-lock '.*' error: got lock request timeout",
    re.IGNORECASE,
)
_ALREADY = re.compile(
    r"\balready running\b|\bnot running\b|you can't convert a template to a template"
)
_MISSING = re.compile(
    r"Permission check failed \((?P<path>/[^,)]*), (?P<privileges>[A-Za-z.]+(?:\|[A-Za-z.]+)*)\)"
)
_ROOT = re.compile(r"only allowed for root@pam|only root can|user != root@pam")
_NO_NODE = re.compile(r"hostname lookup '(?P<node>[^']*)' failed")
_NO_STORAGE = re.compile(r"storage '(?P<storage>[^']*)' does not exist")
_NO_CONTENT = re.compile(
    r"storage '(?P<storage>[^']*)' (?:is not configured for|does not support) "
    r"content-type '(?P<content>[^']*)'"
)
# Temporary errors of pveproxy: the node or its own worker is gone (AnyEvent::HTTP's 59x).
_TEMPORARY = frozenset({502, 503, 504, 595, 596, 597, 598, 599})


def refusal(request: str, error: ResourceException) -> ProxmoxError:
    """A refused request as one of our errors.

    Args:
        request: method and path, for the message.
        error: what proxmoxer made of the answer.
    """
    fields = error.errors if isinstance(error.errors, dict) else {}
    named = (f"{key}: {value}" for key, value in fields.items() if not isinstance(value, bytes))
    reason = "; ".join([str(error.content).strip(), *named])
    text = f"{request}: {error.status_code} {reason}"
    if error.status_code == 401:
        return LoginError(
            f"{text}. fix: check the secret proxmox_api_token, and in Proxmox VE that the token is "
            "there and has not expired (Datacenter, Permissions, API Tokens)"
        )
    if error.status_code == 403:
        return LoginError(f"{text}. fix: {_leave(reason)}")
    if "quorum" in reason:
        return QuorumError(
            f"{text}. fix: bring the cluster's other nodes back (`pvecm status`), then run again"
        )
    if error.status_code in _TEMPORARY:
        if not request.startswith("GET ") and error.status_code != 595:
            return LostAnswerError(f"{text}. fix: run again: the next run reads the state first")
        return UnreachableError(f"{text}. fix: see whether the node is up, then run again")
    if "detected modified configuration" in reason or "checksum mismatch" in reason:
        return ChangedError(f"{text}. fix: run again")
    return _by_text(text, reason, ProxmoxError)


def task_failure(text: str, exit_status: str) -> ProxmoxError:
    """A task that ended with an error as one of ours.

    Args:
        text: the message, with the end of the task's log.
        exit_status: what the task ended with.
    """
    return _by_text(text, exit_status, TaskFailedError)


def grant_command(privileges: str, path: str = "/") -> str:
    """The command that grants privileges to the role of docs/proxmox.md.

    Args:
        privileges: their names, separated by blanks.
        path: where they are needed; the role is granted on `/`.
    """
    where = "" if path == "/" else f" (needed on {path})"
    return f'pveum role modify Phoenix --append 1 -privs "{privileges}"{where}'


def _leave(reason: str) -> str:
    if _ROOT.search(reason):
        return (
            "this is for root@pam alone, and no token counts as root@pam. Set it on the "
            "hypervisor, as root, with `pct set ID` or `qm set ID`, and run again"
        )
    missing = _MISSING.search(reason)
    if missing is None:
        return "grant the token what docs/proxmox.md lists"
    privileges = missing["privileges"].replace("|", " ")
    return (
        f"on the hypervisor: {grant_command(privileges, missing['path'])}. A token with privilege "
        "separation (the default where one is made by the web interface) has none of its user's "
        "privileges: `pveum user token modify USER ID --privsep 0`"
    )


def _by_text(text: str, reason: str, otherwise: type[ProxmoxError]) -> ProxmoxError:
    if _ALREADY.search(reason):
        return AlreadyError(text)
    if _LOCKED.search(reason):
        return LockedError(text)
    if match := _NO_NODE.search(reason):
        return otherwise(
            f"{text}. The cluster has no node {match['node']!r}. fix: set proxmox_node (or "
            "proxmox_guests[ID].node) to one of `pvecm nodes`"
        )
    if match := _NO_CONTENT.search(reason):
        return otherwise(
            f"{text}. fix: let the storage {match['storage']} take {match['content']}: Datacenter, "
            "Storage, Content"
        )
    if match := _NO_STORAGE.search(reason):
        return otherwise(
            f"{text}. There is no storage {match['storage']!r}. fix: name one of `pvesm status`"
        )
    return otherwise(text)
