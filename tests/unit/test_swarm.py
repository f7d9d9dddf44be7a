"""The site's Docker Swarm: what is declared, who meets whom, what differs, what is told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from facts.host_fact import FactError
from facts.swarm import SwarmNode as SwarmNodeFact
from phoenix.components.docker import daemon_json
from phoenix.components.guard.ruleset import ruleset
from phoenix.components.swarm import cluster
from phoenix.components.swarm.address_pool import clash, pools, ranges_in_use
from phoenix.components.swarm.cluster import (
    Swarm,
    SwarmError,
    change,
    left,
    of_host,
    overlay_differs,
    read,
)
from phoenix.declaration.settings import Settings
from phoenix.declaration.settings import read as read_settings
from phoenix.derived import firewall
from phoenix.derived.swarm import LABEL, NETWORK_LABEL, advertised
from phoenix.health import observation, removal
from phoenix.health.advice import likely_fix
from phoenix.health.checks import checks, made_on, redundant_checks
from phoenix.health.diagnosis import PathReport, diagnose
from phoenix.health.observation import Observed
from phoenix.health.paths import paths
from phoenix.health.undeclared import Sightings, undeclared
from phoenix.site.findings import ConfigError, Finding, SettingError
from phoenix.site.model import Site, SwarmNetwork, SwarmNode
from phoenix.validation.setting_values import check as check_settings
from phoenix.watch.causes import CheckedPath, Findings, Hop, Outcome
from phoenix.watch.plan import Plan, from_json
from tests.unit.site_builder import VM, lxc, minimal, problem
from tests.unit.swarm_cases import (
    QUORUM_LOST,
    declaration,
    info,
    manager_of,
    node,
    overlay,
    settled,
    site,
    with_networks,
    worker_of,
)
from tests.unit.test_check_script import fault, stand_in

NONE: Mapping[str, str] = {}
CONTROL, WORKER = "vms[0].swarm_role", "vms[1].swarm_role"


def settings(**values: Any) -> Settings:
    typed, findings = read_settings(values)
    assert typed is not None, findings
    return typed


# -- the declaration -------------------------------------------------------------------------------


def test_nodes_are_managers_first_with_their_labels(tmp_path: Path) -> None:
    loaded = site(tmp_path, node_labels=["zone=b", "gpu=false"], node_availability="drain")
    assert [host.name for host in loaded.swarm_nodes] == ["control", "worker", "second"]
    assert loaded.host("worker").swarm == SwarmNode(
        role="worker", labels=(("gpu", "false"), ("zone", "b")), availability="drain"
    )
    assert loaded.host("gateway").swarm is None
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("swarm_role", "leader", "manager"),
        ("node_labels", ["gpu"], "is not a label of a node"),
        ("node_labels", ["a b=c"], "is not a label of a node"),
        ("node_labels", ["phoenix.node=x"], "a label of Phoenix' own"),
        ("node_labels", ["gpu=true", "gpu=false"], "gpu has another value above"),
        ("node_availability", "off", "drain"),
    ],
)
def test_what_no_node_can_be_is_refused(tmp_path: Path, key: str, value: Any, words: str) -> None:
    findings = declaration(**{key: value}).refused(tmp_path)
    (finding,) = [candidate for candidate in findings if candidate.path.startswith(f"vms[1].{key}")]
    assert words in str(finding)


def test_workers_need_a_manager(tmp_path: Path) -> None:
    declared = declaration()
    declared.vm["vms"][0].pop("swarm_role")
    assert "no manager" in problem(declared.refused(tmp_path), VM, WORKER).message


def test_a_container_is_no_node(tmp_path: Path) -> None:
    declared = declaration()
    declared.lxc["lxc_configs"]["150"] = lxc("box", "docker", 50, swarm_role="worker")
    (finding,) = [
        candidate
        for candidate in declared.refused(tmp_path)
        if candidate.path.endswith("swarm_role")
    ]
    assert (finding.path, "make it a VM" in finding.fix) == ("lxc_configs.150.swarm_role", True)


def test_a_node_runs_docker(tmp_path: Path) -> None:
    declared = declaration()
    declared.vm["vms"][2].pop("role")
    assert "runs Docker" in problem(declared.refused(tmp_path), VM, "vms[2].swarm_role").message


def test_an_even_number_of_managers_is_told(tmp_path: Path) -> None:
    finding = problem(site(tmp_path, swarm_role="manager").warnings, VM, WORKER)
    assert "2 managers survive the loss of none, as 1 would" in finding.message


def test_keys_of_a_node_on_another_guest_are_told(tmp_path: Path) -> None:
    declared = declaration()
    declared.vm["vms"][2] |= {"swarm_role": None, "node_availability": "drain"}
    finding = problem(declared.load(tmp_path).warnings, VM, "vms[2].node_availability")
    assert "not a node of the swarm" in finding.message


def test_a_node_has_one_address(tmp_path: Path) -> None:
    """It is met at another by who shares a second network with it."""
    declared = declaration()
    declared.hypervisor = {"networks": {"back": {"subnet": "172.16.9.0/24", "bridge": "vmbr9"}}}
    for number in (0, 1):
        declared.vm["vms"][number]["secondary_network_config"] = {"ip": f"172.16.9.{number + 3}/24"}
        first = declared.vm["vms"][number]["network_config"]
        second = declared.vm["vms"][number]["secondary_network_config"]
        declared.vm["vms"][number] |= {
            "network_config": second, "secondary_network_config": first,
        }  # fmt: skip
    findings = declared.refused(tmp_path)
    finding = problem(findings, VM, CONTROL)
    assert "172.16.9.3" in finding.message
    assert "10.0.0.23" in finding.message


def test_a_published_port_is_not_the_swarms(tmp_path: Path) -> None:
    declared = declaration()
    manifest, compose = declared.stacks["shop"]
    declared.stacks["shop"] = (manifest, compose)
    compose["services"]["web"]["ports"].append("7946:80")
    (finding,) = declared.refused(tmp_path)
    assert "port 7946/tcp of worker is taken by Docker Swarm" in finding.message


# -- flows -----------------------------------------------------------------------------------------


def _swarm_flows(loaded: Site) -> set[tuple[str, str, str, int | None]]:
    return {
        (flow.source.name, flow.destination.name, flow.proto, flow.port)
        for flow in firewall.flows(loaded)
        if "swarm" in flow.why
        and not isinstance(flow.source, str | IPv4Network)
        and not isinstance(flow.destination, str | IPv4Network)
    }


def test_nodes_alone_meet_each_other(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    names = [host.name for host in loaded.swarm_nodes]
    pairs = [(a, b) for a in names for b in names if a != b]
    assert _swarm_flows(loaded) == {
        *((a, b, proto, port) for a, b in pairs
          for proto, port in (("tcp", 7946), ("udp", 7946), ("udp", 4789), ("esp", None))),
        ("worker", "control", "tcp", 2377), ("second", "control", "tcp", 2377),
    }  # fmt: skip
    assert str(advertised(loaded, loaded.host("worker"))) == "10.0.0.24"


def test_a_single_node_opens_nothing(tmp_path: Path) -> None:
    declared = declaration(swarm_role=None, node_labels=[])
    declared.vm["vms"].pop()
    assert _swarm_flows(declared.load(tmp_path)) == set()


def test_a_node_s_guard_knows_esp_and_the_swarm_s_bridge(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    rules = ruleset(loaded, loaded.host("worker"))
    esp = 'ip saddr 10.0.0.23 meta l4proto esp accept comment "encrypted overlay networks'
    assert esp in rules
    assert 'iifname "docker_gwbridge" goto containers' in rules
    assert "docker_gwbridge" not in ruleset(loaded, loaded.host("gateway"))
    assert " 2377 " not in rules, "only managers are asked there"


def test_proxmox_filters_esp_without_a_port(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    rules = [rule for rule in firewall.rules(loaded)["worker"] if rule.proto == "esp"]
    assert {(rule.direction, rule.ports) for rule in rules} == {("in", None), ("out", None)}


# -- dockerd ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "in_swarm", "lives"),
    [("worker", False, False), ("worker", True, False), ("other", False, True),
     ("other", True, False)],
)  # fmt: skip
def test_live_restore_is_off_where_a_swarm_is(
    tmp_path: Path, name: str, in_swarm: bool, lives: bool
) -> None:
    """A node that is no longer declared keeps it off until it has left: dockerd has to start."""
    declared = declaration()
    declared.vm["vms"][2] |= {"name": "other", "swarm_role": None}
    loaded = declared.load(tmp_path)
    desired = daemon_json.declared(loaded, loaded.host(name), settings())
    merged = daemon_json.merge(desired, daemon_json.DaemonState(in_swarm=in_swarm))
    assert json.loads(merged.daemon)["live-restore"] is lives
    assert daemon_json.keeps_containers(merged) is lives


# -- addresses -------------------------------------------------------------------------------------


def test_the_default_range_is_no_network_of_the_site(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    assert pools(loaded, settings()) == (IPv4Network("10.200.0.0/16"),)
    bridges = settings(docker_address_pools=[{"base": "10.200.0.0/15", "size": 24}])
    assert pools(loaded, bridges) == (IPv4Network("10.202.0.0/16"),)


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        (["10.0.0.0/16"], "overlaps 10.0.0.0/24: the network lan"),
        (["10.77.0.0/16", "172.20.0.0/16"], "where Docker takes its bridges from"),
        (["fd00::/48"], "is not an IPv4 network"),
        (["10.77.0.0/25"], "no room"),
    ],
)
def test_a_range_that_clashes_is_refused_offline(
    tmp_path: Path, ranges: list[str], words: str
) -> None:
    loaded, chosen = site(tmp_path), settings(swarm_address_pools=ranges)
    with pytest.raises(SettingError, match=words):
        pools(loaded, chosen)
    findings: tuple[Finding, ...] = check_settings(
        loaded, chosen, faulty=(), ssh_key=None, home=tmp_path
    )
    assert any(
        finding.path == "swarm_address_pools" and words in finding.message for finding in findings
    ), findings


def test_what_a_swarm_was_made_with_may_clash_later(tmp_path: Path) -> None:
    known = ranges_in_use(site(tmp_path), settings())
    assert clash([IPv4Network("10.0.0.0/8")], known)
    assert not clash([IPv4Network("10.200.0.0/16")], known)


# -- what Docker tells -----------------------------------------------------------------------------


def test_a_swarm_is_read_from_dockers_own_words() -> None:
    swarm = manager_of([*settled(), node("guest", ours=False)])
    assert swarm.answers
    assert swarm.is_ours
    assert swarm.ranges == (IPv4Network("10.200.0.0/16"),)
    assert [row.name for row in swarm.nodes] == ["control", "worker", "second", ""]
    first = swarm.nodes[0]
    assert (first.role, first.reachability, first.address) == ("manager", "reachable", "10.0.0.23")
    lost = read(json.dumps(info("control", manager=True, Error=QUORUM_LOST)), [])
    assert (lost.joined, lost.answers) == (True, False)
    assert not manager_of([node("guest", ours=False)]).is_ours
    tried = info("worker", NodeID="", LocalNodeState="error", Error="context deadline exceeded")
    assert not read(json.dumps(tried), []).joined, "it joins at the next sync"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"LocalNodeState": 1, "Cluster": 3}'])
def test_an_answer_of_another_form_is_an_error(text: str) -> None:
    with pytest.raises(SwarmError):
        read(text, [])


# -- what differs ----------------------------------------------------------------------------------

WANTED = SwarmNode(role="worker", labels=(("gpu", "false"),))


def _node(**more: Any) -> cluster.Node:
    return manager_of([node("worker", **more)]).nodes[0]


def test_a_node_as_declared_has_no_change() -> None:
    assert not change("worker", WANTED, _node(labels={"gpu": "false"}))


@pytest.mark.parametrize(
    ("node_now", "arguments", "role", "words"),
    [
        ({}, ("--label-add", "gpu=false"), "", "label gpu=false"),
        ({"labels": {"gpu": "true"}}, ("--label-add", "gpu=false"), "", "it was true"),
        ({"labels": {"gpu": "false", "old": "1"}}, ("--label-rm", "old"), "",
         "label old=1 goes, which is not declared"),
        ({"labels": {"gpu": "false"}, "availability": "drain"}, ("--availability", "active"), "",
         "availability active, it was drain"),
        ({"labels": {"gpu": "false"}, "role": "manager"}, (), "worker", "becomes a worker"),
        ({"labels": {"gpu": "false"}, "ours": False}, ("--label-add", f"{LABEL}=worker"), "",
         "known as ours"),
    ],
)  # fmt: skip
def test_each_difference_is_told_and_changed(
    node_now: dict[str, Any], arguments: tuple[str, ...], role: str, words: str
) -> None:
    changes = change("worker", WANTED, _node(**node_now))
    assert (changes.arguments, changes.role) == (arguments, role)
    assert words in " ".join(changes.words)
    assert changes


def test_a_drain_says_that_tasks_move() -> None:
    drained = WANTED.model_copy(update={"availability": "drain"})
    assert "its tasks move to other nodes" in change(
        "worker", drained, _node(labels={"gpu": "false"})
    ).words  # fmt: skip


def test_a_host_that_has_just_joined_gets_its_labels() -> None:
    changes = change("worker", WANTED, None)
    assert changes.arguments == ("--label-add", "gpu=false", "--label-add", f"{LABEL}=worker")
    assert changes.role == ""


def test_a_host_is_the_node_that_it_says_it_is() -> None:
    swarm = manager_of([node("worker", id="old", state="down"), *settled()])
    assert of_host(swarm, "worker", "idworker").id == "idworker"  # type: ignore[union-attr]
    assert of_host(swarm, "worker", "").id == "idworker"  # type: ignore[union-attr]
    assert of_host(swarm, "worker", "elsewhere") is None


# -- what is not declared --------------------------------------------------------------------------


def test_nodes_of_ours_that_no_guest_is_are_told_with_their_command(tmp_path: Path) -> None:
    declared = declaration()
    declared.vm["vms"][2]["swarm_role"] = None
    loaded = declared.load(tmp_path)
    nodes = [*settled(), node("gone", state="down", labels={"gpu": "true"}),
             node("worker", id="old", state="down"), node("guest", ours=False)]  # fmt: skip
    sightings = Sightings(
        swarms={
            "control": manager_of(nodes), "worker": worker_of("worker"),
            "second": worker_of("second"),
        }
    )  # fmt: skip
    items = [item for item in undeclared(loaded, sightings).items if item.kind == "node"]
    assert [(item.name, item.host, item.command) for item in items] == [
        ("gone", "control", "phoenix remove gone"),
        ("worker", "control", "phoenix remove worker@control"),
        ("second", "second", "phoenix remove second@second"),
    ]
    assert items[0].holds == ("worker at 10.0.0.23, down, active", "id idgone", "label gpu=true")
    assert all(not item.kept for item in items), "status and plan end with 2 for them"
    asked = removal.removal(loaded, sightings, items[2], volumes=False, destroy=False)
    assert removal.hosts(loaded, asked) == (loaded.hypervisor.name, "second")


def test_a_persons_swarm_is_nobodys_business(tmp_path: Path) -> None:
    declared = declaration(swarm_role=None, node_labels=[])
    for guest in declared.vm["vms"]:
        guest["swarm_role"] = None
    loaded = declared.load(tmp_path)
    foreign_swarm = manager_of([node("control", "manager", ours=False), node("worker", ours=False)])
    assert undeclared(loaded, Sightings(swarms={"control": foreign_swarm})).items == ()


def test_a_silent_host_is_no_node_that_left(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    assert left(manager_of(settled()), loaded.swarm_nodes, {"control": "idcontrol"}) == ()


def test_docker_hosts_are_asked_for_their_swarm(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    asked = {host.name for host in loaded.hosts if observation.request(loaded, host).swarm}
    assert asked == {"control", "worker", "second"}
    answer = {"state": "active", "node": "idworker"}
    sightings = observation.sightings(
        loaded, Observed({observation.SWARM: {"worker": answer, "second": None}}, {}),
        frozenset(), frozenset(),
    )  # fmt: skip
    assert sightings.swarms == {"worker": Swarm(state="active", node="idworker")}


# -- overlay networks ------------------------------------------------------------------------------


def test_networks_are_encrypted_unless_they_say_otherwise(tmp_path: Path) -> None:
    loaded = with_networks(mesh={}, plain={"encrypted": False, "attachable": True,
                                         "subnet": "10.200.9.0/24"}).load(tmp_path)  # fmt: skip
    assert loaded.swarm_networks == (
        SwarmNetwork(name="mesh"),
        SwarmNetwork(
            name="plain", encrypted=False, attachable=True, subnet=IPv4Network("10.200.9.0/24")
        ),
    )
    assert loaded.swarm_networks[0].encrypted


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        ({"mesh": {"subnet": "10.0.0.0/26"}}, "overlaps 10.0.0.0/24: the network lan"),
        ({"a1": {"subnet": "10.201.0.0/16"}, "b1": {"subnet": "10.201.3.0/24"}},
         "overlaps 10.201.0.0/16: the network a1 of the swarm"),
        ({"mesh": {"subnet": "10.201.0.0/30"}}, "has no room"),
        ({"ingress": {}}, "not a name of a network of yours"),
        ({"x y": {}}, "not a name of a network of yours"),
        ({"mesh": {"encryptd": True}}, "did you mean"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_are_refused(
    tmp_path: Path, networks: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        with_networks(**networks).load(tmp_path)
    assert words in str(refused.value)


def test_networks_need_a_swarm(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc.setdefault("site", {})["swarm_networks"] = {"mesh": {}}
    with pytest.raises(ConfigError, match="the site has no swarm that could have networks"):
        declared.load(tmp_path)


def test_a_network_where_docker_takes_bridges_from_is_refused(tmp_path: Path) -> None:
    loaded = with_networks(mesh={"subnet": "172.18.4.0/24"}).load(tmp_path)
    findings = check_settings(loaded, settings(), faulty=(), ssh_key=None, home=tmp_path)
    assert any(
        "network mesh" in finding.message and "172.18.0.0/16" in finding.message
        for finding in findings
    )


@pytest.mark.parametrize(
    ("network_now", "words"),
    [
        ({}, ()),
        ({"encrypted": False}, ("it is not encrypted",)),
        ({"attachable": True}, ("it is attachable",)),
        ({"subnet": "10.200.7.0/24"}, ("its addresses are 10.200.7.0/24, not 10.200.1.0/24",)),
    ],
)
def test_what_differs_of_a_network(network_now: dict[str, Any], words: tuple[str, ...]) -> None:
    network = SwarmNetwork(name="mesh", subnet=IPv4Network("10.200.1.0/24"))
    swarm = manager_of(settled(), [overlay("ingress", ours=False), overlay("mesh", **network_now)])
    assert [overlay_network.name for overlay_network in swarm.overlays] == ["mesh"], (
        "ingress is Docker's own"
    )
    assert overlay_differs(network, swarm.overlays[0]) == words


def test_networks_of_ours_that_are_not_declared_are_told(tmp_path: Path) -> None:
    loaded = with_networks(mesh={}).load(tmp_path)
    answer = manager_of(settled(), [overlay("mesh"), overlay("old"), overlay("theirs", ours=False)])
    items = undeclared(loaded, Sightings(swarms={"control": answer})).items
    assert [(i.kind, i.name, i.host, i.command) for i in items] == [
        ("overlay", "old", "control", "phoenix remove old")
    ]
    asked = removal.removal(loaded, Sightings(), items[0], volumes=False, destroy=False)
    assert asked.target == "control"
    declared = items[0].model_copy(update={"name": "mesh"})
    with pytest.raises(SettingError, match="overlay mesh on control is declared"):
        asked.model_copy(update={"item": declared}).check(loaded)


_OVERLAYS = {
    "": "overlay,encrypted,closed,10.200.1.0/24",
    "it is overlay,,closed,10.200.1.0/24": "overlay,,closed,10.200.1.0/24",
    "it is overlay,encrypted,attachable,": "overlay,encrypted,attachable,10.200.1.0/24",
}


@pytest.mark.parametrize(("words", "row"), _OVERLAYS.items())
def test_a_network_as_the_managers_have_it(tmp_path: Path, words: str, row: str) -> None:
    stand_in(tmp_path, "docker", f'echo "{row}"')
    loaded = with_networks(mesh={}).load(tmp_path / "site")
    (check,) = [candidate for candidate in checks(loaded) if candidate.function == "overlay_is"]
    assert (check.host, check.command) == (
        "control", ("overlay_is", "mesh", "encrypted", "closed", "any"),
    )  # fmt: skip
    text = fault(tmp_path, *check.command)
    assert words in text
    assert bool(text) == bool(words), text
    assert bool(fault(tmp_path, *check.command[:-1], "10.200.2.0/24")), "of other addresses"


def test_a_network_that_is_gone_and_a_kernel_that_cannot_encrypt_are_told(tmp_path: Path) -> None:
    stand_in(tmp_path, "docker", "echo 'Error response: network mesh not found' >&2; exit 1")
    gone = fault(tmp_path, "overlay_is", "mesh", "encrypted", "closed", "any")
    assert gone == "the swarm has no such network"
    loaded = with_networks(mesh={}, plain={"encrypted": False}).load(tmp_path / "site")
    asked = [check.host for check in checks(loaded) if check.function == "kernel_encrypts"]
    assert sorted(asked) == ["control", "second", "worker"]
    for said in (
        "Error: Requested AEAD algorithm not found.",
        "RTNETLINK answers: Protocol not supported",
        "RTNETLINK answers: Operation not supported",
    ):
        stand_in(tmp_path, "unshare", f"echo '{said}' >&2; exit 2")
        assert "nothing passes through one between nodes" in fault(tmp_path, "kernel_encrypts")
    stand_in(tmp_path, "unshare", "echo 'unshare failed: Operation not permitted' >&2; exit 1")
    assert fault(tmp_path, "kernel_encrypts") == "", "this host permits no try"
    stand_in(tmp_path, "unshare", "exit 0")
    assert fault(tmp_path, "kernel_encrypts") == ""
    names = {path.name for path in paths(loaded)}
    assert {"network mesh of the swarm", "network plain of the swarm"} <= names


# -- checks ----------------------------------------------------------------------------------------


def test_each_node_and_what_the_managers_have_is_checked(tmp_path: Path) -> None:
    loaded = site(tmp_path, node_availability="drain")
    commands = {(check.host, check.command) for check in checks(loaded)
             if check.function in ("in_swarm", "node_is")}  # fmt: skip
    assert commands == {
        ("control", ("in_swarm", "manager")), ("worker", ("in_swarm", "worker")),
        ("second", ("in_swarm", "worker")),
        ("control", ("node_is", "control", "manager", "active", "phoenix.node=control")),
        ("control", ("node_is", "worker", "worker", "drain", "gpu=false", "phoenix.node=worker")),
        ("control", ("node_is", "second", "worker", "active", "phoenix.node=second")),
    }  # fmt: skip


# -- one manager that answers is enough --------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Site:
    """A site whose three nodes are managers, and an overlay network."""
    declared = with_networks(mesh={})
    for vm in declared.vm["vms"][1:]:
        vm["swarm_role"] = "manager"
    return declared.load(tmp_path / "three")


def found(loaded: Site, silent: Collection[str], faults: Mapping[str, str] = NONE) -> Observed:
    """What `phoenix status` is told: `faults` by the host that makes a node's check."""
    answers = {
        host.name: [
            faults.get(check.host, "") if check.function == "node_is" else ""
            for check in made_on(loaded, host)
        ]
        for host in loaded.hosts
        if host.name not in silent
    }
    return Observed({observation.CHECKS: answers}, dict.fromkeys(silent, "no route to it"))


