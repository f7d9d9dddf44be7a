"""What deploys read of settings, host by host, is what the table of readers says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyinfra.context import ctx_host

from deploys import context
from phoenix.declaration.inventory import load
from phoenix.declaration.settings import PROXMOX, fields
from phoenix.derived.components import COMPONENTS
from phoenix.validation import setting_readers
from tests.deploys.recorder import ROOT, run


class Noting:
    """Settings that note the name of each that is read."""

    def __init__(self, real: Any, noted: set[str], prefix: str = "") -> None:
        self._real, self._noted, self._prefix = real, noted, prefix

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name == "proxmox":
            return Noting(value, self._noted, PROXMOX)
        if f"{self._prefix}{name}" in fields():
            self._noted.add(f"{self._prefix}{name}")
        return value


def test_a_host_reads_what_the_table_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: dict[str, set[str]] = {}
    original = context._settings

    def noting(this: Any) -> Any:
        return Noting(original(this), noted.setdefault(ctx_host.get().name, set()))

    monkeypatch.setattr(context, "_settings", noting)
    for component in COMPONENTS:
        run(component.name, tmp_path / "secrets.json", execute=False)
    site = load(ROOT / "inventories", ROOT / "stacks", environment="production")
    table = {
        host.name: {
            name
            for name in fields()
            if host in setting_readers._readers(site, setting_readers.read(name).by)
        }
        for host in site.hosts
    }
    read = {(host, name) for host, names in noted.items() for name in names if host in table}
    assert len(read) > 60
    assert {(host, name) for host, name in read if name not in table[host]} == set()
    all_read = {name for _, name in read}
    # What only some of its readers have come to in these runs would be a row that is too wide.
    unseen = {(host, name) for host in table for name in table[host] & all_read} - read
    assert unseen == {("phoenix", "registries")}, "the command reads the hypervisor's"
