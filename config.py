"""pyinfra's settings for every run of this project."""

import sys

from pyinfra import config

from operations import ssh_connecting
from phoenix import garbage

garbage.collect_rarely(300_000)
# pyinfra has Python keep nothing of what it compiles, and each run would compile this project anew.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"
# A host that does not answer is left out and the run exits with 1. The others go on: what they need
# of it they look at themselves, and say so where it is missing. So do a host's other components
# where one of them fails (operations/isolation.py).
ssh_connecting.install()
# Hosts at once: pyinfra's own default, 20 for each CPU; fewer gain nothing (docs/scale.md).
