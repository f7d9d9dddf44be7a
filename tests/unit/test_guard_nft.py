"""The guard's rules in a kernel: a Docker host, its LAN and two containers as network namespaces.

Needs root and nft(8). The rules are this project's own for its Docker host, and the program is the
one that hosts run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from phoenix.components.guard.ruleset import RULES, admitted, ruleset
from phoenix.declaration.load import load_site
from phoenix.derived import firewall
from phoenix.files import text

ROOT = Path(__file__).parents[2]
SITE = load_site(ROOT / "inventories", ROOT / "stacks")
HOST = SITE.host("drphoenix")
TRAEFIK, STRANGER = str(SITE.host("traefik-internal").address), "10.0.0.250"
CONTAINER, PEER = "172.18.0.2", "172.18.0.3"
PUBLISHED, UNDECLARED = 6333, 5000
LAN6, HOST6 = "fd00::1", "fd00::2"
# What Docker does with a published port, and with what containers send out.
DOCKERS_TABLE = f"""
table ip nat {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname != "br-*" fib daddr type local tcp dport {PUBLISHED} dnat to {CONTAINER}:{PUBLISHED}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 172.18.0.0/16 oifname "eth0" masquerade
  }}
}}
table inet of_a_person {{
  chain input {{ type filter hook input priority 10; policy accept; tcp dport 1 drop; }}
}}
"""
# Connects to all at once: "open", "refused" (reached, but nothing listens) or "silent".
PROBE = """
import json, select, socket, sys, time
waiting, said = {}, {}
for number, (source, target, port) in enumerate(json.load(sys.stdin)):
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setblocking(False)
    if source:
        one.bind((source, 0))
    one.connect_ex((target, port))
    waiting[one] = number
end = time.monotonic() + 2.5
while waiting and (left := end - time.monotonic()) > 0:
    _, ready, _ = select.select([], list(waiting), [], left)
    for one in ready:
        code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        said[waiting.pop(one)] = "refused" if code else "open"
said |= dict.fromkeys(waiting.values(), "silent")
print(json.dumps([said[number] for number in sorted(said)]))
"""
SERVER = """
import socket, sys, threading
def serve(one):
    while data := one.recv(100):
        one.sendall(data)
server = socket.create_server(("", int(sys.argv[1])))
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
CLIENT = """
import socket, sys
one = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
for line in sys.stdin:
    one.sendall(line.encode())
    print(one.recv(100).decode(), end="", flush=True)
"""

_needed = ("nft", "ip", "nsenter", "unshare")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, _needed)),
        reason=f"needs root and {', '.join(_needed)}",
    ),
]


