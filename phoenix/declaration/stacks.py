"""The stacks, each with its manifest and its compose file, as deployed on a guest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import PurePosixPath
from typing import Any

from phoenix.compose import document
from phoenix.declaration import (
    backups,
    compose,
    compose_addresses,
    compose_limits,
    compose_schema,
    compose_values,
    stack_isolation,
    stack_places,
    stray_files,
    swarm_stacks,
    traefik_labels,
    value_types,
)
from phoenix.declaration.json_errors import join, listed, read_object, validate
from phoenix.declaration.json_keys import (
    SITE,
    RawEnvironment,
    RawListedStack,
    RawRule,
    RawService,
    RawStack,
    RawStackRef,
    RawStackService,
)
from phoenix.declaration.stack_places import Place, StackPlaces
from phoenix.declaration.stack_secrets import NamedSecret, StackSecrets
from phoenix.declaration.value_types import value_fault
from phoenix.derived.certificates import (
    RENEWAL_ANSWERS,
    RENEWAL_LABEL,
    TLS_VARIABLE,
    stack_directory,
)
from phoenix.site import suggestions
from phoenix.site.findings import Report
from phoenix.site.model import (
    Deployment,
    FirewallRule,
    Source,
    StackFile,
    StackTls,
    Variable,
)
from phoenix.site.names import normalise_name

_NOT_KNOWN = "secret"  # stands for a value that is not known here, and is not empty
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|PRIVATE|API_?KEY", re.IGNORECASE)


@dataclass(frozen=True)
class StackRoute:
    """A service declared by a stack: its shape as for a guest, and where it is declared."""

    raw: RawService
    source: Source
    deployment: str


@dataclass
class StackCatalog:
    """Reads each stack that is asked for; remembers which ones were."""

    places: StackPlaces
    domain: str
    report: Report
    move: Callable[[Any], Any]  # re-addresses JSON data, or leaves it alone
    network: IPv4Network | None = None  # the site's, where there is one
    used: set[str] = field(default_factory=set)
    checked: set[tuple[str, str]] = field(default_factory=set)
    images: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """By the stack's name and environment."""
    docker_names: dict[tuple[str, str], tuple[compose.DockerName, ...]] = field(
        default_factory=dict
    )
    """By the stack's name and environment."""
    subnets: dict[tuple[str, str], tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Path and text of those of a stack's networks, by its name and environment."""
    _compose_files: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    _manifests: dict[str, RawStack | None] = field(default_factory=dict)
    _places: dict[str, Place] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all stacks that have a manifest, sorted; listed once."""
        return self.places.names()

    @cached_property
    def name_set(self) -> frozenset[str]:
        """The names, to look one up."""
        return frozenset(self.names)

    @cached_property
    def secrets(self) -> StackSecrets:
        """The secrets that the deployed stacks name; `check` it when all were asked for."""
        return StackSecrets(self.names, self.places.file)

    def warn_unused(self) -> None:
        """Warn of stacks that no guest deploys."""
        for name in self.names:
            if name not in self.used:
                place = self.place(name)
                self.report.warn(
                    place.file,
                    place.path,
                    "no guest deploys this stack",
                    "name it in a guest's docker_stacks, or remove it",
                )

    def check_others(self) -> None:
        """Report what is wrong with stacks and environments that nobody deploys, or not now."""
        for name in self.names:
            place = self.place(name)
            stack = self._manifest(name)
            if place.compose is None and name not in self.used:  # nothing needs it
                self.report.warn(*_no_compose(place))
                continue
            for environment in stack.environments if stack else ():
                if (name, environment) not in self.checked:
                    at = Source(file=place.file, path=place.environment(environment))
                    ref = RawStackRef.model_construct(name=name, environment=environment)
                    self.deploy(ref, environment, at, None)

    def is_portainer(self, deployment: Deployment) -> bool:
        """Whether a stack that `deploy` returned is Portainer's server, and nothing else."""
        images = self.images[deployment.name, deployment.environment]
        return _are_portainer(images)

    def place(self, name: str) -> Place:
        """Where a stack stands."""
        if name not in self._places:
            self._places[name] = self.places.place(name)
        return self._places[name]

    def _manifest(self, name: str) -> RawStack | None:
        """A stack's manifest, read once; None with the reason reported."""
        if name not in self._manifests:
            self._manifests[name] = self._read_manifest(name, self.place(name))
        return self._manifests[name]

    def _read_manifest(self, name: str, place: Place) -> RawStack | None:
        if place.file == stack_places.STACKS_FILE:
            data = self.move(self.places.stacks[name])
            raw = validate(RawListedStack, data, place.file, place.path, self.report)
            if raw is not None:
                stack_places.check_compose_path(raw, place, name, self.report)
            return raw
        file = self.places.directory / name / stack_places.MANIFEST
        manifest = read_object(file, place.file, self.report)
        if manifest is None:
            return None
        return validate(RawStack, self.move(manifest), place.file, "", self.report)

    def _compose_file(self, name: str, place: Place) -> dict[str, Any] | None:
        """A stack's compose file, read once for all of its environments; None as `compose.read`."""
        if name not in self._compose_files:
            content = None
            if place.compose is None:
                self.report.error(*_no_compose(place))
            else:
                content = compose.read(place.compose, place.compose_label, self.report)
            self._compose_files[name] = content
            if content is not None:
                compose_schema.check_keys(content, place.compose_label, self.report)
                stray_files.check_beside_compose(place, _shipped(self._manifest(name)), self.report)
        return self._compose_files[name]

    def _report_unknown(self, name: str, at: Source) -> None:
        """Say that there is no stack of a name that is declared `at`."""
        folder = self.places.directory / name
        if folder.is_symlink() and not folder.exists():
            fix = "put the stack's folder in its place"
            self.report.error(f"stacks/{name}", "", "is a link that leads to no folder", fix)
            return
        have = (
            f"known are: {listed(self.names[:20])}"
            if self.names
            else f"none is in {self.places.directory}"
        )
        if len(self.names) > 20:
            have += f" and {len(self.names) - 20} more"
        self.report.error(
            at.file,
            at.path,
            f"unknown stack {name!r}; {have}",
            suggestions.fix(
                name,
                self.names,
                f"add stacks/{name}/phoenix.json and docker-compose.yml, or correct the name",
            ),
        )

    def deploy(
        self,
        ref: RawStackRef,
        environment: str,
        at: Source,
        address: IPv4Address | None,
        *,
        beside_portainer: bool = False,
    ) -> tuple[Deployment, tuple[StackRoute, ...]] | None:
        """Resolve one entry of `docker_stacks`, declared `at`, for the guest with this `address`.

        `address` is None where no guest deploys it, or the guest has none. On Portainer's own
        guest (`beside_portainer`) a stack that is Portainer itself is never given to Compose.

        Returns the deployment and the services it brings; None, with the reason reported, if the
        stack or its environment is unknown or unusable.
        """
        report = self.report
        if ref.name not in self.name_set:
            self._report_unknown(ref.name, at)
            return None
        self.used.add(ref.name)
        place = self.place(ref.name)
        label = place.file
        stack = self._manifest(ref.name)
        if stack is None:
            return None
        name = ref.environment or environment
        if name not in stack.environments:
            report.error(
                at.file,
                at.path,
                f"stack {ref.name!r} has no environment {name!r}",
                f"add {place.environment(name)} to {label}"
                + (f", or use {listed(sorted(stack.environments))}" if stack.environments else ""),
            )
            return None
        path = place.environment(name)
        for kind, word, where in (
            ("a stack", ref.name, place.path),
            ("an environment", name, path),
        ):
            if not stack_places.NAME.match(word):
                report.error(
                    label,
                    where,
                    f"{word[:80]!r} is not {kind} name",
                    value_types.NAME_FIX,
                )
                return None
        self.checked.add((ref.name, name))
        raw = validate(RawEnvironment, stack.environments[name], label, path, report)
        compose_label = place.compose_label
        content = self._compose_file(ref.name, place)
        if raw is not None:
            _check_variables(raw, label, path, report)
            _check_files(raw, place, path, report)
        if raw is None or content is None or place.compose is None:
            return None
        self.secrets.share(ref.name, stack.shared_secrets)
        secrets = [
            *((variable.secret, f"variables[{i}]") for i, variable in enumerate(raw.variables)),
            *((file.secret, f"files[{i}]") for i, file in enumerate(raw.files)),
        ]
        self.secrets.references += [
            NamedSecret(ref.name, secret.lower(), label, f"{path}.{place}.secret")
            for secret, place in secrets
            if secret is not None
        ]
        values = {
            v.name: v.value or ("" if v.secret is None else _NOT_KNOWN) for v in raw.variables
        }
        project = normalise_name(f"{ref.name}-{name}")
        automatic = _given_variables(content, raw, project)
        values = {variable.name: variable.value or "" for variable in automatic} | values
        compose.check_variables(content, values, compose_label, f"{label} ({path})", report)
        compose.check_deployers_variables(content, compose_label, f"{label} ({path})", report)
        declared_names = [variable.name for variable in raw.variables]
        compose.check_named(content, declared_names, label, f"{path}.variables", report)
        compose.check_habits(content, values, compose_label, report)
        declared = f"{label} ({path})"
        images = self.images[ref.name, name] = tuple(compose.images(content, values).values())
        limits = Report() if beside_portainer and _are_portainer(images) else report
        swarm = stack.type == "swarm"
        compose_limits.check(content, values, project, compose_label, declared, limits, swarm=swarm)
        swarm_stacks.of_file(content if swarm else {"services": {}}, values, compose_label, report)
        stack_isolation.check(
            content, values, project, compose_label, report, host_access=raw.host_access
        )
        _check_renewal(content, values, compose_label, report)
        self.docker_names[ref.name, name] = tuple(compose.docker_names(content, values, project))
        self.subnets[ref.name, name] = tuple(compose_addresses.subnets(content, values))
        compose.check_files(content, values, compose_label, f"{label} ({path})", report)
        _check_targets(content, values, raw, label, path, report)
        deployment = Deployment(
            name=ref.name,
            environment=name,
            description=stack.description,
            source=Source(file=label, path=path),
            entry=at,
            directory=place.roots[0],
            compose_file=place.compose,
            compose_label=compose_label,
            variables=(
                *(Variable(name=v.name, value=v.value, secret=v.secret) for v in raw.variables),
                *automatic,
            ),
            files=tuple(
                StackFile(
                    source=_source(place, f.source),
                    secret=f.secret,
                    destination=f.destination_in_container,
                )
                for f in raw.files
            ),
            ports=compose.published(content, values, _routed_ports(raw), compose_label, report),
            firewall_rules=tuple(
                firewall_rule(rule, label, f"{path}.firewall_rules[{i}]", report, self.network)
                for i, rule in enumerate(raw.firewall_rules)
            ),
            images=tuple(sorted({image for image in images if image})),
            completing=tuple(sorted(document.completing(content["services"], values))),
            tls=None if raw.tls is None else StackTls(**raw.tls.model_dump()),
            host_access=raw.host_access,
            type=stack.type,
            placement=_placement(content, values) if swarm else (),
            networks=tuple(
                other.name
                for other in compose_limits.outside(content, values)
                if other.kind == "network" and other.is_used
            ),
            backup=backups.of_stack(
                raw.backup,
                content,
                values,
                project,
                at=(label, path),
                swarm=swarm,
                report=report,
            ),
            volumes=tuple(content.get("volumes") or ()),
        )
        _rules_of_nobody(deployment, content, report)
        routes = self._routes(raw, deployment, content, address, label, path)
        if isinstance(stack, RawListedStack):
            _check_proxy(stack, routes, place, self.domain, report)
        return deployment, routes

    def _routes(
        self,
        raw: RawEnvironment,
        deployment: Deployment,
        content: Mapping[str, Any],
        address: IPv4Address | None,
        label: str,
        path: str,
    ) -> tuple[StackRoute, ...]:
        routes = []
        values = {variable.name: variable.value or "" for variable in deployment.variables}
        for name, declared in raw.services.items():
            place = f"{path}.services.{name}"
            if name not in content["services"]:
                self.report.error(
                    label,
                    place,
                    f"the compose file has no service {name!r}: a route without a backend",
                    f"use one of: {listed(content['services'])}",
                )
                continue
            if not document.is_started(content["services"][name], values):
                self.report.error(
                    label,
                    place,
                    f"compose service {name!r} is not started, as it has a profile or no replicas: "
                    "a route without a backend",
                    "remove profiles, scale or deploy.replicas from it, or remove the route",
                )
                continue
            self._check_compose_labels(name, content["services"][name], deployment.compose_label)
            service, where = declared.traefik_service, f"{place}.traefik_service"
            services = [(service, where)] if service is not None else []
            services += [
                (further, f"{place}.traefik_services[{position}]")
                for position, further in enumerate(declared.traefik_services)
            ]
            if services:
                self._tell_unread_labels(declared.traefik_labels, f"{place}.traefik_labels", label)
            if not services:
                where = f"{place}.traefik_labels"
                labels = declared.traefik_labels
                service = self._from_labels(name, labels, deployment, address, where, label)
                services = [(service, where)] if service is not None else []
            elif unpublished := [
                (route, where)
                for route, where in services
                if route.port and not _publishes(deployment, name, route.port, address)
            ]:
                for route, where in unpublished:
                    message, fix = _not_reached(deployment, name, route.port)
                    self.report.error(
                        label,
                        f"{where}.port",
                        f"compose service {name!r} {message}: a route without a backend",
                        fix,
                    )
                continue
            routes += [
                StackRoute(route, Source(file=label, path=where), deployment.project)
                for route, where in services
            ]
        self._tell_compose_labels(content, routes, deployment)
        # "services": {} says that none is wanted.
        if (
            not routes
            and not any(map(_is_routed, raw.services.values()))
            and content["services"]
            and (raw.services or "services" not in raw.model_fields_set)
        ):
            self.report.warn(
                label,
                f"{path}.services",
                "the stack declares no service, so nothing is routed to it",
                'add services.NAME.traefik_service {"name": ..., "port": ...}; for a database or a '
                'job write "services": {}',
            )
        return tuple(routes)

    def _tell_unread_labels(self, labels: tuple[str, ...], where: str, file: str) -> None:
        """Tell of labels beside the same service's traefik_service, which alone is read."""
        read = traefik_labels.read(labels)
        fix = "write all of it in traefik_service, and remove traefik_labels"
        if read.refused or read.networks:
            message = "they are not read beside traefik_service, and would keep somebody out"
            self.report.error(file, where, message, fix)
        elif labels:
            self.report.warn(file, where, "they are not read beside traefik_service", fix)

    def _tell_compose_labels(
        self, content: Mapping[str, Any], routes: Sequence[StackRoute], deployment: Deployment
    ) -> None:
        """Tell of names that Traefik labels of a compose file ask for and that lead nowhere."""
        values = {variable.name: variable.value or "" for variable in deployment.variables}
        known = {
            f"{name.removesuffix(f'.{self.domain}')}.{self.domain}"
            for route in routes
            for name in (route.raw.name, *route.raw.aliases)
        }
        for name, service in content["services"].items():
            labels = [
                compose.filled(label, values) or "" for label in traefik_labels.of_compose(service)
            ]
            for host in traefik_labels.read(labels).hosts:
                if host not in known:
                    self.report.unread(
                        deployment.compose_label,
                        f"services.{name}.labels",
                        f"nothing reads labels of Traefik here, so {host} leads nowhere",
                        f"declare it as traefik_service of {name} in {deployment.source.file}, "
                        "and remove the labels",
                    )

    def _check_compose_labels(self, name: str, service: Mapping[str, Any], label: str) -> None:
        """Refuse a routed service whose compose file has Traefik labels that mean more."""
        labels = service.get("labels")
        for refused in traefik_labels.read(traefik_labels.of_compose(service), plain=True).refused:
            place = f".{refused.key}" if isinstance(labels, dict) else f"[{refused.position}]"
            path = f"services.{name}.labels{place}"
            self.report.error(label, path, refused.message, refused.fix)

    def _from_labels(
        self,
        name: str,
        labels: tuple[str, ...],
        deployment: Deployment,
        address: IPv4Address | None,
        where: str,
        file: str,
    ) -> RawService | None:
        """Read the original's form: what its Traefik labels say of host, port and scheme."""
        report, declared = self.report, traefik_labels.read(labels)
        for refused in declared.refused:
            report.error(file, f"{where}[{refused.position}]", refused.message, refused.fix)
        if declared.refused:
            return None
        for ignored in declared.ignored:
            report.warn(file, f"{where}[{ignored.position}]", ignored.message, ignored.fix)
        host, port = declared.host, declared.port
        if host is None and port is None:
            report.error(
                file,
                where.rpartition(".")[0],
                "is a route without a backend",
                'add traefik_service {"name": ..., "port": ...}',
            )
            return None
        fix = 'write traefik_service {"name": ..., "port": ..., "scheme": "https"} instead'
        report.warn(file, where, "Traefik labels do nothing here; read as a declaration", fix)
        outside = [name for name in declared.hosts if not name.endswith(f".{self.domain}")]
        if host is None or outside:
            about = f": {listed(outside)}" if outside and outside[0] != host else ""
            report.error(file, where, f"the rule names no host in {self.domain}{about}", fix)
            return None
        number = _port_number(port)
        for published in deployment.ports:  # the label counts ports inside the container
            leads_there = (published.service, published.container_port) == (name, number)
            if leads_there and published.answers_at(address):
                number = published.host_port
                break
        else:
            message = f"no published port leads to {port}" if port else "the labels name no port"
            report.error(file, where, f"{message}: a route without a backend", fix)
            return None
        data = {**declared.declared(self.domain), "port": number}
        return validate(RawService, data, file, where, report)


def _shipped(stack: RawStack | None) -> frozenset[str]:
    """The sources that any environment of a stack names, as written."""
    each = stack.environments.values() if stack is not None else ()
    listed_files = [item.get("files") for item in each if isinstance(item, dict)]
    return frozenset(
        str(file.get("source"))
        for files in listed_files
        for file in (files if isinstance(files, list) else ())
        if isinstance(file, dict)
    )


def _placement(
    content: Mapping[str, Any], values: Mapping[str, str]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The placement constraints of each service that has some."""
    every = {name: swarm_stacks.constraints(s, values) for name, s in content["services"].items()}
    return tuple((name, values) for name, values in every.items() if values)


def _are_portainer(images: tuple[str, ...]) -> bool:
    """Whether images are those of Portainer's server, and of nothing else."""
    return images != () and all(map(compose.is_portainer, images))


def _port_number(text: str | None) -> int | None:
    """A port written in a label; None if it is none."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 5:
        return None
    return int(text) if 0 < int(text) <= 65_535 else None


def _given_variables(
    content: Mapping[str, Any], raw: RawEnvironment, project: str
) -> tuple[Variable, ...]:
    """The variables that Phoenix itself gives a stack: those that its compose file uses.

    One that the manifest declares as well keeps what it says there: `reach` tells what is wrong
    with that.
    """
    if any(variable.name == TLS_VARIABLE for variable in raw.variables):
        return ()
    if TLS_VARIABLE not in compose.named(content):
        return ()
    return (Variable(name=TLS_VARIABLE, value=stack_directory(project), secret=None),)


def _rules_of_nobody(stack: Deployment, content: Mapping[str, Any], report: Report) -> None:
    """Tell of rules for ports that a stack does not publish; with the host's network it may."""
    if any(service.get("network_mode") == "host" for service in content["services"].values()):
        return
    published = {(port.host_port, port.proto) for port in stack.ports}
    for position, rule in enumerate(stack.firewall_rules):
        ports = rule.ports if rule.direction == "in" and rule.proto in ("tcp", "udp") else None
        if ports is not None and not _reaches(ports, str(rule.proto), published):
            report.warn(
                stack.source.file,
                f"{stack.source.path}.firewall_rules[{position}].port",
                f"the compose file publishes no port of {ports}/{rule.proto}",
                "write the port of the host that it publishes",
            )


def _reaches(ports: str, proto: str, published: Iterable[tuple[int, str]]) -> bool:
    spans = [(part.partition(":")[0], part.partition(":")[2]) for part in ports.split(",")]
    return any(
        int(first) <= port <= int(last or first)
        for first, last in spans
        for port, kind in published
        if kind == proto
    )


def _check_renewal(
    content: Mapping[str, Any], values: Mapping[str, str], label: str, report: Report
) -> None:
    """Refuse a label that does not say how a container takes a renewed certificate."""
    for name, service in content["services"].items():
        for entry in traefik_labels.of_compose(service):
            key, _, text = entry.partition("=")
            answer = compose.filled(text, values)
            if key.strip() == RENEWAL_LABEL and answer not in (None, *RENEWAL_ANSWERS):
                report.error(
                    label,
                    f"services.{name}.labels",
                    f"{RENEWAL_LABEL} is {str(answer)[:80]!r}: no way to take a certificate",
                    f"write one of {', '.join(RENEWAL_ANSWERS)}, or remove the label where the "
                    "program reads the files again by itself",
                )


def _routed_ports(raw: RawEnvironment) -> dict[str, tuple[int, ...]]:
    """The ports that the declared routes lead to, by compose service."""
    ports = {}
    for name, declared in raw.services.items():
        first = declared.traefik_service
        container_ports = [
            service.port for service in (first, *declared.traefik_services) if service is not None
        ]
        if not container_ports:
            container_ports = [_port_number(traefik_labels.read(declared.traefik_labels).port)]
        ports[name] = tuple(dict.fromkeys(port for port in container_ports if port is not None))
    return ports


def _is_routed(raw: RawStackService) -> bool:
    return bool(raw.traefik_service or raw.traefik_services or raw.traefik_labels)


def _not_reached(deployment: Deployment, service: str, port: int | None) -> tuple[str, str]:
    """What a service publishes instead of a port that a route leads to, and the fix."""
    for published_port in deployment.ports:
        if (published_port.service, published_port.host_port) == (service, port):
            if published_port.proto != "tcp":
                return (
                    f"publishes port {port} by {published_port.proto} alone",
                    f'write "{port}:..." for TCP',
                )
            message = (
                f"publishes port {port} on {published_port.address} alone, where "
                "Traefik does not ask it"
            )
            return message, f'write "{port}:..." without an address'
    return (
        f"publishes no port {port}",
        f'add "{port}:..." to its ports, or correct the port',
    )


def _check_targets(
    content: Mapping[str, Any],
    values: Mapping[str, str],
    raw: RawEnvironment,
    label: str,
    path: str,
    report: Report,
) -> None:
    """Refuse a file at a place where a service mounts something else."""
    numbers: dict[str, int] = {}  # of the last file at each place; `_check_files` tells of two
    for number, file in enumerate(raw.files):
        numbers[file.destination_in_container] = number
    for name, service in content["services"].items() if numbers else ():
        for place, target in compose_values.targets(service, values):
            for at in (target, *map(str, PurePosixPath(target).parents)):
                if at not in numbers:
                    continue
                path_of_file = f"{path}.files[{numbers[at]}].destination_in_container"
                message = (
                    f"services.{name}.{place} mounts something else at {target}: one of the two is "
                    "lost"
                )
                fix = "write another path, or keep one of the two"
                if at != target:
                    message = (
                        f"services.{name}.{place} mounts something at {target}, below this, which "
                        "is a file: Docker cannot mount both"
                    )
                    fix = "write another path for one of the two"
                report.error(label, path_of_file, message, fix)


def _publishes(
    deployment: Deployment, service: str, port: int, address: IPv4Address | None
) -> bool:
    return any(
        p.service == service and p.host_port == port and p.answers_at(address)
        for p in deployment.ports
    )


def _no_compose(place: Place) -> tuple[str, str, str, str]:
    """The finding of a stack without a compose file."""
    return (
        place.file,
        f"{place.path}.compose_file_path",
        f"there is no compose file: {listed(place.searched)}",
        "put it at one of these paths, or correct compose_file_path",
    )


def _check_proxy(
    stack: RawListedStack,
    routes: tuple[StackRoute, ...],
    place: Place,
    domain: str,
    report: Report,
) -> None:
    """Tell of a name at the gateway that no service of the stack has."""
    proxy = stack.nginx_proxy
    if proxy is None:
        return
    names = {
        f"{name}.{domain}" for route in routes for name in (route.raw.name, *route.raw.aliases)
    }
    if proxy.hostname not in names:
        report.warn(
            place.file,
            join(place.path, "nginx_proxy.hostname"),
            f"no service of the stack is called {proxy.hostname}, so the gateway does not lead "
            "there",
            f"write that name in traefik_service of the service in {place.file}, or remove it",
        )


def _check_files(raw: RawEnvironment, place: Place, path: str, report: Report) -> None:
    destinations: set[str] = set()
    folders: dict[str, str] = {}  # a folder, and a file in it
    label = place.file
    for number, file in enumerate(raw.files):
        where = f"{path}.files[{number}]"
        if (file.source is None) == (file.secret is None):
            report.error(
                label,
                where,
                "a file comes from a source or from a secret",
                "give one of source (a file in the stack's folder) and secret (a secret's name)",
            )
        elif file.source is not None and place.source(file.source) is None:
            own = place.compose_label.rpartition("/")[0]
            folder = "the stack's folder" if not place.path else listed(place.roots)
            report.error(
                label,
                f"{where}.source",
                f"there is no file {file.source[:80]!r} in {folder}",
                f"add it to {own}, or correct the name",
            )
        at = file.destination_in_container
        if at in destinations:
            report.error(
                label,
                f"{where}.destination_in_container",
                f"another file is at {at} already: Docker mounts one",
                "write another path, or keep one of the two",
            )
        above = [str(folder) for folder in PurePosixPath(at).parents]
        if clash := next((p for p in above if p in destinations), folders.get(at)):
            upper, lower = sorted((at, clash), key=len)
            report.error(
                label,
                f"{where}.destination_in_container",
                f"{lower} lies below {upper}, which is a file itself: Docker cannot mount both",
                "write another path for one of the two",
            )
        folders.update(dict.fromkeys(above, at))
        destinations.add(at)


def _source(place: Place, name: str | None) -> str | None:
    """A file's source as a deployment has it: relative to its directory where that is possible."""
    file = place.source(name) if name else None
    if file is None:
        return name
    root = place.roots[0].resolve()
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def _check_variables(raw: RawEnvironment, label: str, path: str, report: Report) -> None:
    names: set[str] = set()
    for position, variable in enumerate(raw.variables):
        place = f"{path}.variables[{position}]"
        if variable.name in names:
            report.error(label, place, f"variable {variable.name} appears twice", "keep one")
        if variable.name in compose.OF_THE_DEPLOYER:
            report.error(
                label,
                place,
                f"variable {variable.name} is of the server that deploys the stack, whose value "
                "compose takes instead",
                "give the variable another name",
            )
        elif compose.OF_COMPOSE.fullmatch(variable.name):
            report.error(
                label,
                place,
                f"variable {variable.name} steers Compose itself, and not what it deploys",
                "give the variable another name; the compose file decides which services run: "
                "remove `profiles` from those that should run",
            )
        names.add(variable.name)
        if (variable.value is None) == (variable.secret is None):
            report.error(
                label,
                place,
                f"variable {variable.name} needs either a value or a secret",
                'write {"name", "value"} or {"name", "secret"}',
            )
        elif variable.value is not None and (fault := value_fault(variable.value)):
            report.error(label, f"{place}.value", f"variable {variable.name} {fault[0]}", fault[1])
        elif variable.value is not None and _SECRET_NAME.search(variable.name):
            report.warn(
                label,
                place,
                f"variable {variable.name} looks like a secret in clear text",
                'write "secret" with the secret\'s name instead of "value"',
            )


def firewall_rule(
    raw: RawRule, file: str, path: str, report: Report, network: IPv4Network | None
) -> FirewallRule:
    """Turn a declared rule into its typed form; a port needs a protocol that has ports.

    Args:
        raw: the rule.
        file: where it stands, and `path` in it.
        path: see `file`.
        report: takes what is wrong with it.
        network: the site's, for which a rule may say "site"; None where there is no site yet.
    """
    if raw.port and raw.proto not in ("tcp", "udp"):
        report.error(
            file, path, "has a port but no protocol with ports", 'add "proto": "tcp" or "udp"'
        )
    key = "dest" if raw.type == "in" else "source"
    if getattr(raw, key) is not None:
        other = "source" if key == "dest" else "dest"
        report.error(
            file,
            f"{path}.{key}",
            f"is the guest itself in a rule of type {raw.type!r}: the rule would hold for any "
            f"other end of a connection",
            f"write {other!r} for the other end, and remove {key!r}",
        )
    return FirewallRule(
        direction=raw.type,
        action=raw.action,
        proto=raw.proto,
        ports=raw.port,
        source=network if raw.source == SITE else raw.source,
        destination=network if raw.dest == SITE else raw.dest,
        comment=raw.comment,
    )
