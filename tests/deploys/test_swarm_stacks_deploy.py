"""Stacks of type Swarm as whole deploys: who deploys them, with what, and where images are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from operations.portainer import PortainerStacks, SwarmStacks
from phoenix.components.move.decision import Moves, Refused
from tests.deploys.recorder import Run, run
from tests.unit.test_swarm_stacks import HERE, swarm


def deployed(folder: Path, **data: Any) -> Run:
    declared = swarm(deploy=HERE)
    environment = declared.stacks["shop"][0]["environments"]["production"]
    environment["files"] = [{"secret": "SHOP_KEY", "destination_in_container": "/run/key"}]
    declared.write(folder)
    return run(
        "stacks", folder / "secrets.json",
        site_inventories=str(folder), site_stacks=str(folder / "stacks"), **data,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def environment_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORTAINER_ADMIN_PASSWORD", "PORTAINER_AGENT_SECRET", "SHOP_KEY"):
        monkeypatch.setenv(f"PHOENIX_SECRET_{name}", "a-secret-of-this-test")


def test_a_swarm_stack_is_deployed_through_its_manager_with_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def converged(project: str, stacks: Any, **options: Any) -> Any:
        asked.append((project, stacks, options["content"]))
        return iter(())

    monkeypatch.setattr("operations.stacks.converged", converged)
    done = deployed(tmp_path)
    project, stacks, content = asked[0]
    assert project == "shop-production"
    assert isinstance(stacks, SwarmStacks)
    assert isinstance(stacks.through, PortainerStacks)
    assert str(stacks) == "the swarm, through worker"
    (file,) = stacks.files
    assert (file.secret, file.content) == (True, b"a-secret-of-this-test")
    assert file.name in content
    assert "a-secret-of-this-test" not in content
    assert "Stacks: files of shop-production" not in done.operations, "none is put on the host"


def test_archives_of_its_images_are_loaded_on_every_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.portainer.stack", lambda **_: None)
    archive = tmp_path / "web.tar"
    archive.write_bytes(b"an archive")
    pin = {"url": archive.as_uri(), "sha256": hashlib.sha256(b"an archive").hexdigest()}
    done = deployed(tmp_path / "site", image_archives={"example/web:1.0": pin})
    hosts = {request.host for request in done.sent if "example/web:1.0" in request.command}
    assert hosts == {"control", "worker", "second"}


def test_data_of_a_compose_stack_elsewhere_are_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploys import stack_parts
    from operations.moves import Outlook

    declared = swarm(deploy=HERE).load(tmp_path)
    moving = Moves("shop-production", "second", "worker")
    monkeypatch.setattr(stack_parts, "site", lambda: declared)
    seen_by_moves = Outlook({"shop-production": moving})
    monkeypatch.setattr("operations.moves.outlook", lambda *_: seen_by_moves)
    outlook = stack_parts.stack_outlook(declared.host("worker").docker_stacks)
    decision = outlook.decisions["shop-production"]
    assert isinstance(decision, Refused)
    assert "second has it as a compose stack" in decision.reason
