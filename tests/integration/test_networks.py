"""A site of two networks in a lab of its own: CA, Traefik and the gateway's inner side on a bridge.

The hypervisor is the router of the inner network, and SSH to the hosts in it goes through it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Interface

import pytest

from lab import preflight, state
from lab.guests import lab_site
from lab.settings import ROOT, from_environment
from phoenix.components.networks.bridges import FILE, MAIN_FILE, UNIT, Device, interfaces
from tests.integration import project as projects
from tests.integration.project import Project
from tests.integration.site_lab import ROOT_FILE, SiteLab

BRIDGE = "vmbr9"
JUMP = "root@10.0.0.13"
LXC = "inventories/phoenix_lxc_configs.json"


def declare(project: Project, inner: str) -> None:
    """The project's site, with CA and Traefik in the network `inner` (its first three numbers)."""
    declared = project.json(LXC)
    guests = declared["lxc_configs"]
    for vmid, part in (("102", 12), ("103", 10)):
        guests[vmid]["network_config"] = {"ip": f"{inner}.{part}/24"}
        guests[vmid]["login"] = {"jump": JUMP}
    guests["101"]["secondary_network_config"] = {"ip": f"{inner}.153/24"}
    project.write_json(LXC, declared)
    network = {"subnet": f"{inner}.0/24", "bridge": BRIDGE, "nat": True}
    project.write_json(
        "inventories/phoenix_hypervisor_config.json", {"networks": {"internal": network}}
    )


@pytest.fixture(scope="module")
def two(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteLab]:
    folder = tmp_path_factory.mktemp("two-networks") / "project"
    own = {
        **environment,
        "PHOENIX_LAB_NAME": f"{environment['PHOENIX_LAB_NAME']}-two",
        "PHOENIX_LAB_SITE": str(folder),
        "XDG_STATE_HOME": str(folder.parent / "state"),
    }
    project = projects.copy(folder, own)
    settings = from_environment(own)
    declare(project, str(settings.further_subnet.network_address).rpartition(".")[0])
    try:
        _lab("up", own)
        found = state.load(settings)
        assert found is not None
        # As `phoenix sync` does: nobody reaches a host behind a bridge that is not there yet.
        first = project.run("deploys/networks.py", "--limit", "phoenix")
        assert first.returncode == 0, first.explain()
        run = project.run("deploys/all.py")
        assert run.returncode == 0, f"the site does not converge:\n{run.explain()}"
        made = SiteLab(preflight.connect(), settings, found, lab_site(settings), project)
        root = made.sh("ca", "cat /etc/step-ca/certs/root_ca.crt", ok=True).out
        made.put("client", ROOT_FILE, root)
        yield made
    finally:
        _lab("down", own)


def _lab(verb: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "lab", verb],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"lab {verb}:\n{done.stdout}{done.stderr}"


def test_the_bridge_is_the_hypervisors_and_its_own_file_is_left(two: SiteLab) -> None:
    address = f"{two.settings.further_subnet[1]}/24"
    assert address in two.sh("hypervisor", f"ip -4 addr show dev {BRIDGE}", ok=True).out
    assert f"iface {BRIDGE} inet static" in two.sh("hypervisor", f"cat {FILE}", ok=True).out
    assert BRIDGE not in two.sh("hypervisor", f"cat {MAIN_FILE}", ok=True).out
    assert two.sh("hypervisor", f"systemctl is-active {UNIT}").out.strip() == "active"
    # Docker gives this network no way out, and packages came.
    assert two.sh("ca", "ip route show default", ok=True).out.split()[2] == address[:-3]


def test_ifupdown2_reads_vlans_as_they_are_meant(two: SiteLab) -> None:
    """Its parser alone: many kernels, as those of labs, lack 802.1Q."""
    devices = (
        Device("vmbr8", None, "", aware=True),
        Device("vmbr8.20", IPv4Interface("172.16.8.1/24"), "vmbr8", aware=False),
    )
    two.put("hypervisor", "/root/vlans", interfaces(devices))
    said = two.sh("hypervisor", "ifquery -a -i /root/vlans -o json", ok=True).out
    bridge, vlan = json.loads(said)
    assert (bridge["name"], bridge["auto"], bridge["addr_method"]) == ("vmbr8", True, "manual")
    assert bridge["config"] == {
        "bridge-ports": "none", "bridge-stp": "off", "bridge-fd": "0",
        "bridge-vlan-aware": "yes", "bridge-vids": "2-4094",
    }  # fmt: skip
    assert (vlan["name"], vlan["auto"], vlan["addr_method"]) == ("vmbr8.20", True, "static")
    assert vlan["config"] == {"address": "172.16.8.1/24", "vlan-raw-device": "vmbr8"}


