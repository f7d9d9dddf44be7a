"""What a service asks of the proxies: each is carried out by both of them, or refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix.components.deployed_secrets import traces
from phoenix.components.nginx.nginx_conf import nginx_config
from phoenix.components.step_ca.authority import claims, config
from phoenix.components.traefik import traefik_yml as traefik
from phoenix.components.trust import ROOTS
from phoenix.declaration.settings import Settings
from phoenix.derived import dns
from phoenix.derived.certificates import beyond_policy, certificates
from phoenix.derived.find import find
from phoenix.derived.routes import gateway_names
from phoenix.explain.explanation import explain
from phoenix.explain.model import Explanation
from phoenix.health.checks import checks
from phoenix.health.paths import paths, request_paths
from phoenix.secrets import catalog
from phoenix.site.findings import Finding
from phoenix.site.model import Login, Site
from phoenix.site.removed_headers import REMOVED_HEADERS
from tests.unit.site_builder import LXC, Declaration, lxc, minimal, problem

ZONE = "internal.thinkheads.ai"
WIKI: dict[str, Any] = {"name": "wiki", "port": 8443, "scheme": "https"}
PLACE = "lxc_configs.104.traefik_service"
SECOND = "lxc_configs.104.traefik_services[0]"


def wiki(*further: dict[str, Any], **keys: Any) -> Declaration:
    """A guest with one service, and further ones."""
    result = minimal()
    more = {"traefik_services": list(further)} if further else {}
    result.lxc["lxc_configs"]["104"] = lxc(
        "pages", None, 25, traefik_service={**WIKI, **keys}, **more
    )
    return result


def http(site: Site) -> Any:
    return yaml.safe_load(traefik.dynamic_config(site)[0])["http"]


def gateway(site: Site) -> str:
    return nginx_config(
        site, client_certificate="ab" * 32,
        hsts_seconds=60, max_body="1m", read_timeout="9s",
    )[0]  # fmt: skip


def server_of(text: str, name: str) -> str:
    """The block of the server by TLS that has a name, as text."""
    servers = re.split(r"\n    server \{\n", text)
    (wiki_server,) = [
        server
        for server in servers
        if "443 ssl" in server and re.search(rf"server_name [^;]*\b{re.escape(name)}", server)
    ]
    return wiki_server


def location(text: str, name: str, place: str = "/") -> str:
    """The content of a location of a name's server."""
    return (
        server_of(text, name).split(f"\n        location {place} {{\n")[1].split("\n        }")[0]
    )


def asked(site: Site, name: str) -> list[tuple[str, ...]]:
    """The whole requests that the checks make for a service."""
    return [
        check.command for check in checks(site) if check.layer == "http" and check.service == name
    ]


# -- names -----------------------------------------------------------------------------------------


def test_a_name_and_an_alias_may_have_dots(tmp_path: Path) -> None:
    site = wiki(name="docs.team", aliases=["old.docs", f"pages.{ZONE}"]).load(tmp_path)
    names = {f"docs.team.{ZONE}", f"old.docs.{ZONE}", f"pages.{ZONE}"}
    assert names <= set(gateway_names(site))
    assert names <= {record.name for record in dns.records(site)}
    assert names <= {name for certificate in certificates(site) for name in certificate.sans}
    assert http(site)["routers"]["docs.team"]["rule"].count("Host(") == 3
    assert {check.name for check in request_paths(site)["docs.team"].checks} >= names


def test_the_ca_issues_for_names_with_dots_one_by_one(tmp_path: Path) -> None:
    """A star of its policy is one label, and a star below it would admit names of nobody."""
    plain, dotted = wiki().load(tmp_path / "a"), wiki(name="docs.team").load(tmp_path / "b")
    assert beyond_policy(plain) == ()
    assert beyond_policy(dotted) == (f"docs.team.{ZONE}",)
    policies = [allowed(site) for site in (plain, dotted)]
    assert policies[1] == [*policies[0], f"docs.team.{ZONE}"]


def allowed(site: Site) -> list[str]:
    """The names that the CA signs."""
    policy = json.loads(config(site, claims(Settings())))["authority"]["policy"]["x509"]
    names: list[str] = policy["allow"]["dns"]
    return names


