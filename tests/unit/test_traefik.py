from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from phoenix.components.traefik import traefik_yml as traefik
from phoenix.components.trust import ROOTS
from phoenix.derived.routes import gateway_names
from phoenix.site.model import Site
from phoenix.site.roles import RoleError, guest_with
from tests.openssl_server import proving
from tests.unit.site_builder import minimal, stack

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
    assert http["serversTransports"]["portainer"] == {
        "serverName": f"control.host.{ZONE}",
        "rootCAs": [ROOTS],  # pydantic's alias must be Traefik's spelling
        "maxIdleConnsPerHost": 64,
        "forwardingTimeouts": {"dialTimeout": "5s", "idleConnTimeout": "90s"},
    }
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
    assert static(site)["ping"] == {"entryPoint": "local"}
    assert static(site)["api"] == {"dashboard": True, "insecure": False}, "no entry point beside"


def test_the_gateway_alone_is_let_in_and_believed(site: Site) -> None:
    entry = static(site)["entryPoints"]["websecure"]
    assert entry["forwardedHeaders"] == {"trustedIPs": ["10.0.0.20/32"]}
    assert entry["http"]["middlewares"] == ["from-gateway@file"]
    middlewares = yaml.safe_load(traefik.dynamic_config(site)[0])["http"]["middlewares"]
    assert middlewares["from-gateway"] == {"ipAllowList": {"sourceRange": ["10.0.0.20/32"]}}
    assert list(static(site)["entryPoints"]) == ["local", "websecure"]
    assert entry["http"]["tls"] == {}, "without it the port takes plain text"
    assert entry["address"] == ":443"


def test_the_gateway_ends_connections_and_guards_against_slow_clients(site: Site) -> None:
    """Nginx drops idle connections after 60 s: Traefik must not be the one that hangs up."""
    assert static(site)["entryPoints"]["websecure"]["transport"] == {
        "respondingTimeouts": {"readTimeout": "0s", "idleTimeout": "180s"},
        "lifeCycle": {"graceTimeOut": "10s"},
    }


def test_it_tells_nobody_of_itself_and_reads_whole_files_alone(site: Site) -> None:
    data = static(site)
    assert data["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
    assert data["log"] == {"level": "INFO", "format": "json"}
    assert data["providers"] == {"file": {"directory": "/etc/traefik/dynamic", "watch": False}}


def test_a_key_that_traefik_does_not_have_is_refused() -> None:
    """Traefik itself has no check mode."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        traefik._Server.model_validate({"url": "https://10.0.0.1", "wieght": 1})


@pytest.mark.parametrize(
    ("url", "leads_to"),
    [
        ("https://traefik.test", "https://traefik.test/dashboard/"),
        ("https://traefik.test/", "https://traefik.test/dashboard/"),
        ("https://traefik.test/dashboard/", None),
        ("https://traefik.test/api/overview", None),
    ],
)
def test_the_dashboard_s_name_leads_to_the_dashboard(
    site: Site, url: str, leads_to: str | None
) -> None:
    middlewares = yaml.safe_load(traefik.dynamic_config(site)[0])["http"]["middlewares"]
    redirect = middlewares["dashboard-home"]["redirectRegex"]
    assert redirect["replacement"].count("${1}") == 1
    found = re.search(redirect["regex"], url)
    replaced = found and found.expand(redirect["replacement"].replace("${1}", r"\1"))
    assert replaced == leads_to


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
    assert offered["curvePreferences"] == ["X25519MLKEM768", "X25519", "CurveP256", "CurveP384"]
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
    assert re.fullmatch("phoenix-[0-9a-f]{16}", marker), "no two versions share it"
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
    declaration.lxc["lxc_configs"]["102"]["leave_alone"] = ["start_page"]
    http = yaml.safe_load(traefik.dynamic_config(declaration.load(tmp_path / "bare"))[0])["http"]
    assert "services" not in http


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
    # 100 times 0.1 s are the 10 s that a container may take to restart.
    assert http["middlewares"][traefik.RETRY]["retry"] == {
        "attempts": 100, "initialInterval": "100ms", "timeout": traefik.RETRY_TIMEOUT,
    }  # fmt: skip


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
    assert traefik.admitted(text) == ("PEM of one", "PEM of two")


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_file_of_nothing_admits_nobody(text: str) -> None:
    assert traefik.admitted(text) == ()


@pytest.mark.parametrize("text", ["a: [", "a: 1", "words", "tls: 1", "tls: {options: [1]}"])
def test_a_file_of_another_form_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match="is not as Phoenix writes it"):
        traefik.admitted(text)


def test_former_names_are_asked_of_each_stack_s_tls_port_alone(tmp_path: Path) -> None:
    """Portainer is no stack, and a stack in plain text proves no name."""
    declaration = minimal()
    declaration.stacks["wiki"] = stack("wiki", 8100)
    declaration.vm["vms"][1]["docker_stacks"].append("wiki")
    plain = declaration.stacks["wiki"][0]["environments"]["production"]["services"]["web"]
    plain["traefik_service"]["scheme"] = "http"
    assert traefik.former_names(declaration.load(tmp_path)) == (
        ROOTS, "10.0.0.24", "8000", f"shop.stack.{ZONE}", f"worker.host.{ZONE}",
    )  # fmt: skip


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
