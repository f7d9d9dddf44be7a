"""Proxmox VE is read while the hosts answer; it serves while this run has changed nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gevent
import pytest
from pydantic import SecretStr
from pyinfra.api import State
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host

from operations import prefetch, proxmox, site_lock
from operations.proxmox import ProxmoxAccess
from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox.client import Client, ReadOnce
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.transport import Trust
from tests.operations.two_hosts import Site, state_of

ACCESS = ProxmoxAccess("https://hypervisor:8006", SecretStr("a@pve!b=c"), Trust(fingerprint="00"))

NOTHING = Plan(ProxmoxSettings(), (), (), ())


class Api:
    """What was asked of it; `down` is whether it answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down = False

    def send(self, method: str, path: str, values: Mapping[str, Any]) -> Any:
        self.asked.append(f"{method} {path}")
        if self.down:
            raise ProxmoxError("no answer")
        return []


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    api = Api()
    reader = ReadOnce(None)
    monkeypatch.setattr(Client, "_send", lambda _, *words: api.send(*words))
    monkeypatch.setattr(proxmox, "_clients", lambda _access: (None, reader))
    monkeypatch.setattr(proxmox, "_prefetching", {})
    monkeypatch.setattr(site_lock, "_channels", [object()])
    monkeypatch.setattr(proxmox, "preflight", lambda client, *_: client.get("nodes"))
    return api


@pytest.fixture
def state(api: Api) -> Iterator[State]:
    """A run that has looked ahead for `Plan`, and begins its steps."""
    with state_of(Site(), StateStage.Prepare) as state:
        host = state.inventory.get_host("left")
        with ctx_host.use(host):
            proxmox.prefetch_api(ACCESS, NOTHING)
            yield state


def steps_ask(state: State) -> Any:
    """What the first step that compares is told."""
    gevent.sleep(0)
    state.is_executing = True
    return proxmox._reader(ACCESS).get("nodes")


def test_the_steps_ask_nothing_that_was_read_ahead(api: Api, state: State) -> None:
    assert steps_ask(state) == []
    assert api.asked.count("GET nodes") == 1


def test_after_a_change_the_steps_ask_again(api: Api, state: State) -> None:
    gevent.sleep(0)
    prefetch.forget(state.inventory.get_host("right"), site=False)
    steps_ask(state)
    assert api.asked.count("GET nodes") == 2


def test_an_api_that_did_not_answer_is_asked_again(api: Api, state: State) -> None:
    api.down = True
    gevent.sleep(0)
    api.down = False
    assert steps_ask(state) == []
    assert api.asked.count("GET nodes") == 2


def test_a_run_without_the_lock_looks_when_it_has_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_lock, "_channels", [])
    with (
        state_of(Site(), StateStage.Prepare) as state,
        ctx_host.use(state.inventory.get_host("left")),
    ):
        proxmox.prefetch_api(ACCESS, NOTHING)
        gevent.sleep(0)
    assert api.asked == []
