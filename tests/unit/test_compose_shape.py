"""Keys and values of every place of a compose file: known, refused, or told that nobody reads them.

Compose refuses what it does not know; what it takes and does not carry out it takes in silence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phoenix.compose import document
from phoenix.declaration import compose, compose_limits, compose_schema
from phoenix.site.findings import Finding, Report
from tests.unit.site_builder import Declaration, minimal, problem

COMPOSE = "stacks/shop/docker-compose.yml"
WEB = "services.web"


def written(own: dict[str, Any], top: dict[str, Any] | None = None) -> Declaration:
    """The minimal site, with more in its stack's one service and beside it."""
    declared = minimal()
    declared.stacks["shop"][1]["services"]["web"].update(own)
    declared.stacks["shop"][1].update(top or {})
    return declared


def of_compose(findings: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in findings if finding.file == COMPOSE]


Top = dict[str, Any] | None
DATA: dict[str, Any] = {"volumes": {"data": {}}}
NET: dict[str, Any] = {"networks": {"n": {}}}
POOL = {"networks": {"n": {"ipam": {"config": [{"subnet": "172.30.0.0/24"}]}}}}
AT = {"n": {"ipv4_address": "172.30.0.5"}}
TYPES = {
    "user": 1000, "command": ["sleep", 5], "command ": {"a": 1}, "entrypoint": 5,
    "environment": {"A": {"b": 1}}, "environment ": "A=1", "labels": {"a": []}, "tty": "maybe",
    "read_only": "yess", "healthcheck": ["CMD", "x"], "cpu_shares": "some", "expose": "80",
    "logging": "json-file", "ulimits": 5, "sysctls": 1, "tmpfs": {"a": 1}, "gpus": 2,
    "group_add": "docker", "annotations": "a", "extra_hosts": "a=10.0.0.1", "init": "sure",
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), TYPES.items())
def test_a_value_of_a_kind_that_compose_refuses(tmp_path: Path, key: str, value: Any) -> None:
    refused = written({key.strip(): value}).refused(tmp_path)
    assert any(finding.path.startswith(f"{WEB}.{key.strip()}") for finding in refused)
    assert all("write " in finding.fix or "begin" in finding.fix for finding in refused)


UNKNOWN: list[tuple[dict[str, Any], Top, str, str]] = [
    ({"deploy": {"resourcs": {}}}, None, f"{WEB}.deploy.resourcs", "resources"),
    ({"deploy": {"resources": {"limits": {"memry": "1g"}}}}, None,
     f"{WEB}.deploy.resources.limits.memry", "memory"),
    ({"logging": {"drivr": "local"}}, None, f"{WEB}.logging.drivr", "driver"),
    ({"ports": ["8000:8000", {"target": 1, "published": 9100, "protcol": "udp"}]}, None,
     f"{WEB}.ports[1].protcol", "protocol"),
    ({"volumes": [{"type": "volume", "source": "data", "target": "/d", "readonly": True}]}, DATA,
     f"{WEB}.volumes[0].readonly", "read_only"),
    ({"volumes": ["data:/d"]}, {"volumes": {"data": {"driver_opt": {}}}}, "volumes.data.driver_opt",
     "driver_opts"),
    ({"networks": ["n"]}, {"networks": {"n": {"ipamm": {}}}}, "networks.n.ipamm", "ipam"),
    ({"networks": {"n": {"alias": ["x"]}}}, NET, f"{WEB}.networks.n.alias", "aliases"),
    ({"healthcheck": {"test": "x", "retry": 3}}, None, f"{WEB}.healthcheck.retry", "retries"),
    ({"secrets": [{"source": "s", "tagret": "/x"}]}, {"secrets": {"s": {"file": "/srv/s"}}},
     f"{WEB}.secrets[0].tagret", "target"),
]  # fmt: skip


