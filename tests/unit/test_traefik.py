from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix.components.traefik import traefik_yml as traefik
from phoenix.components.trust import ROOTS
from phoenix.derived.routes import gateway_names
from phoenix.site.model import Site
from phoenix.site.roles import RoleError, guest_with
from tests.openssl_server import proving
from tests.unit.site_builder import minimal

ZONE = "internal.thinkheads.ai"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


def static(site: Site, *, metrics: bool = False) -> Any:
    return yaml.safe_load(traefik.static_config(site, metrics=metrics))


def test_every_routed_name_has_one_router_to_its_verified_backend(site: Site) -> None:
    http = yaml.safe_load(traefik.dynamic_config(site)[0])["http"]
    rules = {name: router["rule"] for name, router in http["routers"].items()}
    assert sorted(rules.values()) == sorted(
        ["PathPrefix(`/api`)", *(f"Host(`{name}`)" for name in gateway_names(site))]
    ), rules
    assert http["services"]["portainer"]["loadBalancer"] == {
        "servers": [{"url": "https://10.0.0.23:9443"}],
        "serversTransport": "portainer",
    }
    transport = http["serversTransports"]["portainer"]
    assert transport["serverName"] == f"control.host.{ZONE}"
    assert transport["rootCAs"] == [ROOTS], "pydantic's alias must be Traefik's spelling"
    assert "insecureSkipVerify" not in str(http)


def test_dashboard_asks_for_a_login_and_the_open_api_is_local(site: Site) -> None:
    routers = yaml.safe_load(traefik.dynamic_config(site)[0])["http"]["routers"]
    assert routers["traefik"]["service"] == "api@internal"
    assert routers["traefik"]["middlewares"][0] == "dashboard-login"
    open_api = [
        name
        for name, router in routers.items()
        if router["service"] == "api@internal" and "dashboard-login" not in str(router)
    ]
    assert open_api == ["local_api"]
    assert routers["local_api"]["entryPoints"] == ["local"]
    assert static(site)["entryPoints"]["local"]["address"].startswith("127.0.0.1:")
    assert static(site)["api"] == {"dashboard": True, "insecure": False}, "no entry point beside"


def test_the_gateway_alone_is_let_in_and_believed(site: Site) -> None:
    entry = static(site)["entryPoints"]["websecure"]
    assert entry["forwardedHeaders"] == {"trustedIPs": ["10.0.0.20/32"]}
    assert entry["http"]["middlewares"] == ["from-gateway@file"]
    middlewares = yaml.safe_load(traefik.dynamic_config(site)[0])["http"]["middlewares"]
    assert middlewares["from-gateway"] == {"ipAllowList": {"sourceRange": ["10.0.0.20/32"]}}
    assert list(static(site)["entryPoints"]) == ["local", "websecure"]


def test_dashboard_s_password_stays_at_traefik_and_old_tls_is_refused(site: Site) -> None:
    data = yaml.safe_load(traefik.dynamic_config(site)[0])
    login = data["http"]["middlewares"]["dashboard-login"]["basicAuth"]
    assert login == {"usersFile": traefik.USERS_FILE, "removeHeader": True}
    assert "options" not in data["tls"], "those of admission.yml"
    offered = yaml.safe_load(traefik.admission(["PEM"])[0])["tls"]["options"]["default"]
    assert offered["minVersion"] == "VersionTLS12"
    suites = offered["cipherSuites"]
    assert all(s.startswith("TLS_ECDHE_") for s in suites), "forward secrecy"
    assert all("_GCM_" in s or "_POLY1305_" in s for s in suites), "AEAD, no CBC"
    # X_Forwarded_For beside X-Forwarded-For (CVE-2026-88879)
    http = static(site)["entryPoints"]["websecure"]["http"]
    assert http["aliasHeadersStrategy"] == "delete"


def test_a_request_is_logged_by_the_gateway_alone(site: Site) -> None:
    assert "accessLog" not in static(site)


def test_metrics_are_asked_for_by_a_setting_and_are_those_of_entry_points(site: Site) -> None:
    assert "metrics" not in static(site)
    static_config = static(site, metrics=True)
    assert static_config.pop("metrics") == {
        "prometheus": {
            "entryPoint": "local",
            "addEntryPointsLabels": True,
            "addRoutersLabels": False,
            "addServicesLabels": False,
        }
    }
    assert static_config == static(site), "nothing else differs"


