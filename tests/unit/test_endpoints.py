"""Every port whose certificate the root proves is listed once; other ports are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.derived.endpoints import endpoints
from phoenix.site.roles import RoleError
from tests.unit.site_builder import minimal

ZONE = "internal.thinkheads.ai"


def test_gateway_traefik_backends_and_ca_with_the_names_they_prove(tmp_path: Path) -> None:
    served = [
        (*endpoint.target, len(endpoint.names)) for endpoint in endpoints(minimal().load(tmp_path))
    ]
    assert served == [
        ("10.0.0.20", 443, f"home.{ZONE}", 4),
        ("10.0.0.21", 443, f"proxy.host.{ZONE}", 1),
        ("10.0.0.23", 9443, f"control.host.{ZONE}", 1),
        ("10.0.0.24", 8000, f"shop.stack.{ZONE}", 1),
        ("10.0.0.24", 9001, f"worker.host.{ZONE}", 1),
        ("10.0.0.22", 9000, f"ca.{ZONE}", 1),
    ]


@pytest.mark.parametrize("change", [{"scheme": "http"}, {"server_name": "worker.example.org"}])
def test_port_without_a_certificate_of_the_ca_is_none(
    tmp_path: Path, change: dict[str, str]
) -> None:
    declared = minimal()
    manifest, _ = declared.stacks["shop"]
    manifest["environments"]["production"]["services"]["web"]["traefik_service"] |= change
    assert 8000 not in {endpoint.port for endpoint in endpoints(declared.load(tmp_path))}


def test_site_without_a_gateway_is_told_how_to_get_one(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["lxc_configs"]["101"] |= {"role": None, "name": "plain"}
    declaration.stacks, declaration.vm = {}, {"vms": []}
    with pytest.raises(RoleError, match='add "role": "nginx"'):
        endpoints(declaration.load(tmp_path))
