"""Every certificate that is served, looked at with openssl; every key on every disk; the policy."""

from __future__ import annotations

import re

import pytest

from phoenix.components.trust import ROOTS
from phoenix.derived.certificates import certificates
from phoenix.derived.routes import gateway_names
from tests.integration.site_lab import SiteLab, print_figure

LEGO = (
    "d=$(mktemp -d); LEGO_CA_CERTIFICATES={root} timeout 60 lego --server {directory} --accept-tos"
    " --email it@{domain} --path $d --http --domains '{name}' run; code=$?; rm -rf $d; exit $code"
)


def endpoints(site: SiteLab) -> list[tuple[str, str, str, frozenset[str]]]:
    """(what, ADDRESS:PORT, server name, names that the certificate must hold)"""
    listed = []
    for certificate in certificates(site.site):
        ports = {
            service.port
            for service in site.site.services
            if service.owner == certificate.host and service.server_name in certificate.sans
        }
        if certificate.host in (site.site.gateway, site.site.traefik):
            ports = {443}
        names = frozenset(certificate.sans)
        for port in sorted(ports):
            address = f"{site.address(certificate.host.name)}:{port}"
            listed.append((f"{certificate.host.name}:{port}", address, certificate.sans[0], names))
    ca = f"ca.{site.site.domain}"
    host = f"{site.roles['ca']}.host.{site.site.domain}"
    listed.append(("CA", f"{site.address('ca')}:9000", ca, frozenset({ca, host, "localhost"})))
    return listed


def test_served_certificates_chain_to_the_root(site: SiteLab) -> None:
    served = endpoints(site)
    assert len(served) >= 5, served
    for endpoint, address, name, names in served:
        done = site.handshake(address, name, "-showcerts")
        assert done.code == 0, f"{endpoint} {name}:\n{done.text}"
        leaf = re.search(r"-----BEGIN CERT.*?-----END CERTIFICATE-----", done.out, re.DOTALL)
        assert leaf, done.text
        site.put("client", "/root/leaf.pem", leaf[0])
        text = site.sh(
            "client", "openssl x509 -in /root/leaf.pem -noout -ext subjectAltName,extendedKeyUsage",
            ok=True,
        ).out  # fmt: skip
        sans = frozenset(re.findall(r"DNS:([^,\s]+)", text))
        print_figure(endpoint, sorted(sans))
        assert sans == names, f"{endpoint}: {sorted(sans ^ names)}"
        assert "TLS Web Server Authentication" in text, text


def test_gateway_certificate_is_the_route_table(site: SiteLab) -> None:
    for name in gateway_names(site.site):
        done = site.s_client(
            site.address("gateway"), name, "-verify_return_error", "-verify_hostname", name
        )
        assert done.code == 0, f"{name}:\n{done.text}"
        assert "BEGIN CERTIFICATE" in done.out, f"{name}:\n{done.text}"


def test_private_keys_are_private(site: SiteLab) -> None:
    """Every file with a PEM private key on all six hosts."""
    files = (
        "grep -rlsE --binary-files=without-match -e '-----BEGIN (EC |RSA |ENCRYPTED |OPENSSH )?"
        "PRIVATE KEY-----' /etc /var/lib /var/backups /root /home /tmp /usr/local /run"
        " --exclude-dir=docker; find /etc/step-ca/secrets -type f 2>/dev/null"
    )
    for host in site.state.hosts:
        files_with_keys = sorted(set(site.sh(host, files).out.split()))
        print_figure(host, files_with_keys)
        assert files_with_keys, f"{host}: not even sshd's key was found, so the search is broken"
        modes = site.sh(
            host, f"stat -Lc '%a %U %n' {' '.join(files_with_keys)}", ok=True
        ).out.splitlines()
        # A key that some group may read is one that only its service's group can.
        loose = [line for line in modes if int(line.split()[0], 8) & 0o077]
        assert not loose, f"{host}: {loose}"
    for role, expected in (("ca", "/etc/step-ca/secrets/root_ca_key"),
                           ("gateway", "/etc/phoenix/tls/gateway.d"),
                           ("traefik", "/etc/phoenix/tls/traefik.d")):  # fmt: skip
        files_with_keys = site.sh(role, files).out.split()
        assert any(path.startswith(expected) for path in files_with_keys), (
            f"{expected} not in {files_with_keys}"
        )


@pytest.mark.parametrize("name", ["evil.example.com", "*.{domain}", "ca.{domain}", "a.b.{domain}"])
def test_ca_refuses_names_outside_its_policy(site: SiteLab, name: str) -> None:
    domain = site.site.domain
    directory = f"https://ca.{domain}:9000/acme/acme/directory"
    asked = name.format(domain=domain)
    done = site.sh(
        "gateway", LEGO.format(root=ROOTS, directory=directory, domain=domain, name=asked)
    )
    assert done.code != 0, done.text
    assert "rejectedIdentifier" in done.text, done.text
    assert "BEGIN CERTIFICATE" not in done.text
