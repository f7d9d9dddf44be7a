"""The internal root, trusted by every host and compared by fingerprint."""

from deploys.context import site
from operations.trust import root_trusted

root_trusted(name="Trust: internal root", site=site(), keep=True)
