"""Stacks of type Swarm: what ``docker stack deploy`` refuses, or leaves undone without a word.

Keys: docker/cli, cli/compose/schema (3.13) and cli/compose/types, `UnsupportedProperties`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from phoenix.compose import mounts
from phoenix.declaration.compose import filled
from phoenix.declaration.traefik_labels import of_compose
from phoenix.derived.certificates import RENEWAL_LABEL
from phoenix.derived.deployments import deployment_method
from phoenix.derived.swarm import LABEL
from phoenix.site.findings import Report
from phoenix.site.model import Deployment, Host, Service, Site

_Problem = tuple[str, str, str]
"""Path, message and fix."""

_CARRIED_OUT = frozenset(
    (
        "cap_add", "cap_drop", "command", "configs", "credential_spec", "deploy", "dns",
        "dns_search", "entrypoint", "environment", "extra_hosts", "healthcheck", "hostname",
        "image", "init", "isolation", "labels", "logging", "networks", "ports", "read_only",
        "secrets", "stdin_open", "stop_grace_period", "stop_signal", "sysctls", "tmpfs", "tty",
        "ulimits", "user", "volumes", "working_dir",
    )
)  # fmt: skip
_TOLD = {
    "depends_on": ("Swarm starts services in any order", "have the program wait, and remove it"),
    "expose": ("Swarm does without it", "remove it"),
    "restart": (
        "Swarm does without it, and starts each task again",
        "remove it, or write deploy.restart_policy",
    ),
}
_REFUSED = {
    "container_name": ("Swarm names containers by itself", ("remove it; services find each other "
                       "by the service's name, or by networks.NAME.aliases")),
    "env_file": ("no file beside the compose file reaches Swarm", "write environment"),
    "extends": ("docker stack deploy refuses it", "write the whole service"),
    "profiles": ("Swarm has no profiles", "remove the service, or the key"),
    "scale": ("docker stack deploy refuses it", "write deploy.replicas"),
    "volumes_from": ("docker stack deploy refuses it", "write volumes"),
}  # fmt: skip
_UNKNOWN = mounts.Mount("volume", "", "")
_NODE = f"node.labels.{LABEL}"
_CONSTRAINT = re.compile(r"\s*((?i:node)\.[\w.-]+)\s*(==|!=)\s*(.+?)\s*\Z")
_TAKEN = re.compile(
    r"\s*[a-z_][a-z0-9_.-]+\s*(?:==|!=)[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+\Z",
    re.ASCII | re.IGNORECASE,
)
"""A constraint that Swarm takes (moby/swarmkit, manager/constraint/constraint.go)."""


def of_file(
    compose: Mapping[str, Any], values: Mapping[str, str], label: str, report: Report
) -> None:
    """Refuse what a Swarm stack cannot have, and tell what Swarm leaves out.

    What is built is refused of every stack (`compose.check_files`).

    Args:
        compose: the file's content, of the shape that `phoenix.compose.document.read` promises.
        values: the declared variables.
        label: what findings call the file.
        report: takes the findings.
    """
    for name, service in compose["services"].items():
        place = f"services.{name}"
        for key in service:
            if key in _CARRIED_OUT or key == "build" or str(key).startswith("x-"):
                continue
            is_told = key in _TOLD and not isinstance(service[key], Mapping)
            words = _TOLD[key] if is_told else _refusal(key)
            take = report.unread if is_told else report.error
            take(label, f"{place}.{key}", *words)
        for path, message, fix in (
            *_renewal(service), *_ports(service, values), *_volumes(compose, service, values),
            *_deploy(service), *_placed(service, values),
        ):  # fmt: skip
            report.error(label, f"{place}.{path}", message, fix)
    for name, network in (compose.get("networks") or {}).items():
        driver = network.get("driver") if isinstance(network, Mapping) else None
        if driver not in (None, "overlay"):
            report.error(
                label, f"networks.{name}.driver", f"a network of {driver} is on one host alone",
                "write driver: overlay, or remove it",
            )  # fmt: skip


def _refusal(key: str) -> tuple[str, str]:
    if key == "depends_on":
        return (
            "Swarm starts services in any order, and docker stack deploy refuses conditions",
            "remove it, and have the program wait for its dependencies",
        )
    return _REFUSED.get(
        key, ("Swarm cannot carry it out", "remove it, or deploy the stack as type compose")
    )


def _renewal(service: Mapping[str, Any]) -> Iterator[_Problem]:
    if any(label.partition("=")[0].strip() == RENEWAL_LABEL for label in of_compose(service)):
        yield (
            "labels",
            f"{RENEWAL_LABEL} reaches containers of compose alone: no task takes the certificate",
            "remove it, and have the program read its certificate again by itself",
        )


def _ports(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """The routing mesh opens a port on every node, and hides who asks: routes need the node's."""
    for position, entry in enumerate(service.get("ports") or ()):
        path = f"ports[{position}]"
        if not isinstance(entry, Mapping):
            text = filled(str(entry), values) or str(entry)
            host, _, target = text.rpartition(":")
            number = target.partition("/")[0]
            yield (
                path, ("this form publishes through Swarm's routing mesh (mode ingress), and the "
                "route needs the node that runs the task"),
                f"write {{target: {number}, published: {host or number}, mode: host}}",
            )  # fmt: skip
        elif filled(str(entry.get("mode") or "ingress"), values) != "host":
            yield (
                f"{path}.mode", ("it publishes through the routing mesh, and the route needs "
                "the node that runs the task"), "write mode: host",
            )  # fmt: skip
        elif "host_ip" in entry:
            yield f"{path}.host_ip", "docker stack deploy refuses it", "remove it"


