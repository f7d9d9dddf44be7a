"""Secrets: which there are, and where each comes from."""
