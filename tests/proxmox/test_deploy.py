"""deploys/proxmox.py by the pyinfra program, against the fake, all of it on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from phoenix.declaration.load import load_site
from phoenix.site.model import Site
from tests.proxmox.conftest import KEY, ROOT
from tests.proxmox.pve import NODE, Pve

SUBNET = IPv4Network("127.53.7.0/24")
SECRET = "s3cret"
INVENTORY = """
hypervisor = [("@local", {{
    "site_inventories": {inventories!r}, "site_stacks": {stacks!r},
    "site_environment": "production", "site_subnet": {subnet!r},
    "site_secrets": {secrets!r}, "ssh_known_hosts_file": {known_hosts!r},
    "proxmox_ssh_keys": ({key!r},), "proxmox_ssh_seconds": 20,
    "proxmox_lock_seconds": 1, {more}
}})]
"""


@pytest.fixture
def moved() -> Site:
    return load_site(ROOT / "inventories", ROOT / "stacks", subnet=SUBNET)


@pytest.fixture
def greeters(moved: Site) -> Iterator[None]:
    """What stands for the guests' SSH: a greeting on port 22 of each address."""
    listeners = []
    try:
        for guest in moved.guests:
            try:
                listeners.append(socket.create_server((str(guest.address), 22)))
            except OSError as error:
                pytest.skip(f"port 22 of {guest.address} can't be had: {error}")
        for listener in listeners:
            threading.Thread(target=greet, args=(listener,), daemon=True).start()
        yield
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)  # a thread that waits in accept() keeps it open
            listener.close()


