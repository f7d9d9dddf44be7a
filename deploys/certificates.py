"""Certificates of the guests that serve TLS themselves, and of each stack: Docker hosts, Portainer.

A stack has a pair of its own, which its containers alone see. What an earlier release gave them all
is the host's pair: while a running container still reads that, it proves the stacks' names too.

deploys/passthrough.py issues each certificate with a name that leads to the gateway.
"""

from deploys import acme, host_certificates
from operations.config_tree import config_tree
from operations.isolation import part
from operations.packages import packages
from phoenix.components.acme.phoenix_acme_conf import containers_take
from phoenix.components.portainer import tunnel
from phoenix.components.portainer.compose_files import SERVER_UNIT
from phoenix.derived.certificates import HOST_PAIRS, RENEWAL_LABEL
from phoenix.shell import fill

# Portainer reads its pair when it starts. Containers of an earlier release mount the host's pair.
RELOAD = fill(
    "! systemctl -q is-active {{ tunnel }} || systemctl reload {{ tunnel }};"
    " ! systemctl -q is-active {{ unit }} || systemctl restart {{ unit }};"
    " ! command -v docker >/dev/null || docker ps -q --filter volume={{ pairs }}"
    " --filter label={{ label }}=restart | xargs -r docker restart",
    tunnel=tunnel.UNIT,
    unit=SERVER_UNIT,
    pairs=HOST_PAIRS,
    label=RENEWAL_LABEL,
)

certificate = acme.certificate("host")
if certificate is not None:
    packages(name="Certificate: packages", names=["lego", "openssl"])
    config_tree(name="Certificate: renewal", tree=acme.tree(certificate, reload=RELOAD))
host_certificates.of_this_host(passthrough=False)
for of_stack in acme.of_stacks():
    with part(of_stack.project):
        config_tree(
            name=f"Certificate of {of_stack.project}: renewal",
            tree=acme.tree(of_stack, reload=containers_take(of_stack)),
        )
    host_certificates.of_a_stack(of_stack, passthrough=False)
