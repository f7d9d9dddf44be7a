"""What the verbs show: each verb's JSON as a model, and the same in words for a person.

The verbs themselves are in phoenix/cli: they import from here when they run, so that help and
shell completion need none of it.
"""
