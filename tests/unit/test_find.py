"""One answer to what a name means: every kind of name, and what each verb does with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix.cli.cached_names import matching
from phoenix.cli.targets import guest, work
from phoenix.derived.find import (
    ALL_KINDS,
    AmbiguousNameError,
    UnknownNameError,
    by_kind,
    choose,
    find,
    kind_of,
    names,
    normalised,
)
from phoenix.explain.explanation import explain
from phoenix.explain.model import Explanation
from phoenix.health.paths import select
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Site
from tests.unit.site_builder import lxc, minimal, vm

ZONE = "internal.thinkheads.ai"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A guest and its service have one name, a template and an extra record are there."""
    declared = minimal()
    declared.lxc["lxc_configs"]["150"] = lxc(
        "wiki", None, 90, traefik_service={"name": "wiki", "port": 8443, "scheme": "https"},
        dns_records=[{"hostname": "printer", "ip": "10.0.0.77"}],
    )  # fmt: skip
    declared.lxc["lxc_configs"]["900"] = lxc("copy", None, 91, is_template=True)
    return declared.load(tmp_path)


NAMES = {
    "service label": ("shop", ["service", "stack"]),
    "service full name": ("shop.{zone}", ["service"]),
    "URL": ("https://shop.{zone}:443/health?x=1", ["service"]),
    "guest name": ("worker", ["guest"]),
    "guest full name": ("worker.host.{zone}", ["guest"]),
    "guest address": ("10.0.0.24", ["guest"]),
    "URL with an address": ("https://10.0.0.24:8000/", ["guest"]),
    "id": ("1002", ["guest"]),
    "hypervisor": ("{hypervisor}", ["guest"]),
    "component": ("nginx", ["component"]),
    "stack and environment": ("shop-production", ["stack"]),
    "kind and name": ("stack:shop", ["stack"]),
    "kind and id": ("guest:1002", ["guest"]),
    "template": ("copy", ["template"]),
    "template id": ("900", ["template"]),
    "record": ("printer.{zone}", ["record"]),
    "guest and service": ("wiki", ["service", "guest"]),
    "in capitals": ("WIKI", ["service", "guest"]),
    "service and component": ("traefik", ["service", "component"]),
}


def as_written(site: Site, key: str) -> str:
    return NAMES[key][0].format(zone=site.domain, hypervisor=site.hypervisor.name)


@pytest.mark.parametrize("key", NAMES)
def test_every_kind_of_name(site: Site, key: str) -> None:
    assert [kind_of(meaning) for meaning in find(site, as_written(site, key))] == NAMES[key][1]


def _sync(site: Site, name: str) -> None:
    calls = work([name], site)
    assert calls
    host_names = {host.name for host in site.hosts}
    for call in calls:
        assert call.deploys
        assert set(call.limit) <= host_names


def _doctor(site: Site, name: str) -> None:
    assert select(site, name)


def _explain(site: Site, name: str) -> None:
    assert isinstance(explain(site, name), Explanation)


def _renew(site: Site, name: str) -> None:
    assert site.host(guest(name, site))


VERBS: dict[str, Callable[[Site, str], None]] = {
    "plan and sync": _sync,
    "doctor": _doctor,
    "explain": _explain,
    "certs renew": _renew,
}
REFUSED = {
    ("plan and sync", "guest and service"): "write service:wiki or guest:wiki",
    ("plan and sync", "in capitals"): "write service:wiki or guest:wiki",
    ("plan and sync", "service label"): "write service:shop or stack:shop",
    ("doctor", "template"): "depends on the template copy: nothing to check",
    ("doctor", "template id"): "depends on the template copy: nothing to check",
}
"""What a verb says of a kind that it does not take; every other pair works."""


@pytest.mark.parametrize("key", NAMES)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_every_kind_of_name(site: Site, verb: str, key: str) -> None:
    refused = REFUSED.get((verb, key), "")
    if verb == "certs renew" and "guest" not in NAMES[key][1]:
        refused = "no guest is called"
    if not refused:
        VERBS[verb](site, as_written(site, key))
        return
    with pytest.raises(NameLookupError, match=refused):
        VERBS[verb](site, as_written(site, key))


def test_what_is_offered_is_what_is_found(site: Site) -> None:
    offered = names(site)
    assert len(offered) == len(set(offered))
    for name in offered:
        assert find(site, name), name
        explained = explain(site, name)
        assert isinstance(explained, Explanation), name


