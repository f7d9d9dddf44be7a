"""What is: thin, typed facts over pure parse functions."""
