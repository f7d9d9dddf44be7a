"""The roots that every host trusts: one, or two while the root is replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.x509 import CertificateInfo
from phoenix.shell import join

ROOTS = "/etc/phoenix/roots.pem"
"""All trusted roots in one file: what services and checks verify with. Its path never changes."""
STORE = "/usr/local/share/ca-certificates"
"""Where update-ca-certificates(8) looks; only the first certificate of a file is hashed."""
STORED = (f"{STORE}/phoenix-root-ca.crt", f"{STORE}/phoenix-root-ca-next.crt")
"""The roots in the system's store, oldest first."""
OF_DOCKER = "/etc/docker/certs.d"
"""Roots of registries, by their names. Docker reads them at each pull, and the system's store only
when it starts (https://docs.docker.com/engine/security/certificates/)."""

_RELOADED = """for unit in {units}; do
    ! systemctl -q is-active $unit || systemctl reload $unit || exit 1
done"""


def tree(
    roots: Sequence[str], *, registries: Iterable[str] = (), readers: Sequence[str] = ()
) -> Tree:
    """The files that make a host trust `roots`.

    Args:
        roots: PEM, oldest first, at most two.
        registries: those that prove themselves by a certificate of the site's CA.
        readers: units that have in memory what they verify with, and reload without a loss.
    """
    reloaded = _RELOADED.format(units=join(*readers)) if readers else ""
    stored = dict(zip(STORED, roots, strict=False))
    files = {ROOTS, *(f"{OF_DOCKER}/{name}/phoenix.crt" for name in registries)}
    return Tree(
        component="trust",
        files={path: TreeFile("".join(roots)) for path in sorted(files)}
        | {path: TreeFile(pem) for path, pem in stored.items()},
        validate=" && ".join(
            f'openssl x509 -in "$ROOT{path}" -noout -checkend 0' for path in stored
        ),
        after="\n".join(["update-ca-certificates --fresh >/dev/null", reloaded]).strip(),
        health=" && ".join(f"openssl verify -CApath /etc/ssl/certs {path}" for path in stored),
    )


def family(name: str) -> str:
    """A common name without the number that a replaced root's successor has behind it."""
    return re.sub(r" \d+$", "", name)


def stale_roots(
    roots: Sequence[CertificateInfo], installed: Mapping[str, CertificateInfo]
) -> list[str]:
    """Paths of earlier roots of this CA among the certificates `installed` in a trust store.

    An earlier root has the same common name but for its number, or stands in a file that Phoenix
    or the system before it has put there, and is none of `roots`.
    """
    declared = {root.fingerprint for root in roots}
    families = {family(root.subject_cn) for root in roots}
    return sorted(
        path
        for path, info in installed.items()
        if path not in STORED
        and info.fingerprint not in declared
        and (
            family(info.subject_cn) in families
            or PurePosixPath(path).name.startswith(("phoenix", "thinkheads"))
        )
    )
