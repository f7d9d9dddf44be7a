"""The lab's own decisions: names, subnets, what a machine lacks. No Docker Engine needed."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import apt, bootstrap, containers, guests, keys, preflight, settings, state
from lab.guests import Guest
from lab.image import Images
from lab.settings import LabError, Settings

GIB = 1024**3


def make(tmp_path: Path, subnet: str = "198.19.77.0/24") -> Settings:
    return Settings("lab", IPv4Network(subnet), tmp_path)


def test_default_lab_has_its_fixed_network() -> None:
    actual = settings.from_environment({})
    assert (actual.name, str(actual.subnet)) == ("lab", "198.19.77.0/24"), actual
    assert actual.container("step-ca") == "phoenix-lab-step-ca"
    assert actual.directory == settings.ROOT / ".lab" / "lab"


@given(st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(lambda name: name != "lab"))
def test_another_lab_has_another_network_in_the_benchmark_range(name: str) -> None:
    subnet = settings.from_environment({"PHOENIX_LAB_NAME": name}).subnet
    assert subnet.prefixlen == 24, (name, subnet)
    assert subnet.subnet_of(IPv4Network("198.18.0.0/15")), (name, subnet)
    assert subnet != IPv4Network("198.19.77.0/24"), (name, subnet)


@pytest.mark.parametrize("name", ["Lab", "../x", "-a", "a-", "a b", "x" * 21])
def test_a_bad_name_is_refused_by_name(name: str) -> None:
    with pytest.raises(LabError, match="PHOENIX_LAB_NAME"):
        settings.from_environment({"PHOENIX_LAB_NAME": name})


@pytest.mark.parametrize("subnet", ["10.0.0.1/24", "10.0.0.0/16", "nonsense", "fd00::/64"])
def test_a_bad_subnet_is_refused_with_an_example(subnet: str) -> None:
    with pytest.raises(LabError, match=r"PHOENIX_LAB_SUBNET.*Example"):
        settings.from_environment({"PHOENIX_LAB_SUBNET": subnet})


def test_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    where = make(tmp_path)
    where.directory.mkdir(parents=True)
    artifact: state.Artifact = {"version": "0.20.0", "url": "file:///x", "sha256": "ab"}
    saved = state.LabState(
        name="lab",
        subnet=where.subnet,
        hosts={"phoenix": "198.19.77.13"},
        client="phoenix-lab-client",
        client_address="198.19.77.250",
        ssh_key=where.directory / "id_ed25519",
        known_hosts=where.directory / "known_hosts",
        artifacts={"step-ca": artifact},
        images={"app": "app:1"},
        image_archives={"app:1": {"url": "file:///x", "sha256": "ab"}},
    )
    assert state.load(where) is None
    state.save(saved, where)
    assert state.load(where) == saved


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"name": "lab", "subnet": "x"}'])
def test_a_damaged_state_is_named(tmp_path: Path, content: str) -> None:
    where = make(tmp_path)
    where.directory.mkdir(parents=True)
    (where.directory / state.FILE).write_text(content)
    with pytest.raises(LabError, match=r"lab\.json is damaged"):
        state.load(where)


def test_routes_are_read_from_the_kernels_table() -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "tun0\t004D13C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    assert preflight.routes(table) == [("tun0", IPv4Network("198.19.77.0/24"))]


class FakeNetworks:
    """Docker's networks as its SDK lists them; a double, for a clash cannot be arranged safely."""

    def __init__(self, **subnets: str) -> None:
        self.networks = self
        self._subnets = subnets

    def list(self) -> list[Any]:
        return [
            SimpleNamespace(
                name=name.replace("_", "-"),
                id="0" * 64,
                attrs={"IPAM": {"Config": [{"Subnet": s}]}},
            )
            for name, s in self._subnets.items()
        ]


def test_a_clash_with_a_docker_network_names_it(tmp_path: Path) -> None:
    client: Any = FakeNetworks(other="198.19.0.0/16")
    problem = preflight.subnet_problem(client, make(tmp_path))
    assert problem is not None
    assert "'other' (198.19.0.0/16)" in problem, problem
    assert "PHOENIX_LAB_SUBNET" in problem, problem


def test_the_labs_own_network_is_no_clash(tmp_path: Path) -> None:
    client: Any = FakeNetworks(phoenix_lab="203.0.113.0/24", v6="fd00::/64")
    assert preflight.subnet_problem(client, make(tmp_path, "203.0.113.0/24")) is None


