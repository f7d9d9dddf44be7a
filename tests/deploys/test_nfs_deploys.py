"""Folders by NFS: what the hypervisor and a guest are sent."""

from __future__ import annotations

import json
from pathlib import Path

from tests.deploys.recorder import run
from tests.unit.site_builder import minimal


def site(folder: Path) -> Path:
    declaration = minimal()
    declaration.vm["vms"][1]["volumes"] = [
        {"type": "nfs", "path": "/tank/kept", "mount_point": "/mnt/kept"}
    ]
    folder.mkdir()
    shared = [{"path": "/tank/kept", "clients": ["10.0.0.24"], "options": ["rw", "sync"]}]
    (folder / "phoenix_hypervisor_config.json").write_text(json.dumps({"nfs": {"exports": shared}}))
    declaration.load(folder)
    return folder


def test_the_hypervisor_shares_and_proves_it(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    done = run(
        "nfs_exports", tmp_path / "secrets.json",
        site_inventories=str(folder), site_stacks=str(folder / "stacks"),
    )  # fmt: skip
    assert done.operations == ["NFS: server", "NFS: shared folders"]
    assert {sent.host for sent in done.sent} == {"phoenix"}
    files = done.files("phoenix")
    assert files["/etc/exports.d/phoenix.exports"] == "/tank/kept 10.0.0.24/32(rw,sync)\n"


def test_a_guest_mounts_before_its_containers_start(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    done = run(
        "nfs", tmp_path / "secrets.json",
        site_inventories=str(folder), site_stacks=str(folder / "stacks"),
    )  # fmt: skip
    assert done.operations == ["NFS: packages", "NFS: mounted folders"]
    assert {sent.host for sent in done.sent} == {"worker"}
    files = done.files("worker")
    assert files["/etc/phoenix/nfs.fstab"].startswith("10.0.0.13:/tank/kept /mnt/kept nfs4 ")
    assert "Before=docker.service" in files["/etc/systemd/system/phoenix-nfs.service"]
    assert "holds" in files["/usr/local/sbin/phoenix-nfs"]
