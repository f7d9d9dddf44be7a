"""How every service that Phoenix relies on restarts: a drop-in, the same for each unit."""

from __future__ import annotations

from phoenix.components.config_tree.tree import TreeFile
from phoenix.files import text


def restart_always(unit: str) -> dict[str, TreeFile]:
    """The drop-in by which systemd starts a service again, however often it ended by itself.

    It stands beside the unit, also where the unit is a package's: Debian's nginx.service has
    `Restart=no`, and docker.service gives up after three starts in a minute.

    Args:
        unit: Name of a systemd service.

    Returns:
        Path and file, for the tree of the component that the unit belongs to.
    """
    return {f"/etc/systemd/system/{unit}.d/restart.conf": TreeFile(text("components/restart.conf"))}
