"""`phoenix status` and `phoenix doctor`: a site that is well, and the true cause where it is not.

Each case breaks one thing by hand, asks, and puts it back by hand.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from phoenix.derived import routes
from tests.integration.portainer_lab import PortainerLab
from tests.integration.site_lab import SiteLab, print_figure

PAIR = "/etc/phoenix/tls/gateway/fullchain.pem"
DNSMASQ = "/etc/phoenix/dnsmasq.conf"
QDRANT = "qdrant_service-production"


def report_of(done: subprocess.CompletedProcess[str], expected: int) -> Any:
    """A command's JSON, if it ended as expected."""
    assert done.returncode == expected, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


# -- a site that is well ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def status(site: SiteLab) -> Any:
    report = report_of(site.project.phoenix("status", "--json"), 0)
    print_figure("status of a site that is well", json.dumps(report)[:400])
    return report


def test_guests_answer_and_nothing_drifted(site: SiteLab, status: Any) -> None:
    guests = {guest["name"]: guest for guest in status["guests"]}
    assert {name: guest["address"] for name, guest in guests.items()} == site.state.hosts
    assert {(guest["answers"], guest["state"], guest["drift"]) for guest in guests.values()} == {
        (True, "ok", 0)
    }
    assert (status["first_cause"], status["drift_unknown"]) == (None, "")


def test_services_are_those_that_a_client_reaches(site: SiteLab, status: Any) -> None:
    urls = {service["url"] for service in status["services"] if service["state"] == "ok"}
    assert urls >= {f"https://{route.fqdn}" for route in site.backends}
    assert [service for service in status["services"] if service["state"] != "ok"] == []


