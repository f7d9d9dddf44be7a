"""Host certificates of the guests that serve TLS themselves: Docker hosts, Portainer."""

from deploys import acme
from operations.certificates import acme_certificate
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.portainer import tunnel
from phoenix.components.portainer.compose_files import SERVER_UNIT
from phoenix.shell import fill

# Portainer reads its pair when it starts. Containers say by a label how they take a new one.
RELOAD = fill(
    "! systemctl -q is-active {{ tunnel }} || systemctl reload {{ tunnel }};"
    " ! systemctl -q is-active {{ unit }} || systemctl restart {{ unit }};"
    " ! command -v docker >/dev/null || docker ps -q"
    " --filter label=ai.thinkheads.phoenix.certificate=restart | xargs -r docker restart",
    tunnel=tunnel.UNIT,
    unit=SERVER_UNIT,
)

certificate = acme.certificate("host")
if certificate is not None:
    packages(name="Certificate: packages", names=["lego", "openssl"])
    config_tree(name="Certificate: renewal", tree=acme.tree(certificate, reload=RELOAD))
    acme_certificate(name="Certificate: issue", certificate=certificate.name)
