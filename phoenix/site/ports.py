"""Ports that a protocol fixes, those of the site's services where none is declared, loopback."""

from __future__ import annotations

from ipaddress import IPv4Address

LOOPBACK = IPv4Address("127.0.0.1")
"""The address that what serves its own guest alone listens on (RFC 1122, section 3.2.1.3)."""
DNS = 53
"""RFC 1035, section 4.2."""
NTP = 123
"""RFC 5905, section 7.2."""
SSH = 22
HTTP = 80
"""RFC 9110, section 4.2.1; the ACME http-01 challenge uses it too (RFC 8555, section 8.3)."""
HTTPS = 443
"""RFC 9110, section 4.2.2."""
PROXMOX_API = 8006
TRAEFIK_LOCAL = 8081
"""Where Traefik answers checks that are made on its own guest: loopback alone."""
NGINX_STATUS = 8082
"""Where Nginx answers checks that are made on its own guest: loopback alone."""
HOME = 8083
"""Where the start page is served to the guest's own Traefik: loopback alone."""
PORTAINER_EDGE = 48000
"""Where Portainer listens for Edge agents: loopback alone, and nobody asks there."""
AGENT_INTERNAL = 9005
"""Where a Portainer agent listens besides, whatever its own port is: loopback alone."""
UNPRIVILEGED = 1024
"""The first port that a process without privileges may listen on (ip(7))."""

CA = 9000
"""The CA's, unless `traefik_service.port` of its guest says otherwise."""
PORTAINER = 9443
"""Portainer's, unless `traefik_service.port` of its guest says otherwise."""
AGENT = 9001
"""A Portainer agent's, unless a `traefik_service` with the agent's name says otherwise."""
SWARM = 2377
"""Where managers of a Docker Swarm are asked: by mutual TLS alone
(https://docs.docker.com/engine/swarm/swarm-tutorial/#open-protocols-and-ports-between-the-hosts).
"""
SWARM_GOSSIP = 7946
"""Where its nodes tell each other who is there, by TCP and UDP (likewise)."""
SWARM_OVERLAY = 4789
"""UDP port of VXLAN (RFC 7348, section 5), which carries overlay networks between nodes."""
WATCH = 8470
"""Where the watcher takes the reports of the site's hosts."""
NFS = 2049
"""NFSv4 needs this port alone (RFC 8881, section 2.9.3)."""
