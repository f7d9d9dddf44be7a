"""What `docker compose` on one host refuses or ignores is refused or told offline."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.compose_cases import compose_command
from tests.unit.site_builder import Declaration, minimal, problem

COMPOSE = "stacks/shop/docker-compose.yml"
WEB = "services.web"
ONE = {"image": "example/one:1.0"}


def with_web(**more: Any) -> Declaration:
    declared = minimal()
    declared.stacks["shop"][1]["services"]["web"].update(more)
    return declared


def with_services(**more: Any) -> Declaration:
    declared = minimal()
    declared.stacks["shop"][1]["services"].update(more)
    return declared


def with_top(**more: Any) -> Declaration:
    declared = minimal()
    declared.stacks["shop"][1].update(more)
    return declared


REFUSED = [
    (with_web(deploy={"replicas": 2}), f"{WEB}.deploy.replicas", "host port"),
    (with_web(scale=3), f"{WEB}.scale", "host port"),
    (with_web(scale="${N:-2}"), f"{WEB}.scale", "host port"),
    (with_services(a={**ONE, "container_name": "aa", "scale": 2}), "services.a.scale", "name"),
    (
        with_services(a={**ONE, "container_name": "nn"}, b={**ONE, "container_name": "${N:-nn}"}),
        "services.b.container_name",
        "container nn is declared at services.a.container_name too",
    ),
    (with_web(networks=["back"]), f"{WEB}.networks[0]", "no network 'back'"),
    (with_web(networks={"back": None}), f"{WEB}.networks.back", "no network 'back'"),
    (with_web(volumes=["data:/d"]), f"{WEB}.volumes[0]", "no volume 'data'"),
    (with_web(volumes=["${V:-data}:/d:ro"]), f"{WEB}.volumes[0]", "no volume 'data'"),
    (
        with_web(volumes=[{"type": "volume", "source": "data", "target": "/d"}]),
        f"{WEB}.volumes[0]",
        "no volume 'data'",
    ),
    (with_web(secrets=["key"]), f"{WEB}.secrets[0]", "no secret 'key'"),
    (with_web(configs=[{"source": "c", "target": "/c"}]), f"{WEB}.configs[0]", "no config 'c'"),
    (with_web(depends_on=["db"]), f"{WEB}.depends_on[0]", "no service 'db'"),
    (
        with_web(depends_on={"db": {"condition": "service_started"}}),
        f"{WEB}.depends_on.db",
        "no service 'db'",
    ),
    (with_services(a={**ONE, "network_mode": "service:vpn"}), "services.a.network_mode", "'vpn'"),
    (with_services(a={**ONE, "pid": "service:x"}), "services.a.pid", "no service 'x'"),
    (with_services(a={**ONE, "volumes_from": ["x:ro"]}), "services.a.volumes_from[0]", "'x'"),
    (
        with_services(a={**ONE, "depends_on": ["b"]}, b={**ONE, "depends_on": ["a"]}),
        "services.a.depends_on",
        "wait for each other",
    ),
    (with_services(a={**ONE, "depends_on": ["a"]}), "services.a.depends_on", "wait for each"),
    (
        with_services(a={**ONE, "links": ["b"]}, b={**ONE, "network_mode": "service:a"}),
        "services.a.links",
        "wait for each other",
    ),
    (
        with_web(depends_on={"db": {"condition": "service_started", "required": False}}),
        f"{WEB}.depends_on.db",
        "no service 'db'",
    ),
    (
        with_services(db={**ONE, "profiles": ["dev"]}, a={**ONE, "depends_on": ["db"]}),
        "services.a.depends_on[0]",
        "behind a profile",
    ),
    (
        with_services(db={**ONE, "profiles": ["dev"]}, a={**ONE, "network_mode": "service:db"}),
        "services.a.network_mode",
        "behind a profile",
    ),
    (with_top(secrets={"s": {"environment": "NONE"}}), "secrets.s.environment", "NONE has no"),
    (with_top(configs={"c": {"environment": "NONE"}}), "configs.c.environment", "NONE has no"),
    (with_top(secrets={"s": {"external": True}}), "secrets.s.external", "Docker Swarm's"),
    (with_top(configs={"c": {"external": True}}), "configs.c.external", "Docker Swarm's"),
]


@pytest.mark.parametrize(("declared", "path", "words"), REFUSED)
def test_what_compose_refuses_is_refused_offline(
    tmp_path: Path, declared: Declaration, path: str, words: str
) -> None:
    fault = problem(declared.refused(tmp_path), COMPOSE, path)
    assert words in fault.message
    assert fault.fix


def compose_takes(folder: Path) -> bool:
    """Whether Docker's own Compose takes the stack's file."""
    done = subprocess.run(
        [*(compose_command() or ()), "config", "--quiet"], cwd=folder / "stacks/shop",
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "HOME": "/"},
    )  # fmt: skip
    return done.returncode == 0


needs_compose = pytest.mark.skipif(
    compose_command() is None, reason="Compose v2 is not on this machine"
)


@needs_compose
@pytest.mark.parametrize(
    ("declared", "path", "words"), [case for case in REFUSED if case[2] != "host port"]
)
def test_compose_itself_refuses_it(
    tmp_path: Path, declared: Declaration, path: str, words: str
) -> None:
    """All but what Docker alone refuses, when a second container has the port."""
    declared.refused(tmp_path)
    assert not compose_takes(tmp_path), (path, words)


@pytest.mark.parametrize(
    ("declared", "path", "words"),
    [
        (with_top(name="other"), "name", "the stack is called shop-production"),
        (with_web(deploy={"placement": {}}), f"{WEB}.deploy.placement", "Docker Swarm's"),
        (with_web(deploy={"update_config": {}}), f"{WEB}.deploy.update_config", "Docker Swarm's"),
        (with_web(deploy={"mode": "global"}), f"{WEB}.deploy.mode", "Docker Swarm's"),
        (with_web(environment=["NONE"]), f"{WEB}.environment[0]", "NONE has no value"),
        (with_web(environment={"NONE": None}), f"{WEB}.environment.NONE", "NONE has no value"),
    ],
)
def test_what_compose_ignores_is_told(
    tmp_path: Path, declared: Declaration, path: str, words: str
) -> None:
    warning = problem(declared.load(tmp_path).warnings, COMPOSE, path)
    assert words in warning.message


WORKS = [
    with_web(deploy={"replicas": 1, "mode": "replicated", "resources": {}}),
    with_services(a={**ONE, "expose": ["80"], "scale": 3}),
    with_services(a={**ONE, "container_name": "aa"}, b={**ONE, "container_name": "bb"}),
    with_web(networks=["default"]),
    with_web(networks={"default": {"aliases": ["shop"]}}),
    with_web(volumes=["/srv/shop:/d", "/anonymous"]),
    with_services(
        db={**ONE, "profiles": ["dev"]},
        a={**ONE, "depends_on": {"db": {"condition": "service_started", "required": "no"}}},
    ),
    with_services(
        db={**ONE, "profiles": ["dev"]}, a={**ONE, "depends_on": ["db"], "profiles": ["b"]}
    ),
    with_services(a={**ONE, "depends_on": ["web"]}, b={**ONE, "depends_on": ["a", "web"]}),
    with_services(a={**ONE, "network_mode": "service:web", "volumes_from": ["web:ro"]}),
    with_web(environment=["A=", "B=1"]),
    with_top(**{"x-name": "anybody's"}),
]


@pytest.mark.parametrize("declared", WORKS)
def test_what_works_is_left_alone(tmp_path: Path, declared: Declaration) -> None:
    warnings = [warning for warning in declared.load(tmp_path).warnings if warning.file == COMPOSE]
    assert [warning for warning in warnings if "volumes" not in warning.path] == []


@needs_compose
@pytest.mark.parametrize("declared", WORKS)
def test_compose_itself_takes_it(tmp_path: Path, declared: Declaration) -> None:
    declared.load(tmp_path)
    assert compose_takes(tmp_path)


def test_a_near_name_is_told(tmp_path: Path) -> None:
    declared = with_web(volumes=["dta:/d"])
    declared.stacks["shop"][1]["volumes"] = {"data": {}}
    fault = problem(declared.refused(tmp_path), COMPOSE, f"{WEB}.volumes[0]")
    assert fault.fix == "did you mean 'data'? else declare it under volumes, beside services"
