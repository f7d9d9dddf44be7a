"""Switching the firewall on closes nothing that anybody listens on, on any node, unsaid."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from phoenix.proxmox import apply
from phoenix.proxmox.client import Client
from phoenix.proxmox.listeners import HERE, LISTEN, Listener, parse, refusal
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import firewall, preflight
from phoenix.site.findings import ConfigError
from phoenix.site.model import FirewallRule, Site
from tests.proxmox.pve import NODE, Pve, converged, listening, run
from tests.proxmox.test_converge import changed_site

Planned = Callable[..., Plan]
NFS = Listener("tcp", 2049, "nfsd")
PORTMAP = Listener("udp", 111, "rpcbind")
SS = """\
udp UNCONN 0 0 127.0.0.1%lo:323 0.0.0.0:* users:(("chronyd",pid=1,fd=5))
udp UNCONN 0 0 0.0.0.0:111 0.0.0.0:* users:(("rpcbind",pid=2,fd=6))
udp UNCONN 0 0 [fe80::1]%vmbr0:546 [::]:*
tcp LISTEN 0 4096 127.0.0.1:85 0.0.0.0:* users:(("pvedaemon",pid=3,fd=6))
tcp LISTEN 0 4096 *:8006 *:* users:(("pveproxy",pid=4,fd=6))
tcp LISTEN 0 128 [::]:2049 [::]:*
tcp LISTEN 0 128 [::1]:631 [::]:*
"""


def faults(client: Client, plan: Plan, known: dict[str, frozenset[Listener]]) -> tuple[str, ...]:
    return firewall(client, plan.scopes, plan.needed, known, plan.settings)


def test_sockets_are_read_with_their_programs_and_without_loopback() -> None:
    parsed = parse(["node .", *SS.splitlines(), "node pve2", SS.splitlines()[4]])
    assert parsed == {
        HERE: {
            PORTMAP, Listener("udp", 546), Listener("tcp", 8006, "pveproxy"),
            Listener("tcp", 2049),
        },
        "pve2": {Listener("tcp", 8006, "pveproxy")},
    }  # fmt: skip


def test_every_node_of_the_cluster_is_asked(tmp_path: Path) -> None:
    """By the script itself, with programs that answer as those of a cluster do."""
    for name in ("here", "pve2", "down"):
        (tmp_path / "pve" / "nodes" / name).mkdir(parents=True)
    (tmp_path / "pve" / "nodes" / "pve2" / "ssh_known_hosts").write_text("pve2 ssh-ed25519 A\n")
    (tmp_path / "pve" / ".members").write_text(
        '{\n"nodename": "here",\n"nodelist": {\n'
        '  "here": { "id": 1, "online": 1, "ip": "10.0.0.1"},\n'
        '  "pve2": { "id": 2, "online": 1, "ip": "10.0.0.2"}\n  }\n}\n'
    )
    programs = {
        "ss": f"cat <<'E'\n{SS}E",
        "uname": "echo here.example",
        "ssh": 'case "$*" in *root@10.0.0.2*ssh_known_hosts*|*ssh_known_hosts*root@10.0.0.2*)'
        " echo 'tcp LISTEN 0 1 *:8007 *:*' ;; *) exit 255 ;; esac",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    words = [word.replace("/etc/pve", f"{tmp_path}/pve") for word in LISTEN.argv()]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    parsed = parse(done.stdout.splitlines())
    assert set(parsed) == {HERE, "pve2"}, done.stdout + done.stderr
    assert parsed["pve2"] == {Listener("tcp", 8007)}


def test_what_would_be_cut_is_told_with_the_flow_to_declare(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    known = listening(client, NFS, PORTMAP)
    (fault,) = faults(client, planned(), known)
    assert f"node {NODE} listens on udp/111 (rpcbind), tcp/2049 (nfsd)" in fault
    assert "rules of site.hypervisor.firewall" in fault
    assert '"proto": "tcp", "port": "2049", "source": "NETWORK", "comment": "nfsd"' in fault
    assert 'proxmox_node_closed = ["udp/111", "tcp/2049"]' in fault
    nfs = FirewallRule(
        direction="in", action="ACCEPT", proto="tcp", ports="2049", source=site.network,
        destination=None, comment="NFS",
    )  # fmt: skip
    serving = site.hypervisor.model_copy(update={"firewall_rules": (nfs,)})
    changed = site.model_copy(update={"hypervisor": serving})
    declared = planned(changed, proxmox_node_closed=["udp/111"])
    assert faults(client, declared, known) == ()
    assert pve.writes() == []
    run(client, declared)
    rules = pve.fake.firewall_config("host", node=NODE)["rules"]
    assert [rule["comment"] for rule in rules if rule.get("dport") == "2049"] == ["phoenix: NFS"]


@pytest.mark.parametrize("process", ["rpcbind", ""], ids=["rpcbind", "of the kernel"])
def test_what_is_told_of_rpcbind_can_be_written_as_it_stands(
    site: Site, pve: Pve, client: Client, planned: Planned, process: str
) -> None:
    """A new Proxmox VE has it: the first run stops, and each way out that it prints works."""
    pve.fake.add_node("second")
    own = listening(client)
    both = {Listener("tcp", 111, process), Listener("udp", 111, process)}
    known = {node: frozenset({*sockets, *both}) for node, sockets in own.items()}
    first, second = faults(client, planned(), known)
    closed = first.rpartition("proxmox_node_closed = ")[2]
    assert second.endswith(closed), "one line for both nodes"
    assert faults(client, planned(proxmox_node_closed=ast.literal_eval(closed)), known) == ()
    lines = [*first.splitlines(), *second.splitlines()]
    written = [line.strip().rstrip(",") for line in lines if line.startswith("    {")]
    rows = [ast.literal_eval(line.replace("NETWORK", "10.0.0.0/24")) for line in written]
    assert [row["port"] for row in rows] == ["111"] * 4
    flows = [row for row in rows if "node" in row]
    rules = tuple(
        FirewallRule(
            direction=row["type"], action=row["action"], proto=row["proto"], ports=row["port"],
            source=IPv4Network(row["source"]), destination=None, comment=row["comment"],
        )
        for row in rows
        if "node" not in row
    )  # fmt: skip
    serving = site.hypervisor.model_copy(update={"firewall_rules": rules})
    changed = site.model_copy(update={"hypervisor": serving})
    assert faults(client, planned(changed, proxmox_node_flows=flows), known) == ()
    assert pve.writes() == []


@pytest.mark.parametrize(
    ("socket", "rule"),
    [
        (Listener("tcp", 6790, "ceph-mon"), {"proto": "tcp", "dport": "6790", "log": "nolog"}),
        (Listener("tcp", 6789, "ceph-mon"), {"macro": "Ceph"}),
        (Listener("tcp", 6801, "ceph-osd"), {"macro": "ceph", "source": "10.0.0.0/24"}),
        (Listener("tcp", 445, "smbd"), {"macro": "SMB", "iface": "vmbr0"}),
        (Listener("tcp", 443, "nginx"), {"proto": "tcp", "dport": "https"}),
    ],
    ids=["log level", "macro", "range", "interface", "service"],
)
def test_a_persons_rule_lets_in_what_its_macro_or_service_stands_for(
    pve: Pve, client: Client, planned: Planned, socket: Listener, rule: dict[str, str]
) -> None:
    """A macro, a log level (the web interface always writes one) and a name hide no rule."""
    known = listening(client, socket)
    assert len(faults(client, planned(), known)) == 1
    client.write("POST", "cluster/firewall/rules",
                 {"type": "in", "action": "ACCEPT", "enable": 1, **rule})  # fmt: skip
    assert faults(client, planned(), known) == ()


def test_a_security_group_lets_in_and_shuts_out_by_its_macros(
    pve: Pve, client: Client, planned: Planned
) -> None:
    client.write("POST", "cluster/firewall/groups", {"group": "people"})
    path = "cluster/firewall/groups/people"
    client.write("POST", path, {"type": "in", "action": "DROP", "macro": "SSH", "enable": 1})
    nfs = {"type": "in", "action": "ACCEPT", "proto": "tcp", "dport": "2049", "enable": 1}
    client.write("POST", path, nfs)
    known = listening(client, NFS)
    assert len(faults(client, planned(come_from="203.0.113.9"), known)) == 1
    group = {"type": "group", "action": "people", "enable": 1}
    client.write("POST", f"nodes/{NODE}/firewall/rules", group)
    (fault,) = faults(client, planned(come_from="203.0.113.9"), known)
    assert "rule 0 of the node" in fault, "its NFS is let in, and our SSH is shut out"


def test_a_macro_of_a_person_keeps_its_place_and_its_effect(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    """On the double, whose new rules go to the top as Proxmox VE's do."""
    path = f"nodes/{NODE}/lxc/101/firewall/rules"
    converged(pve, client, planned())
    refusal = {"type": "in", "action": "DROP", "macro": "Telnet", "enable": 1, "comment": "mine"}
    client.write("POST", path, refusal)
    more = FirewallRule(
        direction="in", action="ACCEPT", proto="tcp", ports="8080", source=None, destination=None,
        comment="more",
    )  # fmt: skip
    run(client, planned(changed_site(site, 101, firewall_rules=(more,))))
    rules = pve.fake.firewall_config("ct", vmid=101)["rules"]
    assert rules[0]["comment"] == "mine", "no permission of ours came above it"
    assert "phoenix: more" in {rule.get("comment") for rule in rules}


