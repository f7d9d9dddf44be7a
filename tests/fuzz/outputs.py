"""Every text that Phoenix makes of a site and its settings without asking a host."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache

from pydantic import SecretStr

from phoenix.components import stack as deployment
from phoenix.components.acme import phoenix_acme_conf as acme
from phoenix.components.dnsmasq import dnsmasq_conf as dnsmasq
from phoenix.components.docker import daemon_json as docker
from phoenix.components.guard import ruleset as guard
from phoenix.components.networks import bridges
from phoenix.components.nfs import shares as nfs
from phoenix.components.nginx import nginx_conf as nginx
from phoenix.components.portainer import compose_files as portainer
from phoenix.components.portainer import tunnel
from phoenix.components.step_ca import authority as step_ca
from phoenix.components.swarm import address_pool
from phoenix.components.traefik import traefik_yml as traefik
from phoenix.declaration.settings import Settings
from phoenix.derived import control_plane, dns
from phoenix.derived.certificates import certificates
from phoenix.files import render
from phoenix.health import watch_plan
from phoenix.health.checks import checks
from phoenix.proxmox import firewall, hostkeys, root
from phoenix.proxmox.desired import desired_guests
from phoenix.site.findings import SettingError
from phoenix.site.model import Deployment, Site
from phoenix.site.roles import CHAIN, guest_with

SECRET = SecretStr("a-secret")


def outputs(site: Site, settings: Settings | None = None) -> dict[str, str]:
    """Files, one word a line for command lines, and Proxmox VE's strings, by name."""
    chosen = settings or Settings()
    texts = {"dnsmasq.conf": dnsmasq.config(site, dns.records(site), chosen.dns_upstreams)}
    try:
        for role in CHAIN:
            guest_with(site, role)
    except SettingError:
        return texts
    texts["nginx.conf"] = nginx.nginx_config(
        site, client_certificate="ab" * 32,
        hsts_seconds=chosen.nginx_hsts_seconds, max_body=chosen.nginx_max_body,
        read_timeout=chosen.nginx_read_timeout,
    )[0]  # fmt: skip
    texts["traefik.yml"] = traefik.static_config(site, metrics=True)
    texts["routes.yml"] = traefik.dynamic_config(site)[0]
    texts["ca.json"] = step_ca.config(site, step_ca.claims(chosen))
    for docker_host in site.docker_hosts:
        desired = docker.declared(site, docker_host, chosen)
        texts[f"{docker_host.name} daemon.json"] = docker.merge(
            desired, docker.DaemonState()
        ).daemon
    texts["portainer.yml"] = portainer.server_compose(chosen.portainer_image, 9443)
    texts["traefik.service"] = render(
        "components/traefik/traefik.service.j2", program="/p", config="/c"
    )
    for agent in site.agents:
        service = control_plane.agent(site, agent)
        image = chosen.portainer_agent_image
        texts[f"agent {agent.name}"] = portainer.agent_compose(image, service.port)
        texts[f"tunnel {agent.name}"] = tunnel.at_the_agent(service, agent)
    for certificate in certificates(site):
        name = f"{certificate.host.name} {certificate.name}.conf"
        texts[name] = acme.configuration(
            certificate, directory=step_ca.directory_url(site), root="/r", proof=SecretStr("p")
        )
    for host in site.hosts:
        texts[f"{host.name} guard.nft"] = guard.ruleset(site, host)
        texts[f"{host.name} phoenix.exports"] = nfs.exports(host)
        texts[f"{host.name} nfs.fstab"] = nfs.mounts(host)
    devices = bridges.devices(site)
    texts["networks.nft"] = bridges.ruleset(site)
    texts["interfaces"] = bridges.interfaces(devices)
    texts["networks.list"] = bridges.listed(devices)
    texts |= _stacks(site)
    texts |= _proxmox(site, chosen)
    if site.watcher is not None:
        texts["watch plan"] = watch_plan.plan(site, chosen.watch_interval, {}).to_json()
        for host in site.watched:
            texts[f"{host.name} watch checks"] = "\n".join(watch_plan.lines(site, host))
    if site.swarm_nodes:
        address_pool.check_networks(site, chosen)
        texts["swarm pools"] = "\n".join(map(str, address_pool.pools(site, chosen)))
    texts["probe words"] = "\n".join(word for check in checks(site) for word in check.command)
    texts["timer"] = acme.interval(timedelta(hours=24))
    return texts


def _stacks(site: Site) -> Iterator[tuple[str, str]]:
    for host in site.guests:
        for stack in host.docker_stacks:
            written = stack.compose_file.read_text(encoding="utf-8")
            try:
                compose, images = _prepared(stack.model_dump_json(), written)
            except SettingError:  # what `phoenix validate` refuses
                continue
            yield f"{stack.project} compose", compose
            yield f"{stack.project} names", "\n".join([stack.project, *images])


@lru_cache(maxsize=64)
def _prepared(stack: str, _compose_file: str) -> tuple[str, tuple[str, ...]]:
    """The compose file and the images of a stack; both arguments tell whether it is another one."""
    prepared = deployment.prepare(Deployment.model_validate_json(stack), {}, lambda _name: SECRET)
    return prepared.compose, prepared.images


def _proxmox(site: Site, settings: Settings) -> Iterator[tuple[str, str]]:
    key = "ssh-ed25519 AAAA a"
    for guest in desired_guests(site, settings.proxmox, [key]):
        for name, value in {**guest.keys, **guest.fixed}.items():
            yield f"PVE {guest.vmid} {name}", value.written(None)
        yield (
            f"PVE {guest.vmid} words",
            "\n".join(map(str, (guest.node, guest.name, guest.storage, guest.origin))),
        )
        for number, command in enumerate(root.commands(guest, None)):
            yield f"PVE {guest.vmid} by root {number}", command.line
    for scope in firewall.scopes(site, settings.proxmox):
        for number, rule in enumerate(scope.rules):
            yield f"rule {scope.name} {number}", f"{rule.identity} {rule.comment}"
    words = hostkeys.words(hostkeys.guests(site.guests))
    yield "host key words", "\n".join(words)
