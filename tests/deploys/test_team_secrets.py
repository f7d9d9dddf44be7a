"""What the site holds is never made anew by a machine that lacks it; a plan keeps nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from phoenix.components.portainer.compose_files import AGENT_ENVIRONMENT, PASSWORD_FILE
from phoenix.components.step_ca.issuance import TEMPLATE
from phoenix.components.traefik.traefik_yml import USERS_FILE
from phoenix.secrets.record import Record
from phoenix.site.secret_names import (
    ADMIN_PASSWORD,
    AGENT_SECRET,
    DASHBOARD_PASSWORD,
    ISSUANCE_KEY,
)
from tests.deploys.recorder import run

QUESTION = "held-secrets"
APP, APP_SECRET = "thinkheads_ai_app-production", "thinkheads_ai_app_database_pass"
QDRANT, QDRANT_KEY = "qdrant_service-production", "qdrant_service_api_key"
GIVEN = (ADMIN_PASSWORD, AGENT_SECRET, DASHBOARD_PASSWORD, ISSUANCE_KEY, APP_SECRET, QDRANT_KEY)
HOLDS: dict[str, tuple[str, str]] = {
    # what a guest has: the deploy that would make it anew, and the secret
    f"path {USERS_FILE}": ("traefik", DASHBOARD_PASSWORD),
    f"path {TEMPLATE}": ("step_ca", ISSUANCE_KEY),
    f"path {PASSWORD_FILE}": ("portainer", ADMIN_PASSWORD),
    f"path {AGENT_ENVIRONMENT}": ("portainer", AGENT_SECRET),
    f"project {APP}": ("stacks", APP_SECRET),
    f"project {QDRANT}": ("stacks", QDRANT_KEY),
}


def deployed(*lines: str) -> dict[Any, Any]:
    """Guests that have these: each file where it was asked for, projects where Docker is."""

    def answer(asked: str) -> list[str]:
        return [line for line in lines if line.startswith("project ") or line[5:] in asked]

    return {QUESTION: answer}


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        attempt()
    return f"{caught.value.args} {vars(caught.value)}"


@pytest.mark.parametrize("held", HOLDS)
@pytest.mark.parametrize("execute", [False, True], ids=["plan", "sync"])
def test_secret_that_the_site_holds_is_refused_by_name(
    tmp_path: Path, held: str, *, execute: bool
) -> None:
    deploy, name = HOLDS[held]
    store = tmp_path / "secrets.json"
    message = refusal(lambda: run(deploy, store, responses=deployed(held), execute=execute))
    assert "the site holds secrets that this machine lacks" in message, message
    assert name in message, message
    assert "phoenix secrets import FILE" in message, message
    assert list(tmp_path.iterdir()) == [], "nothing is made"


def test_all_of_them_are_named_at_once(tmp_path: Path) -> None:
    message = refusal(lambda: run("traefik", tmp_path / "s.json", responses=deployed(*HOLDS)))
    assert [name for name in GIVEN if name not in message] == [], message


def test_secret_of_another_guest_is_known_to_a_deploy_that_does_not_touch_it(
    tmp_path: Path,
) -> None:
    """A new agent's host has nothing yet: the server shows that there is a secret."""
    only_server: dict[Any, Any] = {
        QUESTION: lambda asked: [f"path {AGENT_ENVIRONMENT}"] * (PASSWORD_FILE in asked)
    }
    message = refusal(lambda: run("portainer", tmp_path / "s.json", responses=only_server))
    assert AGENT_SECRET in message, message


def test_guest_that_does_not_tell_is_no_proof_of_a_fresh_site(tmp_path: Path) -> None:
    responses: dict[Any, Any] = {QUESTION: "Cannot connect to the Docker daemon"}
    message = refusal(lambda: run("traefik", tmp_path / "s.json", responses=responses))
    assert "does not tell whether the site holds it" in message, message
    assert list(tmp_path.iterdir()) == []


def test_machine_that_has_them_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GIVEN:
        monkeypatch.setenv(f"PHOENIX_SECRET_{name.upper()}", "planted-5ecret-long")
    done = run("traefik", tmp_path / "s.json", responses=deployed(*HOLDS), execute=False)
    assert not any(QUESTION in sent.command for sent in done.sent)


def test_imported_store_deploys(tmp_path: Path) -> None:
    store = tmp_path / "secrets.json"
    store.write_text(json.dumps(dict.fromkeys(GIVEN, "imported-5ecret-long")))
    store.chmod(0o600)
    done = run("portainer", store, responses=deployed(*HOLDS))
    assert "imported-5ecret-long" in done.files("portainer")[AGENT_ENVIRONMENT]


