"""Rules between settings, and between settings and the site: what a run would refuse.

Each is asked of the function that the deploys themselves call. What one setting may be by itself
is said by `phoenix.declaration.settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import SecretStr

from phoenix.components import artifacts, registries
from phoenix.components import stack as deployment
from phoenix.components.acme import phoenix_acme_conf as acme
from phoenix.components.dnsmasq import dnsmasq_conf as dnsmasq
from phoenix.components.step_ca import authority as ca
from phoenix.components.traefik import traefik_yml as traefik
from phoenix.declaration import compose
from phoenix.declaration.settings import FOLDER, ImageArchive, Settings, near
from phoenix.derived import dns
from phoenix.proxmox.plan import plan as proxmox_plan
from phoenix.secrets import catalog
from phoenix.site import duration
from phoenix.site.findings import ConfigError, Finding, SettingError, Severity
from phoenix.site.model import Deployment, Host, Site
from phoenix.site.secret_names import PROXMOX_TOKEN

PROGRAMS = ("step-ca", "traefik")
REFERENCE = "see docs/reference.md"
_DUMMY = SecretStr("a-secret-of-no-meaning")

Find = Callable[[str], SecretStr | None]
"""Tells a secret that was given or made before; never makes one."""


def check(
    site: Site | None, settings: Settings, *, wrong: Iterable[str], ssh_key: str | None, home: Path
) -> tuple[Finding, ...]:
    """Everything that a run with these settings would refuse or that is unwise.

    Args:
        site: the site; None where the declaration is faulty: then rules that need none are asked.
        settings: as one host sees them.
        wrong: names of settings that were found wrong already: no rule on them is checked.
        ssh_key: the private key that pyinfra uses, as the inventory names it.
        home: where the operator's public keys are, for new guests.
    """
    findings: list[Finding] = []
    wrong = frozenset(wrong)
    for names, own_rule in _RULES_WITHOUT_SITE:
        if not wrong & set(names):
            findings += _asked(names[0], lambda rule=own_rule: rule(settings))  # type: ignore[misc]
    if site is None:
        return tuple(dict.fromkeys(findings))
    for names, rule in _RULES:
        if not wrong & set(names):
            findings += _asked(names[0], lambda rule=rule: rule(site, settings))  # type: ignore[misc]
    if not any(name.startswith("proxmox_") for name in wrong):
        findings += _asked("proxmox_api", lambda: _proxmox(site, settings, ssh_key, home))
    return tuple(dict.fromkeys(findings))


def problem(path: str, message: str, fix: str, severity: Severity = "error") -> Finding:
    """A finding about a setting; `path` leads into its value, as `artifacts.traefik`."""
    return Finding(FOLDER, path, message, fix, severity)


def _asked(path: str, ask: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What `ask` finds; where it raises, that is the finding."""
    try:
        return list(ask())
    except ConfigError as error:
        return list(error.findings)
    except SettingError as error:
        return [problem(path, str(error), REFERENCE)]
    except (ValueError, OSError) as error:
        message = f"cannot be used: {type(error).__name__}: {error}"
        return [problem(path, message, REFERENCE)]


def _dns(site: Site, settings: Settings) -> Iterator[Finding]:
    dnsmasq.config(site, dns.records(site), settings.dns_upstreams,
                   stop_rebind=settings.dns_stop_rebind)  # fmt: skip
    yield from ()


def _timezone(settings: Settings) -> Iterator[Finding]:
    name = settings.timezone
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zones = available_timezones()  # empty on a machine without tzdata: nothing can be said
        if zones:
            fix = f"{near(name, zones)}write a name as in /usr/share/zoneinfo"
            yield problem("timezone", f"there is no time zone {name!r}", fix)


def _lifetimes(site: Site, settings: Settings) -> Iterator[Finding]:
    ca.config(site, ca.claims(settings))
    acme.interval(duration.parse(settings.step_ca_lifetime_default))
    traefik.static_config(site, metrics=settings.traefik_metrics)
    traefik.dynamic_config(site)
    yield from ()


def _artifacts(settings: Settings) -> Iterator[Finding]:
    pins = settings.artifacts
    for name in pins:
        if name not in PROGRAMS:
            fix = f"{near(name, PROGRAMS)}remove it"
            yield problem(f"artifacts.{name}", "no deploy installs it", fix, "warning")
    for name in PROGRAMS:
        for arch in pins.get(name) or ("any",):
            yield from _asked(f"artifacts.{name}.{arch}", lambda n=name, a=arch: _pin(n, pins, a))  # type: ignore[misc]


def _pin(name: str, pins: artifacts.Pins, arch: str) -> list[Finding]:
    program = artifacts.pinned(name, pins, arch)
    if name == "step-ca":
        ca.check_version(program.version)
    return []


def _images(settings: Settings) -> Iterator[Finding]:
    images = {
        "portainer_image": settings.portainer_image,
        "portainer_agent_image": settings.portainer_agent_image,
    }
    for name, image in images.items():
        if not compose.is_pinned(image):
            yield problem(name, *_unpinned(image), "warning")


