"""Which revision of the project runs: asked of git, where the project is a checkout of it."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from phoenix.site.model import Frozen

_SECONDS = 20


class Revision(Frozen):
    """`commit` in full hex, None where there is no checkout; `dirty`: files differ from it."""

    commit: str | None
    dirty: bool


NONE = Revision(commit=None, dirty=False)


def revision(root: Path) -> Revision:
    """The revision of the checkout at `root`; NONE where it is none, or git is not there.

    A checkout further up does not count: it is somebody else's. Untracked files count as changes,
    ignored ones do not.
    """
    try:
        top, commit = _git(root, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != root.resolve():
            return NONE
        # Without optional locks: a run must not get into the way of the operator's own git.
        changes = _git(root, "--no-optional-locks", "status", "--porcelain")
    except (OSError, ValueError, subprocess.SubprocessError):
        return NONE
    return Revision(commit=commit, dirty=bool(changes))


@cache
def of_this_run(root: Path) -> Revision:
    """The revision as this process first asked for it: it runs what was there then.

    Each question starts git twice, which looks at every file.
    """
    return revision(root)


def contains(root: Path, commit: str) -> bool | None:
    """Whether the checkout at `root` has a commit in its history; None if it does not know it."""
    try:
        _git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except (OSError, subprocess.SubprocessError):
        return None
    try:
        _git(root, "merge-base", "--is-ancestor", commit, "HEAD")
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _git(root: Path, *arguments: str) -> str:
    process = subprocess.run(
        ["git", "-C", str(root), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=_SECONDS,
    )
    return process.stdout
