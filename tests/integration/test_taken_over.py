"""What a person had on a host before Phoenix is told, kept or merged; nothing of it is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from phoenix.derived.routes import gateway_names
from tests.integration.site_lab import SiteLab, print_figure

DAEMON = "/etc/docker/daemon.json"
TREES = "/var/lib/phoenix/trees"
PERSON = {
    "data-root": "/var/lib/docker",
    "insecure-registries": ["registry.example:5000"],
    "registry-mirrors": ["https://mirror.example"],
    "default-address-pools": [{"base": "172.31.0.0/16", "size": 24}],
    "dns": ["192.0.2.1"],
}


def output_of(site: SiteLab, *words: str, code: int) -> str:
    done = site.project.phoenix(*words)
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, text
    return text


def says(site: SiteLab, choice: str) -> None:
    """What a person writes into group_data/all.py: the setting `taking_over`."""
    path = site.project.path / "group_data/all.py"
    lines = path.read_text().splitlines(keepends=True)
    rest = "".join(line for line in lines if not line.startswith("taking_over = "))
    path.write_text(f"{rest}taking_over = {choice}\n" if choice else rest)


@pytest.fixture
def before_phoenix(site: SiteLab) -> Iterator[str]:
    """A Docker host with a person's daemon.json, and a gateway with a person's nginx."""
    worker = site.backends[0].service.owner.name
    own = json.dumps(PERSON)
    site.sh(
        worker,
        f"mv {TREES}/docker /root/tree.docker && rm {DAEMON} && printf '%s' '{own}' >{DAEMON}",
        ok=True,
    )
    site.sh(
        "gateway",
        f"mv {TREES}/nginx /root/tree.nginx && rm /etc/nginx/nginx.conf"
        " && echo '# edited by a person' >/etc/nginx/nginx.conf"
        " && mkdir -p /etc/nginx/conf.d && echo 'server {}' >/etc/nginx/conf.d/blog.conf",
        ok=True,
    )
    try:
        yield worker
    finally:
        says(site, "")
        # What this person had is kept in force: take it away as a person would.
        site.sh(worker, f"rm -rf {TREES}/docker {DAEMON} /etc/phoenix/docker/kept.json")
        site.sh(worker, f"mv /root/tree.docker {TREES}/docker")
        site.sh("gateway", f"rm -rf {TREES}/nginx /etc/nginx/conf.d/blog.conf")
        site.sh("gateway", f"mv /root/tree.nginx {TREES}/nginx")
        output_of(site, "sync", "-y", "docker", "nginx", code=0)


@pytest.mark.timeout(900)
def test_a_persons_files_are_told_merged_and_kept(site: SiteLab, before_phoenix: str) -> None:
    """Bug report 1: a daemon.json was replaced, and "converged" was said."""
    worker = before_phoenix
    plan = output_of(site, "plan", "docker", "nginx", "--full", code=2)
    blog = "/etc/nginx/conf.d/blog.conf, Nginx for no name: the gateway takes its place"
    assert blog in plan, plan
    refused = output_of(site, "sync", "-y", "nginx", code=1)
    assert blog in refused, refused
    assert site.sh("gateway", f"test -e {TREES}/nginx").code == 1, "nothing was touched"
    says(site, '{"nginx": "replace"}')
    for path, tree in ((DAEMON, "docker"), ("/etc/nginx/nginx.conf", "nginx")):
        replacement = (
            f"{path} replaces a file that Phoenix did not write; kept as {TREES}/{tree}/replaced"
        )
        assert replacement in plan, plan
    assert "/etc/nginx/conf.d/blog.conf stays, and is no longer read" in plan, plan
    assert "kept: data-root, default-address-pools, insecure-registries, registry-mirrors" in plan

    sync = output_of(site, "sync", "-y", "docker", "nginx", code=0)
    print_figure("sync said", sync[-900:])
    assert f"{DAEMON} was not of Phoenix: kept as {TREES}/docker/replaced{DAEMON}" in sync
    assert "/etc/nginx/conf.d/blog.conf is no longer read on" in sync
    former = site.sh(worker, f"cat {TREES}/docker/replaced{DAEMON}", ok=True).out
    assert json.loads(former) == PERSON
    merged = json.loads(site.sh(worker, f"cat {DAEMON}", ok=True).out)
    for key, value in PERSON.items():
        assert (merged[key] == value) == (key != "dns"), (key, merged)
    assert "registry.example:5000" in site.sh(worker, "docker info", ok=True).out
    assert site.sh("gateway", f"cat {TREES}/nginx/replaced/etc/nginx/nginx.conf").out == (
        "# edited by a person\n"
    )
    assert output_of(site, "plan", "docker", "nginx", code=0)


def test_a_data_root_that_would_hide_every_image_is_refused(site: SiteLab) -> None:
    worker = site.backends[0].service.owner.name
    run = site.project.run("deploys/docker.py", data={"docker_data_root": "/srv/elsewhere"})
    assert run.returncode == 1, run.explain()
    assert "dockerd has its images and volumes in /var/lib/docker" in run.output, run.explain()
    assert "move /var/lib/docker to /srv/elsewhere" in run.output, run.explain()
    assert run.changes == [], run.explain()
    assert "/srv/elsewhere" not in site.sh(worker, f"cat {DAEMON}", ok=True).out


OWN = "person-dns.service"
UNIT = """[Unit]
Description=A person's own name server
[Service]
ExecStart=/usr/sbin/dnsmasq --keep-in-foreground --conf-file=/dev/null --bind-interfaces \\
 --no-hosts --no-resolv --listen-address=ADDRESS --host-record=mine.example.net,192.0.2.7
