"""Every configuration tree that a deploy puts on a host is one that the host may have.

A tree that `trees_of` does not know would be told as a leftover, with the command that removes it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from phoenix.declaration import inventory as inventories
from phoenix.derived.components import trees_of
from phoenix.secrets import client_certificate
from tests.deploys.recorder import ROOT, run

SECRETS = ("TRAEFIK_DASHBOARD_PASSWORD", "PORTAINER_ADMIN_PASSWORD", "PORTAINER_AGENT_SECRET",
           "STEP_CA_PASSWORD", "THINKHEADS_AI_APP_DATABASE_PASS")  # fmt: skip
DOCKERS_OWN: dict[str, Any] = {"docker_packages": "docker", "docker_apt_url": "https://docker.example/linux",
               "docker_apt_key_sha256": "0" * 64}  # fmt: skip
RELEASE = ["x86_64", "ID=debian", "VERSION_CODENAME=trixie"]


def test_every_tree_belongs_to_a_component_of_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(f"PHOENIX_SECRET_{name}", "planted-5ecret-of-the-test")
    presented = client_certificate.generate()
    monkeypatch.setenv("PHOENIX_SECRET_GATEWAY_CLIENT_CERTIFICATE", presented)
    known = client_certificate.certificate_in(presented)
    site = inventories.load(ROOT / "inventories", ROOT / "stacks", environment="production")
    placed: dict[str, set[str]] = {host.name: set() for host in site.hosts}
    for deploy in ("dns", "base", "step_ca", "guard", "certificates", "traefik", "home", "nginx",
                   "admission", "docker", "portainer"):  # fmt: skip
        settings: dict[str, Any] = DOCKERS_OWN if deploy == "docker" else {}
        done = run(deploy, tmp_path / f"{deploy}.json", **settings,
                   responses={
                       re.compile("uname -m"): lambda _: RELEASE,
                       re.compile("client-certificate"):
                           lambda _: [client_certificate.fingerprint(known)],
                   })  # fmt: skip
        for sent in done.sent:
            params = sent.files().get("params", "")
            for component in re.findall(r"^component='?([a-z0-9-]+)", params, re.M):
                placed[sent.host].add(component)
    assert {host: trees - trees_of(site, site.host(host)) for host, trees in placed.items()} == {
        host: set() for host in placed
    }
    # What is not sent here needs a CA that answers, or a stack with files.
    rest = {name: trees_of(site, site.host(name)) - trees for name, trees in placed.items()}
    assert {tree for trees in rest.values() for tree in trees if not tree.startswith("stack-")} == {
        "trust"
    }
