"""Single faults for `python -m benchmarks alarms`: how each is made, and whose alarm it must be."""

from __future__ import annotations

import shlex
from typing import NamedTuple

QDRANT, APP = "qdrant_service-production", "thinkheads_ai_app-production"
_TMP = "/tmp"  # noqa: S108 - the guest's
_CA_KEY = "/etc/step-ca/secrets/intermediate_ca_key"


class Fault(NamedTuple):
    """One fault of a guest.

    Attributes:
        name: what it is, for a person.
        role: whose guest has it, by a name of `roles`.
        make: shell command on that guest that makes it; HOSTS' addresses stand as {ROLE}.
        repair: shell command that takes it away.
        cause: regular expression that the alarm's title and text must hold.
        blamed: the role whose host the alarm must name, where it is another one.
    """

    name: str
    role: str
    make: str
    repair: str
    cause: str
    blamed: str = ""


def _stopped(role: str, unit: str, name: str, cause: str = "") -> Fault:
    return Fault(
        f"{name} is stopped", role, f"systemctl stop {unit}", f"systemctl start {unit}",
        cause or rf"{unit}.* is (inactive|failed)",
    )  # fmt: skip


def _masked(role: str, unit: str, name: str) -> Fault:
    # As `systemctl mask` does, which refuses a unit whose own file is in the link's place.
    file, aside = f"/etc/systemd/system/{unit}", f"/run/bench-{unit}"
    return Fault(
        f"{name} is masked", role,
        f"systemctl stop {unit}; [ ! -e {file} ] || mv {file} {aside}; ln -s /dev/null {file} &&"
        " systemctl daemon-reload",
        f"rm {file}; [ ! -e {aside} ] || mv {aside} {file}; systemctl daemon-reload;"
        f" systemctl start {unit}",
        r"is masked",
    )  # fmt: skip


def _hangs(role: str, unit: str, name: str) -> Fault:
    signal = f"kill -{{signal}} $(systemctl show -P MainPID {unit})"
    return Fault(
        f"{name} hangs", role, signal.format(signal="STOP"), signal.format(signal="CONT"),
        r"hangs|does not answer",
    )  # fmt: skip


def _container(project: str, name: str, symptom: str, verb: str, back: str) -> Fault:
    ids = f"$(docker ps -aq --filter label=com.docker.compose.project={project})"
    return Fault(
        f"{name} {symptom}", "docker", f"docker {verb} {ids}", f"docker {back} {ids}", project
    )


def _moved(role: str, path: str, name: str, cause: str) -> Fault:
    copy = shlex.quote(f"{path}.kept-by-a-benchmark")
    return Fault(name, role, f"mv {path} {copy}", f"mv {copy} {path}", cause)


def _mounted(role: str, at: str, options: str, name: str) -> Fault:
    fill = f"mount -t tmpfs -o {options} none {at}; head -c 64k /dev/zero >{at}/x; touch {at}/y; :"
    return Fault(name, role, fill, f"umount -l {at}", at)


def _blocked(role: str, target: str, port: int, name: str, cause: str, blamed: str = "") -> Fault:
    rule = (
        "nft 'add table ip bench_fault; add chain ip bench_fault out "
        "{{ type filter hook output priority -300; }}; "
        f"add rule ip bench_fault out ip daddr {{{target}}} tcp dport {port} drop'"
    )
    return Fault(name, role, rule, "nft delete table ip bench_fault", cause, blamed)


def _cut_off(role: str, name: str) -> Fault:
    return Fault(
        f"{name} has lost its network", role,
        "ip -4 route show default >/run/bench-route; ip link set eth0 down",
        "ip link set eth0 up; ip route replace $(cat /run/bench-route)", r"has not reported",
    )  # fmt: skip


