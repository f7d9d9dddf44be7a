"""A site that `phoenix init` makes goes through every deploy, with Portainer and without it."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from phoenix.cli.new_site import contents, folder
from phoenix.cli.new_site.questions import Options, of
from phoenix.declaration.inventory import load
from tests.deploys.recorder import ROOT, run

ALL = re.findall(r'include\("deploys/(\w+)\.py"\)', (ROOT / "deploys/all.py").read_text())
CHAIN = ("ca:step_ca", "traefik", "web:nginx", "box:docker")


@pytest.fixture(params=[(), CHAIN], ids=["standard", "no_portainer"], scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("new") / "site"
    answers = Options("lab.example.com", IPv4Network("10.77.0.0/24"), guests=request.param)
    folder.write(where, contents.files(of(answers)))
    return where


@pytest.mark.parametrize("component", ALL)
def test_every_deploy_is_prepared(site: Path, component: str, tmp_path: Path) -> None:
    done = run(
        component, tmp_path / "secrets.json", execute=False,
        site_inventories=str(site / "inventories"), site_stacks=str(site / "stacks"),
    )  # fmt: skip
    assert done.failed == set()
    hosts = load(site / "inventories", site / "stacks", environment=None)
    assert {name for names in done.changed.values() for name in names} <= {
        host.name for host in hosts.hosts
    }
    if component in ("dns", "base", "traefik", "nginx", "step_ca", "home"):
        assert any(done.changed.values()), done.operations
    if component == "portainer":
        assert bool(done.operations) == (hosts.portainer is not None)
