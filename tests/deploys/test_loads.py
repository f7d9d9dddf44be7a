"""The process of pyinfra loads the site once: every deploy has the inventory's."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.declaration import inventory
from phoenix.declaration.load import load_site
from phoenix.site.model import Site
from tests.deploys.recorder import run


def test_a_run_loads_the_site_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []

    def counted(*places: Path, **options: object) -> Site:
        loads.append(places)
        return load_site(*places, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("phoenix.declaration.inventory.load_site", counted)
    result = run("dns", tmp_path, execute=False)
    assert result.operations
    assert len(loads) == 1


def test_an_inventory_that_is_loaded_again_is_the_one_that_counts(tmp_path: Path) -> None:
    """A declaration that was changed meanwhile is not served from memory."""
    root = Path(__file__).parents[2]
    first = inventory.of_directory(root / "inventories", root / "stacks", environment=None, data={})
    data = first["hypervisor"][0][1]
    before = inventory.site_of(data)
    assert inventory.site_of(data) is before
    inventory.of_directory(root / "inventories", root / "stacks", environment=None, data={})
    assert inventory.site_of(data) is not before
    assert inventory.site_of({**data, "site_subnet": "10.9.0.0/24"}).network != before.network
