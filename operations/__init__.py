"""What should be: fact, compare, then yield or noop."""
