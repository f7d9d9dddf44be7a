"""Stacks of type Swarm: what is refused or told, where they run, how they are routed and made."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from phoenix.components import stack as deployment
from phoenix.components.deployed_secrets import Holdings, deployed_secrets, traces
from phoenix.components.traefik.traefik_yml import dynamic_config
from phoenix.declaration.swarm_stacks import candidates, is_pinned
from phoenix.derived import firewall
from phoenix.derived.certificates import RENEWAL_LABEL
from phoenix.derived.connections import connections
from phoenix.derived.logs import logs
from phoenix.derived.routes import routes
from phoenix.health.checks import checks
from phoenix.site.model import Site
from tests.unit.site_builder import Declaration, problem
from tests.unit.swarm_cases import declaration
from tests.unit.test_check_script import fault, stand_in

FILE = "stacks/shop/docker-compose.yml"
VM = "phoenix_vm_configs.json"
PLAIN = "environments.production.services.web.traefik_service.scheme"
"""It is told of what is reached in plain text."""
HERE = {"placement": {"constraints": ["node.labels.phoenix.node == worker"]}}


def swarm(**service: Any) -> Declaration:
    """`worker` manages the swarm and names the Swarm stack `shop`; `more` of its one service."""
    declared = declaration(swarm_role="manager")
    declared.vm["vms"][0]["swarm_role"] = "worker"
    manifest, compose = declared.stacks["shop"]
    manifest["type"] = "swarm"
    manifest["environments"]["production"]["services"]["web"]["traefik_service"]["scheme"] = "http"
    web = compose["services"]["web"]
    port = {"target": 80, "published": 8000, "protocol": "tcp", "mode": "host"}
    web |= {"ports": [port], **service}
    return declared


def compose(declared: Declaration) -> dict[str, Any]:
    content: dict[str, Any] = declared.stacks["shop"][1]
    return content


def test_a_swarm_stack_is_declared_by_its_manifest(tmp_path: Path) -> None:
    loaded = swarm(deploy=HERE).load(tmp_path)
    (stack,) = loaded.host("worker").docker_stacks
    assert (stack.type, stack.placement) == (
        "swarm", (("web", ("node.labels.phoenix.node == worker",)),),
    )  # fmt: skip
    assert [warning.path for warning in loaded.warnings] == [PLAIN]


@pytest.mark.parametrize(
    ("service", "path", "words"),
    [
        ({"build": "."}, "build", "do not reach the host"),
        ({"container_name": "shop"}, "container_name", "Swarm names containers by itself"),
        ({"depends_on": {"web2": {"condition": "service_healthy"}}}, "depends_on",
         "refuses conditions"),
        ({"privileged": True}, "privileged", "Swarm cannot carry it out"),
        ({"network_mode": "host"}, "network_mode", "Swarm cannot carry it out"),
        ({"labels": {RENEWAL_LABEL: "restart"}}, "labels", "reaches containers of compose alone"),
        ({"scale": 2}, "scale", "docker stack deploy refuses it"),
        ({"ports": ["8000:80"]}, "ports[0]", "routing mesh (mode ingress)"),
        ({"ports": [{"target": 80, "published": 8000}]}, "ports[0].mode", "routing mesh"),
        ({"volumes": ["data:/data"]}, "volumes[0]", "data is on one node's disk"),
        ({"volumes": ["/srv/data:/data"]}, "volumes[0]", "/srv/data is on one node's disk"),
        ({"deploy": {"mode": "global-job"}}, "deploy.mode", "a job of Swarm"),
        ({"deploy": {"placement": {"constraints": ["node.role = manager"]}}},
         "deploy.placement.constraints", "'node.role = manager' is not a constraint"),
        ({"deploy": {"placement": {"constraints": ["worker"]}}},
         "deploy.placement.constraints", "'worker' is not a constraint"),
        ({"deploy": {"placement": {"constraints": ["node.labels.gpu == yes"]}}},
         "deploy.placement.constraints", "no node of the swarm meets node.labels.gpu == yes"),
    ],
)  # fmt: skip
def test_what_swarm_cannot_do_is_refused(
    tmp_path: Path, service: dict[str, Any], path: str, words: str
) -> None:
    declared = swarm(**service)
    compose(declared)["services"]["web2"] = {"image": "shop:1"}
    compose(declared)["volumes"] = {"data": None}
    assert words in problem(declared.refused(tmp_path), FILE, f"services.web.{path}").message


@pytest.mark.parametrize(
    ("key", "value"), [("restart", "always"), ("expose", [80]), ("depends_on", ["web2"])]
)
def test_what_swarm_leaves_out_is_told(tmp_path: Path, key: str, value: Any) -> None:
    declared = swarm(**{key: value, "deploy": HERE})
    compose(declared)["services"]["web2"] = {"image": "shop:1"}
    finding = problem(declared.load(tmp_path).warnings, FILE, f"services.web.{key}")
    assert "Swarm" in finding.message


@pytest.mark.parametrize(
    ("volume", "service"),
    [
        ({"driver_opts": {"type": "nfs", "device": ":/a", "o": "addr=10.0.0.9"}}, {}),
        (None, {"deploy": HERE}),
        (None, {"deploy": {"mode": "global"}}),
    ],
)
def test_data_that_follow_or_stay_are_taken(
    tmp_path: Path, volume: Any, service: dict[str, Any]
) -> None:
    declared = swarm(volumes=["data:/data"], **service)
    compose(declared)["volumes"] = {"data": volume}
    declared.load(tmp_path)


def test_a_host_that_is_no_manager_or_has_no_portainer_is_refused(tmp_path: Path) -> None:
    declared = swarm()
    declared.vm["vms"][0]["swarm_role"], declared.vm["vms"][1]["swarm_role"] = "manager", "worker"
    finding = problem(declared.refused(tmp_path / "a"), VM, "vms[1].docker_stacks[0]")
    assert "worker is not a manager of the swarm" in finding.message
    declared = swarm()
    declared.vm["vms"][1]["portainer_role"] = "none"
    finding = problem(declared.refused(tmp_path / "b"), VM, "vms[1].docker_stacks[0]")
    assert "Portainer has no environment for worker" in finding.message


def test_one_swarm_has_a_stack_once(tmp_path: Path) -> None:
    declared = swarm(deploy=HERE)
    declared.vm["vms"][2] |= {"swarm_role": "manager", "docker_stacks": ["shop"]}
    findings = declared.refused(tmp_path)
    assert any("is deployed through worker already" in finding.message for finding in findings)


def test_networks_that_are_another_s_are_declared(tmp_path: Path) -> None:
    declared = swarm(networks=["mesh"], deploy=HERE)
    compose(declared)["networks"] = {"mesh": {"external": True}}
    warning = problem(declared.load(tmp_path / "a").warnings, FILE, "networks.mesh")
    assert "site.swarm_networks declares no such network" in warning.message
    declared.lxc.setdefault("site", {})["swarm_networks"] = {"mesh": {}}
    assert [warning.path for warning in declared.load(tmp_path / "b").warnings] == [PLAIN]
    declared.stacks["shop"][0]["type"] = "compose"
    compose(declared)["services"]["web"] |= {"ports": ["8000:80"], "deploy": {}}
    refusal = problem(declared.refused(tmp_path / "c"), FILE, "networks.mesh")
    assert "takes services of the swarm alone" in refusal.message


def test_a_bridge_is_no_network_of_a_swarm(tmp_path: Path) -> None:
    declared = swarm(deploy=HERE)
    compose(declared)["networks"] = {"default": {"driver": "bridge"}}
    finding = problem(declared.refused(tmp_path), FILE, "networks.default.driver")
    assert "a network of bridge is on one host alone" in finding.message


def test_a_port_that_another_node_has_in_use_is_refused(tmp_path: Path) -> None:
    declared = swarm()
    declared.stacks["other"] = (
        {"environments": {"production": {"services": {}}}},
        {"services": {"db": {"image": "db:1", "ports": ["8000:1"]}}},
    )
    declared.vm["vms"][2]["docker_stacks"] = ["other"]
    finding = problem(declared.refused(tmp_path), FILE, "services.web.ports")
    assert "port 8000/tcp of the node second" in finding.message
    compose(declared)["services"]["web"]["deploy"] = HERE
    declared.load(tmp_path / "pinned")


# -- nodes and routes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraints", "names"),
    [
        ((), ["worker", "control", "second"]),
        (("node.role == manager",), ["worker"]),
        (("node.role!=manager",), ["control", "second"]),
        (("node.labels.gpu == false",), ["worker"]),
        (("node.labels.gpu != false",), ["control", "second"]),
        (("node.hostname == second", "node.role == worker"), ["second"]),
        (("node.labels.gpu == FALSE", "Node.Role != WORKER"), ["worker"]),
        (("node.labels.GPU == false",), []),
        (("engine.labels.x == 1", "node.platform.os == linux"), ["worker", "control", "second"]),
    ],
)
def test_constraints_choose_nodes(
    tmp_path: Path, constraints: tuple[str, ...], names: list[str]
) -> None:
    loaded = swarm(deploy=HERE).load(tmp_path)
    assert [node.name for node in candidates(loaded.swarm_nodes, constraints)] == names
    assert is_pinned(constraints) == (constraints[:1] == ("node.hostname == second",))


def test_a_drained_node_runs_nothing(tmp_path: Path) -> None:
    declared = swarm(deploy=HERE)
    declared.vm["vms"][2]["node_availability"] = "drain"
    loaded = declared.load(tmp_path)
    assert [node.name for node in candidates(loaded.swarm_nodes, ())] == ["worker", "control"]


def test_a_swarm_of_drained_nodes_is_told_with_its_stacks(tmp_path: Path) -> None:
    declared = swarm()
    for vm in declared.vm["vms"]:
        if "swarm_role" in vm:
            vm["node_availability"] = "drain"
    warnings = [
        warning for warning in declared.load(tmp_path).warnings if "runs nowhere" in warning.message
    ]
    assert [warning.path for warning in warnings] == ["environments.production"]


def _balancer(loaded: Site) -> dict[str, Any]:
    config = yaml.safe_load(dynamic_config(loaded)[0])
    balancer: dict[str, Any] = config["http"]["services"]["shop"]["loadBalancer"]
    return balancer


def test_a_route_leads_to_each_node_that_may_run_it_with_health(tmp_path: Path) -> None:
    loaded = swarm().load(tmp_path)
    (route,) = [candidate for candidate in routes(loaded) if candidate.service.name == "shop"]
    urls = ["http://10.0.0.24:8000", "http://10.0.0.23:8000", "http://10.0.0.25:8000"]
    assert [server["url"] for server in _balancer(loaded)["servers"]] == urls
    assert _balancer(loaded)["healthCheck"] == {
        "path": route.health_path, "hostname": route.fqdn, "status": 200, "interval": "5s",
        "timeout": "3s",
    }  # fmt: skip
    opened = {
        flow.destination.name  # type: ignore[union-attr]
        for flow in firewall.flows(loaded)
        if flow.source == loaded.traefik and flow.port == 8000
    }
    assert opened == {"worker", "control", "second"}
    config = yaml.safe_load(dynamic_config(loaded)[0])["http"]
    timeouts = config["serversTransports"]["shop"]["forwardingTimeouts"]
    assert timeouts["dialTimeout"] == "2s", "a lost node does not refuse: another one is asked soon"
    assert not [
        c for c in connections(loaded) if c.service == "shop" and c.source == loaded.traefik
    ]


def test_a_node_is_asked_for_the_health_that_its_service_declares(tmp_path: Path) -> None:
    declared = swarm()
    route = declared.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    route["traefik_service"] |= {"health_path": "/up", "health_status": 204}
    health = _balancer(declared.load(tmp_path))["healthCheck"]
    assert (health["path"], health["status"]) == ("/up", 204)


def test_one_that_only_its_manager_runs_is_routed_as_any_other(tmp_path: Path) -> None:
    loaded = swarm(deploy=HERE).load(tmp_path)
    assert _balancer(loaded)["servers"] == [{"url": "http://10.0.0.24:8000"}]
    assert "healthCheck" not in _balancer(loaded)
    assert [c for c in connections(loaded) if c.service == "shop" and c.source == loaded.traefik]


def test_a_route_by_tls_needs_one_node(tmp_path: Path) -> None:
    declared = swarm()
    route = declared.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    route["traefik_service"]["scheme"] = "https"
    findings = declared.refused(tmp_path)
    assert any("the certificate is on only one host" in finding.message for finding in findings)


# -- what is deployed ------------------------------------------------------------------------------


def with_files(tmp_path: Path, key: str = "one", config: str = "plain") -> deployment.Prepared:
    declared = swarm(deploy=HERE)
    environment = declared.stacks["shop"][0]["environments"]["production"]
    environment["files"] = [
        {"secret": "SHOP_KEY", "destination_in_container": "/run/key"},
        {"source": "app.conf", "destination_in_container": "/etc/app.conf"},
    ]
    (tmp_path / "stacks/shop").mkdir(parents=True, exist_ok=True)
    (tmp_path / "stacks/shop/app.conf").write_text(config)
    (stack,) = declared.load(tmp_path).host("worker").docker_stacks
    return deployment.prepare(stack, {}, lambda _: SecretStr(key))


def test_files_are_secrets_and_configs_named_by_their_content(tmp_path: Path) -> None:
    done = with_files(tmp_path)
    assert done.files == {}, "nothing is put on the host"
    assert done.swarm_files is not None
    secret_file, conf = done.swarm_files
    assert [(file.secret, file.content) for file in done.swarm_files] == [
        (True, b"one"), (False, b"plain"),
    ]  # fmt: skip
    rendered = yaml.safe_load(done.compose)
    assert rendered["secrets"] == {secret_file.name: {"external": True, "name": secret_file.name}}
    assert rendered["configs"] == {conf.name: {"external": True, "name": conf.name}}
    web = rendered["services"]["web"]
    assert web["secrets"] == [{"source": secret_file.name, "target": "/run/key", "mode": 0o400}]
    assert web["configs"] == [{"source": conf.name, "target": "/etc/app.conf"}]
    assert with_files(tmp_path).compose == done.compose
    other = with_files(tmp_path, key="two")
    assert other.swarm_files is not None
    assert other.swarm_files[0].name != secret_file.name
    assert other.swarm_files[1].name == conf.name
    assert "one" not in repr(done.swarm_files)
    assert all(len(file.name) <= 64 for file in done.swarm_files)


def test_a_file_that_docker_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(deployment.DeploymentError, match=r"/etc/app.conf: it has 1000001 bytes"):
        with_files(tmp_path, config="x" * 1_000_001)


@pytest.mark.parametrize(
    ("service", "order"),
    [
        ({"ports": []}, "start-first"),
        ({}, None),
        ({"ports": [], "volumes": ["data:/data"]}, None),
        ({"ports": [], "deploy": {**HERE, "update_config": {"order": "stop-first"}}}, "stop-first"),
        ({"ports": [], "deploy": {**HERE, "update_config": {"parallelism": 2}}}, "start-first"),
    ],
)
def test_the_new_task_starts_first_where_it_can(
    tmp_path: Path, service: dict[str, Any], order: str | None
) -> None:
    declared = swarm(**{"deploy": HERE, **service})
    compose(declared)["volumes"] = {"data": None}
    declared.stacks["shop"][0]["environments"]["production"]["services"] = {}
    (stack,) = declared.load(tmp_path).host("worker").docker_stacks
    text = deployment.prepare(stack, {}, lambda _: SecretStr("x")).compose
    config = yaml.safe_load(text)["services"]["web"]["deploy"].get("update_config", {})
    assert config.get("order") == order


def test_a_secret_that_the_swarm_has_is_held(tmp_path: Path) -> None:
    """Another operator's machine, that lacks it, makes no new one; a new file's is made."""
    name = (with_files(tmp_path).swarm_files or ())[0].name
    declared = swarm(deploy=HERE)
    files = [{"secret": f"KEY_{n}", "destination_in_container": f"/run/{n}"} for n in (0, 1)]
    declared.stacks["shop"][0]["environments"]["production"]["files"] = files
    expected = [trace for trace in traces(declared.load(tmp_path / "site")) if trace.project]
    object_name = name.rpartition("-")[0]  # as the fact tells it
    holdings = {"worker": Holdings((f"swarm:{object_name}",), ("shop-production",))}
    assert [trace.secret for trace in deployed_secrets(expected, holdings, {})] == ["key_0"]


# -- logs ------------------------------------------------------------------------------------------


def test_logs_of_a_swarm_stack_are_those_of_its_services(tmp_path: Path) -> None:
    """From every node, side by side, asked of the manager."""
    loaded = swarm(deploy=HERE).load(tmp_path / "site")
    asked = f'echo "$*" >>{tmp_path}/asked; [ "$2" != ls ] || printf "one\\ntwo\\n"'
    stand_in(tmp_path, "docker", asked)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    for container, lines in (("", ["one", "two"]), ("web", ["shop-production_web"])):
        (tmp_path / "asked").write_text("")
        (log,) = logs(loaded, "shop", lines=5, follow=True, container=container)
        assert log.host.name == "worker"
        subprocess.run(log.command, env=environment, check=True)
        asked_logs = [
            line for line in (tmp_path / "asked").read_text().splitlines() if " logs " in line
        ]
        assert sorted(asked_logs) == [
            f"service logs --timestamps --tail 5 --follow {line}" for line in lines
        ]


# -- health ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("shop_web 2/2\nshop_db 1/1 (max 1 per node)", ""),
        ("shop_web 1/2", "shop_web has 1/2 tasks: Pending 2 minutes ago on  no suitable node"),
        ("shop_job 0/1 (1/1 completed)", ""),
        ("", "the swarm has no service of it"),
    ],
)
def test_the_services_of_a_swarm_stack_are_checked(tmp_path: Path, rows: str, words: str) -> None:
    (tmp_path / "rows").write_text(rows and f"{rows}\n")
    stand_in(
        tmp_path, "docker",
        f'case $2 in ls) cat {tmp_path}/rows ;; '
        'ps) echo "Running an hour ago on worker "; '
        'echo "Pending 2 minutes ago on  no suitable node" ;; esac',
    )  # fmt: skip
    loaded = swarm(deploy=HERE).load(tmp_path / "site")
    (check,) = [candidate for candidate in checks(loaded) if candidate.function == "tasks_are_well"]
    assert (check.host, check.command) == ("worker", ("tasks_are_well", "shop-production"))
    text = fault(tmp_path, *check.command)
    assert words in text
    assert bool(text) == bool(words), text
    assert not [check for check in checks(loaded) if check.command[:2] == ("containers_are_well",
                                                                   "shop-production")]  # fmt: skip
