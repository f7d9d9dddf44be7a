"""Log-ins to private registries, as the docker CLI keeps them and as Portainer is told.

The setting `registries` names them; the passwords are secrets that are given, never made.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping

from pydantic import SecretStr

from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.declaration.settings import Registry
from phoenix.portainer_api.registries import HUB, Login
from phoenix.portainer_api.sync import HOST_PROJECTS
from phoenix.secrets.errors import SecretError

CONFIG = f"{HOST_PROJECTS}.docker/config.json"
"""The docker CLI's file on a host whose own compose deploys."""
_HUB_KEY = "https://index.docker.io/v1/"
"""What the docker CLI calls Docker Hub."""


def lacking(registry: Registry) -> tuple[str, str]:
    """What a registry lacks whose secret nobody has given, and the fix."""
    return (
        f"needs the secret {registry.secret}, which is never generated",
        f"give PHOENIX_SECRET_{registry.secret.upper()}, or keep it in the site's SOPS file",
    )


def logins(
    registries: Mapping[str, Registry], find: Callable[[str], SecretStr | None]
) -> tuple[Login, ...]:
    """Every declared log-in, by the registry's name.

    Args:
        registries: the setting.
        find: tells a secret that was given; None where none was.

    Raises:
        SecretError: a password is missing; names each, with the way to give it.
    """
    found = {name: find(one.secret) for name, one in sorted(registries.items())}
    missing = [name for name, password in found.items() if password is None]
    if missing:
        raise SecretError(
            "\n".join(
                f"registry {name} {needs}: {fix}"
                for name in missing
                for needs, fix in [lacking(registries[name])]
            )
        )
    return tuple(
        Login(name, registries[name].username, password)
        for name, password in found.items()
        if password is not None
    )


def tree(given: tuple[Login, ...]) -> Tree:
    """The docker CLI's config.json of a host, its owner's alone.

    Source of its form: the docker CLI, cli/config/configfile, `auths`.
    """
    auths = {
        _HUB_KEY if login.registry == HUB else login.registry: {"auth": _auth(login)}
        for login in given
    }
    content = json.dumps({"auths": auths}, indent=2, sort_keys=True) + "\n"
    return Tree(
        component="registries", files={CONFIG: TreeFile(content, mode="0600", secret=bool(auths))}
    )


def _auth(login: Login) -> str:
    text = f"{login.username}:{login.password.get_secret_value()}"
    return base64.b64encode(text.encode()).decode()
