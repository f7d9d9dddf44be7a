"""What Compose takes for a value in each place: each row is what compose-go 2.16 said of the file.

Sources: the Compose specification's JSON schema, compose-go's loader/interpolate.go (text for
numbers and flags) and loader/validate.go, and go-shellwords for commands.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from phoenix.compose import command_words, document
from phoenix.declaration import compose_limits
from phoenix.declaration.compose import published
from phoenix.site.findings import Report
from phoenix.site.model import PublishedPort

WEB = "services.web"


def found(own: dict[str, Any] | str, **top: Any) -> Report:
    """What is found of a file whose service `web` has these keys."""
    text = own
    if not isinstance(own, str):
        services = {"web": {"image": "a/b:1", **own}, "db": {"image": "a/b:1"}}
        text = json.dumps({"services": services, **top})
    report = Report()
    content = document.read(str(text))
    compose_limits.check(content, {"N": "2"}, "shop", "c", "m", report)
    published(content, {"N": "2"}, {}, "c", report)
    return report


NOTHING = [
    "attach", "cgroup_parent", "cpus", "cpuset", "dns", "environment", "extra_hosts", "healthcheck",
    "hostname", "init", "logging", "mem_limit", "networks", "pid", "privileged", "restart", "scale",
    "security_opt", "stop_grace_period", "sysctls", "tmpfs", "ulimits", "user", "working_dir",
]  # fmt: skip


@pytest.mark.parametrize("key", NOTHING)
def test_a_key_with_nothing_is_refused_where_compose_does(key: str) -> None:
    (finding,) = found({key: None}).errors
    assert finding.path == f"{WEB}.{key}"
    assert "cannot be nothing: Compose refuses it" in finding.message
    assert "remove the key" in finding.fix


def test_what_may_be_empty_is_left_alone() -> None:
    own = {"command": None, "entrypoint": None, "deploy": {}, "environment": {"N": None},
           "labels": {"a": None}, "networks": {"net": None}, "volumes": ["data:/d"],
           "post_start": [{"command": None}]}  # fmt: skip
    report = found(own, networks={"net": None}, volumes={"data": None})
    assert report.errors == ()


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"privileged": "1"}, "privileged", "true or false"),
    ({"privileged": "t"}, "privileged", "true or false"),
    ({"use_api_socket": "yes"}, "use_api_socket", "without quotes"),
    ({"scale": 1.5}, "scale", "a whole number"),
    ({"scale": -1}, "scale", "from 0 on"),
    ({"deploy": {"replicas": -1}}, "deploy.replicas", "from 0 on"),
    ({"deploy": {"replicas": "two"}}, "deploy.replicas", "a whole number"),
    ({"cpu_rt_runtime": "5s"}, "cpu_rt_runtime", "a whole number"),
    ({"memswap_limit": "word"}, "memswap_limit", "-1 for no limit"),
    ({"healthcheck": {"test": "a", "interval": 0}}, "healthcheck.interval", "with its unit"),
    ({"stop_grace_period": 90}, "stop_grace_period", "with its unit"),
    ({"deploy": {"resources": {"limits": {"memory": 67108864}}}},
     "deploy.resources.limits.memory", "text, in quotes"),
    ({"pull_policy": "every_5q"}, "pull_policy", "every_12h"),
    ({"container_name": "a"}, "container_name", "two or more"),
    ({"networks": ["net", "net"]}, "networks[1]", "keep one"),
    ({"depends_on": ["db", "db"]}, "depends_on[1]", "keep one"),
    ({"depends_on": {"db": {}}}, "depends_on.db", "write condition"),
    ({"depends_on": {"db": None}}, "depends_on.db", "a mapping"),
    ({"devices": [{"target": "/dev/x"}]}, "devices[0]", "write source"),
    ({"pre_stop": [{"user": "a"}]}, "pre_stop[0]", "write command"),
    ({"group_add": [5, 5]}, "group_add[1]", "keep one"),
    ({"environment": {"": "x"}}, "environment", "name it"),
    ({"logging": {"options": {"a": True}}}, "logging.options.a", "a number"),
    ({"mem_limit": "64m", "deploy": {"resources": {"limits": {"cpus": "1"}}}}, "mem_limit",
     "write it as deploy.resources.limits.memory"),
    ({"deploy": {"resources": {"reservations": {"devices": [
        {"capabilities": ["gpu"], "count": 1, "device_ids": ["0"]}]}}}},
     "deploy.resources.reservations.devices[0]", "remove one"),
    ({"command": 'a "b'}, "command", "write a list"),
    ({"entrypoint": "a (b)"}, "entrypoint", "write a list"),
    ({"ports": [{"target": "80-81", "published": "8000-8001"}]}, "ports[0]", "one port as target"),
    ({"ports": [{"target": 80, "published": 80, "host_ip": "[::1]"}]}, "ports[0]", "address alone"),
]  # fmt: skip


@pytest.mark.parametrize(("own", "path", "fix"), REFUSED)
def test_a_value_that_compose_refuses(own: dict[str, Any], path: str, fix: str) -> None:
    report = found(own, networks={"net": {}})
    (finding,) = [finding for finding in report.errors if finding.path == f"{WEB}.{path}"]
    assert fix in finding.fix


@pytest.mark.parametrize(
    "own",
    [
        {"privileged": "off", "init": "YES", "read_only": "n", "tty": "${T:-no}"},
        {"scale": "${N}", "oom_score_adj": "5", "pids_limit": "10", "cpus": "1.5"},
        {"deploy": {"replicas": 2.0, "resources": {"limits": {"cpus": 0.5, "memory": "64m"}}}},
        {"memswap_limit": -1, "mem_limit": "64m", "deploy": {"labels": {"a": 1}}},
        {"healthcheck": {"test": "a && b", "interval": "1m30s", "retries": "3"}},
        {"command": "sh -c 'a && b; c'", "entrypoint": ["sh", "-c", "a > b"]},
        {"depends_on": {"db": {"condition": "service_started", "restart": "yes"}}},
        {"logging": {"driver": "local", "options": {"max-size": "10m", "max-file": 3, "x": None}}},
    ],
)
def test_a_value_that_compose_takes(own: dict[str, Any]) -> None:
    assert found(own).errors == ()


@pytest.mark.parametrize(
    ("top", "path"),
    [
        ({"external": True, "driver_opts": {"a": "b"}}, "volumes.data.driver_opts"),
        ({"external": "yes", "labels": ["a=b"]}, "volumes.data.labels"),
        ({"external": {"name": "x"}, "name": "y"}, "volumes.data"),
    ],
)
def test_what_cannot_stand_beside_external(top: dict[str, Any], path: str) -> None:
    errors = found({"volumes": ["data:/d"]}, volumes={"data": top}).errors
    assert path in {finding.path for finding in errors}


@pytest.mark.parametrize("source", [["x"], {"a": "b"}, None])
def test_a_source_of_another_kind_is_a_finding(source: Any) -> None:
    own = {"secrets": [{"source": source, "mode": 256}]}
    errors = found(own, secrets={"key": {"file": "/srv/key"}}).errors
    assert f"{WEB}.secrets[0].source" in {finding.path for finding in errors}


def test_an_address_and_a_port_by_variables_are_read() -> None:
    entry = {"target": 80, "published": "${P:-8000}", "host_ip": "${IP:-127.0.0.1}"}
    content = document.read(json.dumps({"services": {"web": {"image": "a", "ports": [entry]}}}))
    report = Report()
    (port,) = published(content, {}, {}, "c", report)
    assert report.findings == []
    assert isinstance(port, PublishedPort)
    assert (str(port.address), port.host_port) == ("127.0.0.1", 8000)
    (port,) = published(content, {"IP": "::1"}, {}, "c", report)
    assert str(port.address) == "::1"


WORDS = [  # go-shellwords 1.0.12, without environment and backquotes
    ("a 'b c' d", "", ""), ("a \\; b", "", ""), ("a ';' \"&\"", "", ""), ("a $(b; c) d", "", ""),
    ("a `b; c`", "", ""), ("a && b", "&& b", ""), ("a ; b", "; b", ""), ("a|b", "|b", ""),
    ("a > b", "> b", ""), ("a 'b\\' ; c", "; c", ""), ("a \"b\\\" ; c\"", "", ""),
    ("a 'b", "", "opens '"), ("a \"b", "", 'opens "'), ("a $(b", "", "opens $("),
    ("a `b", "", "opens `"), ("a \\", "", "ends with"), ("a (b)", "", "has a ("),
]  # fmt: skip


@pytest.mark.parametrize(("text", "left_out", "fault"), WORDS)
def test_words_of_a_command(text: str, left_out: str, fault: str) -> None:
    words = command_words.read(text)
    assert words.left_out == left_out
    assert words.fault.startswith(fault)
    assert bool(words.fault) == bool(fault)


@pytest.mark.parametrize("command", ["migrate && serve", "serve > /log", "${RUN:-serve; sleep}"])
def test_a_command_for_a_shell_is_told(command: str) -> None:
    """Compose would run its first words alone, without a word about the rest."""
    (warning,) = found({"command": command}).warnings
    assert warning.path == f"{WEB}.command"
    assert warning.unread
    assert '["/bin/sh", "-c"' in warning.fix
