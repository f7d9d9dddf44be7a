"""The emulator's agent: signatures, and which server it belongs to.

Real agents are left out: a request to one needs a signature by its server's key.
"""

from __future__ import annotations

import http.client
import json

from portainer_emulator import signing
from portainer_emulator.relay import connect_agent
from tests.contract.conftest import Start
from tests.contract.harness import Portainer


class AgentAnswer:
    """One answer of the agent's, asked without verification: its certificate is self-signed."""

    def __init__(self, server: Portainer, path: str, headers: dict[str, str]) -> None:
        assert server.agent is not None
        connection = http.client.HTTPConnection("agent")
        connection.sock = connect_agent(f"tcp://127.0.0.1:{server.agent.port}")
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        self.status_code = answer.status
        self.headers = answer.headers
        self.text = answer.read().decode()
        connection.close()

    def json(self) -> dict[str, str]:
        body: dict[str, str] = json.loads(self.text)
        return body


def test_agent_wants_a_signature_except_for_ping(fresh: Start) -> None:
    server = fresh(agent_secret="the shared secret")
    ping = AgentAnswer(server, "/ping", {})
    assert ping.status_code == 204
    assert ping.headers["Portainer-Agent-API-Version"] == "2"
    bare = AgentAnswer(server, "/info", {})
    assert bare.status_code == 403
    assert bare.json()["message"] == "Missing request signature headers"
    assert server.server is not None
    key = server.server.environments.key
    refused = AgentAnswer(server, "/info", signing.sign(key, "Portainer-App"))
    assert refused.json()["message"] == "Invalid request signature", refused.text
    accepted = AgentAnswer(server, "/info", signing.sign(key, "the shared secret"))
    assert (accepted.status_code, accepted.headers["Portainer-Agent-Platform"]) == (200, "1")


def test_agent_without_secret_pins_the_first_server(fresh: Start) -> None:
    server, stranger = fresh(), fresh()
    assert server.register("mine", server.agent_url).status_code == 200
    refused = stranger.register("stolen", server.agent_url)
    assert refused.status_code == 500, refused.text
    assert "already paired" in refused.json()["details"]


def test_other_secret_is_refused(fresh: Start) -> None:
    server, stranger = fresh(agent_secret="one secret"), fresh(agent_secret="another secret")
    refused = stranger.register("stolen", server.agent_url)
    assert refused.status_code == 500, refused.text
    assert server.register("mine", server.agent_url).status_code == 200
