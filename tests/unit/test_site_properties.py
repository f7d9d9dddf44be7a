"""What holds for every valid declaration, by hypothesis."""

from __future__ import annotations

import tempfile
from collections import Counter
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from phoenix.derived import dns, firewall, routes
from phoenix.derived.certificates import certificates
from phoenix.site.model import Host, Site
from tests.examples import examples
from tests.unit.site_builder import Declaration, lxc, stack, vm

LABELS = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4})?", fullmatch=True).filter(
    lambda name: name not in {"ca", "host", "traefik", "portainer-agent", "phoenix"}
)

OF_PORTAINER = {9001, 9005, 48000}  # agents and the Edge server have them: a service is refused


@st.composite
def declarations(draw: st.DrawFn) -> Declaration:
    """Valid sites: the fixed roles, up to five more guests with services, up to three stacks."""
    extra = draw(st.integers(0, 5))
    stacks = draw(st.integers(0, 3))
    count = 5 + extra
    names = draw(st.lists(LABELS, min_size=count, max_size=count, unique=True))
    services = iter(draw(st.lists(LABELS, min_size=20, max_size=20, unique=True)))
    hosts = draw(
        st.lists(
            st.integers(2, 254).filter(lambda n: n != 13),
            min_size=count,
            max_size=count,
            unique=True,
        )
    )
    vmids = draw(st.lists(st.integers(100, 5000), min_size=count, max_size=count, unique=True))

    def common(position: int) -> dict[str, Any]:
        earlier = draw(st.sets(st.sampled_from(vmids[:position]))) if position else set()
        dependencies = [draw(st.sampled_from([vmid, str(vmid)])) for vmid in sorted(earlier)]
        more: dict[str, Any] = {"dependencies": dependencies, "boot_order": draw(st.integers(0, 9))}
        if position >= 3 and draw(st.booleans()):
            more["traefik_service"] = {
                "name": next(services),
                "port": draw(
                    st.integers(1024, 65535).filter(lambda port: port not in OF_PORTAINER)
                ),
                # Portainer and its agents always serve TLS (positions 3 and 4).
                "scheme": draw(st.sampled_from(["http", "https"])) if position > 4 else "https",
                "exposure": draw(st.sampled_from(["gateway", "direct"])),
            }
            if draw(st.booleans()):
                name = f"{names[position]}-{next(services)}x.internal.thinkheads.ai"
                more["traefik_service"]["server_name"] = name
        return more

    containers, machines, manifests = {}, [], {}
    for position, role in enumerate(["step_ca", "nginx", "traefik"]):
        containers[str(vmids[position])] = lxc(
            names[position], role, hosts[position], **common(position)
        )
    machines.append(vm(vmids[3], names[3], "portainer", hosts[3], **common(3)))
    agent = common(4) | {"portainer_role": "agent", "docker_stacks": []}
    ports = draw(st.lists(st.integers(10000, 60000), min_size=3, max_size=3, unique=True))
    for position in range(stacks):
        manifests[f"stack{position}"] = stack(next(services), ports[position])
        long = {"name": f"stack{position}", "environment": "production"}
        agent["docker_stacks"].append(draw(st.sampled_from([f"stack{position}", long])))
    machines.append(vm(vmids[4], names[4], "docker", hosts[4], **agent))
    for position in range(5, count):
        if draw(st.booleans()):
            entry = lxc(names[position], None, hosts[position], **common(position))
            containers[str(vmids[position])] = entry
        else:
            entry = vm(vmids[position], names[position], None, hosts[position], **common(position))
            machines.append(entry)
    keys = draw(st.permutations(sorted(containers)))
    return Declaration(
        {"lxc_configs": {key: containers[key] for key in keys}},
        {"vms": draw(st.permutations(machines))},
        manifests,
    )


def loaded(declared: Declaration, **options: Any) -> Site:
    with tempfile.TemporaryDirectory() as folder:
        return declared.load(Path(folder), **options)


FEW = examples(60)


