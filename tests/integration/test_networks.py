"""A site of two networks in a lab of its own: CA, Traefik and the gateway's inner side on a bridge.

The hypervisor is the router of the inner network, and SSH to the hosts in it goes through it.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface

import pytest

from benchmarks import door
from lab import preflight, state
from lab.guests import lab_site
from lab.settings import ROOT, from_environment
from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.networks.bridges import FILE, MAIN_FILE, UNIT, Device, interfaces
from phoenix.components.nginx.nginx_conf import ACCESS_LOG, CLIENT_CERTIFICATE
from phoenix.components.nginx.nginx_conf import CONFIG as NGINX
from phoenix.components.traefik.traefik_yml import LOCAL
from phoenix.components.trust import ROOTS
from phoenix.derived.routes import route_for_check
from phoenix.derived.virtual_addresses import virtual_addresses
from tests.integration import project as projects
from tests.integration.project import Project
from tests.integration.site_lab import ROOT_FILE, SiteLab, eventually, print_figure

BRIDGE = "vmbr9"
JUMP = "root@10.0.0.13"
NAME_SERVER = "name_server"
DNS = "phoenix-dns.service"
SECOND, TRAEFIK = "traefik-second", "traefik.service"
OTHER_GATEWAY = "gateway-second"
LXC = "inventories/phoenix_lxc_configs.json"


def declare(project: Project, inner: str) -> None:
    """The project's site, with CA and Traefik in the network `inner` (its first three numbers)."""
    declared = project.json(LXC)
    guests = declared["lxc_configs"]
    for vmid, part in (("102", 12), ("103", 10)):
        guests[vmid]["network_config"] = {"ip": f"{inner}.{part}/24"}
        guests[vmid]["login"] = {"jump": JUMP}
    guests["101"]["secondary_network_config"] = {"ip": f"{inner}.153/24"}
    guests["104"] = guests["102"] | {
        "name": SECOND, "mac_address": "52:54:00:AA:BB:CD", "boot_order": 4,
        "network_config": {"ip": f"{inner}.14/24"},
    }  # fmt: skip
    outer = guests["101"]["network_config"]["ip"].rpartition(".")[0]
    guests["105"] = guests["101"] | {
        "name": OTHER_GATEWAY, "mac_address": "52:54:00:AA:BB:CE", "boot_order": 5,
        "network_config": {"ip": f"{outer}.154/24"},
        "secondary_network_config": {"ip": f"{inner}.154/24"},
        "features": list(guests["101"].get("features", [])),
    }  # fmt: skip
    declared["site"]["virtual_address"] = [f"{outer}.152", f"{inner}.152"]
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
        lab = state.load(settings)
        assert lab is not None
        # As `phoenix sync` does: nobody reaches a host behind a bridge that is not there yet.
        first = project.run("deploys/networks.py", "--limit", "phoenix")
        assert first.returncode == 0, first.explain()
        run = project.run("deploys/all.py")
        assert run.returncode == 0, f"the site does not converge:\n{run.explain()}"
        running = SiteLab(preflight.connect(), settings, lab, lab_site(settings), project)
        root = running.sh("ca", "cat /etc/step-ca/certs/root_ca.crt", ok=True).out
        running.put("client", ROOT_FILE, root)
        yield running
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
    for name in (gateway.fqdn,):  # services: see two gateways
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
    environment = {"PHOENIX_SECRET_OP_PASSWORD": secret} if asked else {}
    before = two.sh("ca", f"cat {file}", ok=True).out
    two.sh("ca", f"rm {file}; mv /root/.ssh/authorized_keys /root/.ssh/shut", ok=True)
    try:
        run = project.run("deploys/base.py", "--limit", ca, environment=environment)
        assert run.returncode == 0, run.explain()
        assert run.changes
        assert two.sh("ca", f"cat {file}", ok=True).out == before
        assert secret not in run.output
        again = project.run("deploys/base.py", "--limit", ca, environment=environment)
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
        print_figure(f"name server on the {server} {how}, lookups by a client", outside)
        print_figure(f"name server on the {server} {how}, lookups by Traefik's guest", inside)
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
    report = two.project.phoenix("doctor", "dns")
    assert report.returncode != 0
    assert DNS in report.stdout, report.stdout
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


