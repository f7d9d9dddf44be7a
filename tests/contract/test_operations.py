"""operations.portainer run by pyinfra itself, against the emulator."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.operation import OperationMeta, add_op
from pyinfra.api.operations import run_ops
from pyinfra.context import ctx_inventory, ctx_state

from operations import portainer, secret_rotation, site_lock, ssh_forward
from operations.stacks import variables
from phoenix.secrets.store import SecretStore
from phoenix.site.secret_names import ADMIN_PASSWORD
from tests.contract.conftest import Start
from tests.contract.docker_double import LOG_LINE
from tests.contract.harness import PASSWORD, Portainer, dial_tcp

SECRET = "planted-secret-value"
Run = Callable[..., tuple[bool, bool]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one operation on @local: (it said it would change, it changed); raises on failure."""

    def run_one(op: Any, access: portainer.PortainerAccess, **kwargs: Any) -> tuple[bool, bool]:
        # The carrier is this machine: what SSH would forward is a plain connection here.
        monkeypatch.setattr(
            portainer, "dial_through", lambda _, address, port: dial_tcp(address, port)
        )
        state = State(Inventory((["@local"], {})), Config(DIFF=True))
        with ctx_state.use(state), ctx_inventory.use(state.inventory):
            connect_all(state)
            try:
                metas = add_op(state, op, access=access, **kwargs)
                meta: OperationMeta = next(iter(metas.values()))
                planned = meta.will_change
                run_ops(state)
                return planned, meta.did_change()
            finally:
                disconnect_all(state)

    return run_one


