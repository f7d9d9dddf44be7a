"""What is fuzzed: each reader of a file that a person writes, and what it may raise.

A target takes a case and returns; every exception that it lets pass is a fault. What a reader
refuses has a reason and a fix, on one line and of a length that a person reads.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from phoenix.backup import archive, encryption
from phoenix.backup.archive import BackupError
from phoenix.compose import document, dotenv, rewrite
from phoenix.compose.document import ComposeFileError
from phoenix.compose.dotenv import EnvFileError
from phoenix.declaration import (
    compose,
    compose_limits,
    compose_schema,
    guests,
    json_errors,
    json_keys,
    positions,
)
from phoenix.declaration import settings as setting_model
from phoenix.declaration.guests import Entry
from phoenix.declaration.load import load_site
from phoenix.declaration.stack_places import StackPlaces
from phoenix.declaration.stacks import StackCatalog
from phoenix.proxmox import hostkeys
from phoenix.secrets import client_certificate
from phoenix.secrets.errors import SecretError
from phoenix.secrets.store import SecretStore
from phoenix.site.findings import ConfigError, Finding, Report
from phoenix.site.model import Site, Source
from phoenix.validation import setting_values as validation
from tests.fuzz.cases import LXC, VM, site_files

Target = Callable[[Any], None]
LONGEST = 2500
"""Characters of a finding as a person sees it."""


class FaultError(AssertionError):
    """A finding that no person can use."""


def readable(findings: Iterable[Finding]) -> None:
    """Raise FaultError unless every finding says what is wrong, and how to fix it, legibly."""
    for finding in findings:
        text = str(finding)
        text.encode()
        if not (finding.file and finding.message and finding.fix):
            raise FaultError(f"says too little: {finding!r}")
        if len(text) > LONGEST or text.count("\n") != 1 or not text.replace("\n", "").isprintable():
            raise FaultError(f"cannot be read by a person: {text[:3000]!r}")


@cache
def folder() -> Path:
    """The shipped site's files, in memory where the machine can."""
    memory = Path("/dev/shm")
    place = Path(
        mkdtemp(dir=memory if os.access(memory, os.W_OK) else None, prefix="phoenix-fuzz-")
    )
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for label, data in site_files().items():
        write(place, label, json.dumps(data))
    for name in ("nas-ca.pem", "portainer-ca.pem"):
        write(place, name, client_certificate.certificate_in(client_certificate.generate()))
    return place


def write(place: Path, label: str, text: str) -> Path:
    """Write a file of the site; half a surrogate pair is written as bytes that are no UTF-8."""
    file = place / label
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode(errors="surrogatepass"))
    return file


def site(case: dict[str, str]) -> None:
    """The whole site; where it is accepted, everything that is derived from it offline."""
    place = folder()
    for label, text in case.items():
        write(place, label, text)
    try:
        loaded = load_site(place)
    except ConfigError as error:
        readable((*error.findings, *error.warnings))
    else:
        readable(loaded.warnings)
        derive(loaded)
    for label in case:
        positions.lines(place / label)
        write(place, label, json.dumps(site_files()[label]))


def derive(loaded: Site) -> dict[str, str]:
    """Every text that is made of a site without asking a host."""
    from tests.fuzz.outputs import outputs

    return outputs(loaded)


def guests_target(case: dict[str, str]) -> None:
    """Each guest's entry by itself: shape, then what follows from it alone."""
    for label, text in case.items():
        report = Report()
        data = json_errors.read_object(write(folder(), f"one/{label}", text), label, report)
        if data is None:
            readable(report.findings)
            continue
        entries = data.get("lxc_configs") if label == LXC else data.get("vms")
        model = json_keys.RawLxc if label == LXC else json_keys.RawVm
        values = list(entries.values()) if isinstance(entries, dict) else entries
        for entry in values if isinstance(values, list) else ():
            raw = json_errors.validate(model, entry, label, "entry", report)
            if raw:
                kind = "lxc" if label == LXC else "vm"
                place = Source(file=label, path="entry")
                guests.check(Entry(101, kind, raw, place), report)  # type: ignore[arg-type]
        for whole, part in ((json_keys.RawLxcFile, LXC), (json_keys.RawVmFile, VM)):
            if label == part:
                json_errors.validate(whole, data, label, "", report)
        readable(report.findings)


