"""Traefik answers to the gateway alone, which proves itself by a certificate of its own."""

from __future__ import annotations

import pytest

from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.nginx.nginx_conf import CLIENT_CERTIFICATE
from phoenix.secrets.client_certificate import generate
from phoenix.site.secret_names import GATEWAY_CERTIFICATE
from tests.integration.load import load
from tests.integration.site_lab import Output, SiteLab

pytestmark = pytest.mark.timeout(420)
PAIR = f"{CERTIFICATES}/host"


def ask_traefik(site: SiteLab, host: str, *options: str) -> Output:
    """A request for a routed name straight to Traefik; the last line is the status, 000 if none."""
    name, address = site.backends[0].fqdn, site.address("traefik")
    words = f"curl -sk -o /dev/null -w '%{{http_code}}' --max-time 10 {' '.join(options)}"
    return site.sh(host, f"{words} --resolve {name}:443:{address} https://{name}/")


def test_nobody_gets_an_answer_without_the_gateway_s_certificate(site: SiteLab) -> None:
    owner = site.backends[0].service.owner.name
    for host in ("client", "hypervisor", "gateway", owner):
        assert ask_traefik(site, host).out == "000", host
    with site.unguarded("traefik"):
        for host in ("client", "hypervisor", "gateway", owner):
            assert ask_traefik(site, host).out == "000", host
        output = site.s_client(site.address("traefik"), site.backends[0].fqdn, "-ign_eof").text
    assert "certificate required" in output, output


def test_a_certificate_of_the_site_s_ca_is_no_proof(site: SiteLab) -> None:
    """Every guest has one; also from the gateway's own address it counts for nothing."""
    with site.unguarded("traefik"):
        for host, pair in ((site.backends[0].service.owner.name, PAIR),
                           ("gateway", f"{CERTIFICATES}/gateway")):  # fmt: skip
            options = ("--cert", f"{pair}/fullchain.pem", "--key", f"{pair}/privkey.pem")
            assert ask_traefik(site, host, *options).out == "000", host
    # The very request that is answered, from the very host, shows that it is the certificate.
    assert ask_traefik(site, "gateway", "--cert", CLIENT_CERTIFICATE).out in ("200", "404")


def test_stolen_certificate_is_refused_from_another_address(site: SiteLab) -> None:
    site.put("client", "/root/stolen.pem", site.secrets[GATEWAY_CERTIFICATE], 0o600)
    try:
        assert ask_traefik(site, "client", "--cert", "/root/stolen.pem").out == "000"
        with site.unguarded("traefik"):
            assert ask_traefik(site, "client", "--cert", "/root/stolen.pem").out == "403"
    finally:
        site.sh("client", "rm -f /root/stolen.pem")


def test_a_new_certificate_loses_no_request_and_ends_the_former(site: SiteLab) -> None:
    former = site.secrets[GATEWAY_CERTIFICATE]
    with load(site) as requests:
        run = site.project.run(
            "deploys/secrets_rotate.py", data={"secrets_rotate": GATEWAY_CERTIFICATE}
        )
        assert run.returncode == 0, run.explain()
    assert requests.failures() == {}
    assert sum(requests.answers().values()) > 20
    new = site.secrets[GATEWAY_CERTIFICATE]
    assert new != former
    assert "PRIVATE KEY" not in run.output
    assert site.sh("gateway", f"cat {CLIENT_CERTIFICATE}", ok=True).out == new
    site.put("gateway", "/root/former.pem", former, 0o600)
    try:
        assert ask_traefik(site, "gateway", "--cert", "/root/former.pem").out == "000"
    finally:
        site.sh("gateway", "rm -f /root/former.pem")
    again = site.project.run("deploys/all.py")
    assert again.returncode == 0, again.explain()
    assert again.other_changes == []


def test_traefik_asks_for_nothing_that_the_gateway_does_not_present(site: SiteLab) -> None:
    """Else every request would be refused: a certificate that only this machine knows."""
    name = f"PHOENIX_SECRET_{GATEWAY_CERTIFICATE.upper()}"
    run = site.project.run("deploys/admission.py", environment={name: generate()})
    assert run.returncode != 0
    assert "does not present the certificate" in run.output, run.explain()
    assert site.serves(site.backends[0]) == ""
