"""Each host lets in what the site's flows say: asked as a stranger, from the LAN and from within.

The client is the stranger: a machine of the network that is none of the site's hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from lab.settings import BRIDGE_HOST_PART
from phoenix.components.guard.ruleset import PROGRAM, RULES, UNIT, admitted
from phoenix.derived import firewall
from phoenix.site.model import Host
from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Project
from tests.integration.site_lab import SiteLab, eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("repaired")]
LXC = "inventories/phoenix_lxc_configs.json"
# Each port by itself and all at once; each that is not silent is printed (timeout(1): 124).
ASK = (
    "for port in {ports}; do {{ timeout 4 {by} bash -c ': </dev/tcp/{address}/'$port 2>/dev/null; "
    "[ $? = 124 ] || echo $port; }} & done; wait"
)
A_PERSON_S = (
    "table inet of_a_person { chain input { "
    "type filter hook input priority 20; tcp dport 7 drop; }; }"
)


def answering(site: SiteLab, asking: str, address: str, ports: set[int], by: str = "") -> set[int]:
    """The ports that are not silent, open or refused; asked from a host, or by a command on it."""
    words = " ".join(map(str, sorted(ports)))
    output = site.sh(asking, ASK.format(ports=words, by=by, address=address)).out
    return set(map(int, output.split()))


def listening(site: SiteLab, host: str) -> set[int]:
    """TCP ports that are open on a host's own address, Docker's published ones with them."""
    output = site.sh(host, "ss -Hltn", ok=True).out
    local = (line.split()[3] for line in output.splitlines())
    return {
        int(port)
        for address, _, port in (end.rpartition(":") for end in local)
        if not address.startswith("127.")
    }


def open_to(site: SiteLab, host: Host, source: IPv4Address) -> set[int]:
    """What the flows open to an address."""
    return {
        flow.port
        for flow in admitted(site.site, host)
        if flow.proto == "tcp"
        and flow.port is not None
        and ((network := firewall.network_of(flow.source)) is None or source in network)
    }


@pytest.fixture(scope="module")
def docker_host(site: SiteLab) -> str:
    return PortainerLab(site).agent


@pytest.fixture(scope="module")
def container(site: SiteLab, docker_host: str) -> str:
    """The process of a stack's container on the Docker host, by which its network is entered."""
    inspected = "docker ps -q --filter publish=8000 | xargs docker inspect -f '{{.State.Pid}}'"
    return site.sh(docker_host, inspected, ok=True).out.strip()


def test_a_stranger_meets_silence_at_every_port_that_is_not_for_him(site: SiteLab) -> None:
    stranger = IPv4Address(site.state.client_address)
    shut: set[tuple[str, int]] = set()
    for host in site.site.hosts:
        open_ports = listening(site, host.name)
        allowed = open_to(site, host, stranger)
        assert answering(site, "client", str(host.address), open_ports) == open_ports & allowed, (
            host.name
        )
        shut |= {(host.name, port) for port in open_ports - allowed}
    ports = {port for _, port in shut}
    assert {443, 6333, 8000, 9000, 9001, 9443} <= ports, "nothing listens: this proves nothing"


def test_another_guest_is_a_stranger_to_what_is_not_for_it(site: SiteLab) -> None:
    """The gateway reaches Traefik; what is behind Traefik it does not."""
    asking = site.site.host(site.roles["gateway"])
    for host in site.site.hosts:
        if host != asking:
            ports = listening(site, host.name)
            allowed = open_to(site, host, asking.address)
            answered = answering(site, "gateway", str(host.address), ports)
            assert answered == ports & allowed, host.name


def test_a_container_on_the_docker_host_meets_silence_too(
    site: SiteLab, docker_host: str, container: str
) -> None:
    host, within = site.site.host(docker_host), f"nsenter -t {container} -n"
    ports = listening(site, docker_host)
    allowed = {flow.port for flow in firewall.from_its_containers(site.site, host)}
    assert ports - allowed >= {6333, 8000, 9001}
    bridge = site.sh(docker_host, f"{within} ip route show default", ok=True).out.split()[2]
    for address in (str(host.address), bridge):
        assert answering(site, docker_host, address, ports, within) == ports & allowed, address
    # Outwards it is free, and it reaches its own network.
    gateway = site.address("gateway")
    assert answering(site, docker_host, gateway, {443}, within) == {443}
    image = site.sh(
        docker_host, "docker ps --filter publish=8000 --format '{{.Image}}'"
    ).out.strip()
    network = site.sh(
        docker_host,
        "docker ps -q --filter publish=8000 | xargs docker inspect -f "
        "'{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{.IPAddress}}{{end}}'",
        ok=True,
    ).out.split()
    peer = (
        f"docker run --rm --network {network[0]} --entrypoint python3 {image} -c "
        f"\"import socket; socket.create_connection(('{network[1]}', 8000), 5)\""
    )
    assert site.sh(docker_host, peer).code == 0, "containers of one network reach each other"


