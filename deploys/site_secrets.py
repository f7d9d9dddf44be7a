"""The one place where deploys ask for generated secrets."""

from __future__ import annotations

from functools import cache

from gevent.lock import BoundedSemaphore
from pydantic import SecretStr
from pyinfra import inventory, logger
from pyinfra.api import State
from pyinfra.api.exceptions import ConnectError
from pyinfra.context import ctx_state

from deploys.access import portainer as access
from deploys.context import secrets, settings, site
from facts.deployed_secrets import DeployedSecrets
from facts.host_fact import FactError
from facts.secret_record import SecretRecord
from operations import secrets as operations
from operations.compose_host import HostStacks
from operations.host_state import question, read_of
from operations.portainer import PortainerStacks, SwarmStacks
from operations.stacks import Stacks, variables
from phoenix.components import deployed_secrets
from phoenix.components.deployed_secrets import Holdings, Trace
from phoenix.derived import deployments
from phoenix.secrets import catalog, record
from phoenix.secrets.errors import SecretError
from phoenix.secrets.record import Record
from phoenix.site.model import Host


def secret(name: str) -> SecretStr:
    """The secret `name`; made where neither this machine nor the site has it.

    A new value is kept by a step of the run, before the first that takes it to a host; so a plan
    keeps nothing.

    Args:
        name: as the catalog has it.

    Returns:
        Its value: given, kept, or to be kept.

    Raises:
        SecretError: the site holds secrets that this machine lacks or has older values of, or a
            guest that would tell cannot be asked. Each is named, with the way to get it.
    """
    value = secrets().find(name)
    if value is not None:
        with _asking:  # hosts are prepared side by side: the first of them asks for all
            known = _record(ctx_state.get())  # type: ignore[no-untyped-call]
        if known is not None:
            _refuse_older(known)
        operations.remember(name, value, known)
        return value
    held = _held(ctx_state.get())  # type: ignore[no-untyped-call]
    if held:
        raise deployed_secrets.refusal(held)
    operations.stored(name=f"Secrets: {name}", secret=name, store=secrets())
    value = secrets().get(name, catalog.generator(name))
    operations.remember(name, value, None)
    return value


_asking = BoundedSemaphore(1)


@cache
def _record(_run: State) -> Record | None:
    """What the site remembers of its secrets; asked once a run. None where it does not tell."""
    hypervisor = inventory.get_host(site().hypervisor.name)
    try:
        return record.parse(read_of(hypervisor, question(SecretRecord)))
    except (ConnectError, FactError) as error:
        logger.warning(
            "%s does not tell which secrets the site has (%s): that this machine has older ones "
            "would not be noticed", hypervisor.name, error,
        )  # fmt: skip
        return None


def _refuse_older(known: Record) -> None:
    """End the run where this machine has older values than the site, each named.

    A machine in the middle of a rotation has the newest value as well.

    Raises:
        SecretError: see `phoenix.secrets.record.refusal`.
    """
    older = [
        use.name
        for use in catalog.uses(site(), settings().registries)
        if (value := secrets().find(use.name)) is not None
        and known.is_older(use.name, value.get_secret_value())
        and not (
            (new := secrets().candidate(use.name)) is not None
            and known.age(use.name, new.get_secret_value()) == "current"
        )
    ]
    if older:
        raise record.refusal(known, older)


@cache
def _held(_run: State) -> tuple[Trace, ...]:
    """Where the site shows secrets that this machine lacks; asked once a run, of all guests."""
    absent = {
        use.name
        for use in catalog.uses(site(), settings().registries)
        if use.generated and secrets().origin(use.name) == "absent"
    }
    expected = [trace for trace in deployed_secrets.traces(site()) if trace.secret in absent]
    guests = dict.fromkeys(trace.guest for trace in expected)
    actual = {guest: _holdings(guest, expected) for guest in guests}
    return deployed_secrets.deployed_secrets(expected, actual, _variables(expected))


def _holdings(guest: str, expected: list[Trace]) -> Holdings:
    paths = tuple(
        dict.fromkeys(trace.path for trace in expected if trace.guest == guest and trace.path)
    )
    try:
        return read_of(inventory.get_host(guest), question(DeployedSecrets, paths=paths))
    except (ConnectError, FactError) as error:
        names = ", ".join(sorted({trace.secret for trace in expected if trace.guest == guest}))
        raise SecretError(
            f"this machine lacks {names}, and {guest} does not tell whether the site holds it "
            f"({error}): new values could replace those in use, so nothing was changed. Make "
            f"{guest} answer, or import the secrets (`phoenix secrets import FILE`)"
        ) from None


def _variables(expected: list[Trace]) -> deployed_secrets.Variables:
    """What is kept for each project whose variables are wanted, where its host deploys it."""
    names_by_stack: dict[tuple[str, str], frozenset[str] | None] = {}
    for trace in expected:
        place = trace.guest, trace.project
        if not trace.project or place in names_by_stack:
            continue
        guest = site().host(trace.guest)
        names_by_stack[place] = variables(_engine(guest, trace.project), trace.project)
    return names_by_stack


def _engine(guest: Host, project: str) -> Stacks:
    """What deploys a stack of a guest."""
    if not deployments.by_portainer(site(), guest):
        return HostStacks(guest.name)
    in_portainer = PortainerStacks(access(), guest.portainer_environment)
    swarm = any(stack.type == "swarm" for stack in guest.docker_stacks if stack.project == project)
    return SwarmStacks(in_portainer, ()) if swarm else in_portainer
