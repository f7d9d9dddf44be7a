"""The internal proxy."""
