"""Taking away what is not declared any more. Give operations a ``name=``.

Each looks first and removes what is left, so that the next run finishes an interrupted removal. The
configuration tree of a component goes last: the rest is recognised by it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from types import MappingProxyType

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.exceptions import OperationError

from facts.command import script
from facts.containers import ComposeProjects
from facts.leftovers import PlacedByPhoenix, Register
from facts.moves import DIRECTORY as MOVES
from operations.explain import log_lines, log_reasons, unknown_before_run
from operations.failure import local_command, refuse
from operations.host_state import question, read
from operations.operation import operation
from operations.portainer import PortainerAccess, connected, use_key
from phoenix import files
from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES, STATE
from phoenix.components.config_tree.tree import BASE
from phoenix.components.docker.projects import ComposeProject
from phoenix.components.portainer.compose_files import (
    AGENT_UNIT,
    API_KEY_FILE,
    SERVER_UNIT,
)
from phoenix.components.stack import FILES
from phoenix.components.watch.files import JUDGE, LOOKS, RECEIVER, RUN, VAR
from phoenix.compose.project_folders import HOST_PROJECTS
from phoenix.derived import register
from phoenix.derived.components import AGENT, CERTIFICATE, SERVER, STACK, WATCHER
from phoenix.portainer_api import removal
from phoenix.secrets.store import SecretStore
from phoenix.shell import Script
from phoenix.site import unit_names
from phoenix.site.names import AGENT_PROJECT, SERVER_PROJECT

Commands = Generator[StringCommand | FunctionCommand, None, None]

_NOTHING: Mapping[str, str] = MappingProxyType({})
_APPLY = "components/config_tree/apply.sh"
_STAYS_UP = frozenset({"docker", "nfs-exports"})
"""Trees whose service goes on without them: it has a person's containers, or shares, too."""
_TREE = Script(
    "config-tree",
    'c=$(readlink "$1/current") || exit 0; mkdir -p "$1/$c" && cat >"$1/$c/apply" && '
    'exec sh "$1/$c/apply" remove $2',
)
# Containers end as `docker stop` ends them, with the time that they ask for.
_PROJECT = Script(
    "project",
    """label=com.docker.compose.project=$1
ids=$(docker ps --all --quiet --filter "label=$label") || exit 1
if [ -n "$ids" ]; then
 docker stop $ids >/dev/null; docker rm --force ${2:+--volumes} $ids >/dev/null || exit 1
fi
ids=$(docker network ls --quiet --filter "label=$label") || exit 1
[ -z "$ids" ] || docker network rm $ids >/dev/null || exit 1
rm -rf -- "$3$1"
rm -f -- "$4/$1.left"
[ -n "$2" ] || exit 0
ids=$(docker volume ls --quiet --filter "label=$label") || exit 1
ids=$(printf '%s\\n' "$ids" | grep -vxF -e "$5")
[ -z "$ids" ] || docker volume rm $ids >/dev/null
""",
)
_UNIT = Script(
    "unit",
    """systemctl stop "$1" 2>/dev/null; systemctl disable -q "$1" 2>/dev/null
! systemctl is-active -q "$1" || { echo "$1 does not stop" >&2; exit 1; }
""",
)
_GUARD = Script(
    "guard",
    """command -v iptables >/dev/null || exit 0
iptables -S DOCKER-USER 2>/dev/null | grep -- "--comment phoenix-agent " |
 while read -r _ rule; do iptables -D $rule || exit 1; done
""",
)
_CERTIFICATE = Script(
    "certificate",
    """for unit in timer service; do systemctl stop "$1$2.$unit" 2>/dev/null; done
state=$5  # its certificates are good for a while, and were asked for by nobody else
if [ -s "$state/$2/keys" ]; then
 umask 077
 cat -- "$state/removed-keys" "$state/$2/keys" 2>/dev/null | tail -n 500 >"$state/removed-keys.new"
 mv -f -- "$state/removed-keys.new" "$state/removed-keys" || exit 1
fi
rm -rf -- "$3/$2" "$3/$2.d" "$state/$2"
case $2 in stack-*) ;; *) exit 0 ;; esac
for place in "$4"/*/tls; do
 project=${place%/tls}; project=${project##*/}
 [ "stack-$(echo "$project" | tr _ -)" = "$2" ] || continue
 rm -rf -- "$place"; rmdir -- "$4/$project" 2>/dev/null
done
:
""",
)


