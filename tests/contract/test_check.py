"""The points of `phoenix check portainer`: those that read, of the emulator or a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from phoenix import portainer_api as api
from phoenix.cli.app import app
from phoenix.portainer_api import contract
from tests.contract.conftest import Start
from tests.contract.harness import PASSWORD, Portainer

ALL = len(contract._POINTS)


def key_of(server: Portainer) -> str:
    me = server.admin("GET", "/users/me").json()["Id"]
    ask = {"password": PASSWORD, "description": "contract check"}
    answer = server.admin("POST", f"/users/{me}/tokens", json=ask)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["rawAPIKey"])


def client_of(server: Portainer, key: str) -> api.PortainerClient:
    return api.PortainerClient(server.url, server.ca.read_text(), api_key=SecretStr(key))


def differing(server: Portainer, key: str = "") -> dict[str, str]:
    """What does not hold, and what is found instead; every point is asked, and no request posts."""
    client = client_of(server, key or key_of(server))
    findings = list(contract.findings(client))
    assert client.posted == 0
    client.close()
    assert len(findings) == ALL
    return {finding.expected: finding.actual for finding in findings if not finding.holds}


def test_every_point_holds(portainer: Portainer) -> None:
    portainer.endpoint()
    portainer.create(portainer.name(), portainer.compose())
    assert differing(portainer) == {}


def test_what_differs_is_told_point_by_point(fresh: Start) -> None:
    server = fresh()
    stack_id = server.create("app", server.compose()).json()["Id"]
    (server.directory / f"data/compose/{stack_id}/docker-compose.yml").unlink()
    labels = [{"name": "a", "value": "b"}]
    server.admin("PUT", "/settings", json={"BlackListedLabels": labels})
    server.admin("PUT", f"/endpoints/{server.endpoint()}", json={"URL": "tcp://127.0.0.1:1"})
    differences = differing(server)
    assert set(differences) == {
        "the compose file of each stack can be read",
        "no containers are hidden",
        "Docker answers behind each environment",
    }
    assert "lost those of app" in differences["the compose file of each stack can be read"]
    assert "a=b" in differences["no containers are hidden"]


@pytest.mark.parametrize("version", ["2.19.4", "2.46.0", "3.0.0"])
def test_another_version_is_told(fresh: Start, version: str) -> None:
    differences = differing(fresh(version=version, setup_token=""))
    assert differences == {
        "its version is one that Phoenix knows": f"it is {version}; Phoenix knows 2.21 to 2.45"
    }


def test_the_key_must_be_an_administrators(fresh: Start) -> None:
    server = fresh()
    ask = {"Username": "reader", "Password": PASSWORD, "Role": 2}
    assert server.admin("POST", "/users", json=ask).status_code == 200
    login = {"username": "reader", "password": PASSWORD}
    server.token = server.call("POST", "/auth", json=login).json()["jwt"]
    differences = differing(server, key_of(server))
    assert differences["the key is an administrator's"].startswith("the key is of reader")
    with_wrong_key = differing(fresh(), "ptr_wrong")
    assert "Invalid JWT token" in with_wrong_key["the key is an administrator's"]


def test_an_orphan_and_a_git_stack_are_told_and_are_no_fault(fresh: Start) -> None:
    server = fresh()
    for name in ("lost", "of-git"):
        server.create(name, server.compose())
    assert server.server is not None
    server.server.store.rows("stacks")[1]["GitConfig"] = {"URL": "https://git.invalid/x"}
    assert server.admin("DELETE", f"/endpoints/{server.endpoint()}").status_code == 204
    client = client_of(server, key_of(server))
    by_point = {finding.expected: finding for finding in contract.findings(client)}
    client.close()
    stacks_listed = by_point["stacks are listed in the known form"]
    assert stacks_listed.holds, stacks_listed
    assert "lost is an orphan: its environment is gone" in stacks_listed.actual, stacks_listed


def test_the_command(fresh: Start, tmp_path: Path) -> None:
    server, key = fresh(), tmp_path / "key"
    secret = key_of(server)
    key.write_text(f"X-API-Key: {secret}\n")
    assert server.listener is not None
    words = [
        "check", "portainer", "https://localhost:9443", "--ca", str(server.ca),
        "--key-file", str(key), "--address", f"127.0.0.1:{server.listener.port}",
    ]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "all holds" in done.output
    assert secret not in done.output
    report = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert (report["ok"], len(report["points"])) == (True, ALL)
    server.admin("PUT", "/settings", json={"BlackListedLabels": [{"name": "a", "value": "b"}]})
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    assert f"1 point of {ALL} differ" in done.output
    for spoilt in ("--key-file", "--ca"):
        at = words.index(spoilt) + 1
        done = CliRunner().invoke(app, [*words[:at], str(tmp_path / "none"), *words[at + 1 :]])
        assert done.exit_code != 0
        assert "none" in str(done.exception) + done.output
