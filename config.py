"""pyinfra's settings for every run of this project."""

from pyinfra import config

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"
# A failed host is left out and the run exits with 1. The others go on: what they need of the
# failed one they look at themselves, and say so where it is missing.
