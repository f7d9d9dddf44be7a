"""Docker Engine's configuration on a host that may have had one before."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from pyinfra.api import FunctionCommand, StringCommand

from facts.docker import DockerDaemon
from operations.config_tree import config_tree, tree_state
from operations.explain import log_reasons
from operations.host_state import Question, question, read
from operations.operation import operation, stop_host
from phoenix.components.config_tree.tree import Tree, TreeFile, TreeState
from phoenix.components.docker.daemon_json import (
    DAEMON,
    KEPT,
    DaemonError,
    DaemonState,
    Declared,
    Merged,
    keeps_containers,
    merge,
    restarted_for,
)
from phoenix.components.docker.remote_api import DROP_IN

_NOTHING, _NOTHING_KEPT = Merged("", "{}\n"), Merged("", "")
"""For a tree with every file that it may have, and for one where daemon.json was new."""


def _state(tree: Tree) -> Question[DaemonState]:
    return question(DockerDaemon, base=tree.base)


def _paths(tree: Tree, merged: Merged) -> Tree:
    """The whole tree; what a person had in the file may be a password of a proxy."""
    mode = "0600" if merged.former else "0644"
    files = {DAEMON: TreeFile(merged.daemon, mode=mode)}
    if merged.former:
        files[KEPT] = TreeFile(merged.former, mode=mode)
    return replace(tree, files={**tree.files, **files})


def _starts_otherwise(tree: Tree, known: TreeState) -> bool:
    file, present = tree.files.get(DROP_IN), known.files.get(DROP_IN)
    return (file.sha256 if file else None) != (present.sha256 if present else None)


def _reads(tree: Tree, **_: object) -> list[Question[Any]]:
    return [
        _state(tree),
        tree_state(_paths(tree, _NOTHING)),
        tree_state(_paths(tree, _NOTHING_KEPT)),
    ]


@operation(reads=_reads)
def daemon(
    tree: Tree, *, desired: Declared
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Make dockerd run with the site's daemon.json, and with what was in it before Phoenix.

    Args:
        tree: the component's other files, its unit, checker and health check.
        desired: what the site wants in daemon.json.

    The host is refused, and nothing changed, where the file before cannot be read or the result
    would have dockerd leave its images and volumes.
    """
    state = read(_state(tree))
    try:
        merged = merge(desired, state)
    except DaemonError as error:
        yield from stop_host(str(error))
        return
    if state.foreign:
        log_reasons(*merged.words)
    whole = _paths(tree, merged)
    known = read(tree_state(_paths(tree, _NOTHING)))
    if known.current is not None and known.loaded == known.current:  # dockerd runs with it
        if keys := restarted_for(state.present, merged):
            meanwhile = (
                "go on running meanwhile (live-restore)"
                if keeps_containers(merged)
                else "stop and start again, as on each node of a swarm (no live-restore)"
            )
            log_reasons(
                f"restarts dockerd, which reads {', '.join(keys)} only when it starts; containers "
                f"{meanwhile}, and Docker's API does not answer"
            )
        elif _starts_otherwise(whole, known):
            log_reasons("restarts dockerd, whose command line changes")
        elif state.present.strip() != merged.daemon.strip():
            log_reasons("dockerd reloads its configuration; it and its containers go on running")
            whole = replace(whole, action="reload", after="")
    yield from config_tree._inner(whole)