[Install]
WantedBy=multi-user.target
"""
RECORDS = "/var/lib/phoenix/taken_over"


@pytest.fixture
def own_resolver(site: SiteLab) -> Iterator[str]:
    """A hypervisor without Phoenix's name server, on whose port 53 a person's dnsmasq listens."""
    address = str(site.site.hypervisor.address)
    site.sh(
        "hypervisor",
        f"systemctl disable -q --now phoenix-dns.service; mv {TREES}/dns /root/tree.dns",
        ok=True,
    )
    site.put("hypervisor", f"/etc/systemd/system/{OWN}", UNIT.replace("ADDRESS", address))
    site.sh("hypervisor", f"systemctl daemon-reload; systemctl enable -q --now {OWN}", ok=True)
    try:
        yield address
    finally:
        site.sh("hypervisor", f"systemctl disable -q --now {OWN}; rm -f /etc/systemd/system/{OWN}")
        site.sh("hypervisor", f"rm -rf {TREES}/dns {RECORDS}; mv /root/tree.dns {TREES}/dns")
        site.sh("hypervisor", "systemctl daemon-reload; systemctl enable -q --now phoenix-dns")
        output_of(site, "sync", "-y", "dns", code=0)


@pytest.mark.timeout(900)
def test_a_resolver_of_a_persons_is_told_and_gives_way_by_their_word(
    site: SiteLab, own_resolver: str
) -> None:
    def answer(name: str) -> str:
        return site.sh("hypervisor", f"dig +short +time=1 +tries=1 @{own_resolver} {name}").out

    plan = output_of(site, "plan", "dns", code=2)
    print_figure("plan said", plan[-900:])
    assert f"{OWN} on port 53: the name server of the site takes its place" in plan, plan
    for choice in ("keep", "replace"):
        assert f"taking_over = {{'resolver': '{choice}'}}" in plan, plan
    refused = output_of(site, "sync", "-y", "dns", code=1)
    assert "nothing was touched on this host" in refused, refused
    assert site.sh("hypervisor", f"test -e {TREES}/dns").code == 1
    assert answer("mine.example.net").strip() == "192.0.2.7"

    result = site.project.run("deploys/dns.py", data={"taking_over": '{"resolver": "keep"}'})
    assert result.returncode == 1, result.explain()
    assert f"server=/{site.site.domain}/127.0.0.1#5335" in result.output, result.explain()
    forwarding = f"--server=/{site.site.domain}/127.0.0.1#5335"
    site.sh(
        "hypervisor",
        f"sed -i 's,--no-resolv,& {forwarding},' /etc/systemd/system/{OWN};"
        f" systemctl daemon-reload; systemctl restart {OWN}",
        ok=True,
    )
    result = site.project.run("deploys/dns.py", data={"taking_over": '{"resolver": "keep"}'})
    assert result.returncode == 0, result.explain()
    traefik = site.site.traefik
    assert traefik is not None
    assert answer(traefik.fqdn).strip() == str(traefik.address)
    assert answer("mine.example.net").strip() == "192.0.2.7"

    site.sh("hypervisor", f"systemctl stop phoenix-dns; rm -rf {TREES}/dns", ok=True)
    run = site.project.run("deploys/dns.py", data={"taking_over": '{"resolver": "replace"}'})
    assert run.returncode == 0, run.explain()
    assert answer(traefik.fqdn).strip() == str(traefik.address)
    assert site.sh("hypervisor", f"systemctl is-enabled {OWN}").out.strip() == "disabled"
    assert site.sh("hypervisor", f"cat {RECORDS}/resolver.done").out == f"unit {OWN} boot\n"
    assert site.sh("hypervisor", f"test -e /etc/systemd/system/{OWN}").code == 0


@pytest.fixture
def own_ca(site: SiteLab) -> Iterator[str]:
    """The CA's guest with the same CA in a person's STEPPATH, and without Phoenix's."""
    site.sh(
        "ca",
        f"systemctl disable -q --now step-ca.service; cp -a /etc/step-ca /root/ca.kept;"
        f" mv {TREES}/step-ca /root/tree.ca; rm -rf /root/.step; mv /etc/step-ca /root/.step;"
        " rm -rf /root/.step/config /root/.step/templates",
        ok=True,
    )
    try:
        yield "/root/.step"
    finally:
        site.sh("ca", f"systemctl stop step-ca.service; rm -rf {TREES}/step-ca /etc/step-ca")
        site.sh("ca", f"rm -rf /root/.step {RECORDS}; mv /root/ca.kept /etc/step-ca")
        site.sh("ca", f"mv /root/tree.ca {TREES}/step-ca")
        output_of(site, "sync", "-y", "step_ca", code=0)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("former_values_return")
