from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from portainer_emulator import agent
from tests.contract.harness import REAL, Portainer, emulator, real

Start = Callable[..., Portainer]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mode" in metafunc.fixturenames:
        modes = ["real"] if REAL else ["sync", "async"]
        metafunc.parametrize("mode", modes, scope="module")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that does not answer is not waited for: here it never comes back."""
    monkeypatch.setattr("phoenix.portainer_api.client.AGENT_SECONDS", 0.0)


@pytest.fixture(autouse=True, scope="session")
def _one_certificate_of_agents() -> Iterator[None]:
    """Its RSA key takes longer than most of the tests."""
    with patch.object(agent, "self_signed_context", cache(agent.self_signed_context)):
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