# -- two Traefiks ----------------------------------------------------------------------------------

# Ten requests a second, whatever becomes of those before: so one that hangs hides none.
FLOOD = """
until [ -e {log}.stop ]; do
  (
    began=$(date +%s%N)
    code=$(curl -s -o /dev/null -w '%{{http_code}}' --max-time 10 --cacert {root} \\
      --resolve {name}:443:{address} https://{name}{path})
    echo "$began $(date +%s%N) $code" >>{log}
  ) &
  sleep 0.1
done
wait; touch {log}.done
"""
UNHEARD = """
table inet lost {
  chain input { type filter hook input priority -300; tcp dport 443 drop; }
  chain output { type filter hook output priority -300; tcp sport 443 drop; }
}
"""


@contextmanager
def flood(two: SiteLab) -> Iterator[dict[str, int]]:
    """Requests by the client, and after it how many had each status, and the longest gap."""
    log = f"/root/flood-{time.monotonic_ns()}"
    route, counts = two.backends[0], dict[str, int]()
    program = FLOOD.format(log=log, root=ROOT_FILE, name=route.fqdn, path=route.health_path,
                           address=two.address("gateway"))  # fmt: skip
    two.put("client", f"{log}.sh", program)
    two.sh("client", f"setsid sh {log}.sh >/dev/null 2>&1 &", ok=True)
    try:
        yield counts
    finally:
        two.sh("client", f"touch {log}.stop; until [ -e {log}.done ]; do sleep 0.1; done", ok=True)
    lines = [line.split() for line in two.sh("client", f"cat {log}", ok=True).out.splitlines()]
    for _, _, code in lines:
        counts[code] = counts.get(code, 0) + 1
    ends = sorted(int(ended) for _, ended, code in lines if code == "200")
    gaps = [after - before for before, after in itertools.pairwise(ends)]
    counts["longest gap, ms"] = max(gaps) // 1_000_000
    counts["longest request, ms"] = max(int(e) - int(b) for b, e, _ in lines) // 1_000_000


WRITTEN = f"""
before=; nginx -s reopen  # and so to write what it has kept back
until [ "$before" = "$(wc -l <{ACCESS_LOG})" ]; do before=$(wc -l <{ACCESS_LOG}); sleep 2; done"""
"""Until a gateway's log has all lines: Nginx writes those of five seconds at once."""


def logged(two: SiteLab) -> dict[str, int]:
    """Lines in the log of each gateway by its name, once the logs have them all.

    Any of the gateways may have the virtual address, and so the requests.
    """
    lines = f"{WRITTEN}; wc -l <{ACCESS_LOG}"
    return {host.name: int(two.sh(host.name, lines, ok=True).out) for host in two.site.gateways}


def carried(two: SiteLab, since: dict[str, int], number: int) -> dict[str, int]:
    """Requests that each Traefik has carried, by its address, from lines of the gateways' logs.

    Args:
        since: how many lines each gateway's log had before.
        number: of requests that were made since then.
    """
    eventually(
        f"the gateways' logs have {number} lines more",
        lambda: sum(logged(two).values()) >= sum(since.values()) + number,
        60,
    )
    asked = [
        json.loads(line)["upstream"]
        for gateway, lines in since.items()
        for line in two.sh(gateway, f"tail -n +{lines + 1} {ACCESS_LOG}", ok=True).out.splitlines()
    ]
    last = [upstream.rpartition(" ")[2].partition(":")[0] for upstream in asked]
    return {address: last.count(address) for address in last}


def both(two: SiteLab) -> set[str]:
    """The addresses of the two Traefiks."""
    return {two.address("traefik"), two.address(SECOND)}


