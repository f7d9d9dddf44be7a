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
from phoenix.site.addressing import target_address
from phoenix.site.model import Frozen, Host, Site
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
        "free space: logs, and packages and images that are not in use; a read-only file system "
        "means that the disk or file system is damaged",
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
        "the machine's own host name differs from the declared one: set it back, or declare the "
        "new one; Proxmox VE looks for its own files by the name of its node",
        ("$ssh hostnamectl status",),
    ),
    "updates_are_done": _Template(
        "security updates need a reboot, or failed to install: read the log, and reboot the host "
        "when it is idle",
        (
            "$ssh cat /run/reboot-required.pkgs",
            f"$ssh journalctl -u {unit_names.APT_DOWNLOADS} -u {unit_names.APT_UPGRADES} -n 30",
        ),
    ),
    "backup_is_good": _Template(
        "the backup target does not answer or is full, or the part cannot be copied or restored: "
        "read restic's log, then try again",
        (
            f"$ssh journalctl -u {unit_names.BACKUPS} -u {unit_names.PROOFS_OF_BACKUPS} -n 30",
            "phoenix backup now",
            "phoenix backup list",
        ),
    ),
    "backups_are_kept": _Template(
        "new snapshots are made, but old ones are not removed, so the target fills up: read "
        "restic's log",
        (f"$ssh journalctl -u {unit_names.BACKUPS} -n 30", "phoenix backup now"),
    ),
    "acme_answers": _Template(
        "the CA serves TLS but issues no certificates: its disk is full, or its database is "
        "damaged",
        (
            "$ssh df -h /etc/step-ca",
            f"$ssh journalctl -u {unit_names.STEP_CA} -n 30",
            "phoenix sync step_ca",
        ),
    ),
    "unit_runs": _Template(
        "the log says why it ended or hangs; a sync starts it again",
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
        "the resolver of $host is not the site's, or it answers for every name",
        ("$ssh cat /etc/resolv.conf", "phoenix sync dns base"),
    ),
    "address_is_held": _Template(
        "the gateways agree by VRRP (IP protocol 112) which of them holds the address: read "
        "keepalived's log on both, and check that no firewall blocks VRRP between them; a third "
        "machine may have taken the address",
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
        "renew the certificate that $target serves; if the service still serves the old one, sync",
        ("phoenix certs list", "phoenix certs renew $target", "phoenix sync"),
    ),
    "tls_verifies": _Template(
        "the certificate that $target serves is from another CA or for another name; or $host "
        "lacks the root",
        ("phoenix certs list", "phoenix sync trust", "phoenix sync"),
    ),
    "roots_are_there": _Template(
        "$host verifies certificates by this file: a sync writes it again",
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
        "anyone with a log-in on this host could have read the key: restrict the file, then "
        "replace the key unless you know who logged in",
        (
            f"$ssh chmod -R go= {DIRECTORY}/secrets",
            "phoenix sync step_ca",
            "phoenix certs rotate intermediate",
        ),
    ),
    ISSUED: _Template(
        "somebody else got a certificate: after the root is replaced, no host trusts it any more",
        (f"$ssh journalctl -u {unit_names.STEP_CA} -n 100", "phoenix certs rotate root"),
    ),
    "router_is_enabled": _Template(
        "Traefik does not have the route, or refuses it: a sync writes it anew",
        ("phoenix plan traefik", "phoenix sync traefik"),
    ),
    "request_gives": _Template(
        "every hop is well, so the service itself gives this answer: read its log",
        ("$ssh_target tail -n 5 /var/log/nginx/error.log", "phoenix explain $name"),
    ),
    "grpc_gives": _Template(
        "every hop is well, so the service itself gives this answer, or does not speak HTTP/2: "
        "read its log",
        ("$ssh_target tail -n 5 /var/log/nginx/error.log", "phoenix explain $name"),
    ),
    "login_is_asked": _Template(
        "the log-in server admits clients without a log-in, or the route does not ask it: check "
        "its answer",
        ("phoenix explain $name", "phoenix plan traefik", "phoenix sync traefik"),
    ),
    "external_proves": _Template(
        "another server answers there, or its certificate has changed: compare it with the "
        "declared one",
        ("phoenix explain $service", "phoenix sync traefik"),
    ),
    "tcp_passes": _Template(
        "the service behind the gateway does not listen, or a firewall blocks it: check that it "
        "runs",
        ("$ssh_target tail -n 5 /var/log/nginx/error.log", "phoenix explain $service"),
    ),
    "name_is_rejected": _Template(
        "the gateway answers for undeclared names: a sync puts its configuration back",
        ("phoenix plan nginx", "phoenix sync nginx"),
    ),
    "serves_no_stranger": _Template(
        "$target answers clients that show no certificate: a sync puts its configuration back",
        ("phoenix plan admission portainer", "phoenix sync admission portainer"),
    ),
    "ports_are_shut": _Template(
        "$target accepts connections that no flow allows: check its guard; a sync puts it back",
        ("$ssh_target nft list table inet phoenix", "phoenix plan guard", "phoenix sync guard"),
    ),
    "ports_are_shut_to_containers": _Template(
        "a container on $target reaches ports that no flow allows: check its guard; a sync puts "
        "it back",
        ("$ssh_target nft list table inet phoenix", "phoenix plan guard", "phoenix sync guard"),
    ),
    "docker_has_no_port": _Template(
        "anyone who reaches that port controls the host as root: a sync takes it out of Docker's "
        "configuration",
        ("phoenix plan docker", "phoenix sync docker"),
    ),
    "in_swarm": _Template(
        "the host is not in the swarm: a sync lets it join; where that fails, read Docker's answer",
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
        "a task of the swarm does not run: Docker says on which node and why; a sync deploys the "
        "stack again",
        (
            "$ssh docker stack ps --no-trunc $stack",
            "phoenix plan stacks",
            "phoenix sync stacks",
        ),
    ),
    "overlay_is": _Template(
        "the network was changed or removed by hand: a sync makes it as declared, once no "
        "container uses it",
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
        "Portainer refuses Phoenix's API key, or does not answer: a sync makes a new key",
        (f"$ssh journalctl -u {SERVER_UNIT} -n 30", "phoenix sync portainer"),
    ),
    "endpoint_is_up": _Template(
        "Portainer cannot reach the agent, or their secrets differ: a sync connects them again",
        ("phoenix sync portainer",),
    ),
    "stack_is_active": _Template(
        "the stack was stopped or removed in Portainer: a sync puts it back",
        ("phoenix plan stack:$stack", "phoenix sync stack:$stack"),
    ),
    "containers_are_well": _Template(
        "containers were stopped or removed, or keep ending: their log says why, and a sync "
        "starts them again",
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
    "the host is up, but its shell's start files print text, which hides every answer: remove "
    "these lines, or let them print to terminals only",
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
    "start the managers that are down: the swarm recovers by itself once more than half of them "
    "answer. Only if they are lost for good, rebuild the swarm from a remaining manager; its "
    "services stay (docs/swarm.md)",
    (
        "$ssh docker info --format '{{json .Swarm.RemoteManagers}}'",
        "$ssh docker swarm init --force-new-cluster --advertise-addr $swarm_address",
        "phoenix sync swarm",
    ),
)
_TORN = _Template(
    "its files are damaged, by a power cut or a full disk. A sync sets them aside and tries in "
    "this order: the same files without the damaged end, the latest copy, an empty database; "
    "clients register again by themselves",
    ("$ssh df -h /etc/step-ca", "phoenix sync step_ca"),
)


_BY_WORDS: Mapping[str, _Template] = {DATABASE: _TORN, QUORUM: _ALONE}


def own_words(check: Check) -> tuple[str, ...]:
    """The words that begin a fault of this check with a fix of its own, unlike its other faults."""
    if check.unit == unit_names.STEP_CA:
        return (DATABASE,)
    return (QUORUM,) if check.function == "in_swarm" else ()


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
    elif words := next(filter(fault.startswith, own_words(check)), ""):
        template = _BY_WORDS[words]
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
        "server": str(target_address(host, site.hypervisor)),
        "hypervisor": site.hypervisor.fqdn,
        "ssh": _ssh(host),
        "ssh_target": _ssh(target),
        "ssh_hypervisor": _ssh(site.hypervisor),
    }


def _ssh(host: Host) -> str:
    return login.ssh_command(host)
