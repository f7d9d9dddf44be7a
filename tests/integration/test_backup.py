"""The CA's and Portainer's guests are lost with all that they held; a backup brings both back."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.settings import ROOT
from phoenix import backup
from phoenix.derived.certificates import certificates
from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Run
from tests.integration.site_lab import ROOT_FILE, SiteLab
from tests.integration.test_renewal import serial

pytestmark = pytest.mark.timeout(900)
HOLDERS = ("gateway", "traefik")


@dataclass(frozen=True)
class Restored:
    """The site before the loss and after `deploys/restore.py` and `deploys/all.py`."""

    lab: PortainerLab
    file: Path
    key: Path
    runs: tuple[Run, Run, Run]
    before: dict[str, object] = field(repr=False)

    def restore(self, file: Path | None = None, key: Path | None = None, **data: str) -> Run:
        options = {"restore_from": str(file or self.file), "restore_identity": str(key or self.key)}
        return self.lab.site.project.run("deploys/restore.py", data={**options, **data})


def known(lab_: PortainerLab) -> dict[str, object]:
    """What must be the same after the loss."""
    site = lab_.site
    return {
        "root": site.sh("ca", "cat /etc/step-ca/certs/root_ca.crt", ok=True).out,
        "server": lab_.get("/system/status")["InstanceID"],
        "endpoint": lab_.endpoint()["Id"],
        "stacks": {row["Name"]: row["Id"] for row in lab_.get("/stacks")},
        "containers": {name: lab_.containers(name) for name in (lab_.qdrant, lab_.app)},
        "secrets": site.secrets,
    }


def register_anew(site: SiteLab) -> None:
    """Accounts and certificates that the backup's database knows nothing of."""
    for role in HOLDERS:
        site.sh(role, f"rm -r /var/lib/phoenix-acme/{role}/accounts", ok=True)
        site.sh(role, f"phoenix-acme renew {role}", ok=True)


