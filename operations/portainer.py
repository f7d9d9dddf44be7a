"""Portainer's desired state: its administrator and key, its endpoints, its stacks.

Thin over `phoenix.portainer_api`: observe, compare, do nothing or converge. Everything runs on the
control machine; SSH carries the API, so no host needs a client. Give operations a ``name=``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from threading import Lock
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import gevent
from gevent import Greenlet
from pydantic import SecretStr
from pyinfra import host, inventory
from pyinfra.api import FunctionCommand, State
from pyinfra.api.exceptions import ConnectError, OperationError, OperationValueError
from pyinfra.api.host import Host

from facts.command import script
from operations import host_state, prefetch, site_lock, stacks
from operations.connection import BROKEN, connect
from operations.explain import log_lines, unknown_before_run
from operations.failure import local_command
from operations.operation import operation
from operations.ssh_forward import dial_through
from phoenix import portainer_api as api
from phoenix.components.portainer.compose_files import API_KEY_FILE
from phoenix.portainer_api.setup import key_is_valid
from phoenix.secrets.store import htpasswd
from phoenix.shell import Script
from phoenix.site.ports import PORTAINER
from phoenix.site.secret_names import API_KEY

_READ = Script("read-key", 'cat "$1" "$1.login" 2>/dev/null || true')
_STORE = Script(
    "keep",
    'set -e; umask 077; mkdir -p "$2"; IFS= read -r login; IFS= read -r header; '
    'printf \'%s\\n\' "$login" >"$1.login"; printf \'%s\\n\' "$header" >"$1.new"; '
    'mv "$1.new" "$1"',
)
_LOGINS = ".registries"
_READ_FILE = Script("read-logins", 'cat "$1" 2>/dev/null || true')
_STORE_FILE = Script("keep-logins", 'set -e; umask 077; cat >"$1.new"; mv "$1.new" "$1"')
_HEADER = "X-API-Key: "
_T = TypeVar("_T")


class _StoredKey(NamedTuple):
    """Our API key as stored beside the server, and a hash of the password it was created with."""

    key: SecretStr | None
    login: str


_keys: dict[str, _StoredKey] = {}
_reading = Lock()


@dataclass(frozen=True)
class PortainerAccess:
    """How to reach Portainer's API and where its key is.

    Attributes:
        url: ``https://NAME:9443``, NAME being what the server's certificate carries.
        ca_pem: the root to trust, or what tells it when it is needed: a new site's is yet to be
            made while the run is prepared. None: the control machine's own CAs.
        via: the inventory host whose SSH carries the API; None goes straight to the URL.
        address, port: where the server listens as seen from `via`.
        header_file: on `via`, 0600: the key as a ready header line, so that ``curl -H @FILE``
            works there without the key in any argv.
        api_key: a given key; then no file is read or written.
        fingerprint: SHA-256 of the one certificate to accept, in lower-case hex; else empty.
    """

    url: str
    ca_pem: str | Callable[[], str] | None
    via: str | None = None
    address: str = "127.0.0.1"
    port: int = PORTAINER
    header_file: str = API_KEY_FILE
    api_key: SecretStr | None = None
    fingerprint: str = ""

    def carrier(self) -> Host | None:
        """The host that carries the API and keeps the key."""
        return inventory.get_host(self.via) if self.via else None


@operation()
def admin(
    access: PortainerAccess,
    password: SecretStr,
    *,
    username: str = "admin",
    ready_seconds: float = 120.0,
) -> Generator[FunctionCommand, None, None]:
    """Makes sure Portainer has its administrator, and we a working API key in its file.

    Args:
        access: how to reach it; without `via` and `api_key` there's nowhere to keep a key.
        password: the administrator's; sent once to make the key, and never again.
        ready_seconds: how long a starting server may take to answer.
    """
    if access.api_key is None and access.via is None:
        raise OperationValueError("give access.api_key, or access.via for a host to keep it on")
    login = htpasswd(username, password).strip()

    def is_set_up(client: api.PortainerClient) -> bool:
        # A password that has changed here is tried, though the key would work without it: else
        # nobody would notice that Portainer still has the old one.
        same = access.api_key is not None or _stored_key(access).login == login
        return same and client.admin_exists() and key_is_valid(client, _known_key(access))

    if _look(access, is_set_up):
        host.noop("Portainer has an administrator and the API key works")
        return
    credentials = api.Credentials(password, username)
    yield local_command(lambda: _set_up(access, credentials, login, ready_seconds))


@operation()
def registries(
    access: PortainerAccess, logins: Sequence[api.Login]
) -> Generator[FunctionCommand, None, None]:
    """Makes sure Portainer logs in to the declared registries, and to no other that was declared.

    Portainer never tells a password, so hashes of those that it was given are kept beside its key.

    Args:
        access: how to reach it.
        logins: the declared log-ins.
    """
    hashes = {login.registry: htpasswd(login.username, login.password).strip() for login in logins}

    def plan(client: api.PortainerClient) -> api.RegistryPlan:
        use_key(client, access)
        sent = _sent_logins(access) if logins else {}
        return api.plan_registries(client.registries(), logins, sent, hashes)

    planned = _look(access, plan)
    if planned is not None and not planned.reasons:
        host.noop("Portainer has the declared registries")
        return
    if planned is None and not logins:
        host.noop("no registry is declared")
        return
    log_lines(planned.reasons if planned else ())

    def converge() -> None:
        with connected(access) as client:
            steps = plan(client)
            for row in steps.delete:
                client.delete_registry(row.id)
            for row, login in steps.update:
                client.update_registry(row.id, login)
            for login in steps.create:
                client.create_registry(login)
            lines = "".join(f"{name} {hashes[name]}\n" for name in sorted(hashes))
            _keep_logins(access, lines)

    yield local_command(converge)


@operation()
def endpoint(
    agent: str | None,
    url: str,
    access: PortainerAccess,
    *,
    projects: Collection[str] = (),
) -> Generator[FunctionCommand, None, None]:
    """Makes sure the Docker at `url` is registered as `agent`, once.

    An endpoint at the same address is renamed; a moved one is updated. Where it was deleted in
    Portainer, its stacks come back to the new one with the next deployment of each (`stack`).

    Args:
        agent: None on a host that registers nothing, and takes part so that its own earlier
            operations are done before the others register.
        url: ``tcp://host:9001`` of an agent, or ``unix:///var/run/docker.sock``, the server's own
            Docker.
        access: how to reach the API.
        projects: the stacks that are declared there, by their names in Portainer.
    """
    if agent is None:
        host.noop("the agents' hosts register themselves")
        return
    name = agent

    def pending(client: api.PortainerClient) -> tuple[str, ...]:
        use_key(client, access)
        planned = api.plan_endpoint(client.endpoints(), name, url)
        if planned.registered is not None:
            return planned.reasons
        return (*planned.reasons, *_orphans(client, projects))

    reasons = _look(access, pending)
    if reasons == ():
        host.noop(f"Portainer's endpoint {name} is at {url}")
        return
    log_lines(reasons or ())
    yield local_command(lambda: _register(access, name, url))


@operation()
def stack(
    project: str,
    endpoint: str,
    access: PortainerAccess,
    *,
    content: str = "",
    env: Mapping[str, str | SecretStr] | None = None,
    present: bool = True,
    seconds: float = 300.0,
    hidden: Collection[SecretStr] = (),
    swarm_files: Sequence[api.SwarmFile] | None = None,
) -> Generator[FunctionCommand, None, None]:
    """Makes sure one stack is as given, its containers running and healthy.

    Does nothing when file, environment, state and containers are as desired. A failed update puts
    the previous version back and fails with the containers' own log lines. Takes over containers
    that an earlier Portainer deployed. Refuses git-managed stacks, and names that containers of
    others use.

    Args:
        project: the stack's name.
        endpoint: the environment's name in Portainer.
        content: the compose file.
        env: variables for its interpolation; the values of those given as SecretStr are never
            shown.
        present: False removes the stack, volumes kept.
        seconds: the deadline for the deployment, and for its containers' health.
        hidden: further values that are never shown, as former ones of a variable.
        swarm_files: of a Swarm stack its secrets and configs; None: it is one of compose.
    """
    in_portainer = PortainerStacks(access, endpoint)
    yield from stacks.converged(
        project,
        in_portainer if swarm_files is None else SwarmStacks(in_portainer, tuple(swarm_files)),
        content=content,
        env=env,
        present=present,
        seconds=seconds,
        hidden=hidden,
    )


@dataclass(frozen=True)
class PortainerStacks:
    """The stacks of one environment of Portainer."""

    access: PortainerAccess
    endpoint: str

    def __str__(self) -> str:
        """The place for a person."""
        return self.endpoint

    @contextmanager
    def opened(self) -> Iterator[tuple[api.PortainerClient, int]]:
        """A client with our key, and the environment's number.

        Raises:
            OperationError: Portainer cannot be asked, or has no such environment.
        """
        with connected(self.access) as client:
            yield client, self._number(client)

    @contextmanager
    def seen(self) -> Iterator[tuple[api.ReadOnce, int]]:
        """As `opened`, with the client that a run compares by.

        Raises:
            OperationError: as for `opened`.
        """
        with reading(self.access) as client:
            yield client, self._number(client)

    def _number(self, client: api.PortainerClient) -> int:
        use_key(client, self.access)
        registered = client.endpoint_named(self.endpoint)
        if registered is None:
            raise OperationError(
                f"Portainer has no endpoint {self.endpoint}: run deploys/portainer.py"
            )
        return registered.id


@dataclass(frozen=True)
class SwarmStacks:
    """The Swarm stacks of the swarm that an environment's manager is in."""

    through: PortainerStacks
    files: tuple[api.SwarmFile, ...]

    def __str__(self) -> str:
        """The place for a person."""
        return f"the swarm, through {self.through}"

    @contextmanager
    def opened(self) -> Iterator[tuple[api.SwarmStacks, int]]:
        """What deploys there, and the environment's number.

        Raises:
            OperationError: Portainer cannot be asked, or has no such environment.
        """
        with self.through.opened() as (client, endpoint):
            yield api.SwarmStacks(client, self.files), endpoint

    @contextmanager
    def seen(self) -> Iterator[tuple[api.SwarmStacks, int]]:
        """As `opened`, with the client that a run compares by.

        Raises:
            OperationError: as for `opened`.
        """
        with self.through.seen() as (client, endpoint):
            yield api.SwarmStacks(client, self.files), endpoint


