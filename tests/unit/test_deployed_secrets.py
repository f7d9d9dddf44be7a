"""Which secrets a site holds, by what its guests and Portainer show."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from facts.deployed_secrets import DeployedSecrets
from facts.host_fact import FactError
from phoenix.components import deployed_secrets
from phoenix.components.deployed_secrets import Holdings, Trace
from phoenix.site.secret_names import PLATFORM
from tests.unit.site_builder import minimal
from tests.unit.test_check_script import stand_in

NOTHING = Holdings((), ())
RUNS = Holdings((), ("shop-production",))
VARIABLE = Trace("db_pass", "worker", project="shop-production", variable="DB")


def test_every_generated_secret_has_its_places(tmp_path: Path) -> None:
    declared = minimal()
    production = declared.stacks["shop"][0]["environments"]["production"]
    production["variables"] = [{"name": "DB", "secret": "DB_PASS"}, {"name": "A", "value": "b"}]
    entry = {"secret": "SHOP_KEY", "destination_in_container": "/key"}
    production["files"] = [entry]
    declared.stacks["shop"][1]["services"]["web"]["environment"] = {"D": "${DB}", "A": "${A}"}
    traces = deployed_secrets.traces(declared.load(tmp_path))
    assert {(trace.secret, trace.guest) for trace in traces} == {
        ("traefik_dashboard_password", "proxy"),
        ("step_ca_issuance_key", "authority"),
        ("gateway_client_certificate", "gateway"),
        ("portainer_admin_password", "control"),
        ("portainer_agent_secret", "control"),
        ("portainer_agent_secret", "worker"),
        ("db_pass", "worker"),
        ("shop_key", "worker"),
    }
    assert VARIABLE in traces
    assert {trace.path for trace in traces if trace.secret == "shop_key"} == {
        "/etc/phoenix/stacks/shop-production/0"
    }
    assert {trace.secret for trace in traces if trace.secret in PLATFORM} | {
        "db_pass",
        "shop_key",
    } == {trace.secret for trace in traces}


@pytest.mark.parametrize(
    ("state", "variables", "held"),
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
        (Holdings((), ("other",)), {}, False),  # and above: a new variable of an old stack
    ],
)
def test_variable_of_a_stack(
    state: Holdings, variables: deployed_secrets.Variables, *, held: bool
) -> None:
    assert (
        deployed_secrets.deployed_secrets([VARIABLE], {"worker": state}, variables)
        == (VARIABLE,) * held
    )


def test_file_is_held_where_it_is() -> None:
    trace = Trace("a", "worker", path="/x")
    assert deployed_secrets.deployed_secrets([trace], {"worker": Holdings(("/x",), ())}, {}) == (
        trace,
    )
    assert deployed_secrets.deployed_secrets([trace], {"worker": RUNS}, {}) == ()


def test_refusal_names_each_secret_once_with_its_places() -> None:
    message = str(
        deployed_secrets.refusal([VARIABLE, Trace("a", "proxy", "/x"), Trace("a", "b", "/y")])
    )
    assert "  a (proxy: /x; b: /y)\n" in message
    assert "  db_pass (worker: stack shop-production, variable DB)\n" in message


def test_a_secret_file_of_a_stack_is_told_by_its_name(tmp_path: Path) -> None:
    """Not as /etc/phoenix/stacks/shop-production/1, its place among the stack's files."""
    declared = minimal()
    files = [{"secret": name, "destination_in_container": f"/run/{name.lower()}"}
             for name in ("SHOP_KEY", "SHOP_TOKEN")]  # fmt: skip
    declared.stacks["shop"][0]["environments"]["production"]["files"] = files
    traces = deployed_secrets.traces(declared.load(tmp_path))
    texts = {trace.secret: str(trace) for trace in traces if trace.project}
    assert texts == {
        "shop_key": "worker: stack shop-production, file /run/shop_key",
        "shop_token": "worker: stack shop-production, file /run/shop_token",
    }


def asked(folder: Path, docker: str) -> Holdings:
    """What a host answers whose Docker is this script."""
    stand_in(folder, "docker", docker)
    command = DeployedSecrets().command(paths=["/nonexistent"]).get_raw_value()
    answer = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True,
        env={"PATH": f"{folder}:/usr/bin:/bin"},
    )  # fmt: skip
    return DeployedSecrets().process(answer.stdout.splitlines())


MANAGER = """case "$1 $2" in
"ps --all") echo project shop-production ;;
"info --format") echo true ;;
"stack ls") echo project orbit-production ;;
"secret ls") printf 'path swarm:%s\\n' orbit-production-0-0123 orbit-production-1-4567 ;;
esac
"""


def test_a_manager_tells_the_swarms_stacks_and_secrets(tmp_path: Path) -> None:
    assert asked(tmp_path, MANAGER) == Holdings(
        ("swarm:orbit-production-0", "swarm:orbit-production-1"),
        ("shop-production", "orbit-production"),
    )
    alone = MANAGER.replace("echo true", "echo false")
    assert asked(tmp_path, alone) == Holdings((), ("shop-production",))


@pytest.mark.parametrize("word", ["stack ls", "secret ls", "info --format", "ps --all"])
def test_what_a_manager_cannot_tell_is_not_taken_for_nothing(tmp_path: Path, word: str) -> None:
    """Of a swarm that has lost its quorum new values would be made, in place of those in use."""
    with pytest.raises(FactError, match="ended with status 1"):
        asked(tmp_path, f'[ "$1 $2" != "{word}" ] || exit 1\n{MANAGER}')