def _volumes(
    compose: Mapping[str, Any], service: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[_Problem]:
    """Data on a node's own disk, which a task that moves to another node leaves behind."""
    if (
        is_pinned(constraints(service, values))
        or (service.get("deploy") or {}).get("mode") == "global"
    ):
        return
    for position, mount in enumerate(service.get("volumes") or ()):
        read_mount = mounts.read(mount, values) or _UNKNOWN
        kind, source = read_mount.kind or "volume", read_mount.source
        declared = (compose.get("volumes") or {}).get(source) or {}
        options = declared.get("driver_opts") if isinstance(declared, Mapping) else None
        driver = declared.get("driver") if isinstance(declared, Mapping) else None
        if kind not in ("bind", "volume") or (kind == "volume" and (options or driver)):
            continue
        yield (
            f"volumes[{position}]",
            (
                f"{source or 'the volume'} is on one node's disk: a task that moves to another "
                f"node starts there without its data"
            ),
            (
                f'write deploy.placement.constraints: ["{_NODE} == HOST"], or a volume by NFS '
                "(driver_opts)"
            ),
        )


def _deploy(service: Mapping[str, Any]) -> Iterator[_Problem]:
    deploy = service.get("deploy") or {}
    if str(deploy.get("mode", "replicated")) not in ("replicated", "global"):
        message = "a job of Swarm is not followed to its end"
        yield "deploy.mode", message, "write replicated or global"


def _placed(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Constraints that the swarm refuses."""
    for constraint in constraints(service, values):
        if not _TAKEN.match(constraint):
            yield (
                "deploy.placement.constraints",
                f"{constraint[:80]!r} is not a constraint: Swarm refuses it",
                'write KEY == VALUE or KEY != VALUE, as "node.role == manager"',
            )


def constraints(service: Mapping[str, Any], values: Mapping[str, str]) -> tuple[str, ...]:
    """A service's placement constraints, variables filled in."""
    placement = (service.get("deploy") or {}).get("placement")
    listed = placement.get("constraints") if isinstance(placement, Mapping) else None
    texts = (filled(str(entry), values) for entry in listed or ())
    return tuple(text for text in texts if text)


def is_pinned(placement: Sequence[str]) -> bool:
    """Whether constraints name one node."""
    matches = (_CONSTRAINT.match(constraint) for constraint in placement)
    return any(
        match and match[1] in (_NODE, "node.hostname", "node.id") and match[2] == "=="
        for match in matches
    )


def candidates(nodes: Sequence[Host], placement: Sequence[str]) -> tuple[Host, ...]:
    """The nodes that may run a task; a constraint that is not known here rules out none."""
    return tuple(
        node
        for node in nodes
        if node.swarm is not None
        and node.swarm.availability != "drain"
        and all(_meets(node, constraint) for constraint in placement)
    )


def _meets(node: Host, constraint: str) -> bool:
    match = _CONSTRAINT.match(constraint)
    if match is None or node.swarm is None:
        return True
    key, operator, value = match.groups()
    if not key.lower().startswith("node.labels."):
        key = key.lower()  # of a label alone its letters count, and of no value
    labels = {**dict(node.swarm.labels), LABEL: node.name}
    known = {"node.hostname": node.name, "node.role": node.swarm.role}
    known |= {f"node.labels.{name}": text for name, text in labels.items()}
    if key not in known and not key.startswith("node.labels."):
        return True
    return (known.get(key, "").lower() == value.lower()) == (operator == "==")


def spread(services: Sequence[Service], nodes: Sequence[Host]) -> tuple[Service, ...]:
    """The services, those of Swarm stacks with the nodes that may run them.

    One that only its owner may run is as one of a compose stack.
    """
    return tuple(
        service.model_copy(update={"nodes": placed})
        if (placed := _nodes(service, nodes)) and placed != (service.owner,)
        else service
        for service in services
    )


def _nodes(service: Service, nodes: Sequence[Host]) -> tuple[Host, ...]:
    stack = service.deployment
    if stack is None or stack.type != "swarm":
        return ()
    return candidates(nodes, dict(stack.placement).get(service.compose_service, ()))


def check(site: Site, report: Report) -> None:
    """Refuse Swarm stacks where they cannot be, and routes that cannot lead to them."""
    first: dict[str, Host] = {}
    declared = {network.name: network for network in site.swarm_networks}
    for host in site.guests:
        for position, stack in enumerate(host.docker_stacks):
            place = host.source.file, f"{host.source.path}.docker_stacks[{position}]"
            if stack.type == "swarm":
                other = first.setdefault(stack.project, host)
                for message, fix in _place_faults(site, host, stack, other):
                    report.error(*place, message, fix)
                _check_nodes(site, host, stack, report)
            for network in stack.networks:
                _check_network(host, stack, network, declared, report)
    for service in site.services:
        if service.nodes:
            for message, fix in _route_faults(service):
                report.error(service.source.file, service.source.path, message, fix)


def _place_faults(
    site: Site, host: Host, stack: Deployment, other: Host
) -> Iterator[tuple[str, str]]:
    if not host.is_manager:
        yield (
            f"{stack.project} is a Swarm stack, and {host.name} is not a manager of the swarm",
            'name it at a guest with "swarm_role": "manager", or remove "type" from its manifest',
        )
    if deployment_method(site, host) == "compose":
        yield (
            (
                f"{stack.project} is a Swarm stack, and Portainer has no environment for "
                f"{host.name} to deploy it by"
            ),
            'write "portainer_role": "agent" for the guest',
        )
    if other is not host:
        yield (
            f"{stack.project} is deployed through {other.name} already, in the same swarm",
            "name it in docker_stacks of one manager",
        )


def _check_network(
    host: Host, stack: Deployment, name: str, declared: Mapping[str, Any], report: Report
) -> None:
    """An external network of a stack on a node is an overlay network that is declared."""
    place = stack.compose_label, f"networks.{name}"
    if name not in declared and stack.type == "swarm":
        report.warn(
            *place, f"{name} is external, and site.swarm_networks declares no such network: "
            "the stack is refused unless somebody made it by hand",
            "declare it in site.swarm_networks",
        )  # fmt: skip
        return
    alone = name in declared and not declared[name].attachable
    if alone and stack.type == "compose" and host.swarm is not None:
        report.error(
            *place, f"the network {name} takes services of the swarm alone",
            'write "attachable": true for it in site.swarm_networks',
        )  # fmt: skip


def _check_nodes(site: Site, host: Host, stack: Deployment, report: Report) -> None:
    """Refuse a service that no node can run, and ports that a node has in use."""
    placement = dict(stack.placement)
    working = [node for node in site.swarm_nodes
               if node.swarm is not None and node.swarm.availability != "drain"]  # fmt: skip
    if site.swarm_nodes and not working:
        report.warn(
            stack.source.file, stack.source.path,
            f"{stack.project} runs nowhere: each node of the swarm is drained",
            'write "node_availability": "active" for a node, or leave it out',
        )  # fmt: skip
    for name, placement_constraints in stack.placement if working else ():
        if not candidates(site.swarm_nodes, placement_constraints):
            report.error(
                stack.compose_label, f"services.{name}.deploy.placement.constraints",
                f"no node of the swarm meets {' and '.join(placement_constraints)}",
                f"correct them: nodes have node_labels, and {_NODE} is a guest's name",
            )  # fmt: skip
    users: dict[str, Mapping[tuple[int, str], Collection[str]]] = {}
    for port in stack.ports:
        for node in candidates(site.swarm_nodes, placement.get(port.service, ())):
            if node == host:
                continue  # conflicts.host_ports sees to it
            if node.name not in users:
                users[node.name] = _users(site, node, stack)
            for user in users[node.name].get((port.host_port, port.proto), ()):
                report.error(
                    stack.compose_label, f"services.{port.service}.ports",
                    f"port {port.host_port}/{port.proto} of the node {node.name}, which may run "
                    f"the service, is taken by {user}",
                    "publish another host port, or keep the service off that node by constraints",
                )  # fmt: skip


def _users(site: Site, node: Host, stack: Deployment) -> Mapping[tuple[int, str], Collection[str]]:
    """The owner of each port of a node other than a stack: its stacks and services, and Swarm's."""
    users: dict[tuple[int, str], dict[str, None]] = {}
    for other in node.docker_stacks:
        for port in other.ports:
            users.setdefault((port.host_port, port.proto), {})[other.project] = None
    for service in site.services_of(node):
        if service.of_guest:
            users.setdefault((service.port, "tcp"), {})[f"the service {service.name}"] = None
    for host in site.guests:
        for other in host.docker_stacks:
            if other.type != "swarm" or other.project == stack.project or host == node:
                continue
            placement = dict(other.placement)
            for port in other.ports:
                if node in candidates(site.swarm_nodes, placement.get(port.service, ())):
                    users.setdefault((port.host_port, port.proto), {})[other.project] = None
    return users


def _route_faults(service: Service) -> Iterator[tuple[str, str]]:
    """What a route to several nodes cannot be."""
    fix = f'keep the service on {service.owner.name}: deploy.placement.constraints: ["{_NODE} == '
    fix += f'{service.owner.name}"]'
    if service.exposure == "direct" or service.kind == "tcp":
        yield "several nodes may run it, but clients are led to only one", fix
    if service.has_tls:
        yield "several nodes may run it, but the certificate is on only one host", fix
    if not service.checked:
        yield (
            "several nodes may run it, and nothing tells Traefik which of them does",
            f"write health_path and remove what turns its check off, or {fix}",
        )