def variables_of(
    access: portainer.PortainerAccess, stacks: dict[str, str], patch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What `operations.stacks.variables` is told on @local."""
    patch.setattr(portainer, "dial_through", lambda _, address, port: dial_tcp(address, port))
    state = State(Inventory((["@local"], {})), Config())
    with ctx_state.use(state), ctx_inventory.use(state.inventory):
        connect_all(state)
        try:
            return {
                project: variables(portainer.PortainerStacks(access, environment), project)
                for project, environment in stacks.items()
            }
        finally:
            disconnect_all(state)


def key_of(server: Portainer) -> SecretStr:
    """A new API key of the administrator's."""
    me = server.admin("GET", "/users/me").json()["Id"]
    answer = server.admin(
        "POST", f"/users/{me}/tokens", json={"description": "phoenix", "password": PASSWORD}
    )
    return SecretStr(answer.json()["rawAPIKey"])


def test_variables_are_not_known_where_portainer_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nowhere = portainer.PortainerAccess("https://localhost:1", "", via="@local")
    assert variables_of(nowhere, {"app": "drphoenix"}, monkeypatch) == {"app": None}


def test_from_nothing_to_a_stack_and_no_change(
    fresh: Start,
    run: Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = fresh(admin_password=None, setup_token="", agent_secret="agent secret")
    assert server.listener is not None
    header = tmp_path / "etc" / "key.header"
    access = portainer.PortainerAccess(
        "https://localhost:9443",
        server.ca.read_text(),
        via="@local",
        port=server.listener.port,
        header_file=str(header),
    )
    steps: list[tuple[Any, dict[str, Any]]] = [
        (portainer.admin, {"password": SecretStr(PASSWORD)}),
        (portainer.endpoint, {"agent": "drphoenix", "url": server.agent_url}),
        (
            portainer.stack,
            {
                "project": "app",
                "endpoint": "drphoenix",
                "content": server.compose(),
                "env": {"PASSWORD": SecretStr(SECRET)},
            },
        ),
    ]
    for expected in ((True, True), (False, False)):
        for op, kwargs in steps:
            got = run(op, access, **kwargs)
            assert got == expected, (op, got, caplog.text)
    stacks = {"app": "drphoenix", "other": "drphoenix", "third": "no such environment"}
    assert variables_of(access, stacks, monkeypatch) == {
        "app": {"PASSWORD"}, "other": None, "third": None,
    }  # fmt: skip
    assert header.stat().st_mode & 0o777 == 0o600
    raw = header.read_text().removeprefix("X-API-Key: ").strip()
    changed = {**steps[2][1], "env": {"PASSWORD": SecretStr("rotated-value")}}
    assert run(portainer.stack, access, **changed) == (True, True)
    for hidden in (SECRET, "rotated-value", PASSWORD, raw):
        assert hidden not in caplog.text, "a secret shows in pyinfra's log"
    assert "env PASSWORD changed (value masked)" in caplog.text, caplog.text
    with pytest.raises(Exception, match="No hosts remaining"):  # though the key still works
        run(portainer.admin, access, password=SecretStr(f"changed {PASSWORD}"))
    assert "helper-reset-password" in caplog.text, "the fix is not named"
    assert header.read_text().strip().endswith(raw), "the key that works was lost"
    assert run(portainer.admin, access, password=SecretStr(PASSWORD)) == (False, False)


def test_many_stacks_are_compared_by_one_list_of_each_kind(
    fresh: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A site of n stacks read n lists of n stacks, each by a TLS session of its own."""
    server = fresh()
    access = portainer.PortainerAccess(server.url, server.ca.read_text(), api_key=key_of(server))
    stacks = [f"app{number}" for number in range(6)]

    def run_all(*, prefetches: bool = False) -> int:
        state = State(Inventory((["@local"], {})), Config())
        monkeypatch.setattr(site_lock, "is_held", lambda: prefetches)
        with ctx_state.use(state), ctx_inventory.use(state.inventory):
            connect_all(state)
            portainer.prefetch_api(access, ["drphoenix"])
            metas = [
                add_op(
                    state, portainer.stack, project=name, endpoint="drphoenix", access=access,
                    content=server.compose(),
                )
                for name in stacks
            ]  # fmt: skip
            run_ops(state)
            disconnect_all(state)
            return sum(meta.did_change() for of_op in metas for meta in of_op.values())

    assert server.register("drphoenix", server.agent_url).ok
    assert run_all() == 6
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    assert run_all() == 0
    requests = re.findall(r'"GET /api(\S+) HTTP', caplog.text)
    lists = [path for path in requests if path == "/stacks" or "containers/json" in path]
    stages = 2  # what a run looks at before its first step, and in it
    assert len(lists) == 2 * stages, requests
    assert caplog.text.count("Starting new HTTPS connection") == 1

    caplog.clear()
    assert run_all(prefetches=True) == 0
    requests = re.findall(r'"GET /api(\S+) HTTP', caplog.text)
    lists = [path for path in requests if path == "/stacks" or "containers/json" in path]
    assert len(lists) == 2, requests
    assert caplog.text.count("Starting new HTTPS connection") == 1

    stacks.append("app6")
    caplog.clear()
    assert run_all(prefetches=True) == 1
    requests = re.findall(r'"GET /api(\S+) HTTP', caplog.text)
    assert requests.count("/stacks") > 1, "what was prefetched does not hold after a change"


def test_a_prefetch_that_fails_leaves_it_to_the_steps_to_tell_why(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere = portainer.PortainerAccess("https://localhost:1", "", api_key=SecretStr("key"))
    monkeypatch.setattr(site_lock, "is_held", lambda: True)
    state = State(Inventory((["@local"], {})), Config())
    with ctx_state.use(state), ctx_inventory.use(state.inventory):
        connect_all(state)
        portainer.prefetch_api(nowhere, ["drphoenix"])
        for job in list(portainer._prefetching.values()):
            job.join()
            assert job.successful()
        disconnect_all(state)
    assert "Traceback" not in capfd.readouterr().err


def test_password_changes_in_portainer_before_it_counts_in_the_store(
    fresh: Start, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = fresh()
    access = portainer.PortainerAccess(server.url, server.ca.read_text())
    name, path = ADMIN_PASSWORD, tmp_path / "secrets.json"
    SecretStore(path, {}).merge({name: PASSWORD})
    store = SecretStore(path, {})
    new = store.propose(name).get_secret_value()
    change: dict[str, Any] = {"store": store}
    assert run(secret_rotation.portainer_password, access, **change) == (True, True)
    assert json.loads(path.read_text()) == {name: new}
    assert "Portainer's password changed" in caplog.text
    # Killed after Portainer took it, before the store did: the candidate is still there.
    path.write_text(json.dumps({name: PASSWORD, f"{name}.next": new}))
    again = SecretStore(path, {})
    change = {"store": again}
    assert run(secret_rotation.portainer_password, access, **change) == (True, True)
    assert json.loads(path.read_text()) == {name: new}
    assert "Portainer has the new password" in caplog.text
    for hidden in (PASSWORD, new):
        assert hidden not in caplog.text, "a secret shows in pyinfra's log"
    # Neither works: the candidate, which nothing has, is dropped, or each later run would fail.
    path.write_text(json.dumps({name: "another password", f"{name}.next": "a third password"}))
    change = {"store": SecretStore(path, {})}
    with pytest.raises(Exception, match="No hosts remaining"):
        run(secret_rotation.portainer_password, access, **change)
    assert "neither the present nor the new password" in caplog.text
    assert "the proposed password is dropped" in caplog.text
    assert json.loads(path.read_text()) == {name: "another password"}
    assert not SecretStore(path, {}).is_changing(name)


def test_a_deleted_endpoint_is_told_with_its_stacks_before_anything_is_done(
    fresh: Start, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = fresh()
    key = server.admin(
        "POST", "/users/1/tokens", json={"password": PASSWORD, "description": "test"}
    ).json()["rawAPIKey"]
    access = portainer.PortainerAccess(server.url, server.ca.read_text(), api_key=SecretStr(key))
    endpoint = {"agent": "drphoenix", "url": server.agent_url, "projects": ["app", "other"]}
    target = {"project": "app", "endpoint": "drphoenix", "content": server.compose()}
    assert run(portainer.endpoint, access, **endpoint) == (True, True)
    assert run(portainer.stack, access, **target) == (True, True)
    assert server.double is not None
    before = [container["Id"] for container in server.double.of("app")]
    assert server.admin("DELETE", "/endpoints/1").status_code == 204
    caplog.clear()
    assert run(portainer.endpoint, access, **endpoint) == (True, True)
    assert "stack app, whose environment was deleted in Portainer, is associated" in caplog.text
    assert "stack other" not in caplog.text
    assert run(portainer.stack, access, **target) == (True, True)
    assert "associate Portainer's stack 1" in caplog.text
    assert run(portainer.stack, access, **target) == (False, False)
    assert [container["Id"] for container in server.double.of("app")] == before


def test_failed_update_fails_the_host_and_shows_the_logs(
    fresh: Start, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = fresh()
    key = server.admin(
        "POST", "/users/1/tokens", json={"password": PASSWORD, "description": "test"}
    ).json()["rawAPIKey"]
    server.register("drphoenix", server.agent_url)
    access = portainer.PortainerAccess(server.url, server.ca.read_text(), api_key=SecretStr(key))
    target = {"project": "app", "endpoint": "drphoenix"}
    healthy = {**target, "content": server.compose()}
    assert run(portainer.stack, access, **healthy) == (True, True)
    unhealthy = {**target, "content": server.compose(unhealthy="yes")}
    with pytest.raises(Exception, match="No hosts remaining"):
        run(portainer.stack, access, **unhealthy)
    assert LOG_LINE in caplog.text, caplog.text
    assert "The previous version has been restored and runs." in caplog.text
    assert "Traceback" not in caplog.text
    assert run(portainer.stack, access, **healthy) == (False, False)


def test_forward_module_is_what_operations_use() -> None:
    assert vars(portainer)["dial_through"] is ssh_forward.dial_through


def fingerprint_of(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def test_a_external_portainer_is_reached_by_its_url_with_a_given_key(
    fresh: Start, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """No host of the site carries the API or keeps a key; its certificate is proven either way."""
    caplog.set_level(logging.DEBUG)
    server = fresh()
    pem = server.ca.read_text()
    key = key_of(server)
    by_ca = portainer.PortainerAccess(server.url, pem, api_key=key)
    by_fingerprint = replace(by_ca, ca_pem=None, fingerprint=fingerprint_of(pem))
    stack = {"project": "app", "endpoint": "worker", "content": server.compose()}
    agent = {"agent": "worker", "url": server.agent_url}
    assert run(portainer.endpoint, by_ca, **agent) == (True, True)
    assert run(portainer.stack, by_ca, **stack) == (True, True)
    for access in (by_ca, by_fingerprint):
        assert run(portainer.endpoint, access, **agent) == (False, False)
        assert run(portainer.stack, access, **stack) == (False, False)
    refused = {
        "fingerprint": replace(by_fingerprint, fingerprint="ab" * 32),
        "certificate": replace(by_ca, ca_pem=None),
        "API key": replace(by_ca, api_key=SecretStr("ptr_wrong")),
    }
    for why, access in refused.items():
        caplog.clear()
        with pytest.raises(Exception, match="No hosts remaining"):
            run(portainer.stack, access, **stack)
        assert why.lower() in caplog.text.lower(), (why, caplog.text)
    assert key.get_secret_value() not in caplog.text


def test_an_agent_that_a_external_portainer_does_not_reach_is_refused_with_the_reason(
    fresh: Start, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    server = fresh()
    access = portainer.PortainerAccess(server.url, server.ca.read_text(), api_key=key_of(server))
    before = server.admin("GET", "/endpoints").json()
    with pytest.raises(Exception, match="No hosts remaining"):
        run(portainer.endpoint, access, agent="worker", url="tcp://127.0.0.1:1")
    assert "127.0.0.1:1" in caplog.text, caplog.text
    assert "AGENT_SECRET" in caplog.text, "the fix is not named"
    assert server.admin("GET", "/endpoints").json() == before, "nothing is left behind"
