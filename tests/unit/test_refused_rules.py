"""A firewall rule is done as it is written, or refused; each finding is of its own kind alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.site_builder import LXC, VM, Declaration, minimal, problem

RULE = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "8100", "source": "site"}


def with_rules(*rules: dict[str, Any]) -> Declaration:
    declared = minimal()
    declared.vm["vms"][1]["firewall"] = {"rules": list(rules)}
    return declared


@pytest.mark.parametrize(
    "key", ["macro", "iface", "enable", "log", "dport", "sport", "icmp-type", "Source"]
)
def test_rule_with_a_key_that_is_not_carried_out_is_refused(tmp_path: Path, key: str) -> None:
    finding = problem(
        with_rules({**RULE, key: "x"}).refused(tmp_path), VM, f"vms[1].firewall.rules[0].{key}"
    )
    assert "may match more" in finding.message


def test_macro_has_a_fix_of_its_own(tmp_path: Path) -> None:
    rule = {"type": "in", "action": "ACCEPT", "macro": "SSH"}
    path = "vms[1].firewall.rules[0].macro"
    assert "proto and port" in problem(with_rules(rule).refused(tmp_path), VM, path).fix


def test_rules_of_the_hypervisor_and_of_stacks_likewise(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["site"] = {"hypervisor": {"firewall": {"rules": [{**RULE, "enable": 0}]}}}
    manifest = declared.stacks["shop"][0]["environments"]["production"]
    manifest["firewall_rules"] = [{**RULE, "enable": 0}]
    findings = declared.refused(tmp_path)
    problem(findings, LXC, "site.hypervisor.firewall.rules[0].enable")
    problem(
        findings, "stacks/shop/phoenix.json", "environments.production.firewall_rules[0].enable"
    )


def test_more_ports_than_proxmox_takes_in_one_rule_are_refused(tmp_path: Path) -> None:
    sixteen = ",".join(str(8100 + 2 * number) for number in range(16))
    ranges = ",".join(f"{8100 + 9 * number}:{8104 + 9 * number}" for number in range(8))
    for ports in (sixteen, ranges):
        findings = with_rules({**RULE, "port": ports}).refused(tmp_path)
        assert (
            "more than 15 ports" in problem(findings, VM, "vms[1].firewall.rules[0].port").message
        )
    with_rules({**RULE, "port": sixteen.rpartition(",")[0]}).load(tmp_path)


def test_wrong_value_makes_no_right_key_unknown(tmp_path: Path) -> None:
    """A mapping's keys are names that a person gives, beside whatever is wrong elsewhere."""
    declared = minimal()
    production = declared.stacks["shop"][0]["environments"]["production"]
    production["variables"] = [{"name": "X-Y", "value": "1", "vlaue": "2"}]
    findings = declared.refused(tmp_path)
    paths = {finding.path.removeprefix("environments.production.") for finding in findings}
    assert paths == {"variables[0].name"}
    declared.stacks["shop"][0]["environments"]["production"]["services"]["web"]["trafik"] = {}
    refusals = declared.refused(tmp_path)
    assert "environments.production.services.web" not in {finding.path for finding in refusals}


@pytest.mark.parametrize(
    "name", ["COMPOSE_PROFILES", "COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "DOCKER_CONTEXT"]
)
def test_variable_that_steers_compose_is_refused(tmp_path: Path, name: str) -> None:
    declared = minimal()
    production = declared.stacks["shop"][0]["environments"]["production"]
    production["variables"] = [{"name": name, "value": "x"}]
    findings = declared.refused(tmp_path)
    path = "environments.production.variables[0]"
    assert "steers Compose" in problem(findings, "stacks/shop/phoenix.json", path).message


def test_variable_of_a_similar_name_is_taken(tmp_path: Path) -> None:
    declared = minimal()
    production = declared.stacks["shop"][0]["environments"]["production"]
    production["variables"] = [{"name": "DOCKER_IMAGE", "value": "x"}]
    declared.load(tmp_path)
