"""Operations: read a fact, compare it with the desired state, then yield commands or a noop."""
