"""The roots that every host trusts: one, or two while the root is replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.x509 import CertificateInfo
from phoenix.shell import join
from phoenix.site.model import Site

ROOTS = "/etc/phoenix/roots.pem"
"""All trusted roots in one file: what services and checks verify with. Its path never changes."""
STORE = "/usr/local/share/ca-certificates"
"""Where update-ca-certificates(8) looks; only the first certificate of a file is hashed."""
OWN = "/etc/phoenix/roots"
"""Where the roots stand on a host whose store is left alone: Phoenix alone reads it."""


def directory(site: Site, name: str) -> str:
    """The directory of the host `name` in which the roots stand one by one."""
    host = site.hosts_by_key.get(name)
    return OWN if host is not None and "trust" in host.left_alone else STORE


def stored(directory: str) -> tuple[str, str]:
    """The roots' files in such a directory, oldest first."""
    return f"{directory}/phoenix-root-ca.crt", f"{directory}/phoenix-root-ca-next.crt"


STORED = stored(STORE)
"""The roots in the system's store, oldest first."""
OF_DOCKER = "/etc/docker/certs.d"
"""Roots of registries, by their names. Docker reads them at each pull, and the system's store only
when it starts (https://docs.docker.com/engine/security/certificates/)."""

_RELOADED = """for unit in {units}; do
    ! systemctl -q is-active $unit || systemctl reload $unit || exit 1
done"""
_STORE_AFTER = "update-ca-certificates --fresh >/dev/null"
# Where an earlier run had put a root into the store, it leaves the store.
_OWN_AFTER = f"""if [ -L /etc/ssl/certs/phoenix-root-ca.pem ]; then
    {_STORE_AFTER}
fi"""


def tree(
    roots: Sequence[str],
    directory: str = STORE,
    *,
    registries: Iterable[str] = (),
    readers: Sequence[str] = (),
) -> Tree:
    """The files that make a host trust `roots`.

    Args:
        roots: PEM, oldest first, at most two.
        directory: where they stand one by one; the system's trust store reads its own alone.
        registries: those that prove themselves by a certificate of the site's CA.
        readers: units that have in memory what they verify with, and reload without a loss.
    """
    in_store = directory == STORE
    single = dict(zip(stored(directory), roots, strict=False))
    whole = {ROOTS, *(f"{OF_DOCKER}/{name}/phoenix.crt" for name in registries)}
    after = [_STORE_AFTER if in_store else _OWN_AFTER]
    after += [_RELOADED.format(units=join(*readers))] if readers else []
    return Tree(
        component="trust",
        files={path: TreeFile("".join(roots)) for path in sorted(whole)}
        | {path: TreeFile(pem) for path, pem in single.items()},
        validate=" && ".join(
            f'openssl x509 -in "$ROOT{path}" -noout -checkend 0' for path in single
        ),
        after="\n".join(after),
        health=" && ".join(
            f"openssl verify -CApath /etc/ssl/certs {path}" for path in single if in_store
        ),
    )


def family(name: str) -> str:
    """A common name without the number that a replaced root's successor has behind it."""
    return re.sub(r" \d+$", "", name)


def stale_roots(
    roots: Sequence[CertificateInfo], installed: Mapping[str, CertificateInfo]
) -> list[str]:
    """Paths of earlier roots of this CA among the certificates `installed` in a trust store.

    An earlier root differs from all `roots`. It has the same common name up to its number, or
    stands in a file that Phoenix or its predecessor has put there.
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
