"""Rules between settings, and between settings and the site: what a run would refuse.

Each is asked of the function that the deploys themselves call. What one setting may be by itself
is said by `phoenix.declaration.settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import SecretStr

from phoenix.components import artifacts, registries
from phoenix.components import stack as deployment
from phoenix.components.acme import phoenix_acme_conf as acme
from phoenix.components.dnsmasq import dnsmasq_conf as dnsmasq
from phoenix.components.step_ca import authority as ca
from phoenix.components.swarm import address_pool
from phoenix.components.traefik import traefik_yml as traefik
from phoenix.declaration import hypervisor_file, image_reference
from phoenix.declaration.json_errors import listed
from phoenix.declaration.settings import FOLDER, ImageArchive, Settings
from phoenix.derived import dns
from phoenix.proxmox.plan import plan as proxmox_plan
from phoenix.secrets import catalog
from phoenix.site import duration, suggestions
from phoenix.site.findings import ConfigError, Finding, SettingError, Severity
from phoenix.site.model import Deployment, Host, Site
from phoenix.site.roles import MAX_NAME_SERVERS, RoleError
from phoenix.site.secret_names import PROXMOX_TOKEN

PROGRAMS = ("step-ca", "traefik")
_DUMMY = SecretStr("a-secret-of-no-meaning")

Find = Callable[[str], SecretStr | None]
"""Tells a secret that was given or made before; never makes one."""


def check(
    site: Site | None, settings: Settings, *, faulty: Iterable[str], ssh_key: str | None, home: Path
) -> tuple[Finding, ...]:
    """Everything that a run with these settings would refuse or that is unwise.

    Args:
        site: the site; None where the declaration is faulty: then rules that need none are asked.
        settings: as one host sees them.
        faulty: names of settings that were found wrong already: no rule on them is checked.
        ssh_key: the private key that pyinfra uses, as the inventory names it.
        home: where the operator's public keys are, for new guests.
    """
    findings: list[Finding] = []
    faulty = frozenset(faulty)
    for names, fix, own_rule in _RULES_WITHOUT_SITE:
        if not faulty & set(names):
            findings += _asked(names[0], fix, lambda rule=own_rule: rule(settings))  # type: ignore[misc]
    if site is None:
        return tuple(dict.fromkeys(findings))
    for names, fix, rule in _RULES:
        if not faulty & set(names):
            findings += _asked(names[0], fix, lambda rule=rule: rule(site, settings))  # type: ignore[misc]
    if not any(name.startswith("proxmox_") for name in faulty):
        fix = "correct what it names, or turn proxmox_api off"
        findings += _asked("proxmox_api", fix, lambda: _proxmox(site, settings, ssh_key, home))
    return tuple(dict.fromkeys(findings))


def problem(path: str, message: str, fix: str, severity: Severity = "error") -> Finding:
    """A finding about a setting; `path` leads into its value, as `artifacts.traefik`."""
    return Finding(FOLDER, path, message, fix, severity)


def _asked(path: str, fix: str, ask: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What `ask` finds; where it raises, that is the finding, with this fix."""
    try:
        return list(ask())
    except ConfigError as error:
        return list(error.findings)
    except RoleError:  # the declaration's fault, which phoenix.validation.project tells
        return []
    except SettingError as error:
        return [problem(path, str(error), fix)]
    except (ValueError, OSError) as error:
        return [problem(path, f"cannot be used: {type(error).__name__}: {error}", fix)]


def _dns(site: Site, settings: Settings) -> Iterator[Finding]:
    for host in site.name_servers:
        dnsmasq.config(site, dns.records(site), hypervisor_file.upstreams(site, settings),
                       on=host, stop_rebind=settings.dns_stop_rebind)  # fmt: skip
    yield from ()


def _fallback(site: Site, settings: Settings) -> Iterator[Finding]:
    read = MAX_NAME_SERVERS - len(site.name_servers)
    for position, address in enumerate(settings.resolver_fallback[read:], read):
        yield problem(
            f"resolver_fallback[{position}]",
            f"{address} is never asked: with the site's {len(site.name_servers)} name servers, "
            f"hosts read {read} more (resolv.conf(5))",
            "leave it out",
            "warning",
        )


