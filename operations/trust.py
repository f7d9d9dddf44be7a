"""The internal root in a host's trust store."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping
from pathlib import PurePosixPath
from threading import Lock

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.state import StateStage

from facts.step_ca import CertificateAuthority
from facts.trust import LocalTrust
from operations.config_tree import config_tree
from operations.refusal import refuse
from phoenix.config_tree import Tree, TreeFile
from phoenix.model import Site
from phoenix.roles import guest_with
from phoenix.step_ca import CaState, faults
from phoenix.traefik import ROOT_CA
from phoenix.x509 import CertificateInfo, parse_chain

_DIRECTORY = str(PurePosixPath(ROOT_CA).parent)
_known: dict[str, CaState] = {}
_asking = Lock()


@operation()
def root_trusted(site: Site) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Trust the CA's present root on this host, and no earlier root of this CA.

    The root is read from the CA's own guest over SSH, whose host key is known: no unverified
    download. An earlier root is one with the same common name, or a file that Phoenix or the
    system before it has put there, with another fingerprint.

    The host is refused while the CA has no usable root.
    """
    ca = certificate_authority(site)
    if ca.absent:
        if host.state.current_stage <= StateStage.Prepare:
            yield StringCommand("true")  # the plan for a new site: the CA is yet to be made
            return
        yield from refuse("the CA has no root certificate yet: run deploys/step_ca.py first")
        return
    if wrong := faults(ca):
        yield from refuse(f"the CA cannot be used: {'; '.join(wrong)}")
        return
    info = parse_chain(ca.root)[0]
    found: dict[str, CertificateInfo] = host.get_fact(LocalTrust, directory=_DIRECTORY)
    stale = stale_roots(info, found)
    if stale:
        yield StringCommand("rm", "-f", "--", *(shlex.quote(path) for path in stale))
    tree = Tree(
        component="trust",
        files={ROOT_CA: TreeFile(ca.root)},
        validate=f'openssl x509 -in "$ROOT{ROOT_CA}" -noout -checkend 0',
        # Docker reads the trust store only when it starts; its containers live on meanwhile.
        after="update-ca-certificates; systemctl cat docker.service >/dev/null 2>&1 || exit 0; "
        "systemctl try-restart docker.service",
        health=f"openssl verify -CApath /etc/ssl/certs {ROOT_CA}",
    )
    yield from config_tree._inner(tree)
    if stale:
        yield StringCommand("update-ca-certificates", "--fresh")


def stale_roots(root: CertificateInfo, found: Mapping[str, CertificateInfo]) -> list[str]:
    """Paths of earlier roots of this CA among the certificates `found` in a trust store."""
    return sorted(
        path
        for path, info in found.items()
        if path != ROOT_CA
        and info.fingerprint != root.fingerprint
        and (
            info.subject_cn == root.subject_cn
            or PurePosixPath(path).name.startswith(("phoenix", "thinkheads"))
        )
    )


def certificate_authority(site: Site) -> CaState:
    """What stands on the CA's guest; asked once a run, and again while there is no CA yet."""
    ca = host.state.inventory.get_host(guest_with(site, "step_ca").name)
    with _asking:  # all hosts come here at the same time
        if _known.get(ca.name, CaState()).absent:
            _known[ca.name] = ca.get_fact(CertificateAuthority)
        return _known[ca.name]


def forget() -> None:
    """Ask the CA's guest anew: what stands there was changed within this run."""
    with _asking:
        _known.clear()
