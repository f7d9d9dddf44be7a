"""Folders by NFS: what the hypervisor shares, and what VMs mount."""