@operation()
def wait_for_all_hosts() -> Commands:
    """Wait for every host of the run: a step in which all of them take part, and change nothing."""
    host.noop("what comes before is done everywhere")
    return
    yield  # an operation is a generator


@operation(reads=lambda **_: [question(ComposeProjects), question(PlacedByPhoenix)])
def compose_project(
    project: str, *, volumes: bool, keeps: Mapping[str, str] = _NOTHING
) -> Commands:
    """Stop and remove a project's containers and networks; with `volumes` its data as well.

    One that a person started by hand is refused.

    Args:
        project: its name.
        volumes: remove the volumes that Compose made for it, and anonymous ones of its containers.
        keeps: volumes that stay all the same, each with the declared stack that has it.
    """
    deployed = next(
        (candidate for candidate in read(question(ComposeProjects)) if candidate.name == project),
        None,
    )
    directory = project in read(question(PlacedByPhoenix)).stacks
    if not directory and (deployed is None or not (deployed.containers or volumes)):
        host.noop(f"nothing of {project} is left" if deployed is None else f"{project} is removed")
        return
    deployed = deployed or ComposeProject(project, None, "", (), (), ())
    if deployed.deployer == "hand":
        yield from refuse(
            f"{project} was started by hand from {deployed.working_dir or 'an unknown directory'}: "
            "Phoenix does not remove it"
        )
        return
    log_reasons(*(f"container {container.name} goes" for container in deployed.containers))
    own = [volume.name for volume in deployed.volumes if volume.own and volume.name not in keeps]
    other = [
        volume.name for volume in deployed.volumes if not volume.own and volume.name not in keeps
    ]
    log_reasons(
        *(
            f"volume {name} stays: {stack}, which is declared, has it"
            for name, stack in keeps.items()
        )
    )
    if volumes:
        log_reasons(*(f"volume {name} goes, with its data" for name in own))
        log_reasons(*(f"volume {name} stays: it is not of {project} alone" for name in other))
        log_reasons(*(f"{anonymous} goes, with its data" for anonymous in deployed.anonymous))
    else:
        log_reasons(*(f"volume {name} stays" for name in (*own, *other)))
        log_reasons(*(anonymous.stays for anonymous in deployed.anonymous))
    yield _down(project, volumes=volumes, keeps=keeps)


def _down(project: str, *, volumes: bool, keeps: Mapping[str, str] = _NOTHING) -> StringCommand:
    """A project's containers, networks and files, and that a move had stopped it here."""
    told_to_keep = "\n".join(keeps)
    return script(
        _PROJECT, project, "volumes" if volumes else "", HOST_PROJECTS, MOVES, told_to_keep
    )


@operation(reads=lambda **_: [question(PlacedByPhoenix), question(ComposeProjects)])
def component(tree: str, *, volumes: bool, after: str = "") -> Commands:
    """Remove a component from a host: its service, containers, secrets, and files; last its tree.

    Programs that were installed stay. What stood at the places of its files before is put back.

    Args:
        tree: the name of its configuration tree.
        volumes: of Portainer's server its data as well, and of the watcher what it remembers.
        after: shell command that has others read what is left, where a tree went.
    """
    placed = read(question(PlacedByPhoenix))
    projects = {project.name: project for project in read(question(ComposeProjects))}
    certificate = tree.removeprefix(CERTIFICATE) if tree.startswith(CERTIFICATE) else ""
    project, unit = {SERVER: (SERVER_PROJECT, SERVER_UNIT), AGENT: (AGENT_PROJECT, AGENT_UNIT)}.get(
        tree, ("", "")
    )
    left = projects.get(project)
    runs = left is not None and bool(left.containers or (volumes and left.volumes))
    if tree not in placed.trees and certificate not in placed.certificates and not runs:
        host.noop(f"{tree} is not on this host")
        return
    log_reasons(f"{tree} goes")
    yield from _watcher(volumes=volumes) if tree == WATCHER else ()
    if project:
        yield script(_UNIT, unit)
        yield _down(project, volumes=volumes)
    if tree == AGENT:
        yield script(_GUARD)
    if tree == SERVER:
        yield script(Script("keys", 'rm -f -- "$1" "$1.login"'), API_KEY_FILE)
        if left and not volumes:
            log_reasons(*(f"volume {volume.name} stays" for volume in left.volumes))
            log_reasons(*(anonymous.stays for anonymous in left.anonymous))
    if certificate:
        yield script(_CERTIFICATE, unit_names.RENEWALS, certificate, CERTIFICATES, FILES, STATE)
    if tree in placed.trees:
        stays = "running" if tree in _STAYS_UP else ""
        yield script(_TREE, f"{BASE}/{tree}", stays, stdin=files.text(_APPLY))
        if after:
            yield script(Script("after", after))
    if tree.startswith(STACK):
        yield script(Script("files", 'rmdir -- "$1"/* "$1" 2>/dev/null; :'), FILES)


