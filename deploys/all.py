"""The whole platform, in dependency order. Each line also works alone, and with --limit."""

from pyinfra import local

from deploys import preparation

preparation.ask()  # each host at once for what the files below read while they are prepared
local.include("deploys/networks.py")  # bridges, before guests are connected to them
local.include("deploys/proxmox.py")  # guests and firewall, where proxmox_api is on
local.include("deploys/keepalived.py")  # virtual addresses, before names lead there
local.include("deploys/dns.py")  # names first: everything below is reached by name
local.include("deploys/base.py")  # packages, resolver, SSH, updates
local.include("deploys/step_ca.py")  # the root of trust
local.include("deploys/trust.py")  # ... on every host
local.include("deploys/nfs_exports.py")  # folders that the hypervisor shares
local.include("deploys/guard.py")  # what each host lets in
local.include("deploys/nfs.py")  # folders that guests mount
local.include("deploys/certificates.py")  # guests that serve TLS themselves
local.include("deploys/traefik.py")  # the internal proxy
local.include("deploys/home.py")  # ... and the start page behind it
local.include("deploys/nginx.py")  # the front door
local.include("deploys/admission.py")  # ... which alone Traefik lets in
local.include("deploys/passthrough.py")  # certificates of services whose TLS it passes on
local.include("deploys/docker.py")  # Docker Engine on the Docker hosts
local.include("deploys/swarm.py")  # ... and those that are one swarm
local.include("deploys/portainer.py")  # their control plane, server and agents
local.include("deploys/stacks.py")  # the applications
local.include("deploys/watch.py")  # each host's checks by a timer, and who raises alarms
local.include("deploys/restic.py")  # backups by a timer, also of secrets made above
local.include("deploys/verify.py")  # and now prove it