# -- at execution, on the control machine ---------------------------------------------------------


def _set_up(
    access: PortainerAccess, credentials: api.Credentials, login: str, seconds: float
) -> None:
    with connected(access) as client:
        client.wait_ready(seconds)
        api_key = _known_key(access)
        if access.api_key is None and _stored_key(access).login != login:
            api_key = None  # log in, and so find out whether the password is Portainer's
        result = api.ensure_access(client, credentials, api_key, spare_key=_known_key(access))
        log_lines(result.actions)
        if result.actions:
            _store_key(access, result.api_key, login)


def _orphans(client: api.PortainerClient, projects: Collection[str]) -> tuple[str, ...]:
    """What becomes of the stacks that a deleted environment has left, in words."""
    known = {environment.id for environment in client.endpoints()}
    left = {deployed.name for deployed in client.stacks() if deployed.endpoint_id not in known}
    return tuple(
        f"stack {project}, whose environment was deleted in Portainer, is associated with this one "
        "by its own step; no container is touched"
        for project in sorted(left & set(projects))
    )


def _register(access: PortainerAccess, name: str, url: str) -> None:
    with connected(access) as client:
        use_key(client, access)
        api.ensure_endpoint(client, name, url)


def _look(access: PortainerAccess, read: Callable[[api.PortainerClient], _T]) -> _T | None:
    """The result of `read`; None while Portainer is absent, as before its own deploy ran.

    In a dry run of a fresh site there's no server, no endpoint and no key: that's a change to
    come, not an error. At execution the command behind it says what is wrong.
    """
    try:
        with reading(access) as client:
            return read(client)
    except OperationError as error:
        unknown_before_run(f"what Portainer has: it can't be asked yet ({error})")
        return None