@pytest.mark.parametrize(("own", "top", "path", "meant"), UNKNOWN)
def test_a_key_that_no_place_has(
    tmp_path: Path, own: dict[str, Any], top: dict[str, Any] | None, path: str, meant: str
) -> None:
    finding = problem(written(own, top).load(tmp_path).warnings, COMPOSE, path)
    assert finding.unread
    assert repr(meant) in finding.fix


REFUSED: list[tuple[dict[str, Any], Top, str]] = [
    ({"image": ""}, None, WEB),
    ({"volumes": ["d:d"]}, DATA, f"{WEB}.volumes[0]"),
    ({"volumes": [{"type": "vol", "source": "data", "target": "/d"}]}, DATA,
     f"{WEB}.volumes[0].type"),
    ({"volumes": [{"type": "volume", "source": "data"}]}, DATA, f"{WEB}.volumes[0]"),
    ({"networks": ["n"], "network_mode": "bridge"}, NET, f"{WEB}.network_mode"),
    ({"networks": AT}, NET, f"{WEB}.networks.n.ipv4_address"),
    ({"networks": {"n": {"ipv4_address": "172.31.0.5"}}}, POOL, f"{WEB}.networks.n.ipv4_address"),
    ({"networks": ["n"]}, {"networks": {"n": {"ipam": {"config": [
        {"subnet": "172.30.0.0/24", "gateway": "172.31.0.1"}]}}}},
     "networks.n.ipam.config[0].gateway"),
    ({"secrets": ["s"]}, {"secrets": {"s": {}}}, "secrets.s"),
    ({"configs": ["c"]}, {"configs": {"c": {"content": "x", "file": "/srv/c"}}}, "configs.c"),
    ({"mem_limit": "1g", "deploy": {"resources": {"limits": {"memory": "2g"}}}}, None,
     f"{WEB}.mem_limit"),
    ({"cap_add": ["NET_ADMINN"]}, None, f"{WEB}.cap_add[0]"),
    ({"security_opt": ["no-new-privilege:true"]}, None, f"{WEB}.security_opt[0]"),
    ({"dns": ["resolver"]}, None, f"{WEB}.dns[0]"),
    ({"extra_hosts": ["a"]}, None, f"{WEB}.extra_hosts[0]"),
    ({"extra_hosts": {"a": "b"}}, None, f"{WEB}.extra_hosts.a"),
    ({"ulimits": {"nofile": {"soft": 1}}}, None, f"{WEB}.ulimits.nofile"),
    ({"stop_signal": "SIGFOO"}, None, f"{WEB}.stop_signal"),
    ({"cpus": "-1"}, None, f"{WEB}.cpus"),
    ({"links": ["db"]}, None, f"{WEB}.links[0]"),
    ({"pull_policy": "build"}, None, f"{WEB}.pull_policy"),
    ({"userns_mode": "other"}, None, f"{WEB}.userns_mode"),
    ({"ports": ["8000:8000", "8000:8001"]}, None, f"{WEB}.ports"),
    ({"ports": ["8000:8000", "7990-8010:7990-8010"]}, None, f"{WEB}.ports"),
    ({"ports": ["8000:8000", "10.0.0.24:8000:8000"]}, None, f"{WEB}.ports"),
]  # fmt: skip


@pytest.mark.parametrize(("own", "top", "path"), REFUSED)
def test_what_docker_refuses_is_refused_offline(
    tmp_path: Path, own: dict[str, Any], top: dict[str, Any] | None, path: str
) -> None:
    findings = of_compose(written(own, top).refused(tmp_path))
    assert {finding.path for finding in findings} == {path}
    assert all(finding.fix for finding in findings)


def test_two_containers_at_one_address(tmp_path: Path) -> None:
    declared = written({"networks": AT}, POOL)
    declared.stacks["shop"][1]["services"]["b"] = {"image": "example/b:1.0", "networks": AT}
    finding = problem(declared.refused(tmp_path), COMPOSE, "services.b.networks.n.ipv4_address")
    assert f"is the address of {WEB}.networks.n.ipv4_address too" in finding.message


