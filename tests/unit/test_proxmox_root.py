"""What only root@pam may set: the commands for it, and nothing where it is so already."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from phoenix.declaration.load import load_site
from phoenix.declaration.settings import BindMount, Device, GuestSettings, ProxmoxSettings
from phoenix.proxmox.desired import DesiredGuest, desired_guests
from phoenix.proxmox.diff import Observed
from phoenix.proxmox.errors import RefusedError
from phoenix.proxmox.root import commands
from phoenix.site.model import Site

ROOT = Path(__file__).parents[2]
Lines = tuple[tuple[str, str], ...]
PROFILE = ("lxc.apparmor.profile", "unconfined")
DEVICES: Lines = (("lxc.cgroup2.devices.allow", "c 10:200 rwm"),
                  ("lxc.cgroup2.devices.allow", "c 10:229 rwm"))  # fmt: skip
OWN = GuestSettings(
    features={"keyctl": "1", "mount": "nfs"},
    bind_mounts=(BindMount(path="/media", host_path="/tank/media", read_only=True),),
    devices=(Device(path="/dev/dri/renderD128", gid=104, mode="0660"),),
    idmap=("u 0 100000 65536", "g 0 100000 65536"),
)


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(ROOT / "inventories", ROOT / "stacks")


def guest(site: Site, own: GuestSettings = OWN) -> DesiredGuest:
    settings = ProxmoxSettings(guests={103: own})
    return next(candidate for candidate in desired_guests(site, settings) if candidate.vmid == 103)


def observed_of(
    desired: DesiredGuest, idmap: tuple[str, ...] = (), low_level: Lines = (), **config: str
) -> Observed:
    description = desired.keys["description"].written(None)
    return Observed(
        vmid=103, kind="lxc", node="phoenix", name="step-ca", running=False, template=False,
        lock=None, config={"description": description, **config}, idmap=idmap,
        low_level=low_level,
    )  # fmt: skip


def lines(desired: DesiredGuest, observed: Observed | None) -> list[str]:
    return [command.summary.partition(": ")[2] for command in commands(desired, observed)]


def test_everything_of_a_new_guest(site: Site) -> None:
    expected = [
        "pct set --features nesting=1,keyctl=1,mount=nfs",
        "pct set --mp0 /tank/media,mp=/media,ro=1",
        "pct set --dev0 /dev/dri/renderD128,gid=104,mode=0660",
        "id map u 0 100000 65536; g 0 100000 65536",
    ]
    assert lines(guest(site), None) == expected
    assert lines(guest(site), observed_of(guest(site))) == expected
    first = commands(guest(site), None)[0]
    assert first.line == "pct set 103 --features nesting=1,keyctl=1,mount=nfs"


def test_nothing_where_it_is_so(site: Site) -> None:
    desired = guest(site)
    observed = observed_of(
        desired, OWN.idmap, features="keyctl=1,mount=nfs,nesting=1", mp0="pool:x,mp=/srv",
        mp3="/tank/media,mp=/media,ro=1", dev1="path=/dev/dri/renderD128,gid=104,mode=0660,uid=0",
    )  # fmt: skip
    assert lines(desired, observed) == []
    assert lines(guest(site, GuestSettings()), None) == []


def test_a_folder_of_a_replicated_guest_is_left_out_of_replication(site: Site) -> None:
    """Proxmox VE refuses to replicate a guest whose folder takes part."""
    mount = BindMount(path="/media", host_path="/tank/media")
    desired = guest(site, GuestSettings(bind_mounts=(mount,), replicate_to=("pve2",)))
    expected = ["pct set --mp0 /tank/media,mp=/media,replicate=0"]
    assert lines(desired, None) == expected
    assert lines(
        desired, observed_of(desired, features="nesting=1", mp0="/tank/media,mp=/media")
    ) == (expected)
    left_out = "/tank/media,mp=/media,replicate=0"
    assert lines(desired, observed_of(desired, features="nesting=1", mp0=left_out)) == []
    alone = guest(site, GuestSettings(bind_mounts=(mount,)))
    assert lines(alone, observed_of(alone, features="nesting=1", mp0=left_out)) == []


def test_another_index_and_another_value(site: Site) -> None:
    desired = guest(site)
    observed = observed_of(
        desired, OWN.idmap, features="keyctl=1,mount=nfs,nesting=1,fuse=1", mp0="pool:x,mp=/srv",
        mp3="/tank/other,mp=/media", dev0="/dev/kvm", dev2="/dev/dri/renderD128,gid=0",
    )  # fmt: skip
    assert lines(desired, observed) == [
        "pct set --mp3 /tank/media,mp=/media,ro=1",
        "pct set --dev2 /dev/dri/renderD128,gid=104,mode=0660",
    ]
    by_a_volume = observed_of(desired, mp0="pool:x,mp=/media")
    with pytest.raises(RefusedError, match="/media is the volume pool:x"):
        commands(desired, by_a_volume)


def test_what_leaves_the_declaration_leaves_the_guest(site: Site) -> None:
    observed = observed_of(
        guest(site), OWN.idmap, features="fuse=1,keyctl=1,mount=nfs,nesting=1",
        mp0="/tank/media,mp=/media", mp1="/tank/persons,mp=/persons",
        dev0="/dev/dri/renderD128", dev1="/dev/kvm",
    )  # fmt: skip
    assert lines(guest(site, GuestSettings()), observed) == [
        "pct set --features fuse=1,nesting=1",
        "pct set --delete mp0",
        "pct set --delete dev0",
        "id map none",
    ]
    persons = replace(observed, config={**observed.config, "description": "mine"})
    assert lines(guest(site, GuestSettings()), persons) == []


def test_the_id_map_is_written_in_the_main_part_of_the_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pve" / "lxc").mkdir(parents=True)
    file = tmp_path / "pve" / "lxc" / "103.conf"
    file.write_text("arch: amd64\nlxc.idmap: u 0 1 1\nnet0: x\n\n[snap]\nlxc.idmap: u 0 1 1\n")
    (tmp_path / "subuid").write_text("root:100000:65536\n")
    (tmp_path / "subgid").write_text("")
    words = [
        word.replace("/etc/", f"{tmp_path}/") for word in commands(guest(site), None)[-1].words
    ]
    for _ in range(2):
        subprocess.run(words, check=True)
        assert file.read_text() == (
            "arch: amd64\nnet0: x\nlxc.idmap: u 0 100000 65536\nlxc.idmap: g 0 100000 65536\n"
            "\n[snap]\nlxc.idmap: u 0 1 1\n"
        )
    for name in ("subuid", "subgid"):
        assert (tmp_path / name).read_text() == "root:100000:65536\n"


def confined(site: Site, lines: Lines) -> DesiredGuest:
    """Container 103 with low-level lines of its entry."""
    host = site.host("step-ca")
    container = host.container.model_copy(update={"low_level": lines})
    host = host.model_copy(update={"container": container})
    others = tuple(candidate for candidate in site.guests if candidate.vmid != 103)
    return guest(site.model_copy(update={"guests": (host, *others)}), GuestSettings())


def test_low_level_lines_are_written_until_they_are_there(site: Site) -> None:
    desired = confined(site, (PROFILE, *DEVICES))
    assert lines(desired, None) == [
        f"lxc.apparmor.profile: unconfined; {'; '.join(f'{key}: {word}' for key, word in DEVICES)}"
    ]
    observed = observed_of(desired, low_level=(("lxc.mount.auto", "sys:rw"), *DEVICES, PROFILE))
    assert lines(desired, observed) == []
    another = observed_of(desired, low_level=(*reversed(DEVICES), PROFILE))
    assert lines(desired, another) == [
        "lxc.cgroup2.devices.allow: c 10:200 rwm; lxc.cgroup2.devices.allow: c 10:229 rwm"
    ]


def test_a_low_level_line_that_leaves_the_declaration_leaves_the_guest(site: Site) -> None:
    before = confined(site, (PROFILE, *DEVICES))
    observed = observed_of(before, low_level=(PROFILE, ("lxc.mount.auto", "sys:rw"), *DEVICES))
    assert lines(confined(site, DEVICES), observed) == ["lxc.apparmor.profile goes"]
    assert lines(guest(site, GuestSettings()), replace(observed, low_level=())) == []


def test_low_level_lines_replace_those_of_their_keys_in_the_main_part_alone(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "pve" / "lxc").mkdir(parents=True)
    file = tmp_path / "pve" / "lxc" / "103.conf"
    file.write_text(
        "#Made by Phoenix\n#  lxc.apparmor.profile: a\narch: amd64\n"
        "lxc.apparmor.profile = generated\nlxc.mount.auto: sys:rw\nnet0: x\n\n"
        "[snap]\nlxc.apparmor.profile: generated\n"
    )
    (command,) = commands(confined(site, (PROFILE, ("lxc.environment", "A='*' $HOME"))), None)
    words = [word.replace("/etc/", f"{tmp_path}/") for word in command.words]
    for _ in range(2):
        subprocess.run(words, check=True)
        assert file.read_text() == (
            "#Made by Phoenix\n#  lxc.apparmor.profile: a\narch: amd64\nlxc.mount.auto: sys:rw\n"
            "net0: x\nlxc.apparmor.profile: unconfined\nlxc.environment: A='*' $HOME\n\n"
            "[snap]\nlxc.apparmor.profile: generated\n"
        )
