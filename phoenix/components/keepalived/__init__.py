"""The virtual addresses of the gateways, by VRRP."""
