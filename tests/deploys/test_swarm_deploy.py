"""deploys/swarm.py and the removal of a node as whole deploys; hosts answer as they are told."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from operations import swarm as operations
from phoenix.derived.swarm import NETWORK_LABEL
from phoenix.health.removal import Removal
from phoenix.health.undeclared import Item
from tests.deploys.recorder import Run, run
from tests.unit.site_builder import Declaration
from tests.unit.swarm_cases import (
    INACTIVE,
    QUORUM_LOST,
    answer,
    declaration,
    info,
    node,
    overlay,
    settled,
    with_networks,
)

FACT = "docker node inspect --format"
NODES = ("control", "worker", "second")


@dataclass
class Wires:
    """What was asked of which host, by name of the script and its words, and what streamed."""

    asked: list[tuple[str, ...]] = field(default_factory=list)
    streams: list[tuple[str, str, str, tuple[str, ...]]] = field(default_factory=list)

    def ask(self, target: Any, line: str) -> str:
        _, _, _, name, *words = shlex.split(line)
        self.asked.append((target.name, name, *words))
        return ""

    def stream(self, source: Any, target: Any, tell: Callable[[int], None]) -> int:
        tell(1)
        _, _, _, _, *words = shlex.split(target[1])
        self.streams.append((source[0].name, source[1], target[0].name, tuple(words)))
        return 1


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> Wires:
    double = Wires()
    monkeypatch.setattr(operations, "ask", double.ask)
    monkeypatch.setattr(operations, "stream", double.stream)
    return double


def deployed(
    tmp_path: Path, answers: dict[str, list[str]], declared: Declaration | None = None, *,
    deploy: str = "swarm", **data: Any,
) -> Run:  # fmt: skip
    """A run on hosts with these answers about their swarm; the others are in no swarm."""
    (declared or declaration()).load(tmp_path / "site")
    every = {name: answer(INACTIVE) for name in NODES} | answers
    return run(
        deploy, tmp_path / "secrets.json", site_inventories=str(tmp_path / "site"),
        site_stacks=str(tmp_path / "site/stacks"),
        of_host={name: {FACT: lambda _, lines=lines: lines} for name, lines in every.items()},
        **data,
    )  # fmt: skip


def whole(nodes: list[dict[str, Any]] | None = None, **of_control: Any) -> dict[str, list[str]]:
    """All three in the swarm, of which `control` lists these nodes."""
    control = info("control", manager=True, **of_control)
    return {
        "control": answer(control, settled() if nodes is None else nodes),
        "worker": answer(info("worker")),
        "second": answer(info("second")),
    }


def test_a_new_swarm_is_made_once_and_joined_by_the_others(tmp_path: Path, wires: Wires) -> None:
    done = deployed(tmp_path, {})
    assert done.operations == [
        "Swarm: made", "Swarm: joined", "Swarm: managers", "Swarm: workers",
    ]  # fmt: skip
    assert {name: set(hosts) for name, hosts in done.changed.items()} == {
        "Swarm: made": {"control"}, "Swarm: joined": {"worker", "second"},
        "Swarm: managers": {"control"}, "Swarm: workers": {"worker", "second"},
    }  # fmt: skip
    (creation,) = [sent for sent in done.sent if "docker swarm init" in sent.command]
    assert creation.host == "control"
    assert creation.command.endswith("swarm-init 10.0.0.23 2377 active 24 10.200.0.0/16")


def test_a_swarm_as_declared_is_not_touched(tmp_path: Path, wires: Wires) -> None:
    done = deployed(tmp_path, whole())
    assert not any(done.changed.values()), done.changed
    assert (wires.asked, wires.streams, done.failed) == ([], [], set())


def test_a_host_joins_by_the_token_of_its_role_through_a_manager(
    tmp_path: Path, wires: Wires
) -> None:
    declared = declaration(node_availability="drain")
    answers = whole(settled()[::2]) | {"worker": answer(INACTIVE)}
    done = deployed(tmp_path, answers, declared)
    assert done.changed["Swarm: joined"] == ["worker"]
    assert wires.streams == [
        ("control", "docker swarm join-token --quiet worker", "worker",
         ("10.0.0.24", "2377", "drain", "10.0.0.23:2377")),
    ]  # fmt: skip
    wires.streams.clear()
    deployed(tmp_path, answers, declaration(swarm_role="manager"))
    assert wires.streams[0][1] == "docker swarm join-token --quiet manager"


def test_a_new_first_manager_joins_the_swarm_that_is_there(tmp_path: Path, wires: Wires) -> None:
    """Else there would be two."""
    answers = {"worker": answer(info("worker", manager=True), [node("worker", "manager")])}
    done = deployed(tmp_path, answers, declaration(swarm_role="manager"))
    assert done.changed["Swarm: made"] == []
    assert [(call[0], call[2]) for call in wires.streams if call[2] == "control"] == [
        ("worker", "control")
    ]


def test_no_swarm_is_made_while_a_manager_is_silent(tmp_path: Path, wires: Wires) -> None:
    answers = {"worker": ["silent Cannot connect to the Docker daemon"]}
    done = deployed(tmp_path, answers, declaration(swarm_role="manager"))
    assert "control" in done.failed
    assert not [sent for sent in done.sent if "docker swarm init" in sent.command]


def test_a_persons_swarm_on_another_host_is_not_joined(tmp_path: Path, wires: Wires) -> None:
    declared = declaration()
    declared.vm["vms"][2]["swarm_role"] = None
    foreign_swarm = answer(info("second", manager=True), [node("second", "manager", ours=False)])
    done = deployed(tmp_path, {"second": foreign_swarm}, declared)
    assert done.changed["Swarm: made"] == ["control"]
    assert not [call for call in wires.streams if call[0] == "second"]


def test_labels_role_and_availability_change_through_a_manager(
    tmp_path: Path, wires: Wires
) -> None:
    nodes = [
        node("control", "manager"), node("worker", "manager", labels={"old": "1"}),
        node("second", availability="drain"),
    ]  # fmt: skip
    answers = whole(nodes) | {"worker": answer(info("worker", manager=True), nodes)}
    deployed(tmp_path, answers)
    assert sorted(wires.asked) == [
        ("control", "swarm-update", "idsecond", "", "--availability", "active"),
        ("control", "swarm-update", "idworker", "worker",
         "--label-rm", "old", "--label-add", "gpu=false"),
    ]  # fmt: skip


def test_promotions_come_before_demotions(tmp_path: Path, wires: Wires) -> None:
    """`control` is to be a worker, and changes by the manager that was made before it."""
    declared = declaration(swarm_role="manager")
    declared.vm["vms"][0]["swarm_role"] = "worker"
    deployed(tmp_path, whole(), declared)
    roles = [(call[0], call[2], call[3]) for call in wires.asked]
    assert roles == [("control", "idworker", "manager"), ("control", "idcontrol", "worker")]


@pytest.mark.parametrize(
    ("worker", "control", "words"),
    [
        ({"LocalNodeState": "locked"}, {}, "docker swarm unlock"),
        ({"LocalNodeState": "error", "Error": "x509: expired"}, {}, "x509: expired"),
        ({"NodeID": "elsewhere"}, {}, "worker is in another swarm than control"),
        ({}, {"Error": QUORUM_LOST}, "no manager of the swarm answers: see `phoenix doctor`"),
    ],
)
def test_what_cannot_be_converged_says_why_and_stops_nothing_else(
    tmp_path: Path, wires: Wires, worker: dict[str, Any], control: dict[str, Any], words: str,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    answers = whole(**control) | {"worker": answer(info("worker", **worker))}
    done = deployed(tmp_path, answers)
    assert "worker" in done.failed
    assert words in caplog.text
    assert ("control" in done.failed) == bool(control)
    if control:
        assert "--force-new-cluster" in caplog.text
    assert wires.asked == []


def test_a_range_that_clashes_since_is_told(
    tmp_path: Path, wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    answers = whole(Cluster={"ID": "c", "DefaultAddrPool": ["10.0.0.0/8"]})
    assert not any(deployed(tmp_path, answers).changed.values())
    assert "the swarm's range 10.0.0.0/8 overlaps 10.0.0.0/24: the network lan" in caplog.text


def test_a_range_that_cannot_be_ends_the_run_before_any_host(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"the swarm's range 10.0.0.0/16 overlaps"):
        deployed(tmp_path, {}, swarm_address_pools=["10.0.0.0/16"])


# -- overlay networks ------------------------------------------------------------------------------


def of_networks(*networks: dict[str, Any]) -> dict[str, list[str]]:
    """The swarm as declared, with these overlay networks."""
    lines = answer(info("control", manager=True), settled(), networks)
    return whole() | {"control": lines}


def test_networks_are_made_once_by_a_manager(tmp_path: Path, wires: Wires) -> None:
    declared = with_networks(mesh={}, plain={"encrypted": False, "attachable": True})
    done = deployed(tmp_path, of_networks(overlay("ingress", ours=False)), declared)
    assert wires.asked == [
        ("control", "swarm-network", "mesh", f"{NETWORK_LABEL}=mesh", "yes", "", "", ""),
        ("control", "swarm-network", "plain", f"{NETWORK_LABEL}=plain", "", "yes", "", ""),
    ]
    assert done.changed["Swarm: network mesh"] == ["control"]
    wires.asked.clear()
    networks = [overlay("mesh"), overlay("plain", encrypted=False, attachable=True)]
    done = deployed(tmp_path, of_networks(*networks), declared)
    assert not any(done.changed.values()), done.changed
    assert wires.asked == []


def test_a_network_that_differs_is_made_anew_unless_it_is_a_persons(
    tmp_path: Path, wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    declared = with_networks(mesh={})
    deployed(tmp_path, of_networks(overlay("mesh", encrypted=False)), declared)
    assert [call[-1] for call in wires.asked] == ["idmesh"]
    assert "made anew, as Docker changes none: it is not encrypted" in caplog.text
    wires.asked.clear()
    foreign_network = overlay("mesh", encrypted=False, ours=False)
    done = deployed(tmp_path, of_networks(foreign_network), declared)
    assert ("control" in done.failed, wires.asked) == (True, [])
    assert "that Phoenix did not make, and it is not encrypted" in caplog.text


def test_a_network_that_left_the_declaration_goes_by_a_manager(
    tmp_path: Path, wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[tuple[str, str]] = []
    monkeypatch.setattr(operations, "ask", lambda to, line: lines.append((to.name, line)))
    answers = of_networks(overlay("old"), overlay("theirs", ours=False))
    item = Item(kind="overlay", name="old", host="control")
    removed(tmp_path, answers, item, declaration())
    assert lines == [("control", "docker network rm idold")]
    lines.clear()
    removed(tmp_path, answers, Item(kind="overlay", name="theirs", host="control"), declaration())
    assert lines == []


# -- removal ---------------------------------------------------------------------------------------


def removed(
    tmp_path: Path, answers: dict[str, list[str]], item: Item, declared: Declaration
) -> Run:
    asked = Removal(
        item=item, volumes=False, destroy=False, target=item.host, environment="", projects=(),
        lines=(),
    )  # fmt: skip
    setting = json.loads(asked.model_dump_json())
    return deployed(tmp_path, answers, declared, deploy="remove", remove=setting)


def _node(name: str, host: str) -> Item:
    return Item(kind="node", name=name, host=host)


def without(name: str) -> Declaration:
    declared = declaration()
    for guest in declared.vm["vms"]:
        if guest["name"] == name:
            guest |= {"swarm_role": None, "node_labels": []}
    return declared


def test_a_node_whose_guest_is_there_leaves_by_itself(tmp_path: Path, wires: Wires) -> None:
    done = removed(tmp_path, whole(), _node("second", "second"), without("second"))
    assert done.failed == set()
    assert wires.asked == [
        ("control", "swarm-update", "idsecond", "", "--availability", "drain"),
        ("second", "swarm-leave"),
        ("control", "swarm-forget", "idsecond", "yes"),
    ]


def test_a_manager_becomes_a_worker_before_it_leaves(tmp_path: Path, wires: Wires) -> None:
    nodes = [node("control", "manager"), node("worker", "manager"), node("second")]
    answers = whole(nodes) | {"worker": answer(info("worker", manager=True), nodes)}
    removed(tmp_path, answers, _node("worker", "worker"), without("worker"))
    assert wires.asked[0] == (
        "control", "swarm-update", "idworker", "worker", "--availability", "drain",
    )  # fmt: skip


def test_a_node_whose_guest_is_gone_is_forgotten(tmp_path: Path, wires: Wires) -> None:
    nodes = [*settled(), node("gone", state="down")]
    removed(tmp_path, whole(nodes), _node("gone", "control"), declaration())
    assert [call[:2] for call in wires.asked] == [
        ("control", "swarm-update"), ("control", "swarm-forget"),
    ]  # fmt: skip
    assert wires.asked[-1][2:] == ("idgone", "")


def test_a_declared_node_is_never_removed(tmp_path: Path, wires: Wires) -> None:
    answers = whole() | {"second": ["silent no answer"]}
    done = removed(tmp_path, answers, _node("second", "second"), declaration())
    assert wires.asked == []
    assert not any(done.changed.values())


def test_the_last_manager_is_kept_while_there_are_workers(
    tmp_path: Path, wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    declared = declaration(swarm_role="manager")
    declared.vm["vms"][0]["swarm_role"] = None
    done = removed(tmp_path, whole(), _node("control", "control"), declared)
    assert "control" in done.failed
    assert "control is the last manager of 3 nodes" in caplog.text
    assert wires.asked == []


def test_the_last_node_takes_the_swarm_with_it(tmp_path: Path, wires: Wires) -> None:
    declared = declaration(swarm_role=None, node_labels=[])
    for guest in declared.vm["vms"]:
        guest["swarm_role"] = None
    answers = {"control": answer(info("control", manager=True), [node("control", "manager")])}
    removed(tmp_path, answers, _node("control", "control"), declared)
    assert wires.asked == [("control", "swarm-leave")]


def test_a_join_without_a_manager_fails_its_host(tmp_path: Path) -> None:
    """As with --limit to a worker of a site that has no swarm yet."""
    assert {"worker", "second"} <= deployed(tmp_path, {}).failed
