"""Values that Docker refuses, services that extend others, and what stacks share on one host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from phoenix.cli.app import app
from phoenix.compose import document
from phoenix.compose.rewrite import with_mounts
from phoenix.declaration import compose
from phoenix.site.findings import Report
from tests.unit.site_builder import VM, Declaration, minimal, problem, stack

COMPOSE, MANIFEST = "stacks/shop/docker-compose.yml", "stacks/shop/phoenix.json"
ROUTE = "environments.production.services.web.traefik_service.port"


def with_web(**more: Any) -> Declaration:
    declared = minimal()
    declared.stacks["shop"][1]["services"]["web"].update(more)
    return declared


def with_two(shop: dict[str, Any], two: dict[str, Any], **tops: Any) -> Declaration:
    """Two stacks on one host; `tops` are keys of both compose files beside services."""
    declared = minimal()
    declared.stacks["wiki"] = stack("wiki", 8100)
    declared.vm["vms"][1]["docker_stacks"] = ["shop", "wiki"]
    for name, more in (("shop", shop), ("wiki", two)):
        declared.stacks[name][1]["services"]["web"].update(more)
        declared.stacks[name][1].update(tops)
    return declared


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"restart": "allways"}, "restart"),
        ({"restart": "on-failure:x"}, "restart"),
        ({"restart": True}, "restart"),
        ({"pull_policy": "sometimes"}, "pull_policy"),
        ({"stop_grace_period": "30"}, "stop_grace_period"),
        ({"stop_grace_period": 30}, "stop_grace_period"),
        ({"healthcheck": {"test": "true", "interval": "5 s"}}, "healthcheck.interval"),
        ({"healthcheck": {"test": ["curl", "-f"]}}, "healthcheck.test"),
        ({"healthcheck": {"test": []}}, "healthcheck.test"),
        ({"mem_limit": "lots"}, "mem_limit"),
        ({"mem_limit": "1k"}, "mem_limit"),
        ({"working_dir": "app"}, "working_dir"),
        ({"oom_score_adj": 1001}, "oom_score_adj"),
        ({"cpuset": "0-x"}, "cpuset"),
        ({"sysctls": ["net.core.somaxconn=1", "x"]}, "sysctls[1]"),
        ({"tmpfs": "run:size=1m"}, "tmpfs"),
        ({"tmpfs": ["/run", "cache"]}, "tmpfs[1]"),
        ({"environment": ["A=1", "=2"]}, "environment[1]"),
        ({"deploy": {"resources": {"limits": {"memory": "5m"}}}}, "deploy.resources.limits.memory"),
        ({"image": "example/Web:1.0"}, "image"),
        ({"image": "example/web :1.0"}, "image"),
        ({"image": "example/web:"}, "image"),
        ({"command": ["a\0b"]}, "command[0]"),
        ({"environment": ["A=1", None]}, "environment[1]"),
        ({"volumes": [""]}, "volumes[0]"),
        ({"volumes": [{"type": "bind", "target": "/x"}]}, "volumes[0]"),
        ({"volumes": [{"type": "tmpfs", "source": "d", "target": "/x"}]}, "volumes[0].source"),
        ({"ports": ["8000:8000", {"published": 8001}]}, "ports[1]"),
        ({"ports": ["8000:8000", "8001:0"]}, "ports[1]"),
        ({"mem_limit": -1}, "mem_limit"),
        ({"shm_size": "1x"}, "shm_size"),
        (
            {"volumes": [{"type": "tmpfs", "target": "/x", "tmpfs": {"size": "10x"}}]},
            "volumes[0].tmpfs.size",
        ),
        ({"gpus": ["x", {"count": "some"}]}, "gpus[1].count"),
        (
            {
                "deploy": {
                    "resources": {
                        "reservations": {"devices": [{"capabilities": ["gpu"], "count": "1.5"}]}
                    }
                }
            },
            "deploy.resources.reservations.devices[0].count",
        ),
        (
            {
                "blkio_config": {
                    "device_read_bps": [
                        {"path": "/dev/sda", "rate": "1m"},
                        {"path": "/dev/sdb", "rate": "fast"},
                    ]
                }
            },
            "blkio_config.device_read_bps[1].rate",
        ),
        (
            {"deploy": {"resources": {"limits": {"memory": "-5m"}}}},
            "deploy.resources.limits.memory",
        ),
        ({"depends_on": {"web": {"condition": "healthy"}}}, "depends_on.web.condition"),
        ({"volumes": ["/srv/a:/data", "/srv/b:/data/"]}, "volumes[1]"),
        (
            {"volumes": ["/srv/a:/data:ro", {"type": "tmpfs", "target": "/data"}]},
            "volumes[1]",
        ),
    ],
)
def test_value_that_docker_refuses_is_refused(
    tmp_path: Path, more: dict[str, Any], path: str
) -> None:
    problem(with_web(**more).refused(tmp_path), COMPOSE, f"services.web.{path}")


@pytest.mark.parametrize(
    "more",
    [
        {"restart": "no"},
        {"restart": ""},
        {"restart": "on-failure:3"},
        {"restart": "${R:-always}"},
        {"pull_policy": "every_12h"},
        {"stop_grace_period": "1m30s"},
        {"healthcheck": {"test": ["CMD-SHELL", "true"], "interval": "1.5s", "timeout": "2d"}},
        {"mem_limit": "1.5g"},
        {"mem_limit": 536870912},
        {"shm_size": "64 MiB"},
        {"volumes": ["/srv/a:/data", "/srv/b:/data2"]},
        {"volumes": [{"type": "tmpfs", "target": "/x", "tmpfs": {"size": 4096}}]},
        {"volumes": [{"type": "tmpfs", "target": "/x", "tmpfs": {"size": "10m"}}]},
        {"gpus": [{"count": "All"}, {"count": -1}]},
        {"gpus": "all"},
        {"blkio_config": {"device_write_iops": [{"path": "/dev/sda", "rate": 120}]}},
    ],
)
def test_value_that_docker_takes_is_taken(tmp_path: Path, more: dict[str, Any]) -> None:
    with_web(**more).load(tmp_path)


def test_names_and_images_that_compose_refuses(tmp_path: Path) -> None:
    declared = minimal()
    compose = declared.stacks["shop"][1]
    compose["services"] |= {"a b": {"image": "example/a:1"}, "idle": {"command": "x"}}
    compose["volumes"] = {"da/ta": None}
    findings = declared.refused(tmp_path)
    for path in ("services.a b", "services.idle", "volumes.da/ta"):
        problem(findings, COMPOSE, path)


def test_service_has_what_the_one_that_it_extends_has(tmp_path: Path) -> None:
    declared = minimal()
    web = declared.stacks["shop"][1]["services"]["web"]
    for extends in ("base", {"service": "base"}):
        declared.stacks["shop"][1]["services"] = {
            "base": {**web, "scale": 0},
            "web": {"extends": extends, "scale": 1, "image": "example/other:2.0"},
        }
        site = declared.load(tmp_path)
        (deployment,) = next(h for h in site.guests if h.name == "worker").docker_stacks
        assert {port.service for port in deployment.ports} >= {"web"}
        assert "example/other:2.0" in deployment.images


def test_merge_is_as_compose_does_it() -> None:
    text = """
