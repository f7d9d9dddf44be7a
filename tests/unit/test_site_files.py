"""Files of the system before Phoenix load with warnings, ours without; what follows from each."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from phoenix.declaration.load import load_site
from phoenix.derived import dns, firewall, routes
from phoenix.derived.certificates import certificates
from phoenix.site.findings import Finding
from phoenix.site.model import Host, Site
from tests.unit.project_copy import INHERITED, ROOT
from tests.unit.site_builder import LXC, VM, lxc, minimal, problem

ZONE = "internal.thinkheads.ai"


@pytest.fixture(scope="module")
def inherited() -> Site:
    return load_site(INHERITED)


@pytest.fixture(scope="module")
def own() -> Site:
    return load_site(ROOT / "inventories")


def test_own_files_give_no_warning(own: Site) -> None:
    assert own.warnings == (), "\n".join(map(str, own.warnings))


def test_own_hosts(own: Site) -> None:
    assert [(h.name, h.vmid, str(h.address), h.groups) for h in own.hosts] == [
        ("phoenix", None, "10.0.0.13", ("hypervisor",)),
        ("step-ca", 103, "10.0.0.10", ("lxc", "step_ca")),
        ("nginx-phoenix", 101, "10.0.0.153", ("lxc", "nginx")),
        ("traefik-internal", 102, "10.0.0.12", ("lxc", "traefik")),
        ("portainer", 1001, "10.0.0.111", ("vm", "portainer", "docker")),
        ("drphoenix", 1002, "10.0.0.102", ("vm", "docker")),
    ]
    assert [t.vmid for t in own.templates] == [900, 9000]
    hosts_by_role = (own.ca, own.traefik, own.gateway, own.portainer)
    assert [h.vmid for h in hosts_by_role if h] == [103, 102, 101, 1001], hosts_by_role
    assert own.host("101") is own.host(101) is own.host("nginx-phoenix")


@pytest.mark.parametrize("environment", ["production", "testing", "development"])
def test_own_stacks_deploy_in_each_environment(tmp_path: Path, environment: str) -> None:
    for name in (LXC, VM):
        (tmp_path / name).write_text((ROOT / "inventories" / name).read_text())
    data = json.loads((tmp_path / VM).read_text())
    data["vms"][2]["docker_stacks"] = ["qdrant_service", "thinkheads_ai_app"]
    (tmp_path / VM).write_text(json.dumps(data))
    loaded = load_site(tmp_path, ROOT / "stacks", environment=environment)
    stacks = loaded.host("drphoenix").docker_stacks
    assert {s.environment for s in stacks} == {environment}, stacks
    assert loaded.warnings == (), loaded.warnings
    secrets = [v.name for s in stacks for v in s.variables if v.secret]
    assert secrets == ["QDRANT_API_KEY", "DATABASE_PASS"], stacks


def test_own_keeps_the_values_of_the_machines(own: Site) -> None:
    """MAC, memory, cores, disk and storage of guests that were there before Phoenix."""
    machines = {
        host.vmid: (host.mac, host.memory_mb, host.cores, host.disk_gb, host.storage_pool,
                    host.clone_from, host.boot_order, host.dependencies)
        for host in own.guests
    }  # fmt: skip
    lxc, vms = "quickOS-lxc-disks", "quickOS-vm-disks"
    assert machines == {
        103: ("52:54:00:AA:BB:CA", 1024, 2, 16, lxc, 900, 1, ()),
        101: ("52:54:00:67:89:B3", 4096, 4, 32, lxc, 900, 2, (103,)),
        102: ("52:54:00:AA:BB:CB", 2048, 2, 16, lxc, 900, 3, (103,)),
        1001: (None, 8192, 4, 32, vms, 9000, 4, (102,)),
        1002: (None, 4096, 4, 64, vms, 9000, 5, (1001,)),
    }


def test_inherited_hosts_and_templates(inherited: Site) -> None:
    assert [h.vmid for h in inherited.hosts] == [None, 303, 301, 302, 3001, 3002, 401, 414]
    assert [t.vmid for t in inherited.templates] == [500, 501, 510, 9500]
    assert inherited.host(401).name == "tide-model-2-1"
    # Ids are text in one place and numbers in the next.
    assert inherited.host(302).dependencies == (303, 301)
    assert [t.clone_from for t in inherited.templates] == [None, 500, 501, None]
    assert {h.clone_from for h in inherited.guests if h.kind == "vm"} == {9500}
    stacks = [(s.name, s.environment) for s in inherited.host(3002).docker_stacks]
    assert stacks == [("chart_store", "production"), ("log_book", "production")]


def test_inherited_services(inherited: Site) -> None:
    services = {s.name: (s.owner.vmid, s.port, s.scheme, s.exposure) for s in inherited.services}
    assert services == {
        "agent": (3002, 9001, "https", "direct"),
        "ca": (303, 9000, "https", "direct"),
        "charts": (3002, 7333, "http", "gateway"),
        "home": (302, 443, "https", "gateway"),
        "horn": (414, 7700, "http", "gateway"),
        "portainer": (3001, 9443, "https", "gateway"),
        "tides": (401, 8200, "http", "gateway"),
        "traefik": (302, 443, "https", "gateway"),
    }


ODDITIES = {
    "unused key": (LXC, "nvidia_repo_url", "not used"),
    "key of the original system": (LXC, "site.network", "a key of the original system"),
    "inferred gateway": (LXC, "lxc_configs.301.portainer_role", "role 'nginx' is inferred"),
    "inferred portainer": (VM, "vms[1].portainer_role", "role 'portainer' is inferred"),
    "gateway through itself": (LXC, "lxc_configs.301.traefik_service", "through itself"),
    "routed ca": (LXC, "lxc_configs.303.traefik_service", "the CA is reached directly"),
    "routed agent": (VM, "vms[2].traefik_service", "the Portainer agent is reached directly"),
    "plain text": (LXC, "lxc_configs.414.traefik_service", "in plain text"),
    "dots in a name": (LXC, "lxc_configs.401.name", "'tide-model-2-1'"),
    "same rule": (LXC, "lxc_configs.303.firewall.rules[2]", "same rule as"),
    "same rule again": (LXC, "lxc_configs.303.firewall.rules[3]", "firewall.rules[1]"),
    "rule of stack and guest": ("stacks/chart_store/phoenix.json",
                                "environments.production.firewall_rules[0]", "same rule as"),
    "rule for anyone": (VM, "vms[2].firewall.rules[4]", "admits anyone"),
    "service of guest and stack": ("stacks/bosun_service/phoenix.json",
                                   "environments.production.services.portainer.traefik_labels",
                                   "its guest declares it too"),
    "no service": ("stacks/log_book/phoenix.json", "environments.production.services",
                   "declares no service"),
    "undefined variable": ("stacks/log_book/docker-compose.yml",
                           "services.log_book.ports[0]", "BOOK_PORT has no value"),
    "latest": ("stacks/chart_store/docker-compose.yml", "services.charts.image", "not pinned"),
    "external volume": ("stacks/chart_store/docker-compose.yml", "volumes.chart_files",
                        "external"),
    "gpu of a template": (LXC, "lxc_configs.501.gpu_assignment", "a template never runs"),
    "gpu feature": (LXC, "lxc_configs.414.features[0]", "does not manage 'nvidia'"),
    "nfs": (VM, "vms[1].volumes[1]", "does not share /srv/kept/3001/ca-certs"),
    "owner of a folder": (LXC, "lxc_configs.301.mount_points[0]", "stays with you"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "path", "message"), ODDITIES.values(), ids=ODDITIES.keys())
def test_inherited_warning(inherited: Site, file: str, path: str, message: str) -> None:
    hits = [w for w in inherited.warnings if (w.file, w.path) == (file, path)]
    assert any(message in w.message and w.fix for w in hits), (hits, len(inherited.warnings))


def test_nameserver_at_the_gateway_warns(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["lxc_configs"]["102"]["network_config"]["nameservers"] = "10.0.0.20"
    loaded = declared.load(tmp_path)
    finding = problem(loaded.warnings, LXC, "lxc_configs.102.network_config")
    assert "gateway" in finding.message, finding
    assert "10.0.0.13" in finding.fix, finding


def test_unknown_key_asks_did_you_mean(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["lxc_configs"]["102"]["dependancies"] = ["103"]
    declared.vm["vms"][0]["network_config"]["brigde"] = "vmbr1"
    loaded = declared.load(tmp_path)
    assert loaded.warnings == (
        Finding(LXC, "lxc_configs.102.dependancies", "unknown key: nothing reads it",
                "did you mean 'dependencies'? else remove it", "warning"),
        Finding(VM, "vms[0].network_config.brigde", "unknown key: nothing reads it",
                "did you mean 'bridge'? else remove it", "warning"),
    )  # fmt: skip


def test_minimal_has_no_warning(tmp_path: Path) -> None:
    assert minimal().load(tmp_path).warnings == ()


def test_site_object_overrides(tmp_path: Path) -> None:
    declared = minimal()
    node = {"name": "node1", "ip": "10.0.0.2/24", "gateway": "10.0.0.254"}
    declared.lxc["site"] = {"domain": "lab.test", "hypervisor": node}
    loaded = declared.load(tmp_path)
    assert (loaded.hypervisor.fqdn, str(loaded.hypervisor.address)) == (
        "node1.host.lab.test", "10.0.0.2",
    )  # fmt: skip
    assert all(r.name.endswith(".lab.test") for r in dns.records(loaded)), dns.records(loaded)


def test_lab_subnet_moves_every_address(inherited: Site) -> None:
    moved = load_site(INHERITED, subnet=IPv4Network("172.31.7.0/24"))
    text = moved.model_dump_json(exclude={"warnings"})
    assert "172.20.5." not in text, "an old address is left"
    assert moved.host(301).address == IPv4Address("172.31.7.20")
    assert len(moved.warnings) == len(inherited.warnings)


def test_records(own: Site) -> None:
    records = {r.name: str(r.address) for r in dns.records(own)}
    routed = ("app", "home", "portainer", "qdrant", "traefik")
    gateway = dict.fromkeys((f"{n}.{ZONE}" for n in routed), "10.0.0.153")
    assert records == gateway | {
        f"ca.{ZONE}": "10.0.0.10",
        f"portainer-agent.{ZONE}": "10.0.0.102",
        f"drphoenix.host.{ZONE}": "10.0.0.102",
        f"nginx-phoenix.host.{ZONE}": "10.0.0.153",
        f"phoenix.host.{ZONE}": "10.0.0.13",
        f"portainer.host.{ZONE}": "10.0.0.111",
        f"step-ca.host.{ZONE}": "10.0.0.10",
        f"traefik-internal.host.{ZONE}": "10.0.0.12",
        f"app.stack.{ZONE}": "10.0.0.102",
        f"qdrant.stack.{ZONE}": "10.0.0.102",
    }


def test_routes(own: Site) -> None:
    site_routes = [
        (r.service.name, r.url, r.server_name, r.health_path) for r in routes.routes(own)
    ]
    assert site_routes == [
        ("app", "https://10.0.0.102:8000", f"app.stack.{ZONE}", "/health"),
        ("home", "http://127.0.0.1:8083", f"traefik-internal.host.{ZONE}", "/"),
        ("portainer", "https://10.0.0.111:9443", f"portainer.host.{ZONE}", "/api/system/status"),
        ("qdrant", "https://10.0.0.102:6333", f"qdrant.stack.{ZONE}", "/healthz"),
        ("traefik", None, f"traefik-internal.host.{ZONE}", "/dashboard/"),
    ]


def test_certificates(own: Site) -> None:
    site_certificates = [(c.host.vmid, c.name, c.sans, c.challenge)
             for c in certificates(own)]  # fmt: skip
    assert site_certificates == [
        (101, "gateway", routes.gateway_names(own), "webroot"),
        (102, "traefik", (f"traefik-internal.host.{ZONE}",), "standalone"),
        (1001, "host", (f"portainer.host.{ZONE}",), "standalone"),
        (1002, "host", (f"drphoenix.host.{ZONE}",), "standalone"),
        (1002, "stack-qdrant-service-production", (f"qdrant.stack.{ZONE}",), "standalone"),
        (1002, "stack-thinkheads-ai-app-production", (f"app.stack.{ZONE}",), "standalone"),
    ]
    assert routes.gateway_names(own) == tuple(
        f"{n}.{ZONE}" for n in ("app", "home", "portainer", "qdrant", "traefik")
    )


def end(endpoint: firewall.Endpoint) -> str:
    return endpoint.name if isinstance(endpoint, Host) else str(endpoint)


def test_flows_between_guests(own: Site) -> None:
    lan = "10.0.0.0/24"
    flows = {(end(f.source), end(f.destination), f.proto, f.port) for f in firewall.flows(own)}
    guests = [h.name for h in own.guests]
    expected: set[tuple[str, str, str, int | None]]
    expected = {(g, "phoenix", p, 53) for g in [*guests, lan] for p in ("udp", "tcp")}
    expected |= {(lan, h.name, "tcp", 22) for h in own.hosts} | {(lan, "phoenix", "tcp", 8006)}
    expected |= {(lan, h.name, "icmp", None) for h in own.hosts}
    expected |= {(h.name, "step-ca", "tcp", 9000) for h in own.hosts if h.name != "step-ca"}
    holders = ("nginx-phoenix", "traefik-internal", "portainer", "drphoenix")
    expected |= {("step-ca", holder, "tcp", 80) for holder in holders}
    expected |= {(lan, "nginx-phoenix", "tcp", port) for port in (80, 443)}
    expected |= {
        ("nginx-phoenix", "traefik-internal", "tcp", 443),
        ("traefik-internal", "portainer", "tcp", 9443),
        ("traefik-internal", "drphoenix", "tcp", 8000),
        ("traefik-internal", "drphoenix", "tcp", 6333),
        ("portainer", "drphoenix", "tcp", 9001),
    }
    assert flows == expected, f"missing {expected - flows}; too many {flows - expected}"


def test_both_ends_of_a_flow_have_a_rule(own: Site) -> None:
    rules = firewall.rules(own)
    portainer, worker = own.host(1001), own.host(1002)
    why = "Portainer to its agent"
    target, back = IPv4Network(worker.address), IPv4Network(portainer.address)
    assert firewall.Rule("out", "ACCEPT", "tcp", "9001", target, why) in rules["portainer"]
    assert firewall.Rule("in", "ACCEPT", "tcp", "9001", back, why) in rules["drphoenix"]


@pytest.mark.parametrize("refusal", ["DROP", "REJECT"])
def test_declared_rules_are_kept_and_refusals_come_first(tmp_path: Path, refusal: str) -> None:
    declared = minimal()
    rules = [
        {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "80,9000:9010",
         "source": "10.0.0.21"},
        {"type": "in", "action": refusal, "proto": "tcp", "port": "22", "source": "10.0.0.99"},
    ]  # fmt: skip
    declared.lxc["lxc_configs"]["200"] = lxc("extra", None, 40, firewall={"rules": rules})
    of_guest = firewall.rules(declared.load(tmp_path))
    first, *rest = of_guest["extra"]
    assert (first.action, first.ports, str(first.peer)) == (refusal, "22", "10.0.0.99/32"), of_guest
    declared_rules = [(r.ports, str(r.peer)) for r in rest if r.comment == "declared"]
    assert declared_rules == [("80", "10.0.0.21/32"), ("9000:9010", "10.0.0.21/32")], rest
    assert [r.ports for r in of_guest["proxy"] if r.comment == "declared"] == ["80", "9000:9010"]


def test_a_rule_may_name_the_site_s_own_network(tmp_path: Path) -> None:
    """So that a stack's rules hold in every site, and where the lab moves them."""
    declared = minimal()
    rules = [
        {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "8000", "source": "site"},
        {"type": "out", "action": "ACCEPT", "proto": "udp", "port": "53", "dest": "site"},
    ]
    declared.stacks["shop"][0]["environments"]["production"]["firewall_rules"] = rules
    declared.lxc["lxc_configs"]["101"]["firewall"] = {"rules": rules[:1]}
    for subnet in (None, IPv4Network("172.30.5.0/24")):
        loaded = declared.load(tmp_path / str(bool(subnet)), subnet=subnet)
        network = subnet or IPv4Network("10.0.0.0/24")
        assert loaded.warnings == ()
        (stack,) = loaded.host("worker").docker_stacks
        assert [(r.source, r.destination) for r in stack.firewall_rules] == [
            (network, None),
            (None, network),
        ]
        rule = next(r for r in firewall.rules(loaded)["gateway"] if r.ports == "8000")
        assert rule.peer == network


def test_a_wrong_peer_of_a_rule_is_told_of_the_word(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["lxc_configs"]["101"]["firewall"] = {
        "rules": [{"type": "in", "action": "ACCEPT", "source": "sight"}]
    }
    finding = problem(declared.refused(tmp_path), LXC, "lxc_configs.101.firewall.rules[0].source")
    assert finding.message == "'sight' is not an IPv4 address or network"
    assert finding.fix == ('write "10.0.0.5" or "10.0.0.0/24", or "site" for the site\'s network')


def test_the_examples_work_in_another_network(tmp_path: Path) -> None:
    """A newcomer changes the addresses and nothing else."""
    for name in (LXC, VM):
        text = (ROOT / "inventories" / name).read_text()
        (tmp_path / name).write_text(text.replace("10.0.0.", "192.168.7."))
    loaded = load_site(tmp_path, ROOT / "stacks")
    assert loaded.warnings == ()
    assert {str(host.gateway) for host in loaded.guests} == {"192.168.7.1"}
    assert {host.nameservers for host in loaded.guests} == {(loaded.hypervisor.address,)}