def walked(loaded: Site, observed: Observed) -> Mapping[str, PathReport]:
    outcomes, silent = observation.outcomes(loaded, observed, [host.name for host in loaded.hosts])
    return diagnose(loaded, paths(loaded), Findings(outcomes, silent)).by_path()


def test_each_manager_is_asked_for_the_nodes_and_the_networks(three: Site) -> None:
    names = ["control", "worker", "second"]
    for target in names:
        asked = [c for c in checks(three) if (c.function, c.target) == ("node_is", target)]
        assert [check.host for check in asked] == names
        assert len({check.command for check in asked} | {c.question for c in asked}) == 2
    assert [c.host for c in checks(three) if c.function == "overlay_is"] == names
    questions = {check.question for check in checks(three) if check.question}
    assert len(questions) == 4, "a question is about one thing"


def test_a_manager_that_is_out_of_reach_hides_nothing_that_another_one_tells(three: Site) -> None:
    reports = walked(three, found(three, ["control"]))
    assert reports["node second of the swarm"].state == "ok"
    assert reports["network mesh of the swarm"].hops[0].state == "ok"
    assert reports["node control of the swarm"].state == "unknown", "of itself it tells nothing"
    for silent in (["control", "worker"], ["worker"]):
        reports = walked(three, found(three, silent))
        assert reports["network mesh of the swarm"].hops[0].state == "ok"
        assert reports["node second of the swarm"].state == "ok"
    reports = walked(three, found(three, ["control", "worker", "second"]))
    assert reports["network mesh of the swarm"].hops[0].state == "unknown"


