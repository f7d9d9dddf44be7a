"""Backups by a timer: what each host is sent, and where no secret may be."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyinfra.api import DeployError
from pyinfra.api.exceptions import OperationError

from operations import trust
from phoenix.components.restic import files as restic
from phoenix.components.step_ca.authority import FILES
from tests.deploys.recorder import Run, Sent, run
from tests.unit.site_builder import minimal
from tests.unit.test_backup import archive
from tests.unit.test_backup import ca as ca

KEY = "planted-key-of-the-backups-of-this-test"
UNITS = "/etc/systemd/system"


def site(folder: Path, *, backups: bool = True, **more: object) -> Path:
    declared = minimal()
    if backups:
        declared.lxc.setdefault("site", {})["backups"] = {
            "target": "/mnt/backups",
            "keep": {"daily": 3, "weekly": 2, "monthly": 1},
            **more,
        }
    manifest, compose = declared.stacks["shop"]
    compose["volumes"] = {"data": {}}
    compose["services"]["web"]["volumes"] = ["data:/data"]
    manifest["environments"]["production"]["backup"] = {}
    declared.write(folder)
    return folder


def deployed(folder: Path, tmp_path: Path, deploy: str = "restic", **more: object) -> Run:
    place = {"site_inventories": str(folder), "site_stacks": str(folder / "stacks")}
    return run(deploy, tmp_path / "secrets.json", **place, **more)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def backup_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_SECRET_BACKUP_KEY", KEY)


def test_hosts_with_something_to_back_up_get_restic_and_timers(tmp_path: Path) -> None:
    done = deployed(site(tmp_path / "site"), tmp_path)
    assert not done.failed
    assert done.operations == ["Backups: packages", "Backups: files and timers"]
    assert {request.host for request in done.sent} == {"authority", "control", "worker"}
    passwords = set()
    for host in ("authority", "control", "worker"):
        files = done.files(host)
        config = files[restic.CONFIG]
        assert f"REPOSITORY=/mnt/backups/{host}\n" in config
        assert "KEEP='--keep-daily 3 --keep-weekly 2 --keep-monthly 1'\n" in config
        passwords.add(files[restic.PASSWORD])
        service = files[f"{UNITS}/{restic.SERVICE}"]
        assert "RequiresMountsFor=/mnt/backups\n" in service
        assert "ExecStopPost=/usr/local/sbin/phoenix-backup again\n" in service
        assert "phoenix-backup prove\n" in files[f"{UNITS}/{restic.PROOF}"]
        timer = files[f"{UNITS}/{restic.TIMER}"]
        assert re.search(r"^OnCalendar=\*-\*-\* 02:[34]\d:00$", timer, re.M), timer
        assert f"Unit={restic.PROOF}\n" in files[f"{UNITS}/{restic.PROOF_TIMER}"]
    assert len(passwords) == 3
    assert "volume\tdata\tshop-production_data" in done.files("worker")[restic.PARTS]


def test_no_password_is_in_a_command_or_for_others_to_read(tmp_path: Path) -> None:
    done = deployed(site(tmp_path / "site"), tmp_path)
    password = done.files("worker")[restic.PASSWORD]
    for sent in done.sent:
        assert KEY not in sent.command + json.dumps(sent.files())
        assert password not in sent.command
        for path, content in sent.files().items():
            assert path == restic.PASSWORD or password not in content, path
        for row in sent.files().get("manifest", "").splitlines():
            if row.split("\t")[-1] in (restic.PASSWORD, restic.PARTS):
                assert row.startswith("600\troot\troot\t"), row


def test_a_site_without_backups_gets_nothing(tmp_path: Path) -> None:
    assert deployed(site(tmp_path / "site", backups=False), tmp_path).sent == []


def test_where_timers_back_up_the_watch_asks_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOENIX_SECRET_WATCH_KEY", "k" * 40)
    for backups, days in ((True, "0"), (False, "7")):
        folder = site(tmp_path / days, backups=backups)
        content = json.loads((folder / "phoenix_lxc_configs.json").read_text())
        content.setdefault("site", {})["watcher"] = "hypervisor"
        (folder / "phoenix_lxc_configs.json").write_text(json.dumps(content))
        files = deployed(folder, tmp_path, "watch").files("phoenix")
        assert f"BACKUP_DAYS={days}\n" in files["/etc/phoenix/watch.conf"]
        checks = deployed(folder, tmp_path, "watch").files("worker")["/etc/phoenix/watch.checks"]
        assert ("backup_is_good\tstack:shop-production\t2\n" in checks) == backups


@pytest.mark.parametrize(("word", "unit"), [("run", restic.SERVICE), ("prove", restic.PROOF)])
def test_backups_are_made_and_proven_now_as_their_timers_do_it(
    tmp_path: Path, word: str, unit: str
) -> None:
    done = deployed(site(tmp_path / "site"), tmp_path, "backup_now", backup_now=word)
    assert {request.host for request in done.sent} == {"authority", "control", "worker"}
    assert all(f" {unit} " in request.command for request in done.sent)


def test_a_word_that_names_no_program_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="write run or prove"):
        deployed(site(tmp_path / "site"), tmp_path, "backup_now", backup_now="prune")


SNAPSHOTS = json.dumps([
    {"short_id": identity, "tags": ["stack:shop-production"], "time": f"2026-11-{day}T02:30:00Z"}
    for identity, day in (("old1", 24), ("old2", 25), ("new1", 26))
])  # fmt: skip
NOTES = "stack:shop-production\t1795735195\tnew1\t-\t-\t-\t-"


@pytest.mark.parametrize(("replace", "last"), [(False, "''"), (True, "replace")])
def test_a_stack_is_put_back_from_the_last_snapshot_by_then(
    tmp_path: Path, *, replace: bool, last: str
) -> None:
    done = deployed(
        site(tmp_path / "site"), tmp_path, "restore_at",
        responses={"backups ": lambda _: [SNAPSHOTS, NOTES]},
        restore_at="2026-11-25T23:59:59+00:00", restore_at_parts="stack:shop-production",
        restore_replace=replace,
    )  # fmt: skip
    assert not done.failed
    assert {request.host for request in done.sent} == {"worker"}
    command = done.sent[-1].command
    assert command.endswith(f"{restic.PROGRAM} stack:shop-production old2 {last}")


def test_a_stack_that_is_refused_keeps_no_other_from_coming_back(tmp_path: Path) -> None:
    """As one whose volume holds data, where --replace was not given."""
    folder = site(tmp_path / "site")
    worker = json.loads((folder / "phoenix_vm_configs.json").read_text())
    worker["vms"][1]["docker_stacks"].append("wiki")
    (folder / "phoenix_vm_configs.json").write_text(json.dumps(worker))
    shutil.copytree(folder / "stacks/shop", folder / "stacks/wiki")
    for name in ("phoenix.json", "docker-compose.yml"):
        file = folder / "stacks/wiki" / name
        text = file.read_text().replace("8000", "8001").replace('"shop"', '"wiki"')
        file.write_text(text)
    done = deployed(
        folder, tmp_path, "restore_at",
        responses={"backups ": lambda _: [
            json.dumps([
                {"short_id": name, "tags": [f"stack:{name}-production"],
                 "time": "2026-11-24T02:30:00Z"} for name in ("shop", "wiki")
            ])
        ]},
        failing={"worker": "stack:shop-production shop "},
        restore_at="2026-11-25T23:59:59+00:00",
        restore_at_parts="stack:shop-production,stack:wiki-production",
    )  # fmt: skip
    sent = [request.command for request in done.sent if restic.PROGRAM in request.command]
    assert [
        word for word in ("shop", "wiki") if f"stack:{word}-production {word} " in sent[-1]
    ] == ["wiki"]
    assert done.failed == {"worker"}


def test_a_moment_before_the_first_snapshot_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="the oldest is of 2026-11-24"):
        deployed(
            site(tmp_path / "site"), tmp_path, "restore_at",
            responses={"backups ": lambda _: [SNAPSHOTS, NOTES]},
            restore_at="2026-11-01T00:00:00+00:00", restore_at_parts="stack:shop-production",
        )  # fmt: skip


def ssh_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def test_log_ins_of_targets_stand_in_one_file_and_in_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExa"
    key, words = ssh_key(), ("planted-identity", "planted-secret")
    monkeypatch.setenv("PHOENIX_SECRET_BACKUP_SSH_KEY", key)
    monkeypatch.setenv("PHOENIX_SECRET_BACKUP_S3_ID", words[0])
    monkeypatch.setenv("PHOENIX_SECRET_BACKUP_S3_SECRET", words[1])
    sftp = site(tmp_path / "sftp", target="sftp://me@192.0.2.7/srv/b", sftp_host_key=pinned)
    s3 = site(tmp_path / "s3", target="s3:https://s3.example.com/phoenix")
    for folder, path, planted in (
        (sftp, restic.SSH_KEY, key.splitlines()[1]),
        (s3, restic.S3, words[1]),
    ):
        done = deployed(folder, tmp_path)
        files = done.files("worker")
        assert planted in files[path]
        assert [name for name, content in files.items() if planted in content] == [path]
        assert planted not in "".join(request.command for request in done.sent)
        assert "RequiresMountsFor" not in files[f"{UNITS}/{restic.SERVICE}"]
    assert deployed(sftp, tmp_path).files("worker")[restic.KNOWN_HOSTS] == f"192.0.2.7 {pinned}\n"


def test_a_target_s_secret_that_nobody_gives_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="backup_s3_id is missing"):
        deployed(site(tmp_path / "s3", target="s3:https://s3.example.com/phoenix"), tmp_path)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """A CA that this test tells of is none for others of this process."""
    yield
    trust.forget()


@pytest.mark.usefixtures("forgotten")
def test_the_ca_comes_back_from_a_snapshot_by_the_steps_of_a_restore(
    tmp_path: Path, ca: dict[str, bytes]
) -> None:
    data = base64.b64encode(archive(ca)).decode()
    root = ca["certs/root_ca.crt"].decode().splitlines()
    state = [f"mode 600 {name}" for name in FILES]
    state += ["yes opens", "yes matches", "yes chains", *(f"root {line}" for line in root)]
    snapshot = {"short_id": "abc", "tags": ["ca"], "time": "2026-11-24T02:30:00Z"}
    done = deployed(
        site(tmp_path / "site"), tmp_path, "restore_at",
        responses={
            "backup-export ": lambda _: [data[:70], data[70:]],
            "backups ": lambda _: [json.dumps([snapshot])],
            "find certs secrets rotation": lambda _: state,
        },
        restore_at="2026-11-25T23:59:59+00:00", restore_at_parts="ca",
    )  # fmt: skip
    names = [name.rpartition(" | ")[2] for name in done.operations]
    assert names.index("Restore: the CA") < names.index("Step-CA: keys and certificates")
    (put,) = [request for request in done.sent if " restore_ca " in request.command]
    assert put.host == "authority"
    assert put.stdin.replace("\n", "") == data
    asked = [request.command for request in done.sent if "backup-export " in request.command]
    assert all(" ca abc" in command for command in asked)
    assert "Restore: Portainer" not in names


def test_a_snapshot_of_no_whole_ca_changes_nothing(tmp_path: Path, ca: dict[str, bytes]) -> None:
    less = {name: content for name, content in ca.items() if name != "certs/root_ca.crt"}
    snapshot = {"short_id": "abc", "tags": ["ca"], "time": "2026-11-24T02:30:00Z"}
    with pytest.raises(DeployError, match="part ca is incomplete"):
        deployed(
            site(tmp_path / "site"), tmp_path, "restore_at",
            responses={
                "backup-export ": lambda _: [base64.b64encode(archive(less)).decode()],
                "backups ": lambda _: [json.dumps([snapshot])],
            },
            restore_at="2026-11-25T23:59:59+00:00", restore_at_parts="ca",
        )  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A private key in a file, and its public half."""
    key = tmp_path_factory.mktemp("reader") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key, key.with_suffix(".pub").read_text().strip()


