"""What the deploys write on the hosts of two sites: as one text, to be compared with the last one.

`python -m tests.deploys.written_files` renews the texts in tests/data/written.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from phoenix.secrets import client_certificate
from tests.deploys.recorder import ROOT, run
from tests.unit.site_builder import Declaration, lxc, minimal, vm

WRITTEN = ROOT / "tests/data/written"
DEPLOYS = ("networks", "dns", "base", "guard", "nfs_exports", "nfs", "step_ca", "certificates",
           "traefik", "home", "nginx", "keepalived", "admission", "docker", "portainer", "restic",
           "watch")  # fmt: skip
SECRETS = ("TRAEFIK_DASHBOARD_PASSWORD", "PORTAINER_ADMIN_PASSWORD", "PORTAINER_AGENT_SECRET",
           "STEP_CA_PASSWORD", "ANNA", "BACKUP_KEY", "WATCH_KEY", "ALARM_URLS")  # fmt: skip
HTTPS: dict[str, Any] = {"scheme": "https"}


def with_one_of_each() -> Declaration:
    """One gateway, one Traefik, and services of each kind with each option."""
    declared = minimal()
    declared.lxc["lxc_configs"]["104"] = lxc(
        "data", None, 25, dns_records=[{"hostname": "printer", "ip": "10.0.0.77"}],
        traefik_services=[
            {"name": "wiki", "port": 8443, **HTTPS, "aliases": ["notes"], "max_body": "1g"},
            {"name": "wiki", "path": "/api", "port": 8444, **HTTPS, "strip_path": True,
             "request_headers": {"X-A": "1"}, "response_headers": {"X-Robots-Tag": "noindex"}},
            {"name": "staff", "port": 8445, **HTTPS, "allowed_networks": ["10.0.0.0/28"],
             "basic_auth": [{"user": "anna", "secret": "ANNA"}], "read_timeout": "9s"},
            {"name": "asked", "port": 8446, **HTTPS, "connect_timeout": "3s",
             "forward_auth": {"url": "https://wiki.internal.thinkheads.ai/ok",
                              "headers": ["Remote-User"]}},
            {"name": "calls", "port": 8447, "scheme": "grpcs"},
            {"name": "old", "redirect_to": "https://wiki.internal.thinkheads.ai"},
            {"name": "direct", "port": 8448, **HTTPS, "exposure": "direct"},
            {"name": "git", "port": 22, "scheme": "tcp", "gateway_port": 2222,
             "allowed_networks": ["10.0.0.0/24"]},
            {"name": "db", "port": 5432, "scheme": "tls"},
        ],
        firewall={"enabled": True, "rules": [
            {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "8080:8090",
             "source": "10.0.0.30"},
            {"type": "in", "action": "DROP", "proto": "udp", "port": "53,5353"},
            {"type": "out", "action": "REJECT", "proto": "tcp", "port": "25"},
        ]},
    )  # fmt: skip
    declared.lxc["external_services"] = [{"name": "nas", "address": "192.168.1.20", "port": 5001}]
    declared.hypervisor = {"nfs": {"exports": [
        {"path": "/tank/media", "clients": ["10.0.0.24"], "options": "rw,sync"}]}}  # fmt: skip
    worker = declared.vm["vms"][1]
    worker["firewall"] = {"rules": [
        {"type": "out", "action": "DROP", "proto": "icmp"},
        {"type": "out", "action": "REJECT", "proto": "tcp", "port": "25,6000:6010"},
        {"type": "out", "action": "DROP", "dest": "192.0.2.9"},
    ]}  # fmt: skip
    worker["volumes"] = [{"type": "nfs", "path": "/tank/media", "mount_point": "/mnt/media"}]
    return declared


def with_two_of_each() -> Declaration:
    """Two gateways, Traefiks and name servers, two networks, a swarm, backups and a watcher."""
    declared = minimal()
    guests = declared.lxc["lxc_configs"]
    guests["105"] = lxc("gateway-two", "nginx", 30, boot_order=2)
    guests["106"] = lxc("proxy-two", "traefik", 31, boot_order=3)
    guests["107"] = lxc("names", "name_server", 32)
    for vmid, part in (("101", 20), ("105", 30)):
        guests[vmid]["secondary_network_config"] = {"ip": f"172.16.9.{part}/24"}
    guests["108"] = lxc("inner", None, 33, traefik_service={"name": "calls", "port": 8443,
                                                            "scheme": "grpcs"})  # fmt: skip
    guests["108"]["network_config"] = {"ip": "172.16.9.33/24"}
    declared.hypervisor = {
        "networks": {"internal": {"subnet": "172.16.9.0/24", "bridge": "vmbr9", "nat": True}}
    }
    declared.lxc["site"] = {
        "virtual_address": ["10.0.0.9", "172.16.9.9"],
        "watcher": "hypervisor",
        "scraper": "10.0.0.50",
        "backups": {"target": "/mnt/backups", "keep": {"daily": 3, "weekly": 2, "monthly": 1}},
    }
    control, worker = declared.vm["vms"]
    control["swarm_role"] = "manager"
    worker["swarm_role"] = "worker"
    declared.vm["vms"].append(
        vm(1003, "second", "docker", 26, swarm_role="worker", portainer_role="agent",
           portainer_agent_hostname="second-agent.internal.thinkheads.ai")
    )  # fmt: skip
    manifest, compose = declared.stacks["shop"]
    compose["volumes"] = {"data": {}}
    compose["services"]["web"]["volumes"] = ["data:/data"]
    manifest["environments"]["production"]["backup"] = {}
    return declared


SITES = {"one": with_one_of_each, "two": with_two_of_each}
SETTINGS: dict[str, dict[str, Any]] = {
    "one": {},
    "two": {"docker_packages": "docker", "traefik_metrics": True, "dns_stop_rebind": False},
}
SYSTEM = ["x86_64", "ID=debian", 'VERSION_ID="13"', "VERSION_CODENAME=trixie"]
SHOWN = ("unit", "action", "enable", "deadline", "links")
"""Of what a tree is sent with; its scripts have tests that run them."""
ELSEWHERE = ("/usr/local/", "/etc/phoenix/watcher.json")
"""Programs, which their own tests run, and what the watcher is told of all checks."""


def written(name: str, folder: Path) -> dict[str, str]:
    """Each file that the deploys write for a site, by mode, owner, path and hosts.

    What differs each time (a key, a hash) is masked. Comments and empty lines are left out.
    """
    SITES[name]().load(folder)
    presented = client_certificate.generate()
    shown = client_certificate.fingerprint(client_certificate.certificate_in(presented))
    key = {f"PHOENIX_SECRET_{secret}": f"planted-{'5ecret' * 6}" for secret in SECRETS}
    urls = {"PHOENIX_SECRET_ALARM_URLS": "json://192.0.2.1/hook",
            "PHOENIX_SECRET_GATEWAY_CLIENT_CERTIFICATE": presented}  # fmt: skip
    places: dict[str, Any] = {
        "site_inventories": str(folder),
        "site_stacks": str(folder / "stacks"),
        "responses": {
            re.compile("client-certificate"): lambda _: [shown],
            re.compile("uname -m"): lambda _: SYSTEM,
        },
        **SETTINGS[name],
    }
    hosts: dict[tuple[str, str], list[str]] = {}
    with patch.dict(os.environ, key | urls):
        for deploy in DEPLOYS:
            done = run(deploy, folder / "secrets.json", **places)
            for sent in done.sent:
                for title, text in _files(sent.files()):
                    on = hosts.setdefault((title, text), [])
                    if sent.host not in on:
                        on.append(sent.host)
    return {
        f"{title} on {', '.join(sorted(on))}": text for (title, text), on in sorted(hosts.items())
    }


def _files(tree: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Title and text of each file of a tree, and of how the tree is put in its place."""
    if "manifest" not in tree:
        return
    params = shlex.split(tree["params"])
    shown = [word for word in params if word.partition("=")[0] in ("component", *SHOWN)]
    yield f"tree {shown[0].removeprefix('component=')}", "".join(f"{w}\n" for w in shown[1:])
    for line in tree["manifest"].splitlines():
        mode, owner, group, _, kind, path = line.split("\t")
        text = "" if path.startswith(ELSEWHERE) else _without_comments(tree[path])
        yield f"{mode} {owner}:{group} {kind} {path}", text


