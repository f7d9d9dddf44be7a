"""The likely fix of each kind of fault: advice and commands for the operator. Pure, a table.

Commands of `phoenix` run on the operator's machine; others are shown with the SSH that leads to
the guest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from phoenix.components.guard.ruleset import UNIT as GUARD_UNIT
from phoenix.components.keepalived.keepalived_conf import UNIT as KEEPALIVED
from phoenix.components.networks.bridges import UNIT as NETWORKS_UNIT
from phoenix.components.nfs.shares import SERVER_UNIT as NFS_SERVER_UNIT
from phoenix.components.nfs.shares import UNIT as NFS_UNIT
from phoenix.components.portainer.compose_files import AGENT_UNIT, SERVER_UNIT
from phoenix.components.portainer.tunnel import UNIT as TUNNEL_UNIT
from phoenix.components.restic.files import PROOF_TIMER as BACKUP_PROOF_TIMER
from phoenix.components.restic.files import TIMER as BACKUP_TIMER
from phoenix.components.step_ca.authority import DIRECTORY
from phoenix.components.watch.files import JUDGE as WATCH_JUDGE
from phoenix.components.watch.files import PAGE_TIMER as WATCH_PAGE_TIMER
from phoenix.components.watch.files import RECEIVER as WATCH_RECEIVER
from phoenix.components.watch.files import TIMER as WATCH_TIMER
from phoenix.derived import login, swarm
from phoenix.derived.certificates import STACK_PAIR, is_the_gateways
from phoenix.health.checks import ISSUED
from phoenix.net.ssh_faults import FAULTS, said_in
from phoenix.site import unit_names
from phoenix.site.model import Frozen, Host, Site
from phoenix.site.ways import address
from phoenix.watch.causes import Check


class Fix(Frozen):
    """What is likely to help. `commands` in the order to try; the first ones only look."""

    advice: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class _Template:
    """Texts with the placeholders of `_values`."""

    advice: str
    commands: tuple[str, ...] = ()


COMPONENTS: Mapping[str, str] = {
    unit_names.DNS: "dns",
    unit_names.STEP_CA: "step_ca",
    unit_names.TRAEFIK: "traefik",
    unit_names.NGINX: "nginx",
    KEEPALIVED: "keepalived",
    unit_names.DOCKER: "docker",
    unit_names.HOME: "home",
    AGENT_UNIT: "portainer",
    TUNNEL_UNIT: "portainer",
    SERVER_UNIT: "portainer",
    GUARD_UNIT: "guard",
    NETWORKS_UNIT: "networks",
    NFS_UNIT: "nfs",
    NFS_SERVER_UNIT: "nfs_exports",
    BACKUP_TIMER: "restic",
    BACKUP_PROOF_TIMER: "restic",
    WATCH_TIMER: "watch",
    WATCH_PAGE_TIMER: "watch",
    WATCH_RECEIVER: "watch",
    WATCH_JUDGE: "watch",
    unit_names.renewal_timer("traefik"): "traefik",
    unit_names.renewal_timer("host"): "certificates",
}
"""The component that keeps a unit, as `phoenix sync` knows it."""


def component_of(unit: str) -> str:
    """The component that keeps a unit; the renewal of a stack's pair has its host's; else empty."""
    certificate = unit.removeprefix(unit_names.RENEWALS).removesuffix(".timer")
    renews = unit == unit_names.renewal_timer(certificate)
    if renews and certificate.startswith(STACK_PAIR):
        return COMPONENTS[unit_names.renewal_timer("host")]
    if renews and is_the_gateways(certificate):
        return COMPONENTS[unit_names.NGINX]
    return COMPONENTS.get(unit, "")


_GUEST, _HYPERVISOR = "reach a guest", "reach the hypervisor"
ADVICE: Mapping[str, _Template] = {
    _GUEST: _Template(
        "the guest is down, or its SSH is: look at it from the hypervisor",
        ("$ssh", "$ssh_hypervisor $power status $vmid", "$ssh_hypervisor $power start $vmid"),
    ),
    _HYPERVISOR: _Template(
        "the hypervisor is down, or its SSH is, or you are in another network", ("$ssh",)
    ),
    "has_room": _Template(
        "free some of it: logs, packages and images that nobody needs; read-only means that the "
        "disk or its file system is at fault",
        (
            "$ssh df -h",
            "$ssh df -i",
            "$ssh du -xhd 3 --threshold=200M /var",
            "$ssh journalctl --vacuum-size=200M",
            "$ssh apt-get clean",
        ),
    ),
    "clock_agrees": _Template(
        "a certificate seems expired, or not yet valid, to a wrong clock: see which of the two is "
        "wrong, and that its time service runs; a container has the clock of its hypervisor",
        (
            "$ssh date -u",
            "$ssh_hypervisor date -u",
            "$ssh_hypervisor timedatectl status",
            "phoenix sync base",
        ),
    ),
    "is_called": _Template(
        "its name in the machine itself is another one than is declared: set it back, or declare "
        "the new one; Proxmox VE looks for its own files by the name of its node",
        ("$ssh hostnamectl status",),
    ),
    "updates_are_done": _Template(
        "security updates wait for a reboot, or do not install: see why they failed, and reboot "
        "the host when nobody needs it",
        (
            "$ssh cat /run/reboot-required.pkgs",
            f"$ssh journalctl -u {unit_names.APT_DOWNLOADS} -u {unit_names.APT_UPGRADES} -n 30",
        ),
    ),
    "backup_is_good": _Template(
        "the target does not answer or is full, or the part cannot be copied or restored: see what "
        "restic says, then try again",
        (
            f"$ssh journalctl -u {unit_names.BACKUPS} -u {unit_names.PROOFS_OF_BACKUPS} -n 30",
            "phoenix backup now",
            "phoenix backup list",
        ),
    ),
    "backups_are_kept": _Template(
        "new snapshots are made and old ones are not forgotten, so the target fills up: see what "
        "restic says",
        (f"$ssh journalctl -u {unit_names.BACKUPS} -n 30", "phoenix backup now"),
    ),
    "acme_answers": _Template(
        "the CA serves TLS and gives no certificates: its disk is full, or its database is at "
        "fault",
        (
            "$ssh df -h /etc/step-ca",
            f"$ssh journalctl -u {unit_names.STEP_CA} -n 30",
            "phoenix sync step_ca",
        ),
    ),
    "unit_runs": _Template(
        "see why it ended or hangs; a sync starts it again",
        ("$ssh journalctl -u $unit -n 30", "phoenix sync $component"),
    ),
    "names_resolve": _Template(
        "a record, a resolver or /etc/hosts was changed by hand, or DNS was not deployed since the "
        "declaration changed",
        (
            "$ssh grep . /etc/resolv.conf /etc/hosts",
            "phoenix plan dns base",
            "phoenix sync dns base",
        ),
    ),
    "name_is_unknown": _Template(
        "the resolver of $host is not ours, or answers for everything",
        ("$ssh cat /etc/resolv.conf", "phoenix sync dns base"),
    ),
    "address_is_held": _Template(
        "two gateways agree by VRRP (IP protocol 112) who has the address: see what keepalived "
        "says on both, and whether a firewall lets them speak; a machine that is neither may have "
        "taken the address",
        (
            "$ssh ip address show",
            f"$ssh journalctl -u {unit_names.KEEPALIVED} -n 30",
            "phoenix sync keepalived guard",
        ),
    ),
    "server_answers": _Template(
        "the name server on $target is down or has other records, or a firewall is between $host "
        "and it; the other name servers answer meanwhile",
        (
            f"$ssh_target journalctl -u {unit_names.DNS} -n 30",
            "phoenix plan dns guard",
            "phoenix sync dns guard",
        ),
    ),
    "port_answers": _Template(
        "the service does not listen, or a firewall is between $host and $target",
        ("$ssh_target ss -ltn", "phoenix plan", "phoenix sync"),
    ),
    "served_is_fresh": _Template(
        "renew the certificate that $target serves; a service that does not load a new one needs "
        "a sync",
        ("phoenix certs list", "phoenix certs renew $target", "phoenix sync"),
    ),
    "tls_verifies": _Template(
        "$target serves a certificate that is not of this site's CA, or not for this name; or "
        "$host does not have the root",
        ("phoenix certs list", "phoenix sync trust", "phoenix sync"),
    ),
    "roots_are_there": _Template(
        "the certificates that $host sees are proven by this file: a sync writes it again",
        ("phoenix sync trust",),
    ),
    "pair_fits": _Template(
        "get a new certificate for $host; if that fails, the CA is the place to look",
        ("phoenix certs renew $host", "$ssh journalctl -u phoenix-acme@$certificate -n 30"),
    ),
    "pair_is_served": _Template(
        "the service did not load the certificate on its disk: a sync loads it",
        ("phoenix sync $guest",),
    ),
    "keys_are_private": _Template(
        "whoever could read the key may have it: close it, then replace it unless you know who "
        "could log in",
        (
            f"$ssh chmod -R go= {DIRECTORY}/secrets",
            "phoenix sync step_ca",
            "phoenix certs rotate intermediate",
        ),
    ),
    ISSUED: _Template(
        "a certificate went to somebody else: a new root takes it out of every host's trust",
        (f"$ssh journalctl -u {unit_names.STEP_CA} -n 100", "phoenix certs rotate root"),
    ),
    "router_is_enabled": _Template(
        "Traefik does not have the route, or refuses it: a sync writes it anew",
        ("phoenix plan traefik", "phoenix sync traefik"),
    ),
    "request_gives": _Template(
        "every hop is well, so it is the service itself that answers so: read its log",
        ("$ssh_target tail -n 5 /var/log/nginx/error.log", "phoenix explain $name"),
    ),
    "grpc_gives": _Template(
        "every hop is well, so it is the service itself that answers so, or speaks no HTTP/2: read "
        "its log",
        ("$ssh_target tail -n 5 /var/log/nginx/error.log", "phoenix explain $name"),
    ),
    "login_is_asked": _Template(
        "the server that is asked lets in who has no log-in, or the route does not ask it: look at "
        "what it answers",
        ("phoenix explain $name", "phoenix plan traefik", "phoenix sync traefik"),
    ),
    "external_proves": _Template(
        "another server answers there, or it has another certificate since: compare it with what "
        "is declared",
        ("phoenix explain $service", "phoenix sync traefik"),
    ),
    "tcp_passes": _Template(
        "what is behind the gateway does not listen, or a firewall is between: see whether it runs",
        ("$ssh_target tail -n 5 /var/log/nginx/error.log", "phoenix explain $service"),
    ),
    "name_is_rejected": _Template(
        "the gateway answers for names that nobody declared: put its configuration back",
        ("phoenix plan nginx", "phoenix sync nginx"),
    ),
    "serves_no_stranger": _Template(
        "$target answers to who shows no certificate: a sync puts its configuration back",
        ("phoenix plan admission portainer", "phoenix sync admission portainer"),
    ),
    "ports_are_shut": _Template(
        "$target lets in what no flow opens: see whether its guard holds, and put it back",
        ("$ssh_target nft list table inet phoenix", "phoenix plan guard", "phoenix sync guard"),
    ),
    "ports_are_shut_to_containers": _Template(
        "a container on $target reaches what no flow opens: see whether the guard holds, and put "
        "it back",
        ("$ssh_target nft list table inet phoenix", "phoenix plan guard", "phoenix sync guard"),
    ),
    "docker_has_no_port": _Template(
        "whoever reaches that port owns the host: take it out of Docker's configuration",
        ("phoenix plan docker", "phoenix sync docker"),
    ),
    "in_swarm": _Template(
        "see what Docker says; a sync lets a host join that is in no swarm",
        ("$ssh docker info --format '{{json .Swarm}}'", "phoenix plan swarm", "phoenix sync swarm"),
    ),
    "node_is": _Template(
        "a node was changed or stopped, or Docker there does not reach the managers: a sync puts "
        "role, labels and availability back; one that runs and stays down needs its Docker started "
        "again, and its containers with it",
        (
            "$ssh docker node ls",
            "$ssh_target docker info --format '{{json .Swarm}}'",
            "phoenix plan swarm",
            "phoenix sync swarm",
            f"$ssh_target systemctl restart {unit_names.DOCKER}",
        ),
    ),
    "tasks_are_well": _Template(
        "a task of the swarm does not run: see where, and why; a sync deploys the stack again",
        (
            "$ssh docker stack ps --no-trunc $stack",
            "phoenix plan stacks",
            "phoenix sync stacks",
        ),
    ),
    "overlay_is": _Template(
        "a person changed or removed the network: a sync makes it as declared, where nothing is in "
        "it",
        ("phoenix plan swarm", "phoenix sync swarm"),
    ),
    "kernel_encrypts": _Template(
        "load ESP into the kernel, or declare the networks with encrypted: false where the nodes' "
        "own network is trusted",
        ("$ssh modprobe esp4",),
    ),
    "agent_pings": _Template(
        "something else answers at the agent's port, or the agent hangs",
        (f"$ssh_target journalctl -u {AGENT_UNIT} -n 30", "phoenix sync portainer"),
    ),
    "portainer_knows_us": _Template(
        "Portainer does not take our key, or does not answer: a sync makes a new key",
        (f"$ssh journalctl -u {SERVER_UNIT} -n 30", "phoenix sync portainer"),
    ),
    "endpoint_is_up": _Template(
        "Portainer lost the agent, or their secrets differ: a sync introduces them again",
        ("phoenix sync portainer",),
    ),
    "stack_is_active": _Template(
        "the stack was stopped or removed in Portainer: a sync puts it back",
        ("phoenix plan stack:$stack", "phoenix sync stack:$stack"),
    ),
    "containers_are_well": _Template(
        "containers were stopped or removed, or end again and again: their log says why, a sync "
        "puts them back",
        (
            "$ssh docker compose -p $stack logs --tail 20",
            "phoenix plan stack:$stack",
            "phoenix sync stack:$stack",
        ),
    ),
}
"""By function of `checks.sh`; `reach` is the operator's own way in."""
DATABASE = "cannot open its database"
"""What the check of the CA says where its unit does not run for that."""
PRINTS = "the log-in prints text"
"""What is said of a host whose shell says more than it was asked (facts.host_fact)."""
_PRINTS = _Template(
    "the host is up: its shell's start files print text, which hides every answer; remove what "
    "prints, or have it print to terminals only",
    ("$ssh true", "$ssh grep -n echo /root/.bashrc /root/.profile /etc/bash.bashrc"),
)
_FORWARD = _Template(
    "the resolver of $host is left alone: have it forward $domain to $server, and nothing else of "
    "it answer (docs/networks.md, A resolver of your own)",
    (
        "$ssh grep . /etc/resolv.conf /etc/hosts",
        "$ssh dig +short @$server $hypervisor",
        "phoenix sync dns",
    ),
)
QUORUM = "the swarm has lost the majority of its managers"
"""What the check of a manager says that has too few others."""
_ALONE = _Template(
    "start the managers that are down: the swarm goes on by itself as soon as more than half of "
    "them answer. Only where they are gone for good, make the swarm anew from one that is left; "
    "its services stay (docs/swarm.md)",
    (
        "$ssh docker info --format '{{json .Swarm.RemoteManagers}}'",
        "$ssh docker swarm init --force-new-cluster --advertise-addr $swarm_address",
        "phoenix sync swarm",
    ),
)
_TORN = _Template(
    "its files are torn, by a power cut or a full disk: a sync keeps them aside and puts the same "
    "without its torn end in their place, or the latest copy, or an empty database; clients "
    "register anew by themselves",
    ("$ssh df -h /etc/step-ca", "phoenix sync step_ca"),
)


