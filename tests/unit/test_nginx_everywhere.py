"""What holds in every server and location of nginx.conf, of a site that has one of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crossplane
import pytest

from phoenix.components.nginx import nginx_conf as nginx
from phoenix.components.trust import ROOTS
from phoenix.site.model import Site
from phoenix.site.removed_headers import REMOVED_HEADERS
from tests.unit.site_builder import lxc, minimal
from tests.unit.test_nginx import MODERN_TLS, Block, block

NETWORK = "10.0.0.64/26"


def with_one_of_each() -> dict[str, Any]:
    """A guest whose services have everything that gives the gateway a server of its own."""
    web: dict[str, Any] = {"port": 8443, "scheme": "https"}
    return lxc(
        "pages", None, 25,
        traefik_service={**web, "name": "wiki", "max_body": "9m", "allowed_networks": [NETWORK]},
        traefik_services=[
            {**web, "name": "parts", "port": 8444, "path": "/one", "max_body": "3m"},
            {"name": "calls", "port": 8445, "scheme": "grpcs"},
            {"name": "git", "port": 22, "scheme": "tcp", "gateway_port": 2222,
             "allowed_networks": [NETWORK]},
            {"name": "db", "port": 5432, "scheme": "tls"},
        ],
    )  # fmt: skip


def declared(folder: Path, *, several: bool) -> Site:
    declaration = minimal()
    guests = declaration.lxc["lxc_configs"]
    guests["104"] = with_one_of_each()
    if several:
        guests["105"] = lxc("gateway-two", "nginx", 30, boot_order=2)
        guests["106"] = lxc("proxy-two", "traefik", 31, dependencies=["103"], boot_order=4)
        declaration.lxc["site"] = {"virtual_address": "10.0.0.9"}
    return declaration.load(folder)


@pytest.fixture(scope="module", params=[False, True], ids=["one of each host", "two of each host"])
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Block:
    folder = tmp_path_factory.mktemp("site")
    text, _ = nginx.nginx_config(
        declared(folder, several=request.param), client_certificate="ab" * 32,
        hsts_seconds=60, max_body="1m", read_timeout="9s",
    )  # fmt: skip
    (folder / "nginx.conf").write_text(text)
    payload = crossplane.parse(str(folder / "nginx.conf"))
    assert payload["status"] == "ok", payload["errors"]
    return block("main", (), payload["config"][0]["parsed"], {})


def is_asked_by_tls(server: Block) -> bool:
    return any("ssl" in arguments for arguments in server.directives.get("listen", ()))


def of_clients(config: Block) -> list[Block]:
    """The servers by TLS that have the names of services."""
    servers = [
        server
        for server in config.find("server")
        if is_asked_by_tls(server) and "ssl_reject_handshake" not in server.directives
        and server.only("server_name") != [nginx.ALIVE]
    ]  # fmt: skip
    assert len(servers) >= 4, "common names, limits, a path, gRPC"
    return servers


def handed_to_traefik(config: Block) -> Iterator[tuple[str, Block]]:
    """Each location that asks Traefik, and the prefix of its directives."""
    for place in config.find("location"):
        for module in ("proxy", "grpc"):
            target = place.directives.get(f"{module}_pass", [[""]])[0][0]
            if target.startswith(("https:", "grpcs:")):
                yield module, place
            elif target:  # questions of the CA alone go by plain HTTP (RFC 8555, section 8.3)
                assert target.startswith("http://10.0.0.")
                assert target.endswith(":80")


def test_every_server_by_tls_has_modern_tls_alone(config: Block) -> None:
    for server in filter(is_asked_by_tls, config.find("server")):
        assert set(server.only("ssl_protocols")) == MODERN_TLS
        for cipher in server.only("ssl_ciphers")[0].split(":"):
            assert cipher.startswith("ECDHE-"), "forward secrecy"
            assert "GCM" in cipher or "POLY1305" in cipher, "AEAD"


def test_no_key_of_tickets_outlives_the_sessions(config: Block) -> None:
    """Nginx keeps one key as long as it runs: who gets it reads every resumed session."""
    for server in filter(is_asked_by_tls, config.find("server")):
        assert server.only("ssl_session_tickets") == ["off"]


def test_every_name_has_strict_transport_security_with_errors_as_well(config: Block) -> None:
    """RFC 6797, section 7.1; without `always` a 502 has none."""
    expected = ["Strict-Transport-Security", "max-age=60", "always"]
    for server in of_clients(config):
        assert server.only("add_header") == expected
        for place in server.find("location"):
            assert place.only("add_header") == expected, "a location's own replace the server's"


def test_traefik_is_verified_wherever_it_is_asked(config: Block) -> None:
    modules = set()
    for module, place in handed_to_traefik(config):
        modules.add(module)
        assert place.only(f"{module}_ssl_verify") == ["on"]
        assert place.only(f"{module}_ssl_trusted_certificate") == [ROOTS]
        assert place.only(f"{module}_ssl_server_name") == ["on"]
        assert set(place.only(f"{module}_ssl_protocols")) <= MODERN_TLS
        assert place.only(f"{module}_ssl_certificate") == [nginx.CLIENT_CERTIFICATE]
        (name,) = place.only(f"{module}_ssl_name")
        assert name in ("$traefik_name", "proxy.host.internal.thinkheads.ai")
    assert modules == {"proxy", "grpc"}


def test_what_only_a_proxy_sets_is_removed_wherever_a_client_is_handed_on(config: Block) -> None:
    for module, place in handed_to_traefik(config):
        if place.directives.get("proxy_pass_request_headers") == [["off"]]:
            continue  # the gateway's own question
        headers = {entry[0]: entry[1] for entry in place.directives[f"{module}_set_header"]}
        assert {name for name, value in headers.items() if value == ""} >= {*REMOVED_HEADERS}
        assert headers["X-Forwarded-For"] == headers["X-Real-IP"] == "$remote_addr"
        assert headers["X-Forwarded-Host"] == headers["Host"] == "$host"
        assert headers["X-Forwarded-Proto"] == "https"
        assert headers["X-Forwarded-Port"] == "443"


def test_no_request_is_sent_twice_that_may_have_been_carried_out(config: Block) -> None:
    """Without `non_idempotent` Nginx repeats no POST that it has sent."""
    for module, place in handed_to_traefik(config):
        assert "non_idempotent" not in place.only(f"{module}_next_upstream")


def test_the_gateway_does_not_tell_its_release(config: Block) -> None:
    for server in config.find("server"):
        if "stream" not in {block.name for block in config.blocks if server in block.blocks}:
            assert server.only("server_tokens") == ["off"]


def test_what_is_for_the_guest_itself_is_open_to_nobody_else(config: Block) -> None:
    own = [
        server for server in config.find("server")
        if server.only("listen") == [nginx.STATUS]
    ]  # fmt: skip
    assert len(own) == 1
    assert nginx.STATUS.startswith("127.0.0.1:")
    for server in config.find("server"):
        if server.directives.get("server_name") == [[nginx.ALIVE]]:
            for place in server.find("location"):
                assert place.directives["allow"][0] == ["127.0.0.1"]
                assert place.directives["deny"] == [["all"]]


def test_networks_that_are_allowed_are_the_only_ones(config: Block) -> None:
    limited = [
        place for place in (*config.find("location"), *config.find("server"))
        if ["10.0.0.64/26"] in place.directives.get("allow", ())
    ]  # fmt: skip
    assert {place.name for place in limited} == {"location", "server"}, "by HTTP and by TCP"
    for place in limited:
        assert place.directives["allow"] == [[NETWORK]]
        assert place.directives["deny"] == [["all"]]


def test_what_answers_without_tls_hands_out_no_page(config: Block) -> None:
    """Port 80 has challenges of the CA, and the way to TLS; the rest is for the guest itself."""
    for server in config.find("server"):
        listens = {arguments[0] for arguments in server.directives["listen"]}
        if listens != {"80"}:
            continue
        for place in server.find("location"):
            if place.arguments == ("/",):
                ends = place.directives.get("return", [])
                own = place.directives.get("deny") == [["all"]]
                assert own or ends in ([["404"]], [["308", "https://$host$request_uri"]])
