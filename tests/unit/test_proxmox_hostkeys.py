"""Host keys: parsed from the hypervisor's words, kept in known_hosts, clones found."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import paramiko

from phoenix.proxmox import hostkeys
from phoenix.proxmox.hostkeys import Guest


def key(body: bytes) -> str:
    name = b"ssh-ed25519"
    packed = len(name).to_bytes(4, "big") + name + (32).to_bytes(4, "big") + body.ljust(32, b"x")
    return f"ssh-ed25519 {base64.b64encode(packed).decode()}"


A, B, C = key(b"a"), key(b"b"), key(b"c")
GUEST = Guest(101, "lxc", "gateway", "10.0.0.20", "vmbr0")
VM = Guest(1001, "vm", "control", "10.0.0.23", "vmbr0")


def test_only_keys_are_taken() -> None:
    actual = hostkeys.parse(
        [
            "== 101",
            f"{A} root@template",
            "cat: not found",
            "== 102",
            "ssh-ed25519 bm90IGEga2V5",
            "== 103",
        ]
    )
    assert actual == {101: frozenset({A}), 102: frozenset(), 103: frozenset()}


def test_clones_share_keys() -> None:
    keys = {101: frozenset({A, B}), 102: frozenset({B}), 103: frozenset({C}), 104: frozenset({A})}
    assert hostkeys.shared(keys) == (102, 104)
    assert hostkeys.shared({101: frozenset(), 102: frozenset()}) == ()


def test_known_hosts_keeps_what_is_not_ours(tmp_path: Path) -> None:
    file = tmp_path / "ssh" / "known_hosts"
    file.parent.mkdir()
    hashed = paramiko.HostKeys.hash_host("10.0.0.20")
    file.write_text(f"# mine\n10.0.0.9 {A}\nbox,10.0.0.20 {A}\n{hashed} {B}\n@revoked * {C}\n")
    assert hostkeys.known(file, "10.0.0.20") == {A, B}
    hostkeys.remember(file, "10.0.0.20", [C])
    assert hostkeys.known(file, "10.0.0.20") == {C}
    lines = file.read_text().splitlines()
    assert lines == ["# mine", f"10.0.0.9 {A}", f"box {A}", f"@revoked * {C}", f"10.0.0.20 {C}"], (
        lines
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert hostkeys.known(tmp_path / "absent", "10.0.0.20") == frozenset()


def run_with(tmp_path: Path, programs: dict[str, str], *guests: Guest) -> dict[int, frozenset[str]]:
    """The hypervisor's shell command, its programs replaced by scripts."""
    for name, body in programs.items():
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
    result = subprocess.run(
        hostkeys.LEARN.argv(*hostkeys.words(guests)), capture_output=True, text=True, check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    return hostkeys.parse(result.stdout.splitlines())


def test_a_containers_key_is_read_inside_it(tmp_path: Path) -> None:
    pct = f'[ "$1 $2 $3" = "exec 101 --" ] && echo "{A} root@x"'
    assert run_with(tmp_path, {"pct": pct}, GUEST) == {101: frozenset({A})}


def test_without_the_hypervisors_tools_nothing_is_learned(tmp_path: Path) -> None:
    assert run_with(tmp_path, {"ssh-keyscan": "exit 1"}, GUEST, VM) == {
        101: frozenset(), 1001: frozenset(),
    }  # fmt: skip


def test_a_vms_scanned_key_needs_the_bridges_word(tmp_path: Path) -> None:
    mac = "bc:24:11:00:00:01"
    programs = {
        "qm": "exit 1",
        "ssh-keyscan": f'echo "10.0.0.23 {B}"',
        "ip": f'echo "10.0.0.23 lladdr {mac} REACHABLE"',
        "bridge": f'echo "{mac} dev fwpr1001p0 master vmbr0"',
    }
    assert run_with(tmp_path, programs, VM) == {1001: frozenset({B})}
    programs["bridge"] = f'echo "{mac} dev eno1 master vmbr0"'
    assert run_with(tmp_path, programs, VM) == {1001: frozenset()}, "it answers from outside"
    programs["bridge"] = f'echo "{mac} dev tap11001i0 master vmbr0"'
    assert run_with(tmp_path, programs, VM) == {1001: frozenset()}, "it is another VM"


def test_a_vms_agent_is_believed(tmp_path: Path) -> None:
    answer = f'{{"exitcode":0,"out-data":"{A} root@vm\\\\n"}}'
    programs = {"qm": f"printf '%s' '{answer}'", "ssh-keyscan": "exit 1"}
    perl = 'import json,sys; print(json.load(sys.stdin)["out-data"], end="")'
    programs["perl"] = f"exec python3 -c '{perl}'"  # no JSON module for perl on this machine
    assert run_with(tmp_path, programs, VM) == {1001: frozenset({A})}
