"""A stack that changes its host: when it does, in which order, and the shell of both ends."""
