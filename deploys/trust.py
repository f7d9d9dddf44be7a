"""The internal root, trusted by every host and compared by fingerprint."""

from deploys.context import settings, site, site_host
from operations.trust import root_trusted
from phoenix.components import registries

root_trusted(
    name="Trust: internal root",
    site=site(),
    registries=registries.of_the_zone(site(), site_host(), settings()),
    keep=True,
)
