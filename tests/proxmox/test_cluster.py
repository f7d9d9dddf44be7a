"""The cluster: privileges that suffice, high availability, replication, firewall of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix.proxmox import apply, power
from phoenix.proxmox.access import PRIVILEGES
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import LoginError
from phoenix.proxmox.plan import Plan
from tests.proxmox.pve import NODE, Pve, run, shut_down

Planned = Callable[..., Plan]
FILE = "ubuntu-24.04-standard_24.04-2_amd64.tar.zst"


def everything(pve: Pve, client: Client, planned: Planned) -> None:
    """All kinds of writes: images, guests, firewall, growth, snapshots, power."""
    pve.fake.storages["local"]["volumes"].pop(f"vztmpl/{FILE}")
    image = {"url": "https://images.example/a.tar.zst", "sha256": "cd" * 32}
    plan = planned(proxmox_images={FILE: image}, proxmox_guests={103: {"tags": ("x",)}})
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
    pve.fake.grant("phoenix@pve", "/", *PRIVILEGES)
    everything(pve, client, planned)


# fakepve checks no privilege of the others: snapshots, bridges, cloud-init, downloads.
@pytest.mark.parametrize("privilege", ["VM.Allocate", "Datastore.AllocateSpace", "Sys.Modify"])
def test_none_of_those_checked_can_be_spared(
    pve: Pve, client: Client, planned: Planned, privilege: str
) -> None:
    pve.fake.grant("phoenix@pve", "/", *(set(PRIVILEGES) - {privilege}))
    with pytest.raises(LoginError, match="Permission check failed"):
        run(client, planned())


def test_high_availability_and_replication_are_asked_for_once(planned: Planned) -> None:
    class Known(Client):
        """The fake keeps neither, so what is there is given here."""

        def __init__(self, resources: list[Any], jobs: list[Any]) -> None:
            self.answers = {"cluster/ha/resources": resources, "cluster/replication": jobs}

        def get(self, path: str, **params: Any) -> Any:
            return self.answers[path]

    plan = planned(proxmox_guests={103: {"replicate_to": ("second", "third")}})
    none = apply.cluster_writes(Known([], []), plan.guests, "main", "*/5")
    assert [w.data["sid"] for w in none if "sid" in w.data] == [
        "ct:103", "ct:101", "ct:102", "vm:1001", "vm:1002",
    ]  # fmt: skip
    jobs = [(w.data["id"], w.data["target"]) for w in none if "target" in w.data]
    assert jobs == [("103-0", "second"), ("103-1", "third")]
    there = [{"sid": w.data["sid"]} for w in none if "sid" in w.data]
    first = [{"id": "103-0", "guest": 103, "jobnum": 0, "target": "second"}]
    left = apply.cluster_writes(Known(there, first), plan.guests, "main", "*/5")
    assert [(w.data["id"], w.data["target"]) for w in left] == [("103-1", "third")]
    assert apply.cluster_writes(Known([], []), planned().guests, None, "*/5") == ()


def test_requests_of_high_availability_and_replication_are_valid(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.add_node("second")
    run(client, planned())
    plan = planned(proxmox_ha_group="main", proxmox_guests={103: {"replicate_to": ("second",)}})
    for write in apply.cluster_writes(client, plan.guests, "main", "*/15"):
        client.write(write.method, write.path, write.data)


def test_firewall_rules_of_a_person_stay(pve: Pve, client: Client, planned: Planned) -> None:
    run(client, planned())
    path = f"nodes/{NODE}/lxc/101/firewall/rules"
    mine = {"type": "in", "action": "ACCEPT", "macro": "Ping", "enable": 1, "comment": "mine"}
    client.write("POST", path, mine)
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
    run(client, planned())
    order = [path for _, path, _ in pve.writes() if "firewall" in path or path.endswith("start")]
    assert order.index("cluster/firewall/options") == next(
        i for i, path in enumerate(order) if path.endswith("start")
    ) - 1, order  # fmt: skip
    for guest in planned().guests:
        own = [path for path in order if f"/{guest.vmid}/firewall/" in path]
        assert all(path.endswith("/rules") for path in own[:-1]), own
        assert not own or own[-1].endswith("/options"), own
