"""A file of Traefik's dynamic configuration, for the deploys that put one on its guest."""

from __future__ import annotations

from collections.abc import Mapping

from deploys.context import pinned_program, settings, site_host
from facts.traefik import OwnTraefikFiles
from operations.host_state import question, read_or
from phoenix.components.config_tree.tree import BASE, Tree, TreeFile
from phoenix.components.traefik import traefik_yml as traefik
from phoenix.components.traefik.existing_files import OwnTraefik, considered
from phoenix.components.trust import ROOTS
from phoenix.files import render
from phoenix.shell import fill, in_turn

COMPONENT = "traefik"


def own_traefik() -> OwnTraefik:
    """A person's own files that Traefik goes on to read beside the site's; empty where none is."""
    none = OwnTraefik()
    if settings().taking_over.traefik != "keep":
        return none
    own = read_or(question(OwnTraefikFiles, base=f"{BASE}/{COMPONENT}"), none)
    return considered(own, is_kept=True) or none


def dynamic(component: str, files: Mapping[str, TreeFile], marker: str, first: str = "") -> Tree:
    """Files that Traefik reads on a reload, tried beside the others before and seen loaded after.

    Args:
        component: name of the tree.
        files: by their paths.
        marker: the middleware in them by which the API tells that they are loaded.
        first: shell command that must succeed before they are tried; empty for none.

    Raises:
        ArtifactError: no Traefik is pinned for this host's processor.
    """
    return Tree(
        component=component,
        files=files,
        unit=traefik.UNIT,
        action="reload",
        validate=in_turn(
            first,
            fill(
                'sh {{ check }} {{ program }}/program {{ static }} "$ROOT" {{ marker }}',
                check=traefik.CHECK,
                program=pinned_program("traefik").directory,
                static=traefik.STATIC,
                marker=marker,
            ),
        ),
        health=render(
            "components/traefik/health.sh.j2",
            api=f"http://{traefik.LOCAL}/api/http",
            marker=marker,
            name=site_host().fqdn,
            root=ROOTS,
        ),
    )
