"""Certificates that guests keep for themselves, by ACME."""