def test_completion_begins_with_what_was_typed(site: Site) -> None:
    known = by_kind(site)
    assert matching(known, "") == list(names(site))
    wiki = ["wiki", f"wiki.{site.domain}", f"wiki.host.{site.domain}"]
    assert matching(known, "wi") == wiki
    # A shell offers what begins with the very letters that were typed.
    assert matching(known, "WI") == [f"WI{name[2:]}" for name in wiki]
    assert matching(known, "Guest:WI")[0] == "Guest:WIki"
    assert all(find(site, name) for word in ("WI", "Guest:WI") for name in matching(known, word))
    assert matching(known, "https://wi") == [f"https://wiki.{site.domain}"]
    assert matching(known, "HTTP://wi") == [f"HTTP://wiki.{site.domain}"]
    assert matching(known, "ftp://wi") == matching(known, "https://wi", "guest") == []
    assert matching(known, "stack:s") == ["stack:shop", "stack:shop-production"]
    ids = {f"guest:{number}" for number in (101, 102, 103, 1001, 1002)}
    addresses = {f"guest:{host.address}" for host in site.hosts}
    assert set(matching(known, "guest:10")) == ids | addresses
    assert matching(known, "nothing:") == []


def test_the_kind_tells_two_of_one_name_apart(site: Site) -> None:
    assert [kind_of(meaning) for meaning in find(site, "guest:wiki")] == ["guest"]
    assert find(site, "service:wiki") == (site.service("wiki"),)
    assert find(site, "component:wiki") == ()
    with pytest.raises(AmbiguousNameError, match="wiki is a service and a guest: write service:"):
        choose(site, "wiki", first=())
    assert choose(site, "wiki", first=("guest",)) == site.host("wiki")


def test_explain_names_the_other_meanings(site: Site) -> None:
    explanation = explain(site, "wiki")
    assert isinstance(explanation, Explanation)
    assert (explanation.kind, explanation.see_also) == ("service", ("guest:wiki",))


def test_doctor_walks_the_paths_of_every_meaning(site: Site) -> None:
    both = {path.name for path in select(site, "wiki")}
    service = {path.name for path in select(site, "service:wiki")}
    its_guest = {path.name for path in select(site, "guest:wiki")}
    assert both == service | its_guest
    assert "wiki asks DNS" in its_guest - service


@pytest.mark.parametrize(
    ("component", "through", "not_through"),
    [
        ("nginx", "https://shop.{zone}", "stack shop-production on worker"),
        ("portainer", "Portainer reaches worker", "https://shop.{zone}"),
        ("stacks", "stack shop-production on worker", "https://wiki.{zone}"),
        ("dns", "worker asks DNS", "Docker's API on worker"),
        ("component:home", "https://home.{zone}", "https://shop.{zone}"),
        ("trust", "https://shop.{zone}", ""),
    ],
)
def test_doctor_of_a_component_walks_the_paths_through_it(
    site: Site, component: str, through: str, not_through: str
) -> None:
    path_names = {path.name for path in select(site, component)}
    assert through.format(zone=site.domain) in path_names, path_names
    assert not_through.format(zone=site.domain) not in path_names


@pytest.mark.parametrize(
    ("name", "near"),
    [("shp", "shop"), ("wroker", "worker"), ("stack:shp", "stack:shop"), ("ngnix", "nginx")],
)
def test_a_typing_error_is_told_the_near_name(site: Site, name: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{near}'") as caught:
        choose(site, name, first=())
    assert near in caught.value.near


def test_what_is_like_nothing_is_told_what_there_is(site: Site) -> None:
    with pytest.raises(UnknownNameError, match=r"There are: .*shop.*worker.*nginx"):
        choose(site, "zzzzzz", first=())


@pytest.mark.parametrize(
    "name", ["", " ", ":", "::", "stack:", "guest:", "://", "x" * 300, "\x1b["]
)
def test_words_that_are_no_name_mean_nothing(site: Site, name: str) -> None:
    assert find(site, name) == ()


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("HTTPS://Shop.example:8443/a/b", "shop.example"),
        ("shop.example.", "shop.example"),
        (" Guest:101 ", "guest:101"),
        ("service:https://shop.example/", "service:shop.example"),
        ("http:8080", "http"),
        ("https://shop.example?page=1", "shop.example"),
        ("https://shop.example#top", "shop.example"),
        ("https://ann:word@shop.example:8443/", "shop.example"),
        ("//shop.example/", "shop.example"),
        ("https://shop.example./?next=https://other.example/", "shop.example"),
        ("shop.example:443/a//b", "shop.example"),
        ("https://shop.example.:443/", "shop.example"),
        ("shop.example/a?next=https://other.example/", "shop.example"),
        ("shop.example?page=1", "shop.example"),
        ("shop.example#top", "shop.example"),
    ],
)
def test_plain_is_the_name_alone(word: str, name: str) -> None:
    assert normalised(word) == name


