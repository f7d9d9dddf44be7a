"""Host keys: parsed from the hypervisor's words, kept in known_hosts, clones found."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Sequence
from pathlib import Path

import paramiko

from phoenix.proxmox import hostkeys
from phoenix.proxmox.hostkeys import Guest
from phoenix.proxmox.peers import by_its_node


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
    assert hostkeys.known_keys(file, "10.0.0.20") == {A, B}
    hostkeys.remember(file, "10.0.0.20", [C])
    assert hostkeys.known_keys(file, "10.0.0.20") == {C}
    lines = file.read_text().splitlines()
    assert lines == ["# mine", f"10.0.0.9 {A}", f"box {A}", f"@revoked * {C}", f"10.0.0.20 {C}"], (
        lines
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert hostkeys.known_keys(tmp_path / "absent", "10.0.0.20") == frozenset()


def programs_in(folder: Path, programs: dict[str, str]) -> None:
    for name, body in programs.items():
        script = folder / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)


def on_hypervisor(tmp_path: Path, words: Sequence[str]) -> str:
    """What the hypervisor's shell command prints, /etc/pve and its programs being here."""
    result = subprocess.run(
        [word.replace("/etc/pve", f"{tmp_path}/pve") for word in words],
        capture_output=True, text=True, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    return result.stdout


def run_with(tmp_path: Path, programs: dict[str, str], *guests: Guest) -> dict[int, frozenset[str]]:
    """The hypervisor's shell command, its programs replaced by scripts."""
    programs_in(tmp_path, programs)
    words = hostkeys.LEARN.argv(*hostkeys.words(guests))
    return hostkeys.parse(on_hypervisor(tmp_path, words).splitlines())


def two_nodes(tmp_path: Path) -> dict[str, str]:
    """A cluster of `here` and `pve2`; guest 101 is on the other one. The programs, of which ssh
    runs a command as that node's shell does, where another `pct` is."""
    for path in ("here/lxc/103.conf", "pve2/lxc/101.conf", "pve2/qemu-server/1001.conf"):
        (tmp_path / "pve/nodes" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pve/nodes" / path).write_text("")
    (tmp_path / "pve/nodes/pve2/ssh_known_hosts").write_text("pve2 ssh-ed25519 A\n")
    (tmp_path / "pve/.members").write_text('"pve2": { "id": 2, "online": 1, "ip": "10.0.0.2"}\n')
    other = tmp_path / "other"
    other.mkdir()
    programs_in(other, {"pct": f"echo pve2: \"$@\" >>{tmp_path}/log; echo '{B} root@x'"})
    return {
        "uname": "echo here.example",
        "pct": f"echo here: \"$@\" >>{tmp_path}/log; echo '{A} root@x'",
        "ssh": 'case "$*" in *HostKeyAlias=pve2*ssh_known_hosts*root@10.0.0.2*) ;; *) exit 9 ;; '
        f'esac; for last; do :; done; PATH="{other}:$PATH" sh -c "$last"',
    }


def test_a_guest_of_another_node_is_asked_there(tmp_path: Path) -> None:
    other = Guest(103, "lxc", "ca", "10.0.0.22", "vmbr0")
    learned = run_with(tmp_path, two_nodes(tmp_path), GUEST, other)
    assert learned == {101: frozenset({B}), 103: frozenset({A})}
    lines = (tmp_path / "log").read_text().splitlines()
    inside = "-- sh -c cat /etc/ssh/ssh_host_*_key.pub"
    assert lines == [f"pve2: exec 101 {inside}", f"here: exec 103 {inside}"]


def test_a_command_runs_on_the_node_that_has_the_guest(tmp_path: Path) -> None:
    """Its words stay words: no shell on the way reads one anew."""
    programs_in(tmp_path, two_nodes(tmp_path))
    hostile = "a b;$(id)'\"*"
    on_hypervisor(tmp_path, by_its_node(101, "pct", "set", 101, "--mp0", hostile))
    on_hypervisor(tmp_path, by_its_node(103, "pct", "set", 103, "--mp0", hostile))
    on_hypervisor(tmp_path, by_its_node(4711, "pct", "status", 4711))
    assert (tmp_path / "log").read_text().splitlines() == [
        f"pve2: set 101 --mp0 {hostile}", f"here: set 103 --mp0 {hostile}", "here: status 4711",
    ]  # fmt: skip


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


def test_no_key_is_asked_for_at_an_address_where_the_bridge_has_no_port_of_the_vm(
    tmp_path: Path,
) -> None:
    """Each type that is asked for is a connection, and sshd starts processes for each."""
    programs = {
        "qm": "exit 1",
        "ssh-keyscan": f'echo "$@" >>{tmp_path}/asked; echo "10.0.0.23 {B}"',
        "ip": 'echo "10.0.0.23 lladdr bc:24:11:00:00:01 REACHABLE"',
        "bridge": "echo '33:33:00:00:00:01 dev tap1002i0 self permanent'",
    }
    assert run_with(tmp_path, programs, VM) == {1001: frozenset()}
    assert not (tmp_path / "asked").exists()
    programs["bridge"] = "echo 'bc:24:11:00:00:01 dev tap1001i0 master vmbr0'"
    assert run_with(tmp_path, programs, VM) == {1001: frozenset({B})}
    assert (tmp_path / "asked").read_text() == "-T 5 -t rsa,ecdsa,ed25519 -p 22 10.0.0.23\n"


def test_a_vms_agent_is_believed(tmp_path: Path) -> None:
    answer = f'{{"exitcode":0,"out-data":"{A} root@vm\\\\n"}}'
    programs = {"qm": f"printf '%s' '{answer}'", "ssh-keyscan": "exit 1"}
    perl = 'import json,sys; print(json.load(sys.stdin)["out-data"], end="")'
    programs["perl"] = f"exec python3 -c '{perl}'"  # no JSON module for perl on this machine
    assert run_with(tmp_path, programs, VM) == {1001: frozenset({A})}


def test_a_known_hosts_that_is_a_link_stays_one(tmp_path: Path) -> None:
    linked = tmp_path / "dotfiles/known_hosts"
    linked.parent.mkdir()
    linked.write_text("# mine\n")
    link = tmp_path / "known_hosts"
    link.symlink_to(linked)
    hostkeys.remember(link, "10.0.0.9", ["ssh-ed25519 AAAA"])
    assert link.readlink() == linked
    assert linked.read_text() == "# mine\n10.0.0.9 ssh-ed25519 AAAA\n"
