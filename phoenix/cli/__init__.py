"""The command `phoenix`: what an operator needs around pyinfra. One module a verb."""

from phoenix import garbage

garbage.collect_rarely(100_000)
