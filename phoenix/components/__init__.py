"""One place for each component: its configuration as data, its templates and its shell."""
