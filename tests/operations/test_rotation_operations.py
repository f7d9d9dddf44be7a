"""Each step of a rotation waits for what every host has proven in the same run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from pyinfra.api import FunctionCommand
from pyinfra.api.state import StateStage

from facts.certificates import AcmeState, CertificateFileState, ServedState
from operations import rotation
from phoenix.components.ca_rotation import certificates_of
from phoenix.components.step_ca.authority import CaState
from phoenix.components.x509 import parse_chain
from phoenix.site.model import Site
from tests.operations.test_tree_operations import Fixed, fixed
from tests.unit.site_builder import minimal
from tests.unit.test_step_ca import FILES, sound
from tests.unit.test_x509 import Authority


def pem(certificate: Any) -> str:
    return str(certificate.public_bytes(Encoding.PEM).decode())


FIRST, SECOND = Authority("First"), Authority("Second")
SETTLED = sound(
    modes=FILES | {"secrets/root_ca_key": "600"},
    root=pem(FIRST.root), intermediate=pem(FIRST.intermediate),
)  # fmt: skip
PREPARED = sound(
    root=pem(FIRST.root), intermediate=pem(FIRST.intermediate), later=pem(SECOND.root),
    rotation="root", phase="prepared",
)  # fmt: skip
SWITCHED = sound(
    root=pem(SECOND.root), intermediate=pem(SECOND.intermediate), earlier=pem(FIRST.root),
    rotation="root", phase="switched",
)  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


@pytest.fixture(autouse=True)
def nothing_proven() -> Iterator[None]:
    rotation._trusting.clear()
    rotation._serving.clear()
    yield
    rotation._trusting.clear()
    rotation._serving.clear()


def host_with(
    monkeypatch: pytest.MonkeyPatch, ca: CaState, name: str = "proxy", **facts: Any
) -> Fixed:
    monkeypatch.setattr(rotation, "certificate_authority", lambda _: ca)
    monkeypatch.setattr(rotation, "SERVED_WITHIN", 0)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    created = fixed(StateStage.Execute, **facts)
    created.host.name = name
    return created


def refused(commands: list[Any]) -> str:
    (command,) = commands
    assert isinstance(command, FunctionCommand), command
    return str(command.args)


SWITCH = {"unit": "step-ca.service", "stop": "STOP", "health": "HEALTH"}


def test_next_keys_are_made_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"organisation": "An Example", "years": 10}
    (command,) = host_with(monkeypatch, SETTLED).run(rotation.prepared, site, "root", **words)
    assert command.get_raw_value().endswith(
        "step-ca-rotate prepare /etc/step-ca root 'An Example' 'First Root 2' 'First Int 2' "
        "internal.thinkheads.ai 10.0.0.0/255.255.255.0 10"
    ), command.get_raw_value()[-200:]
    for asked in ("root", "continue"):
        assert host_with(monkeypatch, PREPARED).run(rotation.prepared, site, asked, **words) == []
    assert host_with(monkeypatch, SETTLED).run(rotation.prepared, site, "continue", **words) == []
    other = host_with(monkeypatch, SWITCHED).run(rotation.prepared, site, "intermediate", **words)
    assert "the root is being replaced (phase switched)" in refused(other)


def test_next_keys_for_other_names_are_made_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"organisation": "An Example", "years": 10, "permit": ["new.example.net"]}
    ready = sound(
        root=pem(FIRST.root), intermediate=pem(FIRST.intermediate), rotation="intermediate",
        following=pem(Authority("Next", site.domain, "10.0.0.0/24").intermediate),
        phase="prepared",
    )  # fmt: skip
    finish, make = host_with(monkeypatch, ready).run(rotation.prepared, site, "continue", **words)
    assert finish.get_raw_value().endswith("step-ca-rotate finish /etc/step-ca")
    arguments = "'internal.thinkheads.ai new.example.net' 10.0.0.0/255.255.255.0 10"
    assert make.get_raw_value().endswith(arguments), make.get_raw_value()[-200:]
    assert " prepare /etc/step-ca intermediate " in make.get_raw_value()


def test_a_rotation_is_dropped_only_before_the_ca_signs_with_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"unit": "step-ca.service", "health": "HEALTH"}
    assert host_with(monkeypatch, SETTLED).run(rotation.abandoned, site, **words) == []
    (command,) = host_with(monkeypatch, PREPARED).run(rotation.abandoned, site, **words)
    assert command.get_raw_value().endswith("abandon /etc/step-ca step-ca.service HEALTH")
    message = refused(host_with(monkeypatch, SWITCHED).run(rotation.abandoned, site, **words))
    assert "signs with its next root already" in message


def test_ca_waits_for_every_host(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = host_with(monkeypatch, PREPARED)
    rotation._trusting |= {host.name for host in site.hosts} - {"worker"}
    output = refused(ca.run(rotation.switched, site, **SWITCH))
    assert "not proven to trust the next root: worker" in output, output
    assert "both roots stay trusted" in output, output
    rotation._trusting.add("worker")
    (command,) = ca.run(rotation.switched, site, **SWITCH)
    assert command.get_raw_value().endswith("switch /etc/step-ca step-ca.service STOP HEALTH")


def test_exchange_that_has_begun_is_finished_whoever_is_missing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = sound(rotation="root", phase="switching")
    (command,) = host_with(monkeypatch, begun).run(rotation.switched, site, **SWITCH)
    assert " switch /etc/step-ca " in command.get_raw_value()
    for ca in (SETTLED, SWITCHED):
        assert host_with(monkeypatch, ca).run(rotation.switched, site, **SWITCH) == []


def test_trust_is_seen_in_the_store(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,), (second,) = parse_chain(pem(FIRST.root)), parse_chain(pem(SECOND.root))
    host = host_with(monkeypatch, PREPARED, LocalTrust={"a.crt": first})
    assert "does not trust 1 of the CA's roots" in refused(host.run(rotation.trust_proven, site))
    assert rotation._trusting == set()
    both = host_with(monkeypatch, PREPARED, LocalTrust={"a.crt": first, "b.crt": second})
    assert both.run(rotation.trust_proven, site) == []
    assert rotation._trusting == {"proxy"}


def test_old_certificates_are_renewed_and_new_ones_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [desired.name for desired in certificates_of(site, site.host("proxy"))] == ["traefik"]
    old = CertificateFileState(parse_chain(pem(FIRST.root) + pem(FIRST.intermediate)), None)
    new = CertificateFileState(parse_chain(pem(SECOND.root) + pem(SECOND.intermediate)), None)
    for state in (old, None):
        (command,) = host_with(monkeypatch, SWITCHED, CertificateFile=state).run(
            rotation.renewed, site
        )
        assert command.get_raw_value() == "/usr/local/sbin/phoenix-acme renew traefik"
    loaded = AcmeState("", "", "issued", "1", 0, loaded=True, permissions="ok")
    result = host_with(monkeypatch, SWITCHED, CertificateFile=new, AcmeStatus=loaded)
    assert result.run(rotation.renewed, site) == []
    assert host_with(monkeypatch, PREPARED, CertificateFile=old).run(rotation.renewed, site) == []
    # A run that died after it had put the new one there, and before the service took it up.
    half = host_with(
        monkeypatch, SWITCHED, CertificateFile=new, AcmeStatus=replace(loaded, loaded=False)
    )
    (command,) = half.run(rotation.renewed, site)
    assert command.get_raw_value() == "/usr/local/sbin/phoenix-acme ensure traefik"


@pytest.mark.parametrize(
    ("authority", "code", "error", "message"),
    [
        (SECOND, 0, "", ""),
        (FIRST, 19, "", "not verified with the newest root alone: no"),
        (FIRST, 0, "", "still serves a certificate of the earlier intermediate"),
        (SECOND, None, "Connection refused", "Connection refused"),
    ],
)
def test_what_is_served_is_verified(
    site: Site, monkeypatch: pytest.MonkeyPatch, authority: Authority, code: int, error: str,
    message: str,
) -> None:  # fmt: skip
    chain = parse_chain(pem(authority.intermediate))
    served = ServedState(chain, code, "no", "TLSv1.3", error)
    host = host_with(monkeypatch, SWITCHED, ServedCertificate=served)
    commands = host.run(rotation.served, site, "switched")
    assert (message in refused(commands)) if message else commands == []
    assert rotation._serving == (set() if message else {"proxy"})


def test_earlier_root_is_dropped_when_every_host_is_proven(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = host_with(monkeypatch, SWITCHED)
    everyone = {host.name for host in site.hosts}
    rotation._trusting |= everyone
    rotation._serving |= everyone - {"worker"}
    output = refused(ca.run(rotation.finished, site))
    assert "not proven to trust and serve the new chain: worker" in output, output
    rotation._serving.add("worker")
    (command,) = ca.run(rotation.finished, site)
    assert command.get_raw_value().endswith("step-ca-rotate finish /etc/step-ca")
    rotation._trusting.discard(site.hypervisor.name)
    assert site.hypervisor.name in refused(ca.run(rotation.finished, site))


def test_nothing_is_decided_while_the_run_is_planned(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "certificate_authority", lambda _: SWITCHED)
    plan = fixed(StateStage.Prepare)
    plan.host.name = "proxy"
    for operation, words in (
        (rotation.trust_proven, {}), (rotation.renewed, {}), (rotation.finished, {}),
        (rotation.served, {"phase": "switched"}), (rotation.switched, SWITCH),
    ):  # fmt: skip
        assert plan.run(operation, site, **words) == []
