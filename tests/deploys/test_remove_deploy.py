"""`deploys/remove.py`: what is declared is refused, and each part comes in its order."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from phoenix.health.removal import Removal
from phoenix.health.undeclared import Item
from tests.deploys.recorder import run
from tests.unit.site_builder import minimal
from tests.unit.test_deployments import elsewhere

AGENT, HYPERVISOR = "drphoenix", "phoenix"
LISTED = (
    '["container","gone-production","web","/data/compose/1","","/gone","running","",'
    '"2026-11-26T04:00:00Z","i",[null],null,0,[null]]'
)
STACK = Removal(
    item=Item(kind="stack", name="gone-production", host=AGENT),
    volumes=False,
    destroy=False,
    target=AGENT,
    environment=AGENT,
    projects=("gone-production",),
    lines=("stack\tgone-production\tdrphoenix\t10.0.0.102\t1002",),
)
REGISTER = re.compile('cat "\\$1"\' register')


def setting(removal: Removal) -> str:
    return json.dumps(removal.model_dump(mode="json"))


def test_a_stack_goes_from_its_host_then_from_portainer_then_its_files(tmp_path: Path) -> None:
    done = run(
        "remove",
        tmp_path / "secrets.json",
        remove=setting(STACK),
        execute=False,
        responses={"docker ps": LISTED, REGISTER: STACK.lines[0]},
    )
    assert done.operations == [
        "Remove: containers of gone-production",
        "Remove: containers are gone",
        "Remove: stack gone-production in Portainer",
        "Remove: Portainer is done",
        "Remove: stack-gone-production",
        "Remove: components are gone",
        "Remove: the register",
    ]
    assert {
        name: hosts for name, hosts in done.changed.items() if not name.endswith(("gone", "done"))
    } == {
        "Remove: containers of gone-production": [AGENT],
        "Remove: stack gone-production in Portainer": ["portainer"],  # it could not be asked
        "Remove: stack-gone-production": [],
        "Remove: the register": [HYPERVISOR],
    }


@pytest.mark.parametrize(
    "item",
    [
        Item(kind="stack", name="qdrant_service-production", host=AGENT),
        Item(kind="component", name="portainer-agent", host=AGENT),
        Item(kind="certificate", name="acme-host", host=AGENT),
        Item(kind="endpoint", name=AGENT, host="", endpoints=(AGENT,)),
        Item(kind="host", name="before", host="10.0.0.102", address="10.0.0.102"),
        Item(kind="guest", name="x", host="pve", vmid=1002),
        Item(kind="guest", name="x", host="pve", vmid=9000),
    ],
)
def test_what_is_declared_is_refused_before_any_host_is_touched(tmp_path: Path, item: Item) -> None:
    with pytest.raises(PyinfraError, match="is declared: it is not removed"):
        run("remove", tmp_path / "s.json",
            remove=setting(STACK.model_copy(update={"item": item})))  # fmt: skip


def test_a_guest_is_left_alone_where_the_api_is_off(tmp_path: Path) -> None:
    guest = Item(kind="guest", name="x", host="pve", vmid=4711)
    with pytest.raises(PyinfraError, match='guest 4711 is left alone, since proxmox_api is "off"'):
        run("remove", tmp_path / "s.json", proxmox_api="off",
            remove=setting(STACK.model_copy(update={"item": guest, "target": ""})))  # fmt: skip


def test_by_hand_the_setting_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(PyinfraError, match="setting remove is what `phoenix remove` gives it"):
        run("remove", tmp_path / "s.json", remove="blog")


@pytest.mark.parametrize("environment", ["worker", ""])
def test_a_external_portainer_is_asked_for_the_environment_of_a_declared_host_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    """It has stacks of others, whose environments may be gone too."""
    monkeypatch.setenv("PHOENIX_SECRET_PORTAINER_API_KEY", "planted-5ecret")
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "operations.removal.portainer_stack", lambda **options: asked.append(options)
    )
    declared = minimal()
    elsewhere(declared)
    declared.load(tmp_path)
    item = Item(kind="stack", name="gone-production", host="worker")
    removal = STACK.model_copy(
        update={"item": item, "target": "worker", "environment": environment}
    )
    run(
        "remove", tmp_path / "secrets.json", remove=setting(removal), execute=False,
        site_inventories=str(tmp_path), site_stacks=str(tmp_path / "stacks"),
    )  # fmt: skip
    assert [call["access"].url for call in asked] == ["https://192.0.2.10:9443"] * bool(environment)
