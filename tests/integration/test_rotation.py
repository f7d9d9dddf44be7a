"""Intermediate and root are replaced under load: not one request fails, nothing old is left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from phoenix.derived import control_plane
from tests.integration.load import Load, load
from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Run, deadline_factor
from tests.integration.site_lab import ROOT_FILE, SiteLab, print_figure

DEPLOY = "deploys/certs_rotate.py"
CA = "/etc/step-ca"
OLD, NEW = "/root/old-root.pem", "/root/new-root.pem"


def rotate(site: SiteLab, asked: str, *options: str) -> Run:
    """By pyinfra itself; the command is tried with the intermediate."""
    return site.project.run(DEPLOY, *options, data={"certs_rotate": asked})


def holders(site: SiteLab) -> dict[str, str]:
    """Every port that serves a certificate of the CA, ADDRESS:PORT, and its server name."""
    domain, fqdn = site.site.domain, f"{{}}.host.{site.site.domain}"
    names = {
        f"{site.address('ca')}:9000": f"ca.{domain}",
        f"{site.address('traefik')}:443": fqdn.format(site.roles["traefik"]),
        f"{site.address('gateway')}:443": site.backends[0].fqdn,
    }
    for agent in (control_plane.agent(site.site, host) for host in site.site.agents):
        names[f"{agent.owner.address}:{agent.port}"] = agent.owner.fqdn
    for route in site.backends:
        service = route.service
        names[f"{service.owner.address}:{service.port}"] = service.server_name
    return names


def not_serving(site: SiteLab, root: str) -> dict[str, str]:
    """What each holder serves that does not verify against the one root in the client's `root`."""
    pem = site.sh("client", f"cat {root}", ok=True).out
    faults = {}
    for where, name in holders(site).items():
        done = site.handshake(where, name, roots=pem)
        if done.code != 0 or "BEGIN CERTIFICATE" not in done.out:
            faults[f"{where} {name}"] = done.err[-300:]
    return faults


def trusted(site: SiteLab, host: str) -> tuple[set[str], set[str]]:
    """Fingerprints of the CA's roots in a host's system store, and in what its services read."""
    each = (
        "openssl crl2pkcs7 -nocrl -certfile {} | openssl pkcs7 -print_certs |"
        " awk '/BEGIN/{{n++}} n{{print >\"/tmp/rot.\" n}}'; for f in /tmp/rot.*; do"
        " openssl x509 -in $f -noout -fingerprint -sha256 -subject 2>/dev/null | tr '\\n' ' ';"
        " echo; done | grep ThinkHeads; rm -f /tmp/rot.*"
    )
    fingerprints = []
    for file in ("/etc/ssl/certs/ca-certificates.crt", "/etc/phoenix/roots.pem"):
        lines = site.sh(host, each.format(file)).out.splitlines()
        fingerprints.append({line.split()[1].partition("=")[2] for line in lines})
    return fingerprints[0], fingerprints[1]


def fingerprint(site: SiteLab, file: str) -> str:
    text = f"openssl x509 -in {file} -noout -fingerprint -sha256"
    return site.sh("client", text, ok=True).out.strip().partition("=")[2]


def started(site: SiteLab) -> set[tuple[str, str, str]]:
    """Name, id and start of every container of the stacks."""
    lab_ = PortainerLab(site)
    return {
        (container.name, container.id, container.started)
        for project in (lab_.qdrant, lab_.app)
        for container in lab_.containers(project).values()
    }


def client_trusts(site: SiteLab, *files: str) -> None:
    """Replace the client's root file as one, since the load reads it all the time."""
    site.sh("client", f"cat {' '.join(files)} >{ROOT_FILE}.new && mv {ROOT_FILE}.new {ROOT_FILE}",
            ok=True)  # fmt: skip


@pytest.fixture(scope="module")
def under_load(site: SiteLab) -> Iterator[Load]:
    """One load for the whole module; after it the client trusts the CA's present root alone."""
    client_trusts(site, ROOT_FILE)
    site.sh("client", f"cp {ROOT_FILE} {OLD}", ok=True)
    try:
        with load(site) as requests:
            yield requests
    finally:
        site.put("client", NEW, site.sh("ca", f"cat {CA}/certs/root_ca.crt", ok=True).out)
        client_trusts(site, NEW)