def test_what_another_manager_tells_of_a_node_is_not_laid_to_the_one_out_of_reach(
    three: Site,
) -> None:
    down = "the swarm's managers do not hear from it: down"
    reports = walked(three, found(three, ["control"], {"worker": down, "second": down}))
    report = reports["node second of the swarm"]
    assert (report.state, [hop.state for hop in report.hops]) == ("broken", ["ok", "broken"])
    assert report.cause is not None
    assert (report.cause.host, report.cause.fault) == ("worker", down)
    of_itself = reports["node control of the swarm"].cause
    assert of_itself is not None
    assert of_itself.layer == "reach", "that it does not answer explains what others say of it"


@pytest.mark.parametrize(
    ("silent", "teller"), [([], "control"), (["control"], "worker"), (["worker"], "control")]
)
def test_the_first_manager_that_answers_tells_it_alone(
    three: Site, silent: list[str], teller: str
) -> None:
    hosts = [host.name for host in three.hosts]
    outcomes, _ = observation.outcomes(three, found(three, silent), hosts)
    told = [o.check for o in outcomes if o.check.question]
    assert {check.host for check in told} == {teller}
    assert len(told) == 4


def test_who_did_not_make_a_check_tells_nothing(three: Site) -> None:
    """A run that proves a part of the site makes a part of its checks."""
    of_worker = [Outcome(check, "") for check in made_on(three, three.host("worker"))]
    others = [Outcome(c, "") for c in made_on(three, three.host("control")) if not c.question]
    assert redundant_checks(three, {"control": others, "worker": of_worker}) == frozenset()
    whole = [Outcome(check, "") for check in made_on(three, three.host("control"))]
    told = redundant_checks(three, {"control": whole, "worker": of_worker})
    assert told == {outcome.check for outcome in of_worker if outcome.check.question}


