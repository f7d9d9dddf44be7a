"""What a rotation begins, whom it waits for, and what every host trusts meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.components import trust
from phoenix.components.ca_rotation import (
    RotationError,
    beginning,
    certificates_of,
    check_renewal,
    check_setting,
    next_name,
    unproven,
)
from phoenix.components.step_ca.authority import CaState, faults
from phoenix.derived.endpoints import endpoints
from phoenix.site.model import Site
from tests.unit.site_builder import minimal
from tests.unit.test_step_ca import FILES, sound


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


@pytest.mark.parametrize("setting", [None, "", "both", 1])
def test_only_what_means_something_may_be_asked(setting: object) -> None:
    with pytest.raises(RotationError, match="write --data certs_rotate=root, intermediate, or"):
        check_setting(setting)


def test_what_begins_and_what_goes_on() -> None:
    with_key = sound(modes=FILES | {"secrets/root_ca_key": "600"})
    assert beginning("root", sound()) == "root", "the next root needs no key of the present one"
    assert beginning("intermediate", with_key) == "intermediate"
    assert beginning("continue", sound()) == ""
    under_way = sound(rotation="root", phase="prepared")
    assert beginning("root", under_way) == beginning("continue", under_way) == ""


@pytest.mark.parametrize(
    ("setting", "state", "message"),
    [
        ("intermediate", sound(), "put it back as /etc/step-ca/secrets/root_ca_key"),
        ("root", sound(opens=False, matches=False), "password does not open"),
        ("root", CaState(), "there is no CA yet: run deploys/all.py"),
        ("intermediate", sound(rotation="root", phase="switched"), "the root is being replaced"),
    ],
)
def test_what_cannot_begin_is_refused_with_its_fix(
    setting: str, state: CaState, message: str
) -> None:
    with pytest.raises(RotationError, match=message):
        beginning(setting, state)


@pytest.mark.parametrize(
    ("name", "successor"), [("A Root CA", "A Root CA 2"), ("A Root CA 9", "A Root CA 10")]
)
def test_successors_have_names_of_their_own(name: str, successor: str) -> None:
    assert next_name(name) == successor
    assert trust.family(successor) == trust.family(name) == "A Root CA"


def test_every_verified_backend_must_serve_the_new_chain(site: Site) -> None:
    served = {(end.host.name, end.port, end.server_name) for end in endpoints(site)}
    zone = site.domain
    assert {
        (site.host("proxy").name, 443, f"proxy.host.{zone}"),
        (site.host("control").name, 9443, f"control.host.{zone}"),
    } <= served, served
    assert any(port == 9000 and name == f"ca.{zone}" for _, port, name in served), served
    for host in site.hosts:
        if certificates_of(site, host):
            assert host.name in {name for name, _, _ in served}, f"{host.name} is never proven"


def test_hosts_that_took_no_part_are_missed(site: Site) -> None:
    everyone = {host.name for host in site.hosts}
    assert unproven(site, everyone) == []
    assert unproven(site, everyone - {"worker"}) == ["worker"]
    assert site.hypervisor.name in unproven(site, set())
    assert site.hypervisor.name not in unproven(site, set(), serving=True)
    assert "worker" in unproven(site, set(), serving=True)


def test_renewal_of_a_guest_without_a_certificate_names_those_with_one(site: Site) -> None:
    assert check_renewal(site, "proxy").name == "proxy"
    with pytest.raises(RotationError, match=r"certs_renew is 'nobody': .*proxy"):
        check_renewal(site, "nobody")


def test_roots_are_trusted_oldest_first_and_each_once() -> None:
    assert sound().roots == ("PEM",)
    assert sound(later="NEXT").roots == ("PEM", "NEXT")
    assert sound(earlier="OLD").roots == ("OLD", "PEM")
    # While files are exchanged the present root is one of the two.
    assert sound(root="OLD", earlier="OLD", later="NEXT").roots == ("OLD", "NEXT")
    assert sound(root="NEXT", earlier="OLD", later="NEXT").roots == ("OLD", "NEXT")


def test_interrupted_exchange_is_no_damage_and_says_how_it_is_finished() -> None:
    (fault,) = faults(sound(matches=False, phase="switching"))
    assert "certs_rotate=continue" in fault, fault


def test_next_keys_that_others_can_read_are_a_fault() -> None:
    (fault,) = faults(sound(modes=FILES | {"rotation/next/secrets/root_ca_key": "640"}))
    assert "rotation/next/secrets/root_ca_key has mode 640" in fault, fault


def test_one_file_per_root_in_the_store_and_all_of_them_for_services() -> None:
    one_root, two = trust.tree(("A\n",)), trust.tree(("A\n", "B\n"))
    assert {path: file.data for path, file in one_root.files.items()} == {
        trust.ROOTS: b"A\n",
        trust.STORED[0]: b"A\n",
    }
    assert two.files[trust.ROOTS].data == b"A\nB\n"
    assert [two.files[path].data for path in trust.STORED] == [b"A\n", b"B\n"]