def _without_comments(text: str) -> str:
    """What programs read of a file, with what differs each time masked."""
    text = re.sub(r"-----BEGIN [^-]+-----[^-]+-----END [^-]+-----", "PEM", text)
    text = re.sub(r"\$2[aby]\$\S+", "BCRYPT", text)
    text = re.sub(r"planted-\w+", "SECRET", text)
    text = re.sub(r'(key := )"[\w-]{43}"', r"\1KEY", text)
    text = re.sub(r"(image: \S+):[\w.-]+", r"\1:TAG", text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "SHA256", text)
    text = re.sub(r"\b[0-9a-f]{16}\b", "HASH", text)
    text = re.sub(r"/opt/phoenix/[^/]+/[^/]+/", lambda m: m[0].rsplit("/", 2)[0] + "/PIN/", text)
    lines = [line.rstrip() for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines if line and not line.lstrip().startswith("#"))


def as_text(blocks: Mapping[str, str]) -> str:
    """The files, one behind the other."""
    return "\n".join(f"== {title}\n{text}" for title, text in blocks.items())


def everything() -> dict[str, str]:
    """The text of each site by its name; what both have stands in the first alone."""
    with tempfile.TemporaryDirectory() as folder:
        blocks = {name: written(name, Path(folder) / name) for name in SITES}
    known = {(title.rpartition(" on ")[0], text) for title, text in blocks["one"].items()}
    blocks["two"] = {
        title: text
        for title, text in blocks["two"].items()
        if (title.rpartition(" on ")[0], text) not in known
    }
    return {name: as_text(content) for name, content in blocks.items()}


if __name__ == "__main__":
    WRITTEN.mkdir(parents=True, exist_ok=True)
    for name, text in everything().items():
        (WRITTEN / f"{name}.txt").write_text(text)
