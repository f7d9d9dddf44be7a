"""What the deploys of a whole run read of a host while they are prepared: asked in one command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyinfra import host

from deploys.context import settings, site, site_host
from facts.containers import ComposeProjects
from facts.moves import Moves
from facts.proxmox import ApiFingerprint, Listeners, RootShell, SshClientAddress
from facts.secret_record import SecretRecord
from facts.step_ca import CertificateAuthority
from facts.system import System
from operations.host_state import Question, prepare, question
from phoenix.derived import deployments


def ask() -> None:
    """Ask this host; what a deploy needs beside it is asked there."""
    if site().hosts_by_key.get(host.name):  # not by another name, as @local
        prepare(questions())


def questions() -> Iterator[Question[Any]]:
    """The questions to this host, those that are sure to be read and cost little."""
    yield question(System)
    if "hypervisor" in host.groups:
        yield question(SecretRecord)
        config = settings().proxmox
        if config.api != "off":
            yield question(SshClientAddress)
            yield question(RootShell)
            if config.firewall:
                yield question(Listeners)
            if not (config.fingerprint or config.ca_file):
                yield question(ApiFingerprint)
    if site_host() == site().ca:
        yield question(CertificateAuthority)
    stack_hosts = deployments.stack_hosts(site())
    if site_host() in stack_hosts:
        yield question(ComposeProjects, sizes=False)
    if site_host() in (*stack_hosts, site().portainer):
        yield question(Moves)
