"""A run that meets trouble does all it can: one broken thing stops what needs it, and no more.

Each test breaks hosts by hand, runs Phoenix, and asks the hosts themselves what is there then.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Project, deadline_factor
from tests.integration.site_lab import SiteLab, print_figure

pytestmark = pytest.mark.timeout(600)
ZONE = "/usr/share/zoneinfo"
STANDING_STILL = "hangs: its process"


PATIENCE = re.compile(
    r"(timeout |\bseconds=|if sizes else |KEY_EXCHANGE_SECONDS = |^SECONDS = )(10|[2-6]\d)\b",
    re.MULTILINE,
)
"""How long what hangs is waited for, in seconds, by all that asks for it in turn."""


@pytest.fixture(scope="module")
def impatient(site: SiteLab) -> Project:
    """The project as it is, but that it waits for a few seconds where others need up to a minute.

    How long it waits is for people and busy hosts; that it ends, and what is told, is tried here.
    """
    project = site.project.variant("impatient")
    least = round(4 * deadline_factor())
    files = [*project.path.glob("facts/*.py"), project.path / "phoenix/health/checks.sh"]
    files += [
        project.path / name
        for name in (
            "operations/connection.py",
            "operations/ssh_connecting.py",
            "operations/images.py",
        )
    ]
    changed = 0
    for file in files:
        text, count = PATIENCE.subn(
            lambda match: f"{match[1]}{min(least, int(match[2]))}", file.read_text()
        )
        file.write_text(text)
        changed += count
    assert changed > 20
    return project


def report_of(done: subprocess.CompletedProcess[str], code: int) -> Any:
    """A command's JSON, where it ended as expected."""
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def is_active(site: SiteLab, host: str, unit: str) -> bool:
    return site.sh(host, f"systemctl is-active {unit}").out.strip() == "active"


def serving(site: SiteLab) -> list[str]:
    """What the client does not get, of all routes."""
    return list(filter(None, map(site.serves, site.backends)))


@contextmanager
def silent_network(site: SiteLab, host: str) -> Iterator[None]:
    """The guest has lost its network."""
    route = site.sh(host, "ip -4 route show default", ok=True).out.strip()
    site.sh(host, "ip link set eth0 down", ok=True)
    try:
        yield
    finally:
        site.sh(host, f"ip link set eth0 up; ip route replace {route}", ok=True)


@contextmanager
def stopped_process(site: SiteLab, host: str, unit: str) -> Iterator[None]:
    """The main process of a unit stands still; afterwards it goes on, where it is still there."""
    pid = site.sh(host, f"systemctl show -P MainPID {unit}", ok=True).out.strip()
    site.sh(host, f"kill -STOP {pid}", ok=True)
    try:
        yield
    finally:
        site.sh(host, f"kill -CONT {pid}")


def test_a_silent_ca_keeps_nothing_else_from_being_repaired(
    site: SiteLab, impatient: Project
) -> None:
    ca = site.roles["ca"]
    site.sh("gateway", "systemctl stop nginx", ok=True)
    with silent_network(site, "ca"):
        done = report_of(impatient.phoenix("sync", "--json"), 1)
        assert is_active(site, "gateway", "nginx")
        assert serving(site) == []
    print_figure("first cause", done["first_cause"])
    assert done["first_cause"]["host"] == ca, done["first_cause"]
    assert done["verified"] is False


def test_a_guest_whose_ssh_hangs_is_left_out_and_the_rest_converges(
    site: SiteLab, impatient: Project
) -> None:
    guest = site.roles["traefik"]
    site.sh("gateway", "systemctl stop nginx", ok=True)
    site.sh("drphoenix", f"ln -sfn {ZONE}/Asia/Tokyo /etc/localtime", ok=True)
    with stopped_process(site, guest, "ssh"):
        done = report_of(impatient.phoenix("sync", "--json"), 1)
        assert is_active(site, "gateway", "nginx")
        assert site.sh("drphoenix", "readlink /etc/localtime").out.strip() != f"{ZONE}/Asia/Tokyo"
        assert serving(site) == []
    print_figure("first cause", done["first_cause"])
    assert done["first_cause"]["host"] == guest, done["first_cause"]


