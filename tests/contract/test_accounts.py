"""Administrator, log-in, API keys, error shapes (sections 1 and 2 of the reference)."""

from __future__ import annotations

import pytest
import requests

from tests.contract.conftest import Start
from tests.contract.harness import PASSWORD, USER, Portainer


def shape(answer: requests.Response) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body.get("message", ""), body.get("details", "")


def test_status_is_public_and_names_the_version(portainer: Portainer) -> None:
    answer = portainer.call("GET", "/system/status")
    assert answer.status_code == 200, answer.text
    assert {"Version", "InstanceID"} <= answer.json().keys(), answer.text


def test_no_credential_is_401(portainer: Portainer) -> None:
    assert shape(portainer.call("GET", "/stacks")) == (
        401,
        "A valid authorization token is missing",
        "Unauthorized",
    )


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": "ptr_wrong"}, {"Authorization": "Bearer ptr_wrong"}]
)
def test_bad_credential_is_401_with_one_text(portainer: Portainer, headers: dict[str, str]) -> None:
    answer = portainer.call("GET", "/users/me", headers=headers)
    assert shape(answer) == (401, "Invalid JWT token", "Unauthorized")


def test_two_credentials_are_403(portainer: Portainer) -> None:
    answer = portainer.admin("GET", "/users/me", headers={"X-API-Key": "ptr_any"})
    assert answer.status_code == 403, answer.text
    assert "not allowed at the same time" in answer.json()["message"]


def test_cookie_without_csrf_token_is_403_in_plain_text(portainer: Portainer) -> None:
    portainer.admin("GET", "/users/me")
    answer = portainer.call(
        "POST", "/endpoint_groups", headers={"Cookie": f"portainer_api_key={portainer.token}"}
    )
    if answer.status_code == 404:  # the emulator has no such route: use one it has
        answer = portainer.call(
            "POST", "/endpoints", headers={"Cookie": f"portainer_api_key={portainer.token}"}
        )
    assert answer.status_code == 403, answer.text
    assert answer.text.startswith("Forbidden"), answer.text


def test_wrong_password_is_422(portainer: Portainer) -> None:
    answer = portainer.call("POST", "/auth", json={"username": USER, "password": "wrong"})
    assert shape(answer) == (422, "Invalid credentials", "Unauthorized")


def test_empty_body_is_400(portainer: Portainer) -> None:
    answer = portainer.call("POST", "/auth")
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"] == "Invalid request payload"


def test_unknown_route_is_plain_404_and_wrong_method_405(portainer: Portainer) -> None:
    unknown = portainer.admin("GET", "/no/such/route")
    assert (unknown.status_code, unknown.text.strip()) == (404, "404 page not found")
    answer = portainer.admin("PATCH", "/system/status")
    assert (answer.status_code, answer.text) == (405, "")


def test_api_key_lives_only_by_password_and_shows_once(portainer: Portainer) -> None:
    me = portainer.admin("GET", "/users/me").json()
    assert "Password" not in me or not me["Password"], sorted(me)
    path, ask = f"/users/{me['Id']}/tokens", {"password": PASSWORD, "description": "contract"}
    created = portainer.admin("POST", path, json=ask)
    assert created.status_code == 201, created.text
    raw, row = created.json()["rawAPIKey"], created.json()["apiKey"]
    assert raw.startswith("ptr_"), "no key"
    by_key = {"X-API-Key": raw}
    assert portainer.call("GET", "/users/me", headers=by_key).json()["Username"] == USER
    again = portainer.call("POST", path, headers=by_key, json=ask)
    assert again.status_code == 401, again.text
    listed = portainer.admin("GET", path).json()
    assert row["id"] in [each["id"] for each in listed], listed
    assert not any(each.get("digest") for each in listed), listed
    refused = portainer.admin("POST", path, json={**ask, "password": "wrong"})
    assert refused.status_code == 403, refused.text
    assert portainer.admin("DELETE", f"{path}/{row['id']}").status_code == 204
    assert portainer.call("GET", "/users/me", headers=by_key).status_code == 401


def test_password_is_changed_by_who_knows_it(fresh: Start) -> None:
    server = fresh()
    new = "another long password"
    key = server.admin(
        "POST", "/users/1/tokens", json={"password": PASSWORD, "description": "contract"}
    ).json()["rawAPIKey"]
    path = "/users/1/passwd"
    refused = server.admin("PUT", path, json={"password": "wrong", "newPassword": new})
    assert shape(refused)[:2] == (403, "Current password doesn't match")
    short = server.admin("PUT", path, json={"password": PASSWORD, "newPassword": "eleven char"})
    assert shape(short)[:2] == (400, "Password does not meet the minimum strength requirements")
    none = server.admin("PUT", path, json={"password": PASSWORD})
    assert shape(none) == (400, "Invalid request payload", "Invalid new password")
    accepted = server.admin("PUT", path, json={"password": PASSWORD, "newPassword": new})
    assert (accepted.status_code, accepted.text) == (204, "")
    for password, status in ((PASSWORD, 422), (new, 200)):
        answer = server.call("POST", "/auth", json={"username": USER, "password": password})
        assert answer.status_code == status, answer.text
    by_key = server.call("GET", "/users/me", headers={"X-API-Key": key})
    assert by_key.status_code == 200, "keys outlive the password that made them"


