"""The API's texts as our errors: what is waited for, what is already so, and what to do."""

from __future__ import annotations

import pytest
from proxmoxer import ResourceException  # type: ignore[import-untyped]

from phoenix.proxmox.errors import (
    AlreadyError,
    LockedError,
    LoginError,
    ProxmoxError,
    TaskFailedError,
)
from phoenix.proxmox.refusals import refusal, task_failure


def refused(code: int, text: str, errors: object = None) -> ProxmoxError:
    return refusal("POST /x", ResourceException(code, "", text, errors))


@pytest.mark.parametrize(
    "text",
    [
        "can't lock file '/var/lock/qemu-server/lock-102.conf' - got timeout",
        "cfs-lock 'firewall-vm-102' error: got lock request timeout",
        "error with cfs lock 'storage-local-lvm': unable to acquire lock",
        "VM is locked (backup)",
        "CT is locked (snapshot)",
    ],
)
def test_locks_are_waited_for(text: str) -> None:
    assert isinstance(refused(500, text), LockedError)
    assert isinstance(task_failure("task", text), LockedError)


@pytest.mark.parametrize(
    "text",
    [
        "start failed: command '/usr/bin/kvm -id 102' failed: got timeout",
        "VM 102 qmp command 'query-proxmox-support' failed - got timeout",
        "VM quit/powerdown failed - got timeout",
    ],
)
def test_a_timeout_that_is_no_lock_fails_at_once(text: str) -> None:
    assert type(refused(500, text)) is ProxmoxError
    assert type(task_failure("task", text)) is TaskFailedError


@pytest.mark.parametrize(
    "text",
    ["CT 103 already running", "VM 1001 not running", "you can't convert a template to a template"],
)
def test_what_is_already_so(text: str) -> None:
    assert isinstance(refused(500, text), AlreadyError)
    assert isinstance(task_failure("task", text), AlreadyError)


def test_what_only_root_may_set_is_not_answered_with_a_privilege() -> None:
    error = refused(
        403,
        "Permission check failed (changing feature flags (except nesting) is only allowed for "
        "root@pam)",
    )
    assert isinstance(error, LoginError)
    assert "root@pam alone" in str(error)
    assert "pct set" in str(error)
    assert "pveum" not in str(error)


def test_a_missing_privilege_has_its_command() -> None:
    text = str(refused(403, "Permission check failed (/vms/103, VM.Snapshot)"))
    assert 'pveum role modify Phoenix --append 1 -privs "VM.Snapshot" (needed on /vms/103)' in text
    assert "--privsep 0" in text
    either = "Permission check failed (/vms/1001, VM.Config.Cloudinit|VM.Config.Network)"
    assert '-privs "VM.Config.Cloudinit VM.Config.Network"' in str(refused(403, either))


def test_an_empty_answer_shows_no_artefact() -> None:
    text = str(refused(401, "authentication failure", {"errors": b""}))
    assert "b''" not in text
    assert "errors" not in text
    assert "proxmox_api_token" in text
    assert "name: bad" in str(refused(400, "Parameter verification failed.", {"name": "bad"}))


def test_a_node_and_a_storage_that_are_not_there_are_told_in_own_words() -> None:
    node = str(refused(500, "hostname lookup 'pve' failed - failed to get address info"))
    assert "proxmox_node" in node
    assert "pvesm status" in str(refused(500, "storage 'nope' does not exist"))
    content = "storage 'local' is not configured for content-type 'import'"
    assert "let the storage local take import" in str(refused(500, content))
