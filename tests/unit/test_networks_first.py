"""A whole run begins with the hypervisor where guests are not there, or behind its bridges."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from phoenix.cli import converge
from phoenix.cli.targets import Work
from phoenix.declaration.settings import Settings
from tests.unit.test_bridges import INNER
from tests.unit.test_networks import two_networks

WHOLE = Work(("deploys/all.py",))
BOTH = ("deploys/networks.py", "deploys/proxmox.py")


@pytest.mark.parametrize(
    ("api", "managed", "is_up", "jump", "first"),
    [
        ("off", True, True, "", None),
        ("off", True, False, "", BOTH[:1]),
        ("ssh", True, True, "", None),
        ("ssh", True, False, "", BOTH),
        ("ssh", False, False, "", BOTH[1:]),
        ("off", False, False, "", None),
        ("off", True, True, "root@10.0.0.13", BOTH[:1]),  # nobody can ask whether it is there
        ("off", False, True, "root@10.0.0.13", None),
    ],
)
def test_bridges_and_guests_are_made_before_all_hosts_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Any, managed: bool, is_up: bool,
    jump: str, first: tuple[str, ...] | None, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    declaration = two_networks()
    assert declaration.hypervisor is not None
    del declaration.hypervisor["network"]["internal_bridge"]
    declaration.hypervisor["networks"] = {"internal": {**INNER, "managed": managed}}
    if jump:
        declaration.lxc["lxc_configs"]["103"]["login"] = {"jump": jump}
    monkeypatch.setattr(converge, "answers", lambda *_: is_up)
    site: Any = SimpleNamespace(
        site=declaration.load(tmp_path),
        settings=Settings.model_validate({"proxmox_api": api}),
    )
    works = converge._with_guests_first(site, [WHOLE], quiet=False)
    assert [work.deploys for work in works] == [*([first] if first else []), WHOLE.deploys]
    assert all(work.limit == ("phoenix",) for work in works[:-1])
    silent = [] if is_up or not first else [guest.name for guest in site.site.guests]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" does not answer by SSH at ")[0] for line in lines] == silent
