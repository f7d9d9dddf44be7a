"""The lab's Proxmox VE: fakepve with the site's storages and images. Runs in the hypervisor.

    python3 proxmox_server.py SETTINGS.json

SETTINGS.json: address, port, node, certificate, key, token ("USER@REALM!ID=SECRET"), storages
({name: [content types]}), images ({volume id: bytes}). It needs fakepve and its dependencies on
the path, and nothing of this project.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from fakepve import FakePve

GIB = 1024**3
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": GIB, "T": 1024**4}


class Hypervisor(FakePve):  # type: ignore[misc]
    """fakepve, which answers a VM's resize with a task but keeps the old size: here it grows."""

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


def furnish(pve: FakePve, settings: dict[str, Any]) -> None:
    """Give a fake its node, storages, images and API token."""
    pve.nodes = {settings["node"]: {"online": True}}
    name, _, secret = settings["token"].partition("=")
    pve.apitokens[name] = secret
    for storage, content in settings["storages"].items():
        existing = pve.storages.setdefault(
            storage, {"type": "zfspool", "active": 1, "files": set(), "content": ""}
        )
        kinds = [kind for kind in re.split(r"[\s,]+", existing["content"]) if kind]
        existing["content"] = ",".join(dict.fromkeys([*kinds, *content]))
        existing |= {"avail": 900 * GIB, "total": 1000 * GIB}
    for volume, size in settings["images"].items():
        storage, _, path = volume.partition(":")
        content, _, file = path.partition("/")
        pve.store_file(storage, file, size, content=content)


async def serve(settings: dict[str, Any]) -> None:
    """Serve until the process is ended."""
    pve = Hypervisor(
        user="root@pam",
        password=settings["password"],
        host=settings["address"],
        port=settings["port"],
    )
    furnish(pve, settings)
    await pve.start(settings["certificate"], settings["key"])
    print(f"fakepve listens on {pve.url}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
