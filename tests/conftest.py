"""What holds for all tests."""

from unittest.mock import patch

# pyinfra's command line makes greenlets of all threads when it is imported, for the whole process
# and for good; servers that tests run in threads would stand still. Nothing here needs that.
with patch("gevent.monkey.patch_all"):
    import pyinfra_cli  # noqa: F401
