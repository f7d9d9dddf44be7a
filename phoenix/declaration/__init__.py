"""The operator's files, read and checked, as one Site."""
