"""Compose files as Compose itself reads them: YAML, interpolation, `.env` files. Knows no site."""
