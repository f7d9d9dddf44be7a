"""Which secrets a site holds, by what its guests and Portainer show."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.components import held_secrets
from phoenix.components.held_secrets import Found, Trace
from phoenix.site.secret_names import PLATFORM
from tests.unit.site_builder import minimal

NOTHING = Found((), ())
RUNS = Found((), ("shop-production",))
VARIABLE = Trace("db_pass", "worker", project="shop-production", variable="DB")


def test_every_generated_secret_has_its_places(tmp_path: Path) -> None:
    declared = minimal()
    production = declared.stacks["shop"][0]["environments"]["production"]
    production["variables"] = [{"name": "DB", "secret": "DB_PASS"}, {"name": "A", "value": "b"}]
    entry = {"secret": "SHOP_KEY", "destination_in_container": "/key"}
    production["files"] = [entry]
    declared.stacks["shop"][1]["services"]["web"]["environment"] = {"D": "${DB}", "A": "${A}"}
    found = held_secrets.traces(declared.load(tmp_path))
    assert {(one.secret, one.guest) for one in found} == {
        ("traefik_dashboard_password", "proxy"),
        ("step_ca_issuance_key", "authority"),
        ("gateway_client_certificate", "gateway"),
        ("portainer_admin_password", "control"),
        ("portainer_agent_secret", "control"),
        ("portainer_agent_secret", "worker"),
        ("db_pass", "worker"),
        ("shop_key", "worker"),
    }
    assert VARIABLE in found
    assert {one.path for one in found if one.secret == "shop_key"} == {
        "/etc/phoenix/stacks/shop-production/0"
    }
    assert {one.secret for one in found if one.secret in PLATFORM} | {"db_pass", "shop_key"} == {
        one.secret for one in found
    }


@pytest.mark.parametrize(
    ("found", "variables", "held"),
    [
        (NOTHING, {}, False),
        (RUNS, {}, True),
        (RUNS, {("worker", "shop-production"): None}, True),
        (RUNS, {("worker", "shop-production"): frozenset({"DB"})}, True),
        (NOTHING, {("worker", "shop-production"): frozenset({"DB"})}, True),
        (
            RUNS,
            {("worker", "shop-production"): frozenset({"OTHER"})},
            False,
        ),  # a new one of an old stack
        (Found((), ("other",)), {}, False),  # and above: a new variable of an old stack
    ],
)
def test_variable_of_a_stack(
    found: Found, variables: held_secrets.Variables, *, held: bool
) -> None:
    assert held_secrets.shown([VARIABLE], {"worker": found}, variables) == (VARIABLE,) * held


def test_file_is_held_where_it_is() -> None:
    one = Trace("a", "worker", path="/x")
    assert held_secrets.shown([one], {"worker": Found(("/x",), ())}, {}) == (one,)
    assert held_secrets.shown([one], {"worker": RUNS}, {}) == ()


def test_refusal_names_each_secret_once_with_its_places() -> None:
    message = str(
        held_secrets.refusal([VARIABLE, Trace("a", "proxy", "/x"), Trace("a", "b", "/y")])
    )
    assert "  a (proxy: /x; b: /y)\n" in message
    assert "  db_pass (worker: stack shop-production, variable DB)\n" in message


def test_a_secret_file_of_a_stack_is_told_by_its_name(tmp_path: Path) -> None:
    """Not as /etc/phoenix/stacks/shop-production/1, its place among the stack's files."""
    declared = minimal()
    files = [{"secret": name, "destination_in_container": f"/run/{name.lower()}"}
             for name in ("SHOP_KEY", "SHOP_TOKEN")]  # fmt: skip
    declared.stacks["shop"][0]["environments"]["production"]["files"] = files
    wanted = held_secrets.traces(declared.load(tmp_path))
    told = {one.secret: str(one) for one in wanted if one.project}
    assert told == {
        "shop_key": "worker: stack shop-production, file /run/shop_key",
        "shop_token": "worker: stack shop-production, file /run/shop_token",
    }