def _timezone(settings: Settings) -> Iterator[Finding]:
    if fault := _no_zone(settings.timezone):
        yield problem("timezone", *fault)


def _time_zone_of_site(site: Site, settings: Settings) -> Iterator[Finding]:
    """What the hypervisor's file says of it, where no setting does."""
    yield from hypervisor_file.time_zone_findings(site, settings)
    chosen = hypervisor_file.time_zone(site, settings)
    if chosen == site.timezone and (fault := _no_zone(chosen)):
        yield Finding(hypervisor_file.HYPERVISOR_FILE, "timezone", *fault)


def _no_zone(name: str) -> tuple[str, str] | None:
    """That there is no time zone of this name, and the fix; None where there is one."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zones = available_timezones()  # empty on a machine without tzdata: nothing can be said
        fix = suggestions.fix(name, zones, "write a name as in /usr/share/zoneinfo")
        return (f"there is no time zone {name!r}", fix) if zones else None
    return None


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
            fix = suggestions.fix(name, PROGRAMS)
            yield problem(f"artifacts.{name}", "no deploy installs it", fix, "warning")
    for name in PROGRAMS:
        for arch in pins.get(name) or ("any",):
            path = f"artifacts.{name}.{arch}"
            yield from _asked(path, _PIN, lambda n=name, a=arch: _pin(n, pins, a))  # type: ignore[misc]


_PIN = (
    "write version, url and sha256 of the release that you want; without the setting the pinned "
    "one is installed"
)


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
        if not _is_pinned(image):
            yield problem(name, *_unpinned(image), "warning")


def _is_pinned(image: str) -> bool:
    parsed = image_reference.parse(image)
    return parsed is not None and parsed.is_pinned


def _unpinned(image: str) -> tuple[str, str]:
    return (
        f"image {image!r} is not pinned: each pull may bring another one",
        "name a version, or a digest (@sha256:...)",
    )


def _archives(settings: Settings) -> Iterator[Finding]:
    for reference, archive in settings.image_archives.items():
        path = f"image_archives.{reference}"
        fix = 'write {"url": "https://...", "sha256": what sha256sum prints for the archive}'
        yield from _asked(path, fix, lambda r=reference, a=archive: _archive(r, a))  # type: ignore[misc]


def _archive(reference: str, archive: ImageArchive) -> list[Finding]:
    artifacts.check_archive(reference, archive)
    return []


def _stacks(site: Site, settings: Settings) -> Iterator[Finding]:
    chosen = settings.stack_variables
    deployed = {stack.name for host in site.guests for stack in host.docker_stacks}
    for name in chosen:
        if name not in deployed:
            fix = suggestions.fix(name, deployed)
            message = "no guest deploys a stack of this name"
            yield problem(f"stack_variables.{name}", message, fix, "warning")
    for host in site.guests:
        for stack in host.docker_stacks:
            path = f"stack_variables.{stack.name}"
            fix = f"correct the setting, or the variables of {stack.source.file}"
            yield from _asked(path, fix, lambda s=stack: _prepared(s, chosen.get(s.name, {})))  # type: ignore[misc]
        for position, project in enumerate(settings.stacks_prune):
            path = f"stacks_prune[{position}]"
            fix = "remove it from stacks_prune where the stack is to go on"
            yield from _asked(path, fix, lambda p=project, h=host: _pruned(p, h))  # type: ignore[misc]


def _prepared(stack: Deployment, overrides: Mapping[str, str]) -> list[Finding]:
    prepared = deployment.prepare(stack, overrides, lambda _name: _DUMMY)
    return [
        problem(f"stack_variables.{stack.name}", *_unpinned(image), "warning")
        for image in prepared.images
        if overrides and not _is_pinned(image)  # without them the declaration was warned of
    ]


def _pruned(project: str, host: Host) -> list[Finding]:
    deployment.check_prune(project, host)
    return []


def _recipients(settings: Settings) -> Iterator[Finding]:
    if settings.backup_recipients:
        from phoenix.backup import encryption  # its cipher, for those who have one

        encryption.cipher(settings.backup_recipients, None)
    yield from ()


def _outlived(settings: Settings) -> Iterator[Finding]:
    """A leaf ends with its issuer at the latest (RFC 5280, section 6.1)."""
    longest = duration.parse(settings.step_ca_lifetime_maximum)
    if longest > timedelta(days=365 * settings.step_ca_years):
        years = settings.step_ca_years
        yield problem(
            "step_ca_lifetime_maximum",
            f"is {settings.step_ca_lifetime_maximum}: longer than the CA itself lasts, which is "
            f"step_ca_years = {years}",
            f"write at most {365 * 24 * years}h; certificates renew by themselves, so that 24h do",
        )


def _room(settings: Settings) -> Iterator[Finding]:
    if settings.room_warning_percent < settings.room_least_percent:
        yield problem(
            "room_warning_percent",
            f"is {settings.room_warning_percent}, below room_least_percent = "
            f"{settings.room_least_percent}: the checks fail before they ever warn",
            f"write a number from {settings.room_least_percent} to 100",
        )


def _registries(site: Site, settings: Settings) -> Iterator[Finding]:
    """A secret of a registry that a stack names too is in that stack's containers."""
    stacks = _secrets_of_stacks(site)
    for name, registry in settings.registries.items():
        for project in stacks.get(registry.secret, ()):
            yield problem(
                f"registries.{name}.secret",
                f"secret {registry.secret} is also that of stack {project}, whose containers "
                "would have the registry's password",
                "name a secret of the registry's own, as registry_password",
            )