def test_one_sync_repairs_what_was_masked_stopped_and_changed_by_hand(
    site: SiteLab, impatient: Project
) -> None:
    zone = site.sh("ca", "readlink /etc/localtime", ok=True).out
    docker = "drphoenix"
    site.sh("gateway", "systemctl mask -q --now nginx", ok=True)
    site.sh("ca", f"ln -sfn {ZONE}/Asia/Tokyo /etc/localtime", ok=True)
    with ExitStack() as stack:
        for host, unit in (("traefik", "traefik"), (docker, "docker")):
            stack.enter_context(stopped_process(site, host, unit))
        assert site.sh(docker, "timeout 5 docker info").code == 124
        report = report_of(impatient.phoenix("doctor", "--json"), 1)
        causes = json.dumps([report["first_cause"], *report["other_causes"]])
        done = report_of(impatient.phoenix("sync", "--json"), 0)
        assert site.sh(docker, "timeout 20 docker info").code == 0
        assert is_active(site, "gateway", "nginx")
        assert serving(site) == []
    assert (done["ok"], done["verified"]) == (True, True)
    assert site.sh("gateway", "systemctl is-enabled nginx").out.strip() == "enabled"
    assert site.sh("ca", "readlink /etc/localtime").out == zone
    print_figure("causes", causes)
    for words in ("is masked", STANDING_STILL):
        assert words in causes


@contextmanager
def full_tmp(site: SiteLab, host: str) -> Iterator[None]:
    site.sh(host, "mount -t tmpfs -o size=64k none /tmp && head -c 64k /dev/zero >/tmp/x", ok=True)
    try:
        yield
    finally:
        site.sh(host, "umount -l /tmp", ok=True)


def test_no_check_passes_because_tmp_is_full(site: SiteLab) -> None:
    guest = site.roles["traefik"]
    site.sh(guest, "systemctl stop phoenix-home", ok=True)
    try:
        with full_tmp(site, guest):
            report = report_of(site.project.phoenix("doctor", "--json"), 1)
    finally:
        site.sh(guest, "systemctl start phoenix-home", ok=True)
    causes = [report["first_cause"], *report["other_causes"]]
    own = [cause["fault"] for cause in causes if cause["host"] == guest]
    print_figure("causes", own)
    assert any("/tmp has 0% of its room left" in fault for fault in own), causes
    assert any("is inactive" in fault for fault in own), causes


def test_a_port_that_another_process_has_taken_is_named_and_free_again_after_it(
    site: SiteLab,
) -> None:
    taker = "systemd-run -q --unit=taker python3 -m http.server 443"
    site.sh("gateway", f"systemctl stop nginx; {taker}; systemctl start nginx", ok=False)
    try:
        report = report_of(site.project.phoenix("doctor", "--json"), 1)
    finally:
        site.sh("gateway", "systemctl stop taker", ok=True)
    first = report["first_cause"]
    print_figure("first cause", json.dumps(first))
    assert first["host"] == site.roles["gateway"]
    assert "443 failed (98: Address already in use)" in first["fault"]
    done = report_of(site.project.phoenix("sync", "nginx", "--json"), 0)
    assert done["verified"]
    assert serving(site) == []


def test_a_stack_that_was_deleted_in_portainer_is_named_and_comes_back(site: SiteLab) -> None:
    lab = PortainerLab(site)
    lab.change_stack(lab.qdrant, "DELETE")
    assert lab.containers(lab.qdrant) == {}
    report = report_of(site.project.phoenix("status", "--no-drift", "--json"), 1)
    first = report["first_cause"]
    print_figure("first cause", json.dumps(first))
    assert lab.qdrant in first["hop"]
    done = report_of(site.project.phoenix("sync", "stacks", "--json"), 0)
    print_figure("changed", [host["changed"] for host in done["hosts"] if host["changed"]])
    lab.assert_serving()
    assert lab.stack(lab.qdrant)["EndpointId"] == lab.endpoint()["Id"]


