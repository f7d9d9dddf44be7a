"""Certificates of services whose TLS the gateway passes on.

Their names lead to the gateway, and so does the CA's question for the proof of http-01. The gateway
must know where to pass it on before (deploys/nginx.py), so every host waits for it.
"""

from deploys import acme, host_certificates
from deploys.context import site
from operations.removal import wait_for_all_hosts
from phoenix.derived.components import component_hosts

if component_hosts("passthrough", site()):
    wait_for_all_hosts(name="Certificates: the gateway passes on the CA's questions")
    host_certificates.of_this_host(passthrough=True)
    for of_stack in acme.of_stacks():
        host_certificates.of_a_stack(of_stack, passthrough=True)
