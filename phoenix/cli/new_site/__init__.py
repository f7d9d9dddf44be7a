"""A new site: what it begins with, its files, and what a Proxmox VE host says that it has."""
