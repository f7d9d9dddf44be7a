"""A site of two networks in a lab of its own: CA, Traefik and the gateway's inner side on a bridge.

The hypervisor is the router of the inner network, and SSH to the hosts in it goes through it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface

import pytest

from lab import preflight, state
from lab.guests import lab_site
from lab.settings import ROOT, from_environment
from phoenix.components.networks.bridges import FILE, MAIN_FILE, UNIT, Device, interfaces
from tests.integration import project as projects
from tests.integration.project import Project
from tests.integration.site_lab import ROOT_FILE, SiteLab, seen

BRIDGE = "vmbr9"
JUMP = "root@10.0.0.13"
NAME_SERVER = "name_server"
DNS = "phoenix-dns.service"
LXC = "inventories/phoenix_lxc_configs.json"


def declare(project: Project, inner: str) -> None:
    """The project's site, with CA and Traefik in the network `inner` (its first three numbers)."""
    declared = project.json(LXC)
    guests = declared["lxc_configs"]
    for vmid, part in (("102", 12), ("103", 10)):
        guests[vmid]["network_config"] = {"ip": f"{inner}.{part}/24"}
        guests[vmid]["login"] = {"jump": JUMP}
    guests["101"]["secondary_network_config"] = {"ip": f"{inner}.153/24"}
    # It is in both networks, as the hypervisor is.
    guests["101"].setdefault("features", []).append(NAME_SERVER)
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
    router = str(two.settings.further_subnet[1])
    for name in (gateway.fqdn, two.backends[0].fqdn):
        asked = f"dig +short +time=2 +tries=2 {name} A"
        assert two.sh("client", asked, ok=True).out.split() == [outer]
        assert two.sh("traefik", asked, ok=True).out.split() == [inner]
        for server in (two.address("hypervisor"), outer):
            assert two.sh("client", f"{asked} @{server}", ok=True).out.split() == [outer]
        for server in (router, inner):
            assert two.sh("traefik", f"{asked} @{server}", ok=True).out.split() == [inner]
    assert servers_of(two, "traefik") == [router, inner]
    assert servers_of(two, "gateway") == [outer, two.address("hypervisor")]


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
install -d -o op -m 0700 ~op/.ssh || exit 1
install -o op -m 0600 /root/.ssh/authorized_keys ~op/.ssh/authorized_keys || exit 1
echo 'op ALL=(ALL:ALL) {tag}ALL' >/etc/sudoers.d/op
"""


# -- two name servers ------------------------------------------------------------------------------

LOOKUPS = """
until [ -e {log}.stop ]; do
  began=$(date +%s%N)
  if getent ahostsv4 {name} >/dev/null; then word=found; else word=failed; fi
  echo "$word $((($(date +%s%N) - began) / 1000000))" >>{log}
  sleep 0.02
