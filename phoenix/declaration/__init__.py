"""From the files that an operator writes to a checked Site."""