def test_the_watcher_reads_which_checks_ask_one_question(three: Site) -> None:
    own = [check for check in checks(three) if check.question]
    path = CheckedPath("swarm", "a node", (Hop("control", "second", "the node", tuple(own)),))
    written = Plan("lab.example", 60, {"control": "a"}, {}, tuple(own), (path,), {})
    assert [check.question for check in from_json(written.to_json()).checks] == [
        check.question for check in own
    ]


# -- what is told ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("active true ", ""),
        ("active false ", "it is a worker of its swarm, not a manager"),
        ("inactive false ", "it is in no swarm"),
        ("locked false ", "Docker says that it is locked in its swarm"),
        ("error false certificate expired", "it is error in its swarm: certificate expired"),
        ("active true no raft log", "the swarm is at fault: no raft log"),
        (f"active true {QUORUM_LOST}", "the swarm has lost the majority of its managers"),
    ],
)
def test_a_host_s_place_in_the_swarm(tmp_path: Path, answer: str, words: str) -> None:
    stand_in(tmp_path, "docker", f'echo "{answer}"')
    text = fault(tmp_path, "in_swarm", "manager")
    assert words in text
    assert bool(text) == bool(words), text


_ROWS = {
    "": "worker ready worker active - gpu=false phoenix.node=worker",
    "do not hear from it: down": "worker down worker active - gpu=false phoenix.node=worker",
    "it is a manager, not a worker":
        "worker ready manager active reachable gpu=false phoenix.node=worker",
    "its availability is drain, not active":
        "worker ready worker drain - gpu=false phoenix.node=worker",
    "its labels are phoenix.node=worker, not gpu=false":
        "worker ready worker active - phoenix.node=worker",
    "has no node of this name": "workers ready worker active - phoenix.node=workers",
}  # fmt: skip