def _secrets_of_stacks(site: Site) -> dict[str, list[str]]:
    """The projects of the stacks that name each secret."""
    stacks_by_secret: dict[str, list[str]] = {}
    for host in site.guests:
        for stack in host.docker_stacks:
            named = [item.secret for item in stack.variables] + [
                item.secret for item in stack.files
            ]
            for secret in {name.lower() for name in named if name is not None}:
                stacks_by_secret.setdefault(secret, []).append(stack.project)
    return stacks_by_secret


def _swarm(site: Site, settings: Settings) -> Iterator[Finding]:
    if site.swarm_nodes:
        address_pool.pools(site, settings)
        address_pool.check_networks(site, settings)
    yield from ()


def _bridges(site: Site, settings: Settings) -> Iterator[Finding]:
    """Docker's bridges on a host that is not in each of the site's networks.

    Docker passes over a range to which the host has a route of its own, and knows no other
    (moby, libnetwork: FindAvailableNetwork).
    """
    pools = [
        (f"docker_address_pools[{position}]", ip_network(pool.base))
        for position, pool in enumerate(settings.docker_address_pools)
    ]
    usual = [("", pool) for pool in address_pool.BRIDGES][:_SOON_TAKEN]
    for network in site.networks:
        apart = [host.name for host in site.docker_hosts
                 if "docker" not in host.left_alone
                 and network.name not in [card.network for card in host.interfaces]]  # fmt: skip
        if network.subnet is None or not apart:
            continue
        for path, pool in pools or usual:
            if not isinstance(pool, IPv4Network) or not pool.overlaps(network.subnet):
                continue
            message = (
                f"{pool} has addresses of the network {network.name}, {network.subnet}: containers "
                f"of {listed(apart)} may get them, and then nothing there reaches that network"
            )
            fix = "that nothing of the site uses, as 172.30.0.0/16"
            if path:
                yield problem(path, message, f"write a range {fix}")
            else:
                own = network is site.networks[0]
                source = site.hypervisor.source
                yield Finding(
                    source.file if own else hypervisor_file.HYPERVISOR_FILE,
                    f"{source.path}.ip" if own else f"{network.path}.subnet",
                    f"{message}: Docker takes its bridges from there",
                    f"write docker_address_pools in group_data, with a range {fix}; or write other "
                    "addresses here",
                    "warning",
                )


