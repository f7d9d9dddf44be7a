"""Renew the certificates of one guest now (--data certs_renew=GUEST), whether they are due or not.

The CA creates its own again when it starts.
"""

from pyinfra import host

from deploys import ca
from deploys.context import setting_errors, settings, site
from deploys.run_arguments import text
from operations.certificates import renewed_now, restarted
from phoenix.components.ca_rotation import certificates_of, check_renewal
from phoenix.components.step_ca.authority import UNIT

with setting_errors():
    guest = check_renewal(site(), text("certs_renew"))

if host.name == guest.name:
    for certificate in certificates_of(site(), guest):
        renewed_now(name="Certificate: renewed", certificate=certificate.name)
    if "step_ca" in host.groups:
        restarted(
            name="Certificate: renewed",
            unit=UNIT,
            health=ca.health(settings().step_ca_lifetime_default),
        )
