"""Log-ins to private registries, as the docker CLI keeps them and as Portainer is told.

The setting `registries` names them; the passwords are secrets that are given, never made.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.compose.project_folders import HOST_PROJECTS
from phoenix.declaration.settings import Registry, Settings
from phoenix.portainer_api.registries import HUB, Login, registry_of
from phoenix.secrets.errors import SecretError
from phoenix.site.model import Deployment, Host, Site
from phoenix.site.names import in_zone

CONFIG = f"{HOST_PROJECTS}.docker/config.json"
"""The docker CLI's file on a host whose own compose deploys."""
_HUB_KEY = "https://index.docker.io/v1/"
"""What the docker CLI calls Docker Hub."""


def missing_secret(registry: Registry) -> tuple[str, str]:
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
    secrets = {name: find(registry.secret) for name, registry in sorted(registries.items())}
    missing = [name for name, password in secrets.items() if password is None]
    if missing:
        raise SecretError(
            "\n".join(
                f"registry {name} {needs}: {fix}"
                for name in missing
                for needs, fix in [missing_secret(registries[name])]
            )
        )
    return tuple(
        Login(name, registries[name].username, password)
        for name, password in secrets.items()
        if password is not None
    )


def of_the_zone(site: Site, host: Host, settings: Settings) -> tuple[str, ...]:
    """Registries in the site's zone that a Docker host is told of: they prove themselves by its CA.

    Those of its stacks' images, of the setting `registries`, and the mirrors of Docker Hub.
    """
    if host not in site.docker_hosts:
        return ()
    mirrors = {urlsplit(url).netloc for url in settings.docker_registry_mirrors}
    named = {registry for stack in host.docker_stacks for registry in of_a_stack(site, stack)}
    return tuple(sorted(named | _in_zone(site, {*settings.registries, *mirrors})))


def of_a_stack(site: Site, stack: Deployment) -> set[str]:
    """Registries in the site's zone that images of a stack come from."""
    return _in_zone(site, {registry_of(image) for image in stack.images})


def _in_zone(site: Site, names: set[str]) -> set[str]:
    return {name for name in names if in_zone(name.partition(":")[0], site.domain)}


def tree(registry_logins: tuple[Login, ...]) -> Tree:
    """The docker CLI's config.json of a host, its owner's alone.

    Source of its form: the docker CLI, cli/config/configfile, `auths`.
    """
    auths = {
        _HUB_KEY if login.registry == HUB else login.registry: {"auth": _auth(login)}
        for login in registry_logins
    }
    content = json.dumps({"auths": auths}, indent=2, sort_keys=True) + "\n"
    return Tree(
        component="registries", files={CONFIG: TreeFile(content, mode="0600", secret=bool(auths))}
    )


def _auth(login: Login) -> str:
    text = f"{login.username}:{login.password.get_secret_value()}"
    return base64.b64encode(text.encode()).decode()
