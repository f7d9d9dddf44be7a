"""`phoenix explain`: the way of a name as it is deployed, and the very line that declares it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phoenix.cli import exits
from phoenix.cli.reports.explain import Answer
from phoenix.declaration.load import load_site
from phoenix.derived.find import names, normalised
from phoenix.explain.explanation import explain
from phoenix.explain.model import Explanation, UnknownName
from phoenix.site.model import Site
from tests.unit.project_copy import ROOT, changed, phoenix
from tests.unit.project_copy import project as project
from tests.unit.site_builder import LXC, VM, lxc, minimal

ZONE = "internal.thinkheads.ai"
INVENTORY = "inventories/phoenix.py"


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(ROOT / "inventories")


def explained(site: Site, name: str) -> Explanation:
    result = explain(site, name)
    assert isinstance(result, Explanation), result
    return result


def answer(project: Path, name: str, code: int = 0) -> Answer:
    result = phoenix("explain", name, "--json", "-i", project / INVENTORY)
    assert result.exit_code == code, result.output
    return Answer.model_validate(json.loads(result.stdout), extra="forbid")


def test_routed_service_goes_through_gateway_and_proxy_to_its_container(site: Site) -> None:
    explanation = explained(site, "qdrant")
    assert [(r.name, r.address) for r in explanation.records] == [(f"qdrant.{ZONE}", "10.0.0.153")]
    assert explanation.gateway is not None
    assert (explanation.gateway.address, explanation.gateway.proxy_address) == (
        "10.0.0.153",
        "10.0.0.12",
    )
    assert explanation.gateway.proxy_verified == f"traefik-internal.host.{ZONE}"
    assert explanation.router is not None
    assert (explanation.router.rule, explanation.router.target) == (
        f"Host(`qdrant.{ZONE}`)",
        "qdrant",
    )
    assert explanation.backend is not None
    assert explanation.backend.url == "https://10.0.0.102:6333"
    assert explanation.backend.verified == f"qdrant.stack.{ZONE}"
    assert explanation.backend.stack == "qdrant_service-production"
    assert [c.host for c in explanation.certificates] == [
        "nginx-phoenix",
        "traefik-internal",
        "drphoenix",
    ]
    assert ("traefik-internal", "drphoenix", "tcp 6333") in [
        (f.source, f.destination, f.what) for f in explanation.flows
    ]
    assert "tls on traefik-internal: Traefik to qdrant on drphoenix" in explanation.checks
    assert not any("app." in check or "portainer" in check for check in explanation.checks), (
        explanation.checks
    )


@pytest.mark.parametrize(
    "name",
    ["qdrant", f"qdrant.{ZONE}", f"QDRANT.{ZONE}.", f"https://qdrant.{ZONE}/healthz",
     f"qdrant.{ZONE}:443"],
)  # fmt: skip
def test_a_name_is_one_however_it_is_written(site: Site, name: str) -> None:
    assert explained(site, name) == explained(site, "qdrant")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("1002", "host drphoenix 1002"),
        ("drphoenix.host", "host drphoenix 1002"),
        (f"step-ca.host.{ZONE}", "host step-ca 103"),
        ("phoenix", "host phoenix"),
        ("900", "template copy-base 900"),
        ("stack:qdrant_service", "stack qdrant_service-production"),
        ("thinkheads_ai_app-production", "stack thinkheads_ai_app-production"),
        ("ca", "service ca"),
        ("traefik", "service traefik"),
        ("portainer", "service portainer"),
    ],
)
def test_every_kind_of_name(site: Site, name: str, title: str) -> None:
    assert explained(site, name).title == title


def test_every_name_that_is_offered_is_explained(site: Site) -> None:
    unexplained = [name for name in names(site) if isinstance(explain(site, name), UnknownName)]
    assert unexplained == []


def test_unrouted_services_have_no_gateway_and_their_own_trust(site: Site) -> None:
    ca, agent = explained(site, "ca"), explained(site, "portainer-agent")
    for explanation in (ca, agent):
        assert (explanation.gateway, explanation.router) == (None, None)
    assert ca.backend is not None
    assert agent.backend is not None
    assert (ca.backend.transport, ca.backend.verified) == ("verified", f"ca.{ZONE}")
    assert (agent.backend.transport, agent.backend.verified) == ("mutual", f"drphoenix.host.{ZONE}")
    pairs = [
        certificate.place
        for certificate in agent.certificates
        if f"drphoenix.host.{ZONE}" in certificate.names
    ]
    assert pairs == ["/etc/phoenix/tls/host/"], "what the tunnel shows is the guest's own pair"
    assert "tls on portainer: Portainer to the agent on drphoenix" in agent.checks


def test_service_in_plain_text_says_so(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["lxc_configs"]["150"] = lxc(
        "wiki", None, 90, traefik_service={"name": "wiki", "port": 80, "scheme": "http"}
    )
    backend = explained(declared.load(tmp_path), "wiki").backend
    assert backend is not None
    assert (backend.transport, backend.verified) == ("plain", "")


def test_extra_names_are_explained_by_who_declares_them(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"][1]["dns_records"] = [{"hostname": "printer", "ip": "10.0.0.77"}]
    explanation = explained(declared.load(tmp_path), "printer")
    assert (explanation.kind, explanation.records[0].address) == ("record", "10.0.0.77")
    assert explanation.declared[0].path == "vms[1].dns_records[0]"


@pytest.mark.parametrize(
    ("name", "file", "path", "begins"),
    [
        ("portainer", VM, "vms[1].traefik_service", '"traefik_service": { "name": "portainer"'),
        ("qdrant", "stacks/qdrant_service/phoenix.json",
         "environments.production.services.qdrant.traefik_service", '"traefik_service": {'),
        ("ca", LXC, "lxc_configs.103.role", '"role": "step_ca"'),
        ("traefik", LXC, "lxc_configs.102.role", '"role": "traefik"'),
        ("portainer-agent", VM, "vms[2].portainer_role", '"portainer_role": "agent"'),
        ("1002", VM, "vms[2].name", '"name": "drphoenix"'),
        ("phoenix", LXC, "site.hypervisor.name", '"name": "phoenix"'),
        ("qdrant_service", VM, "vms[2].docker_stacks[0]", '{ "name": "qdrant_service"'),
    ],
)  # fmt: skip
def test_the_line_that_declares_it(
    project: Path, name: str, file: str, path: str, begins: str
) -> None:
    line = answer(project, name).line
    assert line is not None
    assert (line.file, line.path) == (file, path)
    assert line.text.startswith(begins), line
    folder = project if file.startswith("stacks/") else project / "inventories"
    stands = (folder / file).read_text().splitlines()[line.line - 1].strip()
    assert stands.rstrip(",") == line.text[: len(stands.rstrip(","))], (stands, line)


def test_line_follows_the_file(project: Path) -> None:
    before = answer(project, "1002").line
    file = project / "inventories" / VM
    file.write_text("\n\n" + file.read_text())
    after = answer(project, "1002").line
    assert before is not None
    assert after is not None
    assert (after.line, after.text) == (before.line + 2, before.text)


def test_typo_is_an_unknown_name_and_tells_what_happens(project: Path) -> None:
    result = phoenix("explain", f"qdarnt.{ZONE}", "-i", project / INVENTORY)
    assert result.exit_code == 1
    assert "NXDOMAIN" in result.stdout
    assert "refuses the TLS handshake" in result.stdout
    assert "Did you mean 'qdrant'?" in result.stdout
    unknown = answer(project, "example.org", code=1).unknown
    assert unknown is not None
    assert "outside internal.thinkheads.ai" in unknown.happens[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10.0.0.11", "10.0.0.11"), ("https://[::1]/", "[::1]"), ("99999", "99999"),
        ("guest:nginx", "guest:nginx"), ("shop_two", "shop_two"), ("https://", ""),
        ("/", ""),
    ],
)  # fmt: skip
def test_what_is_no_name_of_dns_is_not_said_to_be_asked_for(
    project: Path, name: str, expected: str
) -> None:
    unknown = answer(project, name, code=1).unknown
    assert unknown is not None
    assert (unknown.name, unknown.happens) == (expected, ())
    words = f"the name {expected}" if expected else "an empty name"
    assert (
        f"nothing here has {words}\n" in phoenix("explain", name, "-i", project / INVENTORY).stdout
    )


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_wrong_usage(project: Path, name: str) -> None:
    result = phoenix("explain", "-i", project / INVENTORY, name)
    assert result.exit_code == exits.USAGE
    assert "Invalid value for NAME: it is empty" in result.output


def test_a_name_of_the_agent_is_the_line_that_declares_it(project: Path) -> None:
    def name_it(data: Any) -> None:
        data["vms"][2]["portainer_agent_hostname"] = "agent-two.internal.thinkheads.ai"

    changed(project / "inventories" / VM, name_it)
    line = answer(project, "agent-two").line
    assert line is not None
    assert line.path == "vms[2].portainer_agent_hostname"


@pytest.mark.parametrize("name", ["[red]x[/red]", "a" * 300, "::", "..", "x\x1b[31m", "ä"])
def test_nasty_names_are_unknown_and_shown_as_they_are(project: Path, name: str) -> None:
    result = phoenix("explain", "--json", "-i", project / INVENTORY, "--", name)
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["unknown"]["name"] == normalised(name)
    text = phoenix("explain", "-i", project / INVENTORY, "--", name).stdout
    assert "nothing here has the name" in text or not normalised(name)
    assert "\x1b" not in text
    assert not name.startswith("[red]") or "[red]x[" in text


def test_faulty_declaration_is_an_error_with_its_findings(project: Path) -> None:
    def spoil(data: Any) -> None:
        data["vms"][2]["network_config"]["ip"] = "10.0.0.111/24"

    changed(project / "inventories" / VM, spoil)
    result = phoenix("explain", "qdrant", "-i", project / INVENTORY)
    assert result.exit_code == 1
    assert "vms[2].network_config.ip" in str(result.exception)
    assert "phoenix validate" in str(result.exception)


def test_words_for_a_person(project: Path) -> None:
    text = phoenix("explain", "qdrant", "-i", project / INVENTORY).stdout
    for part in ("DNS", "gateway", "router", "backend", "certificates", "flows", "declared"):
        assert f"─ {part}\n" in text, text
    assert max(map(len, text.splitlines())) <= 100


def test_the_name_that_is_explained_is_the_first_of_its_certificate(project: Path) -> None:
    """The gateway's certificate has every routed name, and only the first ones are shown."""
    for name in ("app", "traefik"):
        text = phoenix("explain", name, "-i", project / INVENTORY).stdout
        assert f"nginx-phoenix: {name}.{ZONE}, " in text
