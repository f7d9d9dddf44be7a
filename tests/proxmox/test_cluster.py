"""The cluster: privileges that suffice, high availability, replication, firewall of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix.proxmox import availability, power
from phoenix.proxmox.access import PRIVILEGES
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import RefusedError
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import preflight, privileges
from tests.proxmox.pve import NODE, Pve, converged, run, shut_down

Planned = Callable[..., Plan]
FILE = "ubuntu-24.04-standard_24.04-2_amd64.tar.zst"
IMAGE = {"url": "https://images.example/a.tar.zst", "sha256": "cd" * 32}
SETTINGS_ALONE = {
    "VM.Snapshot", "VM.Snapshot.Rollback", "Sys.AccessNetwork", "Datastore.AllocateTemplate",
}  # fmt: skip


def everything(pve: Pve, client: Client, planned: Planned) -> None:
    """All kinds of writes: images, guests, firewall, growth, snapshots, power."""
    pve.fake.storages["local"]["volumes"].pop(f"vztmpl/{FILE}")
    plan = planned(proxmox_images={FILE: IMAGE}, proxmox_guests={103: {"tags": ("x",)}})
    with pytest.MonkeyPatch.context() as patch:
        stored = pve.fake.store_file

        def downloaded(method: str, path: str, data: Any = None, real: Any = client.write) -> None:
            real(method, path, data)
            if path.endswith("download-url"):  # the fake downloads nothing from nowhere
                stored("local", FILE, 10**6, content="vztmpl")

        patch.setattr(client, "write", downloaded)
        run(client, plan)
    with power.restore_point(client, 103, lambda _line: None):
        client.write("PUT", f"nodes/{NODE}/lxc/103/config", {"memory": 2048})
    shut_down(client, 103)


def test_the_listed_privileges_suffice(pve: Pve, client: Client, planned: Planned) -> None:
    pve.only(*PRIVILEGES)
    everything(pve, client, planned)


@pytest.mark.parametrize("privilege", sorted(set(PRIVILEGES) - SETTINGS_ALONE))
def test_a_missing_privilege_is_named_with_its_command_before_the_first_write(
    pve: Pve, client: Client, planned: Planned, privilege: str
) -> None:
    pve.only(*(set(PRIVILEGES) - {privilege}))
    plan = planned()
    (fault,) = preflight(client, plan.guests, plan.settings)
    assert f"  {privilege} on /" in fault
    command = f'pveum role modify Phoenix --append 1 -privs "{privilege}"'
    assert command in fault
    assert pve.writes() == []


@pytest.mark.parametrize(
    ("settings", "privilege"),
    [
        ({"proxmox_lifecycle_snapshots": True}, "VM.Snapshot"),
        ({"proxmox_snapshot_before_change": True}, "VM.Snapshot.Rollback"),
        ({"proxmox_images": {FILE: IMAGE}}, "Sys.AccessNetwork"),
        ({"proxmox_images": {FILE: IMAGE}}, "Datastore.AllocateTemplate"),
        ({"proxmox_ha_group": "main", "proxmox_ha_nodes": (NODE,)}, "Sys.Console"),
        ({"proxmox_guests": {103: {"replicate_to": ("second",)}}}, "VM.Replicate"),
    ],
)
def test_a_setting_needs_a_privilege_of_its_own(
    pve: Pve, client: Client, planned: Planned, settings: dict[str, Any], privilege: str
) -> None:
    pve.fake.add_node("second")
    plan = planned(**settings)
    held = {*PRIVILEGES, "Sys.Console", "VM.Replicate"}
    pve.only(*held)
    assert preflight(client, plan.guests, plan.settings) == ()
    pve.only(*(held - {privilege}))
    (fault,) = preflight(client, plan.guests, plan.settings)
    assert f"  {privilege} on /" in fault
    pve.forget()


def test_replication_in_version_8_needs_the_storage(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.version = "8.4.1"
    pve.fake.add_node("second")
    plan = planned(proxmox_guests={103: {"replicate_to": ("second",)}})
    (fault,) = preflight(client, plan.guests, plan.settings)
    assert "Datastore.Allocate on /storage/quickOS-lxc-disks" in fault


def test_a_token_with_privilege_separation_is_told_so(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.separated.add("phoenix@pve!deploy")
    plan = planned()
    (fault,) = preflight(client, plan.guests, plan.settings)
    assert "pveum user token modify USER ID --privsep 0" in fault
    assert "VM.Allocate on " in fault
    pve.fake.grant("phoenix@pve!deploy", "/", *PRIVILEGES)
    assert preflight(client, plan.guests, plan.settings) == ()


def test_privileges_on_narrower_paths_suffice(pve: Pve, client: Client, planned: Planned) -> None:
    pve.only("Sys.Audit", "Sys.Modify")
    for path in ("/vms", "/storage", "/sdn", "/nodes"):
        pve.fake.grant("phoenix@pve", path, *PRIVILEGES)
    plan = planned()
    assert preflight(client, plan.guests, plan.settings) == ()
    run(client, plan)


def available(client: Client, plan: Plan) -> list[str]:
    """What is written for high availability and replication, until nothing is left."""
    lines = []
    for write in availability.writes(client, plan.guests, plan.settings):
        client.write(write.method, write.path, write.data)
        lines.append(write.summary)
    assert availability.writes(client, plan.guests, plan.settings) == ()
    return lines


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("version", ["8.4.1", "9.1.2"])
def test_high_availability_by_groups_and_by_rules(
    pve: Pve, client: Client, planned: Planned, version: str
) -> None:
    pve.fake.version = version
    pve.fake.add_node("second")
    converged(pve, client, planned())
    pve.only(*PRIVILEGES, "Sys.Console", "VM.Replicate", "Datastore.Allocate")
    nodes = (f"{NODE}:2", "second")
    settings = {"proxmox_ha_group": "main", "proxmox_ha_nodes": nodes}
    more = {103: {"replicate_to": ("second",)}}
    available(client, planned(**settings, proxmox_guests=more))
    sids = ["ct:103", "ct:101", "ct:102", "vm:1001", "vm:1002"]
    assert list(pve.fake.ha_resources) == sids
    assert [job["target"] for job in pve.fake.replication.values()] == ["second"]
    if version.startswith("8"):
        assert pve.fake.ha_groups["main"]["nodes"] == ",".join(nodes)
        assert {row["group"] for row in pve.fake.ha_resources.values()} == {"main"}
    else:
        assert pve.fake.ha_rules["main"]["nodes"] == ",".join(nodes)
        assert pve.fake.ha_rules["main"]["resources"] == ",".join(sids)


def test_a_rule_of_9_takes_the_guests_that_it_lacks(
    pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    pve.only(*PRIVILEGES, "Sys.Console")
    plan = planned(proxmox_ha_group="main")
    with pytest.raises(RefusedError, match=r"no node affinity rule 'main'.*proxmox_ha_nodes"):
        availability.writes(client, plan.guests, plan.settings)
    pve.fake.ha_rules["ha-group-main"] = {
        "rule": "ha-group-main", "type": "node-affinity", "nodes": NODE, "resources": "vm:4000",
    }  # fmt: skip
    pve.fake.add_vm(4000, "a-persons", node=NODE)
    pve.fake.ha_resources["vm:4000"] = {"sid": "vm:4000"}
    available(client, plan)
    assert pve.fake.ha_rules["ha-group-main"]["resources"].startswith("vm:4000,ct:103,ct:101")


def test_further_replication_jobs_get_further_numbers(
    pve: Pve, client: Client, planned: Planned
) -> None:
    for node in ("second", "third"):
        pve.fake.add_node(node)
    converged(pve, client, planned())
    pve.only(*PRIVILEGES, "VM.Replicate")
    available(client, planned(proxmox_guests={103: {"replicate_to": ("second",)}}))
    available(client, planned(proxmox_guests={103: {"replicate_to": ("second", "third")}}))
    assert list(pve.fake.replication) == ["103-0", "103-1"]
    plain = planned()
    assert availability.writes(client, plain.guests, plain.settings) == ()


def test_firewall_rules_of_a_person_stay(pve: Pve, client: Client, planned: Planned) -> None:
    converged(pve, client, planned())
    path = f"nodes/{NODE}/lxc/101/firewall/rules"
    own_rule = {"type": "in", "action": "ACCEPT", "macro": "Ping", "enable": 1, "comment": "mine"}
    client.write("POST", path, own_rule)
    rules = pve.fake.firewall_config("ct", vmid=101)["rules"]
    for rule in rules:
        if rule.get("dport") == "22":
            rule["enable"] = 0
            rule["comment"] = "phoenix: changed by hand"
    del rules[3]
    pve.forget()
    assert run(client, planned())
    assert not run(client, planned())
    after = pve.fake.firewall_config("ct", vmid=101)["rules"]
    assert [rule["comment"] for rule in after if rule.get("macro")] == ["mine"], after
    ssh = [rule for rule in after if rule.get("dport") == "22"]
    assert [(rule["enable"], rule["comment"]) for rule in ssh] == [(1, "phoenix: operator, by SSH")]


def test_the_firewall_is_complete_before_it_is_switched_on(
    pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    order = [path for _, path, _ in pve.writes() if "firewall" in path or path.endswith("start")]
    assert order.index("cluster/firewall/options") == next(
        i for i, path in enumerate(order) if path.endswith("start")
    ) - 1, order  # fmt: skip
    for guest in planned().guests:
        own = [path for path in order if f"/{guest.vmid}/firewall/" in path]
        assert all(path.endswith("/rules") or "/ipset" in path for path in own[:-1]), own
        assert not own or own[-1].endswith("/options"), own


def test_the_vlan_of_a_card_needs_its_own_place(client: Client, planned: Planned) -> None:
    plan = planned(proxmox_guests={103: {"vlan": 8}})
    asked = privileges(client, plan.guests, plan.settings)
    places = {question.path: question.why for question in asked if question.name == "SDN.Use"}
    assert places["/sdn/zones/localnetwork/vmbr0/8"] == "bridge vmbr0/8"
    assert "/sdn/zones/localnetwork/vmbr0" in places, "of the others"