def test_a_ca_in_another_folder_is_adopted_and_nobody_trusts_anew(
    site: SiteLab, own_ca: str
) -> None:
    plan = output_of(site, "plan", "step_ca", code=2)
    assert f"the CA in {own_ca}: Phoenix's CA takes its place" in plan, plan
    output_of(site, "sync", "-y", "step_ca", code=1)
    assert site.sh("ca", "test -e /etc/step-ca").code == 1, "no root of its own was made"
    files = f"cd {own_ca} && find . -type f -exec sha256sum {{}} + | sort"
    before = site.sh("ca", files, ok=True).out
    password = site.sh("ca", f"cat {own_ca}/secrets/password", ok=True).out.strip()
    adopt = {"taking_over": '{"ca": "adopt"}'}
    wrong_password = {"PHOENIX_SECRET_STEP_CA_PASSWORD": "another-planted-5ecret"}
    run = site.project.run("deploys/step_ca.py", data=adopt, environment=wrong_password)
    assert run.returncode == 1, run.explain()
    assert "the secret step_ca_password does not open" in run.output, run.explain()
    assert site.sh("ca", "test -e /etc/step-ca").code == 1
    right = {"PHOENIX_SECRET_STEP_CA_PASSWORD": password}
    run = site.project.run("deploys/step_ca.py", data=adopt, environment=right)
    assert run.returncode == 0, run.explain()
    assert password not in run.output
    root = "certs/root_ca.crt"
    assert site.sh("ca", f"cmp /etc/step-ca/{root} {own_ca}/{root}").code == 0
    assert site.sh("ca", files, ok=True).out == before, "their files stay"
    url = f"https://ca.{site.site.domain}:9000/health"
    assert "ok" in site.sh("traefik", f"curl -fsS {url}", ok=True).out, "by the root they trust"
    again = site.project.run("deploys/step_ca.py", data=adopt, environment=right)
    assert (again.returncode, again.changes) == (0, []), again.explain()


SITES = "/etc/nginx/sites-enabled"
THEIRS = "server {{ {listen} server_name {name}; location / {{ return 200 theirs; }} }}"


@pytest.fixture
def own_site(site: SiteLab) -> Iterator[None]:
    """A gateway without Phoenix's configuration, whose nginx serves a person's site."""
    site.sh(
        "gateway",
        f"mv {TREES}/nginx /root/tree.nginx && rm /etc/nginx/nginx.conf && mkdir -p {SITES}"
        " && cp /root/tree.nginx/replaced/etc/nginx/nginx.conf /etc/nginx/nginx.conf",
        ok=True,
    )
    site.put("gateway", f"{SITES}/blog", THEIRS.format(listen="listen 80;", name="blog.example"))
    try:
        yield
    finally:
        site.sh("gateway", f"rm -rf {TREES}/nginx {SITES}/blog {SITES}/other")
        site.sh("gateway", f"mv /root/tree.nginx {TREES}/nginx")
        output_of(site, "sync", "-y", "nginx", code=0)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("own_site")