FAULTS = (
    _stopped("gateway", "nginx.service", "Nginx"),
    _masked("gateway", "nginx.service", "Nginx"),
    Fault(
        "another process has Nginx's port", "gateway",
        "systemctl stop nginx; systemd-run -q --unit=bench-taker python3 -m http.server 443;"
        " sleep 1; systemctl start nginx; :",
        "systemctl stop bench-taker; systemctl reset-failed nginx; systemctl start nginx",
        r"nginx\.service",
    ),
    _stopped("gateway", "phoenix-acme@gateway.timer", "the gateway's renewal"),
    _moved("gateway", "/etc/phoenix/roots.pem", "the gateway has no roots", r"roots\.pem"),
    _cut_off("gateway", "the gateway"),
    _blocked("gateway", "traefik", 443, "the gateway does not reach Traefik", r"443"),
    _blocked("gateway", "ca", 9000, "the gateway does not reach the CA", r"9000"),
    Fault(
        "the gateway's resolver is a wrong one", "gateway",
        "cp /etc/resolv.conf /run/bench-resolv; echo nameserver 192.0.2.1 >/etc/resolv.conf",
        "cat /run/bench-resolv >/etc/resolv.conf", r"name|resolve",
    ),
    Fault(
        "the gateway is called otherwise", "gateway",
        "hostname >/run/bench-name; hostname another", "hostname $(cat /run/bench-name)",
        r"is called|another",
    ),
    _stopped("traefik", "traefik.service", "Traefik"),
    _masked("traefik", "traefik.service", "Traefik"),
    _hangs("traefik", "traefik.service", "Traefik"),
    _stopped("traefik", "phoenix-home.service", "the start page"),
    _masked("traefik", "phoenix-home.service", "the start page"),
    _stopped("traefik", "phoenix-acme@traefik.timer", "Traefik's renewal"),
    _mounted("traefik", _TMP, "size=64k", "Traefik's /tmp is full"),
    _mounted("traefik", _TMP, "nr_inodes=2", "Traefik's /tmp has no inode left"),
    Fault(
        "Traefik's certificate on disk is another one", "traefik",
        "cd /etc/phoenix/tls/traefik && cat fullchain.pem >/run/bench-pair && openssl req -x509"
        " -newkey rsa:2048 -nodes -keyout /dev/null -out /run/bench-other -days 1 -subj /CN=other"
        " 2>/dev/null && cat /run/bench-other >fullchain.pem",
        "cat /run/bench-pair >/etc/phoenix/tls/traefik/fullchain.pem", r"ertificate|key",
    ),
    _blocked("traefik", "portainer", 9443, "Traefik does not reach Portainer", r"9443"),
    _blocked("traefik", "docker", 6333, "Traefik does not reach Qdrant", r"6333"),
    _stopped("ca", "step-ca.service", "the CA"),
    _masked("ca", "step-ca.service", "the CA"),
    _hangs("ca", "step-ca.service", "the CA"),
    Fault(
        "the CA's key is open to all", "ca",
        f"stat -c %a {_CA_KEY} >/run/bench-mode; chmod 644 {_CA_KEY}",
        f"chmod $(cat /run/bench-mode) {_CA_KEY}", r"key|private|644",
    ),
    _cut_off("ca", "the CA's guest"),
    _mounted("ca", "/var/log", "size=64k", "the CA's log folder is full"),
    _stopped("hypervisor", "phoenix-dns.service", "the name server"),
    _hangs("hypervisor", "phoenix-dns.service", "the name server"),
    Fault(
        "Portainer's Docker is stopped", "portainer", "systemctl stop docker.socket docker",
        "systemctl start docker phoenix-portainer", r"docker\.service",
    ),
    _stopped("portainer", "phoenix-portainer.service", "Portainer"),
    _masked("portainer", "phoenix-portainer.service", "Portainer"),
    _stopped("portainer", "phoenix-portainer-tunnel.service", "Portainer's end of the tunnel"),
    _stopped("portainer", "phoenix-acme@host.timer", "Portainer's renewal"),
    _moved("portainer", "/etc/phoenix/portainer-api.header", "the host has no API key", r"API|key"),
    Fault(
        "the Docker host's Docker is stopped", "docker", "systemctl stop docker.socket docker",
        "systemctl start docker phoenix-portainer-agent", r"docker\.service",
    ),
    _hangs("docker", "docker.service", "the Docker host's Docker"),
    _stopped("docker", "phoenix-portainer-agent.service", "the agent"),
    _stopped("docker", "phoenix-portainer-tunnel.service", "the agent's end of the tunnel"),
    _container(QDRANT, "Qdrant's container", "is stopped", "stop", "start"),
    _container(APP, "the application's container", "is paused", "pause", "unpause"),
    _stopped(
        "docker", f"phoenix-acme@stack-{QDRANT.replace('_', '-')}.timer", "Qdrant's renewal"
    ),
    _moved(
        "docker", f"/etc/phoenix/stacks/{QDRANT}/tls/fullchain.pem", "Qdrant's certificate is gone",
        r"fullchain|ertificate",
    ),
    _stopped("docker", "phoenix-watch.timer", "the Docker host's watch", r"has not reported"),
    _cut_off("docker", "the Docker host"),
)  # fmt: skip
