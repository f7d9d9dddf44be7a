"""Power as `status/current` tells it, and what is already so, on a list of guests that is old."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from phoenix.proxmox import observe, power, removal
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import LostAnswerError, RefusedError, TaskFailedError
from phoenix.proxmox.plan import Plan
from tests.proxmox.pve import NODE, Pve, converged, run, shut_down

Planned = Callable[..., Plan]


def test_a_container_becomes_a_template_once_though_the_answer_is_null(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.template_reads = 7
    run(client, planned())
    assert [path for _, path, _ in pve.writes() if path.endswith("lxc/900/template")] == [
        f"nodes/{NODE}/lxc/900/template"
    ]
    assert pve.guest(900).template


def test_a_run_that_died_while_a_container_was_converted_waits_for_it(
    pve: Pve, client: Client, planned: Planned
) -> None:
    real = client.write

    def dies(method: str, path: str, data: Mapping[str, Any] | None = None) -> None:
        real(method, path, data)
        if path.endswith("/template"):
            raise KeyboardInterrupt

    client.write = dies  # type: ignore[method-assign]
    pve.fake.template_reads = 9
    with pytest.raises(KeyboardInterrupt):
        run(client, planned())
    client.write = real  # type: ignore[method-assign]
    pve.forget()
    run(client, planned())
    again = [path for _, path, _ in pve.writes() if path.endswith("lxc/900/template")]
    assert again == [], "the conversion still went on, and was waited for"
    assert pve.guest(900).template


def test_a_conversion_that_fails_shows_its_log(pve: Pve, client: Client, planned: Planned) -> None:
    pve.fake.template_error = "zfs error: cannot rename: dataset is busy"
    with pytest.raises(TaskFailedError, match=r"dataset is busy(?s:.)*TASK ERROR"):
        run(client, planned())
    pve.fake.template_error = None
    run(client, planned())
    assert pve.guest(900).template


@pytest.mark.parametrize("vmid", [103, 1001])
def test_a_guest_that_was_stopped_is_started_whatever_the_list_says(
    pve: Pve, client: Client, planned: Planned, vmid: int
) -> None:
    converged(pve, client, planned())
    assert client.get("cluster/resources", type="vm")  # the list now tells what is now, for ever
    pve.guest(vmid).status = "stopped"
    assert power.start(client, vmid)
    assert pve.guest(vmid).status == "running"
    assert not power.start(client, vmid)


@pytest.mark.parametrize("vmid", [103, 1001])
def test_a_guest_that_runs_is_started_whatever_the_answer_was(
    pve: Pve, client: Client, planned: Planned, vmid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start's answer was lost, or another started it between our look and our request."""
    converged(pve, client, planned())
    looks = iter([False])
    real = observe.state

    def stale(*arguments: Any) -> Any:
        now = real(*arguments)
        return now._replace(running=next(looks, now.running))

    monkeypatch.setattr("phoenix.proxmox.power.state", stale)
    assert power.start(client, vmid), "already running is no error"


def test_a_lost_answer_of_a_start_that_happened_is_no_failure(
    pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    shut_down(client, 103)
    real = client.write

    def lost(method: str, path: str, data: Mapping[str, Any] | None = None) -> None:
        real(method, path, data)
        client.write = real  # type: ignore[method-assign]
        raise LostAnswerError("lost")

    client.write = lost  # type: ignore[method-assign]
    assert power.start(client, 103)
    assert pve.guest(103).status == "running"


def test_a_running_guest_that_is_rolled_back_runs_again(
    pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    assert client.get("cluster/resources", type="vm")

    def fail() -> None:
        with power.restore_point(client, 103, lambda _line: None):
            raise RefusedError("broken")

    with pytest.raises(RefusedError, match="was rolled back"):
        fail()
    assert pve.guest(103).status == "running"


def test_a_guest_that_stops_by_itself_is_removed_without_an_error(
    pve: Pve, client: Client, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    converged(pve, client, planned())
    real = client.write

    def stops(method: str, path: str, data: Mapping[str, Any] | None = None) -> None:
        if path.endswith("/status/shutdown"):
            pve.guest(103).status = "stopped"
        real(method, path, data)

    monkeypatch.setattr(client, "write", stops)
    removal.remove(client, 103, destroy=True, log=lambda _line: None)
    assert pve.guest(103) is None


def test_a_remade_guest_does_not_inherit_the_state_of_the_old_one(
    pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    client.get("cluster/resources", type="vm")
    removal.remove(client, 103, destroy=True, log=lambda _line: None)
    run(client, planned())
    assert pve.guest(103).status == "running"


def test_a_guest_of_high_availability_is_waited_for(
    pve: Pve, client: Client, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start's task ends when the request is noted, not when the guest runs."""
    converged(pve, client, planned())
    guest = pve.guest(1001)
    guest.status, guest.ha_state = "stopped", "stopped"

    async def noted(vm: Any, user: str, state: str) -> Any:
        async def body() -> None:
            pass

        return await pve.fake.task(vm.node, "hastart", vm.vmid, user, body)

    monkeypatch.setattr(pve.fake, "_ha_request", noted)
    pauses: list[float] = []

    def later(seconds: float) -> None:
        pauses.append(seconds)
        guest.status = "running"

    monkeypatch.setattr(client, "_sleep", later)
    assert power.start(client, 1001)
    assert pauses
