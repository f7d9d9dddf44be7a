"""The hypervisor's part of the site's networks: bridges, forwarding and NAT."""
