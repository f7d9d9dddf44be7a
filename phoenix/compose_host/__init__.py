"""Stacks that compose deploys on their own host, without Portainer."""
