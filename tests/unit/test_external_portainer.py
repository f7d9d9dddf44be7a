"""A Portainer that is none of the guests: how it is declared, and what follows from it."""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from phoenix.derived import firewall
from phoenix.derived.components import AGENT, TUNNEL, trees_of
from phoenix.secrets import catalog
from phoenix.site.model import ExternalPortainer
from phoenix.site.secret_names import ADMIN_PASSWORD, AGENT_SECRET, API_KEY
from tests.unit.site_builder import LXC, Declaration, minimal, problem
from tests.unit.test_deployments import elsewhere

URL = "https://portainer.example.com:9443"


def declared(**portainer: Any) -> Declaration:
    result = minimal()
    elsewhere(result)
    if portainer:
        result.lxc["site"]["portainer"] = portainer
    return result


def test_its_address_is_where_it_comes_from(tmp_path: Path) -> None:
    site = declared().load(tmp_path)
    assert site.external_portainer == ExternalPortainer(
        url="https://192.0.2.10:9443", connects_from=(IPv4Network("192.0.2.10"),)
    )
    (flow,) = (flow for flow in firewall.flows(site) if flow.port == 9001)
    assert (flow.source, flow.destination) == (IPv4Network("192.0.2.10"), site.docker_hosts[0])


def test_an_agent_has_no_tunnel_and_no_secret_is_made(tmp_path: Path) -> None:
    site = declared().load(tmp_path)
    trees = trees_of(site, site.docker_hosts[0])
    assert AGENT in trees
    assert TUNNEL not in trees
    uses = {use.name: use for use in catalog.uses(site)}
    assert ADMIN_PASSWORD not in uses
    for name in (API_KEY, AGENT_SECRET):
        assert not uses[name].generated
        assert uses[name].by_hand
    of_its_own = {use.name: use for use in catalog.uses(minimal().load(tmp_path / "own"))}
    assert API_KEY not in of_its_own
    assert of_its_own[AGENT_SECRET].generated


def test_by_a_name_its_addresses_are_asked_for(tmp_path: Path) -> None:
    findings = declared(url=URL).refused(tmp_path)
    finding = problem(findings, LXC, "site.portainer.connects_from")
    assert "would let nobody in" in finding.message
    site = declared(url=URL, connects_from=["192.0.2.0/28"]).load(tmp_path)
    assert site.external_portainer is not None
    assert site.external_portainer.connects_from == (IPv4Network("192.0.2.0/28"),)


def test_there_is_one_portainer(tmp_path: Path) -> None:
    both = minimal()
    both.lxc["site"] = {"portainer": {"url": "https://192.0.2.10:9443"}}
    assert "there would be two" in problem(both.refused(tmp_path), LXC, "site.portainer").message


def test_who_it_is_is_proven_in_one_way(tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", tmp_path / "key", "-out", tmp_path / "ca.pem", "-subj", "/CN=CA"],
        check=True, capture_output=True,
    )  # fmt: skip
    words = {"url": "https://192.0.2.10:9443"}
    print_ = ":".join(["AB"] * 32)
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(tmp_path / "ca.pem", folder)
    site = declared(**words, ca_file="ca.pem").load(folder)
    assert site.external_portainer is not None
    assert site.external_portainer.ca.startswith("-----BEGIN CERTIFICATE-----")
    site = declared(**words, fingerprint=print_).load(folder)
    assert site.external_portainer is not None
    assert site.external_portainer.fingerprint == "ab" * 32
    both = declared(**words, ca_file="ca.pem", fingerprint=print_).refused(folder)
    assert "two proofs" in problem(both, LXC, "site.portainer.fingerprint").message
    absent = declared(**words, ca_file="no.pem").refused(folder)
    assert "no readable PEM file" in problem(absent, LXC, "site.portainer.ca_file").message


@pytest.mark.parametrize("url", ["http://192.0.2.10", "192.0.2.10:9443", "https://"])
def test_its_url_is_https(tmp_path: Path, url: str) -> None:
    problem(declared(url=url).refused(tmp_path), LXC, "site.portainer.url")
