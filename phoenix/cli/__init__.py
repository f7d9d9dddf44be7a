"""The command `phoenix`: what an operator needs around pyinfra. One module a verb."""

import gc

# A command lives for seconds, and what it makes first, modules and a site, it keeps to its end:
# looking for garbage among that is an eighth of its time.
gc.set_threshold(100_000)
