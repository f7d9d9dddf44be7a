"""What two scanners of others say of every host: sslyze of TLS, ssh-audit of SSH."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from lab import bootstrap
from lab.settings import ROOT
from phoenix.components.nginx.nginx_conf import CLIENT_CERTIFICATE
from phoenix.derived import control_plane
from tests.integration.site_lab import ROOT_FILE, SiteLab

PINS = Path(__file__).with_name("scanners.txt")
EXPLAINED = ROOT / "docs/security.md"


@pytest.fixture(scope="session")
def scanners() -> Path:
    """Where the scanners are installed, made once for their pins."""
    place = ROOT / ".lab" / f"scanners-{bootstrap.stamp([PINS])[:16]}"
    done = place / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        python = str(place / "bin/python")
        pip = [python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(PINS)]
        subprocess.run(pip, check=True)
        done.touch()
    return place / "bin"


@pytest.fixture
def proof(site: SiteLab, tmp_path: Path) -> Iterator[Path]:
    """The certificate and key that the gateway shows Traefik."""
    pem = tmp_path / "gateway.pem"
    pem.touch(mode=0o600)
    pem.write_text(site.sh("gateway", f"cat {CLIENT_CERTIFICATE}", ok=True).out)
    yield pem
    pem.unlink()


def in_network_of(site: SiteLab, host: str, command: list[str | Path]) -> str:
    """Run a program of this machine in the network of a host of the lab; its output."""
    container = site.docker.containers.get(site.state.container(site.roles.get(host, host)))
    words = ["nsenter", "-t", str(container.attrs["State"]["Pid"]), "-n", *command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout, done
    return done.stdout


def scan_tls(
    site: SiteLab, scanners: Path, where: tuple[str, IPv4Address, int, str], *options: str
) -> tuple[dict[str, Any], list[str]]:
    """sslyze of one server, asked from a host that it answers: (host, IP, port, name).

    Its result, and how the server departs from Mozilla's intermediate profile.
    """
    host, address, port, name = where
    root = site.project.path / "scan-root.pem"
    root.write_text(site.sh("client", f"cat {ROOT_FILE}", ok=True).out)
    report = site.project.path / "scan.json"
    output = in_network_of(site, host, [
        scanners / "sslyze", "--mozilla_config=intermediate", f"--certinfo_ca_file={root}",
        f"--json_out={report}", f"--sni={name}", *options, f"{address}:{port}",
    ])  # fmt: skip
    verdict = re.search(
        r": (OK|FAILED) - (?:Not c|C)ompliant\.[^\n]*\n((?: +\* [^\n]*\n)*)", output
    )
    assert verdict, output
    (server,) = json.loads(report.read_text())["server_scan_results"]
    departures = re.findall(r"\* (.*)", verdict[2])
    assert (verdict[1] == "OK") == (not departures), output
    return server["scan_result"], departures


def is_sound(result: dict[str, Any], endpoint: str) -> None:
    """Nothing that sslyze calls a weakness, besides the profile that it has compared."""

    def result_of(scan: str) -> Any:
        assert result[scan]["status"] == "COMPLETED", (endpoint, scan, result[scan])
        return result[scan]["result"]

    for old in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert result_of(f"{old}_cipher_suites")["accepted_cipher_suites"] == [], (endpoint, old)
    assert result_of("tls_1_3_cipher_suites")["accepted_cipher_suites"], endpoint
    assert not result_of("heartbleed")["is_vulnerable_to_heartbleed"], endpoint
    assert not result_of("openssl_ccs_injection")["is_vulnerable_to_ccs_injection"], endpoint
    assert result_of("robot")["robot_result"].startswith("NOT_VULNERABLE"), endpoint
    assert not result_of("tls_compression")["supports_compression"], endpoint
    renegotiation = result_of("session_renegotiation")
    assert not renegotiation["is_vulnerable_to_client_renegotiation_dos"], endpoint
    for deployment in result_of("certificate_info")["certificate_deployments"]:
        assert deployment["received_chain_has_valid_order"], endpoint
        assert any(validation["was_validation_successful"]
                   for validation in deployment["path_validation_results"]), endpoint  # fmt: skip


def test_tls_of_gateway_and_traefik_is_of_mozilla_s_profile(
    site: SiteLab, scanners: Path, proof: Path
) -> None:
    gateway, traefik = site.site.gateway, site.site.traefik
    assert gateway
    assert traefik
    shown = (f"--cert={proof}", f"--key={proof}")
    for server, options in (
        (("client", gateway.address, 443, site.backends[0].fqdn), ()),
        (("gateway", traefik.address, 443, traefik.fqdn), shown),
    ):
        result, departures = scan_tls(site, scanners, server, *options)
        is_sound(result, server[3])
        assert departures == [], server


def test_tls_of_the_ca_departs_by_one_curve_alone(site: SiteLab, scanners: Path) -> None:
    ca = control_plane.ca(site.site)
    server = ("hypervisor", ca.owner.address, ca.port, f"ca.{site.site.domain}")
    result, departures = scan_tls(site, scanners, server)
    is_sound(result, "the CA")
    assert len(departures) <= 1, departures
    for departure in departures:
        assert "TLS curves {'secp521r1'} are supported" in departure, departures


def test_ssh_of_every_host_has_no_finding_that_is_not_explained(
    site: SiteLab, scanners: Path
) -> None:
    explained = set(re.findall(r"^\| `([\w@.-]+)` \|", EXPLAINED.read_text(), re.M))
    for host in site.state.hosts:
        output = in_network_of(site, "client", [scanners / "ssh-audit", "-j", site.address(host)])
        audit = json.loads(output)
        kinds = {kind: audit[kind] for kind in ("kex", "key", "enc", "mac")}
        assert all(kinds.values()), (host, audit)
        weaknesses = {
            algorithm["algorithm"]: algorithm["notes"]
            for algorithms in kinds.values()
            for algorithm in algorithms
            if algorithm["notes"].get("fail") or algorithm["notes"].get("warn")
        }
        assert not weaknesses.keys() - explained, (host, weaknesses)
        assert audit["cves"] == [], (host, audit["cves"])