def test_intermediate_is_replaced(site: SiteLab, under_load: Load) -> None:
    file = f"openssl x509 -in {CA}/certs/intermediate_ca.crt -noout -fingerprint -subject"
    before = site.sh("ca", file, ok=True).out
    done = site.project.phoenix("certs", "rotate", "intermediate", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"]
    assert site.sh("ca", file, ok=True).out != before
    assert not_serving(site, OLD) == {}
    assert under_load.failures() == {}
    assert site.sh("ca", f"test -e {CA}/rotation").code != 0


@pytest.mark.timeout(600)
def test_root_is_replaced(site: SiteLab, under_load: Load) -> None:
    worker = site.backends[0].service.owner.name
    # A host that cannot be reached: the rotation stops with both roots trusted, and says so.
    stopped = rotate(site, "root", "--exclude", worker)
    assert stopped.returncode == 1, stopped.explain()
    assert "both roots stay trusted" in stopped.output, stopped.explain()
    assert f"not proven to trust the next root: {worker}" in stopped.output, stopped.explain()
    site.put("client", NEW, site.sh("ca", f"cat {CA}/rotation/next/certs/root_ca.crt", ok=True).out)
    client_trusts(site, OLD, NEW)
    old, new = fingerprint(site, OLD), fingerprint(site, NEW)
    assert trusted(site, "gateway") == ({old, new}, {old, new})
    assert not_serving(site, OLD) == {}, "nothing was replaced yet"
    other = rotate(site, "intermediate", "--limit", "step_ca")
    assert "the root is being replaced (phase prepared)" in other.output, other.explain()

    # An ordinary run in between gives the missing host both roots, and changes nothing else.
    before = started(site)
    run = site.project.run("deploys/all.py")
    assert run.returncode == 0, run.explain()
    assert run.other_changes == [("deploys/trust.py | Trust: internal root", worker)], run.explain()
    assert started(site) == before, "a stack's container was restarted"

    # A run that dies when the CA has just begun to sign with the new keys.
    killed = site.project.start("inventories/lab.py", DEPLOY, "-y", "--json",
                                 "--data", "certs_rotate=continue")  # fmt: skip
    end = time.monotonic() + 120 * deadline_factor()
    while site.sh("ca", f"test -e {CA}/rotation/switched").code != 0:
        assert not killed.ends_within(0.2), killed.finish().explain()
        assert time.monotonic() < end, "the CA does not change its keys"
    killed.kill()
    assert under_load.failures() == {}

    run = rotate(site, "continue")
    assert run.returncode == 0, run.explain()
    assert not_serving(site, NEW) == {}
    for host in site.state.hosts:
        assert trusted(site, host) == ({new}, {new}), host
    assert site.sh("ca", f"ls {CA}/rotation").code != 0
    modes = site.sh("ca", f"stat -c '%a %U' {CA}/secrets/*_key {CA}/retired;"
                    f" find {CA}/retired -name '*_key' -perm /077", ok=True).out  # fmt: skip
    assert modes.splitlines() == ["600 step", "600 root", "700 root"], modes
    again = site.project.run("deploys/all.py")
    assert again.returncode == 0, again.explain()
    assert again.other_changes == [], again.explain()
    client_trusts(site, NEW)
    print_figure("answers under load", dict(under_load.answers()))
    under_load.wait_for(101)
    assert under_load.failures() == {}


def test_one_certificate_is_renewed_now(site: SiteLab) -> None:
    proxy = site.roles["traefik"]
    serial = "openssl x509 -in /etc/phoenix/tls/traefik/fullchain.pem -noout -serial"
    before = site.sh("traefik", serial, ok=True).out
    done = site.project.phoenix("certs", "renew", "102", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (host,) = json.loads(done.stdout)["hosts"]
    assert (host["host"], len(host["changed"])) == (proxy, 1), host
    assert host["changed"][0].endswith("Certificate: renewed"), host
    assert site.sh("traefik", serial, ok=True).out != before
    refused = site.project.phoenix("certs", "renew", "drphenix")
    assert refused.returncode == 1, refused.stdout
    assert "Did you mean 'drphoenix'?" in refused.stderr, refused.stderr


def test_list_is_what_is_served(site: SiteLab) -> None:
    """And a stopped Traefik is told as what cannot be asked for."""
    done = site.project.phoenix("certs", "list", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = json.loads(done.stdout)["certificates"]
    places = [f"{certificate['address']}:{certificate['port']}" for certificate in listed]
    assert set(places) >= set(holders(site)), listed
    for place, certificate in zip(places, listed, strict=True):
        name = holders(site)[place]
        served = site.leaf(place, name, "-serial", "-enddate", "-dateopt", "iso_8601")
        number = served.partition("serial=")[2].split()[0]
        assert int(certificate["serial"], 16) == int(number, 16), (certificate, served)
        assert certificate["not_after"].replace("T", " ").rstrip("Z") in served, (
            certificate,
            served,
        )
    site.sh("traefik", "systemctl stop traefik", ok=True)
    try:
        broken = site.project.phoenix("certs", "list", "--json")
    finally:
        site.sh("traefik", "systemctl start traefik", ok=True)
    assert broken.returncode == 1, broken.stdout
    (faulty,) = [
        certificate
        for certificate in json.loads(broken.stdout)["certificates"]
        if certificate["state"] != "ok"
    ]
    assert faulty["holder"] == site.roles["traefik"], faulty
