"""What may be written, from the models: JSON Schema for editors, docs/reference.md for people."""
