"""Folders by NFS: what is declared, the flows, the files, and the program that mounts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phoenix.components.nfs import shares
from phoenix.derived import firewall
from phoenix.derived.components import component_hosts, trees_of
from phoenix.files import text
from phoenix.health.checks import checks
from phoenix.site.model import Site
from tests.unit.site_builder import LXC, VM, Declaration, lxc, minimal, problem

FILE = "phoenix_hypervisor_config.json"
SHARED = [{"path": "/tank/kept", "clients": ["10.0.0.24", "10.0.0.0/28"], "options": "rw,sync"}]
MOUNT = {"type": "nfs", "path": "/tank/kept/1002", "mount_point": "/mnt/kept"}


def declared(volumes: list[dict[str, Any]] | None = None) -> Declaration:
    declaration = minimal()
    declaration.vm["vms"][1]["volumes"] = [MOUNT] if volumes is None else volumes
    return declaration


def write(folder: Path, **parts: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(parts))


def loaded(folder: Path, shared: Any = SHARED) -> Site:
    write(folder, nfs={"exports": shared})
    return declared().load(folder)


def test_both_ends_follow_from_the_declaration(tmp_path: Path) -> None:
    site = loaded(tmp_path)
    worker = site.host("worker")
    assert shares.exports(site.hypervisor) == (
        "/tank/kept 10.0.0.24/32(rw,sync) 10.0.0.0/28(rw,sync)\n"
    )
    (mount,) = worker.mounts
    assert mount.server == site.hypervisor.address
    line = f"{mount.server}:/tank/kept/1002 /mnt/kept nfs4 rw,hard,nosuid,nodev 0 0\n"
    assert shares.mounts(worker) == line
    assert component_hosts("nfs_exports", site) == (site.hypervisor,)
    assert component_hosts("nfs", site) == (worker,)
    assert "nfs" in trees_of(site, worker)
    assert "nfs-exports" in trees_of(site, site.hypervisor)


def test_the_clients_alone_reach_the_server(tmp_path: Path) -> None:
    site = loaded(tmp_path)
    flows = [flow for flow in firewall.flows(site) if flow.port == 2049]
    assert {str(firewall.network_of(flow.source)) for flow in flows} == {
        "10.0.0.24/32", "10.0.0.0/28",
    }  # fmt: skip
    assert {flow.destination.name for flow in flows} == {site.hypervisor.name}  # type: ignore[union-attr]


def test_a_server_outside_the_site_is_reached_by_who_mounts_from_it(tmp_path: Path) -> None:
    site = declared([{**MOUNT, "server": "10.9.0.5"}]).load(tmp_path)
    (flow,) = [flow for flow in firewall.flows(site) if flow.port == 2049]
    assert (flow.source, str(flow.destination)) == (site.host("worker"), "10.9.0.5/32")


def test_a_site_without_folders_has_no_component_check_or_flow(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    assert not component_hosts("nfs", site)
    assert not component_hosts("nfs_exports", site)
    assert not [check for check in checks(site) if "nfs" in check.unit]
    assert not [flow for flow in firewall.flows(site) if flow.port == 2049]


def test_each_end_is_checked(tmp_path: Path) -> None:
    site = loaded(tmp_path)
    commands = {(check.host, check.unit): check.command for check in checks(site)}
    own = commands["worker", shares.UNIT]
    assert own == ("unit_runs", shares.UNIT, "folders_are_mounted", shares.PROGRAM)
    assert (site.hypervisor.name, shares.SERVER_UNIT) in commands


def test_a_folder_that_is_not_shared_with_its_guest_is_told(tmp_path: Path) -> None:
    other = [{"path": "/tank/other", "clients": ["10.0.0.24"]}]
    finding = problem(loaded(tmp_path, other).warnings, VM, "vms[1].volumes[0]")
    assert "add 10.0.0.24 to the clients" in finding.fix


def test_what_is_shared_is_told_to_be_neither_encrypted_nor_proven(tmp_path: Path) -> None:
    assert "encrypts nothing" in problem(loaded(tmp_path).warnings, FILE, "nfs.exports").message


@pytest.mark.parametrize(
    ("shared", "path"),
    [([*SHARED, *SHARED], "nfs.exports[1].path"), ([{"path": "/a"}], "nfs.exports[0]"),
     ([{"path": "a", "clients": ["10.0.0.5"]}], "nfs.exports[0].path"),
     ([{"path": "/a", "clients": ["*"]}], "nfs.exports[0].clients[0]"),
     ([{"path": "/a", "clients": ["10.0.0.5"], "options": ["rw)"]}],
      "nfs.exports[0].options[0]")],
)  # fmt: skip
def test_shares_that_cannot_work_are_refused(tmp_path: Path, shared: Any, path: str) -> None:
    write(tmp_path, nfs={"exports": shared})
    problem(minimal().refused(tmp_path), FILE, path)


@pytest.mark.parametrize(
    ("volumes", "path"),
    [([MOUNT, MOUNT], "vms[1].volumes[1].mount_point"),
     ([{**MOUNT, "server": "nas"}], "vms[1].volumes[0].server"),
     ([{**MOUNT, "mount_point": "/a/../b"}], "vms[1].volumes[0].mount_point")],
)  # fmt: skip
def test_mounts_that_cannot_work_are_refused(tmp_path: Path, volumes: Any, path: str) -> None:
    problem(declared(volumes).refused(tmp_path), VM, path)


def test_a_mount_that_a_later_one_hides_is_told(tmp_path: Path) -> None:
    inner, outer = {**MOUNT, "mount_point": "/mnt/kept/in"}, {**MOUNT, "path": "/tank"}
    warnings = declared([inner, outer]).load(tmp_path / "hidden").warnings
    finding = problem(warnings, VM, "vms[1].volumes[0].mount_point")
    assert finding.fix == "declare what is at /mnt/kept before it"
    warnings = declared([outer, inner]).load(tmp_path / "seen").warnings
    assert not [warning for warning in warnings if "is hidden by" in warning.message]


def test_what_a_guest_cannot_mount_stays_with_a_person(tmp_path: Path) -> None:
    declaration = declared([{**MOUNT, "type": "cifs"}])
    declaration.lxc["lxc_configs"]["150"] = lxc("media", None, 50, volumes=[MOUNT])
    site = declaration.load(tmp_path)
    assert "stays with you" in problem(site.warnings, VM, "vms[1].volumes[0].type").message
    finding = problem(site.warnings, LXC, "lxc_configs.150.volumes[0]")
    assert "mount_points" in finding.fix
    assert not site.host("worker").mounts
    assert not site.host("media").mounts


def test_a_folder_of_several_containers(tmp_path: Path) -> None:
    models = {"host_path": "/tank/models", "mounts": {"150": "/models", "999": "/models"}}
    write(tmp_path, shared_volumes={"models": models})
    declaration = minimal()
    declaration.lxc["lxc_configs"]["150"] = lxc("media", None, 50)
    site = declaration.load(tmp_path)
    (folder,) = site.host("media").container.bind_mounts
    assert (folder.host_path, folder.path) == ("/tank/models", "/models")
    problem(site.warnings, FILE, "shared_volumes.models.mounts.999")
    own = {"host_path": "/tank/else", "container_path": "/models"}
    declaration.lxc["lxc_configs"]["150"]["mount_points"] = [own]
    problem(declaration.refused(tmp_path), FILE, "shared_volumes.models.mounts.150")


class Guest:
    """A guest whose mounts are lines of a file, by doubles of findmnt, mount and umount."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self.table = folder / "table"
        self.table.touch()
        for name, body in {
            "findmnt": 'for last; do :; done; awk -v t="$last" \'$2 == t { print $1 }\' "$TABLE"',
            "mount": 'while [ "$1" != -- ]; do shift; done; echo "$2 $3" >>"$TABLE"',
            "umount": '[ ! -e "$TABLE.busy" ] || exit 32; [ ! -e "$TABLE.dead" ] || exec sleep 600;'
            ' sed -i "\\\\|.* $2\\$|d" "$TABLE"',
        }.items():
            program = folder / "bin" / name
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)
        (folder / "phoenix-nfs").write_text(text("components/nfs/phoenix-nfs"))

    def run(self, verb: str, *mounts: tuple[str, str]) -> tuple[int, str]:
        lines = "".join(f"{source} {target} nfs4 rw 0 0\n" for source, target in mounts)
        (self.folder / "list").write_text(lines)
        done = subprocess.run(
            ["sh", self.folder / "phoenix-nfs", verb], check=False, capture_output=True, text=True,
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "TABLE": str(self.table),
                 "PHOENIX_NFS_LIST": str(self.folder / "list"),
                 "PHOENIX_NFS_KEPT": str(self.folder / "kept"), "PHOENIX_NFS_SECONDS": "1"},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    @property
    def mounted(self) -> list[str]:
        return sorted(self.table.read_text().splitlines())


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_the_program_mounts_holds_changes_and_takes_away(guest: Guest) -> None:
    a, b = str(guest.folder / "a-1"), str(guest.folder / "b")
    assert guest.run("up", ("nas:/a", a), ("nas:/b", b)) == (0, "")
    assert guest.run("up", ("nas:/a", a), ("nas:/b", b)) == (0, ""), "twice is once"
    assert guest.mounted == [f"nas:/a {a}", f"nas:/b {b}"]
    assert guest.run("holds", ("nas:/a", a), ("nas:/b", b)) == (0, "")
    assert guest.run("up", ("nas:/c", a)) == (0, "")
    assert guest.mounted == [f"nas:/c {a}"]
    assert guest.run("holds", ("nas:/a", a))[0] == 1
    assert guest.run("down", ("nas:/c", a)) == (0, "")
    assert guest.mounted == []


