"""Sites whose stacks are deployed in other ways than by an agent, as whole deploys."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from pyinfra.api import DeployError

from phoenix.components.portainer.compose_files import DIRECTORY
from tests.deploys.recorder import Run, run
from tests.unit.site_builder import Declaration, minimal
from tests.unit.test_deployments import (
    elsewhere,
    on_portainers_guest,
    without_agent,
    without_portainer,
)

SECRET = "a-secret-of-this-test"
STACK = "shop-production"


@pytest.fixture(autouse=True)
def environment_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "PORTAINER_ADMIN_PASSWORD",
        "PORTAINER_AGENT_SECRET",
        "PORTAINER_API_KEY",
        "DB_PASS",
    ):
        monkeypatch.setenv(f"PHOENIX_SECRET_{name}", SECRET)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Portainer elsewhere refuses connections at once; no packet leaves this machine."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ConnectionRefusedError

    monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)


def deployed(folder: Path, change: Callable[[Declaration], None], deploy: str) -> Run:
    declared = minimal()
    production = declared.stacks["shop"][0]["environments"]["production"]
    production["variables"] = [{"name": "DB", "secret": "DB_PASS"}]
    declared.stacks["shop"][1]["services"]["web"]["environment"] = {"DB": "${DB}"}
    change(declared)
    declared.write(folder)
    return run(
        deploy, folder / "secrets.json",
        site_inventories=str(folder), site_stacks=str(folder / "stacks"),
    )  # fmt: skip


def server_volumes(done: Run) -> list[str]:
    compose = yaml.safe_load(done.files("control")[f"{DIRECTORY}/compose.yml"])
    volumes: list[str] = compose["services"]["main"]["volumes"]
    return volumes


def test_the_socket_is_in_portainers_container_for_stacks_on_its_guest_alone(
    tmp_path: Path,
) -> None:
    for number, (change, is_mounted) in enumerate(
        ((lambda _: None, False), (on_portainers_guest, True))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = deployed(folder, change, "portainer")
        assert (
            any("docker.sock" in server_volume for server_volume in server_volumes(done))
            is is_mounted
        )
        on_server = [name for name in done.operations if "control" in done.changed[name]]
        assert ("Portainer: endpoint" in on_server) is is_mounted, on_server


def test_the_socket_stays_until_a_stack_that_moved_away_is_taken_out_of_portainer(
    tmp_path: Path,
) -> None:
    """By plain pyinfra the whole platform is deployed between a move and its end."""
    declared = minimal()
    declared.load(tmp_path)
    done = run(
        "portainer", tmp_path / "secrets.json", responses={"*.left; do": f"left\t{STACK}"},
        site_inventories=str(tmp_path), site_stacks=str(tmp_path / "stacks"),
    )  # fmt: skip
    assert any("docker.sock" in server_volume for server_volume in server_volumes(done))
    assert "control" in done.changed["Portainer: endpoint"], "Portainer forgets its own Docker"


def test_a_stack_on_portainers_guest_is_portainers(tmp_path: Path) -> None:
    done = deployed(tmp_path, on_portainers_guest, "stacks")
    assert {name: on for name, on in done.changed.items() if on} == {f"Stack {STACK}": ["control"]}
    assert not [request for request in done.sent if "compose-host" in request.command]


@pytest.mark.parametrize(
    ("change", "deploys"),
    [
        (lambda _: None, "operations.portainer.stack"),
        (without_agent, "operations.compose_host.stack"),
    ],
)  # fmt: skip
def test_what_deploys_a_stack_knows_every_secret_that_it_must_not_show(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Declaration], None],
    deploys: str,
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(deploys, lambda **options: calls.append(options))
    monkeypatch.setenv("PHOENIX_SECRET_FORMER", "a-former-secret")
    deployed(tmp_path, change, "stacks")
    assert "a-former-secret" in [secret.get_secret_value() for secret in calls[0]["hidden"]]


def test_files_of_the_hosts_own_compose_go_when_portainer_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.portainer.stack", lambda **_: None)
    declared = minimal()
    declared.load(tmp_path)
    done = run(
        "stacks", tmp_path / "secrets.json",
        responses={"stack-folders": lambda _: [STACK, "other"]},
        site_inventories=str(tmp_path), site_stacks=str(tmp_path / "stacks"),
    )  # fmt: skip
    removed = [
        (request.host, request.command) for request in done.sent if "rm -rf" in request.command
    ]
    assert [(host, f"/etc/phoenix/compose/{STACK}" in line) for host, line in removed] == [
        ("worker", True)
    ]
    assert "other" not in removed[0][1]


@pytest.mark.parametrize("change", [without_agent, without_portainer])
def test_a_host_without_agent_is_given_its_stack_by_ssh(
    tmp_path: Path, change: Callable[[Declaration], None]
) -> None:
    done = deployed(tmp_path, change, "stacks")
    assert {name: on for name, on in done.changed.items() if on} == {
        "Stacks: registries": ["worker"], f"Stack {STACK}": ["worker"],
    }  # fmt: skip
    asked = [request for request in done.sent if "compose-host" in request.command]
    assert asked, "nothing was asked of the host"
    assert {question.host for question in asked} == {"worker"}
    assert not [request for request in done.sent if SECRET in request.command]
    assert not [
        request
        for request in done.sent
        if base64.b64encode(SECRET.encode()).decode() in request.command
    ]


@pytest.mark.parametrize(
    "change", [without_portainer, without_agent, on_portainers_guest, elsewhere]
)
def test_every_component_works_on_every_site(
    tmp_path: Path, change: Callable[[Declaration], None]
) -> None:
    """Prepared as a whole: deploys ask for guests that the site has alone."""
    for deploy in ("docker", "portainer", "stacks", "verify", "observe", "proxmox", "dns"):
        done = deployed(tmp_path, change, deploy)
        assert not done.failed or deploy in ("stacks", "portainer", "verify"), (deploy, done.failed)


def test_a_site_without_portainer_gets_none(tmp_path: Path) -> None:
    assert deployed(tmp_path, without_portainer, "portainer").operations == []


def test_an_agent_of_a_external_portainer_listens_for_it_with_the_given_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accesses: list[Any] = []
    monkeypatch.setattr("operations.portainer.endpoint", lambda **options: accesses.append(options))
    done = deployed(tmp_path, elsewhere, "portainer")
    assert not done.failed
    files = done.files("worker")
    main = yaml.safe_load(files[f"{DIRECTORY}/compose.yml"])["services"]["main"]
    assert main["environment"] == {"AGENT_HOST": "10.0.0.24", "AGENT_PORT": "9001"}
    assert files[f"{DIRECTORY}/agent.env"] == f"AGENT_SECRET={SECRET}\n"
    assert not [path for path in files if "tunnel" in path]
    (endpoint,) = accesses
    assert endpoint["url"] == "tcp://10.0.0.24:9001"
    access = endpoint["access"]
    assert (access.url, access.via) == ("https://192.0.2.10:9443", None)
    assert access.api_key.get_secret_value() == SECRET
    stacks: list[Any] = []
    monkeypatch.setattr("operations.portainer.stack", lambda **options: stacks.append(options))
    deployed(tmp_path, elsewhere, "stacks")
    assert [(stack["endpoint"], stack["access"].url) for stack in stacks] == [
        ("worker", access.url)
    ]


@pytest.mark.parametrize(
    ("missing", "deploy"),
    [("PORTAINER_API_KEY", "stacks"), ("PORTAINER_AGENT_SECRET", "portainer")],
)
def test_a_secret_that_its_person_alone_can_give_is_never_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, deploy: str
) -> None:
    monkeypatch.delenv(f"PHOENIX_SECRET_{missing}")
    with pytest.raises(DeployError, match=f"PHOENIX_SECRET_{missing}"):
        deployed(tmp_path, elsewhere, deploy)