def likely_fix(site: Site, check: Check, fault: str = "") -> Fix:
    """What is likely to fix the fault that a check found.

    Args:
        site: the site of the check.
        check: the one that found it.
        fault: what it said. A failure to connect names its own cause, and so its own fix.

    Raises:
        KeyError: there is no advice for its function.
    """
    fault_name = said_in(fault) if check.layer == "reach" else None
    if fault_name and (cause := FAULTS[fault_name]).commands:
        template = _Template(cause.fix, _reachable(site, check, cause.commands))
    elif check.layer == "reach" and PRINTS in fault:
        template = _PRINTS
    elif check.layer == "reach":
        template = ADVICE[_HYPERVISOR if check.host == site.hypervisor.name else _GUEST]
    elif fault.startswith(DATABASE):
        template = _TORN
    elif fault.startswith(QUORUM):
        template = _ALONE
    elif check.layer == "dns" and "resolver" in site.host(check.host).left_alone:
        template = _FORWARD
    else:
        template = ADVICE[check.function]
    values = _values(site, check)
    return Fix(
        advice=Template(template.advice).substitute(values),
        commands=tuple(Template(command).substitute(values) for command in template.commands),
    )


def _reachable(site: Site, check: Check, commands: tuple[str, ...]) -> tuple[str, ...]:
    """The commands without those by the hypervisor, where the hypervisor is who is silent."""
    own = check.host == site.hypervisor.name
    return tuple(command for command in commands if not (own and "$ssh_hypervisor" in command))


def _values(site: Site, check: Check) -> dict[str, str]:
    hosts = {host.name: host for host in site.hosts}
    host, target = hosts[check.host], hosts.get(check.target, hosts[check.host])
    return {
        "host": host.name,
        "target": target.name,
        "address": str(target.address),
        "unit": check.unit,
        "name": check.name,
        "service": check.service,
        "certificate": check.certificate,
        "stack": check.stack,
        "component": component_of(check.unit) or "all",
        "guest": str(host.vmid or host.name),  # a name may also be a component's
        "vmid": str(target.vmid or ""),
        "power": "qm" if target.kind == "vm" else "pct",
        "swarm_address": str(swarm.advertised(site, host)),
        "domain": site.domain,
        "server": str(address(host, site.hypervisor)),
        "hypervisor": site.hypervisor.fqdn,
        "ssh": _ssh(host),
        "ssh_target": _ssh(target),
        "ssh_hypervisor": _ssh(site.hypervisor),
    }


def _ssh(host: Host) -> str:
    return login.shown(host)