def test_certificates_are_what_openssl_sees(site: SiteLab, status: Any) -> None:
    assert {certificate["holder"] for certificate in status["certificates"]} == set(
        site.state.hosts
    ) - {"phoenix"}
    for certificate in status["certificates"]:
        name, place = certificate["server_name"], f"{certificate['address']}:{certificate['port']}"
        shown = site.leaf(place, name, "-serial", "-enddate", "-issuer", "-nameopt", "multiline")
        fields = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line[:12])
        end = datetime.strptime(fields["notAfter"], "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
        assert datetime.fromisoformat(certificate["not_after"]) == end, certificate
        assert certificate["serial"].lstrip("0").lower() == fields["serial"].lstrip("0").lower(), (
            certificate
        )
        assert certificate["issuer"] in shown, (certificate, shown)
        assert (certificate["state"], certificate["fault"]) == ("ok", ""), certificate
        renewal = datetime.fromisoformat(certificate["next_renewal"])
        assert datetime.now(UTC) < renewal < end, certificate


def test_stacks_are_what_docker_runs(site: SiteLab, status: Any) -> None:
    assert [(endpoint["name"], endpoint["state"]) for endpoint in status["endpoints"]] == [
        ("drphoenix", "ok")
    ]
    for stack in status["stacks"]:
        listed = site.sh(
            stack["guest"],
            f"docker ps -q --filter label=com.docker.compose.project={stack['name']}",
            ok=True,
        ).out.split()  # fmt: skip
        assert (stack["containers"], stack["healthy"]) == (len(listed), len(listed)), stack
        assert (stack["status"], stack["drift"], stack["state"]) == ("active", False, "ok")


def test_doctor_finds_nothing(site: SiteLab) -> None:
    report = report_of(site.project.phoenix("doctor", "--json"), 0)
    assert (report["ok"], report["first_cause"], report["other_causes"]) == (True, None, [])
    assert len(report["paths"]) > 20
    assert {hop["state"] for path in report["paths"] for hop in path["hops"]} == {"ok"}


def test_a_name_that_nothing_has_is_an_error(site: SiteLab) -> None:
    done = site.project.phoenix("doctor", "qdrannt")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'qdrannt'" in done.stderr
    assert "qdrant" in done.stderr.partition("Did you mean")[2], done.stderr


def test_stack_edited_in_portainer_is_drift_and_nothing_broken(site: SiteLab) -> None:
    lab = PortainerLab(site)
    original, env = lab.stack_file(QDRANT), lab.stack(QDRANT)["Env"]

    def edit(content: str) -> None:
        body = {"StackFileContent": content, "Env": env, "Prune": False}
        lab.change_stack(QDRANT, "PUT", body=body)

    edit(f"{original}# by hand\n")
    try:
        report = report_of(site.project.phoenix("status", "--json"), 2)
    finally:
        edit(original)
    assert report["first_cause"] is None
    drifted = {stack["name"]: stack["drift"] for stack in report["stacks"]}
    assert drifted == {QDRANT: True, "thinkheads_ai_app-production": False}
    assert {guest["name"]: guest["drift"] for guest in report["guests"] if guest["drift"]} == {
        "drphoenix": 1
    }


# -- sites that are not ----------------------------------------------------------------------------


@contextmanager
def stopped_traefik(site: SiteLab) -> Iterator[None]:
    site.sh("traefik", "systemctl stop traefik.service", ok=True)
    try:
        yield
    finally:
        site.sh("traefik", "systemctl start traefik.service", ok=True)


@contextmanager
def expired_certificate(site: SiteLab) -> Iterator[None]:
    """The gateway serves one that the CA signed for yesterday."""
    signer = serialization.load_pem_private_key(
        site.sh("ca", "cat /etc/step-ca/secrets/intermediate_ca_key", ok=True).out.encode(),
        site.sh("ca", "cat /etc/step-ca/secrets/password", ok=True).out.strip().encode(),
    )
    leaf, issuer, *_ = x509.load_pem_x509_certificates(
        site.sh("gateway", f"cat {PAIR}", ok=True).out.encode()
    )
    now = datetime.now(UTC)
    expired = x509.CertificateBuilder(
        issuer.subject, leaf.subject, leaf.public_key(), x509.random_serial_number(),
        now - timedelta(hours=27), now - timedelta(hours=3), list(leaf.extensions),
    ).sign(signer, hashes.SHA256())  # type: ignore[arg-type]  # fmt: skip
    chain = b"".join(
        certificate.public_bytes(serialization.Encoding.PEM) for certificate in (expired, issuer)
    )
    site.put("gateway", "/root/expired.pem", chain)
    site.sh("gateway", f"cat /root/expired.pem >{PAIR}; systemctl reload nginx", ok=True)
    try:
        yield
    finally:
        site.sh("gateway", "rm /root/expired.pem; phoenix-acme ensure gateway", ok=True)


@contextmanager
def wrong_record(site: SiteLab) -> Iterator[None]:
    site.sh("hypervisor", f"cp -L {DNSMASQ} /root/dnsmasq.conf", ok=True)
    site.sh(
        "hypervisor",
        f"sed -i --follow-symlinks '/qdrant.{site.site.domain}/s/,.*/,198.19.255.77/' {DNSMASQ};"
        " systemctl restart phoenix-dns",
        ok=True,
    )  # fmt: skip
    try:
        yield
    finally:
        site.sh("hypervisor", f"cat /root/dnsmasq.conf >$(readlink -f {DNSMASQ})", ok=True)
        site.sh("hypervisor", "rm /root/dnsmasq.conf; systemctl restart phoenix-dns", ok=True)


@contextmanager
def stack_changed_by_hand(site: SiteLab) -> Iterator[None]:
    name = site.sh(
        "drphoenix",
        f"docker ps --filter label=com.docker.compose.project={QDRANT} --format '{{{{.Names}}}}'",
        ok=True,
    ).out.strip()  # fmt: skip
    site.sh("drphoenix", f"docker kill {name}", ok=True)
    try:
        yield
    finally:
        site.sh("drphoenix", f"docker start {name}", ok=True)
        PortainerLab(site).wait_well()  # the next case is of one thing that is broken


@contextmanager
def unreachable_guest(site: SiteLab) -> Iterator[None]:
    """Traefik's guest has lost its network altogether."""
    route = site.sh("traefik", "ip -4 route show default", ok=True).out.strip()
    site.sh("traefik", "ip link set eth0 down", ok=True)
    try:
        yield
    finally:
        site.sh("traefik", f"ip link set eth0 up; ip route replace {route}", ok=True)


@dataclass(frozen=True)
class Case:
    """What is broken, and what must be named first; `services`: those that it stops, () is all."""

    broken: Callable[[SiteLab], Any]
    layer: str
    role: str
    words: str
    services: tuple[str, ...] = ()


CASES = {
    "a stopped Traefik": Case(stopped_traefik, "service", "traefik", "is inactive"),
    "an expired certificate": Case(
        expired_certificate, "certificate", "gateway", "the certificate has expired"
    ),
    "a wrong DNS record": Case(
        wrong_record, "dns", "hypervisor", "is 198.19.255.77 here, not", ("qdrant",)
    ),
    "a stack changed by hand": Case(
        stack_changed_by_hand, "service", "drphoenix", "exited", ("qdrant",)
    ),
    "an unreachable guest": Case(unreachable_guest, "reach", "traefik", "does not answer by SSH"),
}


@pytest.mark.parametrize("name", CASES)
def test_true_cause_is_named_first(site: SiteLab, name: str) -> None:
    case = CASES[name]
    with case.broken(site):
        asked = [["doctor", "--json"], ["status", "--no-drift", "--json"]]
        looks = site.project.looks(*asked[: 2 if name in SHOWN else 1])
    report, *shown_ones = (report_of(done, 1) for done in looks)
    first = report["first_cause"]
    print_figure(name, json.dumps(first))
    assert (first["layer"], first["host"]) == (case.layer, site.roles.get(case.role, case.role))
    assert case.words in first["fault"], first
    assert first["fix"]["commands"], first
    assert report["other_causes"] == [], "one thing is broken"
    broken = {path["name"] for path in report["paths"]
              if path["kind"] == "request" and path["state"] == "broken"}  # fmt: skip
    stopped = {route.fqdn for route in routes.routes(site.site)
               if not case.services or route.service.name in case.services}  # fmt: skip
    assert broken == {f"https://{fqdn}" for fqdn in stopped}
    for shown in shown_ones:
        urls = {service["url"] for service in shown["services"] if service["state"] == "broken"}
        assert urls == broken
        same = ("layer", "host", "hop")
        assert [shown["first_cause"][key] for key in same] == [first[key] for key in same]
        SHOWN[name](shown)


def expired_is_shown(status: Any) -> None:
    gateway = next(
        certificate for certificate in status["certificates"] if certificate["port"] == 443
    )
    assert (gateway["state"], gateway["fault"]) == ("broken", "it has expired")
    assert -4 < gateway["hours_left"] < -2, gateway


def stack_is_shown(status: Any) -> None:
    stack = next(candidate for candidate in status["stacks"] if candidate["name"] == QDRANT)
    assert (stack["state"], stack["healthy"]) == ("broken", 0), stack


def guest_is_shown(status: Any) -> None:
    silent = [guest["name"] for guest in status["guests"] if not guest["answers"]]
    assert silent == ["traefik-internal"]


SHOWN = {
    "an expired certificate": expired_is_shown,
    "a stack changed by hand": stack_is_shown,
    "an unreachable guest": guest_is_shown,
}


def test_everything_is_back(site: SiteLab) -> None:
    report_of(site.project.phoenix("status", "--json"), 0)
