"""The internal root, or both of them while it is replaced, in a host's trust store."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from threading import Lock

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.exceptions import ConnectError, OperationError
from pyinfra.api.state import StateStage

from facts.command import command
from facts.host_fact import FactError
from facts.step_ca import CertificateAuthority
from facts.trust import LocalTrust, TrustedRoots
from operations.config_tree import config_tree, tree_state
from operations.explain import unknown_before_run
from operations.failure import refuse
from operations.host_state import Question, question, read, read_of
from operations.operation import operation
from phoenix.components.portainer import tunnel
from phoenix.components.step_ca.authority import CaState, faults
from phoenix.components.traefik import traefik_yml
from phoenix.components.trust import ROOTS, STORE, directory, stale_roots, stored, tree
from phoenix.components.x509 import CertificateInfo, parse_chain
from phoenix.site import unit_names
from phoenix.site.model import Site
from phoenix.site.roles import guest_with


def _store(site: Site) -> Question[dict[str, CertificateInfo]]:
    return question(LocalTrust, directory=directory(site, host.name))


_READERS = (unit_names.NGINX, traefik_yml.UNIT, tunnel.UNIT)
_states: dict[str, CaState] = {}
_silent: dict[str, str] = {}
_asking = Lock()


@operation(
    reads=lambda site, registries=(), **_: [
        _store(site),
        tree_state(tree([""], directory(site, host.name), registries=registries)),
    ]
)
def root_trusted(
    site: Site, *, registries: Sequence[str] = (), keep: bool = False
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Trust the CA's present root on this host, and no earlier root of this CA.

    While the root is replaced (operations.rotation) both are trusted. They are read from the CA's
    own guest over SSH, whose host key is known: no unverified download.

    The host is refused while the CA does not answer, or cannot be used.

    Args:
        registries: names of those that Docker is to verify by the root as well.
        keep: then a host that trusts a root already keeps it instead, and the run warns of it.
    """
    try:
        ca = certificate_authority(site)
    except OperationError as error:
        if not host.state.is_executing:
            unknown_before_run(str(error))
            host.noop("is decided when the CA answers")
            return
        yield from _kept_or_refused(site, str(error), keep=keep)
        return
    if ca.absent:
        if host.state.current_stage <= StateStage.Prepare:
            unknown_before_run("the root certificate: the CA does not exist yet")
            yield command("true")  # the plan for a new site: there is no CA yet
            return
        yield from refuse("the CA has no root certificate yet: run deploys/step_ca.py first")
        return
    if ca.phase != "switching" and (problems := faults(ca)):
        yield from _kept_or_refused(
            site, f"the CA cannot be used: {'; '.join(problems)}", keep=keep
        )
        return
    roots = [parse_chain(pem)[0] for pem in ca.roots]
    present: dict[str, CertificateInfo] = read(_store(site))
    where = directory(site, host.name)
    # What stands in a store that is left alone is not looked at.
    stale = stale_roots(roots, present) if where == STORE else []
    if stale:
        yield command("rm", "-f", "--", *stale)
    yield from config_tree._inner(tree(ca.roots, where, registries=registries, readers=_READERS))
    if stale:
        yield command("update-ca-certificates", "--fresh")


def _kept_or_refused(
    site: Site, reason: str, *, keep: bool
) -> Generator[FunctionCommand, None, None]:
    """Keep the root that this host trusts, with a warning; else refuse the host."""
    if keep:
        if set(stored(directory(site, host.name))) & read(_store(site)).keys():
            logger.warning("%skeeps the root that it trusts: %s", host.print_prefix, reason)
            host.noop("the root that it trusts is kept")
            return
        reason = f"this host trusts no root of the CA yet, and {reason}"
    yield from refuse(reason)


def roots_of(site: Site, keeper: str) -> str:
    """The trusted roots (PEM): of the CA, else of a host that has them while the CA is silent.

    Args:
        keeper: name of that host.

    Raises:
        OperationError: neither the CA nor that host answers.
    """
    try:
        return "".join(certificate_authority(site).roots)
    except OperationError as silent:
        try:
            keeping = host.state.inventory.get_host(keeper)
            return read_of(keeping, question(TrustedRoots, path=ROOTS))
        except (ConnectError, FactError):
            raise silent from None


def certificate_authority(site: Site) -> CaState:
    """The CA's state on its guest; read once a run, and again while there is no CA yet.

    Raises:
        OperationError: the guest does not answer, or not so that it can be used.
    """
    ca = host.state.inventory.get_host(guest_with(site, "step_ca").name)
    with _asking:  # all hosts come here at the same time
        if ca.name in _silent:
            raise OperationError(_silent[ca.name])
        if _states.get(ca.name, CaState()).absent:
            try:
                _states[ca.name] = read_of(ca, question(CertificateAuthority))
            except ConnectError as error:
                _silent[ca.name] = f"the CA's guest {ca.name} does not answer by SSH: {error}"
                raise OperationError(_silent[ca.name]) from None
            except FactError as error:
                _silent[ca.name] = f"the CA's guest {ca.name} gives no usable answer: {error}"
                raise OperationError(_silent[ca.name]) from None
        return _states[ca.name]


def forget() -> None:
    """Read the CA's guest again from now on: this run changed its state."""
    with _asking:
        _states.clear()
