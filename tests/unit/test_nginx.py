"""The gateway's nginx.conf, read by a parser: what holds in each server and location."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import crossplane
import pytest

from phoenix.components.nginx import nginx_conf as nginx
from phoenix.components.trust import ROOTS
from phoenix.derived.routes import gateway_names
from phoenix.site.model import Site
from phoenix.site.removed_headers import REMOVED_HEADERS
from phoenix.site.roles import guest_with
from tests.unit.site_builder import Declaration, minimal

MODERN_TLS = {"TLSv1.2", "TLSv1.3"}
"""RFC 8996 forbids the older ones."""

Directives = Mapping[str, Sequence[Sequence[str]]]
"""Name -> the arguments of each occurrence."""


@dataclass(frozen=True)
class Block:
    """One block of nginx.conf. `directives` hold in it: a block's own replace the outer ones."""

    name: str
    arguments: tuple[str, ...]
    directives: Directives
    blocks: tuple[Block, ...]

    def only(self, directive: str) -> list[str]:
        """Arguments of the only occurrence that holds here."""
        (arguments,) = self.directives[directive]
        return list(arguments)

    def find(self, name: str) -> Iterator[Block]:
        """Blocks of this name at any depth."""
        for block in self.blocks:
            if block.name == name:
                yield block
            yield from block.find(name)

    @property
    def has_tls(self) -> bool:
        return any("ssl" in arguments for arguments in self.directives["listen"])


def block(name: str, arguments: Sequence[str], parsed: list[Any], outer: Directives) -> Block:
    own: dict[str, list[list[str]]] = {}
    for entry in parsed:
        if "block" not in entry:
            own.setdefault(entry["directive"], []).append(entry["args"])
    directives = {**outer, **own}
    blocks = tuple(
        block(entry["directive"], entry["args"], entry["block"], directives)
        for entry in parsed
        if "block" in entry
    )
    return Block(name, tuple(arguments), directives, blocks)