@pytest.mark.parametrize("reaches", ["reachable", "unreachable", "unknown"])
def test_a_manager_is_to_be_reached_by_the_others(tmp_path: Path, reaches: str) -> None:
    row = f"worker ready manager active {reaches} phoenix.node=worker"
    stand_in(tmp_path, "docker", f'case $2 in ls) echo id ;; *) echo "{row}" ;; esac')
    text = fault(tmp_path, "node_is", "worker", "manager", "active", "phoenix.node=worker")
    assert text == ("" if reaches == "reachable" else f"as a manager it is {reaches}")


@pytest.mark.parametrize(("words", "row"), _ROWS.items())
def test_a_node_as_the_managers_have_it(tmp_path: Path, words: str, row: str) -> None:
    older = "worker down worker active - phoenix.node=worker\n" if not words else ""
    stand_in(tmp_path, "docker", f'case $2 in ls) echo id ;; *) printf "{older}{row}\\n" ;; esac')
    labels = ("gpu=false", "phoenix.node=worker")
    text = fault(tmp_path, "node_is", "worker", "worker", "active", *labels)
    assert words in text
    assert bool(text) == bool(words), text


@pytest.mark.parametrize(
    ("looks", "words"), [(3, ""), (1000, "the swarm's managers do not hear from it: unknown")]
)
def test_a_new_leader_is_given_time_to_hear_from_its_nodes(
    tmp_path: Path, looks: int, words: str
) -> None:
    """It says unknown of each node, of itself too, until the node has reported."""
    stand_in(tmp_path, "sleep", ":")
    stand_in(
        tmp_path,
        "docker",
        f"""case $2 in ls) echo id; exit ;; esac
echo >>{tmp_path}/looks
state=ready; [ "$(wc -l <{tmp_path}/looks)" -gt {looks} ] || state=unknown
echo "worker $state worker active - phoenix.node=worker" """,
    )
    assert fault(tmp_path, "node_is", "worker", "worker", "active", "phoenix.node=worker") == words


