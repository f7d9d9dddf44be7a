"""Facts, the observed state of a host: thin and typed, over pure parse functions."""
