"""Certificates of services whose TLS the gateway passes on.

Their names lead to the gateway, and so does the CA's question for the proof of http-01. The gateway
must know where to pass it on before (deploys/nginx.py).
"""

from deploys import acme, own_certificates

own_certificates.of_this_host(passed_on=True)
for of_stack in acme.of_stacks():
    own_certificates.of_a_stack(of_stack, passed_on=True)