@contextmanager
def read_only_root(site: SiteLab, host: str) -> Iterator[None]:
    """As the kernel leaves a file system with errors; /run and /tmp are others.

    What has a file on it open for writing would keep it writable.
    """
    log = "unattended-upgrades"
    site.sh(host, f"journalctl --relinquish-var && systemctl stop {log}", ok=True)
    try:
        site.sh(host, "mount -o remount,bind,ro /", ok=True)
        yield
    finally:
        site.sh(host, f"mount -o remount,bind,rw / && journalctl --flush; systemctl start {log}")


def test_a_read_only_root_is_the_first_cause_and_stops_its_own_host_alone(site: SiteLab) -> None:
    guest, other = site.roles["gateway"], "drphoenix"
    site.sh(guest, f"ln -sfn {ZONE}/Asia/Tokyo /etc/localtime", ok=True)
    site.sh(other, f"ln -sfn {ZONE}/Asia/Tokyo /etc/localtime", ok=True)
    with read_only_root(site, guest):
        assert site.sh(guest, "touch /etc/probe").code != 0
        report = report_of(site.project.phoenix("doctor", "--json"), 1)
        done = report_of(site.project.phoenix("sync", "--json"), 1)
        assert serving(site) == []
    print_figure("doctor", report["first_cause"])
    print_figure("sync", done["first_cause"])
    assert (report["first_cause"]["host"], done["first_cause"]["host"]) == (guest, guest)
    assert "/ is read-only" in report["first_cause"]["fault"]
    assert "ead-only" in json.dumps(done["first_cause"])
    assert done["verified"] is False
    assert site.sh(other, "readlink /etc/localtime").out.strip() != f"{ZONE}/Asia/Tokyo"
    report_of(site.project.phoenix("sync", "--json"), 0)
    assert site.sh(guest, "readlink /etc/localtime").out.strip() != f"{ZONE}/Asia/Tokyo"


@contextmanager
def dropped(site: SiteLab, host: str, rule: str) -> Iterator[None]:
    """Packets that arrive from the network, and for which an nftables expression is true."""
    table = "inet trouble"
    commands = (
        f"add table {table}",
        f"add chain {table} in {{ type filter hook input priority raw; }}",
        f'add rule {table} in iifname "eth0" {rule} drop',
    )
    site.sh(host, f"nft '{'; '.join(commands)}'", ok=True)
    try:
        yield
    finally:
        site.sh(host, f"nft delete table {table}", ok=True)


def test_a_network_that_loses_packets_is_slow_and_no_fault(site: SiteLab) -> None:
    """Every fifth packet to Traefik's guest is lost, in which TCP's repetitions are enough."""
    guest = site.roles["traefik"]
    site.sh(guest, f"ln -sfn {ZONE}/Asia/Tokyo /etc/localtime", ok=True)
    with dropped(site, guest, "numgen random mod 100 < 20"):
        done = report_of(site.project.phoenix("sync", "--json"), 0)
        assert serving(site) == []
    assert done["verified"] is True
    assert site.sh(guest, "readlink /etc/localtime").out.strip() != f"{ZONE}/Asia/Tokyo"


def test_a_small_mtu_of_one_guest_breaks_nothing(site: SiteLab) -> None:
    guest = site.roles["traefik"]
    mtu = site.sh(guest, "cat /sys/class/net/eth0/mtu", ok=True).out.strip()
    site.sh(guest, "ip link set eth0 mtu 1280", ok=True)
    try:
        report_of(site.project.phoenix("doctor", "--json"), 0)
        assert serving(site) == []
    finally:
        site.sh(guest, f"ip link set eth0 mtu {mtu}", ok=True)


def test_a_guest_that_large_packets_do_not_reach_is_told_as_hanging(
    site: SiteLab, impatient: Project
) -> None:
    """A path with a smaller MTU whose routers say nothing: connections open, and then stand."""
    guest = site.roles["traefik"]
    site.sh("gateway", "systemctl stop nginx", ok=True)
    with dropped(site, guest, "meta length > 800"):
        done = report_of(impatient.phoenix("sync", "--json"), 1)
        assert is_active(site, "gateway", "nginx")
    first = done["first_cause"]
    print_figure("first cause", json.dumps(first))
    assert first["host"] == guest
    assert "MTU" in json.dumps(first)


def test_the_lab_is_as_it_was(site: SiteLab) -> None:
    report_of(site.project.phoenix("status", "--json"), 0)
