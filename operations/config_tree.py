"""One component's whole file tree as one operation.

Render on the control machine, compare with one fact, send what differs in one command. The
guest-side script (`components/config_tree/apply.sh`) stages the tree beside the live one, has it
proven by the service's own checker, swaps one symbolic link, loads it, waits for health, and swaps
back on failure. Whether the service must load it is read from the host's state, so a run that
died between swap and load is finished by the next one.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator
from functools import cache

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, Host, State, StringCommand, operation
from pyinfra.api.exceptions import ConnectError
from pyinfra.facts.files import FileContents
from pyinfra.operations.util.files import generate_color_diff

from facts.config_tree import ConfigTree
from operations.explain import because, tell
from phoenix import files
from phoenix.components.config_tree.tree import Tree, TreeDiff, TreeState, compare

Commands = Generator[StringCommand | FunctionCommand, None, None]


@cache
def _script() -> str:
    return files.text("components/config_tree/apply.sh")


@operation()
def config_tree(tree: Tree, *, trial: bool = False) -> Commands:
    """Make the host hold exactly `tree`, loaded by its service.

    Args:
        tree: the component's files, checker, unit and health check.
        trial: leave it to a later operation to confirm the tree, within `tree.confirm` seconds.

    A refused or unhealthy tree fails the host with the checker's words, the old files in charge;
    so does, with `tree.confirm`, a new SSH login that fails after the change.
    """
    state = host.get_fact(
        ConfigTree, base=tree.base, units=tree.all_units, paths=sorted(tree.files)
    )
    diff = compare(tree, state)
    if not diff:
        host.noop(f"{tree.component}: {len(tree.files)} files in place, loaded")
        return
    _explain(tree, state, diff)
    if diff.files:
        yield StringCommand("sh", "-c", shlex.quote(_receive(tree)), _stdin=tree.archive(_script()))
    else:
        yield StringCommand("sh", f"{tree.base}/current/apply", "load")
    if tree.confirm and diff.files and not trial:
        yield FunctionCommand(_prove_login, (tree,), {})
        yield StringCommand("sh", f"{tree.base}/current/apply", "confirm")


def _receive(tree: Tree) -> str:
    """Unpack the stage from standard input, then let its own script take over."""
    return (
        f"umask 077; mkdir -p -m 755 /var/lib/phoenix {tree.base.rsplit('/', 1)[0]} {tree.base} "
        f"{tree.base}/gen && s=$(mktemp -d {tree.base}/gen/.stage.XXXXXX) && "
        'base64 -d | tar -xf - -C "$s" && exec sh "$s/apply" install'
    )


def _explain(tree: Tree, state: TreeState, diff: TreeDiff) -> None:
    if host.state.config.DIFF:
        _show_diff(tree, state, diff)
    else:
        because(*(f"{path} {why}" for path, why in diff.files.items()), *diff.load)


def _show_diff(tree: Tree, state: TreeState, diff: TreeDiff) -> None:
    tell(diff.load)
    for path, why in diff.files.items():
        logger.info("%s%s %s", host.print_prefix, path, why)
        file = tree.files.get(path)
        if file is None:
            continue
        if file.secret:
            logger.info("  a secret: not shown")
        else:
            have = (host.get_fact(FileContents, path=path) or []) if path in state.files else []
            want = file.data.decode(errors="replace").splitlines(keepends=True)
            for line in generate_color_diff([f"{line}\n" for line in have], want):
                logger.info("  %s", line)


def _prove_login(state: State, host: Host, tree: Tree) -> bool:
    """Open a second connection as the operator does; on failure go back over the first."""
    probe = type(host.connector)(state, host)
    try:
        probe.connect()
        probe.disconnect()
    except ConnectError as error:
        host.run_shell_command(StringCommand("sh", f"{tree.base}/current/apply", "undo"))
        host.log_styled(
            f"a new SSH login fails with the new files ({error}); the previous ones are back",
            fg="red",
            log_func=logger.error,
        )
        return False
    return True
