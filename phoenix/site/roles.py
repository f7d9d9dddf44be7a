"""The roles that a guest may have, and the guests that a component needs."""

from __future__ import annotations

from typing import Literal, get_args

from phoenix.site.findings import SettingError
from phoenix.site.model import Host, Site

Role = Literal["step_ca", "traefik", "nginx", "portainer", "docker", "name_server"]
ROLES: tuple[Role, ...] = get_args(Role)
SINGLE_ROLES: tuple[Role, ...] = ("step_ca", "portainer")
"""Those that one guest of a site has at most."""

MAX_NAME_SERVERS = 3
"""The hypervisor and the guests with the role name_server: resolv.conf(5) reads so many (MAXNS)."""

CHAIN: tuple[Role, ...] = ("step_ca", "traefik", "nginx")
"""Those that every request needs: the deploys refuse a site that lacks one."""

PROPOSED_ONCE: tuple[Role, ...] = (*CHAIN, "portainer")
"""Those that `phoenix init` gives to one guest each; a person declares a second one."""


class RoleError(SettingError):
    """No guest has a role that is needed."""


def guest_with(site: Site, role: str) -> Host:
    """The guest with `role` ("step_ca", "traefik", "nginx", "portainer"), the first of several.

    Raises:
        RoleError: there is none; says how to give the role to a guest.
    """
    return guests_with(site, role)[0]


def guests_with(site: Site, role: str) -> tuple[Host, ...]:
    """The guests with `role`, in their order; there is at least one.

    Raises:
        RoleError: there is none; says how to give the role to a guest.
    """
    hosts = site.with_role.get(role, ())
    if hosts:
        return hosts
    raise RoleError(
        f'no guest has the role {role}: add "role": "{role}" to its entry in '
        "phoenix_lxc_configs.json or phoenix_vm_configs.json"
    )