def text_of(site: Site) -> tuple[str, str]:
    return nginx.nginx_config(
        site, client_certificate="ab" * 32,
        hsts_seconds=60, max_body="1m", read_timeout="9s",
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def config(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Block:
    path = tmp_path_factory.mktemp("nginx") / "nginx.conf"
    path.write_text(text_of(site)[0])
    payload = crossplane.parse(str(path))
    assert payload["status"] == "ok", payload["errors"]
    return block("main", (), payload["config"][0]["parsed"], {})


@pytest.fixture(scope="module")
def tls_servers(config: Block) -> list[Block]:
    servers = [server for server in config.find("server") if server.has_tls]
    assert len(servers) == 2, "one for the declared names, one for all others"
    return servers


@pytest.fixture(scope="module")
def proxied(config: Block) -> list[Block]:
    """Locations that hand a request on."""
    locations = [place for place in config.find("location") if "proxy_pass" in place.directives]
    assert locations, "the gateway hands nothing on"
    return locations


def test_traefik_is_verified_before_it_gets_a_request(site: Site, proxied: list[Block]) -> None:
    traefik = guest_with(site, "traefik")
    for place in proxied:
        assert place.only("proxy_pass") == ["https://traefik"]
        assert place.only("proxy_ssl_verify") == ["on"]
        assert place.only("proxy_ssl_trusted_certificate") == [ROOTS]
        assert place.only("proxy_ssl_name") == [traefik.fqdn]
        assert place.only("proxy_ssl_server_name") == ["on"], "Traefik must be asked for that name"
        assert set(place.only("proxy_ssl_protocols")) <= MODERN_TLS


def test_traefik_is_shown_the_gateway_s_own_certificate(proxied: list[Block]) -> None:
    for location in proxied:
        assert location.only("proxy_ssl_certificate") == [nginx.CLIENT_CERTIFICATE]
        assert location.only("proxy_ssl_certificate_key") == [nginx.CLIENT_CERTIFICATE]


def test_upstream_is_traefik_alone(site: Site, config: Block) -> None:
    (upstream,) = config.find("upstream")
    assert upstream.arguments == ("traefik",)
    targets = {arguments[0] for arguments in upstream.directives["server"]}
    assert targets == {f"{guest_with(site, 'traefik').address}:443"}


def test_gateway_speaks_modern_tls_alone(tls_servers: list[Block]) -> None:
    for server in tls_servers:
        assert set(server.only("ssl_protocols")) == MODERN_TLS
        ciphers = server.only("ssl_ciphers")[0].split(":")
        assert all(cipher.startswith("ECDHE-") for cipher in ciphers), "forward secrecy"
        assert all("GCM" in cipher or "POLY1305" in cipher for cipher in ciphers), "AEAD"
        assert server.only("ssl_ecdh_curve") == ["X25519:prime256v1:secp384r1"]


def test_names_that_nobody_declared_are_refused_in_the_handshake(
    site: Site, tls_servers: list[Block]
) -> None:
    default = [s for s in tls_servers if "default_server" in chain(*s.directives["listen"])]
    assert len(default) == 1, "without a default, the first server answers to every name"
    assert default[0].only("ssl_reject_handshake") == ["on"]
    assert default[0].only("server_name") == ["_"]
    (named_server,) = [server for server in tls_servers if server is not default[0]]
    assert named_server.only("server_name") == list(gateway_names(site))
    assert "ssl_reject_handshake" not in named_server.directives


def test_every_client_address_is_served_by_these_servers(tls_servers: list[Block]) -> None:
    """A `listen` of its own address would have a default server of its own."""
    addresses = {arguments[0] for s in tls_servers for arguments in s.directives["listen"]}
    assert addresses == {"443"}


@pytest.mark.parametrize(
    "header",
    [
        *("Remote-User", "X-Remote-User", "X-Forwarded-User", "X-Forwarded-Email"),
        *("X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token"),
        *("X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info"),
        *("Forwarded", "True-Client-IP", "Client-IP", "X-Client-IP", "CF-Connecting-IP"),
        *("X-Forwarded-Method", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Uri"),
        *("X-Original-Method", "X-Original-URL", "X-Rewrite-URL", "Proxy"),
        *("X-Auth-Request-Email", "X-WebAuth-User", "Remote-Groups", "X-Authentik-Username"),
        *("X-SSL-Client-Cert", "X-SSL-Client-Verify", "X-Forwarded-Client-Cert"),
        *("X-Cluster-Client-IP", "X-Original-Forwarded-For", "X-Forwarded", "Fastly-Client-IP"),
        *("X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Original-URI", "X-Original-Host"),
        *("X-Forwarded-Roles", "X-Forwarded-Name", "Remote-Email", "Remote-Name"),
        *("X-Remote-Email", "X-Remote-Group", "X-Remote-Groups", "X-Remote-Name"),
        *("X-Auth-Request-User", "X-Auth-Request-Groups", "X-Auth-Request-Preferred-Username"),
        *("X-Auth-Request-Access-Token", "X-Auth-User", "X-Authenticated-User"),
        *("X-WebAuth-Email", "X-WebAuth-Groups", "X-Authentik-Email", "X-Authentik-Groups"),
        *("X-Client-Cert", "X-SSL-Client-DN", "X-SSL-Client-S-DN", "SSL-Client-Cert"),
        *("SSL-Client-Verify", "CF-Connecting-IPv6", "X-Forwarded-By", "X-Originating-IP"),
        *("X-ProxyUser-IP", "X-Remote-Addr", "X-Remote-IP", "X-Forwarded-Path"),
        *("X-Forwarded-Protocol", "X-Forwarded-Url", "Front-End-Https", "X-Host", "X-Scheme"),
        *("X-Script-Name", "X-Url-Scheme", "HTTP2-Settings"),
    ],
)
def test_headers_that_only_a_proxy_sets_are_removed(proxied: list[Block], header: str) -> None:
    assert header in REMOVED_HEADERS
    for place in proxied:
        headers = [value for name, value in place.directives["proxy_set_header"]
                if name.lower() == header.lower()]  # fmt: skip
        assert headers == [""], "nginx leaves a header out whose value is empty"


def test_forwarding_headers_are_what_the_gateway_saw(proxied: list[Block], config: Block) -> None:
    for place in proxied:
        headers = {name: value for name, value in place.directives["proxy_set_header"] if value}
        assert headers == {
            "Host": "$host",
            "X-Real-IP": "$remote_addr",
            "X-Forwarded-For": "$remote_addr",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "$host",
            "X-Forwarded-Port": "443",
            "Upgrade": "$upgrade",
            "Connection": "$connection_upgrade",
        }
        # X_Forwarded_For: some backends read it as X-Forwarded-For. nginx drops it by default.
        assert place.directives.get("underscores_in_headers", [["off"]]) == [["off"]]
        assert place.directives.get("proxy_pass_request_headers", [["on"]]) == [["on"]]


def test_http2_is_asked_for_as_every_nginx_from_debian_12_on_reads_it(
    config: Block, tls_servers: list[Block]
) -> None:
    """`http2 on` is unknown to nginx 1.22 (Debian 12) and 1.24 (Ubuntu 24.04)."""
    assert [part for part in (config, *config.find("server")) if "http2" in part.directives] == []
    for server in tls_servers:
        (listen,) = server.directives["listen"]
        assert listen[:3] == ["443", "ssl", "http2"]


def test_an_upgrade_to_http2_is_not_passed_on(config: Block) -> None:
    """A tunnel to a backend, past everything that the gateway removes and limits."""
    maps = {part.arguments: part.directives for part in config.find("map")}
    upgrade = maps["$http_upgrade", "$upgrade"]
    assert upgrade["default"] == [["$http_upgrade"]], "WebSockets"
    (pattern,) = (name for name in upgrade if name.startswith("~*"))
    for asked in ("h2c", "H2C", "websocket, h2c", "h2c,websocket"):
        assert re.search(pattern.removeprefix("~*"), asked, re.IGNORECASE)
    assert upgrade[pattern] == [[""]], "left out"
    assert maps["$upgrade", "$connection_upgrade"][""] == [[""]]
    assert "HTTP2-Settings" in REMOVED_HEADERS


def test_answers_are_passed_on_as_they_come(proxied: list[Block]) -> None:
    """Server-sent events: buffered, they reach an HTTP/1.1 client at the end."""
    for place in proxied:
        assert place.only("proxy_buffering") == ["off"]
        assert place.only("proxy_request_buffering") == ["off"]


def test_access_log_tells_what_a_person_looks_for_and_no_query(config: Block) -> None:
    (http,) = config.find("http")
    file, log_format, *_ = http.only("access_log")
    name, escape, *lines = http.only("log_format")
    assert (file, log_format, escape) == (nginx.ACCESS_LOG, name, "escape=json")
    # No $request, $request_uri or $args: Portainer's console puts its token into the query. No
    # $http_referer: it holds a whole address.
    assert set(re.findall(r"\$(\w+)", "".join(lines))) == {
        "time_iso8601", "remote_addr", "host", "request_method", "uri", "server_protocol",
        "status", "body_bytes_sent", "request_time", "upstream_addr", "upstream_status",
        "upstream_response_time", "ssl_protocol", "http_user_agent",
    }  # fmt: skip
    for server in config.find("server"):
        logs = server.directives["access_log"]
        assert logs in ([[*http.only("access_log")]], [["off"]])
        assert logs != [["off"]] or server.directives["listen"] == [[nginx.STATUS]]


def test_generation_follows_the_content(site: Site, tmp_path: Path) -> None:
    text, generation = text_of(site)
    assert generation in text
    assert text_of(site) == (text, generation)
    other = minimal()
    other.vm["vms"][0]["traefik_service"]["name"] = "renamed"
    assert text_of(other.load(tmp_path))[1] != generation


def matches(config: Block, variable: str, text: str) -> bool:
    """Whether the map that sets this variable counts a request whose key is `text`."""
    (counted,) = (b for b in config.find("map") if b.arguments[1] == variable)
    patterns = [p.removeprefix("~") for p in counted.directives if p.startswith("~")]
    return any(re.search(pattern, text) for pattern in patterns)


@pytest.mark.parametrize(
    ("request_line", "counts"),
    [
        ("POST portainer.internal.thinkheads.ai /api/auth", True),
        ("POST portainer.internal.thinkheads.ai /api/auth/", True),
        ("POST portainer.internal.thinkheads.ai /api/auth/oauth/validate", True),
        ("POST portainer.internal.thinkheads.ai /api/users/1/tokens", True),
        ("PUT portainer.internal.thinkheads.ai /api/users/1/passwd", True),
        ("POST portainer.internal.thinkheads.ai /api/auth/logout", False),
        ("GET portainer.internal.thinkheads.ai /api/auth", False),
        ("POST portainerxinternal.thinkheads.ai /api/auth", False),
        ("POST app.internal.thinkheads.ai /api/auth", False),
        ("POST portainer.internal.thinkheads.ai /api/stacks", False),
    ],
)
def test_logins_at_portainer_are_counted(config: Block, request_line: str, counts: bool) -> None:
    assert matches(config, "$portainer_login", request_line) is counts


def test_logins_are_limited_by_the_address_of_the_connection(
    config: Block, proxied: list[Block]
) -> None:
    zones = {zone: key for key, zone, _ in proxied[0].directives["limit_req_zone"]}
    assert zones["zone=portainer_login:1m"] == "$portainer_login"
    for name in ("$portainer_login", "$dashboard_login"):
        (counted,) = (b for b in config.find("map") if b.arguments[1] == name)
        keys = {v[0][0] for k, v in counted.directives.items() if k == "default" or k[0] == "~"}
        assert keys == {"", "$binary_remote_addr"}
    for location in proxied:
        limits = {zone for zone, *_ in location.directives["limit_req"]}
        assert limits == {"zone=portainer_login", "zone=portainer_logins", "zone=dashboard_login"}


def test_guesses_at_the_dashboard_are_counted_and_its_pages_without_a_password_are_not(
    config: Block,
) -> None:
    assert matches(config, "$dashboard_login", "traefik.internal.thinkheads.ai Basic YTpi")
    assert not matches(config, "$dashboard_login", "traefik.internal.thinkheads.ai ")
    assert not matches(config, "$dashboard_login", "app.internal.thinkheads.ai Basic YTpi")


def without(*parts: str) -> Declaration:
    """The site without its Portainer, without Traefik's dashboard, or without both."""
    declared = minimal()
    if "portainer" in parts:
        del declared.vm["vms"][0]
        declared.vm["vms"][0] |= {"portainer_role": "none", "dependencies": []}
    if "dashboard" in parts:
        declared.lxc["lxc_configs"]["102"]["leave_alone"] = ["dashboard"]
    return declared


@pytest.mark.parametrize("parts", [(), ("portainer",), ("dashboard",), ("portainer", "dashboard")])
def test_each_limit_has_its_zone_and_is_for_a_name(tmp_path: Path, parts: tuple[str, ...]) -> None:
    """nginx refuses a limit without a zone, and a name that is empty is every name."""
    text, _ = text_of(without(*parts).load(tmp_path))
    limits = set(re.findall(r"limit_req zone=(\w+)", text))
    zones = set(re.findall(r"limit_req_zone \S+ zone=(\w+):", text))
    assert limits == zones
    assert ("portainer_login" in limits) is ("portainer" not in parts)
    assert ("dashboard_login" in limits) is ("dashboard" not in parts)
    assert "()" not in text


def test_a_gateway_that_is_alone_compares_itself_with_nobody(site: Site) -> None:
    text, _ = text_of(site)
    assert "traefik_compared" not in text
    assert nginx.ALIVE not in text
