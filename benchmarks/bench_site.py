"""The lab's site with one service more: a trivial TLS backend, and the means to load it.

The lab's stand-in backends are Python and slower than both proxies together; this one is nginx
with a fixed answer. It is declared as any service is, so its route is the deploys' own work.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import DockerClient  # type: ignore[import-untyped]
from docker.errors import NotFound  # type: ignore[import-untyped]

from benchmarks.converge import converge
from lab.image import pack
from lab.progress import say
from lab.settings import LABEL, ROOT, LabError
from lab.state import LabState
from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.traefik import traefik_yml
from phoenix.components.trust import ROOTS
from phoenix.declaration.load import load_site
from phoenix.site.model import Site
from phoenix.site.roles import guest_with

SERVICE = "bench"
SPENDERS = ("nginx", "traefik", "backend")
ANSWER = "ok\n"
UNIT = "phoenix-bench-backend"
OPEN_FILE = f"{traefik_yml.DYNAMIC}/phoenix-bench.yml"
"""A second way to the service, by a name for which Traefik asks for no client certificate: wrk has
none to show. All else is as for the gateway."""
GUEST_FILE = "inventories/phoenix_vm_configs.json"
APT = "DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends"
CONFIG = """\
user www-data;
worker_processes 1;
pid /run/phoenix-bench.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    server {{
        listen {port} ssl;
        ssl_certificate {pairs}/host/fullchain.pem;
        ssl_certificate_key {pairs}/host/privkey.pem;
        ssl_session_cache shared:tls:10m;
        default_type text/plain;
        location / {{ return 200 "ok\\n"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Bench:
    """What is loaded and from where.

    `loader` is the load generator's container with the gateway's address, which Traefik admits;
    `inner_loader` the one with Traefik's, which alone the backend's guard lets in.
    `spenders`: the guests that work on a request, by the names in SPENDERS.
    """

    site: Site
    service_fqdn: str
    open_fqdn: str
    backend_fqdn: str
    backend_port: int
    loader: Any
    inner_loader: Any
    spenders: dict[str, Any]


def declare(directory: Path, port: int, owner: str) -> Path:
    """Copy inventories and stacks into `directory` and declare the service on guest `owner`.

    Returns:
        The copied lab inventory.

    Raises:
        LabError: there is no such guest or it already declares a service of its own.
    """
    for name in ("inventories", "stacks"):
        shutil.copytree(ROOT / name, directory / name, dirs_exist_ok=True)
    path = directory / GUEST_FILE
    data = json.loads(path.read_text())
    owners = [guest for guest in data["vms"] if guest["name"] == owner]
    if len(owners) != 1 or "traefik_service" in owners[0]:
        raise LabError(
            f"{GUEST_FILE}: the benchmark puts its service on the guest {owner!r}, which must be "
            "there once and without a traefik_service."
        )
    owners[0]["traefik_service"] = {"name": SERVICE, "port": port, "scheme": "https"}
    path.write_text(json.dumps(data, indent=2))
    return directory / "inventories/lab.py"


def backend_guest(site: Site) -> str:
    """The first Docker host that is not the control plane; LabError where there is none."""
    for host in site.hosts:
        if "docker" in host.roles and "portainer" not in host.roles:
            return host.name
    raise LabError("The site has no Docker host beside the control plane to carry the backend.")


def free_port(site: Site, owner: str) -> int:
    """The first port from 18443 on that no declared service of the guest has."""
    used = {service.port for service in site.services if service.owner.name == owner}
    return next(port for port in range(18443, 65536) if port not in used)


@contextmanager
def running(client: DockerClient, lab: LabState) -> Iterator[Bench]:
    """Backend, route and load generator; on the way out the lab is converged back without them."""
    original = _load(ROOT, lab)
    owner = backend_guest(original)
    port = free_port(original, owner)
    guest = client.containers.get(lab.container(owner))
    try:
        with tempfile.TemporaryDirectory(prefix="phoenix-bench-") as scratch:
            inventory = declare(Path(scratch), port, owner)
            site = _load(Path(scratch), lab)
            say("the platform as declared (deploys/all.py)")
            converge(lab)
            say(f"backend on {owner}, port {port}")
            _start_backend(guest, port)
            say("its route (deploys/all.py with the declaration)")
            converge(lab, inventory=inventory)
        with (
            _loader(client, lab, site, guest_with(site, "nginx").name) as loader,
            _loader(client, lab, site, guest_with(site, "traefik").name) as inner_loader,
        ):
            hosts = [guest_with(site, "nginx").name, guest_with(site, "traefik").name, owner]
            _open_way(client.containers.get(lab.container(guest_with(site, "traefik").name)), site)
            guests = [client.containers.get(lab.container(host)) for host in hosts]
            yield Bench(
                site=site,
                service_fqdn=f"{SERVICE}.{site.domain}",
                open_fqdn=_open_fqdn(site),
                backend_fqdn=site.host(owner).fqdn,
                backend_port=port,
                loader=loader,
                inner_loader=inner_loader,
                spenders=dict(zip(SPENDERS, guests, strict=True)),
            )
    finally:
        say("back to the platform as declared")
        _stop_backend(guest)
        _close_way(client.containers.get(lab.container(guest_with(original, "traefik").name)))
        converge(lab)


def _load(root: Path, lab: LabState) -> Site:
    return load_site(
        root / "inventories", root / "stacks", environment="production", subnet=lab.subnet
    )


def _open_fqdn(site: Site) -> str:
    return f"{SERVICE}-open.{site.domain}"


def _open_way(guest: Any, site: Site) -> None:
    router = {
        "rule": f"Host(`{_open_fqdn(site)}`)",
        "entryPoints": ["websecure"],
        "service": SERVICE,
        "middlewares": [traefik_yml.RETRY],
        "tls": {"options": "bench"},
    }
    config = {
        "http": {"routers": {"bench-open": router}},
        "tls": {"options": {"bench": traefik_yml.TLS}},
    }
    guest.put_archive("/", pack({OPEN_FILE[1:]: (json.dumps(config).encode(), 0o644)}))
    execute(guest, f"systemctl reload {traefik_yml.UNIT}; sleep 2")


def _close_way(guest: Any) -> None:
    execute(guest, f"rm -f {OPEN_FILE}; systemctl reload {traefik_yml.UNIT}")


def _start_backend(guest: Any, port: int) -> None:
    # Masked first: Debian starts a service at installation, and this one would take port 80.
    execute(guest, f"systemctl mask nginx.service && {APT.replace('install', 'update', 1)}")
    execute(guest, f"{APT} nginx-light")
    config = CONFIG.format(port=port, pairs=CERTIFICATES).encode()
    guest.put_archive("/", pack({"etc/phoenix-bench.conf": (config, 0o644)}))
    nginx = "/usr/sbin/nginx -c /etc/phoenix-bench.conf -g 'daemon off;'"
    # One may be left of a run that was killed.
    execute(
        guest, f"systemctl stop {UNIT} 2>/dev/null; systemctl reset-failed {UNIT} 2>/dev/null; :"
    )
    execute(guest, f"systemd-run --quiet --collect --unit={UNIT} -p LimitNOFILE=8192 {nginx}")


def _stop_backend(guest: Any) -> None:
    execute(
        guest,
        f"systemctl stop {UNIT} 2>/dev/null; systemctl unmask nginx.service;"
        " DEBIAN_FRONTEND=noninteractive apt-get purge -qq -y --autoremove nginx-light;"
        " rm -f /etc/phoenix-bench.conf",
    )


@contextmanager
def _loader(client: DockerClient, lab: LabState, site: Site, host: str) -> Iterator[Any]:
    """A container with wrk in the network of `host`, so that firewalls treat it as that host.

    It asks the platform's own name server and trusts the platform's root for its first request.
    """
    guest = client.containers.get(lab.container(host))
    name = lab.container(f"load-{host}")
    _remove(client, name)
    with tempfile.TemporaryDirectory(prefix="phoenix-bench-") as scratch:
        resolver = Path(scratch) / "resolv.conf"
        resolver.write_text(f"nameserver {site.hypervisor.address}\n")
        loader = client.containers.run(
            client.containers.get(lab.client).image,
            ["sleep", "infinity"],
            name=name,
            detach=True,
            init=True,
            network_mode=f"container:{guest.id}",
            volumes={str(resolver): {"bind": "/etc/resolv.conf", "mode": "ro"}},
            labels={LABEL: lab.name},
        )
        try:
            say("load generator: wrk from Debian")
            execute(loader, f"{APT.replace('install', 'update', 1)} && {APT} wrk")
            root = execute(guest, f"cat {ROOTS}").encode()
            entry = f"{guest_with(site, 'traefik').address} {_open_fqdn(site)}"
            execute(loader, f"echo {entry} >>/etc/hosts")
            loader.put_archive("/", pack({"root/phoenix-root.pem": (root, 0o644)}))
            yield loader
        finally:
            _remove(client, name)


def _remove(client: DockerClient, name: str) -> None:
    try:
        client.containers.get(name).remove(force=True)
    except NotFound:
        return


def execute(container: Any, command: str) -> str:
    """Run a shell command in a container; LabError with its output where it fails."""
    code, output = container.exec_run(["sh", "-c", command])
    text: str = output.decode(errors="replace")
    if code != 0:
        raise LabError(f"{container.name}: `{command}` ended with {code}:\n{text[-1200:]}")
    return text