def test_a_persons_site_of_nginx_stays_beside_the_sites_own(site: SiteLab) -> None:
    def answer(name: str) -> str:
        words = f"curl -sS -m 5 -w ' %{{http_code}}' -H 'Host: {name}' http://127.0.0.1/"
        return site.sh("gateway", words, ok=True).out.strip()

    own_name = gateway_names(site.site)[0]
    keep = {"taking_over": '{"nginx": "keep"}'}
    plan = output_of(site, "plan", "nginx", code=2)
    assert f"{SITES}/blog, Nginx for blog.example: the gateway takes its place" in plan, plan
    claims = THEIRS.format(listen="listen 80 default_server;", name=own_name)
    site.put("gateway", f"{SITES}/other", claims)
    run = site.project.run("deploys/nginx.py", data=keep)
    assert run.returncode == 1, run.explain()
    assert f"{SITES}/other claims {own_name}, which the site serves" in run.output, run.explain()
    assert f"{SITES}/other is the default_server of port 80" in run.output, run.explain()
    assert site.sh("gateway", f"test -e {TREES}/nginx").code == 1, "nothing was touched"

    site.put("gateway", f"{SITES}/other", "server { no_such_directive on; }")
    run = site.project.run("deploys/nginx.py", data=keep)
    assert run.returncode == 1, run.explain()
    assert 'unknown directive "no_such_directive"' in run.output, run.explain()
    gateway_address = site.address("gateway")
    site.put("gateway", "/etc/nginx/snippets/all.conf", f"listen {gateway_address}:443 ssl;")
    site.put("gateway", f"{SITES}/other", "server { include snippets/all.conf; }")
    run = site.project.run("deploys/nginx.py", data=keep)
    assert run.returncode == 1, run.explain()
    assert f"says listen {gateway_address}:443" in run.output, run.explain()
    site.sh("gateway", f"rm {SITES}/other /etc/nginx/snippets/all.conf", ok=True)

    run = site.project.run("deploys/nginx.py", data=keep)
    assert run.returncode == 0, run.explain()
    assert answer("blog.example") == "theirs 200"
    assert answer(own_name).endswith(" 308")
    assert answer("nobody.example").endswith(" 404")
    again = site.project.run("deploys/nginx.py", data=keep)
    assert (again.returncode, again.changes) == (0, []), again.explain()
    site.sh("gateway", f"rm {SITES}/blog && nginx -t -q", ok=True)


STATIC, RULES = "/etc/traefik/traefik.yml", "/etc/traefik/dynamic/blog.yml"
THEIR_STATIC = """\
entryPoints:
  web:
    address: ":8000"
  secure:
    address: ":8443"
  https:
    address: ":443"
providers:
  file:
    directory: /etc/traefik/dynamic
"""
THEIR_RULES = """\
http:
  routers:
    blog:
      rule: Host(`blog.example`)
      entryPoints:
        - POINT
      service: blog
    shop:
      rule: Host(`shop.example`)
      entryPoints:
        - secure
      service: blog
      tls:
        options: beside-phoenix
  services:
    blog:
      loadBalancer:
        servers:
          - url: http://127.0.0.1:8081
"""


@pytest.fixture
def own_traefik(site: SiteLab) -> Iterator[None]:
    """Traefik's guest without Phoenix's configuration, with a person's and a file of routers."""
    site.sh("traefik", f"mv {TREES}/traefik /root/tree.traefik && rm {STATIC}", ok=True)
    site.put("traefik", STATIC, THEIR_STATIC)
    site.put("traefik", RULES, THEIR_RULES.replace("POINT", "https"))
    try:
        yield
    finally:
        site.sh("traefik", f"rm -rf {TREES}/traefik {RULES} {STATIC}")
        site.sh("traefik", f"mv /root/tree.traefik {TREES}/traefik")
        output_of(site, "sync", "-y", "traefik", code=0)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("own_traefik")
