"""Whether it works: checks, paths, the first cause, advice, status, the start page."""
