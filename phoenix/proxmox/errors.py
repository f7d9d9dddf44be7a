"""What can go wrong with the Proxmox VE API, each with what a person can do about it."""

from __future__ import annotations

from phoenix.site.findings import OperatorError


class ProxmoxError(OperatorError, RuntimeError):
    """Something failed at the Proxmox VE API; the message is complete and holds no secret."""


class RefusedError(ProxmoxError):
    """What is there must not, or can't, be changed into what is declared. Nothing was written."""


class LoginError(ProxmoxError):
    """The token is unknown, or lacks a privilege."""


class UnreachableError(ProxmoxError):
    """There was no answer; nothing was written, or the write may be repeated."""


class SilentError(UnreachableError):
    """The address itself did not answer, or by a certificate of somebody else; nothing was sent."""


class LostAnswerError(ProxmoxError):
    """A write was sent and its answer lost: only a look at the state tells whether it happened."""


class ChangedError(ProxmoxError):
    """Someone changed the configuration since it was read; nothing was written."""


class AlreadyError(ProxmoxError):
    """The state is already reached: the guest runs already, or is a template already."""


class LockedError(ProxmoxError):
    """Another task holds the guest and did not let go in time."""


class QuorumError(ProxmoxError):
    """The cluster has no quorum: /etc/pve is read-only."""


class TaskFailedError(ProxmoxError):
    """A task ended with an error; the message has the last lines of its log."""


class TaskTimeoutError(ProxmoxError):
    """A task still runs after the deadline; it was left running."""