def test_a_container_s_own_address_is_not_reached_by_a_route(
    site: SiteLab, docker_host: str, container: str
) -> None:
    command = f"nsenter -t {container} -n ip -4 -o address show eth0"
    address = site.sh(docker_host, command, ok=True).out.split()[3].split("/")[0]
    site.sh("gateway", f"ip route replace {address} via {site.address(docker_host)}", ok=True)
    try:
        assert answering(site, "gateway", address, {8000}) == set()
        with site.unguarded(docker_host):
            assert answering(site, "gateway", address, {8000}) == {8000}, "proves nothing"
    finally:
        site.sh("gateway", f"ip route del {address}")


def test_by_ipv6_it_is_as_by_ipv4(site: SiteLab, docker_host: str) -> None:
    """Two guests on the link, by their link-local addresses, as any machine there has one."""
    asking = PortainerLab(site).server
    on = "sysctl -qw net.ipv6.conf.eth0.disable_ipv6={}"
    for host in (asking, docker_host):
        site.sh(host, on.format(0), ok=True)
    try:
        look = "ip -6 -o address show dev eth0 scope link -tentative"
        eventually(
            "both have an address", lambda: all(site.sh(h, look).out for h in (asking, docker_host))
        )
        address = site.sh(docker_host, look).out.split()[3].split("/")[0]
        server = (
            "import socket; s = socket.create_server(('::', 5999), family=socket.AF_INET6); "
            "s.accept(); s.accept()"
        )
        site.sh(
            docker_host, f'systemd-run -q --unit=phoenix-test-v6 python3 -c "{server}"', ok=True
        )
        ask = f"python3 -c \"import socket; socket.create_connection(('{address}%eth0', 5999), 3)\""
        refused = site.sh(asking, ask)
        assert "timed out" in refused.text, refused
        with site.unguarded(docker_host):
            assert site.sh(asking, ask).code == 0, "nothing listens: this proves nothing"
        neighbours = site.sh(asking, "ip -6 neigh show dev eth0", ok=True).out
        assert re.search(rf"^{address} lladdr", neighbours, re.M), neighbours
    finally:
        site.sh(docker_host, "systemctl stop phoenix-test-v6")
        for host in (asking, docker_host):
            site.sh(host, on.format(1))


@contextmanager
def asked_all_the_while(site: SiteLab, address: str, port: int) -> Iterator[None]:
    """The client asks a port again and again meanwhile; it must never answer."""
    log = "/root/answered"
    ask = f"timeout 1 bash -c ': </dev/tcp/{address}/{port}' && echo open"
    loop = f'bash -c "while :; do {ask}; sleep 0.1; done" >{log} 2>/dev/null'
    site.sh("client", f"rm -f {log}; ({loop} & echo $! >{log}.pid)", ok=True)
    try:
        yield
        assert site.sh("client", f"cat {log}", ok=True).out == "", "it answered a stranger"
    finally:
        site.sh("client", f"kill $(cat {log}.pid)")


def test_the_guard_is_there_when_docker_or_the_guest_restarts(
    site: SiteLab, docker_host: str
) -> None:
    route = next(service for service in site.backends if service.service.port == 6333)
    address = site.address(docker_host)

    def serves_again() -> bool:
        return site.serves(route) == ""

    with asked_all_the_while(site, address, 6333):
        site.sh(docker_host, "systemctl restart docker.service", ok=True)
        eventually("the service answers after Docker's restart", serves_again)
    with asked_all_the_while(site, address, 6333):
        site.docker.containers.get(site.state.container(docker_host)).restart(timeout=60)
        eventually("the service answers after a reboot", serves_again, 240)
    assert site.sh(docker_host, f"{PROGRAM} holds; systemctl is-enabled {UNIT}", ok=True).out
    before = "systemctl show -P After docker.service network.target ssh.service"
    assert "network" in site.sh(docker_host, before).out
    order = site.sh(docker_host, f"systemctl show -P Before {UNIT}", ok=True).out
    assert "network-pre.target" in order


