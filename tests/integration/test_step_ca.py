"""A CA whose files are not whole is explained and left alone; restored, it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phoenix import backup
from phoenix.components.step_ca.authority import COPIES
from phoenix.secrets import age
from tests.integration.project import Project, Run
from tests.integration.site_lab import SiteLab, print_figure

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
        print_figure("said", [line for line in run.output.splitlines() if reason in line])
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


TORN = {
    "its last write is torn": "truncate -s -17 db/000000.vlog",
    "empty": ": >db/000000.vlog",
    "garbage": "head -c 400 /dev/urandom >db/MANIFEST",
    "gone": "rm -r db",
}


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize("how", TORN)
def test_a_torn_database_is_told_and_repaired_by_a_sync(site: SiteLab, how: str) -> None:
    """Chaos 12: step-ca never started again, and no copy of its database existed."""
    backups = "/var/backups/phoenix/step-ca"
    converged = site.project.phoenix("sync", "-y", "step_ca")
    assert converged.returncode == 0, converged
    copied = site.sh("ca", f"systemctl start {COPIES.replace('timer', 'service')}; ls {backups}")
    assert copied.out.split(), copied
    before = set(site.sh("ca", f"ls -d {backups}/torn-* 2>/dev/null").out.split())
    site.sh(
        "ca",
        f"systemctl kill -s KILL step-ca; systemctl stop step-ca; cd {DIRECTORY} && {TORN[how]};"
        " systemctl reset-failed step-ca; systemctl start step-ca; sleep 1",
    )
    doctor, plan = site.project.looks(["doctor"], ["plan", "step_ca"])
    output = " ".join(doctor.stdout.split())
    print_figure("doctor said", doctor.stdout[:1500])
    assert doctor.returncode == 1, doctor
    assert "cannot open its database: " in output, doctor.stdout
    assert "A sync sets them aside" in output, doctor.stdout
    assert "phoenix sync step_ca" in output, doctor.stdout
    assert "it is kept below /var/backups/phoenix/step-ca" in " ".join(plan.stdout.split()), plan
    sync = site.project.phoenix("sync", "-y", "step_ca")
    assert sync.returncode == 0, sync.stdout + sync.stderr
    assert "the CA opens its database again" in sync.stdout, sync.stdout
    if how != "gone":
        after = set(site.sh("ca", f"ls -d {backups}/torn-*", ok=True).out.split())
        assert len(after - before) == 1, (before, after)
    for holder in ("gateway", "traefik"):
        renewed = site.project.phoenix("certs", "renew", site.roles[holder])
        assert renewed.returncode == 0, renewed.stdout + renewed.stderr
    for done in site.project.looks(["doctor"], ["plan", "step_ca"]):
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("repaired")
def test_clients_register_anew_where_the_database_is_empty(site: SiteLab) -> None:
    site.sh(
        "ca",
        f"systemctl stop step-ca; cd {DIRECTORY} && rm -r db"
        " && install -d -m 700 -o step -g step db; systemctl start step-ca",
        ok=True,
    )
    for holder in ("gateway", "traefik"):
        renewed = site.project.phoenix("certs", "renew", site.roles[holder])
        assert renewed.returncode == 0, renewed.stdout + renewed.stderr


@pytest.fixture
def root_key(site: SiteLab) -> Iterator[str]:
    """The path of the root's key on the CA's guest; it is there again after the test."""
    path, aside = f"{DIRECTORY}/secrets/root_ca_key", "/root/root_ca_key.aside"
    site.sh("ca", f"cp -p {path} {aside}", ok=True)
    yield path
    site.sh("ca", f"mv {aside} {path}", ok=True)


def test_root_s_key_goes_offline_and_signs_the_next_intermediate(
    site: SiteLab, root_key: str, tmp_path: Path
) -> None:
    def phoenix(*words: str, code: int = 0) -> str:
        done = site.project.phoenix(*words)
        assert done.returncode == code, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())

    identity = tmp_path / "key.txt"
    public = age.make_key(identity)
    assert f"its key is on {site.roles['ca']}" in phoenix("status", "--no-drift")
    output = phoenix("certs", "root", "offline", "--to", str(tmp_path / "usb"), "-r", public)
    (file,) = (tmp_path / "usb").iterdir()
    assert str(file) in output, output
    assert site.sh("ca", f"test -e {root_key}").code != 0
    shown = phoenix("status", "--no-drift")
    assert "its key is offline" in shown, shown
    phoenix("certs", "root", "offline", "--to", str(tmp_path / "usb"), "-r", public)
    assert list((tmp_path / "usb").iterdir()) == [file]
    phoenix("backup", "--to", str(tmp_path / "backups"), "-r", public, "--part", "ca")
    (saved,) = (tmp_path / "backups").iterdir()
    backup.check(backup.load(saved, backup.decryptor(identity, None)), site.site)

    before = site.sh("ca", f"cat {DIRECTORY}/certs/*.crt", ok=True).out
    root = site.sh("ca", f"cat {DIRECTORY}/certs/root_ca.crt", ok=True).out
    output = phoenix("certs", "rotate", "intermediate", code=1)
    assert "off the CA's guest" in output, output
    assert "--root-key FILE" in output, output
    assert site.sh("ca", f"cat {DIRECTORY}/certs/*.crt", ok=True).out == before
    words = ("--root-key", str(file), "-k", str(identity))
    phoenix("certs", "rotate", "intermediate", *words)
    assert site.sh("ca", f"cat {DIRECTORY}/certs/*.crt", ok=True).out != before
    assert site.sh("ca", f"cat {DIRECTORY}/certs/root_ca.crt", ok=True).out == root
    assert site.sh("ca", f"test -e {root_key}").code != 0
    left = "grep -rl -e '-----BEGIN PRIVATE KEY' /run /tmp /etc/step-ca /var/lib/phoenix"
    assert site.sh("ca", left).out == ""