def test_marker_is_in_the_configuration_and_follows_it(site: Site, tmp_path: Path) -> None:
    text, marker = traefik.dynamic_config(site)
    assert marker in yaml.safe_load(text)["http"]["middlewares"]
    assert traefik.dynamic_config(site) == (text, marker)
    other = minimal()
    other.vm["vms"][0]["traefik_service"]["port"] = 9444
    assert traefik.dynamic_config(other.load(tmp_path))[1] != marker


def test_another_password_is_another_version(site: Site) -> None:
    """Traefik skips a configuration that is as before, and then reads no file of users either."""
    before, after = (traefik.dynamic_config(site, users) for users in ("a:$2y$1", "a:$2y$2"))
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert "$2y$" not in after[0]


def test_site_without_backends_has_no_empty_sections(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.stacks = {}
    declaration.vm = {"vms": []}
    http = yaml.safe_load(traefik.dynamic_config(declaration.load(tmp_path))[0])["http"]
    assert "serversTransports" not in http, "Traefik refuses empty sections"
    assert {"home", "traefik"} <= set(http["routers"]), http["routers"]


def test_start_page_is_plain_http_on_the_guest_s_own_loopback_alone(site: Site) -> None:
    http = yaml.safe_load(traefik.dynamic_config(site)[0])["http"]
    plain = {
        name: service["loadBalancer"]["servers"]
        for name, service in http["services"].items()
        if "serversTransport" not in service["loadBalancer"]
    }
    assert plain == {"home": [{"url": "http://127.0.0.1:8083"}]}
    assert "home" not in http["serversTransports"]


def test_its_certificate_is_the_pair_that_the_guest_renews(site: Site) -> None:
    stores = yaml.safe_load(traefik.dynamic_config(site)[0])["tls"]["stores"]
    assert stores["default"]["defaultCertificate"] == {
        "certFile": "/etc/phoenix/tls/traefik/fullchain.pem",
        "keyFile": "/etc/phoenix/tls/traefik/privkey.pem",
    }
    assert "certificatesResolvers" not in static(site)


def test_every_backend_is_waited_for_and_the_dashboard_is_not(site: Site) -> None:
    http = yaml.safe_load(traefik.dynamic_config(site)[0])["http"]
    waiting = {name for name, router in http["routers"].items()
               if traefik.RETRY in router.get("middlewares", ())}  # fmt: skip
    assert waiting == set(http["services"])
    retry = http["middlewares"][traefik.RETRY]["retry"]
    assert retry["timeout"] == traefik.RETRY_TIMEOUT


def test_site_without_a_gateway_is_told_how_to_get_one(tmp_path: Path) -> None:
    declaration = minimal()
    del declaration.lxc["lxc_configs"]["101"]["role"]
    declaration.stacks, declaration.vm = {}, {"vms": []}
    declaration.lxc["lxc_configs"]["101"]["name"] = "plain"
    site = declaration.load(tmp_path)
    with pytest.raises(RoleError, match='add "role": "nginx" to its entry'):
        guest_with(site, "nginx")


def test_a_client_must_prove_to_be_the_gateway() -> None:
    text, marker = traefik.admission(["PEM of one", "PEM of two"])
    data = yaml.safe_load(text)
    asked = data["tls"]["options"]["default"]["clientAuth"]
    assert asked == {
        "caFiles": ["PEM of one", "PEM of two"],
        "clientAuthType": "RequireAndVerifyClientCert",
    }
    assert list(data["http"]["middlewares"]) == [marker]
    assert marker != traefik.admission(["PEM of one"])[1]


@pytest.mark.parametrize(
    ("certified", "refused"),
    [("worker.host.test", True), ("shop.stack.test", False), ("other.test", False), ("", False)],
)
def test_no_route_is_switched_to_a_name_that_only_the_former_one_proves(
    tmp_path: Path, certified: str, refused: bool
) -> None:
    """By the script itself; "" is a backend that is down."""
    with proving(certified or "down.test", tmp_path) as (server, port):
        if not certified:
            server.kill()
            server.wait()
        words = (tmp_path / "crt", "127.0.0.1", port, "shop.stack.test", "worker.host.test")
        done = subprocess.run(
            traefik.FORMER.argv(*words), capture_output=True, text=True, check=False, timeout=60
        )
    assert (done.returncode != 0) is refused, done
    if refused:
        assert "still proves to be worker.host.test, and not shop.stack.test" in done.stderr