def greet(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-test\r\n")


class Project:
    """One inventory, run as an operator runs it."""

    def __init__(self, folder: Path, site: Site, **settings: Any) -> None:
        self.folder = folder
        known = folder / "known_hosts"
        known.write_text("".join(f"{guest.address} {KEY}\n" for guest in site.guests))
        own = {f"proxmox_{name}": value for name, value in settings.items()}
        text = INVENTORY.format(
            inventories=str(ROOT / "inventories"), stacks=str(ROOT / "stacks"),
            subnet=str(SUBNET), secrets=str(folder / "secrets.json"), known_hosts=str(known),
            key=KEY, more=repr(own)[1:-1],
        )  # fmt: skip
        (folder / "inventory.py").write_text(text)
        self.program("ss", "printf '%s\\n' 'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*'")

    def program(self, name: str, script: str) -> None:
        """A program of the hypervisor that this machine may not have."""
        (self.folder / "bin").mkdir(exist_ok=True)
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *options: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pyinfra", "-y", *options]
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        environment = {"PATH": path, "HOME": str(self.folder)}
        if token:
            environment["PHOENIX_SECRET_PROXMOX_API_TOKEN"] = token
        return subprocess.run(
            [*command, str(self.folder / "inventory.py"), "deploys/proxmox.py"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


TOKEN = f"phoenix@pve!deploy={SECRET}"


def test_from_nothing_to_running_and_no_change_after(
    tmp_path: Path, moved: Site, pve: Pve, fakepve_url: str, fakepve_cafile: str, greeters: None
) -> None:
    project = Project(tmp_path, moved, api=fakepve_url, ca_file=fakepve_cafile)
    first = project.run("-vvv", "--diff", token=TOKEN)
    output = first.stdout + first.stderr
    assert first.returncode == 0, output[-4000:]
    assert {guest.vmid for guest in moved.guests} <= {
        g.vmid for g in [*pve.fake.cts, *pve.fake.vms]
    }
    assert all(pve.guest(guest.vmid).status == "running" for guest in moved.guests), output[-4000:]
    assert SECRET not in output
    pve.forget()
    second = project.run(token=TOKEN)
    output = second.stdout + second.stderr
    assert second.returncode == 0, output[-4000:]
    assert pve.writes() == [], output[-4000:]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run pct")
def test_what_only_root_may_set_is_set_by_pct(
    tmp_path: Path, moved: Site, pve: Pve, fakepve_url: str, fakepve_cafile: str, greeters: None
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    media = {"path": "/media", "host_path": str(folder)}
    own = {103: {"features": {"keyctl": "1"}, "bind_mounts": [media]}}
    project = Project(tmp_path, moved, api=fakepve_url, ca_file=fakepve_cafile, guests=own)
    project.program("pct", f'echo "$@" >>{tmp_path}/pct.log')
    done = project.run(token=TOKEN)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    calls = (tmp_path / "pct.log").read_text().splitlines()
    assert [line for line in calls if line.startswith("set ")] == [
        "set 103 --features nesting=1,keyctl=1",
        f"set 103 --mp0 {folder},mp=/media",
    ]
    starts = [path for _, path, _ in pve.writes() if path.endswith("103/status/start")]
    assert len(starts) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run pct")
@pytest.mark.long
def test_what_only_root_may_set_reaches_a_guest_of_another_node(
    tmp_path: Path, moved: Site, pve: Pve, fakepve_url: str, fakepve_cafile: str, greeters: None
) -> None:
    """Which node that is, `by_its_node` finds on the hypervisor; its words arrive unchanged."""
    pve.fake.add_node("second")
    for store in pve.fake.storages.values():
        store["shared"] = 1
    pve.fake.grant("phoenix@pve", "/", "VM.Migrate")
    own = {103: {"node": "second", "features": {"keyctl": "1"}}}
    project = Project(
        tmp_path, moved, api=fakepve_url, ca_file=fakepve_cafile, guests=own, firewall=False
    )
    ancestors = 'sed -n "s/^PPid:[[:space:]]*//p" /proc/$PPID/status'
    project.program(
        "pct",
        f'tr "\\0" " " </proc/$({ancestors})/cmdline >>{tmp_path}/by.log\n'
        f'echo "$@" >>{tmp_path}/pct.log',
    )
    done = project.run(token=TOKEN)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    calls = (tmp_path / "pct.log").read_text().splitlines()
    assert "set 103 --features nesting=1,keyctl=1" in calls
    assert "on-node 103 pct set 103 --features" in (tmp_path / "by.log").read_text()
    assert pve.guest(103).node == "second"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run pct")
@pytest.mark.long
def test_a_folder_that_is_not_there_is_named_before_the_first_write(
    tmp_path: Path, moved: Site, pve: Pve, fakepve_url: str, fakepve_cafile: str
) -> None:
    """Proxmox VE takes the mount point, and the container does not start."""
    media = {"path": "/media", "host_path": f"{tmp_path}/no-folder"}
    own = {103: {"bind_mounts": [media]}}
    project = Project(tmp_path, moved, api=fakepve_url, ca_file=fakepve_cafile, guests=own)
    project.program("pct", "exit 1")
    done = project.run(token=TOKEN)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert f"{tmp_path}/no-folder is not there on the hypervisor, and container 103" in output
    assert f"mkdir -p {tmp_path}/no-folder" in output
    assert pve.writes() == []


def test_what_only_root_may_set_is_named_before_the_run_where_we_are_not_root(
    tmp_path: Path, moved: Site, pve: Pve, fakepve_url: str, fakepve_cafile: str
) -> None:
    own = {103: {"features": {"keyctl": "1"}}}
    project = Project(tmp_path, moved, api=fakepve_url, ca_file=fakepve_cafile, guests=own)
    project.program("id", "echo 1000")
    done = project.run(token=TOKEN)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert "only root@pam may set" in output
    assert "pct set 103 --features nesting=1,keyctl=1" in output
    assert pve.writes() == []


def test_a_port_that_the_firewall_would_close_is_told_before_the_first_write(
    tmp_path: Path, moved: Site, pve: Pve, fakepve_url: str, fakepve_cafile: str
) -> None:
    project = Project(tmp_path, moved, api=fakepve_url, ca_file=fakepve_cafile)
    project.program("ss", "echo 'tcp LISTEN 0 64 [::]:2049 [::]:*'")
    done = project.run(token=TOKEN)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert "listens on tcp/2049" in output
    assert "rules of site.hypervisor.firewall" in output
    assert pve.writes() == []


@pytest.mark.long
def test_a_node_that_is_down_holds_up_its_own_guests_and_a_move_asks_first(
    tmp_path: Path, moved: Site, pve: Pve, fakepve_url: str, fakepve_cafile: str, greeters: None
) -> None:
    pve.fake.add_node("second")
    pve.fake.set_node_offline("second")
    pve.fake.grant("phoenix@pve", "/", "VM.Migrate")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"https://127.0.0.1:{listener.getsockname()[1]}"
    project = Project(
        tmp_path, moved, api=silent, other_apis=(fakepve_url,), ca_file=fakepve_cafile,
        guests={103: {"node": "second"}}, firewall=False,
    )  # fmt: skip
    done = project.run("-v", token=TOKEN)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    waits = "container 103 (step-ca) is to be made on node second, which is down"
    assert waits in output, output[-4000:]
    assert f"the API is asked at {fakepve_url.removeprefix('https://')} instead" in output
    assert pve.guest(103) is None
    assert pve.guest(102).status == pve.guest(1001).status == "running"
    pve.fake.set_node_offline("second", False)
    pve.forget()
    project = Project(
        tmp_path, moved, api=fakepve_url, ca_file=fakepve_cafile,
        guests={102: {"node": "second"}}, firewall=False,
    )  # fmt: skip
    done = project.run(token=TOKEN)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output[-4000:]
    assert "moves from node phoenix to second, and would stop meanwhile" in output
    assert "PHOENIX_MOVE_GUESTS=1" in output
    assert pve.writes() == []


def test_off_is_a_message_and_nothing_else(tmp_path: Path, moved: Site, pve: Pve) -> None:
    result = Project(tmp_path, moved).run("-v")
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert 'proxmox_api is "off"' in output, output
    assert pve.fake.requests == []


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    "fault",
    ["task", "no token", "bad setting", "template", "by hand"],
)
def test_a_fault_is_a_reason_and_a_non_zero_exit(
    tmp_path: Path, moved: Site, pve: Pve, fakepve_url: str, fakepve_cafile: str, fault: str,
) -> None:  # fmt: skip
    settings: dict[str, Any] = {"api": fakepve_url, "ca_file": fakepve_cafile}
    token: str | None = TOKEN
    if fault == "no token":
        token, reason = None, "PHOENIX_SECRET_PROXMOX_API_TOKEN"
    elif fault == "bad setting":
        settings["guests"], reason = {101: {"vlan": 9999}}, "proxmox_guests.101.vlan"
    elif fault == "template":
        pve.fake.storages["local"]["volumes"].clear()
        reason = "is not there. fix: "
    elif fault == "task":
        pve.fake.fail("POST", f"/nodes/{NODE}/lxc/900/template", 500, "zfs error: out of space")
        reason = "zfs error: out of space"
    else:
        pve.fake.add_ct(103, "step-ca", node=NODE, config={"memory": 64})
        reason = "memory: 64 -> 1024"
    result = Project(tmp_path, moved, **settings).run(token=token)
    output = result.stdout + result.stderr
    assert result.returncode != 0, output
    assert reason in output, output
    assert "Traceback" not in output, output
    if fault != "task":
        assert pve.writes() == []
