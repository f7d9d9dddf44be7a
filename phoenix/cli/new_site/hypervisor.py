"""What a Proxmox VE host has, as answers for a new site: its guests, their roles, and services.

It is read by ssh(1), so that the operator's own ~/.ssh holds, and nothing is changed there.
Formats: `pvesh get ... --output-format json`, pct.conf(5), qm.conf(5), `ip -json`, ss(8).
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, ip_interface
from typing import Any, Literal

from phoenix import files
from phoenix.cli.exits import CommandError
from phoenix.cli.new_site.answers import DOMAIN, Answers, Guest, once, role_of
from phoenix.proxmox import values
from phoenix.site.names import LABEL
from phoenix.site.roles import CHAIN, Role

_SECONDS = 300
_KNOWN_PORTS: Mapping[int, tuple[str, str]] = {
    3000: ("grafana", "http"), 3001: ("uptime", "http"), 5000: ("frigate", "http"),
    5601: ("kibana", "http"), 7878: ("radarr", "http"), 8006: ("proxmox", "https"),
    8080: ("web", "http"), 8081: ("web", "http"), 8096: ("jellyfin", "http"),
    8123: ("home-assistant", "http"), 8384: ("syncthing", "http"), 8443: ("web", "https"),
    8989: ("sonarr", "http"), 9000: ("web", "http"), 9090: ("prometheus", "http"),
    32400: ("plex", "http"), 80: ("web", "http"), 443: ("web", "https"),
}  # fmt: skip
"""Ports of well-known web applications: the name to propose, and the scheme."""


@dataclass(frozen=True)
class ExistingGuest:
    """A guest of the hypervisor. `address` is None where none is known; `ports` are TCP."""

    vmid: int
    name: str
    kind: Literal["lxc", "vm"]
    address: IPv4Interface | None
    dynamic: bool
    ports: tuple[int, ...]
    template: bool


def ask(target: str) -> str:
    """What the host `target` says of itself.

    Args:
        target: as ssh(1) takes it: `root@HOST`, or a name of ~/.ssh/config.

    Raises:
        CommandError: it cannot be reached, or it is not a Proxmox VE host.
    """
    if not target.strip() or target.startswith("-"):
        raise CommandError(f"{target!r} is not a host: write root@ADDRESS")
    user = target.rpartition("@")[0]
    shell = "sh -s" if user in ("", "root") else "sudo -n sh -s"
    interactive = [] if sys.stdin.isatty() else ["-o", "BatchMode=yes"]
    command = ["ssh", "-T", *interactive, "--", target, shell]
    script = files.text("cli/new_site/read_hypervisor.sh")
    try:
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False,
                              timeout=_SECONDS)  # fmt: skip
    except FileNotFoundError:
        raise CommandError("ssh is not installed on this machine") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{target} did not say all within {_SECONDS} s") from None
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise CommandError(
            f"{target} cannot be read: {why[0]}\n  fix: see that this works: "
            f"ssh {shlex.quote(target)} {'true' if shell == 'sh -s' else 'sudo -n true'}"
        )
    if "\n@@ none" in f"\n{done.stdout}":
        raise CommandError(f"{target} is not a Proxmox VE host: it has no pvesh")
    return done.stdout


def parts(text: str) -> dict[str, str]:
    """The parts of the script's output by their names."""
    split = re.split(r"^@@ (.+)$", text, flags=re.MULTILINE)
    return dict(zip(split[1::2], (part.strip() for part in split[2::2]), strict=True))


def guests(sections: Mapping[str, str]) -> list[ExistingGuest]:
    """The guests of the hypervisor, by id."""
    existing = []
    for name, text in sections.items():
        words = name.split()
        if words[0] != "config":
            continue
        kind: Literal["lxc", "vm"] = "lxc" if words[1] == "lxc" else "vm"
        config, key = _json(text, {}), " ".join(words[1:])
        nic = values.parse(str(config.get("net0", "")))
        cloud = values.parse(str(config.get("ipconfig0", "")))
        fixed = _interface(nic.get("ip") if kind == "lxc" else cloud.get("ip"))
        live = _live(sections, key)
        existing.append(
            ExistingGuest(
                vmid=int(words[2]),
                name=str(config.get("hostname") or config.get("name") or f"guest-{words[2]}"),
                kind=kind,
                address=fixed or live,
                dynamic=fixed is None,
                ports=tuple(sorted(set(_ports(sections.get(f"ports {key}", ""))))),
                template=str(config.get("template", "0")) == "1",
            )
        )
    return sorted(existing, key=lambda guest: guest.vmid)


