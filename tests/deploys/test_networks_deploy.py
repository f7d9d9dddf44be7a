"""A site of two networks: what its hosts get, and that one of a single network gets none of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.deploys.recorder import ROOT, run

ROUTES = "/etc/systemd/system/phoenix-routes.service"


def test_a_guest_has_the_way_to_the_other_network_and_the_name_server_of_its_own(
    tmp_path: Path,
) -> None:
    inventories = tmp_path / "inventories"
    shutil.copytree(ROOT / "inventories", inventories)
    file = inventories / "phoenix_lxc_configs.json"
    declared = json.loads(file.read_text())
    declared["lxc_configs"]["103"]["network_config"] = {"ip": "172.16.9.11/24"}
    file.write_text(json.dumps(declared))
    (inventories / "phoenix_hypervisor_config.json").write_text(
        '{"networks": {"internal": {"subnet": "172.16.9.0/24", "bridge": "vmbr9", "nat": true}}}'
    )
    done = run("base", tmp_path / "secrets.json", site_inventories=str(inventories))
    files = done.files("drphoenix")
    assert "ExecStart=ip route replace 172.16.9.0/24 via 10.0.0.13\n" in files[ROUTES]
    assert "nameserver 10.0.0.13" in files["/etc/resolv.conf"]
    inner = done.files("step-ca")
    assert "ExecStart=ip route replace 10.0.0.0/24 via 172.16.9.1\n" in inner[ROUTES]
    assert "nameserver 172.16.9.1" in inner["/etc/resolv.conf"]
    assert ROUTES not in done.files("phoenix"), "the hypervisor is in both"


def test_a_site_of_one_network_gets_no_routes(tmp_path: Path) -> None:
    done = run("base", tmp_path / "secrets.json")
    assert not [sent for sent in done.sent if ROUTES in sent.files()]
