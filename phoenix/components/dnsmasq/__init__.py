"""The internal name server."""
