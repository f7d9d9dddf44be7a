"""A person's own sites of Nginx: what a host tells of them, and which can stay."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import crossplane
import pytest

from facts.host_fact import BEGIN, END
from facts.nginx import OwnSites
from phoenix.components.nginx.existing_sites import (
    PATTERNS,
    Listen,
    OwnServer,
    OwnSite,
    SitesError,
    considered,
    faults,
    parse,
)
from phoenix.components.nginx.nginx_conf import CONFIG, nginx_config
from phoenix.components.taking_over.decision import decide
from phoenix.components.taking_over.existing_services import ExistingServices, Listener, Place
from phoenix.declaration.settings import TakingOver
from phoenix.files import text
from phoenix.shell import Script
from phoenix.site.model import Site
from tests.unit.site_builder import minimal

NGINX = Place("nginx", "nginx", (80, 443))
NAMES = ("app.internal.example",)
BLOG = """\
# server { listen 81; }
map $host $kind { default "a;b{"; 'x#y' 1; }
server {
    listen 80; listen [::]:8080 ipv6only=on;
    server_name Blog.Example.
        "www.blog.example";
    location ~ "\\.{2}" { proxy_set_header Authorization "planted-5ecret"; return 200 "}"; }
    location / { root /srv/${kind}; set $server_name 1; }
}
server { server_name plain.example; }
"""


class Gateway:
    """A guest's folders of Nginx below `top`, asked by the fact's own command."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for name in ("conf.d", "sites-enabled", "trees/nginx", "dpkg"):
            (top / name).mkdir(parents=True)

    def asked(self) -> tuple[OwnSite, ...]:
        line = OwnSites().command(str(self.top / "trees/nginx")).get_raw_value()
        for path in (CONFIG, *PATTERNS):
            line = line.replace(path, path.replace("/etc/nginx", str(self.top)))
        line = line.replace("/var/lib/dpkg", str(self.top / "dpkg"))
        done = subprocess.run(
            ["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True,
            env=os.environ,
        )  # fmt: skip
        assert "planted-5ecret" not in done.stdout
        lines = done.stdout.splitlines()
        assert (lines[0], lines[-1]) == (BEGIN, f"{END} 0"), done
        return OwnSites().parse(lines[1:-1])


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


def own(*listens: Listen, names: tuple[str, ...] = ("blog.example",), **more: object) -> OwnSite:
    values: dict[str, object] = {
        "path": "/etc/nginx/sites-enabled/blog",
        "is_read": True,
        "top": (),
        "servers": (OwnServer(listens or (Listen("", 80, ()),), names),),
    } | more
    return OwnSite(**values)  # type: ignore[arg-type]


def test_a_host_tells_servers_and_names_and_no_other_value(gateway: Gateway) -> None:
    (gateway.top / "sites-enabled/blog").write_text(BLOG)
    (gateway.top / "conf.d/not-read").write_text("server {}")
    (own_site,) = gateway.asked()
    assert own_site.path == f"{gateway.top}/sites-enabled/blog"
    assert own_site.top == ("map",)
    assert own_site.names == ("blog.example", "www.blog.example", "plain.example")
    assert [server.listens for server in own_site.servers] == [
        (Listen("", 80, ()), Listen("[::]", 8080, ("ipv6only=on",))),
        (Listen("", 80, ()),),
    ]
    assert own_site.ports == (8080,)
    assert own_site.is_read


def test_what_a_package_brought_is_nobody_s(gateway: Gateway) -> None:
    default = gateway.top / "sites-enabled/default"
    default.write_text("server { listen 80 default_server; }\n")
    md5 = hashlib.md5(default.read_bytes()).hexdigest()  # noqa: S324  # dpkg's own
    (gateway.top / "dpkg/status").write_text(f"Conffiles:\n {default} {md5}\n")
    assert gateway.asked() == ()
    default.write_text("server { listen 80 default_server; server_name mine.example; }\n")
    assert [question.names for question in gateway.asked()] == [("mine.example",)]


def test_servers_in_nginx_conf_itself_are_told(gateway: Gateway) -> None:
    config = gateway.top / "nginx.conf"
    config.write_text(
        "events { }\nhttp { gzip on; upstream u { server 192.0.2.1:80; }\n"
        " server { listen 192.0.2.7:443 ssl; server_name in.example; } }\n"
        "stream { server { listen 9; } }\n"
    )
    (own_site,) = gateway.asked()
    assert (own_site.path, own_site.names) == (str(config), ("in.example",))
    assert own_site.servers[0].listens == (Listen("192.0.2.7", 443, ("ssl",)),)
    config.write_text("# edited by a person\nhttp { include x; }\n")
    assert gateway.asked() == ()


def test_after_phoenix_has_the_place_only_what_it_reads_is_in_force(gateway: Gateway) -> None:
    for name in ("blog", "old"):
        (gateway.top / f"sites-enabled/{name}").write_text("server {}\n")
    (gateway.top / "trees/nginx/current").mkdir()
    assert gateway.asked() == (), "nginx.conf was lost, and its place is Phoenix's own"
    own_config = gateway.top / "trees/nginx/current/nginx.conf"
    own_config.write_text(f"http {{\n    include {gateway.top}/sites-enabled/blo[g];\n}}\n")
    (gateway.top / "nginx.conf").symlink_to(own_config)
    own_sites = gateway.asked()
    assert [(Path(entry.path).name, entry.is_read) for entry in own_sites] == [
        ("blog", True),
        ("old", False),
    ]
    assert [Path(entry.path).name for entry in considered(own_sites, are_kept=False)] == ["blog"]
    assert considered(own_sites, are_kept=True) == own_sites


def test_files_without_any_server_are_nothing_to_keep() -> None:
    assert considered([own(servers=(), top=("map",))], are_kept=True) == ()
    with pytest.raises(SitesError, match="unexpected answer of the host"):
        parse(["in\t/etc/nginx/conf.d/a.conf\tserver"])


@pytest.mark.parametrize(
    ("own_site", "why"),
    [
        (own(names=NAMES), "claims app.internal.example, which the site serves"),
        (own(Listen("", 80, ("default_server",))), "is the default_server of port 80"),
        (own(Listen("", 443, ("ssl", "default"))), "is the default_server of port 443"),
        (own(Listen("10.0.0.1", 443, ("ssl",))), "write `listen 443`"),
        (own(Listen("", 80, ("proxy_protocol",))), "take proxy_protocol out"),
        (own(top=("deny", "map")), "says deny outside of a server block"),
        (own(top=("include",)), "says include outside of a server block"),
        (own(path=CONFIG), "move each server block of it"),
        (own(path="/etc/nginx/sites-enabled/a b;"), "rename it to a name of letters"),
    ],
)
def test_what_would_take_the_site_s_own_requests_is_refused_with_the_fix(
    own_site: OwnSite, why: str
) -> None:
    reasons = tuple(faults(own_site, NAMES))
    assert len(reasons) == 1
    assert why in reasons[0]
    verdict = decide(
        [NGINX], ExistingServices(sites=(own_site,)), TakingOver(nginx="keep"), names=NAMES
    )
    assert verdict.refused == reasons
    assert not verdict.records


@pytest.mark.parametrize(
    "own_site",
    [
        own(),
        own(Listen("", 8080, ("default_server",)), names=NAMES),
        own(Listen("127.0.0.1", 80, ()), Listen("[::]", 443, ("ssl",))),
        own(top=("map", "upstream", "log_format")),
    ],
)
def test_what_stays_beside_the_site_s_own_is_kept(own_site: OwnSite) -> None:
    verdict = decide(
        [NGINX], ExistingServices(sites=(own_site,)), TakingOver(nginx="keep"), names=NAMES
    )
    assert (verdict.refused, verdict.records) == ((), {})
    assert verdict.does[0].startswith("/etc/nginx/sites-enabled/blog, Nginx for ")


def test_without_a_word_each_site_is_named_and_both_ways_are_told() -> None:
    verdict = decide([NGINX], ExistingServices(sites=(own(),)), TakingOver(), names=NAMES)
    reasons = "\n".join(verdict.refused)
    assert "/etc/nginx/sites-enabled/blog, Nginx for blog.example" in reasons
    for choice in ("keep", "replace"):
        assert f"taking_over = {{'nginx': '{choice}'}}" in reasons
    replaced = decide([NGINX], ExistingServices(sites=(own(),)), TakingOver(nginx="replace"))
    assert (replaced.refused, replaced.records) == ((), {})


def test_a_site_on_traefik_s_guest_is_asked_about_before_its_nginx_is_masked() -> None:
    """It was masked for the start page's sake without a word, whatever it served."""
    place = Place("nginx", "home", (), shared=False)
    reasons = "\n".join(decide([place], ExistingServices(sites=(own(),)), TakingOver()).refused)
    assert "Nginx for blog.example: the start page's Nginx takes its place" in reasons
    assert "'keep'" not in reasons
    refused = decide([place], ExistingServices(sites=(own(),)), TakingOver(nginx="keep")).refused
    assert "move it to the gateway" in refused[0]
    replaced = decide([place], ExistingServices(sites=(own(),)), TakingOver(nginx="replace"))
    assert (replaced.refused, replaced.records) == ((), {})


def test_another_program_on_the_gateway_s_port_cannot_be_kept() -> None:
    caddy = Listener("nginx", "tcp", "*", 443, "caddy", "caddy.service")
    (reason,) = decide([NGINX], ExistingServices((caddy,)), TakingOver(nginx="keep")).refused
    assert "caddy.service on port 443 cannot be kept" in reason
    assert "external_services" in reason


def test_a_kept_site_is_read_and_its_absence_stops_nothing(site: Site, tmp_path: Path) -> None:
    long = f"{'a' * 60}.{'b' * 60}.example"
    kept_site = own(path=f"{tmp_path}/blog.conf", names=(long,))
    config, generation = nginx_config(
        site, client_certificate="ab" * 32, hsts_seconds=60, max_body="1m",
        read_timeout="9s", includes=[kept_site.include], further_names=kept_site.names,
    )  # fmt: skip
    without, other = nginx_config(
        site, client_certificate="ab" * 32, hsts_seconds=60, max_body="1m",
        read_timeout="9s",
    )  # fmt: skip
    assert generation != other
    assert "mime.types" not in without
    modules = "include /etc/nginx/modules-enabled/*.conf;"
    assert config.index(modules) < config.index("events {"), "what a person's site may need"
    assert modules not in without
    assert "include /etc/nginx/mime.types;" in config, "its files have types, as before"
    assert "server_names_hash_bucket_size 256;" in config
    config = config.replace("include /etc/nginx", f"include {tmp_path}")
    for name in ("mime.types", "nginx.conf"):
        (tmp_path / name).write_text("types { }\n" if name == "mime.types" else config)
    assert f"include {tmp_path}/blog.con[f];" in config
    assert crossplane.parse(str(tmp_path / "nginx.conf"))["status"] == "ok"
    (tmp_path / "blog.conf").write_text(f"server {{ server_name {long}; }}\n")
    parsed = crossplane.parse(str(tmp_path / "nginx.conf"))
    assert f"{tmp_path}/blog.conf" in [file["file"] for file in parsed["config"]]


@pytest.mark.parametrize(
    ("dump", "refused"),
    [
        ("listen 443 ssl; server_name a;", ""),
        ("listen 127.0.0.1:80; listen 0.0.0.0:80; listen 10.0.0.1:8080;", ""),
        ("# listen 10.0.0.1:443;", ""),
        ("server { listen 10.0.0.1:443 ssl; }", "10.0.0.1:443"),
        ("server{listen 10.0.0.1;}", "10.0.0.1"),
        ("listen 443 ssl proxy_protocol;", "443 proxy_protocol"),
        ("listen *:80 proxy_protocol;", "*:80 proxy_protocol"),
        ("listen 8443 ssl proxy_protocol;", ""),
    ],
)
def test_what_a_kept_site_includes_takes_no_request_of_the_site_s(
    tmp_path: Path, dump: str, refused: str
) -> None:
    """A snippet is not read by the question: nginx itself tells the whole of what it read."""
    (tmp_path / "dump").write_text(f"{dump}\n")
    stub = tmp_path / "nginx"
    stub.write_text(f"#!/bin/sh\ncat {tmp_path}/dump\n")
    stub.chmod(0o755)
    script = Script("nginx-listens", text("components/nginx/listens.sh"))
    done = subprocess.run(
        script.argv("/x"), capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == bool(refused), done
    assert (f"says listen {refused}:" in done.stdout) is bool(refused), done
