"""The topology, drawn."""
