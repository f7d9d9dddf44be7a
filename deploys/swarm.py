"""The site's Docker Swarm: one manager makes it, the other nodes join, and each is as declared;
so are its overlay networks.

Promotions come before demotions, so that the managers stay a majority. A node or network
that is no longer declared is told (`phoenix status`), and goes by `phoenix remove`.
"""

from deploys.context import setting_errors, settings, site, site_host
from operations import swarm
from phoenix.components.swarm import address_pool

if site_host().swarm is not None:
    with setting_errors():
        pools = [str(pool) for pool in address_pool.pools(site(), settings())]
        in_use = address_pool.ranges_in_use(site(), settings())
    if site_host() == site().swarm_nodes[0]:
        swarm.initialized(name="Swarm: made", site=site(), pools=pools)
    swarm.joined(name="Swarm: joined", site=site())
    # Both on every node: pyinfra keeps the order of one host's steps alone.
    swarm.node(name="Swarm: managers", site=site(), in_use=in_use, role="manager")
    swarm.node(name="Swarm: workers", site=site(), in_use=in_use, role="worker")
    if site_host() == site().swarm_nodes[0]:
        for network in site().swarm_networks:
            swarm.network(name=f"Swarm: network {network.name}", site=site(), declared=network)
