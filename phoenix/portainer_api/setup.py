"""The first set-up: an administrator, an API key, the agent's endpoint."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from phoenix.site import unit_names

from . import errors
from .client import PortainerClient
from .models import Endpoint


@dataclass(frozen=True)
class Credentials:
    """The administrator's name and password."""

    password: SecretStr
    username: str = "admin"


@dataclass(frozen=True)
class Access:
    """The result of `ensure_access`: a valid key, and the actions that were needed."""

    api_key: SecretStr
    actions: tuple[str, ...]


def key_is_valid(client: PortainerClient, key: SecretStr | None) -> bool:
    """Whether the server accepts `key`; the client uses it from then on."""
    if key is None:
        return False
    client.use_api_key(key)
    try:
        client.whoami()
    except errors.AuthenticationError:
        return False
    return True


def ensure_access(
    client: PortainerClient,
    credentials: Credentials,
    known_key: SecretStr | None,
    *,
    spare_key: SecretStr | None = None,
    description: str = "phoenix",
) -> Access:
    """Makes sure there is an administrator and a key that works; the client uses it afterwards.

    Logs in only when `known_key` is missing or refused, and then once. Keys of the same
    description are revoked: the server doesn't keep descriptions unique, and a lost key
    stays valid.

    Args:
        client: asks the server.
        credentials: the administrator as declared.
        known_key: used where the server takes it; then nothing is done.
        spare_key: by which the administrator is added where Portainer has none of this name.
        description: of our key.

    Raises:
        errors.AuthenticationError: the administrator's password is another one.
        errors.SetupTokenError, errors.AdminInitTimeoutError: see there.
    """
    actions: list[str] = []
    if not client.admin_exists():
        client.init_admin(credentials.username, credentials.password)
        actions.append(f"created administrator {credentials.username}")
    elif key_is_valid(client, known_key) and known_key is not None:
        return Access(known_key, ())
    try:
        client.login(credentials.username, credentials.password)
    except errors.AuthenticationError as error:
        if error.status != 422:
            raise
        if not _add_administrator(client, credentials, spare_key):
            raise _no_login(credentials, error) from None
        actions.append(f"created administrator {credentials.username} beside Portainer's others")
        client.login(credentials.username, credentials.password)
    user = client.whoami()
    for key in client.api_keys(user.id):
        if key.description == description:
            client.delete_api_key(user.id, key.id)
            actions.append(
                "revoked our former API key, which the server no longer takes or its guest lost"
            )
    new_key = client.create_api_key(user.id, credentials.password, description)
    client.use_api_key(new_key.raw)
    actions.append("created an API key")
    return Access(new_key.raw, tuple(actions))


def _add_administrator(
    client: PortainerClient, credentials: Credentials, key: SecretStr | None
) -> bool:
    """Adds the administrator by a key that works; False where it can't, or has one of the name."""
    if not key_is_valid(client, key):
        return False
    try:
        if credentials.username in {user.username for user in client.users()}:
            return False
        client.create_administrator(credentials.username, credentials.password)
    except errors.ApiError:  # the key's owner is no administrator
        return False
    return True


def _no_login(
    credentials: Credentials, error: errors.AuthenticationError
) -> errors.AuthenticationError:
    return errors.AuthenticationError(
        error.status,
        f"Portainer has an administrator, but {credentials.username} and the given password "
        "do not log in",
        "give the password it was made with, or set a new one with Portainer's "
        "helper-reset-password container. Where its administrator has another name, log in as that "
        f"one and add a user {credentials.username} with this password who is an administrator",
        error.method,
        error.path,
    )


def ensure_password(
    client: PortainerClient, username: str, current: SecretStr | None, new: SecretStr
) -> bool:
    """Gives the user the password `new`, and checks it by logging in. Returns whether it changed.

    Logging in shows which password works, so an interrupted change is finished. A server without an
    administrator is not changed: it gets one with the new password.

    Raises:
        errors.PasswordRefusedError: neither password is the user's.
        errors.ApiError: the server does not take the new one.
    """
    if not client.admin_exists():
        return False
    if _logs_in(client, username, new):
        return False
    if current is None or not _logs_in(client, username, current):
        raise errors.PasswordRefusedError(
            f"neither the present nor the new password of {username} logs in to Portainer: give "
            "the one that it has, or set one with Portainer's helper-reset-password container"
        )
    client.change_password(client.whoami().id, current, new)
    client.login(username, new)
    return True


