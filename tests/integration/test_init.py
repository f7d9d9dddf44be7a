"""A site of another domain, made by `phoenix init --defaults`: from an empty folder to a request.

It has a lab of its own: other hosts, at the addresses that the declaration chose by itself.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import preflight
from lab import up as labs
from lab.guests import Guest
from lab.settings import LABEL, from_environment
from lab.state import LabState
from phoenix.declaration.load import load_site
from tests.integration.conftest import NAME
from tests.integration.project import Project
from tests.integration.site_lab import ROOT_FILE, SiteLab, print_figure

DOMAIN = "made.example.net"


def pins(state: LabState) -> str:
    """The settings that replace registry and downloads in the lab."""
    artifacts = {name: {"any": dict(pin)} for name, pin in state.artifacts.items()}
    values = {
        "artifacts": artifacts,
        "portainer_image": state.images["portainer"],
        "portainer_agent_image": state.images["portainer-agent"],
        "image_archives": state.image_archives,
    }
    return "".join(f"{name} = {value!r}\n" for name, value in values.items())


@pytest.fixture
def new_site(
    tmp_path: Path, project: Project, environment: dict[str, str]
) -> Iterator[tuple[SiteLab, Path]]:
    """What init makes, the hosts that it declares as containers, and an operator's own machine."""
    settings = from_environment({"PHOENIX_LAB_NAME": f"{NAME}-i"[-20:].strip("-")})
    home, folder = tmp_path / "home", tmp_path / "site"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    operator = {**environment, "HOME": str(home)}
    for name in ("PHOENIX_LAB_NAME", "SSH_AUTH_SOCK"):
        operator.pop(name, None)
    code = Project(project.path, operator)
    done = code.phoenix(
        "init", str(folder), "--defaults", "--domain", DOMAIN, "--network", str(settings.subnet)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = load_site(folder / "inventories", folder / "stacks")
    guests = [
        Guest(host.name, host.address, host.kind == "vm", host == site.hypervisor)
        for host in site.hosts
    ]
    try:
        state = labs.up(settings, guests)
        shutil.copy(state.ssh_key, home / ".ssh/id_ed25519")
        shutil.copy(state.known_hosts, home / ".ssh/known_hosts")
        # For every host of inventories/phoenix.py: a lab's resolver and downloads are its own.
        of_labs = (code.path / "group_data/lab.py").read_text()
        (folder / "group_data/phoenix.py").write_text(of_labs + pins(state))
        yield SiteLab(preflight.connect(), settings, state, site, code), folder
    finally:
        labs.down(settings)
        shutil.rmtree(settings.directory)
        left = {"label": f"{LABEL}={settings.name}"}
        assert preflight.connect().containers.list(all=True, filters=left) == []


def phoenix(project: Project, folder: Path, verb: str, *words: str, code: int) -> str:
    """What a verb says of the site in the folder, called from elsewhere."""
    done = project.phoenix(verb, "--site", str(folder), *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(900)
def test_a_site_that_init_made_converges_to_a_verified_request(
    new_site: tuple[SiteLab, Path],
) -> None:
    lab, folder = new_site
    project = lab.project
    phoenix(project, folder, "validate", "--strict", code=0)
    first = json.loads(phoenix(project, folder, "sync", "-y", "--json", code=0))
    assert first["ok"], first
    assert first["verified"], first
    assert {host["host"] for host in first["hosts"]} == {host.name for host in lab.site.hosts}

    roots = lab.sh("ca", "cat /etc/phoenix/roots.pem", ok=True).out
    lab.put("client", ROOT_FILE, roots)
    assert {route.fqdn for route in lab.backends} == {f"portainer.{DOMAIN}"}
    assert [lab.serves(route) for route in lab.backends] == [""]
    assert lab.curl(f"https://home.{DOMAIN}/").status == 200
    assert lab.curl(f"https://traefik.{DOMAIN}/dashboard/").status == 401
    assert lab.curl(f"https://no-such-name.{DOMAIN}/").status == 0

    second = json.loads(phoenix(project, folder, "sync", "-y", "--json", code=0))
    print_figure("a second run", second["seconds"])
    assert [change for host in second["hosts"] for change in host["changed"]] == []
    phoenix(project, folder, "plan", code=0)