@pytest.mark.parametrize(
    ("info", "answer"),
    [
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", "?"),
        (f"echo 'active true {QUORUM_LOST}'", "?"),
        ("echo 'active true '", "Docker does not tell of {}"),
    ],
)
def test_a_manager_that_cannot_tell_says_so_and_not_that_all_is_well(
    tmp_path: Path, info: str, answer: str
) -> None:
    """Another one is asked instead; where its own place in the swarm is well, that is a fault."""
    stand_in(tmp_path, "docker", f"case $1 in info) {info} ;; *) echo no >&2; exit 1 ;; esac")
    node = fault(tmp_path, "node_is", "worker", "worker", "active", "phoenix.node=worker")
    assert node == answer.format("the swarm's nodes")
    overlay = fault(tmp_path, "overlay_is", "mesh", "encrypted", "closed", "any")
    assert overlay == answer.format("the network mesh")


def test_a_lost_quorum_has_its_own_advice(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    (check,) = [
        candidate for candidate in checks(loaded) if candidate.command == ("in_swarm", "manager")
    ]
    fix = likely_fix(loaded, check, "the swarm has lost the majority of its managers: what runs")
    assert "start the managers that are down" in fix.advice
    assert any(
        "--force-new-cluster --advertise-addr 10.0.0.23" in command for command in fix.commands
    )
    assert "phoenix sync swarm" in likely_fix(loaded, check, "it is in no swarm").commands


# -- scripts ---------------------------------------------------------------------------------------

SCRIPTS = Path(__file__).parents[2] / "phoenix/components/swarm"


@pytest.fixture
def sh(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script of the component with stand-ins for docker, curl, seq and sleep."""
    stand_in(tmp_path, "sleep", ":")

    def run(name: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(SCRIPTS / f"{name}.sh"), *words], input=stdin, text=True, check=False,
            capture_output=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin", "D": str(tmp_path)},
        )  # fmt: skip

    return run


def asked(stand_ins: Path) -> Swarm:
    """What the fact answers on a host with these stand-ins."""
    answer = subprocess.run(
        ["sh", "-c", SwarmNodeFact().command().get_raw_value()], capture_output=True,
        text=True, check=True, env={"PATH": f"{stand_ins}:/usr/bin:/bin"},
    )  # fmt: skip
    return SwarmNodeFact().process(answer.stdout.splitlines())


def test_networks_that_docker_does_not_list_are_not_taken_for_none(tmp_path: Path) -> None:
    """What was to be removed counted as gone, and what is there was made again."""
    listed = json.dumps(overlay("apps"))
    docker = f"""case "$1 $2" in
info*) echo '{{"LocalNodeState":"active","NodeID":"a","ControlAvailable":true,"Error":""}}' ;;
"node ls") echo a ;;
"node inspect") echo '{json.dumps(node("a"))}' ;;
"network ls") [ ! -e $0.fails ] || exit 1; echo n ;;
"network inspect") echo '{listed}'
    [ ! -e $0.moves ] || {{ rm $0.moves; exit 1; }} ;;
