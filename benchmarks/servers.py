"""Nginx, Traefik and dnsmasq as a site's: reload, memory and requests by the number of names.

All of them run in one container of the lab's image, which has the addresses of three hosts: only
where they listen, and whom Traefik lets in, is changed in the configuration of the site.
"""

from __future__ import annotations

import json
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docker import DockerClient  # type: ignore[import-untyped]

from benchmarks import handshake, synthetic, wrk
from lab import containers, image, preflight
from lab.light import AHEAD
from lab.progress import timed
from lab.settings import LABEL, LabError, Settings, subnet_for
from phoenix.components.dnsmasq.dnsmasq_conf import config as dnsmasq_config
from phoenix.components.nginx.nginx_conf import CLIENT_CERTIFICATE, nginx_config
from phoenix.components.traefik import traefik_yml
from phoenix.components.trust import ROOTS
from phoenix.declaration.load import load_site
from phoenix.derived import dns
from phoenix.derived.certificates import HOST_PAIRS, of_the_gateway
from phoenix.site.model import Site
from phoenix.site.roles import guest_with

SIZES = (10, 100, 1000)
_LAB = "servers"
_SCRIPT = Path(__file__).with_name("servers_inside.py")
_INSTALL = """\
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends nginx wrk dnsmasq-base python3
"""
_PREPARE = """\
set -e
for address in 2 3 13; do ip addr add 10.64.0.$address/32 dev lo; done
mkdir -p /var/lib/phoenix-acme-webroot
"""


def measure(sizes: Sequence[int], seconds: int) -> list[dict[str, Any]]:
    """What the servers need with so many services of the gateway.

    Raises:
        LabError: the container cannot be made, or a server does not do what it should.
    """
    settings = Settings(_LAB, subnet_for(_LAB))
    client = preflight.connect()
    containers.remove_all(client, settings)
    base = image.ensure(client).base
    tag = f"phoenix-lab-servers:{base.rpartition(':')[2]}"
    try:
        if not image.exists(client, tag):
            with timed(f"image {tag}"):
                container = _container(client, base, settings)
                _do(container, "sh", "-c", _INSTALL)
                container.commit(*tag.split(":"))
                container.remove(force=True)
        container = _container(client, tag, settings)
        _do(container, "sh", "-c", _PREPARE)
        program = Path(sysconfig.get_path("scripts")) / "traefik"
        members = {"/usr/local/bin/traefik": (program.read_bytes(), 0o755),
                   "/bench/inside.py": (_SCRIPT.read_bytes(), 0o644)}  # fmt: skip
        container.put_archive("/", image.pack(members))
        return [_measured(container, services, seconds) for services in sizes]
    finally:
        containers.remove_all(client, settings)


def _container(client: DockerClient, tag: str, settings: Settings) -> Any:
    return client.containers.run(
        tag,
        ["sleep", "infinity"],
        name=settings.container("servers"),
        labels={LABEL: settings.name},
        cap_add=["NET_ADMIN", "SYS_PTRACE"],  # addresses; memory of others' processes
        cpu_shares=AHEAD,
        detach=True,
    )


def _measured(container: Any, services: int, seconds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, timed(f"servers with {services} services"):
        synthetic.write(Path(folder), services)
        site = load_site(Path(folder))
        container.put_archive("/", image.pack(_files(site, Path(folder))))
        output = _do(container, "python3", "/bench/inside.py", "/bench", str(seconds))
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    result["names"] = sum(len(certificate.sans) for certificate in of_the_gateway(site))
    result["certificates"] = len(of_the_gateway(site))
    for load in (result["path"], result["connections"]):
        read = wrk.parse(load.pop("report"))
        load["rate"], load["p99"] = read.rate, read.p99
        for server in ("nginx", "traefik"):
            load[f"{server}_us"] = load.pop(server) / max(read.requests, 1) * 1e6
    return result


def _files(site: Site, folder: Path) -> dict[str, tuple[bytes, int]]:
    gateway, traefik = guest_with(site, "nginx"), guest_with(site, "traefik")
    own, behind = str(gateway.address), str(traefik.address)
    texts: dict[str, str] = {}
    for ending, hsts, users in (("", 60, "one"), (".next", 61, "two")):
        nginx, _ = nginx_config(
            site, client_certificate="ab" * 32, hsts_seconds=hsts, max_body="1m",
            read_timeout="30s",
        )  # fmt: skip
        texts[f"nginx.conf{ending}"] = nginx.replace("listen 443 ", f"listen {own}:443 ")
        routes, marker = traefik_yml.dynamic_config(site, users)
        # All of them have one address to a peer of the same machine.
        texts[f"phoenix.yml{ending}"] = routes.replace(f"{own}/32", f"{behind}/32")
        texts[f"marker{ending}"] = marker
    static = traefik_yml.static_config(site, metrics=False)
    texts["traefik.yml"] = static.replace("address: :443", f"address: {behind}:443")
    texts["dnsmasq.conf"] = dnsmasq_config(site, dns.records(site), ["9.9.9.9"])
    texts["dashboard.users"] = "admin:$2y$05$nobody\n"
    files = {f"/bench/{name}": (text.encode(), 0o644) for name, text in texts.items()}
    pairs = folder / "pairs"
    pairs.mkdir()
    handshake.authority(pairs)
    issued = [(certificate.directory, certificate.sans) for certificate in of_the_gateway(site)]
    issued.append((f"{HOST_PAIRS}/traefik", (traefik.fqdn,)))
    for number, (directory, names) in enumerate(issued):
        leaf, key = handshake.issue(pairs, f"leaf{number}", names)
        files[f"{directory}/fullchain.pem"] = (leaf.read_bytes(), 0o644)
        files[f"{directory}/privkey.pem"] = (key.read_bytes(), 0o600)
    leaf, key = handshake.issue(pairs, "client", ("client.invalid",))
    files[CLIENT_CERTIFICATE] = (leaf.read_bytes() + key.read_bytes(), 0o600)
    files[ROOTS] = ((pairs / "root.pem").read_bytes(), 0o644)
    return files


def _do(container: Any, *words: str) -> str:
    done = container.exec_run(list(words))
    output: str = done.output.decode(errors="replace")
    if done.exit_code != 0:
        raise LabError(f"{words[0]} ended with {done.exit_code}:\n{output[-3000:]}")
    return output
