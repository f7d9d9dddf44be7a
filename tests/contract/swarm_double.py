"""A double of a swarm's manager: services, tasks, secrets and configs, as in the Engine's API.

A service whose image has ``crash`` in its name never runs: as an update it is paused, and new it
fails again and again. One with ``pending`` finds no node.
"""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import yaml

NAMESPACE = "com.docker.stack.namespace"
SWARM_ID = "swarm1"
LONG_AGO = 3600


def stamp(seconds_ago: float = 0) -> str:
    now = datetime.now(timezone.utc) - timedelta(seconds=seconds_ago)  # noqa: UP017
    return now.strftime("%Y-%m-%dT%H:%M:%S.%f123Z")


class SwarmDouble:
    def __init__(self) -> None:
        self.manages = True
        self.objects: dict[str, dict[str, dict[str, Any]]] = {
            "services": {}, "tasks": {}, "secrets": {}, "configs": {},
        }  # fmt: skip
        self.deployed: list[dict[str, Any]] = []

    def info(self) -> dict[str, Any]:
        state = {"LocalNodeState": "active" if self.manages else "inactive", "Error": ""}
        cluster = {"ControlAvailable": self.manages, "Cluster": {"ID": SWARM_ID}}
        return {"SystemTime": stamp(), "Swarm": state | (cluster if self.manages else {})}

    def services(self, stack: str = "") -> dict[str, dict[str, Any]]:
        """By their names."""
        return {
            row["Spec"]["Name"]: row
            for row in self.objects["services"].values()
            if row["Spec"]["Labels"][NAMESPACE] == (stack or row["Spec"]["Labels"][NAMESPACE])
        }

    def names(self, kind: str) -> list[str]:
        return sorted(row["Spec"]["Name"] for row in self.objects[kind].values())

    def content(self, kind: str) -> list[bytes]:
        rows = self.objects[kind].values()
        return sorted(base64.b64decode(row["Spec"]["Data"]) for row in rows)

    # -- the Engine's API ----------------------------------------------------------------------

    def route(self, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
        """Status and answer; None where the path is another's."""
        if path == "/double/deploy":
            return self.deploy(json.loads(body))
        if path == "/double/rm":
            return self.rm(json.loads(body)["project"])
        match = re.fullmatch(r"/(services|tasks|secrets|configs)(?:/(\w+))?(/logs)?", path)
        if match is None:
            return None
        if not self.manages:
            return 503, {"message": "This node is not a swarm manager."}
        return self.of_engine(method, match, query, body)

    def of_engine(
        self, method: str, match: re.Match[str], query: dict[str, str], body: bytes
    ) -> tuple[int, Any]:
        kind, name, logs = match.groups()
        rows = self.objects[kind]
        if name is None:
            asked = json.loads(query["filters"])
            if "service" in asked:
                return 200, [row for row in rows.values() if row["ServiceID"] in asked["service"]]
            return 200, [row for row in rows.values() if _label(row) == asked["label"][0]]
        if name == "create":
            spec = json.loads(body)
            if spec["Name"] in self.names(kind):
                return 409, {"message": f"object {spec['Name']} already exists"}
            return 201, {"ID": self.keep(kind, {"Spec": spec})}
        if name not in rows:
            return 404, {"message": f"{kind} {name} not found"}
        if logs:
            line = f"double: last words of the {kind[:-1]}\n".encode()
            return 200, b"\x02\0\0\0" + len(line).to_bytes(4, "big") + line
        return self.delete(kind, name) if method == "DELETE" else (200, rows[name])

    def delete(self, kind: str, name: str) -> tuple[int, Any]:
        key = {"secrets": "SecretID", "configs": "ConfigID"}.get(kind)
        if key and name in self.used(key):
            return 400, {"message": f"{kind} {name} is in use by the following service"}
        self.remove(kind, name)
        return 200, b""

    def used(self, key: str) -> set[str]:
        specs = [row["Spec"]["TaskTemplate"]["ContainerSpec"] for row in self.services().values()]
        return {use[key] for spec in specs for use in [*spec["Secrets"], *spec["Configs"]]
                if key in use}  # fmt: skip

    def keep(self, kind: str, row: dict[str, Any]) -> str:
        identity = f"{kind[:-1]}{time.monotonic_ns()}"
        self.objects[kind][identity] = {"ID": identity, "CreatedAt": stamp(), **row}
        return identity

    def remove(self, kind: str, identity: str) -> None:
        del self.objects[kind][identity]
        if kind == "services":
            tasks = self.objects["tasks"]
            for task in [t for t in tasks.values() if t["ServiceID"] == identity]:
                del tasks[task["ID"]]

    # -- docker stack --------------------------------------------------------------------------

    def deploy(self, ask: dict[str, Any]) -> tuple[int, Any]:
        self.deployed.append(ask)
        name, content = ask["project"], ask["content"]
        filled = json.dumps(yaml.safe_load(content))
        for key, value in ask["outer"].items():
            filled = filled.replace(f"${{{key}}}", json.dumps(value)[1:-1])
        data = json.loads(filled)
        if "refused" in content:
            return 500, b"services.web Additional property refused is not allowed"
        services = {f"{name}_{key}": body for key, body in data["services"].items()}
        if ask["prune"]:
            for key, row in self.services(name).items():
                if key not in services:
                    self.remove("services", row["ID"])
        for key, body in services.items():
            answer = self.service(name, key, body, data)
            if isinstance(answer, bytes):
                return 500, answer
        return 200, b"done"

    def service(self, stack: str, name: str, body: dict[str, Any], data: dict[str, Any]) -> Any:
        container: dict[str, Any] = {"Image": body["image"], "Secrets": [], "Configs": []}
        for kind, key in (("secrets", "SecretID"), ("configs", "ConfigID")):
            for use in body.get(kind, ()):
                object_name = data[kind][use["source"]]["name"]
                known = {row["Spec"]["Name"]: row["ID"] for row in self.objects[kind].values()}
                if object_name not in known:
                    return f"{kind[:-1]} not found: {object_name}".encode()
                file = {"Name": use["target"]}
                container[kind.title()].append({key: known[object_name], "File": file})
        replicas = body.get("deploy", {}).get("replicas", 1)
        spec = {
            "Name": name,
            "Labels": {NAMESPACE: stack, "com.docker.stack.image": body["image"]},
            "TaskTemplate": {"ContainerSpec": container},
            "Mode": {"Replicated": {"Replicas": replicas}},
        }
        old = self.services(stack).get(name)
        if old and old["Spec"] == spec:
            old.pop("UpdateStatus", None)
            return old
        identity = old["ID"] if old else self.keep("services", {"Spec": spec, "UpdatedAt": stamp()})
        row = self.objects["services"][identity]
        row |= {"Spec": spec, "UpdatedAt": stamp()}
        row.pop("UpdateStatus", None)
        self.start(row, body["image"], replicas, is_new=old is None)
        return row

    def start(self, service: dict[str, Any], image: str, replicas: int, *, is_new: bool) -> None:
        tasks = self.objects["tasks"]
        if "crash" in image:
            for _ in range(3):
                self.task(service, 1, "failed", "task: non-zero exit (3)")
            if not is_new:
                service["UpdateStatus"] = {"State": "paused", "Message": "update paused"}
                return
        for task in tasks.values():
            if task["ServiceID"] == service["ID"]:
                task["DesiredState"] = "shutdown"
        for slot in range(1, replicas + 1):
            if "pending" in image:
                self.task(service, slot, "pending", "no suitable node")
            elif "crash" in image:
                self.task(service, slot, "ready", "")
            else:
                self.task(service, slot, "running", "")

    def task(self, service: dict[str, Any], slot: int, state: str, error: str) -> None:
        ago = LONG_AGO if state == "running" else 0  # nobody waits here for it to be steady
        self.keep(
            "tasks",
            {
                "ServiceID": service["ID"], "Slot": slot, "NodeID": "node1",
                "Spec": {"ContainerSpec": service["Spec"]["TaskTemplate"]["ContainerSpec"]},
                "Labels": service["Spec"]["Labels"],
                "Status": {"State": state, "Timestamp": stamp(ago), "Err": error},
                "DesiredState": "shutdown" if state == "failed" else "running",
            },
        )  # fmt: skip

    def rm(self, stack: str) -> tuple[int, Any]:
        for row in self.services(stack).values():
            self.remove("services", row["ID"])
        for kind in ("secrets", "configs"):
            for row in list(self.objects[kind].values()):
                if row["Spec"]["Labels"].get(NAMESPACE) == stack:
                    self.remove(kind, row["ID"])
        return 200, b"done"


def _label(row: dict[str, Any]) -> str:
    labels = row.get("Labels") or row["Spec"].get("Labels") or {}
    return f"{NAMESPACE}={labels.get(NAMESPACE)}"
