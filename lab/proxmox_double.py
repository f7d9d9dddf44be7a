"""Proxmox VE's API as the real one answers: fakepve, made stricter where it is kinder.

What differs was measured against Proxmox VE 8.4 and 9.1, or is in the public sources of
pve-manager, pve-container, qemu-server and pve-ha-manager:

- `POST lxc/ID/template` answers null, and the conversion goes on in the background;
- `cluster/resources` tells each guest's state as of the last broadcast of its node, up to 10 s ago;
- each key of a VM's configuration needs its own privilege, and a bridge needs SDN.Use;
- a token with privilege separation has what both its user and the token itself hold;
- high availability and replication are kept; groups end and rules begin with version 9;
- a VM moves while it runs, with its local disks where they have no snapshots; a container by a
  restart; neither with what its node alone has;
- a storage has the features of its type: LVM has snapshots of VMs by qcow2 alone and cannot turn a
  container into a template, ZFS cannot clone a VM from a snapshot, and ZFS alone is replicated.

It needs fakepve and its dependencies on the path, and nothing of this project.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web
from fakepve import FakePve, PveError, TaskError, shapes

GIB = 1024**3
_LIVE = ("id", "type", "node", "vmid", "tags", "lock", "pool", "hastate")
_PRIVILEGE_OF_KEY = (
    (r"cores|sockets|vcpus|cpu|cpulimit|cpuunits|numa\d*|affinity", "VM.Config.CPU"),
    (r"memory|balloon|shares", "VM.Config.Memory"),
    (r"net\d+", "VM.Config.Network"),
    (r"ci\w+|nameserver|searchdomain|sshkeys|ipconfig\d+", "VM.Config.Cloudinit"),
    (r"boot|(?:scsi|virtio|sata|ide|efidisk|tpmstate|unused)\d+", "VM.Config.Disk"),
    (r"name|description|onboot|tags|protection|startup|agent|ostype|template", "VM.Config.Options"),
)


class Hypervisor(FakePve):  # type: ignore[misc]
    """One cluster.

    Attributes:
        resources_seconds: how old `cluster/resources` may be; infinity is never new.
        template_reads: how many looks at it, or at its task, a container's conversion takes.
        template_error: what a container's conversion ends with; None: it succeeds.
        separated: tokens with privilege separation, as USER@REALM!ID.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As fakepve's."""
        super().__init__(*arguments, **options)
        self.acl: dict[str, Any] | None = None
        self.resources_seconds = 10.0
        self.template_reads = 2
        self.template_error: str | None = None
        self.separated: set[str] = set()
        self.clock: Callable[[], float] = time.monotonic
        self.ha_groups: dict[str, dict[str, Any]] = {}
        self.ha_rules: dict[str, dict[str, Any]] = {}
        self.ha_resources: dict[str, dict[str, Any]] = {}
        self.replication: dict[str, dict[str, Any]] = {}
        self._broadcast: dict[str, dict[str, Any]] = {}
        self._broadcast_at: float | None = None
        self._converting: dict[int, tuple[int, Callable[[], Any]]] = {}

    # A state that a person sees in the list of all guests is a broadcast of pvestatd.

    async def _resources(self, request: Any) -> Any:
        rows = json.loads((await super()._resources(request)).text)["data"]
        now = self.clock()
        if self._broadcast_at is None or now - self._broadcast_at >= self.resources_seconds:
            self._broadcast_at = now
            self._broadcast = {row["id"]: row for row in rows}
        for row in rows:
            if row["type"] in ("lxc", "qemu"):
                live = {key: row[key] for key in _LIVE if key in row}
                row_before = self._broadcast.get(row["id"], {"status": "unknown"})
                lasting = {key: value for key, value in row_before.items() if key not in _LIVE}
                row.clear()
                row.update(live | lasting)
        return web.json_response({"data": rows})

    # Conversion of a container: null at once, done some reads later.

    async def _lxc_template(self, user: str, v: dict[str, Any]) -> None:
        vmid = int(v["vmid"])
        if vmid in self._converting:
            raise PveError(500, "you can't convert a template to a template")
        ct = self._find_ct(v["node"], vmid)
        for volume in self._volumes_of(ct):
            if self._type(volume) == "lvm":
                raise PveError(500, f"Template feature is not available for '{volume}'")
        before = dict(ct.config)
        upid = await super()._lxc_template(user, v)
        after, task = dict(ct.config), self.tasks[upid]
        ct.config.clear()
        ct.config.update(before)
        ended = {key: task.pop(key) for key in ("exitstatus", "endtime")}
        task["status"] = "running"

        def finish() -> None:
            task.update(ended, status="stopped")
            if self.template_error:
                task["exitstatus"] = self.template_error
                task["log"] = [f"TASK ERROR: {self.template_error}"]
                return
            ct.config.clear()
            ct.config.update(after)

        self._converting[vmid] = (self.template_reads, finish)

    async def _lxc_config_get(self, user: str, v: dict[str, Any]) -> Any:
        self._go_on(int(v["vmid"]))
        return await super()._lxc_config_get(user, v)

    async def _task_status(self, request: Any) -> Any:
        task = self.tasks.get(request.match_info["upid"])
        if task is not None and task["id"].isdigit():
            self._go_on(int(task["id"]))
        return await super()._task_status(request)

    def _task_view(self, task: dict[str, Any], listing: bool = False) -> dict[str, Any]:
        view: dict[str, Any] = super()._task_view(task, listing)
        return {"status": "RUNNING", **view} if listing else view

    def _go_on(self, vmid: int) -> None:
        if vmid in self._converting:
            reads, finish = self._converting.pop(vmid)
            if reads > 0:
                self._converting[vmid] = (reads - 1, finish)
            else:
                finish()

    # Privileges.

    def allowed(self, user: str, path: str, priv: str) -> bool:
        """Whether a user or token holds a privilege; a separated token never has more than both."""
        if user not in self.separated:
            return bool(super().allowed(user, path, priv))
        whole: dict[str, Any] = self.acl or {}
        try:  # as if the token were a user of its own: fakepve would look up its owner as well
            self.acl = {"separated@pve": whole.get(user, [])}
            own = bool(super().allowed("separated@pve", path, priv))
        finally:
            self.acl = whole
        return own and bool(super().allowed(user.partition("!")[0], path, priv))

    async def _permissions(self, v: dict[str, Any], user: str) -> Any:
        """With a path, the privileges there alone; without one, all that was granted."""
        who = v.get("userid") or user
        asked = v.get("path")
        granted = {path for _, rows in (self.acl or {}).items() for path, _ in rows}
        held = {
            path: {name: 1 for name in shapes.PRIVILEGES if self.allowed(who, path, name)}
            for path in ([asked] if asked else sorted(granted))
        }
        return {path: names for path, names in held.items() if names or asked}

    def _config_priv(self, key: str) -> str:
        if key in ("hookscript", "args", "lock"):
            return "root"
        for pattern, privilege in _PRIVILEGE_OF_KEY:
            if re.fullmatch(pattern, key):
                return privilege
        return "VM.Config.HWType"

    def _vm_bridges(self, user: str, values: dict[str, Any]) -> None:
        for key, value in values.items():
            bridge = (
                re.search(r"bridge=([^,]+)", str(value)) if re.fullmatch(r"net\d+", key) else None
            )
            if bridge:
                self.require(user, f"/sdn/zones/localnetwork/{bridge[1]}", "SDN.Use")
            if key == "startup":
                self.require(user, "/", "Sys.Modify")

    async def _qm_create(self, v: dict[str, Any], user: str) -> Any:
        self._vm_bridges(user, v)
        for value in v.values():
            source = re.search(r"import-from=([^,:]+):", str(value))
            if source and "import" not in str(self._store(source[1]).get("content", "")).split(","):
                store = source[1]
                raise PveError(500, f"storage '{store}' does not support content-type 'import'")
        return await super()._qm_create(v, user)

    async def _apply_config(self, vm: Any, user: str, p: dict[str, Any]) -> None:
        self._vm_bridges(user, p)
        await super()._apply_config(vm, user, p)

    # Moves between nodes (src/PVE/QemuMigrate.pm, src/PVE/LXC/Migrate.pm).

    def _routes_migration(self) -> list[tuple[str, str, Any]]:
        path = "/nodes/{node}/qemu/{vmid}/migrate"
        return [("GET", path, self._qm_migrate_check), ("POST", path, self._qm_migrate)]

    async def _qm_migrate_check(self, v: dict[str, Any], user: str) -> dict[str, Any]:
        vm = self.find(v["node"], v["vmid"])
        self.require(user, f"/vms/{vm.vmid}", "VM.Migrate")
        return {
            "running": int(vm.status == "running"),
            "local_disks": self._local_volumes(vm),
            "local_resources": self._local_devices(vm),
        }

    async def _qm_migrate(self, v: dict[str, Any], user: str) -> Any:
        vm = self.find(v["node"], v["vmid"])
        self._may_move(vm, v, user)
        self._check_lock(vm)
        running = vm.status == "running"
        if running and not v.get("online"):
            raise PveError(500, "can't migrate running VM without --online")
        local = self._local_volumes(vm)

        async def body() -> None:
            if devices := self._local_devices(vm):
                reason = f"can't migrate VM which uses local devices: {', '.join(devices)}"
                raise TaskError(reason)
            if any(row["cdrom"] and ":iso/" in row["volid"] for row in local):
                raise TaskError("can't migrate local cdrom drive")
            if running and local and not v.get("with-local-disks"):
                option = "with-local-disks option"
                raise TaskError(f"can't live migrate attached local disks without {option}")
            if running and any(row.get("referenced_in_snapshot") for row in local):
                reason = "online storage migration not possible if non-replicated snapshot exists"
                raise TaskError(reason)
            vm.node = v["target"]

        return await self.task(vm.node, "qmigrate", vm.vmid, user, body, vm=vm)

    async def _lxc_migrate(self, user: str, v: dict[str, Any]) -> Any:
        ct = self._find_ct(v["node"], v["vmid"])
        self._may_move(ct, v, user)
        for key, value in ct.config.items():
            is_mount = re.fullmatch(r"mp\d+", key) and str(value).startswith("/")
            if is_mount and "shared=1" not in str(value):
                raise PveError(500, f"cannot migrate local bind mount point '{key}'")
        kinds = {self._type(row["volid"]) for row in self._local_volumes(ct)}
        if ct.snapshots and kinds - {"zfspool", "btrfs"}:
            raise PveError(500, "non-migratable snapshot exists")
        return await super()._lxc_migrate(user, v)

    def _may_move(self, guest: Any, v: dict[str, Any], user: str) -> None:
        self.require(user, f"/vms/{guest.vmid}", "VM.Migrate")
        self.need_quorum()
        target = v["target"]
        if target not in self.nodes:
            raise PveError(500, f"no such cluster node '{target}'")
        if not self.nodes[target].get("online", True):
            raise PveError(500, f"node '{target}' is offline")
        for volume in self._volumes_of(guest):
            allowed = str(self.storages[volume.partition(":")[0]].get("nodes", "")).split(",")
            if allowed != [""] and target not in allowed:
                name = volume.partition(":")[0]
                raise PveError(500, f"storage '{name}' is not available on node '{target}'")

    def _local_devices(self, vm: Any) -> list[str]:
        own = re.compile(r"hostpci\d+|usb\d+")
        return [
            key
            for key, value in vm.config.items()
            if own.fullmatch(key) and "mapping=" not in str(value) and "spice" not in str(value)
        ]

    def _local_volumes(self, guest: Any) -> list[dict[str, Any]]:
        """The volumes that the nodes do not share, with what a move asks of each."""
        rows = []
        for key, value in guest.config.items():
            volume = str(value).partition(",")[0]
            store = self.storages.get(volume.partition(":")[0])
            is_disk = re.fullmatch(r"rootfs|(?:mp|scsi|virtio|sata|ide)\d+", key)
            if store is None or int(store.get("shared", 0)) or not is_disk:
                continue
            used = [n for n, s in guest.snapshots.items() if volume in str(s)]
            row = {"volid": volume, "drivename": key, "cdrom": int("media=cdrom" in str(value))}
            rows.append(row | ({"referenced_in_snapshot": dict.fromkeys(used, 1)} if used else {}))
        return rows

    # Features of storages (volume_has_feature of each plugin in pve-storage).

    async def _qm_clone(self, v: dict[str, Any], user: str) -> Any:
        vm, snapshot = self.find(v["node"], v["vmid"]), v.get("snapname")
        full = v.get("full") or not vm.template
        for volume in self._volumes_of(vm) if snapshot and full else ():
            kind, qcow2 = self._type(volume), volume.endswith(".qcow2")
            if kind in ("zfspool", "zfs") or (kind in ("dir", "nfs", "cifs", "lvm") and not qcow2):
                reason = f"Full clone feature is not supported for a snapshot of '{volume}'"
                raise PveError(500, reason)
        return await super()._qm_clone(v, user)

    def _qm_can_snapshot(self, config: dict[str, Any]) -> bool:
        own_config = {
            key: value
            for key, value in config.items()
            if not (self._type(str(value)) == "lvm" and ".qcow2" in str(value))
        }
        return bool(super()._qm_can_snapshot(own_config))

    def _qm_alloc(
        self, sid: str, vmid: int, fmt: str | None, size: int, linked_from: str | None = None
    ) -> tuple[str, str]:
        store = self.storages[sid]
        if store.get("type") != "lvm" or fmt != "qcow2":
            allocated: tuple[str, str] = super()._qm_alloc(sid, vmid, fmt, size, linked_from)
            return allocated
        if not int(store.get("snapshot-as-volume-chain", 0)):
            option = "snapshot-as-volume-chain option need to be enabled to use qcow2 format"
            raise PveError(500, option)
        volid, _ = super()._qm_alloc(sid, vmid, "raw", size, linked_from)
        name = volid.partition(":")[2]
        store["volumes"][f"{name}.qcow2"] = {**store["volumes"].pop(name), "format": "qcow2"}
        return f"{volid}.qcow2", "qcow2"

    def _type(self, volume: str) -> str:
        return str(self.storages.get(volume.partition(":")[0], {}).get("type", ""))

    def _volumes_of(self, guest: Any) -> list[str]:
        """The volumes of a guest: disks and mount points, no images of CDs, no cloud-init drive."""
        return [
            str(value).partition(",")[0]
            for key, value in guest.config.items()
            if re.fullmatch(r"rootfs|(?:mp|scsi|virtio|sata|ide)\d+", key)
            and str(value).partition(":")[0] in self.storages
            and "media=cdrom" not in str(value)
            and "cloudinit" not in str(value)
        ]

    # fakepve answers a VM's resize with a task but keeps the old size: here it grows.

    def _routes_resize(self) -> list[tuple[str, str, Any]]:
        return [("PUT", "/nodes/{node}/qemu/{vmid}/resize", self._resize)]

    async def _resize(self, values: dict[str, Any], user: str) -> Any:
        vm = self.find(values["node"], values["vmid"])
        self.need_quorum()
        self._check_lock(vm)

        async def body() -> None:
            others = [p for p in vm.config[values["disk"]].split(",") if not p.startswith("size=")]
            vm.config[values["disk"]] = ",".join([*others, f"size={values['size']}"])

        return await self.task(vm.node, "resize", vm.vmid, user, body, vm=vm)

    # High availability and replication.

    def _routes_availability(self) -> list[tuple[str, str, Any]]:
        resources, groups, rules = (
            f"/cluster/ha/{kind}" for kind in ("resources", "groups", "rules")
        )
        return [
            ("GET", resources, self._ha_resources),
            ("POST", resources, self._ha_resource_new),
            ("PUT", resources + "/{sid}", self._ha_resource_change),
            ("GET", groups, self._ha_groups),
            ("POST", groups, self._ha_group_new),
            ("GET", rules, self._ha_rules),
            ("POST", rules, self._ha_rule_new),
            ("PUT", rules + "/{rule}", self._ha_rule_change),
            ("GET", "/cluster/replication", self._jobs),
            ("POST", "/cluster/replication", self._job_new),
            ("PUT", "/cluster/replication/{id}", self._job_change),
        ]

    @property
    def ha_by_rules(self) -> bool:
        """Whether groups have been migrated to rules, as from version 9 on."""
        return int(self.version.partition(".")[0]) >= 9

    async def _ha_resources(self, v: dict[str, Any], user: str) -> Any:  # noqa: ARG002
        return list(self.ha_resources.values())

    async def _ha_resource_new(self, v: dict[str, Any], user: str) -> None:  # noqa: ARG002
        if v.get("group") and self.ha_by_rules:
            raise PveError(500, "invalid parameter 'group': ha groups have been migrated to rules")
        if v.get("group") and v["group"] not in self.ha_groups:
            raise PveError(500, f"HA group '{v['group']}' does not exist")
        if v["sid"] in self.ha_resources:
            raise PveError(500, f"resource ID '{v['sid']}' already defined")
        self._exists(v["sid"])
        self.ha_resources[v["sid"]] = {key: value for key, value in v.items() if value is not None}

    async def _ha_resource_change(self, v: dict[str, Any], user: str) -> None:  # noqa: ARG002
        if v["sid"] not in self.ha_resources:
            raise PveError(500, f"no such resource '{v['sid']}'")
        if v.get("group") and self.ha_by_rules:
            raise PveError(500, "invalid parameter 'group': ha groups have been migrated to rules")
        if v.get("group") and v["group"] not in self.ha_groups:
            raise PveError(500, f"HA group '{v['group']}' does not exist")
        values = {key: item for key, item in v.items() if item is not None}
        self.ha_resources[v["sid"]].update(values)

    def _exists(self, sid: str) -> None:
        if self.guest(int(sid.partition(":")[2])) is None:
            raise PveError(500, f"unable to add resource '{sid}' - no such guest")

    async def _ha_groups(self, v: dict[str, Any], user: str) -> Any:  # noqa: ARG002
        if self.ha_by_rules:
            raise PveError(500, "cannot index groups: ha groups have been migrated to rules")
        return list(self.ha_groups.values())

    async def _ha_group_new(self, v: dict[str, Any], user: str) -> None:  # noqa: ARG002
        if self.ha_by_rules:
            raise PveError(500, "cannot create group: ha groups have been migrated to rules")
        self.ha_groups[v["group"]] = {"group": v["group"], "nodes": v["nodes"], "type": "group"}

    async def _ha_rules(self, v: dict[str, Any], user: str) -> Any:  # noqa: ARG002
        if not self.ha_by_rules:
            raise PveError(501, "Method 'GET /cluster/ha/rules' not implemented")
        return list(self.ha_rules.values())

    async def _ha_rule_new(self, v: dict[str, Any], user: str) -> None:  # noqa: ARG002
        if not self.ha_by_rules:
            raise PveError(501, "Method 'POST /cluster/ha/rules' not implemented")
        if v["rule"] in self.ha_rules:
            raise PveError(500, f"HA rule '{v['rule']}' already defined")
        self._nodes_and_resources(v)
        self.ha_rules[v["rule"]] = {key: value for key, value in v.items() if value is not None}

    async def _ha_rule_change(self, v: dict[str, Any], user: str) -> None:  # noqa: ARG002
        rule = self.ha_rules.get(v["rule"])
        if rule is None:
            raise PveError(500, f"HA rule '{v['rule']}' does not exist")
        self._nodes_and_resources({**rule, **v})
        rule.update({key: value for key, value in v.items() if value is not None})

    def _nodes_and_resources(self, v: dict[str, Any]) -> None:
        for sid in v["resources"].split(","):
            if sid not in self.ha_resources:
                raise PveError(500, f"cannot use unmanaged resource(s) {sid}.")
        if v["type"] == "resource-affinity":
            if v.get("affinity") not in ("positive", "negative"):
                raise PveError(400, "Parameter verification failed.", {"affinity": "is missing"})
            if len(v["resources"].split(",")) < 2:
                raise PveError(500, "rule is ineffective as there are less than two resources")
            return
        absent = [
            n for n in (p.partition(":")[0] for p in v["nodes"].split(",")) if n not in self.nodes
        ]
        if absent:
            raise PveError(500, f"cannot use non-existent node(s) {', '.join(absent)}.")

    async def _jobs(self, v: dict[str, Any], user: str) -> Any:  # noqa: ARG002
        for job in self.replication.values():  # of a guest that has moved there: it copies back
            node = self.guest(job["guest"]).node
            if job["target"] == node:
                job.update(target=job["source"], source=node)
        return list(self.replication.values())

    async def _job_new(self, v: dict[str, Any], user: str) -> None:
        vmid = int(v["id"].partition("-")[0])
        guest = self.guest(vmid)
        if guest is None:
            raise PveError(500, f"Guest '{vmid}' does not exist.")
        if self.ha_by_rules:
            self.require(user, f"/vms/{vmid}", "VM.Replicate")
        else:
            for storage in self._storages_of(guest):
                self.require(user, f"/storage/{storage}", "Datastore.Allocate")
        if v["target"] not in self.nodes:
            raise PveError(500, f"Target '{v['target']}' does not exist.")
        if v["target"] == guest.node:
            raise PveError(500, "Source and target must not be identical")
        for volume in self._volumes_of(guest):
            if self._type(volume) != "zfspool":
                raise PveError(500, f"missing replicate feature on volume '{volume}'")
        if v["id"] in self.replication:
            raise PveError(500, f"replication job '{v['id']}' already exists")
        number = int(v["id"].partition("-")[2])
        own = {"guest": vmid, "jobnum": number, "source": guest.node}
        self.replication[v["id"]] = {**v, **own}

    async def _job_change(self, v: dict[str, Any], user: str) -> None:
        job = self.replication.get(v["id"])
        if job is None:
            raise PveError(500, f"replication job '{v['id']}' does not exist")
        if self.ha_by_rules:
            self.require(user, f"/vms/{job['guest']}", "VM.Replicate")
        job.update({key: value for key, value in v.items() if value is not None})

    def _storages_of(self, guest: Any) -> set[str]:
        values = (str(value).partition(":")[0] for value in guest.config.values())
        return {name for name in values if name in self.storages}


def furnish(pve: FakePve, settings: dict[str, Any]) -> None:
    """Give a double its node, storages, images and API token.

    Args:
        pve: the double.
        settings: node, token ("USER@REALM!ID=SECRET"), privileges of its user on /, storages
            ({name: [content types]}), images ({volume id: bytes}).
    """
    pve.nodes = {settings["node"]: {"online": True}}
    name, _, secret = settings["token"].partition("=")
    pve.apitokens[name] = secret
    pve.grant(name.partition("!")[0], "/", *settings["privileges"])
    for storage, content in settings["storages"].items():
        existing = pve.storages.setdefault(
            storage,
            {"type": "zfspool", "pool": "rpool", "active": 1, "files": set(), "content": ""},
        )
        kinds = [kind for kind in re.split(r"[\s,]+", existing["content"]) if kind]
        existing["content"] = ",".join(dict.fromkeys([*kinds, *content]))
        existing |= {"avail": 900 * GIB, "total": 1000 * GIB}
    for volume, size in settings["images"].items():
        storage, _, path = volume.partition(":")
        content, _, file = path.partition("/")
        pve.store_file(storage, file, size, content=content)


__all__ = ["Hypervisor", "PveError", "TaskError", "furnish"]