def test_other_tables_stay_and_open_connections_go_on_through_a_change(
    site: SiteLab, variant: Project, docker_host: str
) -> None:
    site.sh(docker_host, f"printf '%s\\n' '{A_PERSON_S}' | nft -f -", ok=True)
    rest = "nft list tables | grep -v phoenix; nft list table inet of_a_person; iptables -t nat -S"
    list_own_table = "nft list table inet phoenix"
    before = site.sh(docker_host, rest, ok=True).out
    zone = 'timezone = "America/New_York"'
    more = f'{zone}\nproxmox_operator_networks = ["192.0.2.0/24"]'
    variant.replace("group_data/all.py", zone, more)
    try:
        run = variant.run("deploys/guard.py")
        assert run.returncode == 0, run.explain()
        assert "192.0.2.0/24" in site.sh(docker_host, list_own_table, ok=True).out
        assert site.sh(docker_host, rest, ok=True).out == before
        run = site.project.run("deploys/guard.py")
        assert run.returncode == 0, run.explain()
        assert (
            "192.0.2.0/24" not in site.sh(docker_host, "nft list table inet phoenix", ok=True).out
        )
        assert site.sh(docker_host, rest, ok=True).out == before
    finally:
        site.sh(docker_host, "nft delete table inet of_a_person")


@pytest.mark.parametrize("verb", ["start", "reload", "restart", "stop"])
def test_debian_s_own_service_flushes_every_table_and_the_guard_is_there(
    site: SiteLab, verb: str
) -> None:
    site.sh("ca", f"systemctl {verb} nftables.service", ok=True)
    eventually("the guard holds", lambda: site.sh("ca", f"{PROGRAM} holds").code == 0, 20)
    assert answering(site, "client", site.address("ca"), {9000}) == set()


def test_rules_that_shut_the_operator_out_are_undone(site: SiteLab, variant: Project) -> None:
    """As a rule of the site that refuses SSH to this machine, whose address is the bridge's."""
    rules = site.sh("gateway", f"cat {RULES}", ok=True).out
    declared = variant.json(LXC)
    refusal = {"type": "in", "action": "DROP", "proto": "tcp", "port": "22"}
    refusal["source"] = f"10.0.0.{BRIDGE_HOST_PART}"
    declared["lxc_configs"]["101"]["firewall"]["rules"] = [refusal]
    variant.write_json(LXC, declared)
    run = variant.run("deploys/guard.py", "--limit", site.roles["gateway"])
    assert run.returncode != 0
    assert "a new SSH login fails with the new files" in run.output, run.explain()
    assert "the previous ones are back" in run.output, run.explain()
    assert site.sh("gateway", f"cat {RULES}", ok=True).out == rules
    assert site.sh("gateway", f"{PROGRAM} holds", ok=True).out == ""
    assert site.ssh("gateway").returncode == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [("flush ruleset", "is gone from nftables"),
     ("insert rule inet phoenix own tcp dport 1-65535 accept", "was changed by hand")],
)  # fmt: skip
def test_a_guard_that_is_gone_or_altered_is_told_and_put_back(
    site: SiteLab, change: str, words: str
) -> None:
    site.sh("ca", f"nft {change}", ok=True)
    assert answering(site, "client", site.address("ca"), {9000}) == {9000}
    status, doctor, plan = site.project.looks(["status"], ["doctor"], ["plan", "guard"])
    assert status.returncode != 0
    assert "the guard does not hold" in " ".join(status.stdout.split()), status.stdout
    assert doctor.returncode != 0
    assert words in " ".join(doctor.stdout.split()), doctor.stdout
    assert words in " ".join(plan.stdout.split()), plan.stdout
    run = site.project.run("deploys/guard.py")
    assert run.returncode == 0, run.explain()
    assert answering(site, "client", site.address("ca"), {9000}) == set()
    assert site.sh("ca", f"{PROGRAM} holds", ok=True).out == ""


def test_a_plan_shows_each_rule_and_off_takes_the_table_away(
    site: SiteLab, variant: Project
) -> None:
    declared = variant.json(LXC)
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "9100", "source": "10.0.0.7"}
    declared["lxc_configs"]["102"]["firewall"]["rules"] = [rule]
    declared["lxc_configs"]["103"]["firewall"]["guard"] = False
    variant.write_json(LXC, declared)
    plan = variant.phoenix("plan", "guard").stdout
    assert re.search(r"\+.*tcp dport 9100 accept", plan), plan
    ca = site.address("ca")
    try:
        run = variant.run("deploys/guard.py")
        assert run.returncode == 0, run.explain()
        assert site.sh("ca", "nft list tables").out == ""
        assert site.sh("ca", f"systemctl is-enabled {UNIT}").out.strip() in ("", "not-found")
        assert answering(site, "client", ca, {9000}) == {9000}
        again = variant.run("deploys/guard.py")
        assert again.other_changes == []
    finally:
        back = site.project.run("deploys/guard.py")
    assert back.returncode == 0, back.explain()
    assert answering(site, "client", ca, {9000}) == set()
