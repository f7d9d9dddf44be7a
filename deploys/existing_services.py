"""Services of a person that use what Phoenix needs on a host: found before its first change."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakSet

from pyinfra.api.host import Host as PyinfraHost

from deploys.context import settings, site
from operations import taking_over
from operations.host_state import this_host
from phoenix.components.config_tree.tree import Tree
from phoenix.components.taking_over.decision import DIRECTORY, STOP_EXISTING
from phoenix.components.taking_over.existing_services import Kind, places
from phoenix.shell import in_turn
from phoenix.site.names import SERVER_VOLUME

_looked_at: WeakSet[PyinfraHost] = WeakSet()


def find_existing() -> None:
    """Declare the step that looks at this host, ahead of its first change by this run."""
    known = site().hosts_by_key.get(this_host().name)  # not by another name, as @local
    own_places = places(site(), known) if known else ()
    if not own_places or this_host() in _looked_at:
        return
    _looked_at.add(this_host())
    taking_over.looked_at(
        name="Taking over: what was here before Phoenix",
        site=site(),
        places=own_places,
        choices=settings().taking_over,
    )


def replacing_existing(kind: Kind, tree: Tree) -> Tree:
    """The tree with a step before it that stops the existing services of `kind`.

    They start again if the tree's first generation does not come up.
    """
    if settings().taking_over.of(kind) not in ("replace", "adopt"):
        return tree
    arguments = (DIRECTORY, kind, SERVER_VOLUME)
    return replace(
        tree,
        before=in_turn(STOP_EXISTING.line("stop", *arguments), tree.before),
        otherwise=STOP_EXISTING.line("back", *arguments),
    )
