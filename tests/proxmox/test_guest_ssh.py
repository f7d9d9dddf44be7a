"""Waiting for guests: keys learned through the hypervisor, clones given their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from operations import guest_ssh
from phoenix.proxmox import hostkeys
from phoenix.proxmox.hostkeys import Guest
from tests.unit.test_proxmox_hostkeys import A, B, C

GUESTS = (
    Guest(102, "lxc", "proxy", "10.0.0.21", "vmbr0"),
    Guest(101, "lxc", "gateway", "10.0.0.20", "vmbr0"),
    Guest(1001, "vm", "control", "10.0.0.23", "vmbr0"),
)


class Hypervisor:
    """What the hypervisor sees in its guests, and what was renewed there."""

    name = "hypervisor"

    def __init__(self, keys: dict[int, frozenset[str]]) -> None:
        self.keys = keys
        self.renewed: list[int] = []
        self.said: list[str] = []

    def log(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture
def hypervisor(monkeypatch: pytest.MonkeyPatch) -> Hypervisor:
    fake = Hypervisor({101: frozenset({A}), 102: frozenset({B}), 1001: frozenset({C})})

    def renew(host: Any, vmid: int) -> None:
        fake.renewed.append(vmid)
        fake.keys[vmid] = frozenset({B if vmid == 102 else A})

    monkeypatch.setattr(guest_ssh, "_learn", lambda _host, _guests: dict(fake.keys))
    monkeypatch.setattr(guest_ssh, "_renew", renew)
    monkeypatch.setattr(guest_ssh, "answers", lambda _address: True)
    monkeypatch.setattr(guest_ssh, "_PAUSE", 0.01)
    return fake


def wait(hypervisor: Hypervisor, file: Path, seconds: float = 0.2) -> dict[Guest, str]:
    deadlines = dict.fromkeys(GUESTS, time.monotonic() + seconds)
    return guest_ssh._wait(hypervisor, GUESTS, file, deadlines)  # type: ignore[arg-type]


def test_keys_are_learned(hypervisor: Hypervisor, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    assert wait(hypervisor, file) == {}
    assert [hostkeys.known(file, guest.address) for guest in GUESTS] == [{B}, {A}, {C}]
    assert hypervisor.renewed == []


def test_a_key_that_changed_is_replaced(hypervisor: Hypervisor, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    hostkeys.remember(file, "10.0.0.20", [C])
    assert wait(hypervisor, file) == {}
    assert hostkeys.known(file, "10.0.0.20") == {A}


def test_a_clone_gets_its_own_keys(hypervisor: Hypervisor, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    hypervisor.keys[102] = hypervisor.keys[101]
    assert wait(hypervisor, file) == {}
    assert hypervisor.renewed == [102]
    assert hostkeys.known(file, "10.0.0.21") == {B}
    assert hypervisor.said == ["proxy has the SSH host keys of another: creating its own"]


def test_a_key_that_nobody_vouches_for_is_never_taken(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    file = tmp_path / "known_hosts"
    hypervisor.keys[1001] = frozenset()
    left = wait(hypervisor, file)
    assert [guest.vmid for guest in left] == [1001]
    assert "vouches" in left[GUESTS[2]]
    assert hostkeys.known(file, "10.0.0.23") == frozenset()


def test_a_guest_that_does_not_answer_is_named(
    hypervisor: Hypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_ssh, "answers", lambda address: address != "10.0.0.21")
    left = wait(hypervisor, tmp_path / "known_hosts")
    assert left == {GUESTS[0]: "nothing answers on 10.0.0.21:22"}


def test_who_waits_is_told_for_whom(
    hypervisor: Hypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_ssh, "answers", lambda address: address != "10.0.0.21")
    monkeypatch.setattr(guest_ssh, "_SAID_SECONDS", 0.0)
    wait(hypervisor, tmp_path / "known_hosts")
    assert hypervisor.said[0] == "waiting for SSH of proxy, 0 s"
