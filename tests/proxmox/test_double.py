"""The double itself: as strict as the real API was measured to be, where fakepve is kinder."""

from __future__ import annotations

from typing import Any

import pytest

from phoenix.proxmox.access import PRIVILEGES
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import AlreadyError, LoginError, ProxmoxError
from phoenix.proxmox.transport import Trust
from tests.proxmox.conftest import make_client
from tests.proxmox.pve import NODE, Pve

ARCHIVE = "local:vztmpl/ubuntu-24.04-standard_24.04-2_amd64.tar.zst"
CT: dict[str, Any] = {
    "vmid": 500, "ostemplate": ARCHIVE, "rootfs": "quickOS-lxc-disks:8", "unprivileged": 1,
    "hostname": "one",
}  # fmt: skip


def state(client: Client, vmid: int) -> dict[str, Any]:
    rows = client.get("cluster/resources", type="vm")
    return next(row for row in rows if row["vmid"] == vmid)


def test_the_list_of_guests_is_old_and_status_current_is_not(pve: Pve, client: Client) -> None:
    now = [0.0]
    pve.fake.clock, pve.fake.resources_seconds = lambda: now[0], 10.0
    client.get("cluster/resources")
    client.write("POST", f"nodes/{NODE}/lxc", CT)
    assert state(client, 500)["status"] == "unknown", "there at once, its state is not"
    assert "name" not in state(client, 500)
    now[0] = 10.0
    assert (state(client, 500)["status"], state(client, 500)["name"]) == ("stopped", "one")
    client.write("POST", f"nodes/{NODE}/lxc/500/status/start")
    assert state(client, 500)["status"] == "stopped"
    assert client.get(f"nodes/{NODE}/lxc/500/status/current")["status"] == "running"
    now[0] = 20.0
    assert state(client, 500)["status"] == "running"


def test_a_containers_template_answers_null_and_takes_its_time(pve: Pve, client: Client) -> None:
    client.write("POST", f"nodes/{NODE}/lxc", CT)
    path = f"nodes/{NODE}/lxc/500"
    assert client._send("POST", f"{path}/template", {}) is None
    assert "template" not in client.get(f"{path}/config")
    (task,) = [t for t in client.get(f"nodes/{NODE}/tasks", vmid=500, source="all")
               if t["type"] == "vztemplate"]  # fmt: skip
    assert task["status"] == "RUNNING"
    with pytest.raises(AlreadyError, match="template to a template"):
        client.write("POST", f"{path}/template")
    for _ in range(4):
        config = client.get(f"{path}/config")
    assert config["template"] == 1
    assert client.get(f"nodes/{NODE}/tasks/{task['upid']}/status")["exitstatus"] == "OK"


@pytest.mark.parametrize(
    ("key", "value", "privilege"),
    [
        ("cores", 2, "VM.Config.CPU"),
        ("cpu", "host", "VM.Config.CPU"),
        ("memory", 512, "VM.Config.Memory"),
        ("net0", "virtio,bridge=vmbr0", "VM.Config.Network"),
        ("net0", "virtio,bridge=vmbr0", "SDN.Use"),
        ("ciuser", "me", "VM.Config.Cloudinit"),
        ("description", "text", "VM.Config.Options"),
        ("startup", "order=1", "Sys.Modify"),
        ("vga", "std", "VM.Config.HWType"),
    ],
)
def test_each_key_of_a_vm_needs_its_privilege(
    pve: Pve, client: Client, key: str, value: Any, privilege: str
) -> None:
    pve.fake.add_vm(600, "one", node=NODE)
    pve.only(*(set(PRIVILEGES) - {privilege}))
    with pytest.raises(LoginError, match=privilege.replace(".", r"\.")):
        client.write("PUT", f"nodes/{NODE}/qemu/600/config", {key: value})
    pve.only(*PRIVILEGES)
    client.write("PUT", f"nodes/{NODE}/qemu/600/config", {key: value})


@pytest.mark.parametrize(
    "change",
    [
        {"features": "nesting=1,keyctl=1"},
        {"features": "mount=nfs"},
        {"mp0": "/tank,mp=/media"},
        {"dev0": "/dev/dri/renderD128"},
    ],
)
def test_some_settings_are_for_root_alone_and_no_token_is_root(
    pve: Pve, client: Client, fakepve_url: str, fakepve_cafile: str, change: dict[str, str]
) -> None:
    client.write("POST", f"nodes/{NODE}/lxc", CT)
    pve.fake.apitokens["root@pam!all"] = "x"
    trust = Trust(ca_file=fakepve_cafile)
    for who in (client, make_client(fakepve_url, trust, token="root@pam!all=x")):
        with pytest.raises(LoginError, match="root@pam"):
            who.write("PUT", f"nodes/{NODE}/lxc/500/config", change)


