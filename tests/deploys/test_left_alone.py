"""What the declaration leaves alone: no command touches it, and nothing of it is claimed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import OperationError

from tests.deploys.recorder import ROOT, Run, run
from tests.deploys.test_deploys import settled

EVERYTHING = [
    "time", "resolver", "updates", "ssh", "trust", "packages", "guard", "guest_agent", "docker",
    "start_page", "dashboard", "watch",
]  # fmt: skip
SSHD = "/etc/ssh/sshd_config.d/10-phoenix.conf"
UPDATES = "/etc/apt/apt.conf.d/60phoenix"
ASKED = " resolver app.internal.thinkheads.ai"
PLACED = "placed /var/lib/phoenix/trees"
INSTALLED = ["bind9-dnsutils", "ca-certificates", "curl", "openssl"]


def left_alone(folder: Path, *, everywhere: list[str], **hosts: list[str]) -> str:
    """The repository's own declaration with `leave_alone` in it; `vm` and `lxc` ids as `_103`."""
    inventories = folder / "inventories"
    shutil.copytree(ROOT / "inventories", inventories)
    file = inventories / "phoenix_lxc_configs.json"
    declared = json.loads(file.read_text())
    declared["site"]["leave_alone"] = everywhere
    for vmid, words in hosts.items():
        declared["lxc_configs"][vmid.removeprefix("_")]["leave_alone"] = words
    file.write_text(json.dumps(declared))
    return str(inventories)


def base(
    folder: Path, inventories: str, *, responses: dict[Any, Any] | None = None, **more: Any
) -> Run:
    answers: dict[Any, Any] = {
        "dpkg-query": lambda _: [f"installed {name}" for name in INSTALLED],
        ASKED: lambda _: ["server 10.0.0.2", "answer 10.0.0.153"],
        **(responses or {}),
    }
    return run("base", folder / "s.json", site_inventories=inventories, responses=answers, **more)


def test_a_host_that_keeps_everything_is_changed_by_nothing(tmp_path: Path) -> None:
    done = base(tmp_path, left_alone(tmp_path, everywhere=EVERYTHING))
    assert not done.failed
    assert [sent.command for sent in done.sent if sent.files() or "apt-get" in sent.command] == []
    writes = re.compile(r"systemctl (try-)?restart|ln -s|update-ca|dpkg --")
    assert [sent.command for sent in done.sent if writes.search(sent.command)] == []


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("time", "/etc/timezone"),
        ("resolver", "/etc/resolv.conf"),
        ("updates", UPDATES),
        ("ssh", SSHD),
    ],
)
def test_one_host_keeps_one_thing_and_the_others_get_it(
    tmp_path: Path, word: str, place: str
) -> None:
    done = base(tmp_path, left_alone(tmp_path, everywhere=[], _103=[word]))
    assert place not in done.files("step-ca")
    assert place in done.files("drphoenix")
    others = {"/etc/timezone", "/etc/resolv.conf", UPDATES, SSHD} - {place}
    assert others <= done.files("step-ca").keys(), "the rest of it is converged"
    trees = [sent.files() for sent in done.sent if sent.host == "step-ca" and sent.files()]
    params = "".join(tree["params"] for tree in trees)
    assert ("/etc/localtime" in params) is (word != "time")
    assert ("dig +time" in params) is (word != "resolver")


def test_a_host_s_own_list_replaces_the_site_s(tmp_path: Path) -> None:
    done = base(tmp_path, left_alone(tmp_path, everywhere=["ssh", "time"], _103=[]))
    assert SSHD in done.files("step-ca")
    assert SSHD not in done.files("drphoenix")


def test_what_phoenix_had_made_goes_back_and_sshd_reads_what_is_left(tmp_path: Path) -> None:
    inventories = left_alone(tmp_path, everywhere=["ssh"])
    done = base(tmp_path, inventories, responses={PLACED: lambda _: ["tree\tssh"]})
    commands = [sent.command for sent in done.sent if sent.host == "step-ca"]
    (removal,) = [at for at, command in enumerate(commands) if 'apply" remove' in command]
    assert "trees/ssh" in commands[removal]
    assert "systemctl try-restart ssh.service" in commands[removal + 1]


def test_a_second_run_leaves_it_alone_as_well(tmp_path: Path) -> None:
    inventories = left_alone(tmp_path, everywhere=["resolver", "ssh"])
    first = base(tmp_path, inventories)
    answers = {
        re.compile(f"config-tree {place.partition(' ')[2]} "): (lambda _, answer=answer: answer)
        for place, answer in settled(first).items()
        if place.startswith("step-ca ")
    }
    again = base(tmp_path, inventories, responses=answers)
    assert not [sent for sent in again.sent if sent.host == "step-ca" and sent.files()]