@contextmanager
def connected(access: PortainerAccess) -> Iterator[api.PortainerClient]:
    """A client by `access`; its errors become pyinfra's clean ones (OperationError)."""
    with _plain_errors(access):
        client = _client(access, api.PortainerClient, _root(access))
        try:
            yield client
        finally:
            client.close()


class _Reader(NamedTuple):
    """The client that a run compares by, and what it was made for."""

    client: api.ReadOnce
    root: str | None
    stage: Sequence[object]


_readers: WeakKeyDictionary[State, dict[tuple[object, ...], _Reader]] = WeakKeyDictionary()
_prefetching: WeakKeyDictionary[api.ReadOnce, Greenlet[..., None]] = WeakKeyDictionary()


def prefetch_api(access: PortainerAccess, environments: Collection[str]) -> None:
    """Prefetch what the steps below compare, while the hosts answer (`operations.prefetch`).

    Args:
        access: how to reach the API.
        environments: by their names in Portainer, those whose containers are compared.
    """
    if not site_lock.is_held():
        return
    with suppress(OperationError), reading(access) as client:
        if client not in _prefetching:
            _prefetching[client] = gevent.spawn(_prefetch, client, access, environments)


def _prefetch(client: api.ReadOnce, access: PortainerAccess, environments: Collection[str]) -> None:
    with suppress(OperationError, api.PortainerError, *BROKEN):  # the steps ask again, and tell why
        use_key(client, access)
        client.read_lists(environments)