@pytest.mark.parametrize("name", ["a.host", "a.stack", "b.a.host", "host"])
def test_names_by_which_hosts_and_stacks_prove_themselves_are_taken(
    tmp_path: Path, name: str
) -> None:
    for key in ("name", "aliases"):
        findings = wiki(**{key: name if key == "name" else [name]}).refused(tmp_path)
        assert "is reserved" in problem(findings, LXC, f"{PLACE}.{key}").message


def test_a_service_of_a_stack_with_dots_proves_one_label(tmp_path: Path) -> None:
    declaration = minimal()
    web = declaration.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    web["traefik_service"]["name"] = "shop.team"
    assert declaration.load(tmp_path).service("shop.team").server_name == f"shop-team.stack.{ZONE}"


# -- paths -----------------------------------------------------------------------------------------


def test_two_services_share_a_name_by_paths(tmp_path: Path) -> None:
    api = {"name": "wiki", "path": "/api", "port": 8444, "scheme": "https"}
    site = wiki(api, aliases=["docs"]).load(tmp_path)
    assert [s.name for s in site.services if s.label == "wiki"] == ["wiki", "wiki/api"]
    routers = http(site)["routers"]
    assert routers["wiki"]["rule"] == f"Host(`wiki.{ZONE}`) || Host(`docs.{ZONE}`)"
    assert "priority" not in routers["wiki"]
    rule = f"(Host(`wiki.{ZONE}`)) && (Path(`/api`) || PathPrefix(`/api/`))"
    assert routers["wiki~api"]["rule"] == rule
    assert routers["wiki~api"]["priority"] > 10_000
    assert routers["wiki~api"]["middlewares"] == ["retry"], "the backend sees the path"
    assert http(site)["services"]["wiki~api"]["loadBalancer"]["servers"] == [
        {"url": "https://10.0.0.25:8444"}
    ]
    assert gateway_names(site).count(f"wiki.{ZONE}") == 1
    assert asked(site, "wiki/api") == [("request_gives", "200", f"https://wiki.{ZONE}/api", ROOTS)]
    titles = [check.title for check in checks(site)]
    assert len(titles) == len(set(titles))
    assert set(checks(site)) == {check for path in paths(site) for check in path.checks}
    tls = {c.name for c in request_paths(site)["wiki/api"].checks if c.function == "tls_verifies"}
    assert f"wiki.{ZONE}" in tls, "its path begins at the gateway as well"


def test_the_longest_path_goes_first(tmp_path: Path) -> None:
    more = [{**WIKI, "path": path} for path in ("/a", "/a/b")]
    routers = http(wiki(*more).load(tmp_path))["routers"]
    assert routers["wiki~a~b"]["priority"] > routers["wiki~a"]["priority"]


def test_a_path_is_taken_away_where_that_is_wanted(tmp_path: Path) -> None:
    site = wiki(path="/app", strip_path=True, health_path="/up").load(tmp_path)
    router = http(site)["routers"]["wiki~app"]
    assert router["middlewares"] == ["wiki~app_path", "retry"]
    assert http(site)["middlewares"]["wiki~app_path"] == {"stripPrefix": {"prefixes": ["/app"]}}
    assert asked(site, "wiki/app")[0][2] == f"https://wiki.{ZONE}/app/up"


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("wiki", "wiki"), ("wiki/api", "wiki/api"), (f"https://wiki.{ZONE}/api/v1?x=/", "wiki/api"),
        (f"https://wiki.{ZONE}/apis", "wiki"), (f"wiki.{ZONE}:443/api", "wiki/api"),
        ("service:wiki/api", "wiki/api"),
    ],
)  # fmt: skip
def test_a_word_with_a_path_means_the_service_that_has_it(
    tmp_path: Path, word: str, name: str
) -> None:
    site = wiki({**WIKI, "path": "/api"}).load(tmp_path)
    assert [target.name for target in find(site, word)] == [name]
    explanation = explain(site, word)
    assert isinstance(explanation, Explanation)
    assert explanation.title == f"service {name}"
    other = {"wiki": "service:wiki/api", "wiki/api": "service:wiki"}[name]
    assert explanation.see_also == (other,)


