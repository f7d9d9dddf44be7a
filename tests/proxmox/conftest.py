"""A fake Proxmox VE with the declared storages and images, and a client that talks to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakepve import pytest_plugin
from pydantic import SecretStr

from lab.proxmox_double import Hypervisor, furnish
from phoenix.declaration.load import load_site
from phoenix.declaration.settings import read
from phoenix.proxmox.access import PRIVILEGES
from phoenix.proxmox.client import Client
from phoenix.proxmox.plan import Plan, plan
from phoenix.proxmox.transport import Endpoint, Trust, connect
from phoenix.site.model import Site
from tests.proxmox.pve import NODE, Pve

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "node": NODE,
    "token": "phoenix@pve!deploy=s3cret",
    "privileges": PRIVILEGES,
    "storages": {
        "quickOS-lxc-disks": ["rootdir"],
        "quickOS-vm-disks": ["images"],
        "local": ["vztmpl", "import"],
    },
    "images": {
        "local:vztmpl/ubuntu-24.04-standard_24.04-2_amd64.tar.zst": 130_000_000,
        "local:import/noble-server-cloudimg-amd64.qcow2": 600_000_000,
    },
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g test"


@pytest.fixture(scope="session")
def site() -> Site:
    return load_site(ROOT / "inventories", ROOT / "stacks")


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixtures of fakepve's plugin serve the double; its list of all guests is always old."""

    def strict(*arguments: Any, **options: Any) -> Hypervisor:
        double = Hypervisor(*arguments, **options)
        double.resources_seconds = math.inf
        return double

    monkeypatch.setattr(pytest_plugin, "FakePve", strict)


@pytest.fixture
def pve(_strict: None, fakepve: Any) -> Pve:
    furnish(fakepve, SETTINGS)
    for storage in fakepve.storages.values():
        for volume in storage.get("volumes", {}).values():
            volume["ctime"] = 0  # two fakes begin alike: `converged`
    return Pve(fakepve)


@pytest.fixture
def client(pve: Pve, fakepve_url: str, fakepve_cafile: str) -> Client:
    return make_client(fakepve_url, Trust(ca_file=fakepve_cafile))


def make_client(url: str, trust: Trust, token: str | None = None, **more: Any) -> Client:
    endpoint = Endpoint(
        url, SecretStr(token or str(SETTINGS["token"])), trust, seconds=more.pop("seconds", 60.0)
    )
    now = [0.0]  # it passes in pauses alone, however slow the machine
    quick: dict[str, Any] = {
        "task_seconds": 60.0, "lock_seconds": 10.0, "clock": lambda: now[0],
        "sleep": lambda passed: now.append(now.pop() + passed),
    }  # fmt: skip
    return Client(connect(endpoint), **quick | more)


@pytest.fixture
def planned(site: Site, tmp_path: Path) -> Callable[..., Plan]:
    def make(changed: Site | None = None, come_from: str | None = None, **data: Any) -> Plan:
        chosen = {"proxmox_ssh_keys": (KEY,), "proxmox_vm_user": None, **data}
        settings, findings = read(chosen)
        assert findings == ()
        config = settings.proxmox
        return plan(changed or site, config, ssh_key=None, home=tmp_path, client_address=come_from)

    return make