def test_both_traefiks_carry_requests_and_prove_their_own_names(two: SiteLab) -> None:
    assert [host.name for host in two.site.traefiks] == [two.roles["traefik"], SECOND]
    before = logged(two)
    assert [
        failed for _ in range(6) for route in two.backends if (failed := two.serves(route))
    ] == []
    requests = carried(two, before, 6 * len(two.backends))
    assert requests.keys() == both(two)
    assert min(requests.values()) >= 6
    for host in two.site.traefiks:
        ask = (
            f"curl -sS -o /dev/null -w '%{{http_code}}' --cacert {ROOTS} "
            f"--resolve {host.fqdn}:443:{two.address(host.name)} https://{host.fqdn}/"
        )
        refused = two.sh("gateway", ask)
        assert "certificate required" in refused.err, refused.text
        shown = two.sh("gateway", f"{ask} --cert {CLIENT_CERTIFICATE}", ok=True)
        assert shown.out == "404", shown.text  # no route has its own name


@pytest.mark.parametrize("which", ["traefik", SECOND])
@pytest.mark.parametrize("how", ["killed", "stopped", "unheard", "restarted"])
def test_a_traefik_that_is_out_costs_the_requests_in_flight(
    two: SiteLab, which: str, how: str
) -> None:
    ways = {
        "killed": (f"systemctl kill -s KILL {TRAEFIK}", ":"),
        "stopped": (f"systemctl stop {TRAEFIK}", f"systemctl start {TRAEFIK}"),
        "unheard": (f"echo '{UNHEARD}' | nft -f -", "nft delete table inet lost"),
    }
    with flood(two) as counts:
        time.sleep(2)
        for _ in range(5 if how == "killed" else 2):
            if how == "restarted":
                name = two.state.container(two.roles.get(which, which))
                two.docker.containers.get(name).restart(timeout=60)
                eventually("Traefik runs", lambda: two.sh(which, _PING).code == 0, 120)
                continue
            goes, comes_back = ways[how]
            two.sh(which, goes, ok=True)
            time.sleep(4)
            two.sh(which, comes_back, ok=True)
            eventually("Traefik runs", lambda: two.sh(which, _PING).code == 0, 60)
    print_figure(f"{which} {how}", counts)
    failed = sum(count for status, count in counts.items() if status.isdigit() and status != "200")
    assert counts["200"] > 20
    # A GET is sent again; one that hangs on a connection to a machine that is silent is not.
    assert failed <= (_KEPT if how in ("unheard", "restarted") else 0)


_PING = f"curl -fsS --max-time 2 http://{LOCAL}/ping"
_KEPT = 64
"""Connections that Nginx keeps to the Traefiks: so many requests may be in flight unseen."""


def test_one_that_is_out_is_told_though_every_service_answers(two: SiteLab) -> None:
    two.sh(SECOND, f"systemctl stop {TRAEFIK}", ok=True)
    try:
        assert [failed for route in two.backends if (failed := two.serves(route))] == []
        run = two.project.phoenix("doctor", "--json")
        assert run.returncode != 0
        report = json.loads(run.stdout)
        assert SECOND in json.dumps(report["first_cause"])
        assert report["other_causes"] == []
        broken = {path["name"] for path in report["paths"] if path["state"] == "broken"}
        assert broken == {f"{SECOND} routes requests"}
        synced = two.project.phoenix("sync", "traefik")
        assert synced.returncode == 0, synced.stdout + synced.stderr
        assert two.sh(SECOND, f"systemctl is-active {TRAEFIK}").out.strip() == "active"
    finally:
        two.sh(SECOND, f"systemctl start {TRAEFIK}", ok=True)


def test_a_proof_that_fails_on_the_first_leaves_the_second_as_it_is(two: SiteLab) -> None:
    """It is changed after the first has been proven: so one of them answers."""
    two.sh("traefik", "printf '#!/bin/sh\nexit 22\n' >/usr/local/bin/curl; "
           "chmod +x /usr/local/bin/curl", ok=True)  # fmt: skip
    before = two.units_of(SECOND, [TRAEFIK])
    try:
        run = two.project.run("deploys/traefik.py", "--data", "traefik_metrics=true")
        assert run.returncode != 0
        assert "comes before this host" in run.explain()
        assert two.units_of(SECOND, [TRAEFIK]) == before
    finally:
        two.sh("traefik", "rm -f /usr/local/bin/curl", ok=True)
    again = two.project.run("deploys/traefik.py")
    assert again.returncode == 0, again.explain()


