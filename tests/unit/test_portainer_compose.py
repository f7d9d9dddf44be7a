"""How server and agent are run, as compose data."""

from __future__ import annotations

import configparser
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml

from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.portainer import tunnel
from phoenix.components.portainer.compose_files import agent_compose, server_compose
from phoenix.components.portainer.tunnel import agent_url
from phoenix.components.trust import ROOTS
from phoenix.derived.control_plane import agent, agent_entrance
from phoenix.secrets.errors import SecretError
from phoenix.secrets.rules import check_portainer_password
from tests.unit.site_builder import minimal, vm


def test_server_speaks_https_alone_and_has_no_secret_in_its_words() -> None:
    data = yaml.safe_load(server_compose("example/portainer:1", 8443))
    main = data["services"]["main"]
    words = main["command"]
    assert "--http-disabled" in words
    assert words[words.index("--bind-https") + 1] == ":8443"
    assert words[words.index("--tunnel-addr") + 1] == "127.0.0.1", "open to Edge agents"
    assert "--admin-password-file" in words
    assert "--admin-password" not in words
    assert main["network_mode"] == "host"
    assert "ports" not in main
    assert not [mount for mount in main["volumes"] if "docker.sock" in mount], main["volumes"]
    assert all("SECRET" not in str(value) for value in words)
    assert data["volumes"] == {"data": {"name": "portainer_data"}}
    path = words[words.index("--admin-password-file") + 1]
    assert any(mount.endswith(f":{path}:ro") for mount in main["volumes"]), main["volumes"]


def test_agent_listens_on_its_guest_s_loopback_alone() -> None:
    main = yaml.safe_load(agent_compose("example/agent:1", 9100))["services"]["main"]
    assert main["environment"] == {"AGENT_HOST": "127.0.0.1", "AGENT_PORT": "9100"}, "no secret"
    assert main["network_mode"] == "host", "a container's own address is open to its peers"
    assert "ports" not in main
    assert main["image"] == "example/agent:1"


def section(text: str, title: str) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read_string(f"[global]\n{text}")
    return dict(parser[title])


def test_both_ends_of_the_tunnel_prove_themselves_and_ask_for_proof(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    (host,) = site.agents
    service = agent(site, host)
    agent_end = section(tunnel.at_the_agent(service, site.host("control")), "agent")
    server_end = section(tunnel.at_the_server([service], site.host("control")), host.name)
    for end, other in ((agent_end, site.host("control")), (server_end, host)):
        assert end["verifychain"] == end["requirecert"] == "yes"
        assert end["checkhost"] == other.fqdn
        assert end["cafile"] == ROOTS
        assert end["sslversionmin"] == "TLSv1.3"
    assert "client" not in agent_end
    assert server_end["client"] == "yes"
    assert agent_end["accept"] == server_end["connect"] == f"{host.address}:9001"
    assert agent_end["connect"] == "127.0.0.1:9001"
    assert f"tcp://{server_end['accept']}" == agent_url(service)


def test_of_two_agents_each_proves_its_own_name_at_an_entrance_of_its_own(tmp_path: Path) -> None:
    """Each section stands alone: none takes from the other, and nothing is said for all."""
    declaration = minimal()
    more = {"portainer_role": "agent", "portainer_agent_hostname": "agent-two"}
    second = vm(1003, "worker-two", "docker", 26, **more)
    declaration.vm["vms"].append(second)
    site = declaration.load(tmp_path)
    server = site.host("control")
    services = [agent(site, host) for host in site.agents]
    assert {service.owner.name for service in services} == {"worker", "worker-two"}
    at_server = tunnel.at_the_server(services, server)
    for service in services:
        host = service.owner
        end = section(at_server, host.name)
        assert (end["checkhost"], end["sni"]) == (host.fqdn, host.fqdn)
        assert end["connect"] == f"{host.address}:{service.port}"
        entered, _, _ = end["accept"].partition(":")
        assert IPv4Address(entered).is_loopback
        assert f"tcp://{end['accept']}" == agent_url(service), "it would lead to the other agent"
        other_end = section(tunnel.at_the_agent(service, server), "agent")
        accepted, _, _ = other_end["accept"].partition(":")
        assert IPv4Address(accepted) == host.address, "another card of its guest leads nowhere"
        assert other_end["checkhost"] == server.fqdn
        for options in (end, other_end):
            assert options["cert"] == f"{CERTIFICATES}/host/fullchain.pem"
            assert options["key"] == f"{CERTIFICATES}/host/privkey.pem"
    for text in (at_server, tunnel.at_the_agent(services[0], server)):
        assert set(section(text, "global")) == {"foreground", "pid", "syslog"}


def test_entrance_of_each_agent_is_a_loopback_address_of_its_own(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    (host,) = site.agents
    service = agent(site, host)
    other = service.model_copy(
        update={"owner": host.model_copy(update={"address": host.address + 1})}
    )
    first, two = agent_entrance(service), agent_entrance(other)
    assert first.is_loopback
    assert two == first + 1
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