@contextmanager
def reading(access: PortainerAccess) -> Iterator[api.ReadOnce]:
    """A client that never writes, as `connected`: one for a run, which reads again after a change.

    Each connection costs an SSH channel and a TLS handshake, and each list all of its rows.
    """
    with _plain_errors(access):
        place = (access.url, access.via, access.address, access.port, access.fingerprint)
        run, *stage = host_state.stage()
        readers = _readers.setdefault(run, {})
        root = _root(access)
        reader = readers.get(place)
        if reader is None or reader.root != root:
            reader = _Reader(_client(access, api.ReadOnce, root), root, stage)
        elif reader.stage != stage:
            prefetching = _prefetching.pop(reader.client, None)
            if prefetching is not None:
                prefetching.join()
            if prefetching is None or prefetch.has_changed(host_state.this_host()):
                reader.client.forget()
        readers[place] = reader._replace(stage=stage)
        yield reader.client


_Client = TypeVar("_Client", bound=api.PortainerClient)


def _client(access: PortainerAccess, kind: type[_Client], root: str | None) -> _Client:
    carrier = access.carrier()
    dial = dial_through(carrier, access.address, access.port) if carrier else None
    return kind(access.url, root, dial=dial, fingerprint=access.fingerprint)


def _root(access: PortainerAccess) -> str | None:
    root = access.ca_pem() if callable(access.ca_pem) else access.ca_pem
    if root == "":
        raise OperationError("the CA has no root certificate yet: run deploys/step_ca.py")
    return root


@contextmanager
def _plain_errors(access: PortainerAccess) -> Iterator[None]:
    try:
        yield
    except api.AuthenticationError as error:
        if access.api_key is None:
            raise OperationError(str(error)) from None
        raise OperationError(
            f"{access.url} does not take the API key that it was given, the secret "
            f"{API_KEY} ({error}): make one as an administrator of that Portainer (My account, "
            "Access tokens)"
        ) from None
    except api.PortainerError as error:
        raise OperationError(str(error)) from None


def use_key(client: api.PortainerClient, access: PortainerAccess) -> None:
    """Have `client` send the key that is kept beside the server.

    Raises:
        OperationError: there is none; says how to create it.
    """
    key = _known_key(access)
    if key is None:
        raise OperationError(
            f"no API key in {access.header_file} on {access.via}: run deploys/portainer.py first"
        )
    client.use_api_key(key)


def _known_key(access: PortainerAccess) -> SecretStr | None:
    """The given key, or the kept one."""
    return access.api_key or _stored_key(access).key


def _stored_key(access: PortainerAccess) -> _StoredKey:
    """The key stored beside the server; read once a run, and never printed at any verbosity."""
    carrier = access.carrier()
    if carrier is None:
        return _StoredKey(None, "")
    with _reading:
        if carrier.name not in _keys:
            stored = _read(access, carrier)
            if stored.key is None:
                return stored
            _keys[carrier.name] = stored
        return _keys[carrier.name]


def _read(access: PortainerAccess, carrier: Host) -> _StoredKey:
    try:
        connect(carrier, "to read Portainer's API key")
    except ConnectError as error:
        raise OperationError(
            f"Portainer's guest {carrier.name} does not answer by SSH: {error}"
        ) from None
    command = script(_READ, access.header_file)
    _, output = carrier.run_shell_command(command, print_output=False, print_input=False)
    header, _, login = output.stdout.strip().partition("\n")
    key = SecretStr(header.removeprefix(_HEADER)) if header.startswith(_HEADER) else None
    return _StoredKey(key, login.strip())


def _sent_logins(access: PortainerAccess) -> dict[str, str]:
    """The hash of the log-in that Portainer was last given, by registry."""
    carrier = access.carrier()
    if carrier is None:
        return {}
    connect(carrier, "to read which registries Portainer was given")
    command = script(_READ_FILE, access.header_file + _LOGINS)
    _, output = carrier.run_shell_command(command, print_output=False, print_input=False)
    return {
        name: login
        for name, space, login in (line.partition(" ") for line in output.stdout.splitlines())
        if space
    }


def _keep_logins(access: PortainerAccess, lines: str) -> None:
    carrier = access.carrier()
    if carrier is None:
        return
    command = script(_STORE_FILE, access.header_file + _LOGINS)
    stored, _ = carrier.run_shell_command(
        command, print_output=False, print_input=False, _stdin=lines or "\n"
    )
    if not stored:
        raise OperationError(f"the registries' log-ins could not be noted on {access.via}")


def _store_key(access: PortainerAccess, key: SecretStr, login: str) -> None:
    """Write key and hash, both 0600; the key last, so that a key is never without its hash."""
    carrier = access.carrier()
    if carrier is None:
        return
    path = access.header_file
    directory = str(PurePosixPath(path).parent)
    secret = f"{login}\n{_HEADER}{key.get_secret_value()}\n"
    _keys.pop(carrier.name, None)
    stored, _ = carrier.run_shell_command(
        script(_STORE, path, directory),
        print_output=False,
        print_input=False,
        _stdin=secret,
    )
    if not stored:
        raise OperationError(f"Portainer's API key could not be written to {path} on {access.via}")
