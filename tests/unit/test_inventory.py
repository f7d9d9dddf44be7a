from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from phoenix.declaration import inventory
from tests.unit.site_builder import LXC, minimal

ROOT = Path(__file__).parents[2]


def test_every_group_is_there_and_every_mention_carries_all_data(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    groups = inventory.groups(site, {"ssh_user": "root"})
    assert tuple(groups) == inventory.GROUPS
    names = {group: [name for name, _ in hosts] for group, hosts in groups.items()}
    assert names == {
        "hypervisor": ["phoenix"],
        "lxc": ["authority", "gateway", "proxy"],
        "vm": ["control", "worker"],
        "step_ca": ["authority"],
        "traefik": ["proxy"],
        "nginx": ["gateway"],
        "portainer": ["control"],
        "docker": ["control", "worker"],
        "name_server": [],
    }
    for hosts in groups.values():
        for name, data in hosts:
            address = str(site.host(name).address)
            own = {"ssh_user": "root", "ssh_hostname": address}
            assert data == {**own, **inventory.CONNECTING}, name


INVENTORIES = [*(ROOT / "inventories").glob("*.py"), ROOT / "phoenix/cli/new_site/contents.py"]


@pytest.mark.parametrize("file", INVENTORIES, ids=lambda file: file.name)
def test_every_inventory_has_every_group(file: Path) -> None:
    """The last one is what `phoenix init` writes."""
    for group in inventory.GROUPS:
        assert f'\n{group} = _groups["{group}"]\n' in file.read_text()


def test_inventory_of_an_operator_sets_its_own_tries(tmp_path: Path) -> None:
    groups = inventory.groups(minimal().load(tmp_path), {"ssh_connect_retries": 5})
    assert {data["ssh_connect_retries"] for hosts in groups.values() for _, data in hosts} == {5}


def test_faulty_site_ends_with_all_findings_and_no_traceback(tmp_path: Path) -> None:
    faulty = minimal()
    faulty.lxc["lxc_configs"]["101"]["network_config"]["ip"] = "10.0.0.21/24"
    faulty.refused(tmp_path)
    with pytest.raises(SystemExit) as caught:
        inventory.load(tmp_path, tmp_path / "stacks", environment="production")
    assert LXC in str(caught.value)
    assert "10.0.0.21" in str(caught.value)


def test_site_moves_to_another_subnet_as_a_whole() -> None:
    site = inventory.load(
        ROOT / "inventories", ROOT / "stacks", environment="production",
        subnet=IPv4Network("172.29.7.0/24"),
    )  # fmt: skip
    outside = [h.name for h in site.hosts if h.address not in IPv4Network("172.29.7.0/24")]
    assert outside == []


def test_real_inventory_needs_no_network_and_no_secret(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "pyinfra", "inventories/phoenix.py", "debug-inventory"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip
    assert process.returncode == 0, process
    text = process.stdout + process.stderr
    for name in ("phoenix", "drphoenix", "ssh_strict_host_key_checking"):
        assert name in text, text
    assert list(tmp_path.iterdir()) == [], "it writes nothing"


def test_warnings_reach_the_person_and_leave_standard_output_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = minimal()
    declared.lxc["lxc_configs"]["101"]["memroy_mb"] = 512
    declared.load(tmp_path)
    inventory.load(tmp_path, tmp_path / "stacks", environment="production")
    output = capsys.readouterr()
    assert output.out == ""
    assert "memroy_mb" in output.err, output.err
    assert "memory_mb" in output.err, output.err