def test_the_program_leaves_a_persons_mount_and_files_alone(guest: Guest) -> None:
    target = guest.folder / "data"
    guest.table.write_text(f"mine:/x {target}\n")
    code, output = guest.run("up", ("nas:/a", str(target)))
    assert (code, "has mine:/x already" in output) == (1, True)
    guest.table.write_text("")
    target.mkdir()
    (target / "kept").touch()
    code, output = guest.run("up", ("nas:/a", str(target)))
    assert (code, "would hide" in output) == (1, True)
    assert guest.mounted == []


def test_a_folder_in_use_is_not_forgotten(guest: Guest) -> None:
    target = str(guest.folder / "a")
    guest.run("up", ("nas:/a", target))
    (guest.folder / "table.busy").touch()
    code, output = guest.run("up")
    assert (code, "is in use" in output) == (1, True)
    (guest.folder / "table.busy").unlink()
    assert guest.run("up") == (0, "")
    assert guest.mounted == []


def test_a_server_that_does_not_answer_holds_nothing_up(guest: Guest) -> None:
    target = str(guest.folder / "a")
    guest.run("up", ("nas:/a", target))
    (guest.folder / "table.dead").touch()
    code, output = guest.run("down")
    assert (code, f"the server of {target} does not answer" in output) == (1, True)
    (guest.folder / "table.dead").unlink()
    assert guest.run("down") == (0, "")
    assert guest.mounted == []
