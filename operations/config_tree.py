"""One component's whole file tree as one operation.

Render on the control machine, compare with one fact, send what differs in one command. The
guest-side script (`components/config_tree/apply.sh`) stages the tree beside the live one, has it
proven by the service's own checker, swaps one symbolic link, loads it, waits for health, and swaps
back on failure. Whether the service must load it is read from the host's state, so a run that
died between swap and load is finished by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.exceptions import ConnectError, OperationError
from pyinfra.facts.files import FileContents
from pyinfra.operations.util.files import generate_color_diff

from facts.command import script
from facts.config_tree import ConfigTree
from operations.explain import log_lines, log_reasons
from operations.failure import local_command
from operations.host_state import Question, question, read, this_host
from operations.operation import operation
from phoenix import files
from phoenix.components.config_tree.tree import Tree, TreeDiff, TreeState, compare
from phoenix.runs.reporter import taken_over
from phoenix.shell import Script

Commands = Generator[StringCommand | FunctionCommand, None, None]


_APPLY = "components/config_tree/apply.sh"
_LOGINS = 3
_BETWEEN_LOGINS = 2.0
"""Seconds."""

# Unpacks the stage from standard input, then the script in it takes over.
_RECEIVE = Script(
    "config-tree",
    'umask 077; mkdir -p -m 755 /var/lib/phoenix "${1%/*}" "$1" "$1/gen" && '
    's=$(mktemp -d "$1/gen/.stage.XXXXXX") && '
    'base64 -d | tar -xf - -C "$s" && exec sh "$s/apply" install',
)


# The script is sent with the command, since a power cut may have emptied the generation's copy. If
# another generation is current by now (the change was not confirmed in time), its own script runs.
# On a read-only disk the error of `touch` names the cause, that of `tar` does not.
_LOAD = Script(
    "config-tree",
    'umask 077; c=$(readlink "$1/current") || exit 1; '
    'case "${c##*/}" in "$2".*) touch -- "$1/$c" && base64 -d | tar -xf - -C "$1/$c" || exit 1 ;; '
    "esac; "
    '[ -s "$1/$c/apply" ] || '
    '{ echo "phoenix: $1/$c/apply is empty: rm $1/current, then run again" >&2; exit 1; }; '
    'exec sh "$1/$c/apply" load',
)

# BASE ID VERB [word]: runs the generation's own script while it is current. A generation that was
# not confirmed in time has gone back by itself: `undo` has nothing to do then, other verbs fail.
_VERB = Script(
    "config-tree",
    'c=$(readlink "$1/current" 2>/dev/null) || c=; b=$1 id=$2; shift 2; '
    'case "${c##*/}" in "$id".*) exec sh "$b/current/apply" "$@" ;; esac; '
    '[ "$1" != undo ] || exit 0; '
    'echo "phoenix: the files went back by themselves before they were confirmed" >&2; exit 5',
)


def tree_state(tree: Tree) -> Question[TreeState]:
    """The question whose answer compares a host with `tree`."""
    return question(
        ConfigTree,
        base=tree.base,
        units=tree.all_units,
        paths=tree.paths,
        supersedes=tree.supersedes,
        in_force=tree.in_force,
        links=tree.links,
    )


@operation(reads=lambda tree, **_: [tree_state(tree)])
def config_tree(tree: Tree) -> Commands:
    """Make the host hold exactly `tree`, loaded by its service.

    Args:
        tree: the component's files, checker, unit and health check. With `start_later` it is left
            to later operations to have the service load it and to confirm it, within
            `tree.confirm` seconds; else the tree goes back by itself.

    A refused or unhealthy tree fails the host with the checker's words, the old files in charge;
    so does, with `tree.confirm`, a new SSH login that fails after the change.
    """
    state = read(tree_state(tree))
    diff = compare(tree, state)
    if not diff:
        host.noop(f"{tree.component}: {len(tree.files)} files in place, loaded")
        return
    _explain(tree, state, diff)
    if diff.files:
        yield script(_RECEIVE, tree.base, stdin=tree.archive(files.text(_APPLY)))
        if host.state.is_executing:  # the command before this line has succeeded
            for path in diff.replaced:
                taken_over(host.name, path, kept=tree.replaced_path(path))
            for path in diff.superseded:
                taken_over(host.name, path)
    elif not tree.start_later:
        yield load(tree)
    if tree.confirm and diff.files and not tree.start_later:
        yield local_command(lambda: _prove_login(tree))
        yield apply(tree, "confirm")


def load(tree: Tree) -> StringCommand:
    """The command by which the service takes the current generation, whose files are `tree`'s."""
    return script(_LOAD, tree.base, tree.id, stdin=tree.control(files.text(_APPLY)))


def apply(tree: Tree, verb: str, *arguments: str) -> StringCommand:
    """The command by which the script of `tree` does hold, confirm or undo, where it is current."""
    return script(_VERB, tree.base, tree.id, verb, *arguments)


def _explain(tree: Tree, state: TreeState, diff: TreeDiff) -> None:
    if host.state.config.DIFF:
        _show_diff(tree, state, diff)
    else:
        reasons = (f"{path} {why}" for path, why in diff.files.items())
        log_reasons(*reasons, *_no_longer_read(diff), *diff.load)


def _no_longer_read(diff: TreeDiff) -> list[str]:
    return [f"{path} stays, and is no longer read" for path in diff.superseded]


def _show_diff(tree: Tree, state: TreeState, diff: TreeDiff) -> None:
    log_lines([*diff.load, *_no_longer_read(diff)])
    for path, why in diff.files.items():
        logger.info("%s%s %s", host.print_prefix, path, why)
        file = tree.files.get(path)
        if file is None:
            continue
        if file.secret:
            logger.info("  a secret: not shown")
        else:
            current = (host.get_fact(FileContents, path=path) or []) if path in state.files else []
            want = file.data.decode(errors="replace").splitlines(keepends=True)
            for line in generate_color_diff([f"{line}\n" for line in current], want):
                logger.info("  %s", line)


def _prove_login(tree: Tree) -> None:
    """Open a second connection as the operator does; on failure go back over the first."""
    if error := _login_fault(tree.confirm / 2):
        succeeded, output = host.run_shell_command(apply(tree, "undo"))
        raise OperationError(
            f"a new SSH login fails with the new files ({error}); "
            + ("the previous ones are back" if succeeded else f"they stay: {output.stderr}")
        ) from error


def _login_fault(seconds: float) -> ConnectError | None:
    """Why a new login fails; None where one succeeds.

    A busy host may be late with its first answers, so only a log-in that is refused is final.

    Args:
        seconds: after which no other one is begun: later the change would go back by itself, and
            a log-in would succeed again.
    """
    end = time.monotonic() + seconds
    for attempt in range(_LOGINS):
        if attempt:
            if time.monotonic() + _BETWEEN_LOGINS > end:
                break
            time.sleep(_BETWEEN_LOGINS)
        second = type(host.connector)(host.state, this_host())
        try:
            second.connect()
        except ConnectError as error:
            fault = error
            if "Authentication" in str(error):
                break
        else:
            second.disconnect()
            return None
    return fault