@pytest.mark.parametrize(
    ("keys", "more", "path", "message"),
    [
        ({"path": "/a"}, [{**WIKI, "path": "/a"}], SECOND, "duplicate service name 'wiki/a'"),
        ({}, [WIKI], SECOND, "duplicate service name 'wiki'"),
        ({"path": "/a", "aliases": ["b"]}, [{**WIKI, "name": "b", "path": "/a"}],
         f"{PLACE}.aliases", "'b/a' is a name of the service 'b/a'"),
        ({"strip_path": True}, [], f"{PLACE}.strip_path", "no path to strip"),
        ({"path": "/a", "health_path": "/up"}, [], f"{PLACE}.health_path", "outside /a"),
        ({"path": "/a", "exposure": "direct"}, [], f"{PLACE}.path", "no proxy stands before"),
        ({"name": "traefik", "path": "/a"}, [], f"{PLACE}.name", "it is Traefik's dashboard"),
        ({"name": "home", "path": "/a"}, [], f"{PLACE}.name", "it is the site's start page"),
        ({"path": "a"}, [], f"{PLACE}.path", "is not the beginning of a path"),
        ({"path": "/"}, [], f"{PLACE}.path", "is not the beginning of a path"),
        ({"path": "/a/"}, [], f"{PLACE}.path", "is not the beginning of a path"),
        ({"path": "/../a"}, [], f"{PLACE}.path", "is not the beginning of a path"),
        ({"path": "/a`)||Host(`b"}, [], f"{PLACE}.path", "is not the beginning of a path"),
        ({"path": "/%61"}, [], f"{PLACE}.path", "is not the beginning of a path"),
    ],
)  # fmt: skip
def test_paths_that_contradict_are_refused(
    tmp_path: Path, keys: dict[str, Any], more: list[dict[str, Any]], path: str, message: str
) -> None:
    finding = problem(wiki(*more, **keys).refused(tmp_path), LXC, path)
    assert message in finding.message
    assert finding.fix


# -- options ---------------------------------------------------------------------------------------


def test_a_name_without_options_stays_in_the_common_server(tmp_path: Path) -> None:
    before, site = gateway(minimal().load(tmp_path / "a")), wiki().load(tmp_path / "b")
    shown = re.sub(rf" wiki\.{re.escape(ZONE)}", "", gateway(site))
    generation = re.compile(r'return 200 "[0-9a-f]{16}')
    assert generation.sub("", shown) == generation.sub("", before)


@pytest.mark.parametrize("key", ["max_body", "read_timeout", "allowed_networks", "basic_auth"])
def test_what_one_service_asks_changes_nothing_for_the_others(tmp_path: Path, key: str) -> None:
    value = {"max_body": "4g", "read_timeout": "1h", "allowed_networks": ["10.0.0.0/24"],
             "basic_auth": [{"user": "anna", "secret": "ANNA"}]}[key]  # fmt: skip
    plain, site = wiki().load(tmp_path / "a"), wiki(**{key: value}).load(tmp_path / "b")
    common = server_of(gateway(site), f"portainer.{ZONE}")
    assert f"wiki.{ZONE}" not in common
    alone = server_of(gateway(plain), f"portainer.{ZONE}").replace(f" wiki.{ZONE}", "")
    assert common.rstrip("\n }") == alone.rstrip("\n }")
    routers, former = http(site)["routers"], http(plain)["routers"]
    assert {k: v for k, v in routers.items() if k != "wiki"} == {
        k: v for k, v in former.items() if k != "wiki"
    }


def test_networks_are_refused_by_both_proxies(tmp_path: Path) -> None:
    site = wiki(allowed_networks=["site", "192.168.7.0/24", "10.9.9.9"]).load(tmp_path)
    place = location(gateway(site), f"wiki.{ZONE}")
    assert re.findall(r"(allow|deny) ([^;]+);", place) == [
        ("allow", "10.0.0.0/24"), ("allow", "192.168.7.0/24"), ("allow", "10.9.9.9/32"),
        ("deny", "all"),
    ]  # fmt: skip
    assert http(site)["middlewares"]["wiki_networks"]["ipAllowList"] == {
        "sourceRange": ["10.0.0.0/24", "192.168.7.0/24", "10.9.9.9/32"],
        "ipStrategy": {"depth": 1},
    }
    assert http(site)["routers"]["wiki"]["middlewares"][0] == "wiki_networks"
    assert asked(site, "wiki")[0][1] == "200", "the hypervisor is in the site's network"


