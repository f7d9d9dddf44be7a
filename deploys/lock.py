"""One run at a time: `phoenix sync` puts this before the deploys. It changes nothing."""

import os

from pyinfra import inventory

from deploys.context import settings, site
from operations.site_lock import hold
from phoenix.runs.lock import OWNER, parse_owner

if owner := parse_owner(os.environ.get(OWNER, "")):
    with settings():
        hold(inventory.get_host(site().hypervisor.name), owner)