def _unpinned(image: str) -> tuple[str, str]:
    return (
        f"image {image!r} is not pinned: each pull may bring another one",
        "name a version, or a digest (@sha256:...)",
    )


def _archives(settings: Settings) -> Iterator[Finding]:
    for reference, archive in settings.image_archives.items():
        path = f"image_archives.{reference}"
        yield from _asked(path, lambda r=reference, a=archive: _archive(r, a))  # type: ignore[misc]


def _archive(reference: str, archive: ImageArchive) -> list[Finding]:
    artifacts.check_archive(reference, archive)
    return []


def _stacks(site: Site, settings: Settings) -> Iterator[Finding]:
    chosen = settings.stack_variables
    deployed = {stack.name for host in site.guests for stack in host.docker_stacks}
    for name in chosen:
        if name not in deployed:
            fix = f"{near(name, deployed)}remove it"
            message = "no guest deploys a stack of this name"
            yield problem(f"stack_variables.{name}", message, fix, "warning")
    for host in site.guests:
        for stack in host.docker_stacks:
            path = f"stack_variables.{stack.name}"
            yield from _asked(path, lambda s=stack: _prepared(s, chosen.get(s.name, {})))  # type: ignore[misc]
        for position, project in enumerate(settings.stacks_prune):
            path = f"stacks_prune[{position}]"
            yield from _asked(path, lambda p=project, h=host: _pruned(p, h))  # type: ignore[misc]


def _prepared(stack: Deployment, overrides: Mapping[str, str]) -> list[Finding]:
    prepared = deployment.prepare(stack, overrides, lambda _name: _DUMMY)
    return [
        problem(f"stack_variables.{stack.name}", *_unpinned(image), "warning")
        for image in prepared.images
        if overrides and not compose.is_pinned(image)  # without them the declaration was warned of
    ]


def _pruned(project: str, host: Host) -> list[Finding]:
    deployment.check_prune(project, host)
    return []


def _docker_containers(site: Site) -> Iterator[Finding]:
    """Containers that run Docker, where nobody here sees to what that takes.

    With `proxmox_api` on, the plan refuses such a container unless its features are declared.
    """
    for host in site.docker_hosts:
        if host.kind == "lxc":
            needed = "nesting=1,keyctl=1" if host.unprivileged else "nesting=1"
            yield Finding(
                host.source.file,
                f"{host.source.path}.role",
                f"{host.name} is to run Docker in a container, whose features Phoenix does not see "
                "while proxmox_api is off",
                f"make it a VM, or check `pct config {host.vmid}` for features: {needed}",
                "warning",
            )


def _proxmox(site: Site, settings: Settings, ssh_key: str | None, home: Path) -> Iterator[Finding]:
    if settings.proxmox.api == "off":
        yield from _docker_containers(site)
        return
    plan = proxmox_plan(site, settings.proxmox, ssh_key=ssh_key, home=home)
    for connection in plan.refused:
        fix = "allow it by a rule, or by proxmox_operator_networks"
        yield problem("proxmox_firewall", f"no rule would allow a needed flow: {connection}", fix)


_RULES_WITHOUT_SITE: tuple[tuple[tuple[str, ...], Callable[[Settings], Iterator[Finding]]], ...] = (
    (("timezone",), _timezone),
    (("artifacts",), _artifacts),
    (("portainer_image", "portainer_agent_image"), _images),
    (("image_archives",), _archives),
)
_RULES: tuple[tuple[tuple[str, ...], Callable[[Site, Settings], Iterator[Finding]]], ...] = (
    (("dns_upstreams", "dns_stop_rebind"), _dns),
    (
        ("step_ca_lifetime_default", "step_ca_lifetime_minimum", "step_ca_lifetime_maximum"),
        _lifetimes,
    ),
    (("stack_variables", "stacks_prune"), _stacks),
)


def check_secrets(site: Site, settings: Settings, find: Find) -> Iterator[Finding]:
    """Secrets that are given and cannot be used; one that is absent is made by the first run.

    No finding holds a value. Their file is "secrets".
    """
    for name, registry in settings.registries.items():
        if find(registry.secret) is None:
            yield problem(f"registries.{name}", *registries.lacking(registry))
    for use in catalog.uses(site):
        path, fix = f"secret {use.name}", "see docs/secrets.md"
        try:
            value = find(use.name)
            if value is not None:
                use.check(value.get_secret_value())
        except SettingError as error:
            yield Finding("secrets", path, str(error), fix)
            continue
        if use.name == PROXMOX_TOKEN and value is None and settings.proxmox.api != "off":
            message = f"is on, but there is no secret {use.name}, which is never generated"
            fix = (
                "where another operator has it: `phoenix secrets export` there, then `phoenix "
                f"secrets import FILE` here; else give PHOENIX_SECRET_{use.name.upper()}, or turn "
                "the setting off"
            )
            yield problem("proxmox_api", message, fix)
