"""What must hold at the gateway before Traefik may rely on it, and the other way round."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host, inventory
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import ConnectError

from facts.gateway import ClientCertificate, OwnAnswer
from facts.host_fact import FactError
from facts.traefik import AdmittedCertificates
from operations.failure import refuse
from operations.host_state import question, read, read_of
from operations.operation import operation
from phoenix.components.trust import ROOTS


@operation(
    reads=lambda gateways, **_: [question(ClientCertificate)] if host.name in gateways else []
)
def require_known_certificate(
    *, gateways: Sequence[str], fingerprints: Sequence[str], former: bool = False
) -> Generator[FunctionCommand, None, None]:
    """Refuse what follows on this host unless each gateway presents a certificate that is known.

    Of several, one that is down holds nothing up, unless it may have a certificate that Traefik is
    about to forget: it would come back and take over, and each of its requests would be refused.

    Put it on the gateways and on Traefik's guests: an operation waits for all that take part, so
    the gateways have by then what this run gives them.

    Args:
        gateways: the gateways' names in the inventory.
        fingerprints: SHA-256 in hex of each certificate that Traefik is about to know.
        former: whether Traefik knows one more now, which a gateway that is down may have.
    """
    if host.name in gateways and not former:
        host.noop("the gateway itself")
        return
    if not host.state.is_executing:
        host.noop("the gateway is asked when the run comes to it")
        return
    for gateway in gateways:
        try:
            presented = read_of(inventory.get_host(gateway), question(ClientCertificate))
        except (ConnectError, FactError) as error:
            if gateways[1:] and not former:
                continue  # it is down, and asks Traefik for nothing
            if gateways[1:]:
                yield from refuse(
                    f"{gateway} does not answer, and may have the former certificate: Traefik goes "
                    "on to let in both. `phoenix sync` ends the change when it answers; where it "
                    "is gone for good, take it out of the declaration before"
                )
                return
            presented, why = "", f": {error}"
        else:
            why = "" if presented else ", but none"
        if presented not in fingerprints:
            yield from refuse(
                f"{gateway} does not present the certificate that Traefik would ask for{why}. "
                "Traefik stays as it is, since it would refuse every request. Run deploys/nginx.py "
                "first"
            )
            return
    host.noop("the gateway presents its certificate")


@operation(
    reads=lambda traefiks, **_: [question(AdmittedCertificates)] if host.name in traefiks else []
)
def require_next_admitted(
    *, traefiks: Sequence[str], certificate: str
) -> Generator[FunctionCommand, None, None]:
    """Refuse what follows on this host unless each Traefik lets in a gateway's next certificate.

    One that is down would come back, and refuse each request of a gateway that presents it.

    Args:
        traefiks: their names in the inventory.
        certificate: SHA-256 in hex of the certificate that the gateways are about to present.
    """
    if not host.state.is_executing:
        host.noop("Traefik is asked when the run comes to it")
        return
    for traefik in traefiks:
        try:
            known = read_of(inventory.get_host(traefik), question(AdmittedCertificates))
        except (ConnectError, FactError) as error:
            known, why = (), f": {error}"
        else:
            why = ""
        if certificate not in known:
            yield from refuse(
                f"{traefik} does not let in the new certificate{why}. The gateways go on to "
                "present the former one. `phoenix sync` goes on with the change when it does; "
                f"where {traefik} is gone for good, take it out of the declaration before"
            )
            return
    host.noop("Traefik lets in the new certificate")


@operation(reads=lambda **asked: [question(OwnAnswer, root=ROOTS, **asked)])
def answers(*, url: str, address: str) -> Generator[FunctionCommand, None, None]:
    """Refuse what follows unless this gateway answers a whole request by its own address.

    Among steps of hosts that are changed one after the other it keeps the next gateway as it is.

    Args:
        url: what is asked for.
        address: the gateway's own, whoever has the virtual address.
    """
    if not host.state.is_executing:
        host.noop("it is asked when the run comes to it")
        return
    fault = read(question(OwnAnswer, url=url, address=address, root=ROOTS))
    if not fault:
        host.noop(f"{url} is answered at {address}")
        return
    yield from refuse(
        f"{url} at this gateway's own address {address} {fault}. A gateway after this one is left "
        "as it is"
    )
