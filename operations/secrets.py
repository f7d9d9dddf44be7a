"""Secrets that this run makes: kept before any host knows them. Give operations a ``name=``."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FunctionCommand

from operations.explain import log_lines, log_reasons
from operations.failure import locally
from operations.operation import operation
from phoenix.secrets.store import SecretStore


@operation()
def kept(secret: str, store: SecretStore) -> Generator[FunctionCommand, None, None]:
    """Keep the value that was generated for `secret`, on the control machine.

    Args:
        secret: the secret's name.
        store: holds the value since this run was prepared; after this its file does.
    """
    if store.origin(secret) != "absent":
        host.noop(f"secret {secret} is kept in {store.place}")
        return
    log_reasons(f"secret {secret}: made at the first sync, and kept in {store.place}")

    def keep() -> None:
        if store.keep(secret):
            log_lines([f"secret {secret} made, kept in {store.place}"])

    yield locally(keep)
