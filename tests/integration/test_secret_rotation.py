"""Portainer's password and the agent secret change everywhere at once, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from phoenix.components.portainer.compose_files import SERVER_UNIT
from tests.integration.load import load
from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Project, Run
from tests.integration.site_lab import SiteLab, print_figure
from tests.integration.test_secrets import logs_with, process_lists

pytestmark = pytest.mark.timeout(420)
PASSWORD, AGENT_SECRET = "portainer_admin_password", "portainer_agent_secret"
DEPLOY = "deploys/secrets_rotate.py"
AGENT_ENV = "/etc/phoenix/portainer/agent.env"
KEY_FILE = "/root/phoenix-it-key.header"


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> PortainerLab:
    return PortainerLab(site)


def own_key(lab_: PortainerLab, password: str) -> tuple[int, str]:
    """An API key of the administrator's: its number, and the key."""
    _, login = lab_.login(password)
    body = {"password": password, "description": "constant load"}
    bearer = f"Authorization: Bearer {login['jwt']}"
    status, answer = lab_.api("POST", "/users/1/tokens", body, key=bearer)
    assert status == 201, answer
    return answer["apiKey"]["id"], answer["rawAPIKey"]


@dataclass(frozen=True)
class Rotated:
    """One run that changed both: the secrets and the stacks' containers before it.

    `answers`: what requests got that a client sent to the agent's Docker through the gateway and
    Portainer meanwhile.
    """

    run: Run
    lines: set[str]
    old: dict[str, str]
    stacks: dict[str, object]
    answers: Mapping[str, int]


def stacks(lab_: PortainerLab) -> dict[str, object]:
    return {project: lab_.containers(project) for project in (lab_.qdrant, lab_.app)}


@pytest.fixture(scope="module")
def rotated(lab_: PortainerLab) -> Rotated:
    lab_.wait_well()
    old, before = lab_.site.secrets, stacks(lab_)
    names = {"secrets_rotate": f"{PASSWORD},{AGENT_SECRET}"}
    # A key of its own: that of the deploys is made anew with the password.
    row, key = own_key(lab_, old[PASSWORD])
    lab_.site.put("client", KEY_FILE, f"X-API-Key: {key}\n", 0o600)
    ping = f"/api/endpoints/{lab_.endpoint()['Id']}/docker/_ping"
    with (
        load(lab_.site, "portainer", ping, f"-H @{KEY_FILE}") as requests,
        process_lists(lab_.site) as lines,
    ):
        run = lab_.site.project.run(DEPLOY, "-vvv", "--diff", data=names)
        lab_.site.sh("client", "sleep 2")  # what the last restart cut would be seen here
    lab_.site.sh("client", f"rm {KEY_FILE}", ok=True)
    assert lab_.api("DELETE", f"/users/1/tokens/{row}")[0] == 204
    assert run.returncode == 0, run.explain()
    return Rotated(run, lines, old, before, requests.answers())


def reaches(lab_: PortainerLab, number: int = 0) -> bool:
    """Whether the server gets through to the agent's Docker.

    Args:
        lab_: the lab.
        number: the endpoint's; it is looked up where none is given, from a server that runs.
    """
    number = number or lab_.endpoint()["Id"]
    return lab_.api("GET", f"/endpoints/{number}/docker/_ping")[0] == 200


def test_new_values_count_everywhere_and_old_ones_nowhere(
    lab_: PortainerLab, rotated: Rotated
) -> None:
    new = lab_.site.secrets
    assert set(new) == set(rotated.old), "a candidate was left in the store"
    assert {name for name in new if new[name] != rotated.old[name]} == {PASSWORD, AGENT_SECRET}
    assert lab_.login(rotated.old[PASSWORD])[0] == 422
    assert lab_.login(new[PASSWORD])[0] == 200
    for host in (lab_.server, lab_.agent):
        env = lab_.site.sh(host, f"cat {AGENT_ENV}", ok=True).out
        assert env == f"AGENT_SECRET={new[AGENT_SECRET]}\n"
        timers = "systemctl list-timers --all --no-legend 'phoenix-undo-portainer*'"
        assert lab_.site.sh(host, timers, ok=True).out == "", "it would be undone"
    assert reaches(lab_)
    assert stacks(lab_) == rotated.stacks, "a stack's container was touched"