esac
"""
    stand_in(tmp_path, "docker", docker)

    assert [network.name for network in asked(tmp_path).overlays] == ["apps"]
    (tmp_path / "docker.moves").touch()  # one that was listed has gone
    assert [network.name for network in asked(tmp_path).overlays] == ["apps"]
    (tmp_path / "docker.fails").touch()
    with pytest.raises(FactError, match="Docker does not tell the swarm's networks"):
        asked(tmp_path)


@pytest.mark.parametrize(("looks", "state"), [(3, "active"), (1000, "pending")])
def test_a_node_whose_docker_has_just_started_is_given_time(
    tmp_path: Path, looks: int, state: str
) -> None:
    """A sync after a restart of Docker was refused with "wait, or docker swarm leave"."""
    stand_in(tmp_path, "sleep", ":")
    stand_in(
        tmp_path,
        "docker",
        f"""echo >>{tmp_path}/looks
state=active; [ "$(wc -l <{tmp_path}/looks)" -gt {looks} ] || state=pending
printf '{{"LocalNodeState":"%s","NodeID":"a","ControlAvailable":false,"Error":""}}\\n' $state""",
    )
    assert asked(tmp_path).state == state


TOKEN = "SWMTKN-1-planted"


def test_a_token_is_in_no_argument(tmp_path: Path, sh: Any) -> None:
    stand_in(tmp_path, "curl", 'echo "$*" >"$D/args"; cat >"$D/body"')
    stand_in(tmp_path, "docker", 'echo "$*" >>"$D/args"; echo active')
    managers = ("10.0.0.23:2377", "10.0.0.26:2377")
    done = sh("join", "10.0.0.24", "2377", "drain", *managers, stdin=f"{TOKEN}\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert TOKEN not in (tmp_path / "args").read_text()
    assert json.loads((tmp_path / "body").read_text()) == {
        "ListenAddr": "10.0.0.24:2377", "AdvertiseAddr": "10.0.0.24", "DataPathAddr": "10.0.0.24",
        "Availability": "drain", "RemoteAddrs": list(managers), "JoinToken": TOKEN,
    }  # fmt: skip


def test_a_refused_join_says_why(tmp_path: Path, sh: Any) -> None:
    stand_in(tmp_path, "curl", 'cat >/dev/null; echo \'{"message":"invalid join token"}\'')
    stand_in(tmp_path, "docker", "echo inactive")
    done = sh("join", "10.0.0.24", "2377", "active", "10.0.0.23:2377", stdin=f"{TOKEN}\n")
    assert done.returncode == 1
    assert "invalid join token" in done.stderr
    assert TOKEN not in done.stderr
    done = sh("join", "10.0.0.24", "2377", "active", "10.0.0.23:2377")
    assert (done.returncode, "gave a token" in done.stderr) == (1, True)


def test_a_try_that_reached_no_manager_is_no_hindrance(tmp_path: Path, sh: Any) -> None:
    """Docker keeps it as an error, and refuses to join again."""
    stand_in(tmp_path, "curl", "cat >/dev/null")
    stand_in(
        tmp_path, "docker",
        'echo "$*" >>"$D/done"; if [ -e "$D/left" ]; then echo active; '
        'elif [ "$1" = swarm ]; then : >"$D/left"; else echo "error "; fi',
    )  # fmt: skip
    done = sh("join", "10.0.0.24", "2377", "active", "10.0.0.23:2377", stdin=f"{TOKEN}\n")
    assert done.returncode == 0, done.stderr
    assert "swarm leave --force" in (tmp_path / "done").read_text()


def test_what_init_prints_nobody_hears(tmp_path: Path, sh: Any) -> None:
    stand_in(tmp_path, "docker", f'echo "$*" >"$D/args"; echo "join --token {TOKEN}"')
    done = sh("init", "10.0.0.23", "2377", "active", "24", "10.200.0.0/16", "10.201.0.0/16")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    words = (tmp_path / "args").read_text()
    assert words.count("--default-addr-pool ") == 2
    assert "--advertise-addr 10.0.0.23 --data-path-addr 10.0.0.23" in words
    stand_in(tmp_path, "docker", "echo wrong pool >&2; exit 1")
    done = sh("init", "10.0.0.23", "2377", "active", "24", "10.200.0.0/16")
    assert (done.returncode, done.stderr) == (1, "wrong pool\n")


def test_a_change_of_role_is_waited_for(tmp_path: Path, sh: Any) -> None:
    stand_in(
        tmp_path, "docker",
        'case "$1 $2" in "node inspect") echo . >>"$D/asked"; [ "$(wc -l <"$D/asked")" -lt 3 ] || '
        'echo reachable ;; *) echo "$*" >>"$D/done" ;; esac',
    )  # fmt: skip
    done = sh("update", "id1", "manager", "--label-add", "a=b")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "done").read_text().splitlines() == [
        "node update --label-add a=b id1", "node update --role manager id1",
    ]  # fmt: skip
    assert len((tmp_path / "asked").read_text().splitlines()) == 3
    stand_in(tmp_path, "docker", '[ "$2" != inspect ] || echo reachable')
    done = sh("update", "id1", "worker")
    assert (done.returncode, "has not become a worker" in done.stderr) == (1, True)


def test_the_last_manager_takes_the_swarm_with_it(tmp_path: Path, sh: Any) -> None:
    stand_in(
        tmp_path, "docker",
        'echo "$*" >>"$D/done"; [ -n "$3" ] || { echo "Removing the last manager erases all" >&2; '
        "exit 1; }",
    )  # fmt: skip
    assert sh("leave").returncode == 0
    assert (tmp_path / "done").read_text().splitlines() == ["swarm leave", "swarm leave --force"]
    stand_in(tmp_path, "docker", "echo 'context deadline exceeded' >&2; exit 1")
    done = sh("leave")
    assert (done.returncode, done.stderr) == (1, "context deadline exceeded\n")


def test_a_node_is_forgotten_when_it_is_down(tmp_path: Path, sh: Any) -> None:
    stand_in(
        tmp_path, "docker",
        'echo "$*" >>"$D/done"; [ "$(wc -l <"$D/done")" -ge 3 ] || { echo not down >&2; exit 1; }',
    )  # fmt: skip
    assert sh("forget", "id1", "yes").returncode == 0
    assert (tmp_path / "done").read_text().splitlines() == ["node rm id1"] * 3
    (tmp_path / "done").unlink()
    stand_in(tmp_path, "docker", 'echo "$*" >>"$D/done"')
    assert sh("forget", "id1", "").returncode == 0
    assert (tmp_path / "done").read_text() == "node rm --force id1\n"


def test_a_network_is_made_with_its_options_and_another_goes_first(tmp_path: Path, sh: Any) -> None:
    stand_in(
        tmp_path, "docker",
        'echo "$*" >>"$D/done"; [ "$2" != create ] || [ "$(grep -c create "$D/done")" -ge 2 ] || '
        '{ echo "network with name mesh already exists" >&2; exit 1; }',
    )  # fmt: skip
    done = sh("network", "mesh", f"{NETWORK_LABEL}=mesh", "yes", "yes", "10.200.4.0/24", "idold")
    assert done.returncode == 0, done.stderr
    creation = (
        f"network create --driver overlay --label {NETWORK_LABEL}=mesh --opt encrypted --attachable"
        " --subnet 10.200.4.0/24 mesh"
    )
    lines = (tmp_path / "done").read_text().splitlines()
    assert lines == ["network rm idold", creation, creation], (
        "it waits until the managers forgot the other"
    )
    (tmp_path / "done").unlink()
    assert sh("network", "mesh", f"{NETWORK_LABEL}=mesh", "", "", "", "").returncode == 0
    assert (tmp_path / "done").read_text().splitlines()[0] == (
        f"network create --driver overlay --label {NETWORK_LABEL}=mesh mesh"
    )
    stand_in(tmp_path, "docker", "echo 'network mesh has active endpoints' >&2; exit 1")
    done = sh("network", "mesh", "a=b", "", "", "", "idold")
    assert (done.returncode, done.stderr) == (1, "network mesh has active endpoints\n")
