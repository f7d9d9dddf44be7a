"""What a rotation begins, whom it waits for, and what every host trusts meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from phoenix.components import trust
from phoenix.components.ca_rotation import (
    RotationError,
    beginning,
    certificates_of,
    check_below_root,
    check_renewal,
    check_setting,
    deployed_name,
    next_name,
    not_permitted,
    outdated,
    permitted_next,
    unproven,
)
from phoenix.components.step_ca.authority import CaState, faults
from phoenix.derived.endpoints import endpoints
from phoenix.site.model import Site
from tests.unit.site_builder import minimal
from tests.unit.test_step_ca import FILES, sound
from tests.unit.test_x509 import Authority


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


@pytest.mark.parametrize("setting", [None, "", "both", 1])
def test_only_what_means_something_may_be_asked(setting: object) -> None:
    with pytest.raises(RotationError, match="certs_rotate=root, intermediate, continue"):
        check_setting(setting)


def test_what_begins_and_what_goes_on() -> None:
    with_key = sound(modes=FILES | {"secrets/root_ca_key": "600"})
    assert beginning("root", sound()) == "root", "the next root needs no key of the present one"
    assert beginning("intermediate", with_key) == "intermediate"
    assert beginning("intermediate", sound(), key_given=True) == "intermediate"
    assert beginning("continue", sound()) == ""
    under_way = sound(rotation="root", phase="prepared")
    assert beginning("root", under_way) == beginning("continue", under_way) == ""


@pytest.mark.parametrize(
    ("setting", "state", "message"),
    [
        ("intermediate", sound(), "rotate intermediate --root-key FILE"),
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


def ca_of(*limits: str, following: tuple[str, ...] = (), domain: str = "", **more: Any) -> CaState:
    """A CA whose intermediate may vouch for `limits`, deployed with the names of `domain`."""

    def pem(*these: str) -> str:
        certificate = Authority("A", *these).intermediate
        return str(certificate.public_bytes(Encoding.PEM).decode())

    names = (f"ca.{domain}", f"authority.host.{domain}", "localhost", "10.0.0.22", "127.0.0.1")
    return sound(
        root="", intermediate=pem(*limits), following=pem(*following) if following else "",
        served=names if domain else (), **more,
    )  # fmt: skip


DOMAIN, NETWORK = "internal.thinkheads.ai", "10.0.0.0/24"
OWN = ("localhost", "127.0.0.1/32")


@pytest.mark.parametrize(
    ("limits", "missing"),
    [
        ((DOMAIN, NETWORK, *OWN), ""),
        (("thinkheads.ai", "10.0.0.0/8"), ""),
        ((), ""),
        (("old.example.org", NETWORK, *OWN), DOMAIN),
        ((DOMAIN, "10.9.0.0/24", *OWN), "10.0.0.22"),
        (("apps.internal.thinkheads.ai", NETWORK), DOMAIN),
        (("old.example.org", "10.9.0.0/24"), f"{DOMAIN} and 10.0.0.22"),
    ],
)
def test_a_declaration_that_the_ca_cannot_vouch_for_is_told_with_the_way(
    site: Site, limits: tuple[str, ...], missing: str
) -> None:
    message = not_permitted(site, ca_of(*limits))
    assert bool(message) == bool(missing), message
    if missing:
        assert f"and {missing} is declared" in message, message
        assert "by `phoenix certs rotate intermediate`:" in message, message
    assert not_permitted(site, CaState()) == "", "a new site"


def test_the_next_intermediate_vouches_for_what_is_deployed_and_what_is_declared(
    site: Site,
) -> None:
    old = "old.example.org"
    moving = permitted_next(site, ca_of(old, NETWORK, *OWN, domain=old))
    assert moving.domains == (DOMAIN, old)
    assert list(map(str, moving.networks)) == [NETWORK]
    moved = permitted_next(site, ca_of(DOMAIN, old, NETWORK, *OWN, domain=DOMAIN))
    assert moved.domains == (DOMAIN,), "after the move the old one goes"
    other = permitted_next(site, ca_of(DOMAIN, "10.9.0.0/24"), ["new.example.org", "10.8.0.0/16"])
    assert other.domains == (DOMAIN, "new.example.org")
    assert list(map(str, other.networks)) == [NETWORK, "10.8.0.0/16"]
    renumbered = permitted_next(site, ca_of(DOMAIN, "10.9.0.0/24", domain=DOMAIN))
    assert list(map(str, renumbered.networks)) == [NETWORK], "nothing is deployed there"


@pytest.mark.parametrize("text", ["nonsense", "10.9.0.1/24", "1.2.3.4.5", "-a.example", "a b.c"])
def test_what_is_no_domain_or_network_cannot_be_permitted(site: Site, text: str) -> None:
    with pytest.raises(RotationError, match="neither a domain nor an IPv4 network"):
        permitted_next(site, ca_of(DOMAIN, NETWORK), [text])


@pytest.mark.parametrize(
    ("root", "permit", "beyond", "way"),
    [
        ((), (), "", ""),
        ((DOMAIN, NETWORK, *OWN), (), "", ""),
        (("thinkheads.ai", "10.0.0.0/8"), (), "", ""),
        (("old.example.org", NETWORK), (), DOMAIN, "rotate root`"),
        ((DOMAIN, "10.9.0.0/24"), (), NETWORK, "rotate root`"),
        (
            (DOMAIN, NETWORK), ("new.example.org", "10.8.0.0/16"),
            "new.example.org and 10.8.0.0/16",
            "rotate root --permit new.example.org --permit 10.8.0.0/16`",
        ),
    ],
)  # fmt: skip
def test_an_intermediate_beyond_its_root_is_refused_with_the_way(
    site: Site, root: tuple[str, ...], permit: tuple[str, ...], beyond: str, way: str
) -> None:
    ca = ca_of(DOMAIN, NETWORK, *OWN)
    ca = replace(ca, root=ca_of(*root).intermediate)
    limits = permitted_next(site, ca, permit)
    if not beyond:
        check_below_root(site, ca, limits)
        return
    with pytest.raises(RotationError) as refused:
        check_below_root(site, ca, limits)
    assert f"an intermediate for {beyond} would be" in str(refused.value)
    assert way in str(refused.value)


def test_next_keys_that_vouch_for_too_little_are_noticed(site: Site) -> None:
    old = "old.example.org"
    ca = ca_of(old, NETWORK, *OWN, domain=old, following=(DOMAIN, NETWORK), phase="prepared",
               rotation="intermediate")  # fmt: skip
    limits = permitted_next(site, ca)
    assert outdated(ca, limits)
    for ready in ((DOMAIN, old, NETWORK, *OWN), (DOMAIN, old, "x.example", NETWORK)):
        assert not outdated(
            ca_of(old, following=ready, phase="prepared", rotation="intermediate"), limits
        )
    assert not outdated(ca_of(old, following=(DOMAIN,), phase="switching"), limits)


def test_names_are_asked_for_as_the_hosts_have_them(site: Site) -> None:
    moving = ca_of("old.example.org", domain="old.example.org")
    assert deployed_name(site, moving, f"app.{DOMAIN}") == "app.old.example.org"
    assert deployed_name(site, moving, f"proxy.host.{DOMAIN}") == "proxy.host.old.example.org"
    assert deployed_name(site, moving, "elsewhere.example") == "elsewhere.example"
    assert deployed_name(site, ca_of(DOMAIN, domain=DOMAIN), f"app.{DOMAIN}") == f"app.{DOMAIN}"
    assert deployed_name(site, CaState(), f"app.{DOMAIN}") == f"app.{DOMAIN}"


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


def test_a_registry_of_the_zone_is_trusted_without_a_restart_of_docker() -> None:
    """Docker reads the system's store when it starts alone; a registry's own roots at each pull."""
    both = trust.tree(("A\n", "B\n"), registries=["registry.example.com:5000"])
    path = "/etc/docker/certs.d/registry.example.com:5000/phoenix.crt"
    assert both.files[path].data == b"A\nB\n"
    assert "docker" not in both.after


def test_what_has_roots_in_memory_reads_them_anew() -> None:
    after = trust.tree(("A\n",), readers=["nginx.service", "a b.service"]).after
    assert "for unit in nginx.service 'a b.service'; do" in after, after