_SOON_TAKEN = 15
"""Ranges that a host of a few stacks takes; Docker takes 192.168.0.0/16 after all of them."""


def _rules_of_nobody(site: Site, settings: Settings) -> Iterator[Finding]:
    """Rules of hosts whose traffic neither their guard nor Proxmox VE filters."""
    proxmox = settings.proxmox
    filtered = () if proxmox.api == "off" or not proxmox.firewall else site.hosts
    for host in site.hosts:
        if host.guarded or not host.firewall_enabled:
            continue  # the second is told where the declaration is read
        if host in filtered and "proxmox" not in host.left_alone:
            continue
        places = [(host.source.file, f"{host.source.path}.firewall.rules", host.firewall_rules)]
        places += [
            (stack.source.file, f"{stack.source.path}.firewall_rules", stack.firewall_rules)
            for stack in host.docker_stacks
        ]
        for file, path, rules in places:
            if any(rule.source_of is None for rule in rules):
                yield Finding(
                    file, path,
                    f"nothing filters on {host.name}: its guard is off, and Proxmox VE's firewall "
                    "is not Phoenix's to write, so this holds nowhere",
                    "take guard out of leave_alone and of its firewall, or set proxmox_api; or "
                    "remove the rules",
                    "warning",
                )  # fmt: skip


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


_RULES_WITHOUT_SITE: tuple[
    tuple[tuple[str, ...], str, Callable[[Settings], Iterator[Finding]]], ...
] = (
    (("timezone",), "write a name as in /usr/share/zoneinfo", _timezone),
    (("artifacts",), _PIN, _artifacts),
    (
        ("portainer_image", "portainer_agent_image"),
        "write [REGISTRY/]NAME:VERSION",
        _images,
    ),
    (("image_archives",), "write url and sha256 of each archive", _archives),
    (("backup_recipients",), "write recipients of age, as age-keygen shows them", _recipients),
    (("step_ca_years", "step_ca_lifetime_maximum"), "write another lifetime", _outlived),
    (("room_warning_percent", "room_least_percent"), "write numbers from 0 to 100", _room),
)
"""Names of settings, what to do where the rule itself raises, and the rule."""
_RULES: tuple[tuple[tuple[str, ...], str, Callable[[Site, Settings], Iterable[Finding]]], ...] = (
    (("timezone",), "write one time zone", _time_zone_of_site),
    (("dns_upstreams",), "name the resolvers once", hypervisor_file.upstream_findings),
    (
        ("dns_upstreams", "dns_stop_rebind"),
        'write addresses of resolvers that are not the site\'s own, as ["9.9.9.9"]',
        _dns,
    ),
    (("resolver_fallback",), "leave it out", _fallback),
    (
        ("step_ca_lifetime_default", "step_ca_lifetime_minimum", "step_ca_lifetime_maximum"),
        "write them so that minimum <= default <= maximum, as 5m, 24h and 24h",
        _lifetimes,
    ),
    (("stack_variables", "stacks_prune"), "correct the setting", _stacks),
    (("registries",), "name a secret of the registry's own", _registries),
    (("docker_address_pools",), "write ranges that nothing of the site uses", _bridges),
    (("proxmox_api", "proxmox_firewall"), "set proxmox_api", _rules_of_nobody),
    (
        ("swarm_address_pools", "docker_address_pools"),
        "write ranges that nothing else uses, or leave swarm_address_pools out",
        _swarm,
    ),
)


def check_secrets(site: Site, settings: Settings, find: Find) -> Iterator[Finding]:
    """Secrets that are given and cannot be used; one that is absent is made by the first run.

    No finding holds a value. Their file is "secrets".
    """
    for name, registry in settings.registries.items():
        if find(registry.secret) is None:
            yield problem(f"registries.{name}", *registries.missing_secret(registry))
    for use in catalog.uses(site):
        path = f"secret {use.name}"
        fix = (
            f"give another value where it is given: PHOENIX_SECRET_{use.name.upper()}, the SOPS "
            "file, or the store of this machine (docs/secrets.md)"
        )
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
