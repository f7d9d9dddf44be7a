"""What the lab's containers are made of: keys, plans, archives. No Docker Engine needed."""

from __future__ import annotations

import io
import stat
import tarfile
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import paramiko
import pytest

from lab import containers, image, keys
from lab.guests import Guest
from lab.image import Images
from lab.settings import Settings

IMAGES = Images("phoenix-lab-base:1", "phoenix-lab-client:1")
CA = Guest("step-ca", IPv4Address("198.19.77.10"))
DOCKER = Guest("drphoenix", IPv4Address("198.19.77.102"), nested=True)


@pytest.fixture
def lab(tmp_path: Path) -> Settings:
    settings = Settings("lab", IPv4Network("198.19.77.0/24"), tmp_path)
    keys.make(settings.directory / keys.CLIENT_KEY, "test")
    return settings


def test_keys_are_made_once_and_kept_closed(lab: Settings) -> None:
    key = keys.host_key(lab, "step-ca")
    first = key.read_bytes()
    assert keys.host_key(lab, "step-ca").read_bytes() == first
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert keys.host_key(lab, "portainer").read_bytes() != first


def test_a_key_without_its_public_half_is_made_anew(lab: Settings) -> None:
    key = keys.host_key(lab, "step-ca")
    key.with_suffix(".pub").unlink()
    assert keys.public(keys.host_key(lab, "step-ca")).startswith("ssh-ed25519 ")


def test_paramiko_finds_every_host_in_known_hosts(lab: Settings) -> None:
    path = keys.write_known_hosts(lab, {"step-ca": "198.19.77.10", "drphoenix": "198.19.77.102"})
    known = paramiko.HostKeys(str(path))
    for host, address in (("step-ca", "198.19.77.10"), ("drphoenix", "198.19.77.102")):
        own = paramiko.Ed25519Key(filename=str(keys.host_key(lab, host)))
        assert known.check(address, own), (address, path.read_text())


def test_a_guest_gets_its_own_keys_and_no_other(lab: Settings) -> None:
    plan = containers.guest_plan(CA, IMAGES, lab)
    content, mode = plan.files["/etc/ssh/ssh_host_ed25519_key"]
    assert content == keys.host_key(lab, "step-ca").read_bytes()
    assert mode == 0o600
    private = (lab.directory / keys.CLIENT_KEY).read_bytes()
    assert all(private not in data for data, _ in plan.files.values()), list(plan.files)


def test_only_a_docker_host_gets_dockers_rights(lab: Settings) -> None:
    plain = containers.guest_plan(CA, IMAGES, lab).host_config
    nested = containers.guest_plan(DOCKER, IMAGES, lab).host_config
    assert "MaskedPaths" not in plain, plain
    assert nested["MaskedPaths"] == [], nested
    assert "phoenix-lab-drphoenix-docker:/var/lib/docker" in nested["Binds"], nested
    assert "SYS_PTRACE" not in plain["CapAdd"], plain
    assert "Privileged" not in plain | nested


def test_a_plan_has_one_digest_until_something_changes(lab: Settings) -> None:
    digest = containers.guest_plan(DOCKER, IMAGES, lab).digest
    assert containers.guest_plan(DOCKER, IMAGES, lab).digest == digest
    others = [
        containers.guest_plan(guest, images, lab).digest
        for guest, images in (
            (Guest("drphoenix", IPv4Address("198.19.77.103"), True), IMAGES),
            (Guest("drphoenix", DOCKER.address), IMAGES),
            (DOCKER, Images("phoenix-lab-base:2", "phoenix-lab-client:1")),
        )
    ]
    (lab.directory / keys.CLIENT_KEY).unlink()
    keys.make(lab.directory / keys.CLIENT_KEY, "test")
    others.append(containers.guest_plan(DOCKER, IMAGES, lab).digest)
    assert len({digest, *others}) == 5, (digest, others)


def test_the_client_asks_the_sites_dns(lab: Settings) -> None:
    dns = Guest("phoenix", IPv4Address("198.19.77.13"), serves_dns=True)
    plan = containers.client_plan([dns, CA], IMAGES, lab)
    assert plan.host_config["Dns"] == ["198.19.77.13"], plan
    assert plan.address == "198.19.77.250"


def test_the_build_context_is_the_same_bytes_each_time() -> None:
    apt_files = {"/etc/apt/apt.conf.d/80phoenix-lab": b"x"}
    context = image.build_context(apt_files)
    assert image.build_context(apt_files) == context
    assert image.build_context({}) != context
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        members = {entry.name: entry for entry in archive}
        script = members["files/usr/local/lib/phoenix-lab/real-files"]
        assert script.mode == 0o755, oct(script.mode)
        assert "Dockerfile" in members, list(members)
        stream = archive.extractfile("apt/etc/apt/apt.conf.d/80phoenix-lab")
        assert stream is not None
        assert stream.read() == b"x"


def test_the_image_installs_nothing_that_a_deploy_brings() -> None:
    text = (image.GUEST / "Dockerfile").read_text()
    for package in ("nginx", "dnsmasq", "lego", "docker.io", "certbot"):
        assert f" {package}" not in text, package