done
touch {log}.done
"""
SILENT = """
table inet lost {
  chain input {
    type filter hook input priority -300
    meta l4proto { tcp, udp } th dport 53 drop
  }
}
"""
OUT = {
    "killed": (f"systemctl kill -s KILL {DNS}", f"systemctl start {DNS}"),
    "stopped": (f"systemctl stop {DNS}", f"systemctl start {DNS}"),
    "silent": (f"echo '{SILENT}' | nft -f -", "nft delete table inet lost"),
}


def servers_of(two: SiteLab, host: str) -> list[str]:
    """The name servers of a host, in its order."""
    lines = two.sh(host, "cat /etc/resolv.conf", ok=True).out.splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver ")]


@contextmanager
def lookups(two: SiteLab, host: str, name: str) -> Iterator[dict[str, int]]:
    """Lookups by the C library, one process each, and after it how many were found and failed."""
    log = f"/root/lookups-{time.monotonic_ns()}"  # no tmpfs, as a guest's /tmp is
    counts: dict[str, int] = {}
    program = LOOKUPS.format(log=log, name=name)
    two.put(host, f"{log}.sh", program)
    two.sh(host, f"setsid sh {log}.sh >/dev/null 2>&1 &", ok=True)
    try:
        yield counts
    finally:
        two.sh(host, f"touch {log}.stop; until [ -e {log}.done ]; do sleep 0.1; done", ok=True)
    lines = [line.split() for line in two.sh(host, f"cat {log}", ok=True).out.splitlines()]
    for word, _ in lines:
        counts[word] = counts.get(word, 0) + 1
    counts["longest, ms"] = max(int(took) for _, took in lines)


@pytest.mark.parametrize("how", OUT)
@pytest.mark.parametrize("server", ["hypervisor", "gateway"])
def test_a_name_server_that_is_out_costs_no_lookup_and_no_request(
    two: SiteLab, server: str, how: str
) -> None:
    goes, comes_back = OUT[how]
    gateway = two.site.gateway
    assert gateway is not None
    route = two.backends[0]
    own = two.sh("client", "cat /etc/resolv.conf", ok=True).out
    both = [two.address("hypervisor"), str(gateway.interfaces[0].address)]
    words = "".join(f"nameserver {address}\\n" for address in both)
    two.sh("client", f"printf '{words}options timeout:1 attempts:3\\n' >/etc/resolv.conf", ok=True)
    try:
        with (
            lookups(two, "client", route.fqdn) as outside,
            lookups(two, "traefik", gateway.fqdn) as inside,
        ):
            for _ in range(10 if how == "killed" else 2):
                two.sh(server, goes, ok=True)
                assert two.serves(route) == ""
                time.sleep(1)
                two.sh(server, comes_back, ok=True)
                assert two.serves(route) == ""
        seen(f"name server on the {server} {how}, lookups by a client", outside)
        seen(f"name server on the {server} {how}, lookups by Traefik's guest", inside)
        for counts in (outside, inside):
            assert counts["found"] > 4
            assert "failed" not in counts
    finally:
        two.sh("client", f"cat >/etc/resolv.conf <<'END'\n{own}END\n", ok=True)


def test_the_second_is_not_changed_while_the_first_is_silent(two: SiteLab) -> None:
    """It would be restarted, and then nobody answered."""
    name = str(two.site.gateway.name if two.site.gateway else "")
    two.sh("hypervisor", OUT["silent"][0], ok=True)
    before = two.units_of("gateway", [DNS])
    try:
        run = two.project.run("deploys/dns.py", "--limit", name, "--data", "dns_stop_rebind=true")
        assert run.returncode != 0
        assert "does not answer" in run.explain()
        assert two.units_of("gateway", [DNS]) == before
    finally:
        two.sh("hypervisor", OUT["silent"][1], ok=True)


def test_one_that_is_out_is_told_and_a_sync_brings_it_back(two: SiteLab) -> None:
    two.sh("gateway", f"systemctl stop {DNS}", ok=True)
    told = two.project.phoenix("doctor", "dns")
    assert told.returncode != 0
    assert DNS in told.stdout, told.stdout
    synced = two.project.phoenix("sync", "dns")
    assert synced.returncode == 0, synced.stdout + synced.stderr
    assert two.sh("gateway", f"systemctl is-active {DNS}").out.strip() == "active"


def test_one_that_leaves_the_declaration_leaves_nothing_behind(two: SiteLab) -> None:
    declared = two.project.json(LXC)
    declared["lxc_configs"]["101"]["features"].remove(NAME_SERVER)
    two.project.write_json(LXC, declared)
    for deploy in ("deploys/dns.py", "deploys/base.py", "deploys/guard.py"):
        run = two.project.run(deploy)
        assert run.returncode == 0, run.explain()
    assert servers_of(two, "traefik") == [str(two.settings.further_subnet[1])]
    assert servers_of(two, "gateway") == [two.address("hypervisor")]
    name = two.site.gateway.name if two.site.gateway else ""
    planned = two.project.phoenix("plan")
    assert f"phoenix remove dns@{name}" in planned.stdout, planned.stdout + planned.stderr
    removed = two.project.phoenix("remove", f"dns@{name}", "-y")
    assert removed.returncode == 0, removed.stdout + removed.stderr
    left = two.sh(
        "gateway", f"ls /etc/phoenix/dnsmasq.conf /etc/systemd/system/{DNS}; pidof dnsmasq"
    )
    assert left.out == ""
    assert two.sh("gateway", f"systemctl is-active {DNS}").out.strip() == "inactive"
    assert [failed for route in two.backends if (failed := two.serves(route))] == []
