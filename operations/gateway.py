"""What must hold at the gateway before Traefik may rely on it."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host, inventory
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import ConnectError

from facts.gateway import ClientCertificate
from facts.host_fact import FactError
from operations.failure import refuse
from operations.host_state import question, read_of
from operations.operation import operation


@operation(reads=lambda gateway, **_: [question(ClientCertificate)] if host.name == gateway else [])
def presents(
    *, gateway: str, fingerprints: Sequence[str]
) -> Generator[FunctionCommand, None, None]:
    """Refuse what follows on this host unless the gateway presents a certificate that is known.

    Put it on the gateway and on Traefik's guest: an operation waits for all that take part, so the
    gateway has by then what this run gives it.

    Args:
        gateway: the gateway's name in the inventory.
        fingerprints: SHA-256 in hex of each certificate that Traefik is about to know.
    """
    if host.name == gateway:
        host.noop("the gateway itself")
        return
    if not host.state.is_executing:
        host.noop("the gateway is asked when the run comes to it")
        return
    try:
        presented = read_of(inventory.get_host(gateway), question(ClientCertificate))
    except (ConnectError, FactError) as error:
        presented, why = "", f": {error}"
    else:
        why = "" if presented else ", but none"
    if presented in fingerprints:
        host.noop("the gateway presents its certificate")
        return
    yield from refuse(
        f"{gateway} does not present the certificate that Traefik would ask for{why}. Traefik "
        "stays as it is, since it would refuse every request. Run deploys/nginx.py first"
    )