def test_a_service_that_turns_the_hypervisor_away_is_checked_by_that(tmp_path: Path) -> None:
    site = wiki(allowed_networks=["192.168.7.0/24"]).load(tmp_path)
    assert asked(site, "wiki") == [("request_gives", "403", f"https://wiki.{ZONE}/", ROOTS)]


def test_users_have_a_secret_each_and_no_plan_has_one(tmp_path: Path) -> None:
    users = [{"user": "anna", "secret": "WIKI_ANNA"}, {"user": "ben", "secret": "WIKI_BEN"}]
    site = wiki(basic_auth=users, path="/x").load(tmp_path)
    login = http(site)["middlewares"]["wiki~x_login"]["basicAuth"]
    assert login == {"usersFile": "/etc/traefik/users/wiki~x.users", "removeHeader": True}

    def line(login: Login) -> str:
        return f"{login.user}:hash of {login.secret}\n"

    hashes, named = traefik.users_of(site, line)
    assert hashes == {login["usersFile"]: "anna:hash of wiki_anna\nben:hash of wiki_ben\n"}
    assert named == {"/etc/traefik/users/wiki~x.d/anna": "wiki_anna\n",
                     "/etc/traefik/users/wiki~x.d/ben": "wiki_ben\n"}  # fmt: skip
    uses = {use.name: use for use in catalog.uses(site)}
    assert uses["wiki_anna"].deploys == ("deploys/traefik.py",)
    assert uses["wiki_anna"].generated
    shown = {trace.path: trace.secret for trace in traces(site)}
    assert {path: shown[path].strip() for path in named} == {
        path: content.strip() for path, content in named.items()
    }
    assert asked(site, "wiki/x")[0][1] == "401"
    assert "zone=service_login" in location(gateway(site), f"wiki.{ZONE}", "= /x")
    assert "zone=service_login" not in location(gateway(site), f"wiki.{ZONE}")


def test_a_server_is_asked_about_each_request(tmp_path: Path) -> None:
    auth = {"url": f"https://shop.{ZONE}/verify", "headers": ["Remote-User"]}
    site = wiki(forward_auth=auth).load(tmp_path)
    assert http(site)["middlewares"]["wiki_auth"] == {
        "forwardAuth": {
            "address": f"https://shop.{ZONE}/verify", "authResponseHeaders": ["Remote-User"],
            "tls": {"ca": ROOTS}, "trustForwardHeader": True,
        }
    }  # fmt: skip
    assert http(site)["routers"]["wiki"]["middlewares"] == ["wiki_auth", "retry"]
    assert asked(site, "wiki") == [("login_is_asked", f"https://wiki.{ZONE}/", ROOTS)]
    assert "Remote-User" in REMOVED_HEADERS, "a client's own never arrives"


def test_headers_body_and_times(tmp_path: Path) -> None:
    site = wiki(
        request_headers={"X-B": "2", "X-A": ""}, response_headers={"X-Robots-Tag": "noindex"},
        max_body="4g", connect_timeout="9s", read_timeout="2h",
    ).load(tmp_path)  # fmt: skip
    assert http(site)["middlewares"]["wiki_headers"]["headers"] == {
        "customRequestHeaders": {"X-A": "", "X-B": "2"},
        "customResponseHeaders": {"X-Robots-Tag": "noindex"},
    }
    assert http(site)["serversTransports"]["wiki"]["forwardingTimeouts"]["dialTimeout"] == "9s"
    place = location(gateway(site), f"wiki.{ZONE}")
    for line in ("client_max_body_size 4g;", "proxy_read_timeout 2h;", "proxy_send_timeout 2h;",
                 "proxy_buffering off;", "proxy_set_header Upgrade $upgrade;"):  # fmt: skip
        assert line in place
    explanation = explain(site, "wiki")
    assert isinstance(explanation, Explanation)
    assert {"request bodies up to 4g", "gets without X-A", "gets with X-B: 2"} <= set(
        explanation.facts
    )


def test_plain_text_has_its_time_out_too(tmp_path: Path) -> None:
    service = http(wiki(scheme="http", connect_timeout="9s").load(tmp_path))
    assert service["services"]["wiki"]["loadBalancer"]["serversTransport"] == "wiki"
    assert "serverName" not in service["serversTransports"]["wiki"]


