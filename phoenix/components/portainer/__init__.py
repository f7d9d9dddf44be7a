"""Portainer's server and agent."""