def test_administrators_are_made_by_administrators(fresh: Start) -> None:
    server = fresh()
    ask = {"Username": "second", "Password": PASSWORD, "Role": 1}
    assert server.call("POST", "/users", json=ask).status_code == 401
    answer = server.admin("POST", "/users", json=ask)
    assert (answer.status_code, answer.json()["Role"]) == (200, 1), answer.text
    assert not answer.json().get("Password"), "a password's hash is shown"
    again = server.admin("POST", "/users", json=ask)
    assert shape(again)[:2] == (409, "Another user with the same username already exists")
    no_role = server.admin("POST", "/users", json={**ask, "Username": "third", "Role": 0})
    assert no_role.status_code == 400, no_role.text
    assert [row["Username"] for row in server.admin("GET", "/users").json()] == ["admin", "second"]


def test_second_administrator_is_409(portainer: Portainer) -> None:
    assert portainer.call("GET", "/users/admin/check").status_code == 204
    if portainer.asynchronous and portainer.server is None:
        pytest.skip("a real 2.43+ server wants its setup token first")
    answer = portainer.call(
        "POST", "/users/admin/init", json={"Username": "other", "Password": "short"}
    )
    assert shape(answer) == (
        409,
        "Unable to create administrator user",
        "An administrator user already exists",
    )


# -- only where we own the server ---------------------------------------------------------------


def test_first_administrator(fresh: Start) -> None:
    server = fresh(admin_password=None, setup_token="")
    missing = server.call("GET", "/users/admin/check")
    assert missing.status_code == 404, missing.text
    init = "/users/admin/init"
    spaced = server.call("POST", init, json={"Username": "a b", "Password": PASSWORD})
    assert spaced.status_code == 400, spaced.text
    short = server.call("POST", init, json={"Username": USER, "Password": "eleven char"})
    assert shape(short)[:2] == (400, "Password does not meet the requirements")
    accepted = server.call("POST", init, json={"Username": USER, "Password": PASSWORD})
    assert (accepted.status_code, accepted.json()["Id"], accepted.json()["Role"]) == (200, 1, 1)
    assert server.admin("GET", "/endpoints").json() == [], "no endpoint exists after init"


def test_setup_token_since_2_43(fresh: Start, mode: str) -> None:
    server = fresh(admin_password=None)
    ask = {"Username": USER, "Password": PASSWORD}
    first = server.call("POST", "/users/admin/init", json=ask)
    if mode == "sync":
        assert first.status_code == 200, first.text
        return
    assert first.status_code == 403, first.text
    line = (server.directory / "log").read_text()
    token = line.removeprefix("setup_token=")
    assert len(token) == 64, line
    accepted = server.call("POST", "/users/admin/init", json=ask, headers={"X-Setup-Token": token})
    assert accepted.status_code == 200, accepted.text


def test_lock_after_the_window(fresh: Start) -> None:
    server = fresh(admin_password=None, setup_token="", admin_seconds=0.0)
    for path in ("/system/status", "/users/admin/check", "/stacks"):
        answer = server.call("GET", path)
        assert answer.status_code == 303, (path, answer.text)
        assert answer.headers.get("redirect-reason") == "AdminInitTimeout"
        assert "Location" not in answer.headers
    assert server.call("GET", "/status").status_code == 200
    assert server.call("GET", "/settings/public").status_code == 200


def test_eleventh_login_at_once_bans(fresh: Start) -> None:
    server = fresh()
    ask = {"username": USER, "password": PASSWORD}
    codes = [server.call("POST", "/auth", json={}).status_code for _ in range(10)]
    assert 403 not in codes, codes
    banned = server.call("POST", "/auth", json=ask)
    assert shape(banned) == (403, "Access denied", "Access denied to resource")
    assert server.call("GET", "/system/status").status_code == 200, "other routes go on"


def test_tokens_die_with_the_process_and_keys_live(fresh: Start) -> None:
    server = fresh()
    ask = {"password": PASSWORD, "description": "survivor"}
    key = server.admin("POST", "/users/1/tokens", json=ask).json()["rawAPIKey"]
    server.restart()
    assert server.admin("GET", "/users/me").status_code == 401
    assert server.call("GET", "/users/me", headers={"X-API-Key": key}).status_code == 200
