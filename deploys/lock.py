"""One run at a time: `phoenix sync` puts this before the deploys. It changes nothing."""

import os
import select
import sys

from pyinfra import inventory

from deploys import systems
from deploys.context import setting_errors, site
from operations.site_lock import hold
from phoenix.runs.lock import KEEP, OWNER, parse_owner
from phoenix.runs.reporter import report

systems.check_identity()
if owner := parse_owner(os.environ.get(OWNER, "")):
    with setting_errors():
        locked = hold(inventory.get_host(site().hypervisor.name), owner)
    if locked and KEEP in os.environ:
        report("locked")
        select.select([sys.stdin], [], [])  # nothing is sent: it ends with the command
