"""The hypervisor: guests, firewall and boot order through the Proxmox VE API, free of pyinfra.

`desired` says what should be, `diff` compares it with what is, `converge` writes the difference.
"""
