"""A fake Proxmox VE with the original's storages and images, and a client that talks to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix import site as sites
from phoenix.model import Site
from phoenix.proxmox.client import Client
from phoenix.proxmox.plan import Plan, plan
from phoenix.proxmox.transport import Endpoint, Trust, connect
from phoenix.secrets import Secret
from tests.proxmox.pve import NODE, Pve, persist_resizes

ROOT = Path(__file__).parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPhoenixTestKeyOfNoHostAtAllxxxxxxxxxxxxx test"


@pytest.fixture(scope="session")
def site() -> Site:
    return sites.load(ROOT / "inventories", ROOT / "stacks")


@pytest.fixture
def pve(fakepve: Any) -> Pve:
    fakepve.nodes = {NODE: {"online": True}}
    fakepve.apitokens["phoenix@pve!deploy"] = "s3cret"
    gib = 1024**3
    for name, content in (("quickOS-lxc-disks", "rootdir"), ("quickOS-vm-disks", "images")):
        fakepve.storages[name] = {
            "type": "zfspool", "active": 1, "content": content, "files": set(),
            "avail": 900 * gib, "total": 1000 * gib,
        }  # fmt: skip
    fakepve.storages["local"]["content"] = "iso,vztmpl,backup,import"
    fakepve.store_file(
        "local", "ubuntu-24.04-standard_24.04-2_amd64.tar.zst", 10**8, content="vztmpl"
    )
    fakepve.store_file("local", "noble-server-cloudimg-amd64.qcow2", 10**8, content="import")
    persist_resizes(fakepve)
    return Pve(fakepve)


@pytest.fixture
def client(pve: Pve, fakepve_url: str, fakepve_cafile: str) -> Client:
    return make_client(fakepve_url, Trust(ca_file=fakepve_cafile))


def make_client(
    url: str, trust: Trust, token: str = "phoenix@pve!deploy=s3cret", **more: Any
) -> Client:
    endpoint = Endpoint(url, Secret(token), trust, seconds=more.pop("seconds", 5.0))
    options = {"task_seconds": 5.0, "lock_seconds": 0.3, "sleep": lambda _seconds: None} | more
    return Client(connect(endpoint), **options)


@pytest.fixture
def planned(site: Site, tmp_path: Path) -> Callable[..., Plan]:
    def make(changed: Site | None = None, **data: Any) -> Plan:
        return plan(changed or site, {"proxmox_ssh_keys": (KEY,), **data}, home=tmp_path)

    return make
