"""A lab's guests as containers: a new one starts from nothing."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from unittest.mock import MagicMock, Mock, call

import pytest
from docker.errors import NotFound  # type: ignore[import-untyped]

from lab import containers
from lab.containers import Plan
from lab.settings import Settings


@pytest.mark.parametrize("left", [True, False])
def test_new_guest_gets_no_volume_that_outlived_its_container(left: bool, tmp_path: Path) -> None:
    """`lab down` that was cut leaves volumes; a Portainer's with another password stopped CI."""
    settings = Settings("demo", IPv4Network("198.19.0.0/24"), tmp_path)
    name = f"{settings.container('portainer')}-docker"
    container = Mock()
    client = MagicMock()
    client.containers.get.side_effect = [NotFound("no container"), container]
    client.images.get.return_value.id = "sha256:0123456789abcdef"
    client.volumes.get.side_effect = None if left else NotFound("no volume")
    config = {"Binds": [f"{name}:/var/lib/docker", "/sys/fs/cgroup:/sys/fs/cgroup"]}
    plan = Plan("portainer", "198.19.0.5", "image", config, {})

    assert containers.ensure(client, plan, settings, "network") == "created"
    assert client.volumes.get.call_args_list == [call(name)]
    calls = [str(asked) for asked in client.mock_calls]
    removed = [position for position, asked in enumerate(calls) if ".remove(force=True)" in asked]
    created = next(position for position, asked in enumerate(calls) if "volumes.create" in asked)
    assert len(removed) == left
    assert all(position < created for position in removed)
    container.start.assert_called_once_with()