def _json(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return otherwise


def _interface(text: str | None) -> IPv4Interface | None:
    try:
        interface = ip_interface(text or "")
    except ValueError:
        return None
    return interface if isinstance(interface, IPv4Interface) and "/" in (text or "") else None


def _live(sections: Mapping[str, str], key: str) -> IPv4Interface | None:
    """The first address of a running guest that others may use."""
    for link in _json(sections.get(f"addresses {key}", ""), []):
        for address in link.get("addr_info", []):
            if address.get("family") == "inet" and address.get("scope") == "global":
                return IPv4Interface(f"{address['local']}/{address['prefixlen']}")
    for link in _json(sections.get(f"agent {key}", ""), []):
        if re.match(r"lo$|docker|br-|veth", str(link.get("name"))):
            continue
        for address in link.get("ip-addresses", []):
            if address.get("ip-address-type") == "ipv4":
                return IPv4Interface(f"{address['ip-address']}/{address['prefix']}")
    return None


def _ports(text: str) -> Iterator[int]:
    """TCP ports that something listens on beside the loopback, of `ss -Hltn`."""
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4:
            continue
        address, _, port = words[3].rpartition(":")
        if port.isdigit() and not address.strip("[]").startswith(("127.", "::1")):
            yield int(port)


def answers(text: str, domain: str | None = None) -> Answers:
    """What a site of this hypervisor begins with.

    Guests whose names speak of a role have it; the others are left alone, and are told with the
    commands that take them in. The CA, the proxy and the gateway that nobody is are new guests.

    Args:
        text: what `ask` gives.
        domain: of the site; None: the hypervisor's own, where it has one of a private kind.

    Raises:
        CommandError: the hypervisor has no address with a default route.
    """
    sections = parts(text)
    address, gateway = _own(sections)
    name = sections["node"].lower()
    every = [guest for guest in guests(sections) if not guest.template]
    notes, taken_in = [], []
    for guest in every:
        role = role_of(guest.name)
        label = guest.name.lower().replace(".", "-").replace("_", "-")
        usable = guest.address is not None and guest.address.ip in address.network
        if role is None or not usable or guest.address is None or not LABEL.match(label):
            notes += _left(guest, label, address, role)
            continue
        interface = IPv4Interface((guest.address.ip, address.network.prefixlen))
        taken_in.append(Guest(guest.vmid, label, guest.kind, role, interface))
        if guest.dynamic:
            notes.append(
                f"{label} has {guest.address.ip} by DHCP: give it that address for good, in "
                "Proxmox or at your router, before the first sync"
            )
    declared = [guest for guest in once(taken_in) if guest.role]
    missing = [role for role in CHAIN if role not in {guest.role for guest in declared}]
    used = {address.ip, gateway, *(guest.address.ip for guest in every if guest.address)}
    ids = {guest.vmid for guest in guests(sections)}
    for role in missing:
        new = _new(role, ids, used, address)
        ids.add(new.vmid)
        used.add(new.address.ip)
        declared.append(new)
        notes.append(
            f"no guest of {name} is the {_WORDS[role]}: {new.name} ({new.vmid}, {new.address.ip}) "
            "is declared as a new container. See that no other machine has that address; make it "
            "in Proxmox VE, or let Phoenix make it (docs/proxmox.md)"
        )
    return Answers(
        domain=domain or _domain(sections.get("domain", "")),
        hypervisor=name,
        address=address,
        gateway=gateway,
        guests=tuple(sorted(declared, key=lambda guest: guest.vmid)),
        timezone=sections.get("timezone") or "Etc/UTC",
        notes=tuple(notes),
    )


_WORDS: Mapping[str, str] = {"step_ca": "CA", "traefik": "proxy", "nginx": "gateway"}


def _domain(domain: str) -> str:
    """A domain for names inside: below the hypervisor's own, which others may serve."""
    return f"internal.{domain}" if "." in domain and not domain.endswith(".local") else DOMAIN


def _own(sections: Mapping[str, str]) -> tuple[IPv4Interface, IPv4Address]:
    for route in _json(sections.get("routes", ""), []):
        for link in _json(sections.get("addresses", ""), []):
            if link.get("ifname") != route.get("dev") or "gateway" not in route:
                continue
            for address in link.get("addr_info", []):
                if address.get("family") == "inet" and address.get("scope") == "global":
                    interface = IPv4Interface(f"{address['local']}/{address['prefixlen']}")
                    return interface, IPv4Address(route["gateway"])
    raise CommandError(
        "the hypervisor has no default route over an interface with an IPv4 address: give the "
        "network by --network, --gateway and --address instead of --from"
    )


def _new(
    role: Role, ids: Iterable[int], used: Iterable[IPv4Address], interface: IPv4Interface
) -> Guest:
    vmid = next(number for number in range(101, 1_000_000) if number not in set(ids))
    first = int(interface.network.network_address) + 10
    in_use = set(used)
    for number in range(first, int(interface.network.broadcast_address)):
        if IPv4Address(number) not in in_use:
            address = IPv4Interface((number, interface.network.prefixlen))
            return Guest(vmid, role.replace("_", "-"), "lxc", role, address)
    raise CommandError(
        f"{interface.network} has no address left for a guest that is the {_WORDS[role]}"
    )


def _left(
    guest: ExistingGuest, label: str, interface: IPv4Interface, role: Role | None
) -> list[str]:
    """Why a guest is not taken in, and the commands that do it."""
    if guest.address is None:
        return [
            f"{guest.name} ({guest.vmid}) is left alone: it is not running, or shows no address"
        ]
    if guest.address.ip not in interface.network:
        where = f"{guest.address.ip} is outside of {interface.network}"
        return [f"{guest.name} ({guest.vmid}) is left alone: {where}"]
    sentence = f"{guest.name} ({guest.vmid}, {guest.address.ip}) is left alone"
    add = f"phoenix add host {label} --ip {guest.address.ip} --id {guest.vmid} --kind {guest.kind}"
    lines = [f"{sentence}; to have Phoenix look after it: {add}{f' --role {role}' if role else ''}"]
    proposals = dict.fromkeys(
        f"phoenix add service {label if name == 'web' else name} --host {label} --port {port} "
        f"--scheme {scheme}"
        for port, (name, scheme) in _KNOWN_PORTS.items()
        if port in guest.ports
    )
    return lines + [f"  and its service at the gateway: {line}" for line in proposals]
