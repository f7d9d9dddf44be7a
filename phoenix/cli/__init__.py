"""The command `phoenix`: what an operator needs around pyinfra. One module a verb."""

import gc

# A command lives for seconds and keeps its modules and its site to the end: to collect garbage
# among them would take an eighth of its time.
gc.set_threshold(100_000)