def test_a_clash_with_a_route_names_it(tmp_path: Path) -> None:
    client: Any = FakeNetworks()
    known = preflight.routes(Path("/proc/net/route").read_text())
    if not known:
        pytest.skip("this machine has no route but the default")
    device, route = known[0]
    problem = preflight.subnet_problem(client, make(tmp_path, str(route)))
    assert problem is not None
    assert f"the route {route}" in problem, (device, problem)


@pytest.mark.parametrize(
    ("bits", "missing"),
    [("000001ffffffffff", None), ("000001ffffdfffff", "CAP_SYS_ADMIN"), ("0", "CAP_NET_ADMIN")],
)
def test_a_missing_capability_is_named(bits: str, missing: str | None) -> None:
    problem = preflight.capability_problem(f"Name:\tdockerd\nCapBnd:\t{bits}\n")
    if missing is None:
        assert problem is None, problem
    else:
        assert problem is not None
        assert missing in problem, problem


def test_cgroups_without_systemd_are_explained(tmp_path: Path) -> None:
    problem = preflight.cgroup_problem(tmp_path)
    assert problem is not None
    assert "name=systemd" in problem, problem
    (tmp_path / "systemd").mkdir()
    assert preflight.cgroup_problem(tmp_path) is None
    (tmp_path / "systemd").rmdir()
    (tmp_path / "cgroup.controllers").write_text("cpu")
    assert preflight.cgroup_problem(tmp_path) is None


def test_memory_and_disk_are_measured(tmp_path: Path) -> None:
    text = "MemTotal:       4000000 kB\nMemAvailable:   1048576 kB\n"
    assert preflight.memory_problem(text, GIB) is None
    problem = preflight.memory_problem(text, 2 * GIB)
    assert problem is not None
    assert problem.startswith("1.0 GiB of memory"), problem
    assert preflight.disk_problem(tmp_path / "not" / "yet", 1) is None
    problem = preflight.disk_problem(tmp_path, 10**18)
    assert problem is not None
    assert str(tmp_path) in problem, problem


@pytest.mark.parametrize("part", [254, 250])
def test_a_guest_may_not_have_the_labs_own_addresses(tmp_path: Path, part: int) -> None:
    guest = Guest("app", IPv4Address(f"198.19.77.{part}"))
    with pytest.raises(LabError, match=rf"app has the address 198\.19\.77\.{part}"):
        guests.check_addresses([guest], make(tmp_path))


def test_guests_are_the_sites_hosts() -> None:
    where = settings.from_environment({})
    actual = {guest.name: guest for guest in guests.from_site(where)}
    assert {"phoenix", "step-ca", "traefik-internal", "nginx-phoenix"} < set(actual), list(actual)
    assert {guest.name for guest in actual.values() if guest.nested} == {"portainer", "drphoenix"}
    assert [guest.name for guest in actual.values() if guest.serves_dns] == ["phoenix"]
    assert all(guest.address in where.subnet for guest in actual.values()), actual


def test_apt_proxies_are_carried_over() -> None:
    dump = 'APT "";\nAcquire::http::Proxy "http://proxy.test:3128";\nAcquire::Languages "none";\n'
    assert apt.proxy_settings(dump) == {"Acquire::http::Proxy": "http://proxy.test:3128"}


def test_only_a_mirror_of_ones_own_changes_the_sources() -> None:
    official = (
        "http://deb.debian.org/debian/ Debian main\n"
        "http://security.debian.org/debian-security/ Debian main\n"
    )
    assert apt.mirror_sources(official) == ""
    mirrored = (
        "http://mirror.test/debian/ Debian main\n"
        "http://mirror.test/debian/ Debian main\n"
        "http://mirror.test/debian-security/ Debian main\n"
        "https://packages.test/node/ Other main\n"
    )
    assert apt.mirror_sources(mirrored).splitlines() == [
        "deb http://mirror.test/debian trixie main",
        "deb http://mirror.test/debian trixie-updates main",
        "deb http://mirror.test/debian-security trixie-security main",
    ]
    assert apt.mirror_sources(mirrored, "bookworm").splitlines()[::2] == [
        "deb http://mirror.test/debian bookworm main",
        "deb http://mirror.test/debian-security bookworm-security main",
    ]
    assert apt.mirror_sources(official, "bookworm") == ""


