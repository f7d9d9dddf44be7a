"""The command `phoenix`: what an operator needs around pyinfra. One module a verb."""

from phoenix import garbage

garbage.spare(100_000)