def test_a_second_run_changes_nothing(two: SiteLab) -> None:
    run = two.project.run("deploys/all.py")
    assert run.returncode == 0, run.explain()
    assert run.other_changes == []


def test_a_client_outside_makes_verified_requests(two: SiteLab) -> None:
    assert two.backends
    assert [failed for route in two.backends if (failed := two.serves(route))] == []


def test_each_client_is_told_the_address_that_it_can_reach(two: SiteLab) -> None:
    gateway = two.site.gateway
    assert gateway is not None
    outer, inner = (str(interface.address) for interface in gateway.interfaces)
    for name in (gateway.fqdn, two.backends[0].fqdn):
        asked = f"dig +short +time=2 +tries=2 {name} A"
        assert two.sh("client", asked, ok=True).out.split() == [outer]
        assert two.sh("traefik", asked, ok=True).out.split() == [inner]


def test_the_inner_side_is_out_of_reach(two: SiteLab) -> None:
    """Even for a client that knows the way: with the guard stopped, it gets there."""
    subnet, router = two.settings.further_subnet, two.address("hypervisor")
    two.sh("client", f"ip route replace {subnet} via {router}", ok=True)
    assert two.site.ca is not None
    probe = "timeout 4 bash -c 'exec 3<>/dev/tcp/{}/{}'"
    proxy = probe.format(two.address("traefik"), 443)
    try:
        assert two.sh("client", proxy).code != 0
        assert two.sh("client", probe.format(two.address("ca"), 9000)).code != 0
        with two.unguarded("traefik"):
            assert two.sh("client", proxy).code == 0
        assert two.sh("client", proxy).code != 0
    finally:
        two.sh("client", f"ip route del {subnet}")


@pytest.mark.parametrize("asked", [False, True], ids=["without a password", "with a password"])
def test_a_user_with_sudo_behind_a_jump_host_is_as_good_as_root(two: SiteLab, asked: bool) -> None:
    """Root's own log-in is shut meanwhile, so that nothing goes by it."""
    file, secret = "/etc/apt/apt.conf.d/60phoenix", "an-op-s-password"
    two.sh("ca", _OPERATOR.format(secret=secret, tag="" if asked else "NOPASSWD: "), ok=True)
    project = two.project.variant(f"sudo-{asked}")
    declared = project.json(LXC)
    login = {"user": "op", "sudo": True, "jump": JUMP}
    ca = two.roles["ca"]
    (entry,) = [guest for guest in declared["lxc_configs"].values() if guest["name"].lower() == ca]
    entry["login"] = {**login, "sudo_password": "op_password"} if asked else login
    project.write_json(LXC, declared)
    given = {"PHOENIX_SECRET_OP_PASSWORD": secret} if asked else {}
    before = two.sh("ca", f"cat {file}", ok=True).out
    two.sh("ca", f"rm {file}; mv /root/.ssh/authorized_keys /root/.ssh/shut", ok=True)
    try:
        run = project.run("deploys/base.py", "--limit", ca, environment=given)
        assert run.returncode == 0, run.explain()
        assert run.changes
        assert two.sh("ca", f"cat {file}", ok=True).out == before
        assert secret not in run.output
        again = project.run("deploys/base.py", "--limit", ca, environment=given)
        assert (again.returncode, again.other_changes) == (0, []), again.explain()
    finally:
        two.sh("ca", "mv /root/.ssh/shut /root/.ssh/authorized_keys; userdel -rf op", ok=True)
        two.sh("ca", "rm -f /etc/sudoers.d/op", ok=True)


_OPERATOR = """\
useradd -m -s /bin/sh op && echo 'op:{secret}' | chpasswd || exit 1
install -d -o op -m 0700 /home/op/.ssh || exit 1
install -o op -m 0600 /root/.ssh/authorized_keys /home/op/.ssh/authorized_keys || exit 1
echo 'op ALL=(ALL:ALL) {tag}ALL' >/etc/sudoers.d/op
"""