def left_on(two: SiteLab, host: str) -> list[list[str]]:
    """The commands that remove what a host has and should not have, in words."""
    items = json.loads(two.project.phoenix("doctor", "--json").stdout)["undeclared"]["items"]
    return [item["command"].split() for item in items if item["host"] == host]


def test_a_second_traefik_that_leaves_the_declaration_leaves_nothing_behind(two: SiteLab) -> None:
    declared = two.project.json(LXC)
    del declared["lxc_configs"]["104"]["role"], declared["lxc_configs"]["104"]["features"]
    two.project.write_json(LXC, declared)
    for deploy in ("deploys/guard.py", "deploys/nginx.py"):
        run = two.project.run(deploy)
        assert run.returncode == 0, run.explain()
    before = logged(two)
    assert [failed for route in two.backends if (failed := two.serves(route))] == []
    used = carried(two, before, len(two.backends))
    assert used.keys() == {two.address("traefik")}
    for words in left_on(two, SECOND):
        removed = two.project.phoenix(*words[1:], "-y")
        assert removed.returncode == 0, removed.stdout + removed.stderr
    files = f"find /etc/traefik {CERTIFICATES} /etc/systemd/system/{TRAEFIK}* -type f"
    left = two.sh(SECOND, f"{files}; pidof traefik nginx")
    assert left.out == ""
    assert left_on(two, SECOND) == []


# -- two gateways ----------------------------------------------------------------------------------

DOORS = (OTHER_GATEWAY, "gateway")
AT_THE_OTHER = ("SIGKILL of Nginx", "guest restarted")
"""Faults that are made on the gateway without the address as well: what they cost is nothing."""


def held(two: SiteLab) -> dict[str, list[str]]:
    """The gateways that have each virtual address."""
    return {
        str(one.address): [
            gateway.host.name
            for gateway in one.holders
            if two.sh(gateway.host.name, f"ip -4 -o addr show to {one.address}/32").out
        ]
        for one in virtual_addresses(two.site)
    }


def one_has_each(two: SiteLab) -> bool:
    return all(len(names) == 1 for names in held(two).values())


def door_of(two: SiteLab) -> door.Door:
    """The outer side, for the load and the faults of the benchmark."""
    two.put("client", "/root/door_client.py", door.PROGRAM.read_bytes())
    route = route_for_check(two.site)
    assert route is not None
    return door.Door(
        {
            host.name: two.docker.containers.get(two.state.container(host.name))
            for host in two.site.gateways
        },
        two.docker.containers.get(two.state.client),
        virtual_addresses(two.site)[0],
        f"https://{route.fqdn}/",
        ROOT_FILE,
    )


def test_one_gateway_has_each_virtual_address(two: SiteLab) -> None:
    outer, inner = (one.address for one in virtual_addresses(two.site))
    eventually("one gateway has each address", lambda: one_has_each(two))
    name = two.backends[0].fqdn
    asked = f"dig +short +time=2 +tries=2 {name} A"
    assert two.sh("client", asked, ok=True).out.split() == [str(outer)]
    assert two.sh("traefik", asked, ok=True).out.split() == [str(inner)]
    for gateway in two.site.gateways:
        session = two.handshake(f"{two.address(gateway.name)}:443", name)
        assert session.code == 0, session.text
    keys = {
        two.sh(gateway.name, f"openssl pkey -in {CERTIFICATES}/gateway/privkey.pem -pubout").out
        for gateway in two.site.gateways
    }
    assert len(keys) == 2


def test_each_gateway_renews_whoever_has_the_address(two: SiteLab) -> None:
    """The CA's question comes to the holder, which asks the other one where it has no answer."""
    for gateway in two.site.gateways:
        done = two.sh(gateway.name, "phoenix-acme renew gateway")
        assert done.code == 0, done.text
    nothing = "/.well-known/acme-challenge/nothing"
    for one in virtual_addresses(two.site):
        ask = f"curl -s -o /dev/null -w '%{{http_code}}' http://{one.address}{nothing}"
        answer = two.sh("gateway", ask)
        assert answer.out == "404", answer.text


