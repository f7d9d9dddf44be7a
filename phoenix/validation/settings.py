"""Would a run refuse these settings? Asked of the functions that the deploys themselves call."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import SecretStr

from phoenix.components import artifacts
from phoenix.components import stack as deployment
from phoenix.components.acme import config as acme
from phoenix.components.dnsmasq import config as dnsmasq
from phoenix.components.docker.config import check_source
from phoenix.components.step_ca import config as ca
from phoenix.components.traefik import config as traefik
from phoenix.declaration import compose
from phoenix.declaration.settings import ALL, FOLDER
from phoenix.derived import dns
from phoenix.proxmox import access as proxmox_access
from phoenix.proxmox.plan import plan as proxmox_plan
from phoenix.proxmox.settings import settings as proxmox_settings
from phoenix.secrets.rules import check_portainer_password
from phoenix.site import duration
from phoenix.site.findings import ConfigError, SettingError, Severity
from phoenix.site.model import Deployment, Host, Site

PROGRAMS = ("step-ca", "traefik")
_SIZE = re.compile(r"\d+[kmgKMG]?\Z")
_NGINX_TIME = re.compile(r"(?:\d+(?:ms|[smhdwMy])?\s*)+\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_DUMMY = SecretStr("a-secret-of-no-meaning")

Find = Callable[[str], SecretStr | None]
"""Tells a secret that was given or made before; never makes one."""


class Problem(NamedTuple):
    """What is wrong with a setting or secret; `path` leads into its value, as `artifacts.x`."""

    path: str
    message: str
    fix: str
    severity: Severity = "error"

    @property
    def setting(self) -> str:
        """The setting's name."""
        return re.split(r"[.\[]", self.path, maxsplit=1)[0]


def check(site: Site | None, settings: Mapping[str, Any], defaults: Mapping[str, Any], find: Find,
          home: Path) -> tuple[Problem, ...]:  # fmt: skip
    """Everything that a run with these settings would refuse or that is unwise.

    Args:
        site: None where the declaration is faulty; then only types are looked at.
        settings: as one host sees them; `defaults` those of `group_data/all.py`, whose types are
            the right ones.
        find: tells secrets.
        home: where the operator's public keys are, for new guests.
    """
    found = list(_types(settings, defaults))
    wrong = {problem.setting for problem in found}
    if site is None:
        return tuple(found)
    for names, ask in _CHECKS:
        missing = [name for name in names if name not in settings]
        for name in missing:
            fix = f"write it in {FOLDER}/{ALL}.py"
            found.append(Problem(name, "the setting is missing: the deploys need it", fix))
        if not missing and not wrong & set(names):
            found += _asked(names[0], lambda ask=ask: list(ask(site, settings)))  # type: ignore[misc]
    found += _secrets(site, find)
    if not any(name.startswith("proxmox_") for name in wrong):
        found += _asked("proxmox_api", lambda: list(_proxmox(site, settings, find, home)))
    return tuple(dict.fromkeys(found))


def _asked(setting: str, ask: Callable[[], list[Problem]]) -> list[Problem]:
    """What `ask` finds; where it raises, that is the finding."""
    fix = f"see the comments in {FOLDER}/{ALL}.py"
    try:
        return ask()
    except ConfigError as error:
        return [Problem(f.path, f.message, f.fix, f.severity) for f in error.findings]
    except SettingError as error:
        return [Problem(setting, str(error), fix)]
    except (TypeError, AttributeError, KeyError, ValueError, OSError) as error:
        return [Problem(setting, f"cannot be used: {type(error).__name__}: {error}", fix)]