def test_a_token_with_privilege_separation_has_what_both_have(pve: Pve, client: Client) -> None:
    pve.fake.add_vm(600, "one", node=NODE)
    pve.fake.separated.add("phoenix@pve!deploy")
    path = f"nodes/{NODE}/qemu/600/config"
    with pytest.raises(LoginError):
        client.get(path)
    pve.fake.grant("phoenix@pve!deploy", "/vms", "VM.Audit", "VM.Backup")
    assert client.get(path)["name"] == "one"
    held = client.get("access/permissions", path="/vms/600")
    assert held == {"/vms/600": {"VM.Audit": 1}}, "VM.Backup is not its user's"


def test_images_come_from_a_storage_that_takes_them(pve: Pve, client: Client) -> None:
    pve.fake.storages["local"]["content"] = "iso,vztmpl,backup"
    image = "local:import/noble-server-cloudimg-amd64.qcow2"
    assert client.get(f"nodes/{NODE}/storage/local/content", content="import") == []
    disk = f"quickOS-vm-disks:0,import-from={image}"
    with pytest.raises(ProxmoxError, match="let the storage local take import"):
        client.write("POST", f"nodes/{NODE}/qemu", {"vmid": 600, "scsi0": disk})


def test_groups_end_and_rules_begin_with_9(pve: Pve, client: Client) -> None:
    pve.only(*PRIVILEGES, "Sys.Console")
    pve.fake.add_vm(600, "one", node=NODE)
    with pytest.raises(ProxmoxError, match="ha groups have been migrated to rules"):
        client.get("cluster/ha/groups")
    with pytest.raises(ProxmoxError, match="migrated to rules"):
        client.write("POST", "cluster/ha/resources", {"sid": "vm:600", "group": "main"})
    rule = {"rule": "main", "type": "node-affinity", "nodes": NODE, "resources": "vm:600"}
    with pytest.raises(ProxmoxError, match="unmanaged"):
        client.write("POST", "cluster/ha/rules", rule)
    client.write("POST", "cluster/ha/resources", {"sid": "vm:600"})
    client.write("POST", "cluster/ha/rules", rule)
    pve.fake.version = "8.4.1"
    assert client.get("cluster/ha/groups") == []
    with pytest.raises(ProxmoxError, match="not implemented"):
        client.get("cluster/ha/rules")
    pve.only(*PRIVILEGES)
    with pytest.raises(LoginError, match=r"Sys\.Console"):
        client.write("POST", "cluster/ha/resources", {"sid": "vm:600"})


def test_a_running_container_is_not_started_again(pve: Pve, client: Client) -> None:
    client.write("POST", f"nodes/{NODE}/lxc", CT)
    client.write("POST", f"nodes/{NODE}/lxc/500/status/start")
    with pytest.raises(AlreadyError, match="CT 500 already running"):
        client.write("POST", f"nodes/{NODE}/lxc/500/status/start")


def test_a_lock_of_the_whole_cluster_is_waited_for(
    pve: Pve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.write("POST", f"nodes/{NODE}/lxc", CT)
    path = f"/nodes/{NODE}/lxc/500/firewall/options"
    text = "cfs-lock 'firewall-vm-500' error: got lock request timeout"
    pve.fake.fail("PUT", path, 500, text, times=1)
    waits: list[float] = []
    monkeypatch.setattr(client, "_sleep", waits.append)
    client.write("PUT", path, {"enable": 1})
    assert waits == [2.0]


def test_a_long_task_tells_what_it_is_at(
    pve: Pve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.write("POST", f"nodes/{NODE}/lxc", CT)
    log_lines: list[str] = []
    moments = iter(range(0, 10_000, 20))
    monkeypatch.setattr(client, "_log", log_lines.append)
    monkeypatch.setattr(client, "_clock", lambda: next(moments))
    monkeypatch.setattr(client, "_task_seconds", 100_000)
    client._send("POST", f"nodes/{NODE}/lxc/500/template", {})
    (task,) = [t for t in client.get(f"nodes/{NODE}/tasks", vmid=500, source="all")
               if t["type"] == "vztemplate"]  # fmt: skip
    pve.fake.tasks[task["upid"]]["log"] = ["download 40% of 600 MB"]
    client.follow(task["upid"])
    assert log_lines, "a person sees that it goes on"
    assert all("task vztemplate 500 goes on" in line for line in log_lines)
    assert log_lines[0].endswith("download 40% of 600 MB")