def test_no_request_through_portainer_to_its_agent_is_lost(rotated: Rotated) -> None:
    print_figure("answers under load", dict(rotated.answers))
    assert sum(rotated.answers.values()) > 50, rotated.answers
    assert not {status for status in rotated.answers if not status.startswith("200 0")}, (
        rotated.answers
    )


def test_nothing_of_it_shows(lab_: PortainerLab, rotated: Rotated) -> None:
    for store in (rotated.old, lab_.site.secrets):
        for name in (PASSWORD, AGENT_SECRET):
            assert store[name] not in rotated.run.output
            assert store[name] not in "\n".join(rotated.lines), "a secret is in a command line"
            for host in (lab_.server, lab_.agent):
                assert logs_with(lab_.site, host, store[name]) == ""


@pytest.mark.usefixtures("rotated")
def test_next_run_changes_nothing(lab_: PortainerLab) -> None:
    run = lab_.site.project.run("deploys/all.py")
    assert run.returncode == 0, run.explain()
    assert run.other_changes == []


@pytest.mark.usefixtures("rotated")
def test_agent_that_does_not_take_the_new_secret_brings_the_old_one_back(
    lab_: PortainerLab, variant: Project
) -> None:
    """Only the server is told the new one: what it proves is not enough."""
    before, old = stacks(lab_), lab_.site.secrets
    variant.replace(
        "deploys/secrets_rotate.py",
        'to be confirmed", tree=later)',
        'to be confirmed", tree=later, _if=[lambda: SERVER])',
    )
    variant.replace(
        "deploys/secrets_rotate.py", "proven = (", "SERVER = site_host() == server\nproven = ("
    )
    variant.replace(
        "operations/secret_rotation.py", "seconds: float = 90.0", "seconds: float = 3.0"
    )
    run = variant.run(DEPLOY, data={"secrets_rotate": AGENT_SECRET})
    assert run.returncode != 0
    assert "the former one is back" in run.output, run.explain()
    assert lab_.site.secrets == old
    lab_.eventually("the server reaches the agent again", lambda: reaches(lab_))
    assert stacks(lab_) == before
    run = lab_.site.project.run("deploys/portainer.py")
    assert run.returncode == 0, run.explain()
    assert run.changes == [], "both sides were not put back by themselves"


@pytest.mark.usefixtures("rotated")
def test_a_run_that_is_killed_leaves_nothing_stopped(lab_: PortainerLab, variant: Project) -> None:
    old, before, number = lab_.site.secrets, stacks(lab_), lab_.endpoint()["Id"]
    rotation = "operations/secret_rotation.py"
    variant.replace(rotation, "HELD_SECONDS = 60", "HELD_SECONDS = 5")
    variant.replace(rotation, "CONFIRM_SECONDS = 300", "CONFIRM_SECONDS = 20")
    data = ["--data", f"secrets_rotate={AGENT_SECRET}"]
    started = variant.start("inventories/lab.py", DEPLOY, "-y", "--json", *data)

    def is_held() -> bool:
        unit = lab_.site.sh(lab_.server, f"systemctl is-active {SERVER_UNIT}")
        return unit.out.strip() != "active"

    lab_.eventually("the server is held", is_held)
    started.kill()
    assert lab_.site.secrets == old
    # As it went on, or by systemd's timers: the server first, the agents when nobody confirms.
    lab_.eventually("the server reaches the agent again", lambda: reaches(lab_, number))
    run = lab_.site.project.run("deploys/portainer.py")
    assert run.returncode == 0, run.explain()
    assert reaches(lab_)
    assert stacks(lab_) == before
    again = lab_.site.project.run("deploys/portainer.py")
    assert again.changes == [], again.explain()


def test_what_cannot_be_changed_is_refused_at_once(lab_: PortainerLab) -> None:
    old = lab_.site.secrets
    for name, environment, reason in (
        ("proxmox_api_token", {}, "cannot be changed by Phoenix"),
        (PASSWORD, {f"PHOENIX_SECRET_{PASSWORD.upper()}": "x" * 12}, "comes from the environment"),
    ):
        run = lab_.site.project.run(DEPLOY, data={"secrets_rotate": name}, environment=environment)
        assert run.returncode != 0
        assert reason in run.output, run.explain()
        assert run.changes == []
    assert lab_.site.secrets == old