def _types(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[Problem]:
    words = {bool: "True or False", int: "a whole number", str: "text", list: "a list",
             dict: "a dictionary"}  # fmt: skip
    for name, default in defaults.items():
        kind, given = type(default), settings.get(name)
        fits = isinstance(given, kind) or (kind is list and isinstance(given, tuple))
        if kind is int and isinstance(given, bool):
            fits = False
        if kind in words and name in settings and not fits:
            yield Problem(name, f"is {given!r}", f"write {words[kind]}")


def _dns(site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    dnsmasq.config(site, dns.records(site), settings["dns_upstreams"],
                   stop_rebind=settings["dns_stop_rebind"])  # fmt: skip
    yield from ()


def _fallback(_site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    for position, address in enumerate(settings["resolver_fallback"]):
        try:
            ip_address(address)
        except ValueError as error:
            yield Problem(f"resolver_fallback[{position}]", str(error), "write an IP address")


def _timezone(_site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    name = settings["timezone"]
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = available_timezones()  # empty on a machine without tzdata: nothing can be said
        if known:
            fix = f"{near(name, sorted(known))}write a name as in /usr/share/zoneinfo"
            yield Problem("timezone", f"there is no time zone {name!r}", fix)


def _lifetimes(site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    default = settings["step_ca_lifetime_default"]
    claims = ca.Claims(minimum=settings["step_ca_lifetime_minimum"],
                       maximum=settings["step_ca_lifetime_maximum"], default=default)  # fmt: skip
    ca.config(site, claims)
    acme.interval(duration.parse(default))
    traefik.static_config(site, metrics=settings["traefik_metrics"])
    traefik.dynamic_config(site)
    yield from ()


def _numbers(_site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("step_ca_years", "ssh_confirm_seconds", "docker_log_files"):
        if settings[name] < 1:
            yield Problem(name, f"is {settings[name]}", "write a number from 1 up")


def _nginx(_site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    if settings["nginx_hsts_seconds"] < 0:
        yield Problem("nginx_hsts_seconds", "is negative", "write seconds, 0 for none")
    if not _SIZE.match(settings["nginx_max_body"]):
        given = settings["nginx_max_body"]
        yield Problem("nginx_max_body", f"{given!r} is no size", "write for example 512m")
    if not _NGINX_TIME.match(settings["nginx_read_timeout"]):
        given = settings["nginx_read_timeout"]
        yield Problem("nginx_read_timeout", f"{given!r} is no time", "write for example 300s")


def _artifacts(_site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    pins = settings["artifacts"]
    for name in pins:
        if name not in PROGRAMS:
            fix = f"{near(name, PROGRAMS)}remove it"
            yield Problem(f"artifacts.{name}", "no deploy installs it", fix, "warning")
    for name in PROGRAMS:
        for arch in pins.get(name) or ("any",):
            yield from _asked(f"artifacts.{name}.{arch}", lambda n=name, a=arch: _pin(n, pins, a))  # type: ignore[misc]


def _pin(name: str, pins: Mapping[str, Any], arch: str) -> list[Problem]:
    program = artifacts.pinned(name, pins, arch)
    if name == "step-ca":
        ca.check_version(program.version)
    return []


def _docker(_site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    check_source(settings["docker_packages"])
    if not _SIZE.match(settings["docker_log_size"]):
        given = settings["docker_log_size"]
        yield Problem("docker_log_size", f"{given!r} is no size", "write for example 10m")
    if not settings["docker_apt_url"].startswith("https://"):
        yield Problem("docker_apt_url", "is no https:// URL", "write one: packages are run as root")
    if not _SHA256.match(settings["docker_apt_key_sha256"]):
        fix = "write the SHA-256 of Docker's key"
        yield Problem("docker_apt_key_sha256", "is not 64 hexadecimal digits", fix)


def _images(_site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("portainer_image", "portainer_agent_image"):
        if not compose.is_pinned(settings[name]):
            message = f"image {settings[name]!r} is not pinned: each pull may bring another one"
            fix = "name a version, or a digest (@sha256:...)"
            yield Problem(name, message, fix, "warning")


def _archives(_site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    for reference, archive in settings["image_archives"].items():
        path = f"image_archives.{reference}"
        yield from _asked(path, lambda r=reference, a=archive: _archive(r, a))  # type: ignore[misc]


def _archive(reference: str, archive: Mapping[str, str]) -> list[Problem]:
    artifacts.check_archive(reference, archive)
    path = f"image_archives.{reference}"
    if not archive["url"].startswith(("https://", "file:///")):
        return [Problem(f"{path}.url", "is no https:// or file:/// URL", "write one of these")]
    if not _SHA256.match(archive["sha256"]):
        fix = "write the archive's SHA-256, by sha256sum"
        return [Problem(f"{path}.sha256", "is not 64 hexadecimal digits", fix)]
    return []


def _stacks(site: Site, settings: Mapping[str, Any]) -> Iterator[Problem]:
    chosen = settings["stack_variables"]
    deployed = {stack.name for host in site.guests for stack in host.docker_stacks}
    for name in chosen:
        if name not in deployed:
            fix = f"{near(name, sorted(deployed))}remove it"
            message = "no guest deploys a stack of this name"
            yield Problem(f"stack_variables.{name}", message, fix, "warning")
    for host in site.guests:
        for stack in host.docker_stacks:
            path = f"stack_variables.{stack.name}"
            yield from _asked(path, lambda s=stack: _prepared(s, chosen.get(s.name, {})))  # type: ignore[misc]
        for position, project in enumerate(settings["stacks_prune"]):
            path = f"stacks_prune[{position}]"
            yield from _asked(path, lambda p=project, h=host: _pruned(p, h))  # type: ignore[misc]


def _prepared(stack: Deployment, overrides: Mapping[str, str]) -> list[Problem]:
    made = deployment.prepare(stack, overrides, lambda _name: _DUMMY)
    return [
        Problem(
            f"stack_variables.{stack.name}", f"image {image!r} is not pinned",
            "name a version, or a digest (@sha256:...)", "warning",
        )
        for image in made.images
        if overrides and not compose.is_pinned(image)  # without them the declaration was warned of
    ]  # fmt: skip


def _pruned(project: str, host: Host) -> list[Problem]:
    deployment.check_prune(project, host)
    return []


def _secrets(site: Site, find: Find) -> Iterator[Problem]:
    """Secrets that are given and cannot be used; one that is absent is made by the first run."""
    wanted = ["traefik_dashboard_password", "portainer_admin_password", "portainer_agent_secret",
              "step_ca_password"]  # fmt: skip
    for host in site.guests:
        for stack in host.docker_stacks:
            named = [one.secret for one in stack.variables] + [one.secret for one in stack.files]
            wanted += [name.lower() for name in named if name]
    for name in dict.fromkeys(wanted):
        try:
            value = find(name)
            if value is not None and name == "portainer_admin_password":
                check_portainer_password(value.get_secret_value())
        except SettingError as error:
            yield Problem(f"secret {name}", str(error), 'see "Secrets" in README.md')


def _proxmox(site: Site, settings: Mapping[str, Any], find: Find, home: Path) -> Iterator[Problem]:
    config = proxmox_settings(settings)
    if config.api == "off":
        return
    made = proxmox_plan(site, settings, home=home)
    for connection in made.refused:
        fix = "allow it by a rule, or by proxmox_operator_networks"
        yield Problem("proxmox_firewall", f"no rule would allow a needed flow: {connection}", fix)
    token = proxmox_access.TOKEN
    if find(token) is None:
        yield Problem(
            "proxmox_api", f"is on, but there is no secret {token}, which is never generated",
            f"give PHOENIX_SECRET_{token.upper()}, or turn the setting off",
        )  # fmt: skip


_CHECKS: tuple[
    tuple[tuple[str, ...], Callable[[Site, Mapping[str, Any]], Iterator[Problem]]], ...
] = (
    (("dns_upstreams", "dns_stop_rebind"), _dns),
    (("resolver_fallback",), _fallback),
    (("timezone",), _timezone),
    (
        ("step_ca_lifetime_default", "step_ca_lifetime_minimum", "step_ca_lifetime_maximum"),
        _lifetimes,
    ),
    (("step_ca_years", "ssh_confirm_seconds", "docker_log_files"), _numbers),
    (("nginx_max_body", "nginx_hsts_seconds", "nginx_read_timeout"), _nginx),
    (("artifacts",), _artifacts),
    (
        ("docker_packages", "docker_log_size", "docker_apt_url", "docker_apt_key_sha256"),
        _docker,
    ),
    (("portainer_image", "portainer_agent_image"), _images),
    (("image_archives",), _archives),
    (("stack_variables", "stacks_prune"), _stacks),
)


def near(name: str, known: Sequence[str]) -> str:
    """The start of a fix: what was perhaps meant; empty if nothing is close."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? else " if close else ""