@FEW
@given(declarations())
def test_no_name_has_two_owners(declared: Declaration) -> None:
    site = loaded(declared)
    event(f"{len(site.services)} services")
    claimed: dict[str, set[str]] = {}
    for record in dns.claims(site):
        claimed.setdefault(record.name, set()).add(str(record.address))
    assert all(len(addresses) == 1 for addresses in claimed.values()), claimed
    sans = Counter(n for c in certificates(site) for n in c.sans)
    assert all(count == 1 for count in sans.values()), sans
    assert len({s.name for s in site.services}) == len(site.services), site.services


@FEW
@given(declarations())
def test_every_routed_name_is_served_end_to_end(declared: Declaration) -> None:
    site = loaded(declared)
    gateway, traefik = site.gateway, site.traefik
    assert gateway is not None
    assert traefik is not None
    flows = {(f.source, f.destination, f.proto, f.port) for f in firewall.flows(site)}
    site_certificates = certificates(site)
    for route in routes.routes(site):
        records = [r for r in dns.records(site) if r.name == route.fqdn]
        assert [r.address for r in records] == [gateway.address], (route, records)
        holders = [c.host for c in site_certificates if route.fqdn in c.sans]
        assert holders == [gateway], (route, holders)
        assert (gateway, traefik, "tcp", 443) in flows, flows
        if route.kind in ("dashboard", "home"):  # Traefik's own, and on its own loopback
            continue
        owner = route.service.owner
        assert (traefik, owner, "tcp", route.service.port) in flows, (route, flows)
        if route.service.scheme == "https":
            provers = [c.host for c in site_certificates if route.server_name in c.sans]
            assert provers == [owner], (route, provers)


@FEW
@given(declarations())
def test_every_certificate_can_be_validated(declared: Declaration) -> None:
    site = loaded(declared)
    flows = {(f.source, f.destination, f.port) for f in firewall.flows(site)}
    records = {r.name: r.address for r in dns.records(site)}
    for certificate in certificates(site):
        assert (site.ca, certificate.host, 80) in flows, certificate
        assert {records.get(name) for name in certificate.sans} == {certificate.host.address}, (
            certificate
        )


@FEW
@given(declarations())
def test_order_respects_dependencies(declared: Declaration) -> None:
    site = loaded(declared)
    place = {host.vmid: position for position, host in enumerate(site.hosts)}
    assert site.hosts[0] is site.hypervisor
    entries = [*declared.lxc["lxc_configs"].items(), *((v["vmid"], v) for v in declared.vm["vms"])]
    assert len(place) == len(entries) + 1, place
    for vmid, data in entries:
        for before in data["dependencies"]:
            assert place[int(before)] < place[int(vmid)], (before, vmid, place)


@FEW
@given(declarations())
def test_each_flow_has_a_rule_at_both_ends(declared: Declaration) -> None:
    site = loaded(declared)
    rules = firewall.rules(site)
    for flow in firewall.flows(site):
        for end, direction in ((flow.destination, "in"), (flow.source, "out")):
            if isinstance(end, Host):
                hits = [r for r in rules[end.name] if r.direction == direction
                        and r.ports == (str(flow.port) if flow.port else None)
                        and r.proto == flow.proto]  # fmt: skip
                assert hits, (flow, rules[end.name])


@FEW
@given(declarations(), st.integers(0, 255))
def test_readdressing_changes_addresses_only(declared: Declaration, third: int) -> None:
    new = IPv4Network(f"172.30.{third}.0/24")
    before, after = loaded(declared), loaded(declared, subnet=new)
    assert after.network == new
    text = after.model_dump_json().replace(f"172.30.{third}.", "10.0.0.")
    folders = {str(s.directory.parent) for h in before.guests for s in h.docker_stacks}
    moved = {str(s.directory.parent) for h in after.guests for s in h.docker_stacks}
    for old, other in zip(sorted(moved), sorted(folders), strict=True):
        text = text.replace(old, other)
    again = Site.model_validate_json(text)
    assert again.model_dump() == before.model_dump()


@FEW
@given(declarations())
def test_loading_is_deterministic(declared: Declaration) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = declared.load(Path(folder)), declared.load(Path(folder))
    assert first == second
    for derive in (dns.records, routes.routes, firewall.flows, certificates):
        assert derive(first) == derive(second), derive
