"""What an attacker meets at the front door, and what a service may do on its guest."""

from __future__ import annotations

import json
import re

import pytest

from phoenix.components.nginx.nginx_conf import CLIENT_CERTIFICATE
from tests.integration.portainer_lab import PortainerLab
from tests.integration.site_lab import ROOT_FILE, SiteLab, print_figure
from tests.integration.wire import listening

EXPOSURE = 3.0
"""Of `systemd-analyze security`: 0 can do nothing, 10 everything."""
UNITS = {
    "gateway": "nginx.service",
    "hypervisor": "phoenix-dns.service",
    "ca": "step-ca.service",
    "traefik": "traefik.service",
    "portainer": "phoenix-portainer.service",
    "drphoenix": "phoenix-portainer-agent.service",
}
ATTACKER = "traefik"
"""Whose address is slowed down: no other test comes from it."""
GUESSES = 12
"""At once: more than Portainer takes from one address in a second."""


@pytest.mark.parametrize(("host", "unit"), UNITS.items())
def test_a_service_may_do_little_beside_its_work(site: SiteLab, host: str, unit: str) -> None:
    output = site.sh(host, f"systemd-analyze security --no-pager {unit} | tail -n 1", ok=True).out
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", output)
    assert exposure, output
    assert float(exposure[1]) <= EXPOSURE, output


def test_the_name_server_does_not_tell_what_it_is(site: SiteLab) -> None:
    server = site.address("hypervisor")
    for name in ("version.bind", "authors.bind", "copyright.bind"):
        output = site.sh("client", f"dig +time=2 +tries=1 @{server} CH TXT {name}").out
        assert "dnsmasq" not in output.lower().partition("got answer")[2], output
        assert "ANSWER: 0" in output or "REFUSED" in output or "no servers" in output, output


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA"])
def test_old_cipher_suites_are_refused_on_every_hop(site: SiteLab, suite: str) -> None:
    traefik = next(host.fqdn for host in site.site.guests if host == site.site.traefik)
    site.put("gateway", ROOT_FILE, site.sh("client", f"cat {ROOT_FILE}", ok=True).out)
    proof = ("-cert", CLIENT_CERTIFICATE, "-key", CLIENT_CERTIFICATE)
    for role, name in (("gateway", site.backends[0].fqdn), ("traefik", traefik)):
        address = site.address(role)
        output = site.s_client(
            address, name, "-tls1_2", "-cipher", suite, *proof, host="gateway"
        ).text
        assert "handshake failure" in output, (role, output)
        modern = site.s_client(address, name, "-tls1_2", *proof, host="gateway").text
        assert re.search("New, TLSv1.2, Cipher is ECDHE.*(GCM|POLY1305)", modern), (role, modern)


def test_who_guesses_at_portainer_locks_nobody_out_but_himself(site: SiteLab) -> None:
    name = next(route.fqdn for route in site.backends if route.service.name == "portainer")
    url = f"https://{name}/api/auth"
    wrong_login = json.dumps({"username": "admin", "password": "wrong"})
    site.put(ATTACKER, "/root/wrong.json", wrong_login)
    guess = "curl -s -o /dev/null -w '%{http_code} ' "
    guess += f"-H 'Content-Type: application/json' -d @/root/wrong.json {url}"
    statuses = site.sh(ATTACKER, f"for i in $(seq {GUESSES}); do {guess} & done; wait").out.split()
    assert len(statuses) == GUESSES
    assert statuses.count("429") >= GUESSES - 4, statuses
    assert "403" not in statuses, "Portainer itself has locked the gateway's address out"
    # Another address is not slowed down, and the right password logs in.
    right = {"username": "admin", "password": site.secrets["portainer_admin_password"]}
    site.put("hypervisor", "/root/right.json", json.dumps(right), 0o600)
    try:
        answer = site.sh(
            "hypervisor",
            "curl -s -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' "
            f"-d @/root/right.json {url}",
        )
    finally:
        site.sh("hypervisor", "rm -f /root/right.json")
    assert answer.out == "200", answer


def test_guesses_at_the_dashboard_are_slowed_down(site: SiteLab) -> None:
    url = f"https://traefik.{site.site.domain}/dashboard/"
    many = 120
    guess = "curl -s -u admin:wrong -Z -w '%{http_code} ' -o /dev/null"
    statuses = site.sh(ATTACKER, f"{guess} '{url}?[1-{many}]'").out.split()
    assert len(statuses) == many, statuses
    assert set(statuses) == {"401", "429"}, statuses
    assert statuses.count("429") >= many // 4, statuses


def test_qdrant_answers_nobody_without_its_key(site: SiteLab) -> None:
    """Through the gateway as any client, and past it from where the firewall lets one through."""
    (route,) = [service for service in site.backends if service.service.name == "qdrant"]
    end = f"{route.service.owner.address}:{route.service.port}"
    past = ("--connect-to", f"::{end}")
    proven = f"https://{route.server_name}"
    site.put("traefik", ROOT_FILE, site.sh("client", f"cat {ROOT_FILE}", ok=True).out)
    for host, base, way in (
        ("client", f"https://{route.fqdn}", ()),
        ("traefik", proven, past),
    ):
        for method, path in (
            ("GET", "/collections"), ("PUT", "/collections/it"), ("DELETE", "/collections/it"),
        ):  # fmt: skip
            for header in ("api-key: wrong", "Authorization: Bearer wrong", "X-Nothing: 1"):
                answer = site.curl(f"{base}{path}", "-X", method, "-H", header, *way, host=host)
                assert answer.status in (401, 403), (host, method, header, answer)
        assert site.curl(f"{base}/healthz", *way, host=host).status == 200, host
    assert site.qdrant("/collections/it", "-X", "PUT", "-d", "{}").status == 200
    assert "it" in site.qdrant("/collections").body
    assert site.qdrant("/collections/it", "-X", "DELETE").status == 200


def bridge_of(site: SiteLab) -> str:
    """The interface of this machine that the lab's network is."""
    container = site.docker.containers.get(site.state.container(site.roles["gateway"]))
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return f"br-{network['NetworkID'][:12]}"


def test_who_reads_the_network_reads_no_request_and_no_secret(site: SiteLab) -> None:
    """A request through the whole chain, one to an agent's Docker, a renewal and a whole run."""
    lab, marker, plain = PortainerLab(site), "MarkerOfARequest7381", "marker-of-port-80"
    name = site.backends[0].fqdn
    with listening(bridge_of(site)) as wire:
        site.curl(f"http://{name}/{plain}")
        assert site.curl(f"https://{name}/?{marker}", "-H", f"X-Marker: {marker}").status
        lab.get(f"/endpoints/{lab.endpoint()['Id']}/docker/containers/json?all=1&{marker}=1")
        for command in (("certs", "renew", "traefik-internal"), ("status",)):
            done = site.project.phoenix(*command)
            assert done.returncode in (0, 2), done.stdout + done.stderr
    print_figure("payloads", len(wire.payloads))
    assert wire.holds(plain), "what is in the clear is seen"
    assert not wire.holds(marker)
    for secret, value in site.secrets.items():
        assert not wire.holds(value), secret
    allowed = (b"/.well-known/acme-challenge/", plain.encode())  # http-01 (RFC 8555, 8.3)
    clear = wire.in_the_clear()
    asked = {
        flow for flow, first_bytes in clear.items() if any(word in first_bytes for word in allowed)
    }
    answers = {(*flow[2:], *flow[:2]) for flow in asked}
    assert clear.keys() - asked - answers == set(), clear
