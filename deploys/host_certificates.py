"""Certificates of this host and of its stacks, issued before or after the gateway is deployed.

With `passthrough` those with a name that leads to the gateway, which must pass on the CA's question
first; else all others.
"""

from deploys import acme
from deploys.context import site, site_host
from operations.certificates import acme_certificate, shared_pair
from operations.isolation import part
from phoenix.components.acme.phoenix_acme_conf import stack_pairs
from phoenix.derived.certificates import HostCertificate, is_passthrough


def of_this_host(*, passthrough: bool) -> None:
    """Issue the host's own, where it has one and it is due."""
    certificate = acme.certificate("host")
    if certificate is None or is_passthrough(site(), certificate) is not passthrough:
        return
    acme_certificate(name="Certificate: issue", certificate=certificate.name)
    if pairs := stack_pairs(site(), site_host()):
        shared_pair(
            name="Certificate: the host's pair, while stacks read it",
            certificate=certificate.name,
            pairs=pairs,
            proof=acme.proof_of(
                (*certificate.sans, *(name for pair in pairs for name in pair.sans))
            ),
        )


def of_a_stack(certificate: HostCertificate, *, passthrough: bool) -> None:
    """Issue a stack's, where it is due."""
    if is_passthrough(site(), certificate) is passthrough:
        with part(certificate.project):
            acme_certificate(
                name=f"Certificate of {certificate.project}: issue", certificate=certificate.name
            )