@pytest.mark.parametrize(
    ("scheme", "url"), [("grpc", "h2c://10.0.0.25:8443"), ("grpcs", "https://10.0.0.25:8443")]
)
def test_grpc_has_http_2_all_the_way(tmp_path: Path, scheme: str, url: str) -> None:
    site = wiki(scheme=scheme).load(tmp_path)
    assert http(site)["services"]["wiki"]["loadBalancer"]["servers"] == [{"url": url}]
    place = location(gateway(site), f"wiki.{ZONE}")
    # An upstream of its own: nginx gave 502 on a connection that was kept for HTTP/1.1.
    (upstream,) = re.findall(r"grpc_pass grpcs://(\w+);", place)
    assert f"upstream {upstream} {{" in gateway(site)
    assert f"proxy_pass https://{upstream}" not in gateway(site)
    assert "proxy_" not in place
    verified = {"verify on", f"name proxy.host.{ZONE}", f"trusted_certificate {ROOTS}",
                "certificate /etc/phoenix/gateway/client.pem"}  # fmt: skip
    assert all(f"grpc_ssl_{directive};" in place for directive in verified)
    for header in REMOVED_HEADERS:
        assert f'grpc_set_header {header} "";' in place
    assert "client_max_body_size 0;" in place, "a stream has no end"
    assert asked(site, "wiki")[0][:2] == ("grpc_gives", "200")
    assert asked(site, "wiki")[0][2].endswith("/grpc.health.v1.Health/Check")


def test_http_2_in_plain_text_to_the_backend(tmp_path: Path) -> None:
    site = wiki(scheme="h2c").load(tmp_path)
    assert http(site)["services"]["wiki"]["loadBalancer"]["servers"] == [
        {"url": "h2c://10.0.0.25:8443"}
    ]
    assert any("in plain text" in warning.message for warning in site.warnings)


def test_another_status_and_no_check(tmp_path: Path) -> None:
    site = wiki(health_status=204, health_path="/up").load(tmp_path / "a")
    assert asked(site, "wiki")[0][1:3] == ("204", f"https://wiki.{ZONE}/up")
    silent = wiki(check="none").load(tmp_path / "b")
    assert asked(silent, "wiki") == []
    functions = {check.function for check in request_paths(silent)["wiki"].checks if check.service}
    assert functions == {"port_answers", "served_is_fresh", "tls_verifies", "router_is_enabled"}
    assert not [check for check in checks(silent) if check.target == "pages" and check.port == 8443]