def test_packages_that_are_missing_are_named_before_anything_is_changed(tmp_path: Path) -> None:
    inventories = left_alone(tmp_path, everywhere=["packages"])
    with pytest.raises(OperationError, match=r"left alone, and .*unattended-upgrades .*missing"):
        base(tmp_path, inventories)
    missing = ["unattended-upgrades", "tzdata", "systemd-timesyncd"]
    installed = [f"installed {name}" for name in [*INSTALLED, *missing]]
    done = base(tmp_path, inventories, responses={"dpkg-query": lambda _: installed})
    assert not done.failed
    assert not [sent for sent in done.sent if "apt-get" in sent.command]


def test_a_resolver_that_does_not_forward_the_zone_is_told_with_the_fix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inventories = left_alone(tmp_path, everywhere=[], _103=["resolver"])
    silent = {ASKED: lambda _: ["server 10.0.0.2"]}
    done = base(tmp_path, inventories, responses=silent)
    assert done.failed == {"step-ca"}
    assert "its resolver (10.0.0.2) is left alone, and knows no such name" in caplog.text
    assert "forward internal.thinkheads.ai to 10.0.0.13" in caplog.text


def test_the_guard_of_a_host_that_keeps_its_own_is_taken_away(tmp_path: Path) -> None:
    inventories = left_alone(tmp_path, everywhere=[], _103=["guard"])
    done = run(
        "guard", tmp_path / "s.json", site_inventories=inventories,
        responses={PLACED: lambda _: ["tree\tguard"]},
    )  # fmt: skip
    assert {s.host for s in done.sent if 'apply" remove' in s.command} == {"step-ca"}


@pytest.mark.parametrize("word", ["guest_agent", "proxmox"])
def test_the_agent_is_not_installed_on_a_machine_that_keeps_its_own(
    tmp_path: Path, word: str
) -> None:
    inventories = left_alone(tmp_path, everywhere=[word])
    done = base(tmp_path, inventories, proxmox_api="ssh")
    assert not [sent for sent in done.sent if "qemu-guest-agent" in sent.command]
    other = left_alone(tmp_path / "other", everywhere=[])
    done = base(tmp_path, other, proxmox_api="ssh")
    assert {s.host for s in done.sent if "qemu-guest-agent" in s.command} == {
        "portainer", "drphoenix",
    }  # fmt: skip


def test_docker_of_one_host_is_left_alone_and_goes_on_running(tmp_path: Path) -> None:
    inventories = left_alone(tmp_path, everywhere=["docker"])
    placed: dict[Any, Any] = {PLACED: lambda _: ["tree\tdocker"]}
    done = run("docker", tmp_path / "s.json", site_inventories=inventories, responses=placed)
    assert not done.failed
    assert not [sent for sent in done.sent if sent.files() or "apt-get" in sent.command]
    removed = [sent for sent in done.sent if 'apply" remove' in sent.command]
    assert {sent.host for sent in removed} == {"portainer", "drphoenix"}
    assert all(sent.command.endswith("trees/docker running") for sent in removed), removed
    other = run("docker", tmp_path / "o.json", site_inventories=left_alone(
        tmp_path / "other", everywhere=[], _102=["docker"]
    ))  # fmt: skip
    assert "/etc/docker/daemon.json" in other.files("drphoenix"), "another host's word"


@pytest.mark.parametrize("word", ["start_page", "dashboard"])
def test_what_traefiks_guest_serves_by_itself_is_left_away(tmp_path: Path, word: str) -> None:
    inventories = left_alone(tmp_path, everywhere=[], _102=[word])
    placed: dict[Any, Any] = {PLACED: lambda _: ["tree\thome"]}
    done = run("home", tmp_path / "s.json", site_inventories=inventories, responses=placed)
    removed = {sent.host for sent in done.sent if 'apply" remove' in sent.command}
    assert removed == ({"traefik-internal"} if word == "start_page" else set())
    routed = run("traefik", tmp_path / "s.json", site_inventories=inventories)
    files = routed.files("traefik-internal")
    text = "".join(content for path, content in files.items() if path.endswith("phoenix.yml"))
    present = {"start_page": "home.internal.", "dashboard": "traefik.internal."}
    for name, host in present.items():
        assert (f"Host(`{host}" in text) is (name != word), (name, text)
    checked = run("verify", tmp_path / "s.json", site_inventories=inventories)
    assert ("Verify: start page" in checked.operations) is (word != "start_page")
