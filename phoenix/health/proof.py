"""Which checks prove what a run touched: those of a component, service, stack or guest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from phoenix.derived.certificates import is_the_gateways
from phoenix.derived.components import Component, component_hosts
from phoenix.derived.find import Meaning, Stack, kind_of
from phoenix.derived.find import find as find_name
from phoenix.health.advice import component_of
from phoenix.health.checks import checks
from phoenix.health.paths import service_checks, stack_paths
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Host, Service, Site
from phoenix.site.ports import WATCH
from phoenix.watch.causes import Check

ONLY = "verify_only"
"""The data of a run that names what `deploys/verify.py` is to prove; without it: every hop."""
WHOLE = "verify"
"""The component that is the proof itself: of every hop."""


def target_of(touched: Meaning) -> str:
    """What a run touched, as one word that `proof` understands."""
    return f"{kind_of(touched)}:{touched.name}"


def proof(site: Site, words: Iterable[str]) -> tuple[Check, ...]:
    """The checks that prove what `words` stand for, in the order of `checks`.

    Component: what it alone answers for: its units, certificates, names, routers, containers. That
    a request arrives rests on others too, so it proves services alone.
    Service: all that a request for it rests on.
    Stack: its containers, Portainer's hold on them, and its services.
    Guest: all that it checks itself, what the hypervisor checks of it, and its services.

    Args:
        site: whose checks.
        words: of `word`.

    Raises:
        NameLookupError: a word means nothing.
        phoenix.site.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    chosen: set[Check] = set()
    for target in words:
        meanings = find_name(site, target)
        if not meanings:
            raise NameLookupError(f"nothing to prove is called {target!r}")
        chosen.update(check for meaning in meanings for check in _of(site, meaning))
    return tuple(check for check in checks(site) if check in chosen)


def provers(site: Site, words: Sequence[str]) -> tuple[str, ...]:
    """Names of the hosts that make the checks of `proof`, in the site's order."""
    making = {check.host for check in proof(site, words)}
    return tuple(host.name for host in site.hosts if host.name in making)


def _of(site: Site, meaning: Meaning) -> Iterator[Check]:
    match meaning:
        case Component():
            every = checks(site)
            yield from (
                check
                for check in every
                if meaning.name == WHOLE or meaning.name in _components(site, check)
            )
        case Service():
            yield from service_checks(site, meaning)
        case Stack():
            for host, deployment in meaning.deployed:
                yield from _of_stack(site, host, deployment.project)
        case Host():
            yield from (c for c in checks(site) if c.host == meaning.name)
            yield from (
                check
                for check in checks(site)
                if (check.host, check.target) == (site.hypervisor.name, meaning.name)
                and _components(site, check)
            )
            for service in site.services_of(meaning):
                if service.kind != "ca":  # every host's way to it: no other host is touched
                    yield from service_checks(site, service)


def _of_stack(site: Site, host: Host, project: str) -> Iterator[Check]:
    path = stack_paths(site).get((host.name, project))
    if path is not None:
        yield from path.checks
    yield from (c for c in checks(site) if (c.target, c.stack) == (host.name, project))
    for service in site.services_of(host):
        if service.deployment is not None and service.deployment.project == project:
            yield from service_checks(site, service)


def _components(site: Site, check: Check) -> frozenset[str]:
    """The components that a check is about, and about nothing else."""
    match check.function:
        case "unit_runs":
            names = {component_of(check.unit)}
        case "names_resolve" | "name_is_unknown":
            own = "resolver" not in site.host(check.host).left_alone
            names = {
                *({"base"} if own else ()),
                *({"dns"} if check.host in _names("dns", site) else ()),
            }
        case "server_answers":  # elsewhere it rests on the guard of the two as well
            names = {"dns"} if check.host == check.target else set()
        case "pair_fits" | "pair_is_served":
            names = {_holder(check.certificate)}
        case "port_answers" | "served_is_fresh" | "tls_verifies" | "agent_pings":
            names = _of_connection(site, check)
        case "serves_no_stranger":
            names = {"portainer" if check.endpoint else "admission"}
        case _:
            names = {_FUNCTIONS.get(check.function, "")}
    return frozenset(names - {""})


def _holder(certificate: str) -> str:
    """The component that keeps a certificate."""
    if is_the_gateways(certificate):
        return "nginx"
    return "traefik" if certificate == "traefik" else "certificates"


_FUNCTIONS = {
    "updates_are_done": "base",
    "keys_are_private": "step_ca",
    "router_is_enabled": "traefik",
    "name_is_rejected": "nginx",
    "address_is_held": "keepalived",
    "docker_has_no_port": "docker",
    "in_swarm": "swarm",
    "node_is": "swarm",
    "overlay_is": "swarm",
    "kernel_encrypts": "swarm",
    "ports_are_shut": "guard",
    "ports_are_shut_to_containers": "guard",
    "portainer_knows_us": "portainer",
    "endpoint_is_up": "portainer",
    "stack_is_active": "stacks",
    "containers_are_well": "stacks",
    "tasks_are_well": "stacks",
}
"""The component that a function of `checks.sh` is about."""


def _of_connection(site: Site, check: Check) -> set[str]:
    if check.endpoint:
        return {"portainer"}
    if (check.target, check.port) == (site.watched_by, WATCH):
        return {"watch"}
    if check.target in _names("step_ca", site):
        of_the_ca = {"step_ca"} if check.host == check.target else set()
        return of_the_ca | ({"trust"} if check.function == "tls_verifies" else set())
    # What has no target is at a virtual address.
    gateways = {"", *_names("nginx", site)}
    to_the_gateway = check.target in gateways and check.host == site.hypervisor.name
    return {"nginx"} if to_the_gateway else set()


def _names(component: str, site: Site) -> set[str]:
    return {host.name for host in component_hosts(component, site)}
