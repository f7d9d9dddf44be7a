"""A person's own Traefik: what its host tells of it, and whether its routers can stay."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from phoenix.components.taking_over.decision import decide
from phoenix.components.taking_over.existing_services import (
    ExistingServices,
    Listener,
    OwnRoutes,
    Place,
)
from phoenix.components.traefik import traefik_yml
from phoenix.components.traefik.existing_files import (
    OwnFile,
    OwnFilesError,
    OwnTraefik,
    considered,
    faults,
    parse,
)
from phoenix.declaration.settings import TakingOver
from phoenix.files import text
from phoenix.site.model import Site
from tests.unit.site_builder import minimal

STATIC = """\
# A person's
entryPoints:
  web:
    address: ":8000"
    http:
      redirections:
        entryPoint: {to: secure}
  secure:
    address: ":8443"
  websecure:
    address: ":443"
providers:
  file:
    directory: /etc/traefik/dynamic
    watch: true
log: {filePath: /planted-5ecret}
"""
BLOG = """\
http:
  routers:
    blog:
      rule: "Host(`blog.example`) || Host(`www.blog.example`)"  # planted-5ecret
      entryPoints:
        - web
      service: blog
      middlewares:
        - login
  services:
    blog:
      loadBalancer:
        servers:
          - url: http://127.0.0.1:8000
  middlewares:
    login:
      basicAuth:
        users:
          - "me:$apr1$planted-5ecret"
    told:
      headers:
        customRequestHeaders:
          X-Token: planted-5ecret
    one: {headers: {customRequestHeaders: {X-Token: planted-5ecret}}}
tls:
  options:
    mine:
      minVersion: VersionTLS12
"""
TOML = """\
[http.routers.wiki]
  rule = "Host(`wiki.example`)"
  entryPoints = ["secure"]
  service = "wiki"
[http.routers.wiki.tls]
  options = "mine"
[http.middlewares.login2.basicAuth]
  users = ["me:planted-5ecret"]
"""
PLACE = Place("traefik", "traefik", (80, 443))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "etc/dynamic").mkdir(parents=True)
    (tmp_path / "etc/traefik.yml").write_text(STATIC)
    (tmp_path / "etc/dynamic/blog.yml").write_text(BLOG)
    return tmp_path / "etc"


def asked(folder: Path) -> list[str]:
    """What a host answers, by the script itself."""
    script = text("components/traefik/existing_files.sh")
    tree = folder.parent / "trees/traefik"
    words = [str(tree), f"{folder}/traefik.yml", f"{folder}/dynamic"]
    done = subprocess.run(
        ["sh", "-c", script, "traefik-files", *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


def looked(folder: Path) -> OwnTraefik:
    """The same, with the folder of a real host in the place of the test's."""
    return parse(line.replace(str(folder), "/etc/traefik") for line in asked(folder))


def why_not(folder: Path, names_taken: frozenset[str] = frozenset()) -> str:
    return "\n".join(faults(looked(folder), names_taken))


def test_a_host_tells_what_routers_need_and_no_other_value(folder: Path) -> None:
    (folder / "dynamic/wiki.toml").write_text(TOML)
    assert "planted" not in "\n".join(asked(folder))
    own = looked(folder)
    assert own.static
    assert not own.is_ours
    assert list(own.entry_points) == ["web", "secure", "websecure"]
    assert list(own.providers) == ["file"]
    assert [file.path.rpartition("/")[2] for file in own.dynamic] == ["blog.yml", "wiki.toml"]
    assert list(own.used) == ["web", "secure"], "no router has the one on port 443"
    assert own.used["web"]["http"] == {"redirections": {"entryPoint": {"to": "secure"}}}
    assert list(faults(own, frozenset())) == []


def test_what_was_kept_is_read_where_phoenix_has_taken_its_place(folder: Path) -> None:
    tree = folder.parent / "trees/traefik"
    former = tree / f"replaced{folder}/traefik.yml"
    former.parent.mkdir(parents=True)
    (folder / "traefik.yml").rename(former)
    (tree / "current").mkdir()
    (folder / "traefik.yml").symlink_to(tree / "current/root/traefik.yml")
    (folder / "dynamic/admission.yml").write_text("# edited by hand\n")
    (folder / "dynamic/phoenix.yml").symlink_to(tree.parent / "traefik-routes/current/phoenix.yml")
    (tree.parent / "traefik-routes/current").mkdir(parents=True)
    (tree.parent / "traefik-routes/current/phoenix.yml").write_text("http: {}\n")
    own = looked(folder)
    assert own.is_ours
    assert list(own.used) == ["web"]
    assert [file.path for file in own.dynamic] == ["/etc/traefik/dynamic/blog.yml"]
    assert considered(own, is_kept=True) == own
    assert considered(own, is_kept=False) is None, "it gave way, and nobody asks any more"


def test_a_host_without_a_traefik_has_nothing_to_decide_about(tmp_path: Path) -> None:
    (tmp_path / "dynamic").mkdir()
    own = looked(tmp_path)
    assert own == OwnTraefik()
    assert considered(own, is_kept=True) is None


