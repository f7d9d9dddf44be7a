"""The program that keeps the hypervisor's bridges and NAT, in a kernel: a network namespace.

Needs root and nft(8).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix.components.networks import bridges
from phoenix.components.networks.bridges import HostInterfaces
from phoenix.files import text
from phoenix.site.model import Site
from tests.unit.test_bridges import INNER, declared

_needed = ("nft", "ip", "unshare", "sysctl")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, _needed)),
        reason=f"needs root and {', '.join(_needed)}",
    ),
]
IFUP = """#!/bin/sh
echo "$1" >>{calls}
ip link add "$1" type bridge
ip addr add "$(awk -v n="$1" '$1 == n {{ print $2 }}' {list})" dev "$1"
ip link set "$1" up
"""


class Kernel:
    """The program with files of its own, in a namespace where sysfs shows its interfaces."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        self.list, self.rules = folder / "list", folder / "rules"
        self.main = folder / "interfaces"
        self.main.write_text("auto lo\niface lo inet loopback\n")
        (folder / "interfaces.d").mkdir()
        (folder / "bin").mkdir()
        self.calls = folder / "ifup-calls"
        ifup = folder / "bin/ifup"
        ifup.write_text(IFUP.format(calls=self.calls, list=self.list))
        ifup.chmod(0o755)
        self.program = folder / "phoenix-networks"
        self.program.write_text(text("components/networks/phoenix-networks"))
        self.put(site)
        self.process = subprocess.Popen(
            ["unshare", "-n", "-m", "sh", "-c", "mount -t sysfs sysfs /sys && echo up && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def put(self, site: Site) -> None:
        devices = bridges.managed(site, HostInterfaces())
        self.list.write_text(bridges.listed(devices))
        self.rules.write_text(bridges.ruleset(site))
        (self.folder / "interfaces.d/phoenix").write_text(bridges.interfaces(devices))

    def run(self, *words: str, ok: bool = True) -> str:
        names = {"LIST": self.list, "RULES": self.rules, "MAIN": self.main,
                 "MADE": self.folder / "made", "LOADED": self.folder / "loaded"}  # fmt: skip
        environment = {f"PHOENIX_NETWORKS_{name}": str(path) for name, path in names.items()}
        environment["PATH"] = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["nsenter", "-t", str(self.process.pid), "-n", "-m", *words],
            env=environment, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert (done.returncode == 0) == ok, done
        return done.stdout + done.stderr

    def call(self, verb: str, *, ok: bool = True) -> str:
        return self.run("sh", str(self.program), verb, ok=ok)

    def has_link(self, name: str) -> bool:
        return f"{name}:" in self.run("ip", "link")


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    namespaces = Kernel(tmp_path, declared(tmp_path / "site", internal=INNER))
    try:
        yield namespaces
    finally:
        namespaces.process.kill()
        namespaces.process.wait()


def test_it_makes_what_is_missing_and_then_nothing(kernel: Kernel) -> None:
    kernel.run("nft", "add", "table", "ip", "of_a_person")
    assert "vmbr9 is missing" in kernel.call("holds", ok=False)
    kernel.call("load")
    kernel.call("holds")
    assert "172.16.9.1/24" in kernel.run("ip", "addr", "show", "vmbr9")
    assert "masquerade" in kernel.run("nft", "list", "table", "ip", "phoenix_nat")
    assert kernel.run("sysctl", "-n", "net.ipv4.ip_forward") == "1\n"
    kernel.call("load")
    assert kernel.calls.read_text() == "vmbr9\n"
    assert "of_a_person" in kernel.run("nft", "list", "tables")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ip addr flush dev vmbr9", "vmbr9 does not have the address 172.16.9.1/24"),
        ("ip link delete vmbr9", "vmbr9 is missing"),
        ("sysctl -qw net.ipv4.ip_forward=0", "forwarding is off"),
        ("nft flush ruleset", "is gone from nftables"),
        ("nft flush table ip phoenix_nat", "was changed by hand"),
    ],
)
def test_a_change_by_hand_is_told_and_put_right(kernel: Kernel, change: str, message: str) -> None:
    kernel.call("load")
    kernel.run(*change.split())
    assert message in kernel.call("holds", ok=False)
    kernel.call("load")
    kernel.call("holds")


def test_another_address_is_taken(kernel: Kernel, tmp_path: Path) -> None:
    kernel.call("load")
    kernel.put(declared(tmp_path / "other", internal={**INNER, "address": "172.16.9.7"}))
    kernel.run("ip", "link", "add", "tap1", "type", "veth", "peer", "name", "eth1")
    kernel.run("ip", "link", "set", "tap1", "master", "vmbr9")
    kernel.call("load")
    assert "172.16.9.7/24" in kernel.run("ip", "addr", "show", "vmbr9")
    assert "172.16.9.1/24" not in kernel.run("ip", "addr", "show", "vmbr9")
    assert "master vmbr9" in kernel.run("ip", "link", "show", "tap1"), "guests stay connected"


def test_a_bridge_that_leaves_goes_unless_guests_are_on_it(kernel: Kernel, tmp_path: Path) -> None:
    kernel.call("load")
    kernel.run("ip", "link", "add", "tap1", "type", "veth", "peer", "name", "eth1")
    kernel.run("ip", "link", "set", "tap1", "master", "vmbr9")
    kernel.put(declared(tmp_path / "other", other={**INNER, "bridge": "vmbr8"}))
    assert "vmbr9 stays up: guests are connected to it" in kernel.call("load")
    assert kernel.has_link("vmbr8")
    assert kernel.has_link("vmbr9")
    kernel.run("ip", "link", "delete", "tap1")
    kernel.call("load")
    assert not kernel.has_link("vmbr9")


def test_removed_it_leaves_a_person_s_bridge_and_tables(kernel: Kernel) -> None:
    kernel.run("nft", "add", "table", "ip", "of_a_person")
    kernel.call("load")
    kernel.main.write_text("auto vmbr9\niface vmbr9 inet static\n")
    kernel.call("remove")
    assert kernel.has_link("vmbr9")
    assert kernel.run("nft", "list", "tables") == "table ip of_a_person\n"


def test_removed_its_own_bridge_goes(kernel: Kernel) -> None:
    kernel.call("load")
    kernel.call("remove")
    assert not kernel.has_link("vmbr9")
    kernel.call("remove")