def test_the_generated_secrets_wait_encrypted_on_the_ca_s_guest_and_come_back(
    tmp_path: Path, reader: tuple[Path, str]
) -> None:
    secrets = {"one": "planted-value-of-a-secret"}
    folder = site(tmp_path / "site", secrets_for=[reader[1]])
    store = tmp_path / "secrets.json"
    store.touch(mode=0o600)
    store.write_text(json.dumps(secrets))

    def puts(done: Run) -> list[Sent]:
        word = "/var/lib/phoenix-backup/secrets secrets.age"
        return [request for request in done.sent if word in request.command and request.stdin]

    done = deployed(folder, tmp_path)
    (put,) = puts(done)
    assert put.host == "authority"
    mark = put.command.split()[-1]
    folder_of_escrow = tmp_path / "escrow"
    command = put.command.replace("/var/lib/phoenix-backup/secrets", str(folder_of_escrow))
    subprocess.run(["sh", "-c", command], input=put.stdin, text=True, check=True)
    assert (folder_of_escrow / "secrets.age").read_bytes() == base64.b64decode(put.stdin)
    assert (folder_of_escrow / "secrets.age").stat().st_mode & 0o777 == 0o600
    assert (folder_of_escrow / "mark").read_text() == f"{mark}\n"
    for sent in done.sent:
        assert secrets["one"] not in sent.command + sent.stdin
    assert "secrets\tfolder\tsecrets\t" in done.files("authority")[restic.PARTS]
    assert puts(deployed(folder, tmp_path, responses={"escrow-mark ": mark})) == []
    store.write_text(json.dumps({**secrets, "two": "x"}))
    assert len(puts(deployed(folder, tmp_path, responses={"escrow-mark ": mark}))) == 1

    (tmp_path / "lost").mkdir()
    snapshot = {"short_id": "abc", "tags": ["secrets"], "time": "2026-11-24T02:30:00Z"}
    exported = archive({"secrets.age": base64.b64decode(put.stdin)})

    def restored(**more: str) -> Run:
        return deployed(
            folder, tmp_path / "lost", "restore_at",
            responses={
                "backup-export ": lambda _: [base64.b64encode(exported).decode()],
                "backups ": lambda _: [json.dumps([snapshot])],
            },
            restore_at="2026-11-25T23:59:59+00:00", restore_at_parts="secrets", **more,
        )  # fmt: skip

    with pytest.raises(DeployError, match="the generated secrets"):
        restored()
    restored(restore_identity=str(reader[0]))
    assert json.loads((tmp_path / "lost/secrets.json").read_text()) == secrets