def in_static(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: _changed(folder / "traefik.yml", old, new)


def in_blog(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: _changed(folder / "dynamic/blog.yml", old, new)


def _changed(path: Path, old: str, new: str) -> None:
    before = path.read_text()
    assert before.count(old) == 1
    path.write_text(before.replace(old, new))


ROUTER = "      service: blog\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_blog("- web\n", "- websecure\n"), 'port 443, where Phoenix.*address: ":8443"'),
        (in_static('":8000"', '":80"'), "port 80, on which the proofs"),
        (in_static('":8000"', "127.0.0.1:8081"), "port 8081, where Phoenix's Traefik answers its"),
        (in_static('":8000"', "web"), "has no port in /etc/traefik/traefik.yml"),
        (in_blog("- web\n", "- local\n"), "answers on local, which is Phoenix's"),
        (in_blog("- web\n", "- weeb\n"), "answers on weeb, which .*traefik.yml does not declare"),
        (in_static('address: ":443"', 'address: ":9443"'), ""),
        (in_blog("      entryPoints:\n        - web\n", ""), "names no entryPoints"),
        (in_blog(ROUTER, "      service: api@internal\n"), "leads to api@internal"),
        (in_blog(ROUTER, f"{ROUTER}      tls: {{}}\n"), "tls without options.*beside-phoenix"),
        (in_blog(ROUTER, f"{ROUTER}      tls:\n        options: beside-phoenix\n"), ""),
        (
            in_blog(ROUTER, f"{ROUTER}      tls:\n        certResolver: le\n"),
            "a certificate by le.*tls.certificates",
        ),
        (
            in_static("      redirections:\n        entryPoint: {to: secure}\n", "      tls: {}\n"),
            "has the tls of web in .*traefik.yml without options",
        ),
        (in_blog("    mine:\n", "    default:\n"), "tls.options.default would hold for the site"),
        (in_blog("    told:\n", "    retry:\n"), "retry among its middlewares is a name that the"),
        (in_static("  file:\n", "  docker: {}\n  file:\n"), "the provider docker"),
        (in_static("/etc/traefik/dynamic", "/srv/rules"), "reads /srv/rules, and Phoenix's"),
        (in_static("log: ", "experimental: {plugins: {}}\nlog: "), ""),
        (in_static("log: ", "experimental:\n  plugins:\nlog: "), "has plugins"),
        (in_blog("http:\n", "http:\n   x:\n"), "blog.yml cannot be read: write it as YAML"),
        (lambda folder: (folder / "dynamic/blog.yml").chmod(0o600), "chmod o.r"),
    ],
)  # fmt: skip
def test_what_cannot_stay_is_refused_with_its_fix(
    folder: Path, site: Site, change: Callable[[Path], None], words: str
) -> None:
    change(folder)
    reasons = why_not(folder, traefik_yml.taken_names(site))
    if not words:
        assert reasons == ""
        return
    assert re.search(words, reasons), reasons
    assert all(line.endswith("run again") for line in reasons.splitlines()), reasons


def test_a_word_is_asked_for_and_keep_leaves_all_of_it_in_place(folder: Path) -> None:
    own = looked(folder)
    route = OwnRoutes("/etc/traefik/dynamic/blog.yml", True, ("blog.example",))
    existing = ExistingServices(routes=(route,), proxy=own)
    asked_ = "\n".join(decide([PLACE], existing, TakingOver()).refused)
    assert "traefik.yml, a Traefik with the entry points web (:8000), secure (:8443)" in asked_
    assert "and the providers file" in asked_
    for choice in ("keep", "replace"):
        assert f"taking_over = {{'traefik': '{choice}'}}" in asked_
    keep = TakingOver(traefik="keep")
    verdict = decide([PLACE], existing, keep, unkept=lambda own: faults(own, ()))
    assert (verdict.refused, verdict.records) == ((), {})
    assert any("blog.example: its routers stay" in line for line in verdict.does)
    replace = decide([PLACE], existing, TakingOver(traefik="replace"))
    assert replace.refused == ()
    assert replace.records == {"traefik": (f"file {route.path}",)}


def test_who_has_the_port_or_stands_elsewhere_cannot_be_kept() -> None:
    container = Listener("traefik", "tcp", "*", 443, "docker-proxy", "", "edge", "traefik:v3.1")
    existing = ExistingServices((container,), routes=(OwnRoutes("/etc/traefik/conf/a.yml"),))
    refused = decide([PLACE], existing, TakingOver(traefik="keep")).refused
    assert "container edge (traefik:v3.1) on port 443 cannot be kept there" in refused[0]
    assert "external_services and say 'replace'" in refused[0]
    assert "a.yml" in refused[1]
    assert "move it there, or out of /etc/traefik" in refused[1]


def test_phoenix_s_traefik_has_their_entry_points_beside_its_own(folder: Path, site: Site) -> None:
    own = looked(folder)
    static = yaml.safe_load(traefik_yml.static_config(site, metrics=False, entry_points=own.used))
    assert set(static["entryPoints"]) == {"web", *traefik_yml.ENTRY_POINTS}
    assert static["entryPoints"]["web"] == own.entry_points["web"]
    plain = yaml.safe_load(traefik_yml.static_config(site, metrics=False))
    assert set(plain["entryPoints"]) == set(traefik_yml.ENTRY_POINTS)
    assert static["entryPoints"]["websecure"] == plain["entryPoints"]["websecure"]
    routes = yaml.safe_load(traefik_yml.dynamic_config(site, beside=True)[0])
    options = routes["tls"]["options"][traefik_yml.BESIDE]
    assert options == traefik_yml.TLS
    assert "clientAuth" not in options
    assert "options" not in yaml.safe_load(traefik_yml.dynamic_config(site)[0])["tls"]


def test_junk_is_no_answer() -> None:
    with pytest.raises(OwnFilesError, match="unexpected answer of the host"):
        parse(["surprise"])
    assert OwnFile("/a").section("http") == {}
