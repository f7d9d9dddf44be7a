"""Debian packages: one fact, and apt only when something is missing."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api import StringCommand, operation
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt

# A person's or the system's own apt run is waited for, never killed.
_OPTIONS = "-o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold"


@operation()
def packages(names: Sequence[str | tuple[str, ...]]) -> Generator[StringCommand, None, None]:
    """Install what is missing of `names`; a tuple is satisfied by any of its members.

    The first of a tuple's members is the one installed when none is there. Versions are left
    to the distribution and to unattended security updates.
    """
    installed = set(host.get_fact(DebPackages))
    missing = []
    for name in names:
        choices = (name,) if isinstance(name, str) else name
        if not installed.intersection(choices):
            missing.append(choices[0])
    if not missing:
        host.noop(f"{len(names)} packages are installed")
        return
    yield from apt.packages._inner(
        packages=missing, update=True, no_recommends=True, extra_install_args=_OPTIONS
    )
