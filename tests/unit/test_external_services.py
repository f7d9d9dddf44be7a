"""Services that Phoenix does not manage: proven, routed, checked and told as the others are."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from facts.external import PinnedLeaves
from phoenix.components.traefik import traefik_yml as traefik
from phoenix.components.x509 import fingerprint, load_chain
from phoenix.derived import firewall
from phoenix.derived.certificates import certificates
from phoenix.derived.dns import records
from phoenix.derived.routes import gateway_names
from phoenix.explain.explanation import explain
from phoenix.explain.model import Explanation
from phoenix.health.checks import checks
from phoenix.health.paths import paths
from phoenix.site.model import Site
from tests.unit.site_builder import LXC, Declaration, minimal, problem
from tests.unit.test_check_script import fault

ZONE = "internal.thinkheads.ai"
NAS: dict[str, Any] = {"name": "nas", "address": "192.168.1.20", "port": 5001}


def far(**keys: Any) -> Declaration:
    result = minimal()
    entry = {**NAS, **keys}
    result.lxc["external_services"] = [{k: v for k, v in entry.items() if v is not None}]
    return result


def http(site: Site, leaves: dict[str, str] | None = None) -> Any:
    return yaml.safe_load(traefik.dynamic_config(site, "", leaves or {})[0])["http"]


@pytest.fixture(scope="module")
def leaf(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The certificate of somebody else's server, as PEM."""
    folder = tmp_path_factory.mktemp("leaf")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes",
         "-keyout", "key.pem", "-out", "cert.pem", "-days", "9", "-subj", "/CN=box",
         "-addext", "subjectAltName=DNS:box.lan,IP:192.168.1.20"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return (folder / "cert.pem").read_text()


def test_it_is_routed_by_the_gateway_and_traefik(tmp_path: Path) -> None:
    site = far(aliases=["files"]).load(tmp_path)
    assert site.warnings == ()
    assert {f"nas.{ZONE}", f"files.{ZONE}"} <= set(gateway_names(site))
    addresses = {record.name: str(record.address) for record in records(site)}
    assert addresses[f"nas.{ZONE}"] == str(site.host("gateway").address)
    service = http(site)
    assert service["services"]["nas"]["loadBalancer"]["servers"] == [
        {"url": "https://192.168.1.20:5001"}
    ]
    assert service["serversTransports"]["nas"]["serverName"] == "192.168.1.20"
    assert "rootCAs" not in service["serversTransports"]["nas"], "those that its guest trusts"
    assert certificates(site)[0].sans == gateway_names(site)
    assert [c.sans for c in certificates(site)[1:]] == [
        c.sans for c in certificates(minimal().load(tmp_path / "b"))[1:]
    ]


def test_its_way_out_is_opened_and_checked_where_it_is_made(tmp_path: Path) -> None:
    site = far().load(tmp_path)
    (flow,) = [candidate for candidate in firewall.flows(site) if candidate.port == 5001]
    assert (flow.source, str(firewall.network_of(flow.destination))) == (
        site.traefik, "192.168.1.20/32",
    )  # fmt: skip
    own = [c for c in checks(site) if c.service == "nas"]
    assert {(c.host, c.function) for c in own if "192.168.1.20" in c.command} == {
        ("proxy", "port_answers"), ("proxy", "external_proves"),
    }  # fmt: skip
    assert set(checks(site)) == {check for path in paths(site) for check in path.checks}
    explanation = explain(site, "nas")
    assert isinstance(explanation, Explanation)
    assert explanation.backend is not None
    assert (explanation.backend.host, explanation.backend.url) == (
        "192.168.1.20",
        "https://192.168.1.20:5001",
    )
    assert "not managed by Phoenix" in explanation.facts


def test_a_name_may_lead_anywhere_so_the_port_is_open_to_all(tmp_path: Path) -> None:
    site = far(address="nas.example.com").load(tmp_path)
    (flow,) = [candidate for candidate in firewall.flows(site) if candidate.port == 5001]
    assert flow.destination == "any"


def test_a_ca_of_the_folder_proves_it(tmp_path: Path, leaf: str) -> None:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "nas.pem").write_text(f"The CA of our NAS\n{leaf}")
    site = far(ca_file="nas.pem", server_name="box.lan").load(tmp_path)
    transport = http(site)["serversTransports"]["nas"]
    assert (transport["rootCAs"], transport["serverName"]) == ([leaf], "box.lan")
    assert traefik.proofs(site, {}) == {"/etc/traefik/external/nas.pem": leaf}
    assert traefik.pinned(site) == ()
    (proof,) = [c.command for c in checks(site) if c.function == "external_proves"]
    assert proof[3:] == ("box.lan", "ca", "/etc/traefik/external/nas.pem")


