"""A stack names secrets of its own; another's only where the owner shares it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.site_builder import Declaration, minimal, problem, stack

SHOP, BILLING = "stacks/shop/phoenix.json", "stacks/billing/phoenix.json"
VARIABLE = "environments.production.variables[0].secret"
FILE = "environments.production.files[0].secret"


def declared(
    shop: str | None, billing: str | None = None, shared: dict[str, Any] | None = None
) -> Declaration:
    """Two stacks that name these secrets in a variable; `shared` by stack."""
    declaration = minimal()
    declaration.stacks["billing"] = stack("billing", 8001)
    declaration.vm["vms"][1]["docker_stacks"].append("billing")
    for name, secret in (("shop", shop), ("billing", billing)):
        manifest, compose = declaration.stacks[name]
        if secret is not None:
            variables = [{"name": "X", "secret": secret}]
            manifest["environments"]["production"]["variables"] = variables
            compose["services"]["web"]["environment"] = {"X": "${X}"}
        if shared and name in shared:
            manifest["shared_secrets"] = shared[name]
    return declaration


@pytest.mark.parametrize(
    "name",
    ["PORTAINER_ADMIN_PASSWORD", "portainer_agent_secret", "TRAEFIK_DASHBOARD_PASSWORD",
     "PROXMOX_API_TOKEN", "STEP_CA_PASSWORD", "BACKUP_PASSPHRASE", "STEP_CA_PASSWORD_NEW"],
)  # fmt: skip
def test_secrets_of_the_platform_are_refused(tmp_path: Path, name: str) -> None:
    finding = problem(declared(name).refused(tmp_path), SHOP, VARIABLE)
    assert f"secret {name.upper()} is the platform's" in finding.message
    assert finding.fix == f"name a secret of the stack's own, as SHOP_{name.upper()}"


def test_as_the_content_of_a_file_too(tmp_path: Path) -> None:
    declaration = minimal()
    entry = {"secret": "PROXMOX_API_TOKEN", "destination_in_container": "/t"}
    declaration.stacks["shop"][0]["environments"]["production"]["files"] = [entry]
    assert "the platform's" in problem(declaration.refused(tmp_path), SHOP, FILE).message


def test_secret_of_another_stack_is_refused_though_it_names_it_alone(tmp_path: Path) -> None:
    finding = problem(declared("BILLING_TOKEN").refused(tmp_path), SHOP, VARIABLE)
    assert finding.message == (
        "secret BILLING_TOKEN is that of stack billing, not shared with shop"
    )
    assert '"shared_secrets": {"BILLING_TOKEN": ["shop"]} in stacks/billing/' in finding.fix


def test_secret_that_two_stacks_name_is_refused_at_both(tmp_path: Path) -> None:
    findings = declared("DB_PASS", "db_pass").refused(tmp_path)
    for file in (SHOP, BILLING):
        assert "secret DB_PASS is that of stack" in problem(findings, file, VARIABLE).message
    assert "SHOP_DB_PASS" in problem(findings, SHOP, VARIABLE).fix


@pytest.mark.parametrize(
    "shared",
    [
        {"shop": {"BILLING_TOKEN": ["shop", "billing"]}},  # not the owner's word
        {"billing": {"BILLING_TOKEN": ["other"]}},
        {"billing": {"OTHER": ["shop"]}},
    ],
)
def test_none_but_the_owner_shares(tmp_path: Path, shared: Any) -> None:
    findings = declared("BILLING_TOKEN", "BILLING_TOKEN", shared).refused(tmp_path)
    assert [finding.file for finding in findings] == [SHOP]


def test_what_the_owner_shares_loads(tmp_path: Path) -> None:
    shared = {"billing": {"billing_token": ["shop"]}}
    site = declared("BILLING_TOKEN", "BILLING_TOKEN", shared).load(tmp_path)
    assert site.warnings == ()


def test_without_an_owner_by_name_each_must_share(tmp_path: Path) -> None:
    shop_shares: dict[str, dict[str, list[str]]] = {"shop": {"DB_PASS": ["billing"]}}
    assert len(declared("DB_PASS", "DB_PASS", shop_shares).refused(tmp_path / "a")) == 2
    both = shop_shares | {"billing": {"DB_PASS": ["shop"]}}
    declared("DB_PASS", "DB_PASS", both).load(tmp_path / "b")


def test_new_value_of_anothers_secret_is_the_others(tmp_path: Path) -> None:
    findings = declared("DB_PASS_NEW", "DB_PASS").refused(tmp_path)
    assert "that of stack billing" in problem(findings, SHOP, VARIABLE).message


def test_names_that_stacks_have_now_stay_as_they_are(tmp_path: Path) -> None:
    site = declared("DATABASE_PASS", "BILLING_DATABASE_PASS").load(tmp_path)
    stacks = [deployment for guest in site.guests for deployment in guest.docker_stacks]
    assert {v.secret for deployment in stacks for v in deployment.variables} == {
        "DATABASE_PASS", "BILLING_DATABASE_PASS",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["A-B", "1A", "", "A/../B"])
def test_no_name_of_a_secret_is_refused_offline(tmp_path: Path, name: str) -> None:
    finding = problem(declared(name).refused(tmp_path), SHOP, VARIABLE)
    assert "is not a secret's name" in finding.message


def test_longest_stack_name_owns(tmp_path: Path) -> None:
    declaration = declared("SHOP_API_TOKEN")
    declaration.stacks["shop-api"] = stack("api", 8002)
    assert (
        "that of stack shop-api" in problem(declaration.refused(tmp_path), SHOP, VARIABLE).message
    )