def test_hosts_of_debian_12_are_named_and_boot_its_image(tmp_path: Path) -> None:
    asked = settings.from_environment({"PHOENIX_LAB_DEBIAN_12": "traefik-internal, step-ca,"})
    assert asked.debian_12 == {"traefik-internal", "step-ca"}
    images = Images("new:1", "client:1", "runtime:1", "old:1")
    hosts, own_settings = guests.from_site(asked), replace(asked, root=tmp_path)
    own_settings.directory.mkdir(parents=True)
    keys.make(own_settings.directory / keys.CLIENT_KEY, "test")
    booted = {host.name: containers.guest_plan(host, images, own_settings).image for host in hosts}
    assert {name for name, tag in booted.items() if tag == "old:1"} == asked.debian_12
    assert booted["nginx-phoenix"] == "new:1"
    with pytest.raises(LabError, match="names nobody, which the site does not have: choose of"):
        guests.from_site(replace(asked, debian_12=frozenset({"nobody"})))


def test_the_stamp_follows_the_content(tmp_path: Path) -> None:
    pins = tmp_path / "requirements.txt"
    absent = bootstrap.stamp([pins])
    pins.write_text("a==1")
    first = bootstrap.stamp([pins])
    pins.write_text("a==2")
    assert len({absent, first, bootstrap.stamp([pins])}) == 3
    pins.write_text("a==1")
    assert bootstrap.stamp([pins]) == first


def test_another_machines_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.9:2375")
    with pytest.raises(LabError, match="unset DOCKER_HOST"):
        bootstrap.docker_answers()


def test_a_dead_engine_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(LabError, match=re.escape(f"{tmp_path}/none.sock")):
        bootstrap.docker_answers()


def test_packages_need_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="As root: apt-get install mmdebstrap"):
        bootstrap.install(["mmdebstrap"])


def test_no_download_address_is_written_down() -> None:
    """A mirror or registry is a fact of one machine; only detection may name one."""
    folders = (settings.ROOT / "lab", settings.ROOT / "portainer_emulator")
    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.is_file() and path.suffix in {".py", ".go", ".service", ""}:
            text = path.read_text(errors="replace")
            assert not re.search(r"https?://(?!127\.|\{)[a-z0-9-]+\.[a-z]", text), path


def test_state_file_holds_no_key(tmp_path: Path) -> None:
    where = make(tmp_path)
    where.directory.mkdir(parents=True)
    key = where.directory / "id_ed25519"
    key.write_text("PRIVATE")
    state.save(
        state.LabState("lab", where.subnet, {}, "c", "198.19.77.250", key, key, {}, {}, {}), where
    )
    text = (where.directory / state.FILE).read_text()
    assert "PRIVATE" not in text
    assert json.loads(text)["ssh_key"] == "id_ed25519"


def test_a_browser_is_installed_for_the_tests_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    browser = {"chromium", "libnss3-tools", "librsvg2-bin", "prometheus"}
    assert not browser & set(bootstrap.missing_packages(docker_answers=True))
    assert browser <= set(bootstrap.missing_packages(docker_answers=True, browser=True))
    monkeypatch.setattr(shutil, "which", lambda name, **__: f"/usr/bin/{name}")
    assert not browser & set(bootstrap.missing_packages(docker_answers=True, browser=True))


def test_inotify_instances_are_counted_and_missed(tmp_path: Path) -> None:
    for process in ("1", "22"):
        (tmp_path / process / "fd").mkdir(parents=True)
        for number in range(3):
            (tmp_path / process / "fd" / str(number)).symlink_to("anon_inode:inotify")
        (tmp_path / process / "fd" / "9").symlink_to("/dev/null")
    assert preflight.inotify_instances(tmp_path) == 6


def test_too_few_inotify_instances_become_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text("128\n")
    assert preflight.inotify_problem(6, limit) is None
    assert limit.read_text() == "128\n", "enough are left"
    assert preflight.inotify_problem(100, limit) is None
    assert limit.read_text() == "1024\n"
    assert "1024 until the next boot: of 128, 100 were in use" in capsys.readouterr().out


def test_a_limit_of_inotify_instances_that_others_hold_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    limit = tmp_path / "max_user_instances"
    limit.write_text("128\n")
    monkeypatch.setattr(Path, "write_text", refuse)
    assert preflight.inotify_problem(80, limit) is None, "this lab has room"
    problem = preflight.inotify_problem(100, limit)
    assert problem is not None
    assert "100 of 128" in problem
    assert "sysctl fs.inotify.max_user_instances=1024" in problem
