"""Networks and volumes that a stack calls external: found, or told before anything is touched."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operations import run_refused
from tests.deploys.recorder import Run, run
from tests.unit.site_builder import Declaration, minimal, stack
from tests.unit.test_deployments import without_portainer

STEP = "Stack shop-production: networks and volumes of others"
ASKED = re.compile("docker network ls")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_refused, "_reasons", {})
    monkeypatch.setattr(run_refused, "_said", [])


def deployed(
    folder: Path,
    change: Callable[[Declaration], None],
    *present: str,
    execute: bool = True,
    **data: Any,
) -> Run:
    declared = minimal()
    without_portainer(declared)
    change(declared)
    declared.write(folder)
    return run(
        "stacks", folder / "secrets.json", execute=execute,
        responses={ASKED: lambda _: list(present)},
        site_inventories=str(folder), site_stacks=str(folder / "stacks"), **data,
    )  # fmt: skip


def compose(declared: Declaration, name: str = "shop") -> dict[str, Any]:
    content: dict[str, Any] = declared.stacks[name][1]
    return content


def in_a_network(declared: Declaration) -> None:
    content = compose(declared)
    content["networks"] = {"edge": {"external": True, "name": "proxy-net"}}
    content["services"]["web"]["networks"] = ["edge"]


def with_a_volume(declared: Declaration) -> None:
    content = compose(declared)
    content["volumes"] = {"media": {"external": True}}
    content["services"]["web"]["volumes"] = ["media:/media"]


@pytest.mark.parametrize(
    ("change", "lacks", "fix"),
    [
        (in_a_network, "worker has no network proxy-net", "docker network create proxy-net"),
        (with_a_volume, "worker has no volume media", "docker volume create media"),
    ],
)
def test_what_is_not_there_refuses_the_run_before_its_first_step(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Declaration], None],
    lacks: str,
    fix: str,
) -> None:
    done = deployed(tmp_path, change, "docker", "network bridge")
    assert done.sent == []
    assert done.changed[STEP] == ["worker"]
    words = "\n".join(record.message for record in caplog.records)
    assert lacks in words
    assert "the compose file of stack shop-production calls external" in words
    assert f"phoenix exec worker -- {fix}" in words


@pytest.mark.parametrize(
    ("change", "line"), [(in_a_network, "network proxy-net"), (with_a_volume, "volume media")]
)
def test_what_is_there_is_used(
    tmp_path: Path, change: Callable[[Declaration], None], line: str
) -> None:
    done = deployed(tmp_path, change, "docker", "network bridge", line)
    assert run_refused.reason() == ""
    assert done.changed[STEP] == []
    assert "Stack shop-production" in done.operations


def test_before_there_is_docker_a_plan_goes_on(tmp_path: Path) -> None:
    done = deployed(tmp_path, in_a_network, execute=False)
    assert run_refused.reason() == ""
    assert STEP in done.operations


def with_the_proxy(declared: Declaration) -> None:
    in_a_network(declared)
    declared.stacks["proxy"] = stack("proxy", 8100)
    compose(declared, "proxy")["networks"] = {"front": {"name": "proxy-net"}}
    compose(declared, "proxy")["services"]["web"]["networks"] = ["front"]
    worker = next(entry for entry in declared.vm["vms"] if entry["name"] == "worker")
    worker["docker_stacks"] = ["shop", "proxy"]


def test_that_of_another_stack_of_the_host_is_made_first(tmp_path: Path) -> None:
    done = deployed(tmp_path, with_the_proxy, "docker", execute=False)
    assert run_refused.reason() == ""
    assert STEP not in done.operations
    order = [name for name in done.operations if name.startswith("Stack ")]
    assert order == ["Stack proxy-production", "Stack shop-production"]


def test_that_of_a_stack_that_is_not_in_the_run_is_told_with_its_stack(tmp_path: Path) -> None:
    deployed(tmp_path, with_the_proxy, "docker", execute=False, stacks_only=["shop-production"])
    assert "phoenix sync stack:proxy-production, which makes it" in run_refused.reason()


def test_what_no_started_service_takes_is_not_looked_for(tmp_path: Path) -> None:
    def change(declared: Declaration) -> None:
        in_a_network(declared)
        with_a_volume(declared)
        web = compose(declared)["services"]["web"]
        del web["networks"], web["volumes"]

    assert STEP not in deployed(tmp_path, change, "docker", execute=False).operations


def test_the_default_network_may_be_another_s(tmp_path: Path) -> None:
    def change(declared: Declaration) -> None:
        compose(declared)["networks"] = {"default": {"external": True, "name": "proxy-net"}}

    deployed(tmp_path, change, "docker", execute=False)
    assert "no network proxy-net" in run_refused.reason()
