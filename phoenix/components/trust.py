"""The roots that every host trusts: one, or two while the root is replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.x509 import CertificateInfo
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

# Docker reads the store only when it starts; its containers live on meanwhile. Nginx and Traefik
# have what they verify with in memory.
_RELOAD = """for unit in nginx.service traefik.service; do
    ! systemctl -q is-active $unit || systemctl reload $unit || exit 1
done"""
_STORE_AFTER = f"""update-ca-certificates --fresh >/dev/null
{_RELOAD}
systemctl cat docker.service >/dev/null 2>&1 || exit 0
systemctl try-restart docker.service"""
# Where an earlier run had put a root into the store, it leaves the store.
_OWN_AFTER = f"""if [ -L /etc/ssl/certs/phoenix-root-ca.pem ]; then
    update-ca-certificates --fresh >/dev/null
fi
{_RELOAD}"""


def tree(roots: Sequence[str], directory: str = STORE) -> Tree:
    """The files that make a host trust `roots`.

    Args:
        roots: PEM, oldest first, at most two.
        directory: where they stand one by one; the system's trust store reads its own alone.
    """
    in_store = directory == STORE
    files = dict(zip(stored(directory), roots, strict=False))
    return Tree(
        component="trust",
        files={ROOTS: TreeFile("".join(roots))}
        | {path: TreeFile(pem) for path, pem in files.items()},
        validate=" && ".join(
            f'openssl x509 -in "$ROOT{path}" -noout -checkend 0' for path in files
        ),
        after=_STORE_AFTER if in_store else _OWN_AFTER,
        health=" && ".join(
            f"openssl verify -CApath /etc/ssl/certs {path}" for path in files if in_store
        ),
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