services:
  base: {image: "a:1", command: [x, y], ports: ["1:1"], environment: {A: "1", B: "1"}}
  middle: {extends: base, environment: {B: "2"}, ports: ["1:1", "2:2"]}
  web: {extends: {service: middle}, command: [z], labels: {c: d}}
"""
    assert document.read(text)["services"]["web"] == {
        "extends": {"service": "middle"},
        "image": "a:1",
        "command": ["z"],
        "ports": ["1:1", "2:2"],
        "environment": {"A": "1", "B": "2"},
        "labels": {"c": "d"},
    }


def test_of_what_both_have_for_one_name_or_place_the_own_one_counts() -> None:
    text = """
services:
  base:
    image: "a:1"
    environment: ["A=1", "B=1", C]
    volumes: ["one:/data/", "${ROOT:-/a:b}:/cache:ro", "logs:/logs"]
    secrets: [key, {source: old, target: /cert}]
    healthcheck: {test: [CMD, a], interval: 5s}
  web:
    extends: base
    environment: {B: "2"}
    volumes: ["two:/data", {type: volume, source: three, target: /cache}]
    secrets: [{source: new, target: /cert}]
    healthcheck: {test: [NONE]}
"""
    web = document.read(text)["services"]["web"]
    assert web["environment"] == {"A": "1", "B": "2", "C": None}
    assert web["volumes"] == [
        "logs:/logs", "two:/data", {"type": "volume", "source": "three", "target": "/cache"},
    ]  # fmt: skip
    assert web["secrets"] == ["key", {"source": "new", "target": "/cert"}]
    assert web["healthcheck"] == {"test": ["NONE"], "interval": "5s"}


@pytest.mark.parametrize(
    ("base", "own", "merged"),
    [
        ("depends_on: [c]", "depends_on: {d: {condition: service_healthy}}",
         {"c": {"condition": "service_started", "required": True},
          "d": {"condition": "service_healthy"}}),
        ("depends_on: [c]", "depends_on: [d]", ["c", "d"]),
        ("networks: [n]", "networks: {m: {aliases: [q]}}", {"n": None, "m": {"aliases": ["q"]}}),
        ("networks: {n: {aliases: [a]}}", "networks: [n]", {"n": {"aliases": ["a"]}}),
        ("tmpfs: /a", "tmpfs: [/b]", ["/a", "/b"]),
        ("dns: [1.1.1.1]", "dns: 8.8.8.8", ["1.1.1.1", "8.8.8.8"]),
        ("extra_hosts: {a: 1.1.1.1, b: [2.2.2.2]}", "extra_hosts: ['a=1.1.1.1', 'c=::1']",
         ["a=1.1.1.1", "b=2.2.2.2", "c=::1"]),
        ("sysctls: {a: 1}", "sysctls: ['a=2', 'b=3']", {"a": "2", "b": "3"}),
        ("logging: {driver: a, options: {x: '1'}}", "logging: {driver: b}", {"driver": "b"}),
        ("logging: {driver: a, options: {x: '1'}}", "logging: {options: {y: '2'}}",
         {"driver": "a", "options": {"x": "1", "y": "2"}}),
        ("healthcheck: {test: [CMD, a], interval: 5s}", "healthcheck: {test: b, interval: }",
         {"test": "b", "interval": "5s"}),
        ("healthcheck: {test: [CMD, a]}", "healthcheck: ", {"test": ["CMD", "a"]}),
        ("restart: always", "restart: ", "always"),
        ("command: a", "command: ", None),
        ("deploy: {labels: {a: b}}", "deploy: {labels: ['a=c']}", {"labels": {"a": "c"}}),
        ("volumes: ['${A:-${B:-/srv/a}}:/d']", "volumes: ['/srv/c:/d:ro']", ["/srv/c:/d:ro"]),
        ("devices: ['/dev/a:/dev/x']", "devices: ['/dev/b:/dev/x:r']", ["/dev/b:/dev/x:r"]),
        ("secrets: [k]", "secrets: [{source: k, uid: '1'}]", [{"source": "k", "uid": "1"}]),
        ("secrets: [k]", "secrets: [{source: k, target: /k}]",
         ["k", {"source": "k", "target": "/k"}]),
    ],
)  # fmt: skip
def test_each_key_is_merged_as_compose_does_it(base: str, own: str, merged: object) -> None:
    """Each was what compose-go 2.16 made of the same file (override/merge.go, uncity.go)."""
    text = f"services:\n  base: {{{base}}}\n  web: {{extends: base, {own}}}\n"
    assert document.read(text)["services"]["web"][own.partition(":")[0]] == merged


def test_a_long_row_of_extends_is_read() -> None:
    services: dict[str, Any] = {f"s{n}": {"extends": f"s{n + 1}"} for n in range(3000)}
    services["s3000"] = {"image": "a:1"}
    text = json.dumps({"services": services})
    assert document.read(text)["services"]["s0"] == {"image": "a:1", "extends": "s1"}


def test_a_range_that_is_published_twice_is_one_finding(tmp_path: Path) -> None:
    """One cause, and not one for each of its ports, each looked for among all before it."""
    twice = ["10000-13999:10000-13999"] * 2
    (finding,) = with_web(ports=["8000:8000", *twice]).refused(tmp_path)
    assert "port 10000/tcp of worker and 3999 more of it are taken by" in finding.message


def test_a_network_by_a_variable_is_named(tmp_path: Path) -> None:
    declared = with_web(networks=["${NET:-inner}"])
    declared.stacks["shop"][1]["networks"] = {"inner": {}}
    assert declared.load(tmp_path).warnings == ()


def test_port_of_which_docker_chooses_the_hosts_side_is_told(tmp_path: Path) -> None:
    declared = with_web(ports=["8000:8000", "127.0.0.1::9000"])
    finding = problem(declared.load(tmp_path).warnings, COMPOSE, "services.web.ports[1]")
    assert "Docker picks a random one" in finding.message


@pytest.mark.parametrize(
    ("services", "path"),
    [
        ({"web": {"extends": "none"}}, "services.web.extends"),
        ({"web": {"extends": {"service": ["x"]}}}, "services.web.extends"),
        ({"web": {"extends": {"service": None}}}, "services.web.extends"),
        ({"web": {"extends": "web"}}, "services.web.extends"),
        ({"a": {"extends": "b"}, "b": {"extends": "a"}}, "services.b.extends"),
    ],
)
def test_extends_that_leads_nowhere_is_refused(
    tmp_path: Path, services: dict[str, Any], path: str
) -> None:
    declared = minimal()
    declared.stacks["shop"][1]["services"] = services
    problem(declared.refused(tmp_path), COMPOSE, path)


def test_file_with_extends_takes_the_mounts_of_a_stack() -> None:
    text = "services:\n  base: {image: a}\n  web: {extends: base, volumes: ['d:/d']}\n"
    services = document.parse(with_mounts(text, ["/x:/y:ro"], ("l", "x")))["services"]
    assert services["web"]["volumes"] == ["d:/d", "/x:/y:ro"]


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        (["127.0.0.1:8000:80"], "on 127.0.0.1 alone"),
        (["[::1]:8000:80"], "on ::1 alone"),
        (["8000:80/udp"], "by udp alone"),
        (["8001:80"], "publishes no port 8000"),
    ],
)
def test_port_that_traefik_does_not_reach_is_told_as_it_is(
    tmp_path: Path, ports: list[str], words: str
) -> None:
    findings = with_web(ports=ports).refused(tmp_path)
    assert words in problem(findings, MANIFEST, ROUTE).message
    assert "environments.production.services" not in {finding.path for finding in findings}


def test_image_of_a_variable_without_a_value_is_told_where_it_stands(tmp_path: Path) -> None:
    finding = problem(with_web(image="example/web:${NONE}").refused(tmp_path), COMPOSE,
                    "services.web.image")  # fmt: skip
    assert "variable NONE has no value" in finding.message


def test_file_where_a_volume_is_mounted_is_refused(tmp_path: Path) -> None:
    declared = with_web(volumes=["/srv/a:/data"])
    (tmp_path / "stacks" / "shop").mkdir(parents=True)
    (tmp_path / "stacks" / "shop" / "x.conf").write_text("x")
    declared.stacks["shop"][0]["environments"]["production"]["files"] = [
        {"source": "x.conf", "destination_in_container": "/data"}
    ]
    path = "environments.production.files[0].destination_in_container"
    assert "volumes[0]" in problem(declared.refused(tmp_path), MANIFEST, path).message


@pytest.mark.parametrize("second", ["xy", "${N:-xy}"])
def test_two_stacks_cannot_have_one_container(tmp_path: Path, second: str) -> None:
    declared = with_two({"container_name": "xy"}, {"container_name": second})
    finding = problem(
        declared.refused(tmp_path), "stacks/wiki/docker-compose.yml", "services.web.container_name"
    )
    assert "container xy is that of shop-production too" in finding.message


def test_name_that_compose_makes_for_another_stack_is_taken(tmp_path: Path) -> None:
    declared = with_two({}, {"container_name": "shop-production-web-1"})
    path = "services.web.container_name"
    problem(declared.refused(tmp_path), "stacks/wiki/docker-compose.yml", path)


def test_stacks_on_two_hosts_may_have_one_name(tmp_path: Path) -> None:
    declared = with_two({"container_name": "xy"}, {"container_name": "xy"})
    declared.vm["vms"][1]["docker_stacks"] = ["shop"]
    declared.vm["vms"][0]["docker_stacks"] = ["wiki"]
    declared.load(tmp_path)


@pytest.mark.parametrize(
    ("tops", "path"),
    [
        ({"volumes": {"data": {"name": "data"}}}, "volumes.data"),
        ({"networks": {"n": {"name": "net"}}}, "networks.n"),
    ],
)
def test_what_two_stacks_share_is_told(tmp_path: Path, tops: dict[str, Any], path: str) -> None:
    used = {"volumes": ["data:/d"]} if "volumes" in tops else {"networks": ["n"]}
    site = with_two(used, used, **tops).load(tmp_path)
    finding = problem(site.warnings, "stacks/wiki/docker-compose.yml", path)
    assert "is that of shop-production too" in finding.message


def test_volume_of_another_stack_is_told(tmp_path: Path) -> None:
    declared = with_two({}, {})
    declared.stacks["shop"][1]["volumes"] = {"d": {}}
    declared.stacks["wiki"][1]["volumes"] = {"e": {"external": True, "name": "shop-production_d"}}
    warnings = declared.load(tmp_path).warnings
    assert any("is that of shop-production too" in warning.message for warning in warnings)


def pools(*subnets: str) -> dict[str, Any]:
    return {
        f"n{at}": {"ipam": {"config": [{"subnet": subnet}]}} for at, subnet in enumerate(subnets)
    }


@pytest.mark.parametrize(
    ("subnets", "words"),
    [
        (["10.0.0.128/25"], "the site's network 10.0.0.0/24"),
        (["${NET:-10.0.0.0/16}"], "the site's network 10.0.0.0/24"),
        (["172.30.0.0/33"], "is not a network"),
        (["172.30.0.5/24"], "is not a network"),
        (["172.30.0.0/24", "172.30.0.0/16"], "n0.ipam.config[0].subnet"),
    ],
)
def test_subnet_that_docker_or_the_site_cannot_have_is_refused(
    tmp_path: Path, subnets: list[str], words: str
) -> None:
    declared = minimal()
    declared.stacks["shop"][1]["networks"] = pools(*subnets)
    path = f"networks.n{len(subnets) - 1}.ipam.config[0].subnet"
    assert words in problem(declared.refused(tmp_path), COMPOSE, path).message


def test_subnets_apart_are_taken_and_those_of_two_stacks_compared(tmp_path: Path) -> None:
    declared = with_two({}, {})
    declared.stacks["shop"][1]["networks"] = pools("172.30.0.0/24", "fd00::/64")
    declared.stacks["wiki"][1]["networks"] = pools("172.30.1.0/24", "fd01::/64")
    declared.load(tmp_path / "apart")
    declared.stacks["wiki"][1]["networks"] = pools("172.30.0.0/16")
    findings = declared.refused(tmp_path / "over")
    problem(findings, "stacks/wiki/docker-compose.yml", "networks.n0.ipam.config[0].subnet")


ACCEPT = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "8100", "source": "10.0.0.50"}


@pytest.mark.parametrize(
    ("refusal", "is_told"),
    [
        ({"port": "8100", "proto": "tcp", "source": "10.0.0.50"}, True),
        ({"port": "80,8000:8200", "proto": "tcp", "source": "site"}, True),
        ({}, True),
        ({"port": "8101", "proto": "tcp"}, False),
        ({"port": "8100", "proto": "udp"}, False),
        ({"port": "8100", "proto": "tcp", "source": "10.0.0.51"}, False),
        ({"type": "out"}, False),
    ],
)
def test_permission_that_a_refusal_shuts_is_told(
    tmp_path: Path, refusal: dict[str, Any], *, is_told: bool
) -> None:
    declared = minimal()
    rules = [ACCEPT, {"type": "in", "action": "DROP", **refusal}]
    declared.vm["vms"][1]["firewall"] = {"rules": rules}
    warnings = [
        warning for warning in declared.load(tmp_path).warnings
        if (warning.file, warning.path) == (VM, "vms[1].firewall.rules[0]")
    ]  # fmt: skip
    assert [("rules[1]" in warning.message) for warning in warnings] == ([True] if is_told else [])


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_compose_file_to_add_is_read_with_bounds(tmp_path: Path, content: bytes | None) -> None:
    minimal().load(tmp_path)
    file = Path("/dev/zero")
    if content is not None:
        file = tmp_path / "x.yml"
        file.write_bytes(content)
    words = ["add", "stack", "s", "--host", "worker", "--compose", str(file), "-i", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert str(file) in str(result.exception)
    assert not (tmp_path / "stacks" / "s").exists()


@pytest.mark.parametrize(
    ("environment", "is_told"),
    [
        ({"MODE": "$MODE"}, False),
        ({"MODE": "${MODE:-fast}"}, False),
        ({"OTHER": "${OTHER:-${MODE}}"}, False),
        (["MODE"], False),
        ({"MODE": None}, False),
        ({"MODE": "fast"}, True),
        ({"MODE": "$MODES"}, True),
        ({"MODE": "$$MODE"}, True),
        ({"MODE": "$$$MODE"}, False),
    ],
)
def test_a_variable_that_nothing_names_is_told(
    environment: Any, is_told: bool, tmp_path: Path
) -> None:
    declaration = minimal()
    manifest, content = stack("cart", 8001)
    manifest["environments"]["production"]["variables"] = [{"name": "MODE", "value": "slow"}]
    content["services"]["web"]["environment"] = environment
    declaration.stacks["cart"] = manifest, content
    declaration.vm["vms"][1]["docker_stacks"] = ["shop", "cart"]
    warnings = declaration.load(tmp_path).warnings
    paths = [warning.path for warning in warnings if "never names" in warning.message]
    assert paths == (["environments.production.variables[0]"] if is_told else [])


def test_a_compose_file_is_walked_once_however_many_variables_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walks = []
    original = compose._texts

    def counted(value: Any, path: str) -> Any:
        walks.extend([path] if not path else [])
        return original(value, path)

    monkeypatch.setattr(compose, "_texts", counted)
    content = {"services": {"web": {"environment": {f"V{n}": f"${{V{n}}}" for n in range(500)}}}}
    report = Report()
    compose.check_named(content, [f"V{n}" for n in range(1000)], "f", "variables", report)
    assert len(report.warnings) == 500
    assert len(walks) == 1