def lose(site: SiteLab, environment: dict[str, str], *hosts: str) -> None:
    """Guests with their disks, and new empty ones in their places; host keys stay."""
    for host in hosts:
        name = site.state.container(site.roles.get(host, host))
        site.docker.containers.get(name).remove(force=True, v=True)
        for volume in site.docker.volumes.list(filters={"name": f"{name}-docker"}):
            volume.remove()
    up = subprocess.run(
        [sys.executable, "lab", "up"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert up.returncode == 0, up.stdout + up.stderr


@pytest.fixture(scope="module")
def restored(
    site: SiteLab, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Restored]:
    lab_, place = PortainerLab(site), tmp_path_factory.mktemp("backup")
    lab_.wait_well()
    before = known(lab_)
    key = place / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    backup_run = site.project.run(
        "deploys/backup.py", "-vvv", "--diff",
        data={"backup_to": str(place), "backup_recipients": key.with_suffix(".pub").read_text()},
    )  # fmt: skip
    assert backup_run.returncode == 0, backup_run.explain()
    (file,) = place.glob("*.age")
    secrets = site.settings.directory / "secrets.json"
    content = secrets.read_bytes()
    try:
        register_anew(site)
        lose(site, environment, "ca", lab_.server)
        assert site.sh("ca", "ls /etc/step-ca").code != 0, "the CA was not lost"
        secrets.unlink()
        partly = Restored(lab_, file, key, (backup_run, backup_run, backup_run), before)
        restore = partly.restore()
        assert restore.returncode == 0, restore.explain()
        all_ = site.project.run("deploys/all.py", "-vvv", "--diff")
        assert all_.returncode == 0, all_.explain()
        yield Restored(lab_, file, key, (backup_run, restore, all_), before)
    finally:
        if not secrets.exists():
            secrets.write_bytes(content)
            secrets.chmod(0o600)


def test_everything_is_as_it_was(restored: Restored) -> None:
    assert known(restored.lab) == restored.before
    restored.lab.assert_serving()  # for a client that still has the old root alone
    site = restored.lab.site
    assert site.sh("client", f"cat {ROOT_FILE}").out == restored.before["root"]
    status, answer = restored.lab.login(site.secrets["portainer_admin_password"])
    assert status == 200, answer
    assert (site.settings.directory / "secrets.json").stat().st_mode & 0o777 == 0o600
    modes = site.sh("ca", "cd /etc/step-ca && stat -c '%n %a %U' secrets/* db certs/*", ok=True).out
    assert "secrets/password 600 root" in modes, modes
    assert "secrets/intermediate_ca_key 600 step" in modes, modes


def test_certificates_renew_though_accounts_are_younger_than_the_backup(
    restored: Restored,
) -> None:
    site = restored.lab.site
    old = {role: serial(site, role) for role in HOLDERS}
    for role in HOLDERS:
        site.sh(role, f"phoenix-acme renew {role}", ok=True)
    new = {role: serial(site, role) for role in HOLDERS}
    assert all(old.values()), old
    assert all(new.values()), new
    assert all(new[role] != old[role] for role in HOLDERS), (old, new)


def test_list_of_what_the_ca_had_issued_is_beside_its_database(restored: Restored) -> None:
    loaded = backup.load(restored.file, backup.decryptor(restored.key, None))
    listed = [json.loads(line) for line in loaded.parts["issued"].splitlines()]
    names = {name for certificate in listed for name in certificate["names"]}
    assert {
        name for certificate in certificates(restored.lab.site.site) for name in certificate.sans
    } <= names


def test_second_runs_change_nothing(restored: Restored) -> None:
    """The restore by the command, as a person would do it again."""
    project = restored.lab.site.project
    words = ("restore", str(restored.file), "-k", str(restored.key), "--json")
    done = project.phoenix(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    changed = [step for host in json.loads(done.stdout)["hosts"] for step in host["changed"]]
    assert changed == [], done.stdout
    run = project.run("deploys/all.py")
    assert run.returncode == 0, run.explain()
    assert run.other_changes == []
    assert known(restored.lab) == restored.before


def test_nothing_is_readable_without_the_key(restored: Restored) -> None:
    site, data = restored.lab.site, restored.file.read_bytes()
    assert restored.file.stat().st_mode & 0o777 == 0o600
    assert data.startswith(b"age-encryption.org/v1\n"), data[:40]
    private = site.sh("ca", "cat /etc/step-ca/secrets/password", ok=True).out.strip()
    for text in (*site.secrets.values(), private, "PRIVATE KEY-----", "manifest"):
        assert text.encode() not in data, "a secret is in the backup in clear"
        if text != "manifest":
            for run in restored.runs:
                assert text not in run.output, "a secret is in a run's output"
    for host in ("ca", restored.lab.server):
        left = site.sh(host, "ls -d /run/phoenix-* /etc/step-ca.restore* 2>/dev/null").out.split()
        allowed = (".lock", "/phoenix-guard.loaded", "/phoenix-proven", "/phoenix-acme")
        assert [name for name in left if not name.endswith(allowed)] == []


def test_what_cannot_be_used_is_refused_before_a_host_is_touched(
    restored: Restored, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.age"
    cut.write_bytes(restored.file.read_bytes()[:-100])
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    site = restored.lab.site
    mark = "/etc/step-ca/certs/root_ca.crt"
    with_other_ca = f"cp -p {mark} /root/kept && echo >>{mark}"
    try:
        for run, reason in (
            (restored.restore(file=cut), "the backup is damaged or cut off"),
            (restored.restore(key=other), "the identity does not open the backup"),
            (restored.restore(restore_parts="ca,database"), "there is no part 'database'"),
        ):
            explained(run, reason)
        site.sh("ca", with_other_ca, ok=True)
        explained(restored.restore(), "holds something else than the CA of the backup")
    finally:
        site.sh("ca", f"[ ! -e /root/kept ] || mv /root/kept {shlex.quote(mark)}", ok=True)
    assert known(restored.lab) == restored.before


def explained(run: Run, reason: str) -> None:
    assert run.returncode != 0
    assert " ".join(reason.split()) in " ".join(run.output.split()), run.explain()
    assert run.changes == []
    assert "Traceback" not in run.output, run.explain()