def test_a_wait_for_the_end_of_what_never_ends(tmp_path: Path) -> None:
    declared = written({"depends_on": {"job": {"condition": "service_completed_successfully"}}})
    job = {"image": "example/job:1.0", "restart": "always"}
    declared.stacks["shop"][1]["services"]["job"] = job
    assert "job never ends" in problem(
        declared.refused(tmp_path), COMPOSE, f"{WEB}.depends_on.job"
    ).message  # fmt: skip
    job["restart"] = "on-failure"
    declared.load(tmp_path)


def limited(kind: str, **resources: Any) -> dict[str, Any]:
    return {"deploy": {"resources": {kind: resources}}}


FILE = {"secrets": {"s": {"file": "/srv/s"}}}
SILENT_BEFORE: list[tuple[dict[str, Any], Top, str, str]] = [
    ({"volumes": ["data:/d:readonly"]}, DATA, f"{WEB}.volumes[0]", "Compose passes over it"),
    ({}, {"volumes": {"d": {}}}, "volumes.d", "no service names it"),
    ({}, {"networks": {"n": {}}}, "networks.n", "no service names it"),
    ({}, {"configs": {"c": {"content": "x"}}}, "configs.c", "no service names it"),
    ({"secrets": [{"source": "s", "uid": "1000"}]}, FILE, f"{WEB}.secrets[0].uid", "its own owner"),
    ({"secrets": [{"source": "s", "mode": 256}]}, FILE, f"{WEB}.secrets[0].mode", "its own owner"),
    (limited("reservations", cpus="1"), None, f"{WEB}.deploy.resources.reservations.cpus",
     "Docker Swarm's"),
    ({"deploy": {"restart_policy": {"condition": "any", "delay": "5s"}}}, None,
     f"{WEB}.deploy.restart_policy.delay", "Docker Swarm's"),
    ({"restart": "always", "deploy": {"restart_policy": {"condition": "none"}}}, None,
     f"{WEB}.deploy.restart_policy", "not read beside `restart`"),
    ({"configs": ["c"]}, {"configs": {"c": {"content": "x", "template_driver": "golang"}}},
     "configs.c.template_driver", "Docker Swarm's"),
    ({"networks": ["n"]}, {"networks": {"n": {"attachable": True}}}, "networks.n.attachable",
     "overlay networks"),
    ({"networks": ["n"]}, {"networks": {"n": {"internal": True}}}, f"{WEB}.ports", "is internal"),
    ({}, {"networks": {"default": {"internal": True}}}, f"{WEB}.ports", "is internal"),
    ({"networks": ["n"]}, {"networks": {"n": {"external": True, "driver": "bridge"}}},
     "networks.n.driver", "beside `external`"),
    ({"environment": ["A=1", "A=2"]}, None, f"{WEB}.environment[1]", "the last one counts"),
    ({"ports": ["8000:8000", "81"]}, None, f"{WEB}.ports[1]", "picks a random one"),
    ({"ports": ["8000:8000", {"target": 81}]}, None, f"{WEB}.ports[1]", "picks a random one"),
    ({"labels": {"ai.thinkheads.phoenix.certifcate": "restart"}}, None,
     f"{WEB}.labels.ai.thinkheads.phoenix.certifcate", "not a label that Phoenix reads"),
    ({"labels": ["com.docker.compose.project=x"]}, None, f"{WEB}.labels[0]", "writes itself"),
    ({"labels": ["traefik.http.routers.b.rule=Host(`blog.internal.thinkheads.ai`)"]}, None,
     f"{WEB}.labels", "blog.internal.thinkheads.ai leads nowhere"),
    ({"develop": {"watch": []}}, None, f"{WEB}.develop", "compose watch"),
    ({"isolation": "hyperv"}, None, f"{WEB}.isolation", "Windows"),
    ({"models": ["llm"]}, {"models": {"llm": {"model": "ai/x"}}}, "models", "Model Runner"),
]  # fmt: skip


