"""A container's low-level settings: what Proxmox VE takes, what another key says, what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox.desired import desired_guests
from tests.unit.site_builder import LXC, problem
from tests.unit.test_container_keys import PLACE, container, declared

PROFILE, NESTING = "lxc.apparmor.profile", "lxc.apparmor.allow_nesting"


def lines(folder: Path, **more: Any) -> list[tuple[str, str]]:
    return list(container(folder, **more)[1].low_level)


@pytest.mark.parametrize(
    "text", ["lxc.mount.auto:sys:rw", "lxc.mount.auto=sys:rw", "lxc.mount.auto: sys:rw",
             "  lxc.mount.auto = sys:rw "],
)  # fmt: skip
def test_a_line_is_read_as_proxmox_reads_it(tmp_path: Path, text: str) -> None:
    assert lines(tmp_path, lxc_options=[text]) == [("lxc.mount.auto", "sys:rw")]


def test_apparmor_has_keys_of_its_own_and_says_each_thing_once(tmp_path: Path) -> None:
    both = {"apparmor_profile": "unconfined", "lxc_options": ["lxc.apparmor.profile=unconfined"]}
    assert lines(tmp_path, **both) == [(PROFILE, "unconfined")]
    more = {"apparmor_profile": "lxc-media", "apparmor_manages_nesting": True}
    assert lines(tmp_path, **more) == [(PROFILE, "lxc-media"), (NESTING, "1")]
    site, _ = container(tmp_path, **more)
    assert not [warning for warning in site.warnings if "apparmor" in warning.path]
    (guest,) = (
        candidate for candidate in desired_guests(site, ProxmoxSettings()) if candidate.vmid == 150
    )
    assert guest.root.low_level == ((PROFILE, "lxc-media"), (NESTING, "1"))
    assert {PROFILE, NESTING} <= guest.declared


def test_two_profiles_are_refused(tmp_path: Path) -> None:
    two = {"apparmor_profile": "lxc-media", "lxc_options": ["lxc.apparmor.profile=unconfined"]}
    finding = problem(declared(**two).refused(tmp_path), LXC, f"{PLACE}.apparmor_profile")
    assert "lxc-media differs from lxc.apparmor.profile in lxc_options" in finding.message
    twice = ["lxc.apparmor.profile=a", "lxc.apparmor.profile=b"]
    problem(declared(lxc_options=twice).refused(tmp_path), LXC, f"{PLACE}.lxc_options[1]")


@pytest.mark.parametrize("text", ["unconfined", "lxc.mount.auto", "lxc.limit.nofile=1",
                                  "lxc.cgroup.memory=1", "memory: 64"])  # fmt: skip
def test_what_proxmox_does_not_take_is_refused(tmp_path: Path, text: str) -> None:
    problem(declared(lxc_options=[text]).refused(tmp_path), LXC, f"{PLACE}.lxc_options[0]")


@pytest.mark.parametrize(
    ("text", "owner"),
    [("lxc.net.0.type: macvlan", "network_config"), ("lxc.idmap=u 0 1 1", "id_maps"),
     ("lxc.uts.name=a", "name"), ("lxc.rootfs.path=/a", "storage_pool")],
)  # fmt: skip
def test_what_another_key_says_is_left_out_and_named(tmp_path: Path, text: str, owner: str) -> None:
    site, guest = container(tmp_path, lxc_options=[text])
    assert guest.low_level == ()
    assert owner in problem(site.warnings, LXC, f"{PLACE}.lxc_options[0]").message


def test_a_privileged_container_without_apparmor_is_told(tmp_path: Path) -> None:
    site, _ = container(tmp_path, apparmor_profile="unconfined", unprivileged=False)
    assert "root of the hypervisor" in problem(site.warnings, LXC, PLACE).message


@pytest.mark.parametrize(
    ("own", "setting", "expected"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_a_guest_s_own_word_on_its_first_snapshot_goes_before_the_setting(
    tmp_path: Path, own: bool | None, setting: bool, expected: bool
) -> None:
    more = {} if own is None else {"enable_lifecycle_snapshots": own}
    site, _ = container(tmp_path, **more)
    assert not [warning for warning in site.warnings if "snapshot" in warning.path]
    settings = ProxmoxSettings(lifecycle_snapshots=setting)
    (guest,) = (candidate for candidate in desired_guests(site, settings) if candidate.vmid == 150)
    assert guest.first_snapshot is expected


@pytest.mark.parametrize(
    ("key", "value"),
    [("dependencies", ["103"]), ("start_at_boot", True), ("boot_order", 3), ("ports", ["80:80"]),
     ("apparmor_profile", "unconfined"), ("lxc_options", ["lxc.mount.auto:sys:rw"]),
     ("enable_lifecycle_snapshots", True), ("portainer_role", "agent"),
     ("features", ["base_setup", "nvidia"]), ("leave_alone", ["time"]), ("login", {"port": 2222}),
     ("firewall", {"rules": [{"type": "in", "action": "ACCEPT", "proto": "icmp"}]})],
)  # fmt: skip
def test_a_template_s_key_that_says_what_a_guest_does_while_it_runs_is_told(
    tmp_path: Path, key: str, value: Any
) -> None:
    site = declared(is_template=True, **{key: value}).load(tmp_path)
    place = f"{PLACE}.{key}" + (".rules" if key == "firewall" else "")
    assert "a template never runs" in problem(site.warnings, LXC, place).message
    (template,) = (candidate for candidate in site.templates if candidate.vmid == 150)
    assert (template.container.low_level, template.first_snapshot) == ((), None)