def test_routers_of_a_persons_traefik_stay_beside_the_site_s(site: SiteLab) -> None:
    def answer(name: str, port: int) -> str:
        scheme = "https" if port == 8443 else "http"
        url = f"{scheme}://{name}:{port}/ping"
        where = f"--resolve {name}:{port}:127.0.0.1"
        return site.sh("traefik", f"curl -sk -m 5 {where} -w ' %{{http_code}}' {url}").out

    plan = output_of(site, "plan", "traefik", code=2)
    assert f"{STATIC}, a Traefik with the entry points web (:8000), secure (:8443)" in plan, plan
    assert f"{RULES}, routes of Traefik for blog.example, shop.example" in plan, plan
    output_of(site, "sync", "-y", "traefik", code=1)
    assert site.sh("traefik", f"test -e {TREES}/traefik").code == 1, "nothing was touched"

    keep = {"taking_over": '{"traefik": "keep"}'}
    run = site.project.run("deploys/traefik.py", data=keep)
    assert run.returncode == 1, run.explain()
    assert "router blog answers on https, port 443, where Phoenix's Traefik" in run.output
    assert site.sh("traefik", f"test -e {TREES}/traefik").code == 1, "nothing was touched"

    site.put("traefik", RULES, THEIR_RULES.replace("POINT", "web"))
    run = site.project.run("deploys/traefik.py", data=keep)
    assert run.returncode == 0, run.explain()
    assert answer("blog.example", 8000) == "OK 200"
    assert answer("shop.example", 8443) == "OK 200", "no certificate of the gateway's is asked for"
    assert answer(site.backends[0].fqdn, 8000).endswith(" 404"), "the site's names are not there"
    for route in site.backends:
        assert site.serves(route) == ""
    assert site.sh("traefik", f"cat {TREES}/traefik/replaced{STATIC}").out == THEIR_STATIC
    again = site.project.run("deploys/traefik.py", data=keep)
    assert (again.returncode, again.changes) == (0, []), again.explain()

    site.put("traefik", RULES, THEIR_RULES.replace("POINT", "websecure"))
    run = site.project.run("deploys/traefik.py", data=keep)
    assert run.returncode == 1, run.explain()
    assert "answers on websecure, which is Phoenix's" in run.output, run.explain()
    assert answer("blog.example", 8000) == "OK 200", "Traefik goes on with what it has"


PERSON_START = "/etc/systemd/system/docker.service.d/person.conf"
CLOSED = "/etc/systemd/system/docker.service.d/zz-phoenix-api.conf"


@pytest.fixture
def open_docker(site: SiteLab) -> Iterator[str]:
    """A Docker host whose dockerd listens on a TCP port by a person's drop-in."""
    worker = site.backends[0].service.owner.name
    shown = site.sh(worker, "systemctl cat docker.service | grep '^ExecStart=/'", ok=True).out
    site.put(
        worker,
        PERSON_START,
        f"[Service]\nExecStart=\n{shown.strip()} -H tcp://127.0.0.1:2375\n",
    )
    site.sh(
        worker,
        f"mv {TREES}/docker /root/tree.docker && rm {DAEMON}"
        f" && echo '{{\"live-restore\": true}}' >{DAEMON}"
        " && systemctl daemon-reload && systemctl restart docker",
        ok=True,
    )
    try:
        yield worker
    finally:
        site.sh(worker, f"rm -rf {TREES}/docker {DAEMON} {PERSON_START} {CLOSED}")
        site.sh(worker, "rm -f /etc/phoenix/docker/kept.json /etc/phoenix/docker/api.kept")
        site.sh(worker, f"mv /root/tree.docker {TREES}/docker; systemctl daemon-reload")
        output_of(site, "sync", "-y", "docker", code=0)
        # Where dockerd was restarted without live-restore, it may not start them again.
        site.sh(worker, "docker ps -aqf status=exited | xargs -r docker start", ok=True)


@pytest.mark.timeout(900)
def test_a_port_of_dockers_api_is_told_kept_and_closed(site: SiteLab, open_docker: str) -> None:
    def answers() -> bool:
        return site.sh(open_docker, "curl -fsS -m 5 http://127.0.0.1:2375/_ping").code == 0

    assert answers(), "as its person has it"
    plan = output_of(site, "plan", "docker", code=2)
    assert "Docker's API at tcp://127.0.0.1:2375, by docker.service" in plan, plan
    for choice in ("keep", "replace"):
        assert f"taking_over = {{'docker': '{choice}'}}" in plan, plan
    output_of(site, "sync", "-y", "docker", code=1)
    assert site.sh(open_docker, f"test -e {TREES}/docker").code == 1, "nothing was touched"
    for choice, stays in (("keep", True), ("replace", False)):
        data = {"taking_over": f'{{"docker": "{choice}"}}'}
        run = site.project.run("deploys/docker.py", data=data)
        assert run.returncode == 0, run.explain()
        assert answers() is stays
        again = site.project.run("deploys/docker.py", data=data)
        assert (again.returncode, again.changes) == (0, []), again.explain()
        assert site.sh(open_docker, "docker info", ok=True)