@pytest.mark.parametrize(("own", "top", "path", "words"), SILENT_BEFORE)
def test_what_nobody_carries_out_is_told(
    tmp_path: Path, own: dict[str, Any], top: dict[str, Any] | None, path: str, words: str
) -> None:
    finding = problem(written(own, top).load(tmp_path).warnings, COMPOSE, path)
    assert words in finding.message
    assert finding.unread, "an error under --strict"


SOUND: list[tuple[dict[str, Any], Top]] = [
    ({"volumes": ["data:/d:ro,z", "/srv/x:/x:rslave"]}, DATA),
    ({"networks": AT}, POOL),
    ({"ports": ["0.0.0.0:8000:8000", "[::]:8000:8000"]}, None),
    ({"networks": ["n", "default"]}, {"networks": {"n": {"internal": True}}}),
    ({"ports": ["8000:8000", "8000:8000/udp", "127.0.0.1:9100:9100", "10.0.0.24:9100:9100"]}, None),
    ({"mem_limit": "1g", "deploy": {"resources": {"limits": {"memory": "1024M"}}}}, None),
    (limited("reservations", devices=[{"driver": "nvidia", "capabilities": ["gpu"]}]), None),
    ({"healthcheck": {"test": ["CMD", "x"], "retries": "3", "disable": "${OFF:-false}"}}, None),
    ({"environment": {"A": None, "B": True, "C": 1.5}, "tty": "true", "cpus": 0.5}, None),
    ({"extra_hosts": ["host.docker.internal:host-gateway", "a=10.0.0.9", "b:[::1]"]}, None),
    ({"configs": [{"source": "c", "target": "/c", "mode": 288}]}, {"configs": {"c": {
        "content": "x"}}}),
    ({"labels": {"traefik.http.routers.s.rule": "Host(`shop.internal.thinkheads.ai`)"}}, None),
    ({"stop_signal": "SIGRTMIN+3", "pid": "host", "cap_drop": ["all"], "x-mine": {"a": 1}}, None),
    ({"ulimits": {"nofile": 1024, "nproc": {"soft": 1, "hard": 2}}, "gpus": "all"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("own", "top"), SOUND)
def test_what_compose_carries_out_is_left_alone(
    tmp_path: Path, own: dict[str, Any], top: dict[str, Any] | None
) -> None:
    warnings = of_compose(written(own, top).load(tmp_path).warnings)
    others = [warning for warning in warnings
              if "has no value" not in warning.message and "root on its" not in warning.message
              and "pid" not in warning.path]  # fmt: skip
    assert list(map(str, others)) == []


JUNK: tuple[Any, ...] = (
    None, True, -1, float("nan"), 10**30, "$", "${A}", "a:b:c:d", "\0", [], [None], [[]], [{}],
    {}, {"a": None}, {"a": []}, {"": ""}, {"external": {"name": 5}},
)  # fmt: skip


@pytest.mark.parametrize("key", [*compose_schema.SERVICE, *compose_schema.TOP])
def test_whatever_stands_in_a_place_ends_in_findings(key: str) -> None:
    """Junk at each key, in a list, and under a name; no traceback."""
    for junk in JUNK:
        for value in (junk, [junk], {"n": junk}):
            service: dict[str, Any] = {"image": "a/b:1", "volumes": ["n:/n"], "networks": AT}
            file: dict[str, Any] = {"services": {"web": service}}
            (file if key in compose_schema.TOP and key != "networks" else service)[key] = value
            if key in ("networks", "volumes", "configs", "secrets"):
                file[key] = value
            try:
                content = document.read(json.dumps(file))
            except document.ComposeFileError:
                continue
            report = Report()
            compose_schema.check_keys(content, "c", report)
            for swarm in (False, True):
                compose_limits.check(content, {"A": "1"}, "p", "c", "m", report, swarm=swarm)
            compose.published(content, {"A": "1"}, {}, "c", report)
