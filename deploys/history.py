"""What the site remembers of its runs, told to `phoenix history` and `phoenix plan`.

A run that this machine's own lock refused is added to it.
"""

import os

from pyinfra import inventory

from deploys.context import site
from operations.site_lock import record_in_history, record_refused
from phoenix.runs.history import REFUSED, WANTED, Refusal

hypervisor = inventory.get_host(site().hypervisor.name)
if refusal_text := os.environ.get(REFUSED):
    refusal = Refusal.model_validate_json(refusal_text)
    record_refused(hypervisor, refusal.owner, refusal.reason)
else:
    record_in_history(hypervisor, os.environ.get(WANTED, "last"))
