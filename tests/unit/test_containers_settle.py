"""When a container is as it should be: one that is done, and one that ends again and again.

Asked twice, by the plan of a stack and by the check on its host; both must say the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from phoenix import portainer_api as api
from phoenix.compose import document
from phoenix.portainer_api.models import ContainerSummary, Stack
from phoenix.portainer_api.sync import ObservedStack, container_trouble
from tests.unit.test_check_faults import Guest, guest

__all__ = ["guest"]


@dataclass(frozen=True)
class Listed:
    """What Docker tells of a container: seconds ago it was made, how long its run is."""

    status: str
    state: str = "running"
    restarts: int = 0
    created: int = 0
    up: int = 0


AGAIN = "ends again and again"
CASES: dict[str, tuple[Listed, bool, str]] = {
    "runs": (Listed("Up 2 hours"), False, ""),
    "has just begun": (Listed("Up 3 seconds", created=3, up=3), False, ""),
    "ended well": (Listed("Exited (0) 2 hours ago", "exited"), True, ""),
    "ended well, is to run": (Listed("Exited (0) 2 hours ago", "exited"), False, "exited"),
    "ended badly": (Listed("Exited (1) 2 hours ago", "exited"), True, "exited"),
    "killed": (Listed("Exited (137) 5 minutes ago", "exited"), True, "exited"),
    "waits for a restart": (Listed("Restarting (1) 2 s ago", "restarting"), False, "restarting"),
    "unhealthy": (Listed("Up 2 hours (unhealthy)"), False, "unhealthy"),
    "loop of three seconds": (Listed("Up 2 seconds", restarts=9, created=90, up=2), False, AGAIN),
    "loop, its second second": (Listed("Up 1 second", restarts=1, created=5, up=1), False, AGAIN),
    "loop of a quarter": (Listed("Up 14 seconds", restarts=4, created=80, up=14), False, AGAIN),
    "loop of a minute": (Listed("Up About a minute", restarts=3, created=250, up=61), False, AGAIN),
    "loop of five minutes": (
        Listed("Up 4 minutes", restarts=12, created=3900, up=250), False, AGAIN,
    ),
    "loop, healthy for a moment": (
        Listed("Up 4 seconds (healthy)", restarts=7, created=60, up=4), False, AGAIN,
    ),
    "waited for its database": (Listed("Up 30 seconds", restarts=3, created=36, up=30), False, ""),
    "ended once, months ago": (
        Listed("Up 2 weeks", restarts=1, created=9_000_000, up=1), False, "",
    ),
    "ended once, a minute ago": (
        Listed("Up About a minute", restarts=1, created=9_000_000, up=65), False, "",
    ),
}  # fmt: skip


def summary(listed: Listed, now: datetime) -> ContainerSummary:
    details = {
        "RestartCount": listed.restarts,
        "Created": (now - timedelta(seconds=listed.created)).isoformat(),
        "State": {"StartedAt": (now - timedelta(seconds=listed.up)).isoformat()},
    }
    return ContainerSummary.model_validate({
        "Id": "c", "Names": ["/shop-web-1"], "State": listed.state, "Status": listed.status,
        "Labels": {"com.docker.compose.service": "web"}, "details": details,
    })  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_plan_and_check_agree(guest: Guest, case: str) -> None:
    listed, completes, word = CASES[case]
    now = datetime.fromtimestamp(int(time.time()), UTC)
    trouble = container_trouble(summary(listed, now), completes=completes) or ""
    assert (word in trouble) if word else trouble == "", trouble
    at = [
        (now - timedelta(seconds=ago)).strftime("%FT%T.123456789Z")
        for ago in (listed.created, listed.up)
    ]
    guest.program(
        "docker",
        'case "$1" in ps) '
        f'echo "c bridge\tshop\tweb shop-web-1 {listed.state} {listed.status}" ;;\n'
        f'inspect) echo "/shop-web-1 {listed.restarts} {at[0]} {at[1]}" ;; esac',
    )
    guest.program(
        "date", f'case "$*" in +%s) echo {int(now.timestamp())} ;; *) exec /bin/date "$@" ;; esac'
    )
    (fault,) = guest.run_checks(f"containers_are_well shop{' web' * completes}")
    assert (word in fault) if word else fault == "", fault


def compose(services: str) -> dict[str, Any]:
    services_ = document.read(f"services:\n{services}")["services"]
    assert isinstance(services_, dict)
    return services_


AFTER = "  two: {{image: b, depends_on: {{one: {{condition: service_{}}}}}}}\n"
ALWAYS = "  one: {image: a, restart: always}\n"
COMPLETING = {
    "restart absent": ("  one: {image: a}\n", True),
    "no": ('  one: {image: a, restart: "no"}\n', True),
    "no, without quotes": ("  one: {image: a, restart: no}\n", True),
    "on failure": ("  one: {image: a, restart: on-failure}\n", True),
    "on failure, counted": ("  one: {image: a, restart: 'on-failure:3'}\n", True),
    "by a variable": ("  one: {image: a, restart: '${POLICY}'}\n", True),
    "by a variable's default": ("  one: {image: a, restart: '${NONE:-always}'}\n", False),
    "always": ("  one: {image: a, restart: always}\n", False),
    "unless stopped": ("  one: {image: a, restart: unless-stopped}\n", False),
    "deploy, none": ("  one: {image: a, deploy: {restart_policy: {condition: none}}}\n", True),
    "deploy, any": ("  one: {image: a, deploy: {restart_policy: {condition: any}}}\n", False),
    "deploy, of no form": ("  one: {image: a, deploy: {restart_policy: always}}\n", True),
    "restart of no form": ("  one: {image: a, restart: [always, '${']}\n", False),
    "serves": ("  one: {image: a, ports: ['80:80']}\n", False),
    "is checked": ("  one: {image: a, healthcheck: {test: [CMD, x]}}\n", False),
    "check turned off": ("  one: {image: a, healthcheck: {disable: true}}\n", True),
    "waited for": (ALWAYS + AFTER.format("completed_successfully"), True),
    "waited for to be healthy": ("  one: {image: a}\n" + AFTER.format("healthy"), False),
}


@pytest.mark.parametrize("case", COMPLETING)
def test_what_may_end_with_code_0(case: str) -> None:
    text, completes = COMPLETING[case]
    assert ("one" in document.completing(compose(text), {"POLICY": "no"})) is completes


def test_a_one_shot_that_is_done_needs_nothing() -> None:
    content = "services:\n  job: {image: a, restart: 'no'}\n"
    desired = api.desired_stack("app", content, 3)
    row = {"Id": 7, "Name": "app", "Type": 2, "EndpointId": 3, "Status": 1}
    stack = Stack.model_validate(row)
    done = ContainerSummary.model_validate({
        "Id": "c", "Names": ["/app-job-1"], "State": "exited", "Status": "Exited (0) 1 second ago",
        "Labels": {"com.docker.compose.service": "job"},
    })  # fmt: skip
    assert api.describe(api.plan(desired, ObservedStack((stack,), content, (done,)))) == ()


def test_the_site_knows_what_may_end(tmp_path: Path) -> None:
    from tests.unit.site_builder import minimal

    declared = minimal()
    declared.stacks["shop"][1]["services"]["migrate"] = {"image": "example/migrate:1"}
    site = declared.load(tmp_path)
    assert site.host("worker").docker_stacks[0].completing == ("migrate",)
