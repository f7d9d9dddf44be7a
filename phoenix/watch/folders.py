"""Where the watcher keeps its files. Its units name the same folders, by the last part of each."""

from __future__ import annotations

from pathlib import Path

ETC = Path("/etc/phoenix")
PLAN = "watcher.json"
"""Below `ETC`: what it knows of the site."""
RUN = Path("/run/phoenix-watch")
"""The newest reports, until the next boot."""
SHOWN = Path("/run/phoenix-watch-look")
"""What others may read of the last look. It is in memory: it is written with each look."""
VAR = Path("/var/lib/phoenix-watch")
"""What the watcher remembers."""
STATUS = "status.json"
"""Below `VAR`: what the last look found, for `phoenix status`."""
