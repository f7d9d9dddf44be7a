"""Host certificates of the guests that serve TLS themselves: Docker hosts, Portainer."""

from deploys import acme
from operations.certificates import acme_certificate
from operations.config_tree import config_tree
from operations.packages import packages

certificate = acme.wanted("host")
if certificate is not None:
    packages(name="Certificate: packages", names=["lego", "openssl"])
    config_tree(name="Certificate: renewal", tree=acme.tree(certificate))
    acme_certificate(name="Certificate: issue", certificate=certificate.name)
