"""Where the project's own folders are, and what it keeps on the operator's machine."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
CHECKOUT = not (_PACKAGE / "project").is_dir()
PROJECT = _PACKAGE.parent if CHECKOUT else _PACKAGE / "project"
"""Beside this package in a checkout, inside it where a wheel was installed (see setup.py)."""
EXAMPLE = PROJECT if CHECKOUT else PROJECT / "example"
"""A site to begin with: inventories/, stacks/ and group_data/."""


def deploys_of(root: Path) -> Path:
    """Where pyinfra runs for the site in `root`: there if it has deploys of its own, else ours."""
    return root if (root / "deploys").is_dir() else PROJECT


def site_inventory(folder: Path) -> Path:
    """The inventory of a site's folder: the file that `phoenix init` writes, else its directory.

    Args:
        folder: of the site, with `inventories/`, `group_data/` and `stacks/`; or the directory of
            the two JSON files itself.
    """
    inside = folder / "inventories"
    choices = (inside / "phoenix.py", inside)
    return next((path for path in choices if path.exists()), folder)


def user_cache() -> Path:
    """The folder for what can be made again (XDG Base Directory Specification); may be absent."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "phoenix"