def stack(case: dict[str, str]) -> None:
    """The stacks, each environment."""
    place = folder()
    for label, text in case.items():
        write(place, label, text)
    report = Report()
    places = StackPlaces(place / "stacks", place)
    StackCatalog(places, "internal.example.com", report, lambda d: d).check_others()
    readable(report.findings)
    for label in case:
        write(place, label, json.dumps(site_files()[label]))


def compose_target(case: dict[str, str]) -> None:
    """Compose files by label."""
    for text in case.values():
        compose_text(text)


def compose_text(case: str) -> None:
    """A compose file: read, checked against variables, its ports, and with mounts put in."""
    report = Report()
    file = write(folder(), "one/docker-compose.yml", case)
    content = compose.read(file, "docker-compose.yml", report)
    positions.lines(file)
    if content is not None:
        values = {"QDRANT_HTTP_PORT": "6333", "A": "x"}
        compose.check_variables(content, values, "c", "phoenix.json", report)
        compose.check_habits(content, values, "c", report)
        compose.published(content, values, {}, "c", report)
        compose_schema.check_keys(content, "c", report)
        for swarm in (False, True):
            compose_limits.check(content, values, "p", "c", "phoenix.json", report, swarm=swarm)
        try:
            rewrite.with_mounts(case, ["/etc/a:/b:ro"], ("label", "x"))
        except ComposeFileError as error:
            if not all(problem.message and problem.fix for problem in error.problems):
                raise FaultError(str(error)) from error
    readable(report.findings)


def json_text(case: str) -> None:
    """A JSON file."""
    report = Report()
    file = write(folder(), "one/a.json", case)
    json_errors.read_object(file, "a.json", report)
    positions.lines(file)
    readable(report.findings)


def dotenv_target(case: str) -> None:
    """A .env file, and the same text as one value."""
    with contextlib.suppress(EnvFileError):
        dotenv.parse(case, {"A": "1"})
    if "\0" not in case:
        written = f"NAME={dotenv.quote(case)}\n"
        if dotenv.parse(written) != {"NAME": case}:
            raise FaultError(f"{case!r} is changed by {written!r}")


def settings(case: dict[str, Any]) -> None:
    """Settings of a host, and what a run with them would refuse."""
    chosen, findings = setting_model.read(case)
    readable(findings)
    faulty = {setting_model.name_of(finding.path) for finding in findings}
    readable(validation.check(sound_site(), chosen, faulty=faulty, ssh_key=None, home=folder()))


@cache
def sound_site() -> Site:
    """The shipped site."""
    return load_site(folder())


def secrets(case: str) -> None:
    """The store of secrets."""
    file = write(folder(), "one/secrets.json", case)
    file.chmod(0o600)
    try:
        SecretStore(file, environment={}).find("a_password")
    except SecretError as error:
        if "b" not in str(error.args) and case and len(str(error)) > LONGEST:
            raise FaultError(str(error)) from error


def known_hosts(case: str) -> None:
    """A known_hosts file, read and written."""
    file = write(folder(), "one/known_hosts", case)
    hostkeys.known_keys(file, "10.0.0.5")
    hostkeys.remember(file, "10.0.0.5", ["ssh-ed25519 AAAA"])


def backup(case: str) -> None:
    """A backup file: as age wrote it, as the archive within, and the file of an identity."""
    data = case.encode(errors="surrogatepass")
    file = write(folder(), "one/identity", case)
    file.chmod(0o600)
    for read in (
        lambda: encryption._with_passphrase(data, "it"),
        lambda: archive.unpack(data),
        lambda: encryption._identities(file, "setting"),
    ):
        with contextlib.suppress(BackupError):
            read()


TARGETS: dict[str, Target] = {
    "site": site, "variants": site, "guests": guests_target, "stack": stack,
    "compose": compose_target,
    "compose_text": compose_text, "json_text": json_text, "dotenv": dotenv_target,
    "settings": settings, "secrets": secrets, "known_hosts": known_hosts, "backup": backup,
}  # fmt: skip

__all__ = ["TARGETS", "FaultError", "derive", "document", "readable"]
