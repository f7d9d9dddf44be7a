"""Change secrets in the services that know them: candidate, change, check, then promotion.

The generated secrets' store says how far a change has come, and the services which value they
take, so a run that was killed is finished by the next. Give operations a ``name=``.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.exceptions import OperationError

from operations.config_tree import apply, load
from operations.explain import log_lines
from operations.failure import local_command
from operations.operation import operation
from operations.portainer import PortainerAccess, connected, use_key
from phoenix import portainer_api as api
from phoenix.components.config_tree.tree import Tree
from phoenix.secrets.store import SecretStore
from phoenix.site.secret_names import ADMIN_PASSWORD, AGENT_SECRET

Commands = Generator[StringCommand | FunctionCommand, None, None]

CONFIRM_SECONDS = 300
"""Seconds after which both sides return to the former agent secret if this run dies."""
HELD_SECONDS = 60
"""Seconds after which Portainer's server starts again by itself, with the former agent secret.

It is stopped for as long as the agents take to restart, and Traefik holds the requests to it.
"""

_endpoints_reached: dict[str, bool] = {}


@operation()
def started_change(store: SecretStore, names: Sequence[str]) -> Commands:
    """Keep the proposed values of the secrets `names` beside the present ones."""
    if all(store.is_changing(name) for name in names):
        host.noop("an earlier run has begun it")
        return

    def begin() -> None:
        for name in names:
            store.begin(name)

    yield local_command(begin)


@operation()
def promoted(store: SecretStore, names: Sequence[str]) -> Commands:
    """Promote the proposed values of the secrets `names`; their hosts converge to them."""

    def finish() -> None:
        for name in names:
            store.finish(name)
        log_lines([f"new value kept: {name}" for name in names])

    yield local_command(finish)


@operation()
def portainer_password(
    access: PortainerAccess,
    store: SecretStore,
    *,
    username: str = "admin",
    ready_seconds: float = 120.0,
) -> Commands:
    """Give Portainer's administrator the proposed password, and check that it logs in.

    Where neither password logs in, the proposed one is dropped.

    Args:
        access: how to reach the API.
        store: holds the present password and the proposed one.
        username: the administrator's.
        ready_seconds: how long a starting server may take to answer.
    """

    def change() -> None:
        current, new = store.present(ADMIN_PASSWORD), store.propose(ADMIN_PASSWORD)
        store.begin(ADMIN_PASSWORD)
        with connected(access) as client:
            client.wait_ready(ready_seconds)
            try:
                changed = api.ensure_password(client, username, current, new)
            except api.PasswordRefusedError:
                store.abandon(ADMIN_PASSWORD)  # else each later run would try it again
                log_lines(["the proposed password is dropped: nothing has it"])
                raise
        store.finish(ADMIN_PASSWORD)
        log_lines(["Portainer's password changed" if changed else "Portainer has the new password"])

    yield local_command(change)


@operation()
def held(tree: Tree) -> Commands:
    """Stop the service of `tree`, put in place with `start_later`, until `started`.

    It ends the requests that it has. systemd starts it again after `HELD_SECONDS`, whatever becomes
    of this run.
    """
    yield apply(tree, "hold", str(HELD_SECONDS))


@operation()
def started(tree: Tree) -> Commands:
    """Have the service load `tree`, put in place with `start_later`; the time to confirm begins."""
    yield load(tree)


@operation()
def endpoints_answer(
    access: PortainerAccess, names: Sequence[str] | None, *, seconds: float = 90.0
) -> Commands:
    """Check whether the server reaches the Docker of every endpoint of `names`.

    It never fails: `agent_secret_confirmed` acts on the answer, on all hosts.

    Args:
        access: how to reach the API.
        names: None on a host that only takes part, so that it is ready before the server asks.
        seconds: how long the answers may take.
    """
    if names is None:
        host.noop("the server checks the endpoints")
        return
    endpoint_names = names

    def ask() -> None:
        _endpoints_reached[AGENT_SECRET] = False
        deadline = time.monotonic() + seconds
        while not (fine := _all_answer(access, endpoint_names)) and time.monotonic() < deadline:
            time.sleep(1)
        _endpoints_reached[AGENT_SECRET] = fine
        log_lines(
            [
                f"{name}: Docker {'answers' if fine else 'does not answer'}"
                for name in endpoint_names
            ]
        )

    yield local_command(ask)


@operation()
def agent_secret_confirmed(tree: Tree, store: SecretStore) -> Commands:
    """Confirm the new agent secret in `tree`, or go back to the former.

    The former one comes back, and the host fails, unless every endpoint has answered.
    """

    def end() -> None:
        fine = _endpoints_reached.get(AGENT_SECRET, False)
        if fine:
            store.finish(AGENT_SECRET)
        succeeded, output = host.run_shell_command(
            apply(tree, "confirm" if fine else "undo"), print_output=False
        )
        if not fine:
            raise OperationError(
                "with the new agent secret the server does not reach every agent: the former one "
                + (
                    f"is back ({tree.component}), and nothing else was changed"
                    if succeeded
                    else f"could not be put back ({tree.component})"
                )
                + f"\n{output.stderr}"
            )
        if not succeeded:
            raise OperationError(output.stderr)

    yield local_command(end)


def _all_answer(access: PortainerAccess, names: Sequence[str]) -> bool:
    try:
        with connected(access) as client:
            use_key(client, access)
            ids = {endpoint.name: endpoint.id for endpoint in client.endpoints()}
            return all(name in ids and client.docker_ping(ids[name]) for name in names)
    except OperationError:  # the server is starting, or the agent refuses its signature
        return False
