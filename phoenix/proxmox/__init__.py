"""The hypervisor: guests, firewall and boot order through the Proxmox VE API, free of pyinfra.

`desired` computes the desired state, `diff` compares it with the observed one, `converge` writes
the difference.
"""