class Network:
    """Namespaces by name, and what runs in them; `guard` is the program of a host."""

    def __init__(self, folder: Path) -> None:
        self.running: list[subprocess.Popen[str]] = []
        self.pids: dict[str, int] = {}
        self.guard = folder / "phoenix-guard"
        self.rules = folder / "guard.nft"
        program = text("components/guard/phoenix-guard").replace(RULES, str(self.rules))
        self.guard.write_text(program.replace("/run/", f"{folder}/"))
        self.rules.write_text(ruleset(SITE, HOST))
        for name in ("host", "lan", "box", "peer"):
            self.pids[name] = self.start(["unshare", "-n", "sleep", "infinity"]).pid
            self.wait_for_namespace(name)

    def wait_for_namespace(self, name: str) -> None:
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self.pids[name]}/ns/net").readlink() == own:
            os.sched_yield()

    def start(self, words: list[str], **how: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(words, text=True, **how)  # type: ignore[call-overload]
        self.running.append(process)
        return process  # type: ignore[no-any-return]

    def within(self, name: str, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self.pids[name]), "-n", *words]

    def run(
        self, name: str, *words: str, stdin: str = "", ok: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.within(name, *words), input=stdin, capture_output=True, text=True, check=False,
            timeout=30,
        )  # fmt: skip
        assert done.returncode == 0 or not ok, done
        return done

    def serve(self, name: str, port: int) -> None:
        python = (sys.executable, "-c", SERVER, str(port))
        server = self.start(self.within(name, *python), stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"

    def client(self, name: str, target: str, port: int) -> subprocess.Popen[str]:
        python = (sys.executable, "-c", CLIENT, target, str(port))
        return self.start(
            self.within(name, *python), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
        )

    def ask(self, name: str, *probes: tuple[str, str, int]) -> list[str]:
        output = self.run(name, sys.executable, "-c", PROBE, stdin=json.dumps(probes)).stdout
        answers: list[str] = json.loads(output)
        assert len(answers) == len(probes)
        return answers

    def end(self) -> None:
        for process in self.running:
            process.kill()
        for process in self.running:
            process.wait()


def said_back(client: subprocess.Popen[str], line: str) -> str:
    """What comes back of a line over a connection that is open."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(line)
    client.stdin.flush()
    return client.stdout.readline()


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    namespaces = Network(tmp_path_factory.mktemp("guard"))
    try:
        others = {str(host.address) for host in SITE.hosts} - {str(HOST.address)}
        sources = {
            str(network[-2] if network.num_addresses > 1 else network[0])
            for flow in admitted(SITE, HOST)
            if (network := firewall.network_of(flow.source)) is not None
        }
        lan = [
            f"ip addr add {address}/24 dev eth0"
            for address in sorted(others | sources | {STRANGER})
        ]
        script = {
            "host": [
                "ip link set lo up", "ip link add eth0 type veth peer name lan0",
                f"ip link set lan0 netns {namespaces.pids['lan']} name eth0",
                f"ip addr add {HOST.address}/24 dev eth0",
                f"ip addr add {HOST6}/64 dev eth0 nodad", "ip link set eth0 up",
                "ip link add br-0123456789ab type bridge",
                "ip addr add 172.18.0.1/16 dev br-0123456789ab", "ip link set br-0123456789ab up",
                *(line for name in ("box", "peer") for line in (
                    f"ip link add {name} type veth peer name in_{name}",
                    f"ip link set {name} master br-0123456789ab", f"ip link set {name} up",
                    f"ip link set in_{name} netns {namespaces.pids[name]} name eth0",
                )),
                "sysctl -qw net.ipv4.ip_forward=1",
            ],
            "lan": [
                *lan, f"ip addr add {LAN6}/64 dev eth0 nodad", "ip link set eth0 up",
                f"ip route add 172.18.0.0/16 via {HOST.address}",
            ],
            **{
                name: [f"ip addr add {address}/16 dev eth0", "ip link set eth0 up",
                       "ip route add default via 172.18.0.1"]
                for name, address in (("box", CONTAINER), ("peer", PEER))
            },
        }  # fmt: skip
        for name, lines in script.items():
            namespaces.run(name, "sh", "-ec", "\n".join(lines))
        namespaces.run("host", "nft", "-f", "-", stdin=DOCKERS_TABLE)
        namespaces.serve("box", PUBLISHED)
        namespaces.serve("host", UNDECLARED)
        yield namespaces
    finally:
        namespaces.end()


@pytest.fixture
def guarded(net: Network) -> Network:
    net.run("host", "sh", str(net.guard), "load")
    return net


def others_of(net: Network) -> list[str]:
    """Every table but ours."""
    tables = net.run("host", "nft", "list", "tables").stdout.splitlines()
    return [
        net.run("host", "nft", "list", *table.split()).stdout
        for table in tables
        if table != "table inet phoenix"
    ]


def test_connections_from_before_the_first_load_go_on(net: Network) -> None:
    """Undeclared ones, too; and the kernel has not followed them until then."""
    net.run("host", "nft", "flush", "ruleset")  # so that it follows none
    client = net.client("lan", str(HOST.address), UNDECLARED)
    assert said_back(client, "before\n") == "before\n"
    net.run("host", "sh", str(net.guard), "load")
    assert net.ask("lan", (STRANGER, str(HOST.address), UNDECLARED)) == ["silent"]
    assert said_back(client, "after\n") == "after\n"
    net.run("host", "sh", str(net.guard), "load")
    assert said_back(client, "again\n") == "again\n"
    client.kill()
    net.run("host", "sh", str(net.guard), "remove")
    net.run("host", "nft", "-f", "-", stdin=DOCKERS_TABLE)


def test_every_flow_is_let_in_and_nothing_else(guarded: Network) -> None:
    flows = [flow for flow in admitted(SITE, HOST) if flow.proto == "tcp"]
    probes, expected = [], []
    ports = {port for flow in flows if (port := flow.port)} | {UNDECLARED, 111, 2375, 9443}
    sources = [str(host.address) for host in SITE.hosts if host != HOST] + [STRANGER]
    for source in sources:
        for port in sorted(ports):
            probes.append((source, str(HOST.address), port))
            opened = any(
                flow.port == port and _covers(firewall.network_of(flow.source), source)
                for flow in flows
            )
            expected.append(opened)
    answers = guarded.ask("lan", *probes)
    assert [answer != "silent" for answer in answers] == expected, answers
    assert sum(expected) >= len(flows), "some flow was not asked for"


def _covers(network: IPv4Network | None, address: str) -> bool:
    return network is None or IPv4Network(address).subnet_of(network)


def test_a_published_port_is_open_to_whom_a_flow_names_alone(guarded: Network) -> None:
    assert guarded.ask(
        "lan", (TRAEFIK, str(HOST.address), PUBLISHED), (STRANGER, str(HOST.address), PUBLISHED)
    ) == ["open", "silent"]


def test_a_container_s_own_address_is_open_to_its_network_alone(guarded: Network) -> None:
    inside = (CONTAINER, PUBLISHED)
    assert guarded.ask("lan", (STRANGER, *inside), (TRAEFIK, *inside)) == ["silent", "silent"]
    assert guarded.ask("peer", ("", *inside)) == ["open"]


def test_a_container_reaches_outwards_and_not_its_host(guarded: Network) -> None:
    own_address = str(HOST.address)
    assert guarded.ask(
        "peer", ("", own_address, PUBLISHED), ("", own_address, UNDECLARED),
        ("", "172.18.0.1", UNDECLARED), ("", STRANGER, UNDECLARED), ("", own_address, 22),
    ) == ["silent", "silent", "silent", "refused", "refused"]  # fmt: skip


def test_loopback_answers_itself(guarded: Network) -> None:
    assert guarded.ask("host", ("", "127.0.0.1", UNDECLARED)) == ["open"]
    assert guarded.ask("host", ("", str(HOST.address), UNDECLARED)) == ["open"]


def test_by_ipv6_the_host_has_neighbours_and_no_open_port(guarded: Network) -> None:
    ports = (22, 80, UNDECLARED, PUBLISHED)
    assert set(guarded.ask("lan", *((LAN6, HOST6, port) for port in ports))) == {"silent"}
    guarded.run("host", "ip", "-6", "neigh", "flush", "dev", "eth0")
    assert guarded.ask("host", ("", LAN6, 22)) == ["refused"]


def test_other_tables_stay_as_they_are(net: Network) -> None:
    before = others_of(net)
    assert len(before) == 2
    for verb in ("load", "load", "remove", "remove", "load"):
        net.run("host", "sh", str(net.guard), verb)
        assert others_of(net) == before


def test_rules_that_cannot_be_loaded_leave_those_before_in_force(guarded: Network) -> None:
    rules_before = guarded.rules.read_text()
    try:
        guarded.rules.write_text(rules_before.replace("goto own", "goto nowhere"))
        assert guarded.run("host", "sh", str(guarded.guard), "load", ok=False).returncode != 0
    finally:
        guarded.rules.write_text(rules_before)
    assert guarded.run("host", "sh", str(guarded.guard), "holds").stdout == ""
    assert guarded.ask("lan", (STRANGER, str(HOST.address), UNDECLARED)) == ["silent"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("insert rule inet phoenix own tcp dport 1 accept", "is not ours: tcp dport 1 accept"),
        ("flush chain inet phoenix prerouting", "is missing: fib daddr type local goto own"),
        ("delete table inet phoenix", "the table inet phoenix is gone from nftables"),
        ("flush ruleset", "the table inet phoenix is gone from nftables"),
    ],
)
def test_a_change_by_hand_is_told_and_taken_back_by_a_load(
    guarded: Network, change: str, words: str
) -> None:
    assert guarded.run("host", "sh", str(guarded.guard), "holds").stdout == ""
    guarded.run("host", "nft", *change.split())
    result = guarded.run("host", "sh", str(guarded.guard), "holds", ok=False)
    assert result.returncode == 1
    assert words in result.stdout
    guarded.run("host", "sh", str(guarded.guard), "load")
    assert guarded.run("host", "sh", str(guarded.guard), "holds").stdout == ""
