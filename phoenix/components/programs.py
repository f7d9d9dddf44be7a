"""Where a guest has the programs that only Phoenix's own units and scripts start."""

from __future__ import annotations

LIBRARY = "/usr/local/lib/phoenix"
"""In /usr/local, since no package owns them (FHS 3.0, section 4.9)."""
