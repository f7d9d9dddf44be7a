"""A CA whose files are not whole is explained and left alone; restored, it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.project import Project, Run
from tests.integration.site_lab import SiteLab, seen

DIRECTORY = "/etc/step-ca"
PASSWORD = f"{DIRECTORY}/secrets/password"


def fingerprint(site: SiteLab) -> str:
    """Every file of the CA but its database: mode, owner, content."""
    return site.sh(
        "ca",
        f"cd {DIRECTORY} && find . -path ./db -prune -o -printf '%m %u %g %p %l\\n' | sort;"
        f" find . -path ./db -prune -o -type f -print0 | sort -z | xargs -0 sha256sum",
        ok=True,
    ).out


@contextmanager
def damaged(site: SiteLab, command: str) -> Iterator[None]:
    """The password is kept aside while `command` has damaged the CA's files."""
    aside = "/root/password.aside"
    whole = fingerprint(site)
    site.sh("ca", f"cp -p {PASSWORD} {aside} && {command}", ok=True)
    try:
        yield
    finally:
        site.sh("ca", f"cp -p {aside} {PASSWORD} && rm {aside}", ok=True)
        assert fingerprint(site) == whole


def explained(run: Run, reason: str) -> None:
    """Exit code 1 and the reason with its fix; nothing else."""
    assert run.returncode == 1, run.explain()
    assert reason in run.output, run.explain()
    assert "restore /etc/step-ca from a backup" in run.output, run.explain()
    assert "Traceback" not in run.output, run.explain()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (f"rm {PASSWORD}", "half initialised: the password of the keys missing"),
        (f"echo wrong >{PASSWORD}", "secrets/password does not open secrets/intermediate_ca_key"),
    ],
    ids=["half-initialised", "wrong-password"],
)
def test_damaged_ca_is_explained_and_left_alone(site: SiteLab, command: str, reason: str) -> None:
    before = site.unit("ca")
    with damaged(site, command):
        state = fingerprint(site)
        run = site.project.run("deploys/step_ca.py")
        seen("said", [line for line in run.output.splitlines() if reason in line])
        explained(run, reason)
        assert fingerprint(site) == state, "a file of the CA was touched"
        assert site.unit("ca") == before
    repair_run = site.project.run("deploys/step_ca.py")
    assert repair_run.returncode == 0, repair_run.explain()
    assert repair_run.changes == []
    assert site.unit("ca") == before


def test_key_that_others_may_read_is_reported(site: SiteLab) -> None:
    key = f"{DIRECTORY}/secrets/intermediate_ca_key"
    site.sh("ca", f"chmod 644 {key}", ok=True)
    try:
        run = site.project.run("deploys/step_ca.py")
    finally:
        site.sh("ca", f"chmod 600 {key}", ok=True)
    assert run.returncode == 1, run.explain()
    assert "has mode 644" in run.output, run.explain()


def test_old_step_ca_is_refused(site: SiteLab, variant: Project) -> None:
    """0.19 ignores authority.policy and would sign any name."""
    before = site.unit("ca")
    variant.replace("inventories/lab.py", 'pin["version"]', '"0.19.0"')
    run = variant.run("deploys/step_ca.py")
    assert run.returncode == 1, run.explain()
    assert "ignores authority.policy" in run.output, run.explain()
    assert site.unit("ca") == before


@pytest.mark.usefixtures("repaired")
def test_database_is_backed_up_before_a_change(site: SiteLab) -> None:
    backups = "/var/backups/phoenix/step-ca"
    before = site.sh("ca", f"ls {backups} 2>/dev/null").out.split()
    run = site.project.run("deploys/step_ca.py", data={"step_ca_lifetime_minimum": "6m"})
    assert run.returncode == 0, run.explain()
    new = [name for name in site.sh("ca", f"ls {backups}", ok=True).out.split()
           if name not in before]  # fmt: skip
    assert len(new) == 1, (before, new)
    held = site.sh("ca", f"ls {backups}/{new[0]}; stat -c %a {backups}", ok=True).out
    assert "MANIFEST" in held, held
    assert held.rstrip().endswith("700"), held
