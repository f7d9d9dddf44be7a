"""What differs in the container lab (the group that inventories/lab.py gives its hosts)."""

# Docker's own resolver inside a container: it asks whatever the machine itself asks.
dns_upstreams = ["127.0.0.11"]
# A machine that reaches its package mirror at a private address is none of the lab's business.
dns_stop_rebind = False