def _watcher(*, volumes: bool) -> Commands:
    """What the watcher has made itself: what it remembers stays with the data of others."""
    for unit in (JUDGE, LOOKS, RECEIVER):
        yield script(_UNIT, unit)
    if not volumes:
        log_reasons(f"{VAR} stays: what the watcher remembers, and 90 days of each service")
    preserved = (VAR,) if volumes else ()
    yield script(Script("made", 'rm -rf -- "$@"'), *RUN, *preserved)


@operation()
def portainer_stack(access: PortainerAccess, project: str, environment: str | None) -> Commands:
    """Take a stack out of Portainer; volumes stay.

    Args:
        access: how to reach the API.
        project: the stack's name.
        environment: the name of its environment; None where that is gone.
    """
    try:
        with connected(access) as client:
            use_key(client, access)
            left = removal.stacks_left(client, project, environment)
    except OperationError as error:
        unknown_before_run(f"what Portainer has: it can't be asked ({error})")
        left = None
    if left == []:
        host.noop(f"Portainer has no stack {project} there")
        return

    def remove() -> None:
        with connected(access) as client:
            use_key(client, access)
            removal.remove_stacks(client, project, environment, _log)

    yield local_command(remove)


@operation()
def environments(
    access: PortainerAccess, names: Sequence[str], projects: Sequence[str], *, down: bool
) -> Commands:
    """Take environments out of Portainer, with those of their stacks that are ours.

    Args:
        access: how to reach the API.
        names: the environments' names.
        projects: names of the stacks that are ours.
        down: take these stacks down, too, where their host still answers.
    """
    try:
        with connected(access) as client:
            use_key(client, access)
            present = [name for name in names if client.endpoint_named(name) is not None]
    except OperationError as error:
        unknown_before_run(f"what Portainer has: it can't be asked ({error})")
        present = list(names)
    if not present:
        host.noop("Portainer has none of these endpoints")
        return
    log_reasons(*(f"endpoint {name} goes" for name in present))

    def remove() -> None:
        with connected(access) as client:
            use_key(client, access)
            for name in present:
                removal.remove_environment(client, name, projects, _log, down=down)

    yield local_command(remove)


def _log(line: str) -> None:
    log_lines([line])


@operation()
def secret(secret: str, store: SecretStore) -> Commands:
    """Forget a secret on the control machine, and in the SOPS file.

    Args:
        secret: the secret's name.
        store: where it is kept.
    """
    if secret not in store.kept_names():
        host.noop(f"secret {secret} is not kept")
        return
    log_reasons(f"secret {secret} is forgotten")

    def forget() -> None:
        store.forget(secret)

    yield local_command(forget)


@operation(reads=lambda **_: [question(Register)])
def registered(lines: Sequence[str]) -> Commands:
    """Take lines out of the site's register, once all of what they stand for is removed.

    Args:
        lines: of the register.
    """
    yield from dropped(lines)


def dropped(lines: Sequence[str]) -> Commands:
    """The work of `registered`."""
    present = {entry.line for entry in read(question(Register))}
    gone = [line for line in lines if line in present]
    if not gone:
        host.noop("the register does not have it")
        return
    if host.state.is_executing and host.state.failed_hosts:
        names = ", ".join(sorted(str(failed) for failed in host.state.failed_hosts))
        yield from refuse(f"it stays in the register, since it was not removed on {names}")
        return
    yield script(register.DROP, register.FILE, stdin="".join(f"{line}\n" for line in gone))