@pytest.mark.parametrize("colons", [False, True])
def test_a_fingerprint_is_the_one_certificate_that_is_trusted(
    tmp_path: Path, leaf: str, colons: bool
) -> None:
    digest = fingerprint(load_chain(leaf)[0])
    written = ":".join(digest[i : i + 2] for i in range(0, 64, 2)).upper() if colons else digest
    site = far(fingerprint=written).load(tmp_path)
    assert [service.name for service in traefik.pinned(site)] == ["nas"]
    transport = http(site, {digest: leaf})["serversTransports"]["nas"]
    assert (transport["rootCAs"], transport["serverName"]) == ([leaf], "192.168.1.20")
    service = http(site, {digest: leaf})["services"]["nas"]
    assert service["loadBalancer"]["servers"] == [{"url": "https://192.168.1.20:5001"}]
    assert traefik.proofs(site, {digest: leaf}) == {"/etc/traefik/external/nas.pem": leaf}
    renamed = far(fingerprint=digest, address="192.168.1.21").load(tmp_path / "b")
    assert http(renamed, {digest: leaf})["serversTransports"]["nas"]["serverName"] == "box.lan"


def test_another_certificate_is_asked_nothing(tmp_path: Path, leaf: str) -> None:
    """Also not with the CAs that Traefik's guest trusts: there is no server at all."""
    site = far(fingerprint="ab" * 32).load(tmp_path)
    service = http(site, {fingerprint(load_chain(leaf)[0]): leaf})
    assert service["services"]["nas"]["loadBalancer"]["servers"] == []
    assert traefik.proofs(site, {}) == {}


def test_the_fact_gives_certificates_by_their_fingerprint(leaf: str) -> None:
    digest = fingerprint(load_chain(leaf)[0])
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    assert PinnedLeaves().parse([*broken.split("\n"), *leaf.strip().split("\n"), "noise"]) == {
        digest: leaf
    }


def test_plain_text_is_told_as_such(tmp_path: Path) -> None:
    site = far(scheme="http").load(tmp_path)
    (warning,) = site.warnings
    assert warning.message == "'nas' crosses from Traefik to 192.168.1.20 in plain text"
    assert "external_proves" not in {check.function for check in checks(site)}
    assert http(site)["serversTransports"]["nas"].keys().isdisjoint({"serverName", "rootCAs"})


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"fingerprint": "ab"}, "fingerprint", "is not a SHA-256 fingerprint"),
        ({"fingerprint": "ab" * 32, "ca_file": "a.pem"}, "fingerprint", "two proofs"),
        ({"fingerprint": "ab" * 32, "scheme": "http"}, "fingerprint", "has no certificate"),
        ({"server_name": "a.b", "scheme": "http"}, "server_name", "has no certificate"),
        ({"ca_file": "absent.pem"}, "ca_file", "no readable PEM file 'absent.pem'"),
        ({"ca_file": "../a.pem"}, "ca_file", "is not a file below the site's folder"),
        ({"ca_file": "text.pem"}, "ca_file", "has no certificate that can be read"),
        ({"ca_file": "key.pem"}, "ca_file", "has a private key"),
        ({"address": "nas." + ZONE}, "address", "leads to the gateway"),
        ({"address": "http://a"}, "address", "not an IPv4 address or host name"),
        ({"name": "portainer"}, "", "duplicate service name 'portainer'"),
        ({"name": "ca"}, "name", "is reserved"),
        ({"port": None}, "port", "required"),
        ({"exposure": "direct"}, "exposure", "does not carry this key out"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, keys: dict[str, Any], path: str, message: str
) -> None:
    (tmp_path / "text.pem").write_text(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    )
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n")
    place = f"external_services[0].{path}".rstrip(".")
    assert message in problem(far(**keys).refused(tmp_path), LXC, place).message


def test_a_site_without_traefik_says_so(tmp_path: Path) -> None:
    declaration = far()
    declaration.lxc["lxc_configs"].pop("102")
    declaration.vm["vms"][0]["dependencies"] = []
    findings = declaration.refused(tmp_path)
    assert any("no guest has role 'traefik'" in finding.message for finding in findings), findings


def test_the_check_tells_right_from_wrong(tmp_path: Path, leaf: str) -> None:
    """With an openssl that says what a server with this certificate makes it say."""
    (tmp_path / "leaf.pem").write_text(leaf)
    program = tmp_path / "openssl"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = s_client ] || exec /usr/bin/openssl "$@"\ncat {tmp_path}/leaf.pem\n'
        "echo 'Verify return code: 18 (self-signed certificate)'\n"
    )
    program.chmod(0o755)
    digest = fingerprint(load_chain(leaf)[0])
    copy = str(tmp_path / "leaf.pem")
    end = ("external_proves", "192.168.1.20", "5001", "192.168.1.20")
    assert fault(tmp_path, *end, digest, copy) == ""
    assert "phoenix sync traefik" in fault(tmp_path, *end, digest, str(tmp_path / "absent"))
    assert f"its SHA-256 is {digest}" in fault(tmp_path, *end, "ab" * 32, copy)
    assert "self-signed certificate" in fault(tmp_path, *end, "ca", copy)
    assert "self-signed certificate" in fault(tmp_path, *end, "public", copy)
    (tmp_path / "leaf.pem").write_text("")
    assert fault(tmp_path, *end, digest, copy) == "192.168.1.20 port 5001 gives no TLS session"