@pytest.mark.parametrize(("keeps", "permanent"), [(False, True), (True, True), (True, False)])
def test_a_redirect_needs_no_backend(tmp_path: Path, keeps: bool, permanent: bool) -> None:
    target = "https://new.example.com/a"
    declaration = minimal()
    old = {"name": "old", "redirect_to": target, "redirect_permanent": permanent,
           "redirect_keep_path": keeps}  # fmt: skip
    declaration.lxc["lxc_configs"]["104"] = lxc("pages", None, 25, traefik_service=old)
    site = declaration.load(tmp_path)
    assert site.warnings == ()
    service = http(site)
    assert service["routers"]["old"]["service"] == "noop@internal"
    assert service["routers"]["old"]["middlewares"] == ["old_redirect"]
    assert service["middlewares"]["old_redirect"]["redirectRegex"] == {
        "regex": "^https?://[^/]+(.*)$", "permanent": permanent,
        "replacement": f"{target}${{1}}" if keeps else target,
    }  # fmt: skip
    assert "old" not in service["services"]
    assert f"old.{ZONE}" in gateway_names(site)
    assert asked(site, "old")[0][1] == ("301" if permanent else "302")
    assert not [
        certificate for certificate in certificates(site) if certificate.host.name == "pages"
    ]
    explanation = explain(site, "old")
    assert isinstance(explanation, Explanation)
    assert explanation.backend is None
    path = ", with the path that they asked for" if keeps else ""
    time = "for good" if permanent else "for the time being"
    assert f"sends clients to {target}{path}, {time}" in explanation.facts


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"redirect_to": "https://a.b"}, "port", "a redirect has no backend"),
        ({"redirect_to": "https://a.b/$1"}, "redirect_to", "is not an http:// or https:// URL"),
        ({"redirect_to": "javascript:x"}, "redirect_to", "is not an http:// or https:// URL"),
        ({"redirect_permanent": True}, "redirect_permanent", "there is no redirect_to"),
        ({"request_headers": {"Host": "a"}}, "request_headers.Host", "the proxies set or remove"),
        ({"request_headers": {"x-forwarded-for": "a"}}, "request_headers.x-forwarded-for",
         "the proxies set"),
        ({"request_headers": {"Remote-User": "a"}}, "request_headers.Remote-User", "forward_auth"),
        ({"request_headers": {"X-A": "1", "x-a": "2"}}, "request_headers.x-a", "the same header"),
        ({"response_headers": {"Strict-Transport-Security": "a"}},
         "response_headers.Strict-Transport-Security", "the proxies set"),
        ({"response_headers": {"X-A": "a\nb"}}, "response_headers.X-A", "not the value"),
        ({"response_headers": {"X-A": "{{ env }}"}}, "response_headers.X-A", "not the value"),
        ({"max_body": "lots"}, "max_body", "is not a size"),
        ({"read_timeout": "5"}, "read_timeout", "is not a time to wait"),
        ({"allowed_networks": ["home"]}, "allowed_networks[0]", "not an IPv4 address or network"),
        ({"basic_auth": [{"user": "a:b", "secret": "A"}]}, "basic_auth[0].user", "not the name"),
        ({"basic_auth": [{"user": "a", "secret": "A"}, {"user": "a", "secret": "B"}]},
         "basic_auth[1].user", "appears twice"),
        ({"basic_auth": [{"user": "a", "secret": "PROXMOX_API_TOKEN"}]}, "basic_auth[0].secret",
         "is the platform's: a would know it"),
        ({"basic_auth": [{"user": "a", "secret": "A"}], "forward_auth": {"url": "https://a.b"}},
         "forward_auth", "two log-ins"),
        ({"forward_auth": {"url": "https://a.b", "headers": ["Host"]}}, "forward_auth.headers[0]",
         "the proxies set"),
        ({"forward_auth": {"url": "https://a.b", "realm": 1}}, "forward_auth.realm", "open to"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused(
    tmp_path: Path, keys: dict[str, Any], path: str, message: str
) -> None:
    finding: Finding = problem(wiki(**keys).refused(tmp_path), LXC, f"{PLACE}.{path}")
    assert message in finding.message + finding.fix
    assert finding.fix


def test_further_services_of_portainers_guest_leave_portainer_alone(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][0]["traefik_services"] = [{"name": "aaa", "port": 8080}]
    site = declaration.load(tmp_path)
    assert site.service("aaa").owner == site.portainer
    assert site.service("portainer").is_the_guest_s


@pytest.mark.parametrize(
    ("url", "ca"),
    [
        (f"https://shop.{ZONE}/verify", {"ca": ROOTS}),
        (f"https://SHOP.{ZONE.upper()}/verify", {"ca": ROOTS}),
        (f"http://worker.host.{ZONE}:9091/verify", None),
        ("https://login.example.com/verify", None),
        ("https://192.168.7.9/verify", None),
        ("http://10.0.0.99:9091/verify", None),
    ],
)
def test_who_decides_is_proven_by_the_cas_that_issue_for_him(
    tmp_path: Path, url: str, ca: dict[str, str] | None
) -> None:
    """With a CA of its own Traefik trusts no other one, and each request would be refused."""
    site = wiki(forward_auth={"url": url}).load(tmp_path)
    assert http(site)["middlewares"]["wiki_auth"]["forwardAuth"].get("tls") == ca


def test_the_site_is_all_of_its_networks(tmp_path: Path) -> None:
    declaration = wiki(allowed_networks=["site"])
    declaration.hypervisor = {
        "networks": {"internal": {"subnet": "172.16.100.0/24", "bridge": "vmbr100", "nat": True}}
    }
    options = declaration.load(tmp_path).service("wiki").options
    assert [str(allowed_network) for allowed_network in options.allowed_networks] == [
        "10.0.0.0/24",
        "172.16.100.0/24",
    ]