@pytest.mark.parametrize("fault", door.FAULTS, ids=lambda fault: fault.name)
def test_a_gateway_that_is_lost_costs_requests_in_flight(two: SiteLab, fault: door.Fault) -> None:
    both = door_of(two)
    loss = door.tried(both, fault, holder=True)
    print_figure(f"{fault.name}, on the holder", loss)
    assert loss.failed < loss.requests / 4, "it moved, and requests went on"
    if fault.name in AT_THE_OTHER:
        loss = door.tried(both, fault, holder=False)
        print_figure(f"{fault.name}, on the other", loss)
        assert loss.failed == 0
    eventually("one gateway has each address", lambda: one_has_each(two))
    assert two.serves(two.backends[0]) == ""


def test_a_gateway_that_is_out_is_told_though_every_service_answers(two: SiteLab) -> None:
    two.sh(OTHER_GATEWAY, "systemctl stop keepalived.service", ok=True)
    try:
        assert [failed for route in two.backends if (failed := two.serves(route))] == []
        run = two.project.phoenix("doctor", "--json")
        assert run.returncode != 0
        report = json.loads(run.stdout)
        assert OTHER_GATEWAY in json.dumps(report["first_cause"])
        broken = {path["name"] for path in report["paths"] if path["state"] == "broken"}
        assert broken == {f"{OTHER_GATEWAY} takes requests"}
        synced = two.project.phoenix("sync", "keepalived")
        assert synced.returncode == 0, synced.stdout + synced.stderr
        assert two.sh(OTHER_GATEWAY, "systemctl is-active keepalived").out.strip() == "active"
    finally:
        two.sh(OTHER_GATEWAY, "systemctl start keepalived.service", ok=True)


def test_a_gateway_that_fails_its_proof_keeps_the_other_as_it_is(two: SiteLab) -> None:
    broken = "printf '#!/bin/sh\nexit 22\n' >/usr/local/bin/curl; chmod +x /usr/local/bin/curl"
    first, second = (host.name for host in two.site.gateways)
    two.sh(first, broken, ok=True)
    before = two.sh(second, f"sha256sum {NGINX}", ok=True).out
    try:
        run = two.project.run("deploys/nginx.py", "--data", "nginx_read_timeout=301s")
        assert run.returncode != 0
        assert "comes before this host" in run.explain()
        assert two.sh(second, f"sha256sum {NGINX}", ok=True).out == before
    finally:
        two.sh(first, "rm -f /usr/local/bin/curl", ok=True)
    again = two.project.run("deploys/nginx.py")
    assert again.returncode == 0, again.explain()


def test_a_second_gateway_that_leaves_the_declaration_leaves_nothing_behind(two: SiteLab) -> None:
    declared = two.project.json(LXC)
    del declared["site"]["virtual_address"]
    del declared["lxc_configs"]["105"]["role"], declared["lxc_configs"]["105"]["features"]
    two.project.write_json(LXC, declared)
    for deploy in ("deploys/dns.py", "deploys/guard.py", "deploys/traefik.py", "deploys/nginx.py"):
        run = two.project.run(deploy)
        assert run.returncode == 0, run.explain()
    assert [failed for route in two.backends if (failed := two.serves(route))] == []
    planned = two.project.phoenix("plan")
    gateway = two.roles["gateway"]
    for name in (f"keepalived@{OTHER_GATEWAY}", f"nginx@{OTHER_GATEWAY}", f"keepalived@{gateway}"):
        assert f"phoenix remove {name}" in planned.stdout, planned.stdout + planned.stderr
        removed = two.project.phoenix("remove", name, "-y")
        assert removed.returncode == 0, removed.stdout + removed.stderr
    for host in DOORS:
        left = two.sh(host, "ls /etc/keepalived/keepalived.conf; pidof keepalived")
        assert left.out == ""
    assert [names for names in held(two).values() if names] == []
    assert [failed for route in two.backends if (failed := two.serves(route))] == []
