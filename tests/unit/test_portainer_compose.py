"""How server and agent are run, as compose data."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from phoenix.components.portainer.compose_files import (
    agent_compose,
    agent_url,
    server_compose,
)
from phoenix.derived.control_plane import agent
from phoenix.secrets.errors import SecretError
from phoenix.secrets.rules import check_portainer_password
from tests.unit.site_builder import minimal


def test_server_speaks_https_alone_and_has_no_secret_in_its_words() -> None:
    data = yaml.safe_load(server_compose("example/portainer:1", 8443))
    main = data["services"]["main"]
    words = main["command"]
    assert "--http-disabled" in words
    assert words[words.index("--bind-https") + 1] == ":9443"
    assert "--admin-password-file" in words
    assert "--admin-password" not in words
    assert main["ports"] == ["8443:9443"]
    assert not [mount for mount in main["volumes"] if "docker.sock" in mount], main["volumes"]
    assert all("SECRET" not in str(value) for value in words)
    assert data["volumes"] == {"data": {"name": "portainer_data"}}
    given = words[words.index("--admin-password-file") + 1]
    assert any(mount.endswith(f":{given}:ro") for mount in main["volumes"]), main["volumes"]


def test_agent_listens_on_its_hosts_own_address(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    (host,) = site.agents
    main = yaml.safe_load(agent_compose("example/agent:1", agent(site, host)))["services"]["main"]
    assert main["ports"] == [f"{host.address}:9001:9001"]
    assert "environment" not in main, "the secret comes from a 0600 file"
    assert main["image"] == "example/agent:1"


def test_agent_is_found_by_its_name_never_through_the_gateway(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    (host,) = site.agents
    assert agent_url(agent(site, host)) == f"tcp://portainer-agent.{site.domain}:9001"
    with pytest.raises(LookupError, match="gateway has no Portainer agent"):
        agent(site, site.host("gateway"))


@pytest.mark.parametrize("password", ["", "elevenbytes", "ü" * 5])
def test_short_passwords_are_refused_without_being_shown(password: str) -> None:
    with pytest.raises(SecretError, match="shorter than 12 bytes") as caught:
        check_portainer_password(password)
    assert not password or password not in str(caught.value)


def test_length_is_counted_in_bytes() -> None:
    check_portainer_password("twelve bytes")
    check_portainer_password("ü" * 6)
