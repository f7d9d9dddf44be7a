"""How the CA's service is stopped, copied and asked how it is, for the deploys that change it."""

from pyinfra.api import DeployError
from pyinfra.api.exceptions import OperationError

from deploys.context import site, site_host
from facts.host_fact import FactError
from operations.trust import certificate_authority
from phoenix.components.ca_rotation import not_permitted
from phoenix.components.step_ca.authority import DIRECTORY, UNIT
from phoenix.components.x509 import CertificateError
from phoenix.derived import control_plane
from phoenix.files import render

BACKUPS = "/var/backups/phoenix/step-ca"


def check_names() -> None:
    """End the run where the CA that is deployed cannot vouch for the declared domain and network.

    A CA that does not answer, or cannot be read, is told by the steps that need it.

    Raises:
        DeployError: before any host is touched; says how the CA comes to vouch for both.
    """
    try:
        reason = not_permitted(site(), certificate_authority(site()))
    except (OperationError, FactError, CertificateError):
        return
    if reason:
        raise DeployError(reason)


def stop() -> str:
    """Shell command that stops it and keeps a copy of its database."""
    return _backup("stopped")


def copy() -> str:
    """Shell program that keeps a copy of its database while it runs, where it has changed."""
    return _backup("idle")


def _backup(when: str) -> str:
    return render(
        "components/step_ca/backup.sh.j2", unit=UNIT, directory=DIRECTORY, to=BACKUPS, when=when
    )


def health(lifetime: str) -> str:
    """Shell command that succeeds when it runs with the root on disk and this default lifetime.

    Not only alive, but with this configuration: what it says of itself decides.
    """
    return render(
        "components/step_ca/health.sh.j2",
        root=f"{DIRECTORY}/certs/root_ca.crt",
        url=f"https://{site_host().address}:{control_plane.ca(site()).port}",
        lifetime=lifetime,
    )
