"""What is wrong is refused with its reason, exit code 1, and the old configuration goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.project import Project, Run
from tests.integration.site_lab import SiteLab

pytestmark = pytest.mark.usefixtures("repaired")
TREES = "/var/lib/phoenix/trees"
KEY = "/etc/phoenix/tls/gateway/privkey.pem"


def current(site: SiteLab, role: str, component: str) -> str:
    """Name of the generation that is in charge."""
    return site.sh(role, f"readlink {TREES}/{component}/current", ok=True).out


@pytest.fixture
def still_serving(site: SiteLab) -> Iterator[None]:
    """Before and after the test, every service answers."""
    for route in site.backends:
        assert site.serves(route) == ""
    yield
    for route in site.backends:
        assert site.serves(route) == ""


def refused(run: Run, *reasons: str) -> None:
    """The run failed, said why, and no host changed."""
    assert run.returncode == 1, run.explain()
    assert "Traceback" not in run.output, run.explain()
    for reason in reasons:
        assert reason in run.output, f"{reason!r} is not said:\n{run.explain()}"


@pytest.mark.usefixtures("still_serving")
def test_broken_nginx_template(site: SiteLab, variant: Project) -> None:
    before = site.unit("gateway"), site.workers(), current(site, "gateway", "nginx")
    variant.replace(
        "phoenix/components/nginx/nginx.conf.j2", "server_tokens off;", "server_token off;"
    )
    run = variant.run("deploys/nginx.py")
    refused(run, 'unknown directive "server_token"', "nothing was changed")
    assert (site.unit("gateway"), site.workers(), current(site, "gateway", "nginx")) == before


@pytest.mark.usefixtures("still_serving")
def test_nginx_that_passes_its_check_but_does_not_load(site: SiteLab, variant: Project) -> None:
    """Valid, but the workers never report this generation: health fails, and it is undone."""
    before = site.unit("gateway"), current(site, "gateway", "nginx")
    variant.replace("phoenix/components/nginx/nginx.conf.j2", "{{ generation }}", "another one")
    variant.replace("deploys/gateway_tree.py", 'action="reload",', 'action="reload",\n deadline=2,')
    run = variant.run("deploys/nginx.py")
    refused(run, "not healthy after 2 s", "the previous configuration serves again")
    assert (site.unit("gateway"), current(site, "gateway", "nginx")) == before


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('f"Host(`{name}`)" for name', 'f"Hst(`{name}`)" for name', "Hst"),
        (
            '"dashboard-login", "dashboard-home"]',
            '"dashboard-login", "dashboard-hme"]',
            "dashboard-hme",
        ),
    ],
    ids=["rule", "middleware"],
)
def test_bad_route(site: SiteLab, variant: Project, old: str, new: str, reason: str) -> None:
    before = site.unit("traefik"), current(site, "traefik", "traefik-routes")
    variant.replace("phoenix/components/traefik/traefik_yml.py", old, new)
    run = variant.run("deploys/traefik.py")
    refused(run, reason, "nothing was changed")
    assert (site.unit("traefik"), current(site, "traefik", "traefik-routes")) == before


@pytest.mark.usefixtures("still_serving")
def test_bad_static_traefik_configuration(site: SiteLab, variant: Project) -> None:
    before = site.unit("traefik"), current(site, "traefik", "traefik")
    variant.replace(
        "phoenix/components/traefik/traefik_yml.py",
        '"checkNewVersion": False',
        '"chckNewVersion": False',
    )
    run = variant.run("deploys/traefik.py")
    refused(run, "chckNewVersion", "nothing was changed")
    assert (site.unit("traefik"), current(site, "traefik", "traefik")) == before


@pytest.mark.usefixtures("still_serving")
def test_broken_dns_configuration(site: SiteLab, variant: Project) -> None:
    before = site.unit("hypervisor"), current(site, "hypervisor", "dns")
    variant.replace(
        "phoenix/components/dnsmasq/dnsmasq_conf.py", '"domain-needed"', '"domain-neded"'
    )
    run = variant.run("deploys/dns.py")
    refused(run, "bad option", "nothing was changed")
    assert (site.unit("hypervisor"), current(site, "hypervisor", "dns")) == before


@pytest.mark.usefixtures("still_serving")
def test_certificate_that_does_not_match_its_key(site: SiteLab) -> None:
    """A changed configuration must not go live beside it; the next good run issues a new pair."""
    before = site.unit("gateway"), site.workers(), current(site, "gateway", "nginx")
    other = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null"
    # A new file: nginx's workers have the old one in memory, as after a person's mistake.
    site.sh("gateway", f"umask 077; {other} >{KEY}.new && mv {KEY}.new {KEY}", ok=True)
    run = site.project.run("deploys/nginx.py", data={"nginx_max_body": "77m"})
    refused(run, "key values mismatch", "nothing was changed")
    assert (site.unit("gateway"), site.workers(), current(site, "gateway", "nginx")) == before
    assert site.serves(site.backends[0]) == ""
    repair_run = site.project.run("deploys/nginx.py")
    assert repair_run.returncode == 0, repair_run.explain()
    assert ("Nginx: certificate", site.roles["gateway"]) in repair_run.changes, repair_run.explain()


def test_declaration_that_cannot_work(site: SiteLab, variant: Project) -> None:
    """File, JSON path and fix, before any host is touched."""
    file = "inventories/phoenix_lxc_configs.json"
    declared = variant.json(file)
    guests = declared["lxc_configs"]
    guests["102"]["network_config"]["ip"] = guests["101"]["network_config"]["ip"]
    variant.write_json(file, declared)
    run = variant.run("deploys/all.py")
    refused(run, "phoenix_lxc_configs.json", "lxc_configs.102.network_config.ip")
    assert "Connecting to hosts" not in run.output, run.explain()


def test_setting_that_cannot_work(site: SiteLab) -> None:
    before = site.unit("hypervisor")
    run = site.project.run("deploys/dns.py", data={"dns_upstreams": '["no address"]'})
    assert run.returncode == 1, run.explain()
    assert (
        "dns_upstreams[0]: 'no address' is not the IPv4 address of a name server" in run.output
    ), run.explain()
    assert run.results is None, "a host was touched"
    assert site.unit("hypervisor") == before
