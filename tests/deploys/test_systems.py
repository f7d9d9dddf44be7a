"""Hosts of other distributions and releases: converged, told of, or refused before any change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from deploys import systems
from tests.deploys.recorder import Run, run

# The lines of os-release(5) that tell them apart; Proxmox VE has those of its Debian.
BOOKWORM = ['PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"', "ID=debian", 'VERSION_ID="12"',
            "VERSION_CODENAME=bookworm"]  # fmt: skip
TRIXIE = ['PRETTY_NAME="Debian GNU/Linux 13 (trixie)"', "ID=debian", 'VERSION_ID="13"',
          "VERSION_CODENAME=trixie"]  # fmt: skip
NOBLE = ['PRETTY_NAME="Ubuntu 24.04.3 LTS"', "ID=ubuntu", "ID_LIKE=debian", 'VERSION_ID="24.04"',
         "VERSION_CODENAME=noble"]  # fmt: skip
SID = ['PRETTY_NAME="Debian GNU/Linux forky/sid"', "ID=debian", "VERSION_CODENAME=forky"]
BULLSEYE = ['PRETTY_NAME="Debian GNU/Linux 11 (bullseye)"', "ID=debian", 'VERSION_ID="11"']
JAMMY = ['PRETTY_NAME="Ubuntu 22.04.5 LTS"', "ID=ubuntu", 'VERSION_ID="22.04"']
ALPINE = ['PRETTY_NAME="Alpine Linux v3.21"', "ID=alpine", "VERSION_ID=3.21.0"]


@pytest.fixture(autouse=True)
def _warnings_anew() -> None:
    systems._warn.cache_clear()


def on(
    release: list[str],
    component: str,
    folder: Path,
    *,
    installed_packages: str = "dpkg",
    **settings: Any,
) -> Run:
    installed = [f"installed {package}" for package in installed_packages.split()]
    return run(
        component, folder / "s.json", **settings,
        responses={re.compile("uname -m"): lambda _: ["x86_64", *release],
                   "dpkg-query": lambda _: installed},
    )  # fmt: skip


def installs(done: Run) -> str:
    return "\n".join(sent.command for sent in done.sent if " install " in sent.command)


@pytest.mark.parametrize("release", [BOOKWORM, TRIXIE, NOBLE])
def test_what_phoenix_is_made_for_is_converged_without_a_word(
    tmp_path: Path, release: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    done = on(release, "base", tmp_path)
    assert not done.failed
    assert "bind9-dnsutils" in installs(done)
    assert "Phoenix was never tried" not in caplog.text


@pytest.mark.parametrize(
    ("release", "fix"), [(BULLSEYE, "upgrade it"), (JAMMY, "upgrade it"), (ALPINE, "install one")]
)
def test_what_it_is_not_made_for_is_refused_with_the_list_before_anything_is_changed(
    tmp_path: Path, release: list[str], fix: str
) -> None:
    with pytest.raises(Exception) as refused:  # noqa: PT011  # pyinfra wraps what a deploy raises
        on(release, "base", tmp_path)
    text = f"{refused.value.args} {vars(refused.value)}"
    name = release[0].partition("=")[2].strip('"')
    assert f"it runs {name}, and Phoenix is made for Debian 12 and 13, Ubuntu 24.04" in text
    assert f"fix: {fix}" in text


def test_a_newer_one_is_told_once_and_converged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = on(SID, "base", tmp_path)
    assert not done.failed
    assert caplog.text.count("step-ca: it runs Debian GNU/Linux forky/sid, which Phoenix was") == 1


def test_docker_on_debian_12_needs_docker_s_own_packages(tmp_path: Path) -> None:
    """Debian 12 has Compose 1.29, and its dockerd knows no --validate: the run failed half-way."""
    with pytest.raises(Exception) as refused:  # noqa: PT011
        on(BOOKWORM, "docker", tmp_path)
    text = f"{refused.value.args} {vars(refused.value)}"
    assert 'docker_packages = "docker" in group_data/docker.py' in text
    done = on(BOOKWORM, "docker", tmp_path, docker_packages="docker")
    assert "docker-compose-plugin" in installs(done)


@pytest.mark.parametrize(
    ("release", "package"),
    [(TRIXIE, "docker.io docker-cli docker-compose"), (NOBLE, "docker.io docker-compose-v2")],
)
def test_docker_of_the_distribution(tmp_path: Path, release: list[str], package: str) -> None:
    # Debian has a package of Ubuntu's keys as well: what is installed does not tell what it is.
    for installed_packages in ("dpkg", "dpkg ubuntu-keyring"):
        assert f"{package} " in installs(
            on(release, "docker", tmp_path, installed_packages=installed_packages)
        )


@pytest.mark.parametrize(
    ("release", "distribution", "suite"),
    [(BOOKWORM, "debian", "bookworm"), (TRIXIE, "debian", "trixie"), (NOBLE, "ubuntu", "noble")],
)
def test_docker_s_own_package_source_is_that_of_the_host_s_release(
    tmp_path: Path, release: list[str], distribution: str, suite: str
) -> None:
    done = on(release, "docker", tmp_path, docker_packages="docker",
              docker_apt_url="https://packages.example.test/linux")  # fmt: skip
    (files,) = {
        tuple(sorted(sent.files().items()))
        for sent in done.sent
        if "/etc/apt/sources.list.d/docker.sources" in sent.files()
    }
    source = dict(files)["/etc/apt/sources.list.d/docker.sources"].splitlines()
    assert f"URIs: https://packages.example.test/linux/{distribution}" in source
    assert f"Suites: {suite}" in source
    assert f"https://packages.example.test/linux/{distribution}/gpg" in dict(files)["params"]


@pytest.mark.parametrize("release", [BOOKWORM, TRIXIE, NOBLE])
def test_docker_s_own_packages_of_a_person_are_not_replaced(
    tmp_path: Path, release: list[str]
) -> None:
    """apt-get removes docker-ce and containerd.io to install docker.io."""
    installed_packages = "docker-ce docker-ce-cli docker-compose-plugin iptables curl"
    assert installs(on(release, "docker", tmp_path, installed_packages=installed_packages)) == ""


def test_the_ca_s_guest_has_the_python_that_lists_its_certificates(tmp_path: Path) -> None:
    assert " python3" in installs(on(NOBLE, "step_ca", tmp_path))
