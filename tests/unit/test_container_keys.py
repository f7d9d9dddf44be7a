"""A container's keys for Proxmox VE: what they become, what is refused, what stays with you."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox.desired import desired_guests
from phoenix.site.model import Site
from tests.unit.site_builder import LXC, Declaration, lxc, minimal, problem

PLACE = "lxc_configs.150"


def declared(**more: Any) -> Declaration:
    declaration = minimal()
    declaration.lxc["lxc_configs"]["150"] = lxc("media", None, 50, **more)
    return declaration


def container(folder: Path, **more: Any) -> tuple[Site, Any]:
    site = declared(**more).load(folder)
    return site, site.host("media").container


@pytest.mark.parametrize(
    "features",
    ["base_setup, nesting=1,keyctl=1", ["base_setup", "nesting=1", "keyctl"],
     "base_setup,nesting,keyctl=1"],
)  # fmt: skip
def test_features_are_a_text_or_a_list_of_software_and_of_proxmox(
    tmp_path: Path, features: Any
) -> None:
    site, container_ = container(tmp_path, features=features)
    assert not [w for w in site.warnings if "features" in w.path]
    assert site.host("media").features == ("base_setup",)
    assert dict(container_.features) == {"nesting": "1", "keyctl": "1"}
    (guest,) = (g for g in desired_guests(site, ProxmoxSettings()) if g.vmid == 150)
    assert guest.root.features == {"nesting": "1", "keyctl": "1"}


def test_a_role_may_stand_in_a_text_of_features(tmp_path: Path) -> None:
    declaration = declared(features="docker,nesting=1,keyctl=1")
    assert "docker" in declaration.load(tmp_path).host("media").roles


def test_a_feature_in_another_form_is_refused(tmp_path: Path) -> None:
    findings = declared(features="nesting=yes").refused(tmp_path)
    assert "nesting=1" in problem(findings, LXC, f"{PLACE}.features[0]").fix


def test_a_port_that_is_mapped_to_another_is_told_and_others_are_not(tmp_path: Path) -> None:
    site, _ = container(tmp_path, ports=["8000:8000", "8001:8000", "127.0.0.1:81:81/tcp", "9"])
    assert [w.path for w in site.warnings] == [f"{PLACE}.ports[1]"]
    assert "at port 8000" in site.warnings[0].fix


@pytest.mark.parametrize(
    ("folders", "volumes", "place"),
    [
        (["/a/b", "/a"], [], "mount_points[0].container_path"),
        (["/a", "/a/b"], [], ""),
        (["/a", "/ab"], [], ""),
        (["/a"], ["/a/b"], "zfs_volumes[0].mount_point"),
        (["/a/b"], ["/a"], ""),
    ],
)
def test_a_mount_that_a_later_one_hides_is_told(
    tmp_path: Path, folders: list[str], volumes: list[str], place: str
) -> None:
    """Proxmox VE mounts volumes first, and each kind in the order in which it is declared."""
    site, _ = container(
        tmp_path,
        mount_points=[{"host_path": f"/tank{at}", "container_path": at} for at in folders],
        zfs_volumes=[{"pool": "tank", "size_gb": 1, "mount_point": at} for at in volumes],
    )
    hidden = [warning.path for warning in site.warnings if "is hidden by" in warning.message]
    assert hidden == ([f"{PLACE}.{place}"] if place else [])


def test_two_mounts_at_one_place_are_refused(tmp_path: Path) -> None:
    folder = {"host_path": "/tank/a", "container_path": "/data"}
    volume = {"name": "v", "pool": "tank", "size_gb": 2, "mount_point": "/data"}
    findings = declared(mount_points=[folder], zfs_volumes=[volume]).refused(tmp_path)
    assert "/data" in problem(findings, LXC, f"{PLACE}.zfs_volumes[0].mount_point").message


@pytest.mark.parametrize(
    ("more", "command"),
    [({}, "chown -R 100033:100000 /tank/a"),
     ({"unprivileged": False}, "chown -R 33:0 /tank/a"),
     ({"id_maps": [{"type": "uid", "host_id": 33, "container_id": 33}]},
      "chown -R 33:100000 /tank/a")],
)  # fmt: skip
def test_the_owner_of_a_folder_is_told_as_the_hypervisor_numbers_it(
    tmp_path: Path, more: dict[str, Any], command: str
) -> None:
    folder = {"host_path": "/tank/a", "container_path": "/data", "owner_uid": 33, "owner_gid": 0}
    site, _ = container(tmp_path, mount_points=[folder], **more)
    assert command in problem(site.warnings, LXC, f"{PLACE}.mount_points[0]").fix


@pytest.mark.parametrize(
    "maps",
    [[{"type": "gid", "host_id": 1, "container_id": 5, "size": 3},
      {"type": "gid", "host_id": 9, "container_id": 7}],
     [{"type": "uid", "host_id": 1, "container_id": 65535, "size": 2}]],
)  # fmt: skip
def test_ids_that_are_mapped_twice_or_lie_outside_are_refused(
    tmp_path: Path, maps: list[dict[str, Any]]
) -> None:
    findings = declared(id_maps=maps).refused(tmp_path)
    assert any(f.path.startswith(f"{PLACE}.id_maps") for f in findings), findings


@pytest.mark.parametrize(("number", "apart"), [(400, 1), (200, 2)])
def test_more_id_maps_than_linux_takes_are_refused(tmp_path: Path, number: int, apart: int) -> None:
    each = [{"type": "uid", "host_id": 1000 + n, "container_id": 1000 + apart * n}
            for n in range(number)]  # fmt: skip
    finding = problem(declared(id_maps=each).refused(tmp_path), LXC, f"{PLACE}.id_maps")
    assert "Linux takes 340" in finding.message


def test_a_privileged_container_has_no_id_map(tmp_path: Path) -> None:
    maps = [{"type": "uid", "host_id": 33, "container_id": 33}]
    findings = declared(id_maps=maps, unprivileged=False).refused(tmp_path)
    problem(findings, LXC, f"{PLACE}.id_maps")


@pytest.mark.parametrize("text", ["a", "0;1", "-1", True, [0]])
def test_what_names_no_gpu_is_refused(tmp_path: Path, text: Any) -> None:
    problem(declared(gpu_assignment=text).refused(tmp_path), LXC, f"{PLACE}.gpu_assignment")


def test_none_is_no_gpu(tmp_path: Path) -> None:
    assert container(tmp_path, gpu_assignment="none")[1].devices == ()


def test_an_archive_is_used_where_the_container_is_not_cloned(tmp_path: Path) -> None:
    site, _ = container(tmp_path, template_file="media-v1.tar.gz")
    assert site.host("media").image == "media-v1.tar.gz"
    site, _ = container(tmp_path, template_file="media-v1.tar.gz", template="debian.tar.zst")
    assert site.host("media").image == "debian.tar.zst"
    assert "template" in problem(site.warnings, LXC, f"{PLACE}.template_file").message


@pytest.mark.parametrize(
    ("key", "value"),
    [("application_script", "x.sh"), ("pct_options", ["--tty 2"]),
     ("node_labels", ["gpu=false"]), ("vllm_engine_config", {"a": 1})],
)  # fmt: skip
def test_what_stays_with_a_person_is_named(tmp_path: Path, key: str, value: Any) -> None:
    site, _ = container(tmp_path, **{key: value})
    finding = problem(site.warnings, LXC, f"{PLACE}.{key}")
    assert finding.message.startswith("not used: ")
