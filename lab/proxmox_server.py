"""The lab's Proxmox VE: the double with the site's storages and images. Runs in the hypervisor.

    python3 server.py SETTINGS.json

SETTINGS.json: address, port, certificate, key, password, and what `furnish` takes. It needs fakepve
and its dependencies on the path, and of this project `lab/proxmox_double.py` alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from lab.proxmox_double import Hypervisor, furnish


async def serve(settings: dict[str, Any]) -> None:
    """Serve until the process is ended."""
    pve = Hypervisor(
        user="root@pam",
        password=settings["password"],
        host=settings["address"],
        port=settings["port"],
    )
    furnish(pve, settings)
    await pve.start(settings["certificate"], settings["key"])
    print(f"fakepve listens on {pve.url}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
