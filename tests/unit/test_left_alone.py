"""What a host keeps as it is: declared for the site and for a host, and followed everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from facts.resolver import Resolved
from operations.resolver import fault
from phoenix.cli.reports.plan import Plan, print_plan
from phoenix.components import trust
from phoenix.explain.explanation import explain
from phoenix.health.advice import likely_fix
from phoenix.health.checks import checks
from phoenix.health.proof import _components
from tests.unit.site_builder import Declaration, minimal

LXC = "phoenix_lxc_configs.json"


def declared(site: list[str], **guests: list[str]) -> Declaration:
    data = minimal()
    data.lxc["site"] = {"leave_alone": site}
    for vmid, words in guests.items():
        data.lxc["lxc_configs"][vmid.removeprefix("_")]["leave_alone"] = words
    return data


def test_a_host_s_own_list_replaces_that_of_the_site(tmp_path: Path) -> None:
    data = declared(["time", "ssh", "time"], _101=["trust"], _102=[])
    data.lxc["site"]["hypervisor"] = {"leave_alone": ["guard"]}
    site = data.load(tmp_path)
    assert {host.name: host.left_alone for host in site.hosts} == {
        site.hypervisor.name: ("guard",),
        "authority": ("time", "ssh"),
        "gateway": ("trust",),
        "proxy": (),
        "control": ("time", "ssh"),
        "worker": ("time", "ssh"),
    }
    assert not site.hypervisor.guarded
    assert site.host("gateway").guarded


@pytest.mark.parametrize("invalid", [["resolvers"], "resolver", [1]])
def test_a_word_that_is_none_is_refused_with_the_place(tmp_path: Path, invalid: object) -> None:
    data = minimal()
    data.lxc["lxc_configs"]["101"]["leave_alone"] = invalid
    findings = data.refused(tmp_path)
    assert [(f.file, f.path.partition("[")[0]) for f in findings] == [
        (LXC, "lxc_configs.101.leave_alone")
    ]


def test_a_guest_with_a_resolver_of_its_own_gets_no_name_server_and_no_warning(
    tmp_path: Path,
) -> None:
    data = declared([], _101=["resolver"], _102=["resolver"])
    data.lxc["lxc_configs"]["102"]["network_config"]["nameserver"] = "10.0.0.2"
    site = data.load(tmp_path)
    assert site.host("gateway").nameservers == ()
    assert [str(nameserver) for nameserver in site.host("proxy").nameservers] == ["10.0.0.2"]
    assert not [warning for warning in site.warnings if "DNS" in warning.message]


def test_the_checks_of_names_are_not_the_base_s_where_the_resolver_is_left_alone(
    tmp_path: Path,
) -> None:
    site = declared([], _101=["resolver"]).load(tmp_path)
    own, other = (
        next(c for c in checks(site) if c.function == "names_resolve" and c.host == name)
        for name in ("gateway", "proxy")
    )
    assert _components(site, own) == frozenset()
    assert _components(site, other) == {"base"}
    fix = likely_fix(site, own)
    assert f"have it forward {site.domain} to {site.hypervisor.address}" in fix.advice
    assert "phoenix sync dns base" not in fix.commands
    assert "phoenix sync dns base" in likely_fix(site, other).commands


def test_roots_beside_the_store_that_is_left_alone(tmp_path: Path) -> None:
    site = declared([], _101=["trust"]).load(tmp_path)
    assert trust.directory(site, "gateway") == trust.OWN
    assert trust.directory(site, "proxy") == trust.directory(site, "gone") == trust.STORE
    tree = trust.tree(("A\n", "B\n"), trust.OWN)
    assert set(tree.files) == {trust.ROOTS, *trust.stored(trust.OWN)}
    assert not [path for path in tree.files if path.startswith(trust.STORE)]
    assert "-CApath" not in tree.health, "the store does not have it"
    assert "docker" not in tree.after, "nothing that reads the store has to read it again"
    assert "if [ -L /etc/ssl/certs/phoenix-root-ca.pem ]; then" in tree.after


def test_a_plan_tells_what_is_left_alone(tmp_path: Path) -> None:
    plan = Plan(
        site="s", targets=["all"], changes=[], looked_at=["a", "b", "c"], first_cause=None,
        left_alone={"a": ["ssh", "time"], "b": ["ssh", "time"], "d": ["trust"]},
    )  # fmt: skip
    console = Console(record=True, width=100, force_terminal=False)
    print_plan(console, plan)
    text = console.export_text()
    assert "left alone: ssh, time on a, b\n" in text
    assert "trust" not in text, "it was not looked at"
    whole = plan.model_copy(update={"left_alone": {key: ["resolver"] for key in "abc"}})
    print_plan(console, whole)
    assert "left alone: resolver on every host\n" in console.export_text()


def test_explain_tells_what_a_host_keeps(tmp_path: Path) -> None:
    site = declared(["ssh", "time"], _101=[]).load(tmp_path)
    proxy, gateway = (str(explain(site, f"guest:{name}")) for name in ("proxy", "gateway"))
    assert "'left alone: ssh, time'" in proxy
    assert "left alone" not in gateway


@pytest.mark.parametrize(
    ("resolved", "words"),
    [
        (Resolved(("10.0.0.2",), ()), "(10.0.0.2) is left alone, and knows no such name"),
        (Resolved((), ("10.9.9.9",)), "(no server in /etc/resolv.conf) is left alone, and says"),
        (Resolved(("127.0.0.53",), (";; timed out",)), "says ';; timed out' when asked for app.z"),
    ],
)
def test_a_resolver_that_does_not_answer_is_told_with_the_fix(
    resolved: Resolved, words: str
) -> None:
    text = fault(resolved, domain="z", server="10.0.0.13", known="app.z")
    assert words in text
    assert "forward z to 10.0.0.13" in text
