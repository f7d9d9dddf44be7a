from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from phoenix.portainer_api.client import PortainerClient
from portainer_emulator import accounts, agent
from tests.contract.harness import REAL, Portainer, emulator, real

Start = Callable[..., Portainer]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mode" in metafunc.fixturenames:
        # Most of them ask for what both models of deployment have alike: whole runs ask both.
        both = metafunc.module.__name__.endswith(("test_client", "test_removal"))
        later = pytest.param("async", marks=() if both else pytest.mark.long)
        modes = ["real"] if REAL else ["sync", later]
        metafunc.parametrize("mode", modes, scope="module")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait for a silent agent: here it never comes back.

    Looks at an emulator follow each other quickly: it does what it is asked at once.
    """
    monkeypatch.setattr("phoenix.portainer_api.client.AGENT_SECONDS", 0.0)
    if not REAL:
        short = PortainerClient.__init__.__kwdefaults__ or {}
        monkeypatch.setitem(short, "sleep", lambda seconds: time.sleep(min(seconds, 0.02)))


@pytest.fixture(autouse=True, scope="session")
def _cheap_keys() -> Iterator[None]:
    """One certificate of agents, and a password's hash that costs nothing: hundreds are made."""
    with (
        patch.object(agent, "make_key", lambda: ec.generate_private_key(ec.SECP256R1())),
        patch.object(agent, "self_signed_context", cache(agent.self_signed_context)),
        patch.object(accounts, "SCRYPT_N", 2),
    ):
        yield


@pytest.fixture(scope="module")
def portainer(mode: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portainer]:
    """A server with its administrator, shared by a module: tests use names of their own."""
    if mode == "real":
        server = real()
        yield server
        server.clean()
        return
    directory = tmp_path_factory.mktemp(mode)
    with emulator(directory, asynchronous=mode == "async") as server:
        yield server


@pytest.fixture
def fresh(mode: str, tmp_path: Path) -> Iterator[Start]:
    """Starts emulators of a test's own, with the settings it gives; skipped for a real server."""
    if mode == "real":
        pytest.skip("needs a server of its own with special settings: emulator only")
    with ExitStack() as stack:
        count = 0

        def start(**settings: Any) -> Portainer:
            nonlocal count
            count += 1
            directory = tmp_path / str(count)
            directory.mkdir()
            context: AbstractContextManager[Portainer] = emulator(
                directory, asynchronous=mode == "async", **settings
            )
            return stack.enter_context(context)

        yield start
