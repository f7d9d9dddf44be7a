"""An empty hypervisor and one command: the real CLI and pyinfra, the strict double, SSH servers.

The guests are machines that remember nothing (tests/proxmox/fleet.py), so what runs on them fails
later, as it must; the lab has real ones. What is proven here is the hypervisor's part, whole: the
guests are made, waited for and known, the run goes on to what runs on them, and the next run writes
nothing to Proxmox VE, however often the first was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

import paramiko
import pytest

from phoenix.declaration.load import load_site
from phoenix.proxmox import hostkeys
from phoenix.site.model import Site
from tests.proxmox.conftest import KEY, ROOT, SETTINGS
from tests.proxmox.fleet import Machine
from tests.proxmox.pve import Pve

pytestmark = pytest.mark.long
SUBNET = IPv4Network("127.53.8.0/24")
INVENTORY = """
from ipaddress import IPv4Network
from pathlib import Path

from phoenix.declaration import inventory

_place = {{"site_inventories": {inventories!r}, "site_stacks": {stacks!r},
          "site_environment": "production", "site_subnet": {subnet!r}}}
_site = inventory.load(Path({inventories!r}), Path({stacks!r}), environment="production",
                       subnet=IPv4Network({subnet!r}))
_groups = inventory.groups(_site, {{
    "ssh_user": "root", "ssh_key": {folder!r} + "/key", "ssh_look_for_keys": False,
    "ssh_allow_agent": False, "ssh_strict_host_key_checking": "yes",
    "ssh_known_hosts_file": {folder!r} + "/known_hosts",
    "site_secrets": {folder!r} + "/secrets.json", **_place,
    "proxmox_api": "ssh", "proxmox_ca_file": {ca!r}, "proxmox_ssh_keys": ({key!r},),
    "proxmox_ssh_seconds": 30, "proxmox_lock_seconds": 2, "ssh_confirm_seconds": 1,
}})
hypervisor, lxc, vm = _groups["hypervisor"], _groups["lxc"], _groups["vm"]
step_ca, traefik, nginx = _groups["step_ca"], _groups["traefik"], _groups["nginx"]
portainer, docker = _groups["portainer"], _groups["docker"]
"""


@pytest.fixture
def moved() -> Site:
    return load_site(ROOT / "inventories", ROOT / "stacks", subnet=SUBNET)


@pytest.fixture
def fleet(moved: Site, pve: Pve, fakepve_url: str) -> Iterator[dict[str, Machine]]:
    url = urlsplit(fakepve_url)
    machines: dict[str, Machine] = {}

    def up(vmid: int | None) -> bool:
        guest = pve.guest(vmid)
        return guest is not None and guest.status == "running"

    def keys() -> str:
        running = [(g.vmid, machines[g.name].public) for g in moved.guests if up(g.vmid)]
        return "\n".join(f"== {vmid}\n{key}" for vmid, key in running)

    name = moved.hypervisor.name
    api = (str(url.hostname), int(url.port or 0))
    machines[name] = Machine(name, str(moved.hypervisor.address), lambda: True, api, keys)
    for guest in moved.guests:
        runs = lambda vmid=guest.vmid: up(vmid)  # noqa: E731
        machines[guest.name] = Machine(guest.name, str(guest.address), runs)
    try:
        for machine in machines.values():
            try:
                machine.start()
            except OSError as error:
                pytest.skip(f"port 22 of {machine.address} can't be had: {error}")
        yield machines
    finally:
        for machine in machines.values():
            machine.stop()


class Operator:
    """Runs commands as an operator does, on an inventory of his own."""

    def __init__(self, folder: Path, ca: str, hypervisor: Machine) -> None:
        self.folder = folder
        (folder / "site" / "inventories").mkdir(parents=True)
        self.inventory = folder / "site" / "inventories" / "site.py"
        self.inventory.write_text(INVENTORY.format(
            inventories=str(ROOT / "inventories"), stacks=str(ROOT / "stacks"),
            subnet=str(SUBNET), folder=str(folder), ca=ca, key=KEY,
        ))  # fmt: skip
        paramiko.ECDSAKey.generate().write_private_key_file(str(folder / "key"))
        (folder / "known_hosts").write_text(f"{hypervisor.address} {hypervisor.public}\n")

    def begin(self, *words: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder),
            "PHOENIX_SECRET_PROXMOX_API_TOKEN": str(SETTINGS["token"]),
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def sync(self) -> str:
        """What `phoenix sync` says."""
        return self.begin("phoenix", "sync", "-i", str(self.inventory)).communicate(timeout=400)[0]

    def deploy_all(self) -> str:
        """What plain pyinfra says."""
        words = ("pyinfra", "-y", str(self.inventory), "deploys/all.py")
        return self.begin(*words).communicate(timeout=400)[0]

    def sync_until(self, pve: Pve, writes: int) -> bool:
        """`phoenix sync`, killed with all its processes after so many writes; whether it was."""
        process = self.begin("phoenix", "sync", "-i", str(self.inventory))
        reader = threading.Thread(target=process.communicate, daemon=True)
        reader.start()
        while process.poll() is None and len(pve.writes()) < writes:
            time.sleep(0.02)
        killed = process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        reader.join()
        return killed


def test_from_an_empty_host_in_one_command_though_it_is_killed_twice(
    tmp_path: Path, moved: Site, pve: Pve, fleet: dict[str, Machine], fakepve_cafile: str
) -> None:
    operator = Operator(tmp_path, fakepve_cafile, fleet[moved.hypervisor.name])
    for writes in (3, 30):
        assert operator.sync_until(pve, writes)
    output = operator.sync()
    assert all(pve.guest(guest.vmid).status == "running" for guest in moved.guests), output
    for guest in moved.guests:
        known = hostkeys.known_keys(tmp_path / "known_hosts", str(guest.address))
        assert known == {fleet[guest.name].public}, output
        assert any("apt-get" in command for command in fleet[guest.name].commands), output
    assert "FAILED on phoenix" not in "".join(
        line for line in output.splitlines() if "proxmox" in line.lower()
    ), output
    assert "phoenix: firewall of " in output, "a person sees what it is at"
    pve.forget()
    plain = operator.deploy_all()
    assert pve.writes() == [], plain
    assert "Proxmox: VM 1002 (drphoenix)" in plain, plain
