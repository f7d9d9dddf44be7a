"""The virtual addresses of two gateways: keepalived on each.

It comes before the name servers, which lead clients there: a gateway that is at work already takes
its address before any client asks for it. A new gateway gets it from deploys/nginx.py, when its
Nginx runs and before its certificate: the CA's questions come to a virtual address.
"""

from deploys import gateway_tree, keepalived_tree
from deploys.context import site, site_host
from operations import serial
from phoenix.derived.certificates import GATEWAY_PAIR
from phoenix.derived.components import component_hosts

if site_host() in component_hosts("keepalived", site()) and gateway_tree.serves(GATEWAY_PAIR):
    with serial.component("Virtual addresses", serial.ALL):
        keepalived_tree.install_keepalived()
