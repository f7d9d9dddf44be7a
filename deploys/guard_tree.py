"""The tree of a host's guard, for the deploy that puts it there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from deploys.context import settings, site, site_host
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.guard import ruleset as guard
from phoenix.derived.components import GUARD
from phoenix.derived.firewall import Flow
from phoenix.files import render, text
from phoenix.proxmox.firewall import operator_networks
from phoenix.shell import fill
from phoenix.site.findings import SettingError
from phoenix.site.ports import SSH


def tree() -> Tree:
    """Rules, program and unit of this host's guard.

    Raises:
        SettingError: `proxmox_operator_networks` names what is not a network.
    """
    operators = _operators()
    return Tree(
        component=GUARD,
        files={
            guard.RULES: TreeFile(guard.ruleset(site(), site_host(), operators)),
            guard.PROGRAM: TreeFile(text("components/guard/phoenix-guard"), mode="0755"),
            f"/etc/systemd/system/{guard.UNIT}": TreeFile(
                text("components/guard/phoenix-guard.service")
            ),
            "/etc/systemd/system/nftables.service.d/phoenix-guard.conf": TreeFile(
                text("components/guard/nftables.conf")
            ),
        },
        enable=(guard.UNIT,),
        validate=render(
            "components/guard/validate.sh.j2",
            rules=guard.RULES,
            port=SSH,
            networks=" ".join(map(str, guard.ssh_from(site(), site_host(), operators))),
        ),
        # Not by the unit: where the first rules are undone it is gone already, and they must go.
        after=fill(
            "if [ -x {{ program }} ]; then {{ program }} load;"
            " else printf 'table inet phoenix\\ndelete table inet phoenix\\n' | nft -f -; fi",
            program=guard.PROGRAM,
        ),
        in_force=fill("{{ program }} holds", program=guard.PROGRAM),
        health=fill("{{ program }} holds", program=guard.PROGRAM),
        confirm=settings().ssh_confirm_seconds,
    )


def flows() -> Callable[[], Sequence[Flow]]:
    """What gives all that the rules let in, when it is asked.

    Raises:
        SettingError: `proxmox_operator_networks` names what is not a network.
    """
    return partial(guard.admitted, site(), site_host(), _operators())


def _operators() -> Sequence[guard.Network]:
    try:
        return operator_networks(settings().proxmox.operator_networks, None)
    except ValueError as error:
        raise SettingError(f"proxmox_operator_networks: {error}") from None