def test_kinds_are_told_to_operators_as_they_are(site: Site) -> None:
    with pytest.raises(UnknownNameError, match="no guest or stack is called"):
        choose(site, "zzz", first=(), of=("guest", "stack"))
    assert {"service", "guest", "component", "stack", "template", "record"} == ALL_KINDS


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (f"https://git.{ZONE}", "git"),
        (f"https://git.{ZONE}:443/x:2222", "git"),
        (f"https://git.{ZONE}/api?to=a:2222", "git/api"),
        ("git:2222", "git:2222"),
        (f"git.{ZONE}:2222", "git:2222"),
        (f"ssh://git@git.{ZONE}:2222/a.git", "git:2222"),
        ("git:2223", "git"),
        ("nas.example.com", "nas"),
        ("git/api?next=https://nas.example.com/", "git/api"),
        ("//git/api", "git/api"),
        (f"//ann@git.{ZONE}:2222/", "git:2222"),
        (f"https://git.{ZONE}.:443/api/x", "git/api"),
        ("git?page=1", "git"),
        ("service:git/api#top", "git/api"),
    ],
)
def test_a_port_of_the_gateway_tells_which_service_is_meant(
    tmp_path: Path, asked: str, meant: str
) -> None:
    declaration = minimal()
    ways = [
        {"name": "git", "port": 22, "scheme": "tcp", "gateway_port": 2222},
        {"name": "git", "port": 3000, "scheme": "https"},
        {"name": "git", "path": "/api", "port": 3001, "scheme": "https"},
    ]
    declaration.vm["vms"].append(vm(1003, "extra", None, 30, traefik_services=ways))
    declaration.lxc["external_services"] = [
        {"name": "nas", "address": "nas.example.com", "port": 443}
    ]
    (target,) = find(declaration.load(tmp_path), asked)
    assert getattr(target, "name", "") == meant


def test_each_address_of_a_guest_means_it(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.hypervisor = {
        "networks": {"internal": {"subnet": "172.16.100.0/24", "bridge": "vmbr100", "nat": True}}
    }
    declaration.lxc["lxc_configs"]["101"]["secondary_network_config"] = {"ip": "172.16.100.10/24"}
    site = declaration.load(tmp_path)
    for address in ("10.0.0.20", "172.16.100.10"):
        assert find(site, address) == (site.host("gateway"),)
        assert address in names(site, ["guest"])
    assert find(site, "172.16.100.1") == (site.hypervisor,)


def several_of_a_name(folder: Path) -> Site:
    """Services that share a name, told apart by a path or by a port of the gateway."""
    ways = [
        {"name": "git", "port": 22, "scheme": "tcp", "gateway_port": 2222},
        {"name": "git", "port": 23, "scheme": "tcp", "gateway_port": 2223},
        {"name": "two", "path": "/a", "port": 8451, "scheme": "https", "aliases": ["both"]},
        {"name": "two", "path": "/b", "port": 8452, "scheme": "https"},
        {"name": "three", "path": "/c", "port": 8453, "scheme": "https", "aliases": ["both"]},
    ]
    declaration = minimal()
    declaration.vm["vms"].append(vm(1003, "extra", None, 30, traefik_services=ways))
    return declaration.load(folder)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("two", "two is 2 services: write service:two/a or service:two/b"),
        ("service:two", "service:two is 2 services: write service:two/a or service:two/b"),
        ("both", "both is 2 services: write service:three/c or service:two/a"),
        ("git", "git is 2 services: write service:git:2222 or service:git:2223"),
    ],
)
def test_several_of_one_kind_are_told_apart_by_names_that_work(
    tmp_path: Path, name: str, told: str
) -> None:
    site = several_of_a_name(tmp_path)
    with pytest.raises(AmbiguousNameError) as caught:
        choose(site, name, first=())
    assert str(caught.value) == told
    for word in told.partition(": write ")[2].split(" or "):
        (meaning,) = find(site, word)
        assert f"service:{getattr(meaning, 'name', '')}" == word
        assert word.removeprefix("service:") in names(site, ["service"])


def test_explain_names_each_other_service_of_a_name_once(tmp_path: Path) -> None:
    explanation = explain(several_of_a_name(tmp_path), "both")
    assert isinstance(explanation, Explanation)
    assert explanation.see_also == ("service:two/a",)


def test_an_address_that_no_host_has_for_good_means_what_has_it(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["lxc_configs"]["105"] = lxc(
        "gateway-two", "nginx", 30, boot_order=2,
        dns_records=[{"hostname": "printer", "ip": "10.0.0.77"}],
    )  # fmt: skip
    declaration.lxc["site"] = {"virtual_address": "10.0.0.9"}
    site = declaration.load(tmp_path)
    for word in ("10.0.0.9", "https://10.0.0.9/", "component:10.0.0.9"):
        assert [meaning.name for meaning in find(site, word)] == ["keepalived"]
    assert "10.0.0.9" in names(site, ["component"])
    assert [(kind_of(m), m.name) for m in find(site, "10.0.0.77")] == [
        ("record", f"printer.{ZONE}")
    ]
    for verb in (_sync, _doctor, _explain):
        verb(site, "10.0.0.9")
        verb(site, "10.0.0.77")
