"""Connections that the control machine makes."""