def test_plan_of_a_fresh_site_keeps_nothing_and_says_what_will_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    done = run("traefik", tmp_path / "secrets.json", execute=False)
    assert list(tmp_path.iterdir()) == []
    assert done.changed[f"Secrets: {DASHBOARD_PASSWORD}"] == ["traefik-internal"]


@pytest.mark.parametrize("deploy", ["step_ca", "traefik", "portainer", "stacks"])
def test_first_deployment_keeps_a_secret_before_a_host_gets_it(tmp_path: Path, deploy: str) -> None:
    store = tmp_path / "secrets.json"
    done = run(deploy, store)
    stored = json.loads(store.read_text())
    expected = {name for component, name in HOLDS.values() if component == deploy}
    if deploy == "traefik":  # its certificate carries a proof that is made with it
        expected.add(ISSUANCE_KEY)
    assert set(stored) == expected
    assert store.stat().st_mode & 0o777 == 0o600
    names = done.operations
    last = max(names.index(f"Secrets: {name}") for name in expected)
    first = {"traefik": "Traefik: renewal", "step_ca": "Step-CA: configuration and service",
             "portainer": "Portainer: server",
             "stacks": f"Stack {APP}"}[deploy]  # fmt: skip
    assert last < names.index(first), names
    again = run(deploy, store, responses=deployed(*HOLDS))
    assert json.loads(store.read_text()) == stored
    assert not [name for name in again.operations if name.startswith("Secrets: ")]


# -- older values ----------------------------------------------------------------------------------

RECORD = "/var/lib/phoenix/secrets.json"
LONG_AGO, LATER = datetime(2026, 1, 2, 3, 4, tzinfo=UTC), datetime(2026, 5, 6, 7, 8, tzinfo=UTC)


def machine(tmp_path: Path, value: str) -> Path:
    """A machine's store in which every secret of the site has this value."""
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps(dict.fromkeys(GIVEN, value)))
    file.chmod(0o600)
    return file


def remembered(*values: str) -> dict[Any, Any]:
    """A site that was given these values of the dashboard's password, the last one now."""
    known = Record()
    for value, when in zip(values, (LONG_AGO, LATER), strict=False):
        known = known.with_value(DASHBOARD_PASSWORD, value, when, "ada@desk")
    return {RECORD: known.model_dump_json()}


@pytest.mark.parametrize("execute", [False, True], ids=["plan", "sync"])
def test_older_value_than_the_site_has_is_refused_with_how_to_get_it(
    tmp_path: Path, *, execute: bool
) -> None:
    store = machine(tmp_path, "the-former-value")
    responses = remembered("the-former-value", "the-newer-value")
    message = refusal(lambda: run("traefik", store, responses=responses, execute=execute))
    assert "this machine has older values of secrets than the site" in message
    assert f"{DASHBOARD_PASSWORD}: the site has another one since 2026-05-06 07:08 UTC" in message
    assert "by ada@desk" in message
    assert "phoenix secrets import FILE --replace" in message
    assert "-value" not in message.replace("older values", ""), "no value is told"


def test_older_value_of_a_secret_that_another_component_uses_is_told_too(tmp_path: Path) -> None:
    """So that one run names all of them."""
    store = machine(tmp_path, "the-former-value")
    message = refusal(
        lambda: run("stacks", store, responses=remembered("the-former-value", "newer"))
    )
    assert DASHBOARD_PASSWORD in message


@pytest.mark.parametrize(("candidate", "older"), [("newest", False), ("another", True)])
def test_a_machine_that_is_changing_a_secret_goes_on(
    tmp_path: Path, candidate: str, *, older: bool
) -> None:
    """A change that stopped after hosts had the new value: nobody else could finish it."""
    store = machine(tmp_path, "former")
    names = dict.fromkeys(GIVEN, "former") | {f"{DASHBOARD_PASSWORD}.next": candidate}
    store.write_text(json.dumps(names))
    responses = remembered("former", "newest")
    if older:
        refusal(lambda: run("traefik", store, responses=responses, execute=False))
    else:
        assert run("traefik", store, responses=responses, execute=False).operations


@pytest.mark.parametrize("values", [("mine",), ("former", "mine"), ("former", "other"), ()])
def test_the_site_s_own_value_and_one_that_it_never_had_are_deployed(
    tmp_path: Path, values: tuple[str, ...]
) -> None:
    done = run("traefik", machine(tmp_path, "mine"), responses=remembered(*values), execute=False)
    assert done.operations


def test_a_record_that_cannot_be_read_is_no_proof(tmp_path: Path) -> None:
    responses: dict[Any, Any] = {RECORD: "not JSON"}
    message = refusal(lambda: run("traefik", machine(tmp_path, "mine"), responses=responses))
    assert "is not a record of secrets" in message