def test_a_rule_of_a_person_that_lets_it_in_is_enough(
    pve: Pve, client: Client, planned: Planned
) -> None:
    known = listening(client, NFS)
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "dport": "2049", "enable": 0}
    client.write("POST", "cluster/firewall/rules", rule)
    assert len(faults(client, planned(), known)) == 1, "a rule that is off lets nobody in"
    client.write("PUT", "cluster/firewall/rules/0", {"enable": 1})
    assert faults(client, planned(), known) == ()


def test_a_node_whose_firewall_is_on_already_loses_nothing(
    pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    assert faults(client, planned(), listening(client, NFS)) == ()
    client.write("PUT", "cluster/firewall/options", {"policy_in": "ACCEPT"})
    assert len(faults(client, planned(), listening(client, NFS))) == 1
    client.write("PUT", "cluster/firewall/options", {"policy_in": "DROP"})
    client.write("PUT", f"nodes/{NODE}/firewall/options", {"enable": 0})
    assert len(faults(client, planned(), listening(client, NFS))) == 1


def test_other_nodes_are_looked_at_and_have_our_way_in(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.add_node("second")
    known = listening(client)
    of_second = {**known, "second": frozenset({*known[HERE], NFS})}
    (fault,) = faults(client, planned(), of_second)
    assert "node second listens on tcp/2049" in fault
    assert '"port": "2049", "source": "NETWORK", "node": "second"' in fault
    flows = [{"port": "2049", "source": "10.0.0.0/24", "node": "second"}]
    assert faults(client, planned(proxmox_node_flows=flows), of_second) == ()
    with pytest.raises(ConfigError, match="is the hypervisor itself"):
        planned(proxmox_node_flows=[{"port": "2049", "node": NODE}])
    unknown = {HERE: known[HERE]}
    (fault,) = faults(client, planned(), unknown)
    assert "what node second listens on is not known" in fault
    assert "proxmox_node_listeners" in fault
    ports: dict[str, Any] = {"proxmox_node_listeners": {"second": ["tcp/22", "tcp/2049"]}}
    (fault,) = faults(client, planned(**ports), unknown)
    assert "node second listens on tcp/2049 (unknown)" in fault
    assert pve.writes() == []
    run(client, planned(come_from="203.0.113.9"))
    rules = pve.fake.firewall_config("host", node="second")["rules"]
    ways = {(rule.get("dport"), rule.get("source")) for rule in rules}
    assert {("22", "203.0.113.9"), ("8006", "203.0.113.9"), ("22", "10.0.0.0/24")} <= ways
    order = [path for _, path, _ in pve.writes() if path.endswith("firewall/options")]
    assert order[-1] == "cluster/firewall/options"


def test_a_node_that_is_down_keeps_the_firewall_off(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.add_node("second")
    pve.fake.set_node_offline("second")
    (fault,) = faults(client, planned(), listening(client))
    assert "node second is down" in fault
    pve.fake.set_node_offline("second", False)
    converged(pve, client, planned())
    pve.fake.set_node_offline("second")
    assert faults(client, planned(), listening(client)) == ()


def test_the_way_in_by_ipv6_is_kept_on_every_scope_or_refused(
    pve: Pve, client: Client, planned: Planned
) -> None:
    with pytest.raises(ConfigError, match="link-local"):
        planned(come_from="fe80::1%vmbr0")
    plan = planned(come_from="2001:db8::7")
    run(client, plan)
    for kind, where in (("host", {"node": NODE}), ("ct", {"vmid": 103}), ("vm", {"vmid": 1001})):
        rules = pve.fake.firewall_config(kind, **where)["rules"]
        assert "2001:db8::7" in {rule.get("source") for rule in rules}
    pve.forget()
    assert not apply.apply(client, plan.scopes, lambda _line: None)


def test_a_rule_of_a_person_that_shuts_us_out_is_told_first(
    pve: Pve, client: Client, planned: Planned
) -> None:
    rule = {"type": "in", "action": "DROP", "source": "203.0.113.0/24", "enable": 1}
    client.write("POST", f"nodes/{NODE}/firewall/rules", rule)
    pve.forget()
    assert faults(client, planned(), listening(client)) == ()
    (fault,) = faults(client, planned(come_from="203.0.113.9"), listening(client))
    assert "rule 0 of the node" in fault
    assert "the operator's way in" in fault
    assert pve.writes() == []


def test_guests_send_from_their_own_addresses_alone(
    pve: Pve, client: Client, planned: Planned
) -> None:
    plan = planned(proxmox_guests={103: {"addresses": ["10.0.0.50"]}})
    run(client, plan)
    address = str(next(s for s in plan.scopes if s.vmid == 1001).host)
    for vmid, kind, expected in ((1001, "vm", [address]), (103, "ct", ["10.0.0.50"])):
        own = pve.fake.firewall_config(kind, vmid=vmid)
        assert (own["options"]["ipfilter"], own["options"].get("macfilter", 1)) == (1, 1)
        entries = client.get(
            f"nodes/{NODE}/{'qemu' if kind == 'vm' else 'lxc'}/{vmid}/firewall/ipset/ipfilter-net0"
        )
        assert [row["cidr"] for row in entries] == expected
    order = [path for _, path, _ in pve.writes() if "qemu/1001/firewall" in path]
    assert order[-1].endswith("/options"), "no packet is filtered before its address is known"
    client.write(
        "POST", f"nodes/{NODE}/lxc/103/firewall/ipset/ipfilter-net0", {"cidr": "10.0.0.60"}
    )
    run(client, planned())
    entries = client.get(f"nodes/{NODE}/lxc/103/firewall/ipset/ipfilter-net0")
    assert [row["cidr"] for row in entries] == ["10.0.0.60"], "a person's stays, ours is gone"
    pve.forget()
    assert not run(client, planned())
    assert pve.writes() == []


def test_a_flow_of_a_node_that_is_not_there_is_told(
    pve: Pve, client: Client, planned: Planned
) -> None:
    plan = planned(proxmox_node_flows=[{"port": "8007", "node": "pbs"}])
    (fault,) = preflight(client, plan.guests, plan.settings)
    assert "no node 'pbs'" in fault
    assert "proxmox_node_flows" in fault


def test_ports_of_nfs_that_move_are_to_be_fixed_first() -> None:
    """rpc.statd takes another port at each start: a rule for today's is none for tomorrow's."""
    moving = [Listener("tcp", 50321, "rpc.statd"), Listener("udp", 54242, "rpc.statd")]
    text = refusal("node", moving, is_own_node=True)
    assert "fix: give NFS fixed ports in /etc/nfs.conf ([statd] port=...), and let its" in text
    other = refusal("node", [Listener("tcp", 3260, "tgtd")], is_own_node=True)
    assert "fix: let its clients in" in other