def _logs_in(client: PortainerClient, username: str, password: SecretStr) -> bool:
    try:
        client.login(username, password)
    except errors.AuthenticationError as error:
        if error.status != 422:
            raise
        return False
    return True


@dataclass(frozen=True)
class EndpointPlan:
    """The changes that an endpoint needs.

    Attributes:
        registered: the endpoint as Portainer has it; None where it is absent.
        reasons: the changes; empty when it is as desired.
    """

    registered: Endpoint | None
    reasons: tuple[str, ...]


def plan_endpoint(endpoints: tuple[Endpoint, ...], name: str, url: str) -> EndpointPlan:
    """Matches by name, then by address: never a second endpoint.

    Args:
        endpoints: what Portainer has.
        name: what it is to be called.
        url: ``tcp://host:9001`` of an agent, or ``unix:///PATH`` of the server's own Docker.

    Raises:
        errors.InvalidInputError: the name belongs to an endpoint of another type.
    """
    by_name = {endpoint.name: endpoint for endpoint in endpoints}
    match = by_name.get(name)
    if match is None:
        same = [candidate for candidate in endpoints if _address(candidate.url) == _address(url)]
        match = same[0] if len(same) == 1 else None
    if match is None:
        return EndpointPlan(None, (f"register {name} at {url}",))
    kind, label = (1, "Docker socket") if _is_local(url) else (2, "Docker agent")
    if match.type != kind:
        raise errors.InvalidInputError(
            f"Portainer's environment {match.name} is of type {match.type}, no {label}: "
            "rename it in Portainer, or give this endpoint another name"
        )
    reasons: list[str] = []
    if match.name != name:
        reasons.append(f"rename {match.name} to {name}")
    if _address(match.url) != _address(url):
        reasons.append(f"move {name} from {match.url} to {url}")
    if not _is_local(url) and not (match.tls.tls and match.tls.skip_verify):
        reasons.append("set the TLS flags an agent needs")
    return EndpointPlan(match, tuple(reasons))


def ensure_endpoint(
    client: PortainerClient, name: str, url: str
) -> tuple[Endpoint, tuple[str, ...]]:
    """Registers the Docker at `url`, or moves and renames what is registered; checks it answers.

    Raises:
        errors.UnreachableError: its Docker doesn't answer; a new one is then not registered.
    """
    endpoint_plan = plan_endpoint(client.endpoints(), name, url)
    if endpoint_plan.registered is None:
        try:
            create = (
                client.create_local_endpoint if _is_local(url) else client.create_agent_endpoint
            )
            endpoint = create(name, url)
        except errors.ApiError as error:
            if error.status != 500 or _is_local(url):
                raise
            raise errors.UnreachableError(_silent(name, url, f" ({error})")) from None
        except errors.UnknownOutcomeError:
            created = client.endpoint_named(name)
            if created is None:
                raise
            endpoint = created
        return endpoint, endpoint_plan.reasons
    if not endpoint_plan.reasons:
        return endpoint_plan.registered, ()
    tls = {} if _is_local(url) else dict.fromkeys(_AGENT_TLS, True)
    client.update_endpoint(endpoint_plan.registered.id, Name=name, URL=url, **tls)
    fresh = client.snapshot_endpoint(endpoint_plan.registered.id)
    if not client.docker_ping(fresh.id):
        if _is_local(url):
            raise errors.UnreachableError(
                f"endpoint {name}: Docker does not answer Portainer at {url}: check that its "
                f"container has that socket, and that {unit_names.DOCKER} runs"
            )
        raise errors.UnreachableError(_silent(name, url))
    return fresh, endpoint_plan.reasons


def _silent(name: str, url: str, why: str = "") -> str:
    return (
        f"endpoint {name}: the agent at {url} does not answer Portainer{why}; check that it runs, "
        "that its AGENT_SECRET is the server's, and that its port is open to the server"
    )


_AGENT_TLS = ("TLS", "TLSSkipVerify", "TLSSkipClientVerify")


def _is_local(url: str) -> bool:
    return url.startswith("unix://")


def _address(url: str) -> str:
    """The server stores what it was given: ``tcp://host:9001`` and ``host:9001`` are the same."""
    return url.removeprefix("tcp://").rstrip("/")
